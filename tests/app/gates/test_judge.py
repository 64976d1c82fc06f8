"""Conditions against what was found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.gates.judge import Found, judge, say
from insight_cloud.app.gates.models import DEFAULT, Condition
from insight_cloud.app.issues import grade
from insight_cloud.app.issues.models import RANKS, Counts
from insight_cloud.app.sarif.model import CATEGORIES, SEVERITIES

TALLY = st.dictionaries(
    st.tuples(st.sampled_from(sorted(RANKS.values())), st.sampled_from(CATEGORIES)),
    st.integers(1, 99),
)


def found(**others: object) -> Found:
    values: dict[str, object] = {
        "complete": True,
        "unfinished": (),
        "new": {},
        "open": {},
        "grade": None,
        "is_long": True,
    }
    return Found(**values | others)  # type: ignore[arg-type]  # as the test says


def test_the_default_wants_nothing_new_that_is_critical_or_high_and_every_tool_finished() -> None:
    assert [say(condition) for condition in DEFAULT] == [
        "every tool finished",
        "no new critical or high issues",
    ]
    assert judge(DEFAULT, found(new={(3, "style"): 9}, open={(5, "security"): 9})).verdict == (
        "passed"
    )
    assert judge(DEFAULT, found(new={(4, "style"): 1})).verdict == "failed"
    broken = found(complete=False, unfinished=("ruff",))
    assert judge(DEFAULT, broken).verdict == "incomplete"
    assert judge(DEFAULT, broken).outcomes[0].found == "ruff did not finish"


def test_an_incomplete_analysis_never_passes_whatever_is_demanded() -> None:
    broken = found(complete=False, unfinished=("ruff",))
    assert judge((), broken).verdict == "incomplete"
    assert judge((), found()).verdict == "passed"
    new = Condition("new", most=0)
    assert judge((new,), found(complete=False, new={(1, "style"): 1})).verdict == "failed"


@given(TALLY, st.sampled_from([*SEVERITIES, None]), st.sampled_from([*CATEGORIES, None]))
def test_a_limit_passes_at_the_number_itself_and_fails_below(
    tally: dict[tuple[int, str], int], severity: object, category: object
) -> None:
    number = 0
    for (rank, of), count in tally.items():
        fits = severity is None or rank == RANKS[severity]  # type: ignore[index]  # one of them
        number += count if fits and category in {None, of} else 0
    chosen = () if severity is None else (severity,)
    for metric in ("new", "open"):
        for most, passed in ((number, True), (number - 1, False)):
            condition = Condition(metric, chosen, category, most)  # type: ignore[arg-type]  # see above
            outcome = judge((condition,), found(new=tally, open=tally)).outcomes[0]
            assert (outcome.passed, outcome.found) == (passed, str(number))


def test_what_cannot_be_judged_says_why_and_passes() -> None:
    conditions = (Condition("new"), Condition("open"), Condition("grade", grade="A"))
    result = judge(conditions, found(unjudged="the first", is_long=False, open={(5, "style"): 9}))
    assert result.verdict == "passed"
    assert [bool(outcome.skipped) for outcome in result.outcomes] == [True, True, True]
    assert "lines" in judge((Condition("grade", grade="A"),), found()).outcomes[0].skipped


def test_a_grade_is_demanded() -> None:
    known = grade.of(Counts(high=2), 2000)
    assert known is not None
    assert (known.letter, known.score) == ("C", 5.0)
    for letter, verdict in (("A", "failed"), ("B", "failed"), ("C", "passed"), ("E", "passed")):
        condition = Condition("grade", grade=letter)  # type: ignore[arg-type]  # one of them
        assert judge((condition,), found(grade=known)).verdict == verdict


# -- grades ----------------------------------------------------------------------------------


def test_the_formula_says_what_is_computed() -> None:
    for weight in ("10 × critical", "5 × high", "1 × medium", "0.2 × low"):  # noqa: RUF001 - times
        assert weight in grade.FORMULA
    for letter, most in grade.LIMITS.items():
        assert f"{letter} up to {most:g}" in grade.FORMULA
    one = grade.of(Counts(critical=1, high=1, medium=1, low=1, info=1000), 16_200)
    assert one is not None
    assert one.score == 1.0


@given(st.builds(Counts, *[st.integers(0, 999)] * 5), st.integers(1, 10**7))
def test_more_issues_never_make_a_better_grade(counts: Counts, lines: int) -> None:
    before = grade.of(counts, lines)
    after = grade.of(Counts(counts.critical + 1, counts.high, counts.medium), lines)
    more = grade.of(
        Counts(counts.critical + 1, counts.high, counts.medium, counts.low, counts.info), lines
    )
    assert before is not None
    assert more is not None
    assert after is not None
    assert more.letter >= before.letter
    assert more.score >= before.score


def test_without_lines_there_is_no_grade() -> None:
    assert grade.of(Counts(), None) is grade.of(Counts(), 0) is None
    clean = grade.of(Counts(), 10)
    assert clean is not None
    assert (clean.letter, clean.score) == ("A", 0.0)
