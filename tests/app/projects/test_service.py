from __future__ import annotations

import asyncio

import pytest

from insight_cloud.app.accounts import policy
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.accounts.models import Caller, Role, Scope
from insight_cloud.app.projects import service
from insight_cloud.core.errors import Conflict, Invalid, Missing, Refused
from insight_cloud.database import Pool
from tests.app.accounts.house import House

WRONG_SLUGS = [
    "",
    "-a",
    "a-",
    "A",
    "a_b",
    "a b",
    "a/b",
    "ä",
    "a\n",
    "\x00",
    "' or '1'='1",
    "<b>",
    "x" * 65,
    "x" * 10_000,
]


async def _token(
    house: House, caller: Caller, *scopes: Scope, project: str | None = None
) -> Caller:
    made = await accounts.add_token(
        house.context, caller, name="ci", scopes=scopes, project=project
    )
    return await house.with_token(made.token)


async def _operator(house: House, *scopes: Scope, project: str | None = None) -> Caller:
    made = await accounts.operator_token(house.context, name="ci", scopes=scopes, project=project)
    return await house.with_token(made.token)


# -- making ----------------------------------------------------------------------------------


async def test_whoever_makes_a_project_maintains_it(house: House) -> None:
    ada = await house.caller("ada")
    project = await service.create(house.context, ada, slug="demo", name=" The demo ")
    assert (project.slug, project.name, project.role) == ("demo", "The demo", "maintainer")
    assert project.default_branch == "main"
    assert len(project.hash_key) == 32
    assert project.hash_key.hex() not in repr(project)
    assert not hasattr(project.public, "hash_key")
    assert await service.open(house.context, ada, "demo", "manage") == project


async def test_no_two_projects_share_a_key(house: House) -> None:
    ada = await house.caller("ada")
    keys = {
        (await service.create(house.context, ada, slug=slug, name="x")).hash_key
        for slug in ("a", "b", "0-0", "x" * 64)
    }
    assert len(keys) == 4


async def test_a_slug_is_taken_once_also_at_once(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    asked = [
        service.create(house.context, caller, slug="demo", name="x")
        for caller in (ada, bob, ada, bob)
    ]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, Conflict) for answer in answers) == 3
    assert await house.count("members") == 1


async def test_a_slug_that_is_none_is_refused_everywhere(house: House) -> None:
    ada = await house.caller("ada")
    for slug in WRONG_SLUGS:
        with pytest.raises(Invalid):
            await service.create(house.context, ada, slug=slug, name="x")
        with pytest.raises(Invalid):
            await service.ensure(house.context, ada, slug)
        with pytest.raises(Missing):
            await service.open(house.context, ada, slug)
    assert await house.count("projects") == 0


async def test_an_upload_makes_the_project_it_names_once(house: House) -> None:
    ada = await house.caller("ada")
    token = await _token(house, ada, "ingest")
    made = await asyncio.gather(*(service.ensure(house.context, token, "demo") for _ in range(6)))
    assert {project.number for project in made} == {made[0].number}
    assert made[0].name == "demo"
    assert (await service.open(house.context, ada, "demo")).role == "maintainer"
    assert await house.count("projects") == 1


async def test_an_operators_upload_makes_a_project_that_administrators_see(house: House) -> None:
    ada, bob = await house.caller("ada", is_admin=True), await house.caller("bob")
    operator = await _operator(house, "ingest")
    await service.ensure(house.context, operator, "demo")
    await service.ensure(house.context, operator, "demo")
    assert (await service.open(house.context, ada, "demo", "manage")).role is None
    with pytest.raises(Missing):
        await service.open(house.context, bob, "demo")


async def test_an_upload_into_another_teams_project_finds_none(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    await service.create(house.context, ada, slug="demo", name="x")
    with pytest.raises(Missing):
        await service.ensure(house.context, bob, "demo")
    with pytest.raises(Missing):
        await service.ensure(house.context, await _token(house, bob, "ingest"), "demo")


async def test_an_upload_takes_the_scope_and_the_role(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    await service.create(house.context, ada, slug="demo", name="x")
    await service.put_member(house.context, ada, "demo", email="bob@example.com", role="viewer")
    with pytest.raises(Refused, match="triager"):
        await service.ensure(house.context, bob, "demo")
    with pytest.raises(Refused, match="ingest"):
        await service.ensure(house.context, await _token(house, ada, "read", "admin"), "demo")
    with pytest.raises(Refused, match="ingest"):
        await service.ensure(house.context, await _token(house, ada, "read", "admin"), "new")
    await service.put_member(house.context, ada, "demo", email="bob@example.com", role="triager")
    assert (await service.ensure(house.context, bob, "demo")).role == "triager"


async def test_a_token_for_one_project_makes_and_finds_no_other(house: House) -> None:
    ada = await house.caller("ada", is_admin=True)
    await service.create(house.context, ada, slug="demo", name="x")
    await service.create(house.context, ada, slug="other", name="x")
    for token in (
        await _token(house, ada, "ingest", "read", "admin", project="demo"),
        await _operator(house, "ingest", "read", "admin", project="demo"),
    ):
        assert not token.is_admin
        assert (await service.ensure(house.context, token, "demo")).slug == "demo"
        for slug in ("other", "new"):
            with pytest.raises(Missing):
                await service.ensure(house.context, token, slug)
            with pytest.raises(Missing):
                await service.open(house.context, token, slug)
        with pytest.raises(Refused):
            await service.create(house.context, token, slug="new", name="x")
        listed = await service.list_projects(house.context, token)
        assert [project.slug for project in listed.items] == ["demo"]
    assert await house.count("projects") == 2


# -- opening ---------------------------------------------------------------------------------


async def test_another_teams_project_looks_like_none(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    await service.create(house.context, ada, slug="demo", name="x")
    said = []
    for slug in ("demo", "none"):
        with pytest.raises(Missing) as missing:
            await service.open(house.context, bob, slug, "manage")
        said.append(str(missing.value).replace(slug, "SLUG"))
    assert said[0] == said[1]


async def test_each_role_includes_those_before_it(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    await service.create(house.context, ada, slug="demo", name="x")
    roles: tuple[Role, ...] = ("viewer", "triager", "maintainer")
    for present, role in enumerate(roles):
        await service.put_member(house.context, ada, "demo", email="bob@example.com", role=role)
        for right, need in policy.NEEDS.items():
            if roles.index(need.role) <= present:
                await service.open(house.context, bob, "demo", right)
            else:
                with pytest.raises(Refused, match=need.role):
                    await service.open(house.context, bob, "demo", right)


async def test_no_scope_includes_another(house: House) -> None:
    ada = await house.caller("ada")
    await service.create(house.context, ada, slug="demo", name="x")
    every: tuple[Scope, ...] = ("ingest", "read", "triage", "admin")
    for had in every:
        token = await _token(house, ada, had)
        for right, need in policy.NEEDS.items():
            if need.scope == had:
                await service.open(house.context, token, "demo", right)
            else:
                with pytest.raises(Refused, match=need.scope):
                    await service.open(house.context, token, "demo", right)


async def test_a_token_loses_what_its_owner_loses(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    await service.create(house.context, ada, slug="demo", name="x")
    await service.put_member(house.context, ada, "demo", email="bob@example.com", role="maintainer")
    token = await _token(house, bob, "read", "admin", project="demo")
    await service.open(house.context, token, "demo", "manage")
    await service.put_member(house.context, ada, "demo", email="bob@example.com", role="viewer")
    with pytest.raises(Refused):
        await service.open(house.context, token, "demo", "manage")
    await service.remove_member(house.context, ada, "demo", email="bob@example.com")
    with pytest.raises(Missing):
        await service.open(house.context, token, "demo")


async def test_administrators_see_all_and_their_reading_tokens_too(house: House) -> None:
    ada, root = await house.caller("ada"), await house.caller("root", is_admin=True)
    await service.create(house.context, ada, slug="demo", name="x")
    await service.open(house.context, root, "demo", "manage")
    token = await _token(house, root, "read")
    await service.open(house.context, token, "demo")
    with pytest.raises(Refused):
        await service.open(house.context, token, "demo", "manage")


# -- listing ---------------------------------------------------------------------------------


async def test_pages_hold_every_visible_project_once(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    root = await house.caller("root", is_admin=True)
    for n in range(7):
        await service.create(house.context, ada, slug=f"ada-{n}", name="x")
        await service.create(house.context, bob, slug=f"bob-{n}", name="x")
    for caller, count in ((ada, 7), (root, 14), (await _operator(house, "read"), 14)):
        seen, cursor = [], None
        while True:
            page = await service.list_projects(house.context, caller, after=cursor, limit=3)
            seen += [project.slug for project in page.items]
            assert len(page.items) <= 3
            cursor = page.next
            if cursor is None:
                break
        assert seen == sorted(set(seen))
        assert len(seen) == count
        assert [p.slug for p in await service.visible(house.context, caller)] == seen


async def test_a_cursor_of_nonsense_is_refused(house: House) -> None:
    ada = await house.caller("ada")
    for cursor in ("x", "!", "WzFd", "W10", "WyJcdTAwMDAiXQ", "x" * 10_000):
        with pytest.raises(Invalid):
            await service.list_projects(house.context, ada, after=cursor)


async def test_listing_takes_the_scope_read(house: House) -> None:
    ada = await house.caller("ada")
    token = await _token(house, ada, "ingest")
    with pytest.raises(Refused):
        await service.list_projects(house.context, token)
    with pytest.raises(Refused):
        await service.visible(house.context, token)


# -- changing --------------------------------------------------------------------------------


async def test_a_maintainer_changes_a_project_and_leaves_the_rest(house: House) -> None:
    ada = await house.caller("ada")
    await service.create(house.context, ada, slug="demo", name="x")
    changed = await service.change(house.context, ada, "demo", name="<i>O'Hara</i>")
    assert (changed.name, changed.default_branch) == ("<i>O'Hara</i>", "main")
    changed = await service.change(house.context, ada, "demo", default_branch="release/1.0")
    assert (changed.name, changed.default_branch) == ("<i>O'Hara</i>", "release/1.0")
    for branch in ("", "a b", "a..b", "-a", "/a", "a/", "a\x00", "a.lock", "x" * 201, "a@{b"):
        with pytest.raises(Invalid):
            await service.change(house.context, ada, "demo", default_branch=branch)
    for name in ("", " ", "a\x00", "x" * 10_000):
        with pytest.raises(Invalid):
            await service.change(house.context, ada, "demo", name=name)
    assert await service.open(house.context, ada, "demo") == changed


async def test_a_deleted_project_takes_everything_with_it(house: House, pool: Pool) -> None:
    ada = await house.caller("ada")
    project = await service.create(house.context, ada, slug="demo", name="x")
    other = await service.create(house.context, ada, slug="other", name="x")
    token = await _token(house, ada, "read", project="demo")
    assert token.project == "demo"
    for number in (project.number, other.number):
        await _fill(pool, number)
    await service.delete(house.context, ada, "demo")
    with pytest.raises(Missing):
        await service.open(house.context, ada, "demo")
    assert await house.count("api_tokens") == 0
    assert await pool.fetch_value("select count(*) from issues") == 1
    assert await pool.fetch_value("select count(*) from analyses") == 1
    assert (await service.open(house.context, ada, "other")).number == other.number


async def test_only_a_maintainer_changes_and_deletes(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    await service.create(house.context, ada, slug="demo", name="x")
    await service.put_member(house.context, ada, "demo", email="bob@example.com", role="triager")
    token = await _token(house, ada, "read", "ingest", "triage")
    for caller in (bob, token):
        with pytest.raises(Refused):
            await service.change(house.context, caller, "demo", name="y")
        with pytest.raises(Refused):
            await service.delete(house.context, caller, "demo")
        with pytest.raises(Refused):
            await service.put_member(
                house.context, caller, "demo", email="bob@example.com", role="maintainer"
            )
        with pytest.raises(Refused):
            await service.list_tokens(house.context, caller, "demo")


# -- members ---------------------------------------------------------------------------------


async def test_members_come_change_and_go(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    await service.create(house.context, ada, slug="demo", name="x")
    await service.put_member(house.context, ada, "demo", email=" BOB@example.com", role="viewer")
    members = await service.list_members(house.context, bob, "demo")
    assert [(one.email, one.role) for one in members] == [
        ("ada@example.com", "maintainer"),
        ("bob@example.com", "viewer"),
    ]
    await service.remove_member(house.context, ada, "demo", email="bob@example.com")
    with pytest.raises(Missing):
        await service.open(house.context, bob, "demo")
    with pytest.raises(Missing):
        await service.remove_member(house.context, ada, "demo", email="bob@example.com")


async def test_everybody_may_leave_and_nobody_is_pushed_out_by_a_viewer(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    await service.create(house.context, ada, slug="demo", name="x")
    await service.put_member(house.context, ada, "demo", email="bob@example.com", role="viewer")
    with pytest.raises(Refused):
        await service.remove_member(house.context, bob, "demo", email="ada@example.com")
    await service.remove_member(house.context, bob, "demo", email="bob@example.com")
    assert await house.count("members") == 1


async def test_somebody_maintains_a_project(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    root = await house.caller("root", is_admin=True)
    await service.create(house.context, ada, slug="demo", name="x")
    with pytest.raises(Conflict):
        await service.remove_member(house.context, ada, "demo", email="ada@example.com")
    with pytest.raises(Conflict):
        await service.put_member(house.context, ada, "demo", email="ada@example.com", role="viewer")
    await service.put_member(house.context, ada, "demo", email="bob@example.com", role="maintainer")
    await accounts.disable(house.context, "bob@example.com")
    with pytest.raises(Conflict):  # a disabled maintainer maintains nothing
        await service.remove_member(house.context, ada, "demo", email="ada@example.com")
    await service.remove_member(house.context, root, "demo", email="ada@example.com")
    await service.remove_member(house.context, root, "demo", email=bob.email)
    assert await house.count("members") == 0


async def test_two_maintainers_who_remove_each_other_leave_one(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    for n in range(5):
        slug = f"demo-{n}"
        await service.create(house.context, ada, slug=slug, name="x")
        await service.put_member(
            house.context, ada, slug, email="bob@example.com", role="maintainer"
        )
        await asyncio.gather(
            service.remove_member(house.context, ada, slug, email="bob@example.com"),
            service.remove_member(house.context, bob, slug, email="ada@example.com"),
            return_exceptions=True,
        )
    left = "select count(*) from members where role = 'maintainer' group by project_id"
    assert await house.pool.fetch_all(left, int) == 5 * [1]


async def test_nobody_is_added_who_has_no_account(house: House) -> None:
    ada = await house.caller("ada")
    await house.user("bob")
    await accounts.disable(house.context, "bob@example.com")
    await service.create(house.context, ada, slug="demo", name="x")
    for email in ("eve@example.com", "bob@example.com", "no address", "a\x00@b.c", "x" * 10_000):
        with pytest.raises(Missing):
            await service.put_member(house.context, ada, "demo", email=email, role="viewer")
        with pytest.raises(Missing):
            await service.remove_member(house.context, ada, "demo", email=email)
    assert await house.count("members") == 1


async def test_a_project_has_at_most_a_thousand_members(house: House, pool: Pool) -> None:
    ada = await house.caller("ada")
    await house.user("bob")
    project = await service.create(house.context, ada, slug="demo", name="x")
    await pool.execute(
        "with many as (insert into users (email, name, password_hash) "
        "select n || '@example.com', 'x', '' from generate_series(1, 999) n returning id) "
        "insert into members (project_id, user_id, role) select %(id)s, id, 'viewer' from many",
        id=project.number,
    )
    with pytest.raises(Conflict):
        await service.put_member(house.context, ada, "demo", email="bob@example.com", role="viewer")
    await service.put_member(house.context, ada, "demo", email="1@example.com", role="triager")
    assert len(await service.list_members(house.context, ada, "demo")) == 1_000


# -- tokens ----------------------------------------------------------------------------------


async def test_maintainers_see_and_end_every_token_for_their_project(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    await service.create(house.context, ada, slug="demo", name="x")
    await service.create(house.context, ada, slug="other", name="x")
    await service.put_member(house.context, ada, "demo", email="bob@example.com", role="triager")
    await _token(house, ada, "read")
    await _token(house, ada, "read", project="other")
    made = await accounts.add_token(
        house.context, bob, name="ci", scopes=["ingest"], project="demo"
    )
    await _operator(house, "ingest", project="demo")
    found = await service.list_tokens(house.context, ada, "demo")
    assert [one.user for one in found] == [None, "bob@example.com"]
    with pytest.raises(Missing):
        await service.revoke_token(house.context, ada, "other", made.details.id)
    await service.revoke_token(house.context, ada, "demo", made.details.id)
    assert await accounts.identify(house.context, made.token, "token") is None
    assert len(await service.list_tokens(house.context, ada, "demo")) == 1


async def _fill(pool: Pool, project: int) -> None:
    """Put one issue with all that it refers to into a project."""
    await pool.execute(
        "with b as (insert into branches (project_id, name) values (%(p)s, 'main') returning id),"
        " a as (insert into analyses (branch_id, commit, category, body_hash, complete, new,"
        "  fixed, reopened, unchanged, open, suppressed, seconds, uploader)"
        "  select id, 'c', '', '', true, 1, 0, 0, 0, 1, 0, 1, 'x' from b returning id),"
        " r as (insert into rules (project_id, tool, code, name, summary, help, help_uri)"
        "  values (%(p)s, 't', 'c', '', '', '', '') returning id),"
        " f as (insert into paths (project_id, path) values (%(p)s, 'x.py') returning id),"
        " i as (insert into issues (branch_id, rule_id, path_id, severity, category,"
        "  run_category, state, message_key, message, first_analysis_id)"
        "  select b.id, r.id, f.id, 3, 'security', '', 'open', 1, 'm', a.id"
        "  from b, r, f, a returning id, first_analysis_id)"
        " insert into issue_events (issue_id, analysis_id, event)"
        " select id, first_analysis_id, 'new' from i",
        p=project,
    )
