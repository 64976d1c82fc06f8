"""Branches that hold their difference to another one, and pull requests through their life."""

from __future__ import annotations

import random
from typing import Any

import pytest

from insight_cloud.app.analyses import branches
from insight_cloud.app.analyses.models import Submission
from insight_cloud.app.issues import service as issues
from insight_cloud.app.triage import service as triage
from insight_cloud.app.triage.models import Selection, Verdict
from insight_cloud.core.errors import Conflict, Invalid, Missing
from tests.app.analyses.conftest import Site, finding, run


def code(rule: str, line: int = 1, path: str = "a.py", **others: Any) -> Any:
    """A finding that carries hashes of its code, so that it is recognised anywhere."""
    return finding(rule, path, line, context_hash=f"c{rule}", line_hash=f"l{rule}", **others)


async def pull(site: Site, *findings: Any, commit: str, **others: Any) -> Submission:
    return await site.analyse(run(*findings), commit=commit, branch="topic", pr=7, **others)


async def numbers(site: Site) -> tuple[list[str], list[str]]:
    """The rules of what pull request 7 adds, and of what it fixes."""
    new = await site.issues(branch="pull/7")
    gone = await site.issues(branch="pull/7", gone=True)
    return sorted(one.rule for one in new), sorted(one.rule for one in gone)


async def test_a_pull_request_holds_what_it_adds_and_what_it_fixes(site: Site) -> None:
    await site.analyse(run(code("A"), code("B"), code("C")), commit="m1")
    done = await pull(site, code("A", 50), code("B"), code("N"), commit="t1", base_commit="m1")
    found = done.analysis
    assert (found.new, found.fixed, found.unchanged, found.open) == (1, 1, 2, 1)
    assert (found.base, found.pr, found.branch) == ("main", 7, "pull/7")
    assert await numbers(site) == (["N"], ["C"])
    stored = await site.context.pool.fetch_value(
        "select count(*) from issues i join branches b on b.id = i.branch_id where b.pr = 7"
    )
    assert stored == 1
    state = await branches.pull(site.context, site.project, 7)
    assert (state.kind, state.base, state.head) == ("pr", "main", "topic")
    assert (state.open.total, state.fixed, state.commit) == (1, 1, "t1")


async def test_the_gate_of_a_pull_request_is_about_what_it_adds(site: Site) -> None:
    await site.analyse(run(code("A", severity="critical")), commit="m1")
    same = await pull(site, code("A", severity="critical"), commit="t1", base_commit="m1")
    assert same.analysis.verdict == "passed"
    worse = await pull(
        site,
        code("A", severity="critical"),
        code("N", severity="high"),
        commit="t2",
        base_commit="m1",
    )
    assert worse.analysis.verdict == "failed"
    assert worse.gate is not None
    assert worse.gate.compared_with == "main at m1"
    # Unlike on a long branch it stays failed for as long as the issue is there.
    again = await pull(
        site,
        code("A", severity="critical"),
        code("N", 9, severity="high"),
        commit="t3",
        base_commit="m1",
    )
    assert (again.analysis.verdict, again.analysis.new) == ("failed", 1)


async def test_pushes_keep_the_identity_of_what_is_new(site: Site) -> None:
    await site.analyse(run(code("A")), commit="m1")
    await pull(site, code("A"), code("N"), code("O"), commit="t1", base_commit="m1")
    (first,) = await site.issues(branch="pull/7", rule="N")
    await pull(site, code("A"), code("N", 30, "b.py"), commit="t2", base_commit="m1")
    (second,) = await site.issues(branch="pull/7")
    assert (second.id, second.path) == (first.id, "b.py")
    detail = await issues.one(site.context, site.project, first.id)
    assert [event.event for event in detail.events] == ["new"]


async def test_the_merge_base_counts_and_not_what_came_to_the_base_since(site: Site) -> None:
    await site.analyse(run(code("A"), code("B")), commit="m1")
    await site.analyse(run(code("A"), code("X")), commit="m2")  # B is fixed there, X is new
    await site.analyse(run(code("A"), code("B"), code("X")), commit="m3")  # B is back
    done = await pull(site, code("A"), code("B"), code("N"), commit="t1", base_commit="m1")
    assert (done.analysis.new, done.analysis.fixed, done.analysis.unchanged) == (1, 0, 2)
    assert await numbers(site) == (["N"], [])
    # Rebased on m2: there B was fixed, so keeping it would bring it back.
    done = await pull(site, code("A"), code("B"), code("N"), commit="t2", base_commit="m2")
    assert await numbers(site) == (["B", "N"], ["X"])
    # Rebased on m3, where everybody has B and X.
    done = await pull(
        site, code("A"), code("B"), code("N"), code("X"), commit="t3", base_commit="m3"
    )
    assert (done.analysis.new, done.analysis.fixed) == (1, 0)
    assert await numbers(site) == (["N"], [])


async def test_a_force_push_shows_only_what_is_there_now(site: Site) -> None:
    await site.analyse(run(code("A")), commit="m1")
    await pull(site, code("A"), code("N"), code("O"), commit="t1", base_commit="m1")
    done = await pull(site, code("P"), commit="z9", base_commit="m1")
    assert (done.analysis.new, done.analysis.fixed, done.analysis.open) == (1, 1, 1)
    assert await numbers(site) == (["P"], ["A"])
    back = await pull(site, code("A"), code("N"), commit="t1", base_commit="m1")
    assert (back.analysis.new, back.analysis.fixed) == (1, 0)
    assert await numbers(site) == (["N"], [])


async def test_an_unknown_merge_base_is_the_newest_of_the_base(site: Site) -> None:
    await site.analyse(run(code("A")), commit="m1")
    done = await pull(site, code("A"), code("N"), commit="t1", base_commit="never-analysed")
    assert (done.analysis.new, done.analysis.unchanged) == (1, 1)
    assert done.gate is not None
    assert done.gate.compared_with == "main at m1"


async def test_without_any_analysis_of_the_base_nothing_can_be_called_new(site: Site) -> None:
    done = await pull(site, code("A", severity="critical"), commit="t1", base_commit="m1")
    assert (done.analysis.verdict, done.analysis.open) == ("passed", 1)
    assert done.gate is not None
    assert "not analysed yet" in done.gate.outcomes[1].skipped
    await site.analyse(run(code("A", severity="critical")), commit="m1")
    done = await pull(site, code("A", severity="critical"), commit="t2", base_commit="m1")
    assert (done.analysis.new, done.analysis.open) == (0, 0)


async def test_a_tool_that_failed_in_a_pull_request_fixes_nothing(site: Site) -> None:
    await site.analyse(run(code("A")), commit="m1")
    await pull(site, code("A"), code("N"), commit="t1", base_commit="m1")
    done = await site.analyse(
        run(state="failed", detail="crash"), commit="t2", branch="topic", pr=7, base_commit="m1"
    )
    assert (done.analysis.fixed, done.analysis.open) == (0, 1)
    assert await numbers(site) == (["N"], [])


async def test_tools_of_a_pull_request_are_compared_apart(site: Site) -> None:
    other = run(code("S"), tool="semgrep")
    await site.analyse(run(code("A")), other, commit="m1")
    await pull(site, code("A"), code("N"), commit="t1", base_commit="m1")
    done = await site.analyse(
        run(tool="semgrep"), commit="t1", branch="topic", pr=7, base_commit="m1", category="s"
    )
    assert (done.analysis.new, done.analysis.fixed) == (0, 0)  # another category: never there
    done = await site.analyse(
        run(tool="semgrep"), commit="t2", branch="topic", pr=7, base_commit="m1"
    )
    assert (done.analysis.new, done.analysis.fixed) == (0, 1)
    assert await numbers(site) == (["N"], ["S"])


async def test_a_judgement_on_the_base_holds_in_the_pull_request_and_back(site: Site) -> None:
    await site.analyse(run(code("A"), code("B")), commit="m1")
    (issue,) = await site.issues(rule="A")
    verdict = Verdict("false_positive", "why")
    chosen = Selection((issue.id,))
    await triage.judge(site.context, site.caller, site.project, chosen, verdict)
    done = await pull(site, code("A", 9), code("B"), code("N"), commit="t1", base_commit="m1")
    assert (done.analysis.new, done.analysis.suppressed) == (1, 1)
    (new,) = await site.issues(branch="pull/7")
    await triage.judge(site.context, site.caller, site.project, Selection((new.id,)), verdict)
    state = await branches.pull(site.context, site.project, 7)
    assert (state.open.total, state.verdict) == (0, "passed")
    merged = await site.analyse(run(code("A"), code("B"), code("N", 3)), commit="m2")
    assert (merged.analysis.new, merged.analysis.suppressed) == (0, 2)


async def test_a_scope_fixes_nothing_elsewhere(site: Site) -> None:
    await site.analyse(run(code("A", path="a.py"), code("B", path="b.py")), commit="1")
    part = run(scope=frozenset({"a.py"}))
    done = await site.analyse(part, commit="2")
    assert (done.analysis.fixed, [one.rule for one in await site.issues()]) == (1, ["B"])
    done = await site.analyse(part, commit="t1", branch="topic", pr=7)
    assert (done.analysis.fixed, done.analysis.new) == (0, 0)


# -- short branches, kinds -------------------------------------------------------------------


async def test_a_short_branch_works_as_a_pull_request_does(site: Site) -> None:
    await site.analyse(run(code("A"), code("B")), commit="m1")
    done = await site.analyse(run(code("A"), code("N")), commit="t", branch="topic", base="main")
    assert (done.analysis.new, done.analysis.fixed, done.analysis.open) == (1, 1, 1)
    # A later upload that names no base is still about the same branch.
    done = await site.analyse(run(code("A"), code("N"), code("O")), commit="u", branch="topic")
    assert (done.analysis.new, done.analysis.base) == (2, "main")
    page = await branches.listed(site.context, site.project)
    assert [(one.name, one.kind) for one in page.items] == [("topic", "short"), ("main", "long")]


async def test_a_base_that_holds_no_full_state_gives_way_to_the_default_branch(site: Site) -> None:
    await site.analyse(run(code("A")), commit="m1")
    await site.analyse(run(code("A"), code("N")), commit="t", branch="first", base="main")
    done = await site.analyse(
        run(code("A"), code("N"), code("O")), commit="t", branch="second", base="first"
    )
    assert done.analysis.new == 2


@pytest.mark.parametrize(("branch", "base"), [("main", "next"), (None, "main"), ("x", "x")])
async def test_some_branches_cannot_have_a_base(site: Site, branch: str, base: str) -> None:
    with pytest.raises(Invalid, match="cannot be compared"):
        await site.analyse(run(), branch=branch, base=base)


async def test_a_long_branch_does_not_lose_its_state_by_a_parameter(site: Site) -> None:
    await site.analyse(run(code("A")), commit="1", branch="release")
    with pytest.raises(Conflict, match="full state"):
        await site.analyse(run(), commit="2", branch="release", base="main")
    assert len(await site.issues(branch="release")) == 1
    await branches.remove(site.context, site.caller, site.project, "release")
    done = await site.analyse(run(code("A")), commit="2", branch="release", base="main")
    assert done.analysis.base == "main"


async def test_a_branch_is_deleted_with_everything_on_it_and_nothing_else(site: Site) -> None:
    await site.analyse(run(code("A"), code("B")), commit="m1")
    await pull(site, code("A"), code("N"), commit="t1", base_commit="m1")
    await branches.remove(site.context, site.caller, site.project, "pull/7")
    assert len(await site.issues()) == 2
    with pytest.raises(Missing):
        await branches.pull(site.context, site.project, 7)
    with pytest.raises(Missing):
        await branches.remove(site.context, site.caller, site.project, "pull/7")
    with pytest.raises(Conflict):
        await branches.remove(site.context, site.caller, site.project, "main")


async def test_a_pull_request_is_closed_and_opened_by_the_next_push(site: Site) -> None:
    await site.analyse(run(code("A")), commit="m1")
    await pull(site, code("N"), commit="t1", base_commit="m1")
    await branches.close_pull(site.context, site.project, 7)
    listed = await branches.listed(site.context, site.project, kind="pr")
    assert listed.items == ()
    (shown,) = (await branches.listed(site.context, site.project, kind="pr", closed=True)).items
    assert shown.closed_at == site.context.now()
    await pull(site, code("N"), commit="t2", base_commit="m1")
    assert len((await branches.listed(site.context, site.project, kind="pr")).items) == 1
    with pytest.raises(Missing):
        await branches.close_pull(site.context, site.project, 8)


async def test_whatever_is_pushed_and_rebased_the_numbers_are_those_of_the_sets(
    site: Site,
) -> None:
    """Against plain sets of rules: new is in the head and not in the base, fixed the reverse."""
    chance = random.Random(20260301)
    rules = [f"R{n}" for n in range(12)]
    base: dict[str, set[str]] = {}
    for number in range(5):
        chosen = set(chance.sample(rules, 6))
        base[f"m{number}"] = chosen
        await site.analyse(run(*(code(rule) for rule in sorted(chosen))), commit=f"m{number}")
    for push in range(25):
        commit = chance.choice(sorted(base))
        head = set(chance.sample(rules, chance.randint(0, 12)))
        done = await pull(
            site,
            *(code(rule, chance.randint(1, 99)) for rule in sorted(head)),
            commit=f"t{push}",
            base_commit=commit,
        )
        found = done.analysis
        assert (found.new, found.fixed) == (len(head - base[commit]), len(base[commit] - head))
        new, gone = await numbers(site)
        assert (new, gone) == (sorted(head - base[commit]), sorted(base[commit] - head))
        assert found.open == len(new)
