from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from click.testing import CliRunner, Result

from insight_cloud.app import api
from insight_cloud.app.accounts import service
from insight_cloud.app.accounts.models import SCOPES
from insight_cloud.cli import users
from insight_cloud.core.errors import Conflict, InsightError, Invalid, Missing
from insight_cloud.database import Pool
from insight_cloud.settings import Settings

PASSWORD = "a long enough secret"

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `insight users ...` on the test's database; its event loop is its own."""
    monkeypatch.setenv("DATABASE_URL", migrated_url)
    monkeypatch.setenv("INSIGHT_SERVER__PUBLIC_URL", "https://insight.test/")

    async def run(*arguments: str, given: str = "") -> Result:
        def invoke() -> Result:
            return CliRunner().invoke(users.command, list(arguments), input=given)

        return await asyncio.to_thread(invoke)

    return run


async def _context(pool: Pool) -> api.Context:
    return api.Context(pool, Settings())


async def test_a_user_is_added_with_a_password_from_standard_input(run: Run, pool: Pool) -> None:
    added = await run("add", "ada@example.com", "--password-stdin", given=PASSWORD + "\n")
    assert added.exit_code == 0, added.output
    assert PASSWORD not in added.output
    context = await _context(pool)
    session = await service.sign_in(context, email="ada@example.com", password=PASSWORD)
    assert (session.user.name, session.user.is_admin) == ("ada", False)


async def test_a_password_is_asked_for_twice_and_not_shown(run: Run, pool: Pool) -> None:
    given = f"{PASSWORD}\n{PASSWORD}\n"
    added = await run("add", "ada@example.com", "--name", "Ada L", "--admin", given=given)
    assert added.exit_code == 0, added.output
    assert added.stdout == ""
    assert PASSWORD not in added.output
    (user,) = await service.list_users(await _context(pool))
    assert (user.name, user.is_admin) == ("Ada L", True)


async def test_what_cannot_be_added_is_said(run: Run) -> None:
    short = await run("add", "ada@example.com", "--password-stdin", given="short\n")
    assert isinstance(short.exception, Invalid)
    empty = await run("add", "ada@example.com", "--password-stdin")
    assert isinstance(empty.exception, Invalid)
    wrong = await run("add", "no address", "--password-stdin", given=PASSWORD)
    assert isinstance(wrong.exception, Invalid)
    await run("add", "ada@example.com", "--password-stdin", given=PASSWORD)
    taken = await run("add", "ADA@example.com", "--password-stdin", given=PASSWORD)
    assert isinstance(taken.exception, Conflict)


async def test_users_are_listed_for_people_and_programs(run: Run) -> None:
    await run("add", "bob@example.com", "--password-stdin", given=PASSWORD)
    await run("add", "ada@example.com", "--admin", "--password-stdin", given=PASSWORD)
    await run("disable", "bob@example.com")
    listed = await run("list")
    assert listed.stdout == (
        "ada@example.com\tada\tadministrator\nbob@example.com\tbob\tdisabled\n"
    )
    data = json.loads((await run("list", "--json")).stdout)
    assert [user["email"] for user in data] == ["ada@example.com", "bob@example.com"]
    assert "password" not in json.dumps(data)


async def test_a_link_makes_the_first_administrator(run: Run, pool: Pool) -> None:
    printed = await run("link")
    assert printed.exit_code == 0, printed.output
    url = printed.stdout.strip()
    assert url.startswith("https://insight.test/welcome/inl_")
    session = await service.redeem(
        await _context(pool),
        url.rpartition("/")[2],
        email="ada@example.com",
        name="Ada",
        password=PASSWORD,
    )
    assert session.user.is_admin
    again = await run("link")
    assert isinstance(again.exception, Conflict)


async def test_a_link_sets_a_password(run: Run, pool: Pool) -> None:
    await run("add", "ada@example.com", "--password-stdin", given=PASSWORD)
    url = json.loads((await run("link", "ada@example.com", "--json")).stdout)["url"]
    context = await _context(pool)
    await service.redeem(context, url.rpartition("/")[2], password="another long secret")
    await service.sign_in(context, email="ada@example.com", password="another long secret")
    unknown = await run("link", "eve@example.com")
    assert isinstance(unknown.exception, Missing)


async def test_a_token_is_the_only_thing_on_standard_output(run: Run, pool: Pool) -> None:
    made = await run("token", "--name", "ci", "--scope", "ingest", "--scope", "read", "--days", "3")
    assert made.exit_code == 0, made.output
    assert made.stdout.count("\n") == 1
    caller = await service.identify(await _context(pool), made.stdout.strip(), "token")
    assert caller is not None
    assert caller.user_id is None
    assert caller.scopes == {"ingest", "read"}
    life = await pool.fetch_value("select expires_at - created_at from api_tokens")
    assert life == timedelta(days=3)


async def test_a_token_is_not_made_for_what_is_not_there(run: Run) -> None:
    made = await run("token", "--name", "ci", "--scope", "read", "--project", "none")
    assert isinstance(made.exception, Missing)
    assert made.stdout == ""
    for wrong in (["--scope", "root"], ["--scope", "read", "--days", "0"], []):
        assert (await run("token", "--name", "ci", *wrong)).exit_code == 2


async def test_a_user_is_shut_out_and_let_in_again(run: Run, pool: Pool) -> None:
    await run("add", "ada@example.com", "--password-stdin", given=PASSWORD)
    context = await _context(pool)
    assert (await run("disable", "ada@example.com")).exit_code == 0
    with pytest.raises(InsightError, match="wrong"):
        await service.sign_in(context, email="ada@example.com", password=PASSWORD)
    assert (await run("enable", "ada@example.com")).exit_code == 0
    await service.sign_in(context, email="ada@example.com", password=PASSWORD)
    for command in ("disable", "enable"):
        assert isinstance((await run(command, "eve@example.com")).exception, Missing)


async def test_no_command_takes_a_password_as_an_argument() -> None:
    for command in users.command.commands.values():
        for parameter in command.params:
            assert parameter.name is not None
            if "password" in parameter.name:
                assert getattr(parameter, "is_flag", False), (command.name, parameter.name)


def test_the_scopes_are_those_of_accounts() -> None:
    assert set(users._SCOPES) == SCOPES
