from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.launch import Run, Signature, Waiver, changes, standings, verdict
from insight_cloud.launch.run import Answer, Outcome

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
OUTCOMES: tuple[Outcome, ...] = ("pass", "fail", "error", "not_run", "unsigned")


def answer(name: str, outcome: Outcome) -> Answer:
    return Answer(name, "before", -48, "Section", "Text", outcome)


def run(*answers: Answer, release: str | None = "v1") -> Run:
    return Run(at=NOW, name="Shop", answers=answers, release=release)


def waiver(name: str, *, until: datetime, at: datetime = NOW) -> Waiver:
    return Waiver(id=name, by="Ann", until=until, why="known", at=at)


def test_all_passed_is_go_and_nothing_asked_is_not() -> None:
    assert verdict(standings(run(answer("A1", "pass")), now=NOW)) == "go"
    assert verdict(()) == "incomplete"


def test_what_fails_stops_and_what_is_open_is_incomplete() -> None:
    wanted = {"fail": "no-go", "error": "no-go", "not_run": "incomplete", "unsigned": "incomplete"}
    for outcome in OUTCOMES[1:]:
        found = standings(run(answer("A1", "pass"), answer("A2", outcome)), now=NOW)
        assert verdict(found) == wanted[outcome]


def test_a_waiver_holds_until_its_time_and_not_a_moment_longer() -> None:
    given_run = run(answer("A1", "fail"))
    one = waiver("A1", until=NOW + timedelta(hours=1))
    last = standings(given_run, waivers=[one], now=one.until - timedelta(microseconds=1))
    assert (last[0].state, verdict(last)) == ("waived", "go")
    after = standings(given_run, waivers=[one], now=one.until)
    assert (after[0].state, verdict(after)) == ("fail", "no-go")
    assert "the waiver of Ann ended" in after[0].word


def test_a_later_waiver_takes_the_place_of_an_earlier_one() -> None:
    long = waiver("A1", until=NOW + timedelta(days=9), at=NOW - timedelta(days=2))
    short = waiver("A1", until=NOW - timedelta(hours=1), at=NOW - timedelta(days=1))
    assert standings(run(answer("A1", "fail")), waivers=[short, long], now=NOW)[0].state == "fail"


def test_a_signature_counts_for_its_release_and_only_for_what_people_sign() -> None:
    signature = Signature(id="A1", by="Ann", at=NOW, release="v1")
    signed = standings(run(answer("A1", "unsigned")), signatures=[signature], now=NOW)
    assert (signed[0].state, verdict(signed)) == ("signed", "go")
    other = standings(run(answer("A1", "unsigned"), release="v2"), signatures=[signature], now=NOW)
    assert other[0].state == "unsigned"
    probed = standings(run(answer("A1", "not_run")), signatures=[signature], now=NOW)
    assert probed[0].state == "not_run"


def test_what_does_not_apply_is_named_and_hides_no_failure() -> None:
    reasons = {"A1": "no Redis", "A2": "no Redis", "A3": "no Redis"}
    answers = (answer("A1", "not_run"), answer("A2", "fail"), answer("A3", "pass"))
    found = standings(run(*answers), not_applicable=reasons, now=NOW)
    assert [one.state for one in found] == ["not_applicable", "fail", "pass"]


def test_changes_are_told_against_the_newest_answer_of_each_item() -> None:
    older, newer = run(answer("A1", "fail"), answer("A2", "pass")), run(answer("A1", "pass"))
    now = run(answer("A1", "pass"), answer("A2", "fail"), answer("A3", "fail"))
    assert [(one.id, one.before, one.after) for one in changes(now, [newer, older])] == [
        ("A2", "pass", "fail")
    ]
    assert changes(now, []) == ()
    assert changes(now, [now]) == ()


@given(st.lists(st.sampled_from(OUTCOMES), max_size=8), st.data())
def test_go_means_that_everything_passed_or_somebody_answers_for_it(
    outcomes: list[Outcome], data: st.DataObject
) -> None:
    answers = [answer(f"A{number}", outcome) for number, outcome in enumerate(outcomes)]
    waived = data.draw(st.sets(st.sampled_from([one.id for one in answers]))) if answers else set()
    waivers = [waiver(name, until=NOW + timedelta(days=1)) for name in waived]
    found = standings(run(*answers), waivers=waivers, now=NOW)
    fine = all(one.outcome == "pass" or one.id in waived for one in answers)
    assert (verdict(found) == "go") == (bool(answers) and fine)
