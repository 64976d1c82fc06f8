"""Gates are judged with the analysis, and again when people decide."""

from __future__ import annotations

import pytest

from insight_cloud.app.analyses.models import Submission
from insight_cloud.app.gates import service
from insight_cloud.app.gates.models import Condition, Verdict
from insight_cloud.app.triage import service as triage
from insight_cloud.app.triage.models import Selection
from insight_cloud.app.triage.models import Verdict as Decision
from insight_cloud.core.errors import Invalid, Missing
from tests.app.analyses.conftest import Site, finding, run

HIGH = finding("H", severity="high")
LOW = finding("L", severity="low")


def verdict(done: Submission) -> Verdict:
    assert done.gate is not None
    assert done.analysis.verdict == done.gate.verdict
    return done.gate.verdict


async def test_a_first_analysis_is_not_failed_for_what_was_always_there(site: Site) -> None:
    done = await site.analyse(run(HIGH), commit="1")
    assert verdict(done) == "passed"
    assert done.gate is not None
    assert "first analysis" in done.gate.outcomes[1].skipped
    again = await site.analyse(run(HIGH), commit="2")
    assert verdict(again) == "passed"


async def test_a_new_high_issue_fails_and_a_new_low_one_does_not(site: Site) -> None:
    await site.analyse(run(), commit="1")
    assert verdict(await site.analyse(run(LOW), commit="2")) == "passed"
    failed = await site.analyse(run(LOW, HIGH), commit="3")
    assert verdict(failed) == "failed"
    assert failed.gate is not None
    assert [outcome.found for outcome in failed.gate.outcomes] == ["yes", "1"]
    # On the next commit it is no longer new: the gate is about what a change brings.
    assert verdict(await site.analyse(run(LOW, HIGH), commit="4")) == "passed"


async def test_what_comes_back_is_new(site: Site) -> None:
    await site.analyse(run(HIGH), commit="1")
    await site.analyse(run(), commit="2")
    assert verdict(await site.analyse(run(HIGH), commit="3")) == "failed"


async def test_a_tool_that_looks_for_the_first_time_brings_nothing_new(site: Site) -> None:
    await site.analyse(run(LOW), commit="1")
    both = (run(LOW), run(finding("S", severity="critical"), tool="semgrep"))
    assert verdict(await site.analyse(*both, commit="2")) == "passed"
    more = run(*both[1].findings, finding("T", severity="critical"), tool="semgrep")
    assert verdict(await site.analyse(both[0], more, commit="3")) == "failed"


async def test_all_uploads_of_a_commit_are_judged_together(site: Site) -> None:
    for category in ("web", "api"):
        await site.analyse(run(category=category), commit="1", category=category)
    first = await site.analyse(run(HIGH, category="web"), commit="2", category="web")
    second = await site.analyse(run(category="api"), commit="2", category="api")
    assert (verdict(first), verdict(second)) == ("failed", "failed")
    broken = run(state="failed", category="api")
    assert verdict(await site.analyse(broken, commit="3", category="api")) == "incomplete"
    after = await site.analyse(run(HIGH, category="web"), commit="3", category="web")
    assert verdict(after) == "incomplete"
    repaired = await site.analyse(run(category="api"), commit="3", category="api")
    assert verdict(repaired) == "passed"


async def test_a_judgement_opens_the_gate_without_another_upload(site: Site) -> None:
    await site.analyse(run(), commit="1")
    done = await site.analyse(run(HIGH), commit="2")
    assert verdict(done) == "failed"
    (issue,) = await site.issues()
    chosen = Selection((issue.id,))
    for state, expected in (("false_positive", "passed"), (None, "failed")):
        decision = Decision(state, "why" if state else "")  # type: ignore[arg-type]  # one of them
        await triage.judge(site.context, site.caller, site.project, chosen, decision)
        kept = await service.of_analysis(site.context, site.project, done.analysis.id)
        assert kept is not None
        assert kept.verdict == expected
    made = await triage.add_suppression(
        site.context, site.caller, site.project, rule="H", reason="x"
    )
    judged = await service.of_branch(site.context, site.project)
    assert judged.result.verdict == "passed"
    await triage.remove_suppression(site.context, site.caller, site.project, made.id)
    judged = await service.of_branch(site.context, site.project)
    assert judged.result.verdict == "failed"


async def test_a_project_demands_something_else(site: Site) -> None:
    conditions = [Condition("open", ("low",), most=1), Condition("grade", grade="B")]
    gate = await service.set_conditions(site.context, site.caller, site.project, conditions)
    assert (gate.conditions, gate.is_default, gate.author) == (tuple(conditions), False, "test")
    one = await site.analyse(run(LOW), commit="1", lines=1000)
    assert verdict(one) == "passed"
    two = await site.analyse(run(LOW, finding("M", severity="low")), commit="2")
    assert verdict(two) == "failed"
    assert two.gate is not None
    assert two.gate.grade is not None
    assert (two.gate.grade.letter, two.gate.grade.lines) == ("A", 1000)
    back = await service.set_conditions(site.context, site.caller, site.project, None)
    assert back.is_default


@pytest.mark.parametrize(
    ("condition", "pointer"),
    [
        (Condition("grade"), "/body/conditions/0/grade"),
        (Condition("complete", most=1), "/body/conditions/0/metric"),
        (Condition("new", most=-1), "/body/conditions/0/most"),
    ],
)
async def test_a_condition_that_means_nothing_is_refused(
    site: Site, condition: Condition, pointer: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await service.set_conditions(site.context, site.caller, site.project, [condition])
    assert refused.value.problems[0][0] == pointer
    assert (await service.read(site.context, site.project)).is_default


async def test_a_branch_that_was_never_analysed_has_no_result(site: Site) -> None:
    for place in ({}, {"branch": "none"}, {"pr": 3}, {"commit": "x"}):
        with pytest.raises(Missing):
            await service.of_branch(site.context, site.project, **place)
