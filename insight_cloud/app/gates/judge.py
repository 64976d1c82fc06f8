"""Conditions against what an analysis found: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from insight_cloud.app.gates.models import Condition, Outcome, Result, Verdict
from insight_cloud.app.issues.grade import LETTERS, Grade
from insight_cloud.app.issues.models import RANKS

__all__ = ["Found", "judge", "say"]

Tally = Mapping[tuple[int, str], int]
"""How many issues, by rank and category."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an analysis found. `unjudged` says why there is nothing to call new."""

    complete: bool
    unfinished: tuple[str, ...]
    new: Tally
    open: Tally
    grade: Grade | None
    is_long: bool
    unjudged: str = ""
    compared_with: str = ""


def judge(conditions: Sequence[Condition], found: Found) -> Result:
    """Hold an analysis against every condition.

    An incomplete analysis never passes, whether a condition asks for it or not: what a tool
    did not look at is not known to be well.
    """
    outcomes = tuple(_outcome(condition, found) for condition in conditions)
    failed = any(
        not outcome.passed and outcome.condition.metric != "complete" for outcome in outcomes
    )
    verdict: Verdict = "failed" if failed else "passed" if found.complete else "incomplete"
    return Result(verdict, outcomes, found.grade, found.compared_with)


def _outcome(condition: Condition, found: Found) -> Outcome:
    if condition.metric == "complete":
        missing = ", ".join(found.unfinished)
        return Outcome(condition, found.complete, f"{missing} did not finish" if missing else "yes")
    if condition.metric == "new":
        if found.unjudged:
            return Outcome(condition, passed=True, found="", skipped=found.unjudged)
        return _counted(condition, found.new)
    if not found.is_long:
        why = "this branch holds only its difference to its base"
        return Outcome(condition, passed=True, found="", skipped=why)
    if condition.metric == "open":
        return _counted(condition, found.open)
    return _graded(condition, found.grade)


def _counted(condition: Condition, tally: Tally) -> Outcome:
    ranks = {RANKS[severity] for severity in condition.severity}
    number = sum(
        count
        for (rank, category), count in tally.items()
        if (not ranks or rank in ranks)
        and (condition.category is None or category == condition.category)
    )
    return Outcome(condition, number <= condition.most, str(number))


def _graded(condition: Condition, grade: Grade | None) -> Outcome:
    if grade is None:
        why = "the upload did not say how many lines there are"
        return Outcome(condition, passed=True, found="", skipped=why)
    wanted = condition.grade or LETTERS[-1]
    passed = LETTERS.index(grade.letter) <= LETTERS.index(wanted)
    return Outcome(condition, passed, f"{grade.letter} ({grade.score:g})")


def say(condition: Condition) -> str:
    """The condition in words: "at most 0 new critical or high issues"."""
    if condition.metric == "complete":
        return "every tool finished"
    if condition.metric == "grade":
        return f"grade {condition.grade or LETTERS[-1]} or better"
    words = [
        f"at most {condition.most}" if condition.most else "no",
        condition.metric,
        " or ".join(condition.severity),
        condition.category or "",
        "issue" if condition.most == 1 else "issues",
    ]
    return " ".join(word for word in words if word)
