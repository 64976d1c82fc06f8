"""Judgements hold on every branch, through moves, until they end; and every count agrees."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insight_cloud.app.issues import service as issues
from insight_cloud.app.issues.models import Counts, Filter, Issue, TriageState
from insight_cloud.app.sarif.model import SEVERITIES
from insight_cloud.app.triage import service
from insight_cloud.app.triage.models import Judged, Selection, Verdict
from insight_cloud.core.errors import Invalid, Missing
from tests.app.analyses.conftest import START, Site, finding, run

TODAY = START.date()
FALSE = Verdict("false_positive", "it is a test")


async def judge(site: Site, verdict: Verdict, *chosen: Issue, **wanted: Any) -> Judged:
    """Judge these issues, or those that fit."""
    selection = (
        Selection(filter=Filter(**wanted)) if wanted else Selection(tuple(one.id for one in chosen))
    )
    return await service.judge(site.context, site.caller, site.project, selection, verdict)


async def open_rules(site: Site, **wanted: object) -> list[str]:
    return sorted(issue.rule for issue in await site.issues(**wanted))


async def agrees(site: Site, branch: str | None = None) -> None:
    """The kept counts, and the trend's last day, say what the list says."""
    listed = await site.issues(branch=branch)
    expected = Counter(issue.severity for issue in listed)
    wanted = Counts(**{name: expected[name] for name in SEVERITIES})
    kept, _ = await issues.counts(site.context, site.project, branch)
    assert kept == wanted
    trend = await issues.trend(site.context, site.project, days=2, branch=branch)
    assert trend[-1].open == wanted


def hashed(rule: str, path: str = "a.py", line: int = 1, code: str = "") -> Any:
    """A finding that carries hashes of its code."""
    code = code or f"{rule} {line}"
    return finding(rule, path, line, context_hash=f"c{code}", line_hash=f"l{code}")


# -- one issue -------------------------------------------------------------------------------


async def test_a_judged_issue_no_longer_counts_and_says_why(site: Site) -> None:
    await site.analyse(run(finding("A", severity="high"), finding("B")), commit="1")
    (issue,) = await site.issues(rule="A")
    assert await judge(site, FALSE, issue) == Judged(1, 1)
    assert await open_rules(site) == ["B"]
    await agrees(site)
    (shown,) = await site.issues(muted="false_positive")
    assert (shown.rule, shown.triage, shown.suppressed) == ("A", "false_positive", True)
    detail = await issues.one(site.context, site.project, issue.id)
    assert detail.judgement is not None
    assert (detail.judgement.author, detail.judgement.reason) == ("test", "it is a test")
    assert [(event.event, event.actor, event.triage) for event in detail.events] == [
        ("new", "", None),
        ("triaged", "test", "false_positive"),
    ]


async def test_a_judgement_is_changed_and_taken_back(site: Site) -> None:
    await site.analyse(run(finding("A")), commit="1")
    (issue,) = await site.issues()
    await judge(site, FALSE, issue)
    assert await judge(site, Verdict("wont_fix", "too dear"), issue) == Judged(1, 1)
    assert [one.triage for one in await site.issues(muted="wont_fix")] == ["wont_fix"]
    assert await judge(site, Verdict(None), issue) == Judged(1, 1)
    assert await open_rules(site) == ["A"]
    await agrees(site)
    assert await site.context.pool.fetch_value("select count(*) from triage") == 0
    detail = await issues.one(site.context, site.project, issue.id)
    assert [event.event for event in detail.events] == ["new", "triaged", "triaged", "reset"]
    assert detail.judgement is None


async def test_the_next_upload_keeps_it(site: Site) -> None:
    await site.analyse(run(finding("A"), finding("B")), commit="1")
    (issue,) = await site.issues(rule="A")
    await judge(site, FALSE, issue)
    done = await site.analyse(run(finding("A"), finding("B")), commit="2")
    assert (done.analysis.unchanged, done.analysis.suppressed, done.analysis.open) == (1, 1, 1)
    assert await open_rules(site) == ["B"]
    await agrees(site)


async def test_it_stays_when_the_file_is_renamed_and_comes_back(site: Site) -> None:
    await site.analyse(run(hashed("A", "old/a.py", 5)), commit="1")
    (issue,) = await site.issues()
    await judge(site, FALSE, issue)
    moved = await site.analyse(run(hashed("A", "new/b.py", 50, code="A 5")), commit="2")
    assert (moved.analysis.new, moved.analysis.open) == (0, 0)
    gone = await site.analyse(run(), commit="3")
    assert (gone.analysis.fixed, gone.analysis.open) == (0, 0)
    back = await site.analyse(run(hashed("A", "new/b.py", 7, code="A 5")), commit="4")
    assert (back.analysis.new, back.analysis.reopened, back.analysis.open) == (0, 0, 0)
    await agrees(site)


# -- branches --------------------------------------------------------------------------------


async def test_it_holds_on_every_branch_there_is(site: Site) -> None:
    for branch in ("main", "next", "old"):
        await site.analyse(run(hashed("A"), hashed("B")), commit="1", branch=branch)
    (issue,) = await site.issues(branch="next", rule="A")
    assert await judge(site, FALSE, issue) == Judged(1, 3)
    for branch in ("main", "next", "old"):
        assert await open_rules(site, branch=branch) == ["B"]
        await agrees(site, branch)
    assert await judge(site, Verdict(None), *await site.issues(muted="false_positive")) == Judged(
        1, 3
    )
    for branch in ("main", "next", "old"):
        assert await open_rules(site, branch=branch) == ["A", "B"]
        await agrees(site, branch)


async def test_it_holds_on_a_branch_made_later_although_the_file_moved_meanwhile(
    site: Site,
) -> None:
    await site.analyse(run(hashed("A", "old/a.py", 5, code="x")), commit="1")
    (issue,) = await site.issues()
    await judge(site, FALSE, issue)
    await site.analyse(run(hashed("A", "new/b.py", 9, code="x")), commit="2")
    # On main the line is edited too: only the newest keys can be recognised elsewhere.
    await site.analyse(run(hashed("A", "new/b.py", 9, code="y")), commit="3")
    made = await site.analyse(run(hashed("A", "newer/c.py", 1, code="y")), branch="topic")
    assert (made.analysis.new, made.analysis.open, made.analysis.suppressed) == (0, 0, 1)
    await agrees(site, "topic")


async def test_of_two_equal_findings_only_the_judged_one_is_meant(site: Site) -> None:
    twice = (hashed("A", line=10, code="same"), hashed("A", line=90, code="same"))
    await site.analyse(run(*twice), commit="1")
    await site.analyse(run(*twice), commit="1", branch="next")
    (second,) = [issue for issue in await site.issues() if issue.line == 90]
    assert await judge(site, FALSE, second) == Judged(1, 2)
    assert [issue.line for issue in await site.issues()] == [10]
    assert [issue.line for issue in await site.issues(branch="next")] == [10]
    third = await site.analyse(run(*twice), commit="1", branch="third")
    assert (third.analysis.new, third.analysis.suppressed) == (1, 1)


async def test_another_project_is_another_matter(site: Site) -> None:
    await site.analyse(run(finding("A")), commit="1")
    (issue,) = await site.issues()
    await site.context.pool.execute(
        "insert into projects (slug, name, hash_key) values ('other', 'Other', 'k')"
    )
    with pytest.raises(Missing):
        await service.judge(
            site.context,
            site.caller,
            await _other(site),
            Selection((issue.id,)),
            FALSE,
        )
    assert await open_rules(site) == ["A"]


async def _other(site: Site) -> Any:
    from insight_cloud.app.projects import service as projects

    return await projects.open(site.context, site.caller, "other", "triage")


# -- many, and wrong -------------------------------------------------------------------------


async def test_all_that_fit_a_filter_are_judged(site: Site) -> None:
    found = [finding(f"R{n}", line=n, severity=SEVERITIES[n % 5]) for n in range(50)]
    await site.analyse(run(*found), commit="1")
    assert await judge(site, FALSE, severity=("low", "info")) == Judged(20, 20)
    assert len(await site.issues()) == 30
    await agrees(site)
    assert await judge(site, Verdict(None), muted="false_positive") == Judged(20, 20)
    assert len(await site.issues()) == 50
    await agrees(site)


async def test_a_filter_that_fits_nothing_changes_nothing(site: Site) -> None:
    await site.analyse(run(finding()), commit="1")
    assert await judge(site, FALSE, rule="none") == Judged(0, 0)
    assert await judge(site, FALSE, branch="no-such-branch") == Judged(0, 0)


@pytest.mark.parametrize(
    ("verdict", "pointer"),
    [
        (Verdict("accepted", "later"), "/body/until"),
        (Verdict("accepted", "later", TODAY - timedelta(days=1)), "/body/until"),
        (Verdict("wont_fix", "never", TODAY), "/body/until"),
        (Verdict("false_positive", " "), "/body/reason"),
        (Verdict("false_positive", "x" * 1001), "/body/reason"),
        (Verdict("false_positive", "a\x00b"), "/body/reason"),
    ],
)
async def test_a_verdict_that_lacks_something_is_refused(
    site: Site, verdict: Verdict, pointer: str
) -> None:
    await site.analyse(run(finding("A")), commit="1")
    with pytest.raises(Invalid) as refused:
        await judge(site, verdict, *await site.issues())
    assert refused.value.problems[0][0] == pointer
    assert await open_rules(site) == ["A"]


async def test_one_unknown_issue_refuses_all(site: Site) -> None:
    await site.analyse(run(finding("A")), commit="1")
    (issue,) = await site.issues()
    with pytest.raises(Missing):
        await service.judge(
            site.context, site.caller, site.project, Selection((issue.id, uuid4())), FALSE
        )
    assert await open_rules(site) == ["A"]


async def test_uploads_and_judgements_at_once_follow_each_other(site: Site) -> None:
    found = [hashed(f"R{n}", line=n) for n in range(30)]
    await site.analyse(run(*found), commit="0")
    chosen = await site.issues()
    await asyncio.gather(
        *(judge(site, FALSE, *chosen[n : n + 10]) for n in (0, 10)),
        *(site.analyse(run(*found), commit=str(n), branch=f"b{n % 2}") for n in range(6)),
        *(site.analyse(run(*found[n:]), commit=str(n)) for n in range(1, 4)),
    )
    for branch in ("main", "b0", "b1"):
        await agrees(site, branch)
        names = {issue.rule for issue in chosen[:20]}
        assert not names & set(await open_rules(site, branch=branch))


# -- until -----------------------------------------------------------------------------------


async def test_an_accepted_issue_comes_back_after_its_last_day(site: Site) -> None:
    await site.analyse(run(finding("A")), commit="1")
    (issue,) = await site.issues()
    await judge(site, Verdict("accepted", "after the release", TODAY + timedelta(days=3)), issue)
    site.pass_days(3)
    assert await service.expire(site.context) == 0
    assert await open_rules(site) == []
    site.pass_days(1)
    assert await service.expire(site.context) == 1
    assert await open_rules(site) == ["A"]
    await agrees(site)
    detail = await issues.one(site.context, site.project, issue.id)
    assert [event.event for event in detail.events] == ["new", "triaged", "expired"]


async def test_an_upload_does_not_wait_for_the_calendar(site: Site) -> None:
    await site.analyse(run(finding("A")), commit="1")
    await judge(site, Verdict("accepted", "today only", TODAY), *await site.issues())
    site.pass_days(1)
    done = await site.analyse(run(finding("A")), commit="2")
    assert done.analysis.open == 1
    await agrees(site)


# -- suppressions ----------------------------------------------------------------------------


async def suppress(site: Site, **what: Any) -> UUID:
    made = await service.add_suppression(
        site.context, site.caller, site.project, reason="generated", **what
    )
    return made.id


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ({"rule": "A"}, ["B", "C"]),
        ({"path": "src/"}, ["B"]),
        ({"path": "**/*.py"}, []),
        ({"rule": "A", "path": "other/**"}, ["A", "B", "C"]),
        ({"rule": "A", "path": "src/a.*"}, ["B", "C"]),
        ({"tool": "bandit", "rule": "A"}, ["A", "B", "C"]),
        ({"tool": "bandit", "path": "src/"}, ["A", "B"]),
    ],
)
async def test_a_suppression_takes_out_what_fits_now_and_later(
    site: Site, what: dict[str, str], left: Sequence[str]
) -> None:
    logs = (
        run(finding("A", "src/a.py"), finding("B", "b.py")),
        run(finding("C", "src/c.py"), tool="bandit"),
    )
    await site.analyse(*logs, commit="1")
    await suppress(site, **what)
    assert await open_rules(site) == left
    await agrees(site)
    made = await site.analyse(*logs, commit="1", branch="later")
    assert await open_rules(site, branch="later") == left
    assert made.analysis.new == len(left)
    again = await site.analyse(*logs, commit="2")
    assert (again.analysis.unchanged, again.analysis.suppressed) == (len(left), 3 - len(left))
    await agrees(site, "later")


async def test_a_suppression_that_goes_lets_its_issues_count_unless_another_holds_them(
    site: Site,
) -> None:
    await site.analyse(run(finding("A", "src/a.py"), finding("A", "b.py")), commit="1")
    first = await suppress(site, rule="A")
    await suppress(site, path="src/**")
    (second, shown) = await service.suppressions(site.context, site.project)
    assert (shown.issues, second.issues) == (2, 0)
    await service.remove_suppression(site.context, site.caller, site.project, first)
    assert [issue.path for issue in await site.issues()] == ["b.py"]
    await agrees(site)
    with pytest.raises(Missing):
        await service.remove_suppression(site.context, site.caller, site.project, first)


async def test_a_suppression_ends_by_itself(site: Site) -> None:
    await site.analyse(run(finding("A")), commit="1")
    await suppress(site, until=TODAY, rule="A")
    assert await open_rules(site) == []
    site.pass_days(1)
    assert await service.expire(site.context) == 1
    assert await open_rules(site) == ["A"]
    assert await service.suppressions(site.context, site.project) == ()
    await agrees(site)


async def test_the_source_a_person_and_a_rule_hold_an_issue_apart(site: Site) -> None:
    await site.analyse(run(finding("A", suppressed=True), finding("B")), commit="1")
    (issue,) = await site.issues(muted="source")
    await judge(site, FALSE, issue)
    number = await suppress(site, rule="A")
    await service.remove_suppression(site.context, site.caller, site.project, number)
    await judge(site, Verdict(None), issue)
    assert await open_rules(site) == ["B"]
    done = await site.analyse(run(finding("A"), finding("B")), commit="2")
    assert done.analysis.open == 2
    await agrees(site)


@pytest.mark.parametrize(
    "what",
    [{}, {"tool": "ruff"}, {"path": "/src"}, {"rule": ""}, {"path": "a\x00b"}, {"rule": "x" * 501}],
)
async def test_a_suppression_that_means_nothing_is_refused(
    site: Site, what: dict[str, str]
) -> None:
    with pytest.raises(Invalid) as refused:
        await suppress(site, **what)
    assert refused.value.problems


# -- whatever happens ------------------------------------------------------------------------

STATES: tuple[TriageState | None, ...] = ("false_positive", "wont_fix", None)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("analyse"),
            st.sampled_from(["main", "next"]),
            st.lists(
                st.tuples(st.sampled_from("AB"), st.integers(1, 3), st.booleans()), max_size=5
            ),
        ),
        st.tuples(st.just("judge"), st.integers(0, 9), st.sampled_from(STATES)),
        st.tuples(st.just("suppress"), st.sampled_from("AB"), st.sampled_from(["a.py", None])),
        st.tuples(st.just("release"), st.integers(0, 9), st.none()),
    ),
    min_size=2,
    max_size=8,
)  # fmt: skip


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
async def test_whatever_is_decided_the_kept_counts_agree_with_the_issues(
    site: Site, steps: list[tuple[str, Any, Any]]
) -> None:
    slug = f"p{await site.context.pool.fetch_value('select count(*) from projects')}"
    from insight_cloud.app.projects import service as projects

    site.project = await projects.ensure(site.context, site.caller, slug)
    branches = set()
    for number, (step, one, other) in enumerate(steps):
        if step == "analyse":
            found = [finding(rule, line=line, suppressed=quiet) for rule, line, quiet in other]
            await site.analyse(run(*found), commit=str(number), branch=one)
            branches.add(one)
        elif step == "judge":
            chosen = await site.issues(state=None, suppressed=True)
            if chosen:
                await judge(site, Verdict(other, "why" if other else ""), chosen[one % len(chosen)])
        elif step == "suppress":
            await suppress(site, rule=one, **({"path": other} if other else {}))
        else:
            there = await service.suppressions(site.context, site.project)
            if there:
                await service.remove_suppression(
                    site.context, site.caller, site.project, there[one % len(there)].id
                )
        for branch in branches:
            await agrees(site, branch)
