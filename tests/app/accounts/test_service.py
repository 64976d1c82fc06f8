from __future__ import annotations

import asyncio
from datetime import timedelta

import argon2
import pytest

from insight_cloud.app.accounts import passwords, queries, secret, service
from insight_cloud.app.accounts.models import Session, Tokens
from insight_cloud.core.errors import (
    Conflict,
    Invalid,
    Missing,
    Refused,
    Unauthenticated,
)
from insight_cloud.database import Pool
from tests.app.accounts.house import PASSWORD, House

NEW_PASSWORD = "another long secret"


async def _signed_in(house: House, name: str = "ada") -> Tokens:
    return await service.tokens(house.context, email=f"{name}@example.com", password=PASSWORD)


async def _known(house: House, text: str) -> bool:
    kind = secret.kind(text)
    assert kind is not None
    return await service.identify(house.context, text, kind) is not None


# -- users and signing in --------------------------------------------------------------------


async def test_an_address_has_one_account_in_any_case_of_letters(house: House) -> None:
    await house.user("ada")
    with pytest.raises(Conflict):
        await service.add_user(
            house.context, email="ADA@Example.COM", name="Eve", password=PASSWORD
        )
    assert await house.count("users") == 1


async def test_of_many_who_register_an_address_at_once_one_has_it(house: House) -> None:
    asked = [
        service.register(house.context, email="ada@example.com", name=str(n), password=PASSWORD)
        for n in range(8)
    ]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, Conflict) for answer in answers) == 7
    assert await house.count("users") == 1


async def test_nobody_registers_where_registration_is_closed(house: House) -> None:
    house.close_registration()
    with pytest.raises(Refused, match="closed"):
        await service.register(
            house.context, email="ada@example.com", name="Ada", password=PASSWORD
        )
    assert await house.count("users") == 0


async def test_a_browser_stays_signed_in_for_seven_days(house: House) -> None:
    await house.user("ada")
    session = await house.session("ada")
    assert session.expires_at == house.time + timedelta(days=7)
    house.later(days=7, seconds=-1)
    assert await _known(house, session.secret)
    house.later(seconds=1)
    assert not await _known(house, session.secret)


async def test_an_access_token_is_valid_for_fifteen_minutes(house: House) -> None:
    await house.user("ada")
    tokens = await _signed_in(house)
    house.later(minutes=15, seconds=-1)
    assert await _known(house, tokens.access_token)
    house.later(seconds=1)
    assert not await _known(house, tokens.access_token)


async def test_wrong_unknown_disabled_and_impossible_are_told_the_same(house: House) -> None:
    await house.user("ada")
    await house.user("bob")
    await service.disable(house.context, "bob@example.com")
    said = set()
    for email, password in [
        ("ada@example.com", "not the password"),
        ("eve@example.com", PASSWORD),
        ("bob@example.com", PASSWORD),
        ("no address at all", PASSWORD),
        ("x' or '1'='1", PASSWORD),
        ("ada@example.com\x00", PASSWORD),
        ("a" * 10_000, "b" * 10_000),
        ("ada@example.com", "\x00"),
    ]:
        with pytest.raises(Unauthenticated) as refused:
            await service.sign_in(house.context, email=email, password=password)
        said.add(str(refused.value))
    assert len(said) == 1


async def test_an_unknown_address_costs_a_password_hash_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.user("ada")
    compared = []
    genuine = passwords.matches

    async def counting(password: str, stored: str | None) -> bool:
        compared.append(stored)
        return await genuine(password, stored)

    monkeypatch.setattr(passwords, "matches", counting)
    for email in ("ada@example.com", "eve@example.com", "no address"):
        with pytest.raises(Unauthenticated):
            await service.sign_in(house.context, email=email, password="not the password")
    assert len(compared) == 3
    assert compared[1:] == [None, None]


async def test_an_old_hash_is_renewed_when_its_owner_signs_in(house: House, pool: Pool) -> None:
    await house.user("ada")
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    await pool.execute("update users set password_hash = %(weak)s", weak=weak)
    sessions = await asyncio.gather(*(house.session("ada") for _ in range(4)))
    assert all([await _known(house, session.secret) for session in sessions])
    stored = await pool.fetch_value("select password_hash from users")
    assert not passwords.is_outdated(stored)
    await house.session("ada")
    assert await pool.fetch_value("select password_hash from users") == stored


async def test_a_secret_is_only_what_it_was_made_for(house: House) -> None:
    await house.user("ada")
    session, tokens = await house.session("ada"), await _signed_in(house)
    assert await service.identify(house.context, session.secret, "access", "token") is None
    assert await service.identify(house.context, tokens.access_token, "session") is None
    assert await service.identify(house.context, tokens.refresh_token, "access", "token") is None
    with pytest.raises(Unauthenticated):
        await service.refresh(house.context, tokens.access_token)


async def test_a_secret_of_the_right_form_that_nobody_made_is_unknown(house: House) -> None:
    for kind in ("session", "access", "token"):
        made = secret.make(kind)
        assert await service.identify(house.context, made, kind) is None


async def test_the_database_holds_no_secret(house: House, pool: Pool) -> None:
    caller = await house.caller("ada", is_admin=True)
    session, tokens = await house.session("ada"), await _signed_in(house)
    made = await service.add_token(house.context, caller, name="ci", scopes=["ingest"])
    link = await service.password_link(house.context, "ada@example.com")
    dump = ""
    for query in (
        "select users::text from users",
        "select sessions::text from sessions",
        "select refresh_tokens::text from refresh_tokens",
        "select api_tokens::text from api_tokens",
        "select links::text from links",
    ):
        dump += "".join(await pool.fetch_all(query, str))
    for text in (session.secret, tokens.access_token, tokens.refresh_token, made.token, link):
        assert text not in dump
        assert text.encode().hex() not in dump
        assert secret.digest(text).hex() in dump
    assert PASSWORD not in dump


def test_no_secret_is_in_a_repr() -> None:
    assert "ina_" not in repr(Tokens(access_token="ina_x", refresh_token="inr_x", expires_in=1))


# -- ending ----------------------------------------------------------------------------------


async def test_signing_out_ends_this_session_only(house: House) -> None:
    await house.user("ada")
    here, there = await house.session("ada"), await house.session("ada")
    await service.sign_out(house.context, here.secret)
    assert not await _known(house, here.secret)
    assert await _known(house, there.secret)


@pytest.mark.parametrize("by", ["access_token", "refresh_token"])
async def test_signing_out_ends_the_whole_family(house: House, by: str) -> None:
    await house.user("ada")
    first, other = await _signed_in(house), await _signed_in(house)
    second = await service.refresh(house.context, first.refresh_token)
    await service.sign_out(house.context, getattr(second, by))
    assert not await _known(house, first.access_token)
    assert not await _known(house, second.access_token)
    with pytest.raises(Unauthenticated):
        await service.refresh(house.context, second.refresh_token)
    assert await _known(house, other.access_token)


async def test_signing_out_twice_or_with_anything_is_no_error(house: House) -> None:
    await house.user("ada")
    tokens = await _signed_in(house)
    for text in (tokens.access_token, tokens.access_token, "", "\x00", "x" * 10_000):
        await service.sign_out(house.context, text)


async def test_a_disabled_user_is_out_at_once_and_comes_back(house: House) -> None:
    caller = await house.caller("ada")
    session, tokens = await house.session("ada"), await _signed_in(house)
    made = await service.add_token(house.context, caller, name="ci", scopes=["read"])
    await service.disable(house.context, "ADA@example.com")
    for text in (session.secret, tokens.access_token, made.token):
        assert not await _known(house, text)
    with pytest.raises(Unauthenticated):
        await service.refresh(house.context, tokens.refresh_token)
    with pytest.raises(Refused, match="disabled"):
        await service.password_link(house.context, "ada@example.com")
    await service.enable(house.context, "ada@example.com")
    assert await _known(house, made.token)
    assert not await _known(house, session.secret)
    await house.session("ada")


async def test_nobody_is_disabled_by_an_unknown_address(house: House) -> None:
    with pytest.raises(Missing):
        await service.disable(house.context, "eve@example.com")
    with pytest.raises(Missing):
        await service.enable(house.context, "eve@example.com")


async def test_people_see_and_end_their_browsers(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    here = await service.sign_in(
        house.context,
        email="ada@example.com",
        password=PASSWORD,
        user_agent="Firefox\x00\n" + "x" * 10_000,
    )
    found = await service.list_browsers(house.context, ada, here.secret)
    assert [one.is_this for one in found].count(True) == 1
    (this,) = [one for one in found if one.is_this]
    assert this.user_agent.startswith("Firefoxx")
    assert len(this.user_agent) == 200
    with pytest.raises(Missing):
        await service.end_browser(house.context, bob, this.id)
    await service.end_browser(house.context, ada, this.id)
    assert not await _known(house, here.secret)
    with pytest.raises(Missing):
        await service.end_browser(house.context, ada, this.id)


# -- refresh ---------------------------------------------------------------------------------


async def test_a_refresh_token_is_replaced_by_each_use(house: House) -> None:
    await house.user("ada")
    first = await _signed_in(house)
    house.later(days=29)
    second = await service.refresh(house.context, first.refresh_token)
    assert await _known(house, second.access_token)
    house.later(days=29)
    third = await service.refresh(house.context, second.refresh_token)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3


async def test_a_refresh_token_expires_after_thirty_days(house: House) -> None:
    await house.user("ada")
    tokens = await _signed_in(house)
    house.later(days=30)
    with pytest.raises(Unauthenticated):
        await service.refresh(house.context, tokens.refresh_token)


async def test_a_used_refresh_token_ends_its_family_and_no_other(house: House) -> None:
    await house.user("ada")
    first, other = await _signed_in(house), await _signed_in(house)
    second = await service.refresh(house.context, first.refresh_token)
    with pytest.raises(Unauthenticated):
        await service.refresh(house.context, first.refresh_token)
    assert not await _known(house, first.access_token)
    assert not await _known(house, second.access_token)
    with pytest.raises(Unauthenticated):
        await service.refresh(house.context, second.refresh_token)
    assert await _known(house, other.access_token)
    await service.refresh(house.context, other.refresh_token)


async def test_of_many_who_refresh_at_once_one_wins_and_then_all_are_out(house: House) -> None:
    for _ in range(5):
        await house.pool.execute("delete from users")
        await house.user("ada")
        first = await _signed_in(house)
        asked = [service.refresh(house.context, first.refresh_token) for _ in range(8)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        won = [answer for answer in answers if isinstance(answer, Tokens)]
        assert len(won) == 1
        assert all(isinstance(a, Tokens | Unauthenticated) for a in answers), answers
        assert not await _known(house, won[0].access_token)
        assert await house.count("refresh_tokens") == 0
        assert await house.count("sessions") == 0


async def test_nothing_of_a_family_outlives_its_end_while_it_is_refreshed(house: House) -> None:
    """The thief sends the used token while the owner replaces the present one."""
    for _ in range(10):
        await house.pool.execute("delete from users")
        await house.user("ada")
        first = await _signed_in(house)
        second = await service.refresh(house.context, first.refresh_token)
        await asyncio.gather(
            service.refresh(house.context, second.refresh_token),
            service.refresh(house.context, first.refresh_token),
            service.refresh(house.context, first.refresh_token),
            return_exceptions=True,
        )
        assert await house.count("refresh_tokens") == 0
        assert await house.count("sessions") == 0


# -- API tokens ------------------------------------------------------------------------------


async def test_an_api_token_works_until_it_expires(house: House) -> None:
    caller = await house.caller("ada")
    made = await service.add_token(
        house.context, caller, name="ci", scopes=["read", "ingest", "read"], days=2
    )
    assert made.token.startswith(made.details.prefix)
    assert list(made.details.scopes) == ["ingest", "read"]
    known = await house.with_token(made.token)
    assert known.user_id == caller.user_id
    assert known.scopes == {"ingest", "read"}
    assert known.kind == "token"
    house.later(days=2)
    assert await service.identify(house.context, made.token, "token") is None


async def test_the_use_of_a_token_is_noted_at_most_once_a_minute(house: House) -> None:
    caller = await house.caller("ada")
    made = await service.add_token(house.context, caller, name="ci", scopes=["read"])
    began = house.time
    noted = []
    for seconds in (0, 59, 1, 30):
        house.later(seconds=seconds)
        await house.with_token(made.token)
        (listed,) = await service.list_tokens(house.context, caller)
        noted.append(listed.last_used_at)
    minute = timedelta(minutes=1)
    assert noted == [began, began, began + minute, began + minute]


async def test_a_revoked_token_stops_at_once_and_is_not_listed(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    made = await service.add_token(house.context, ada, name="ci", scopes=["read"])
    with pytest.raises(Missing):
        await service.revoke_token(house.context, bob, made.details.id)
    await service.revoke_token(house.context, ada, made.details.id)
    assert await service.identify(house.context, made.token, "token") is None
    assert await service.list_tokens(house.context, ada) == []
    with pytest.raises(Missing):
        await service.revoke_token(house.context, ada, made.details.id)


async def test_a_token_makes_no_tokens(house: House) -> None:
    ada = await house.caller("ada")
    made = await service.add_token(house.context, ada, name="ci", scopes=["admin", "read"])
    token = await house.with_token(made.token)
    with pytest.raises(Refused):
        await service.add_token(house.context, token, name="more", scopes=["read"])
    with pytest.raises(Refused):
        await service.list_tokens(house.context, token)
    with pytest.raises(Refused):
        await service.revoke_token(house.context, token, made.details.id)
    with pytest.raises(Refused):
        await service.list_browsers(house.context, token)
    with pytest.raises(Refused):
        await service.sign_out(house.context, made.token)


async def test_only_the_scope_admin_makes_a_token_an_administrators(house: House) -> None:
    ada = await house.caller("ada", is_admin=True)
    read = await service.add_token(house.context, ada, name="r", scopes=["read"])
    admin = await service.add_token(house.context, ada, name="a", scopes=["admin"])
    assert not (await house.with_token(read.token)).is_admin
    assert (await house.with_token(read.token)).sees_all
    assert (await house.with_token(admin.token)).is_admin
    with pytest.raises(Refused, match="triage"):
        service.require(await house.with_token(admin.token), "triage")


async def test_a_user_has_at_most_a_hundred_tokens(house: House, pool: Pool) -> None:
    ada = await house.caller("ada")
    await pool.execute(
        "insert into api_tokens (hash, prefix, name, scopes, user_id) "
        "select sha256(n::text::bytea), 'ins_', 'x', '{read}', %(user)s "
        "from generate_series(1, 99) n",
        user=ada.user_id,
    )
    last = await service.add_token(house.context, ada, name="ci", scopes=["read"])
    with pytest.raises(Conflict):
        await service.add_token(house.context, ada, name="ci", scopes=["read"])
    await service.revoke_token(house.context, ada, last.details.id)
    await service.add_token(house.context, ada, name="ci", scopes=["read"])


async def test_the_operators_token_belongs_to_nobody_and_an_administrator_ends_it(
    house: House,
) -> None:
    ada, bob = await house.caller("ada", is_admin=True), await house.caller("bob")
    made = await service.operator_token(house.context, name="ci", scopes=["ingest"])
    known = await house.with_token(made.token)
    assert (known.user_id, known.public_id, known.name) == (None, None, "ci")
    assert known.sees_all
    assert not known.is_admin
    assert await service.list_tokens(house.context, bob) == []
    (listed,) = await service.list_tokens(house.context, ada)
    assert listed.user is None
    with pytest.raises(Missing):
        await service.revoke_token(house.context, bob, listed.id)
    await service.revoke_token(house.context, ada, listed.id)
    assert await service.identify(house.context, made.token, "token") is None


async def test_a_token_has_a_name_that_can_be_shown(house: House) -> None:
    ada = await house.caller("ada")
    for name in ("", "x" * 101, "a\x00b", "a\nb"):
        with pytest.raises(Invalid):
            await service.add_token(house.context, ada, name=name, scopes=["read"])
    assert await house.count("api_tokens") == 0


async def test_a_token_has_a_scope(house: House) -> None:
    with pytest.raises(Invalid):
        await service.operator_token(house.context, name="ci", scopes=[])
    with pytest.raises(Missing):
        await service.operator_token(house.context, name="ci", scopes=["read"], project="no")


# -- links -----------------------------------------------------------------------------------


async def _redeem(house: House, link: str, name: str = "ada") -> Session:
    return await service.redeem(
        house.context,
        link,
        email=f"{name}@example.com",
        name=name.title(),
        password=NEW_PASSWORD,
    )


async def test_the_first_administrator_comes_by_a_link(house: House) -> None:
    link = await service.first_admin_link(house.context)
    assert link is not None
    found = await service.find_link(house.context, link)
    assert (found.purpose, found.email) == ("first-admin", None)
    session = await _redeem(house, link)
    assert session.user.is_admin
    known = await service.identify(house.context, session.secret, "session")
    assert known is not None
    assert known.is_admin
    assert await service.first_admin_link(house.context) is None
    with pytest.raises(Missing):
        await _redeem(house, link, "bob")


async def test_a_new_link_replaces_the_older_one(house: House) -> None:
    older = await service.first_admin_link(house.context)
    newer = await service.first_admin_link(house.context)
    assert older is not None
    assert newer is not None
    with pytest.raises(Missing):
        await _redeem(house, older)
    await _redeem(house, newer)


async def test_a_link_expires_after_a_day(house: House) -> None:
    link = await service.first_admin_link(house.context)
    assert link is not None
    house.later(hours=24)
    with pytest.raises(Missing):
        await service.find_link(house.context, link)
    with pytest.raises(Missing):
        await _redeem(house, link)
    assert await house.count("users") == 0


async def test_of_many_who_redeem_at_once_one_is_administrator(house: House) -> None:
    link = await service.first_admin_link(house.context)
    assert link is not None
    asked = [_redeem(house, link, f"user{n}") for n in range(8)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, Session) for answer in answers) == 1
    assert sum(isinstance(answer, Missing) for answer in answers) == 7
    assert await house.count("users") == 1
    assert await house.count("links") == 0


async def test_many_links_at_once_leave_one(house: House) -> None:
    links = await asyncio.gather(*(service.first_admin_link(house.context) for _ in range(8)))
    assert None not in links
    assert await house.count("links") == 1


@pytest.mark.parametrize(
    ("email", "name", "password"),
    [
        ("no address", "Ada", NEW_PASSWORD),
        ("ada@example.com", "A\x00", NEW_PASSWORD),
        ("ada@example.com", "Ada", "short"),
        ("bob@example.com", "Ada", NEW_PASSWORD),
    ],
)
async def test_a_failure_leaves_the_link_as_it_was(
    house: House, email: str, name: str, password: str
) -> None:
    await house.user("bob")
    link = await service.first_admin_link(house.context)
    assert link is not None
    with pytest.raises((Invalid, Conflict)):
        await service.redeem(house.context, link, email=email, name=name, password=password)
    assert (await _redeem(house, link)).user.is_admin


async def test_no_link_survives_an_administrator_made_by_the_operator(house: House) -> None:
    link = await service.first_admin_link(house.context)
    assert link is not None
    await house.user("bob", is_admin=True)
    with pytest.raises(Missing):
        await _redeem(house, link)


async def test_a_password_link_sets_a_new_password_and_ends_every_session(house: House) -> None:
    await house.user("ada")
    session, tokens = await house.session("ada"), await _signed_in(house)
    older = await service.password_link(house.context, "ada@example.com")
    link = await service.password_link(house.context, "ADA@example.com")
    assert (await service.find_link(house.context, link)).email == "ada@example.com"
    with pytest.raises(Missing):
        await _redeem(house, older)
    began = await service.redeem(house.context, link, password=NEW_PASSWORD)
    assert began.user.email == "ada@example.com"
    assert await _known(house, began.secret)
    assert not await _known(house, session.secret)
    assert not await _known(house, tokens.access_token)
    with pytest.raises(Unauthenticated):
        await service.refresh(house.context, tokens.refresh_token)
    with pytest.raises(Unauthenticated):
        await house.session("ada")
    await service.sign_in(house.context, email="ada@example.com", password=NEW_PASSWORD)


async def test_a_password_link_is_for_its_user_whatever_the_form_says(house: House) -> None:
    await house.user("ada")
    await house.user("bob")
    link = await service.password_link(house.context, "ada@example.com")
    session = await _redeem(house, link, "bob")
    assert session.user.email == "ada@example.com"
    assert session.user.name == "Ada"
    assert not session.user.is_admin


async def test_a_session_does_not_begin_with_a_password_that_was_just_replaced(
    house: House,
) -> None:
    """Whoever knows the old password signs in while its owner replaces it."""
    await house.user("ada")
    for _ in range(5):
        link = await service.password_link(house.context, "ada@example.com")
        answers = await asyncio.gather(
            service.redeem(house.context, link, password=NEW_PASSWORD),
            *(house.session("ada") for _ in range(3)),
            *(_signed_in(house) for _ in range(3)),
            return_exceptions=True,
        )
        own = answers[0]
        assert isinstance(own, Session), own
        assert await _known(house, own.secret)
        assert await house.count("sessions") == 1
        assert await house.count("refresh_tokens") == 0
        back = await service.password_link(house.context, "ada@example.com")
        await service.redeem(house.context, back, password=PASSWORD)


async def test_a_session_waits_for_a_change_of_the_password_that_is_under_way(
    house: House, pool: Pool
) -> None:
    await house.user("ada")
    account = await queries.find_account(pool, "ada@example.com")
    assert account is not None
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    async with pool.transaction() as db:
        await queries.set_password(db, user_id=account.id, password_hash="new")
        begin = asyncio.create_task(
            queries.add_session(
                pool,
                digest=secret.digest("x"),
                account=account,
                family=None,
                now=house.time,
                expires_at=house.time + timedelta(days=7),
                user_agent="",
            )
        )
        async with asyncio.timeout(30):
            while not begin.done() and await pool.fetch_value(waiting) == 0:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
        await queries.end_all(db, user_id=account.id)
    assert await begin is False
    assert await house.count("sessions") == 0


async def test_there_is_no_password_link_for_nobody(house: House) -> None:
    with pytest.raises(Missing):
        await service.password_link(house.context, "eve@example.com")


async def test_what_is_no_link_opens_nothing(house: House) -> None:
    for text in ("", "inl_", "\x00", "x" * 10_000, "inl_" + "0" * 49, secret.make("link")):
        with pytest.raises(Missing):
            await service.find_link(house.context, text)
        with pytest.raises(Missing):
            await _redeem(house, text)


# -- clean-up --------------------------------------------------------------------------------


async def test_what_has_expired_is_deleted_and_nothing_else(house: House) -> None:
    await house.user("ada")
    await house.session("ada")
    await _signed_in(house)
    await service.password_link(house.context, "ada@example.com")
    house.later(minutes=16)
    assert (await service.clean(house.context)).sessions == 1
    house.later(days=8)
    fresh, tokens = await house.session("ada"), await _signed_in(house)
    cleaned = await service.clean(house.context)
    assert (cleaned.sessions, cleaned.refresh_tokens, cleaned.links) == (1, 0, 1)
    house.later(days=22)
    assert (await service.clean(house.context)).refresh_tokens == 1
    await service.refresh(house.context, tokens.refresh_token)
    assert not await _known(house, fresh.secret)


async def test_many_rows_are_deleted_in_batches(house: House, pool: Pool) -> None:
    ada = await house.caller("ada")
    await pool.execute(
        "insert into sessions (hash, user_id, expires_at) "
        "select sha256(n::text::bytea), %(user)s, %(past)s from generate_series(1, 12000) n",
        user=ada.user_id,
        past=house.time,
    )
    assert (await service.clean(house.context)).sessions == 12_000
    assert await house.count("sessions") == 1
