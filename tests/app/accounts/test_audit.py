"""The audit log: what is written, with what, who may read it, how long it is kept."""

from __future__ import annotations

import pytest

from insight_cloud.app.accounts import audit, service
from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.projects import service as projects
from insight_cloud.core.errors import Conflict, Missing, Refused, Unauthenticated
from tests.app.accounts.house import PASSWORD, House


async def events(house: House, **wanted: str) -> list[tuple[str, str, str]]:
    page = await audit.listed(house.context, **wanted)  # type: ignore[arg-type]  # by name
    return [(one.event, one.actor, one.target) for one in reversed(page.items)]


async def test_people_and_tokens_leave_a_trace(house: House) -> None:
    ada = await house.caller("ada", is_admin=True)
    made = await service.add_token(house.context, ada, name="ci", scopes=["read"])
    await service.revoke_token(house.context, ada, made.details.id)
    with pytest.raises(Unauthenticated):
        await service.sign_in(house.context, email="ada@example.com", password="wrong wrong")
    found = await events(house)
    assert found == [
        ("user added", "operator", "ada@example.com"),
        ("signed in", "ada@example.com", ""),
        ("token made", "ada@example.com", f"ci ({made.details.prefix}…)"),
        ("token revoked", "ada@example.com", str(made.details.id)),
        ("sign-in failed", "ada@example.com", ""),
    ]
    assert made.token not in str(await audit.listed(house.context))
    assert PASSWORD not in str(await audit.listed(house.context))


async def test_a_project_leaves_its_trace_beyond_its_end(house: House) -> None:
    ada = await house.caller("ada")
    await house.user("bob")
    await projects.create(house.context, ada, slug="demo", name="Demo")
    await projects.put_member(house.context, ada, "demo", email="bob@example.com", role="viewer")
    await projects.change(house.context, ada, "demo", name="New", public_badge=True)
    await projects.remove_member(house.context, ada, "demo", email="bob@example.com")
    await projects.delete(house.context, ada, "demo")
    page = await audit.listed(house.context, project="demo")
    assert [(one.event, one.target, one.detail) for one in reversed(page.items)] == [
        ("project made", "", ""),
        ("member changed", "bob@example.com", "viewer"),
        ("project changed", "", "name New, public_badge True"),
        ("member removed", "bob@example.com", ""),
        ("project deleted", "", ""),
    ]
    assert {one.via for one in page.items} == {"session"}


async def test_what_fails_leaves_no_trace_of_having_happened(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    await projects.create(house.context, ada, slug="demo", name="Demo")
    with pytest.raises(Missing):
        await projects.delete(house.context, bob, "demo")
    with pytest.raises(Conflict):
        await projects.remove_member(house.context, ada, "demo", email="ada@example.com")
    assert [event for event, *_ in await events(house, project="demo")] == ["project made"]


async def test_administrators_are_made_and_unmade_and_keep_one(house: House) -> None:
    root = await house.caller("root", is_admin=True)
    await house.user("bob")
    made = await service.change_user(house.context, root, "bob@example.com", is_admin=True)
    assert made.is_admin
    for change in ({"disabled": True}, {"is_admin": False}):
        with pytest.raises(Conflict, match="yourself"):
            await service.change_user(house.context, root, "ROOT@example.com", **change)
    bob = await house.session("bob")
    unmade = await service.change_user(house.context, root, "bob@example.com", is_admin=False)
    assert not unmade.is_admin
    # What a session knew of its rights ends with it.
    assert await service.identify(house.context, bob.secret, "session") is None
    with pytest.raises(Missing):
        await service.change_user(house.context, root, "nobody@example.com", disabled=True)


async def test_who_is_invited_comes_in_by_the_link_only(house: House) -> None:
    root = await house.caller("root", is_admin=True)
    link = await service.invite(house.context, root, email="eve@example.com", name="Eve")
    for password in ("", PASSWORD):
        with pytest.raises(Unauthenticated):
            await service.sign_in(house.context, email="eve@example.com", password=password)
    session = await service.redeem(house.context, link, password=PASSWORD)
    assert session.user.email == "eve@example.com"
    with pytest.raises(Conflict):
        await service.invite(house.context, root, email="eve@example.com", name="Eve")


async def test_the_log_is_kept_for_a_year(house: House) -> None:
    await house.user("ada")
    house.later(days=300)
    await house.user("bob")
    assert await audit.clean(house.context) == 0
    house.later(days=100)
    assert await audit.clean(house.context) == 1
    assert [target for *_, target in await events(house)] == ["bob@example.com"]


async def test_the_list_continues_and_is_filtered(house: House) -> None:
    for name in ("ada", "bob", "eve"):
        await house.user(name)
    first = await audit.listed(house.context, limit=2)
    rest = await audit.listed(house.context, limit=2, after=first.next)
    assert [one.target[:3] for one in (*first.items, *rest.items)] == ["eve", "bob", "ada"]
    assert rest.next is None
    assert (await audit.listed(house.context, event="signed in")).items == ()
    assert len((await audit.listed(house.context, actor="OPERATOR")).items) == 3


async def test_only_administrators_revoke_anybodys_token(house: House) -> None:
    ada, root = await house.caller("ada"), await house.caller("root", is_admin=True)
    made = await service.add_token(house.context, ada, name="ci", scopes=["read"])
    (shown,) = await service.list_all_tokens(house.context)
    assert (shown.user, shown.name) == ("ada@example.com", "ci")
    await service.revoke_any_token(house.context, root, made.details.id)
    assert await service.identify(house.context, made.token, "token") is None
    with pytest.raises(Refused):
        await service.add_token(house.context, await _token(house, root), name="x", scopes=["read"])


async def _token(house: House, owner: Caller) -> Caller:
    made = await service.add_token(house.context, owner, name="t", scopes=["admin"])
    return await house.with_token(made.token)
