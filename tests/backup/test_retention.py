from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.backup.manifest import TYPES, Type, type_of_day
from insight_cloud.backup.retention import Decision, Entry, Policy, decide, plan
from insight_cloud.core.errors import SettingsError

START = datetime(2020, 1, 1, tzinfo=UTC)
DAYS = {"daily": 7, "weekly": 28, "monthly": 365, "manual": 30}


def entry(at: datetime, type_: Type = "daily", *, good: bool = True) -> Entry:
    return Entry(f"{at:%Y%m%dT%H%M%S}-{type_}", type_, at, good)


@st.composite
def decades(draw: st.DrawFn) -> tuple[list[Entry], datetime]:
    """Ten years of a schedule with gaps, failures, extra runs, and a moment to look at it."""
    rate = draw(st.floats(0.02, 1.0))
    failing = draw(st.floats(0.0, 1.0))
    seed = random.Random(draw(st.integers(0, 2**32)))
    found = []
    for day in range(0, 3653, draw(st.integers(1, 40))):
        at = START + timedelta(days=day, seconds=seed.randrange(86_400))
        if seed.random() < rate:
            type_ = type_of_day(at) if seed.random() < 0.8 else seed.choice(TYPES)
            found.append(entry(at, type_, good=seed.random() >= failing))
    now = START + timedelta(days=draw(st.integers(0, 4000)), seconds=draw(st.integers(0, 86_400)))
    return found, now


policies = st.builds(
    Policy,
    days=st.fixed_dictionaries({type_: st.integers(0, 400) for type_ in TYPES}),
    at_least=st.integers(1, 5),
)


@given(decades(), policies)
def test_the_newest_good_one_always_stays(
    decade: tuple[list[Entry], datetime], policy: Policy
) -> None:
    entries, now = decade
    good = [item for item in entries if item.good]
    kept = {decision.entry for decision in decide(entries, policy=policy, now=now) if decision.keep}
    newest = sorted(good, key=lambda item: item.at, reverse=True)[: policy.at_least]
    assert set(newest) <= kept
    assert kept or not entries


@given(decades(), policies)
def test_all_that_stays_has_a_reason_and_nothing_outside_of_the_policy_stays(
    decade: tuple[list[Entry], datetime], policy: Policy
) -> None:
    entries, now = decade
    good = sorted((item.at for item in entries if item.good), reverse=True)
    reference = min(now, good[0] + timedelta(days=1)) if good else now
    for decision in decide(entries, policy=policy, now=now):
        item = decision.entry
        inside = (
            item.at > now
            or reference - item.at < timedelta(days=policy.days[item.type])
            or (item.good and item.at in good[: policy.at_least])
            or not good
        )
        assert decision.keep == inside == bool(decision.reasons)


@given(decades(), policies)
def test_after_the_plan_is_applied_there_is_none(
    decade: tuple[list[Entry], datetime], policy: Policy
) -> None:
    entries, now = decade
    first = decide(entries, policy=policy, now=now)
    removed = {change.before for change in plan(first, store="disk", days=policy.days)}
    assert removed == {decision.entry.id for decision in first if not decision.keep}
    left = [item for item in entries if item.id not in removed]
    assert not plan(decide(left, policy=policy, now=now), store="disk", days=policy.days)


@given(decades(), st.integers(0, 3000))
def test_when_backups_stop_or_a_clock_runs_away_nothing_good_is_lost(
    decade: tuple[list[Entry], datetime], days: int
) -> None:
    entries, _ = decade
    if not any(item.good for item in entries):
        return
    newest = max(item.at for item in entries if item.good)
    calm = newest + timedelta(days=1)

    def kept(now: datetime) -> set[str]:
        decisions = decide(entries, policy=Policy(), now=now)
        return {decision.entry.id for decision in decisions if decision.keep}

    later = kept(calm + timedelta(days=days))
    good = {item.id for item in entries if item.good}
    assert kept(calm) & good == later & good


@given(decades(), st.integers(0, 2**32))
def test_the_order_in_which_a_store_lists_does_not_matter(
    decade: tuple[list[Entry], datetime], seed: int
) -> None:
    entries, now = decade
    shuffled = list(entries)
    random.Random(seed).shuffle(shuffled)
    assert decide(shuffled, policy=Policy(), now=now) == decide(entries, policy=Policy(), now=now)


def _by_id(decisions: tuple[Decision, ...]) -> dict[str, tuple[str, ...]]:
    return {decision.entry.id: decision.reasons for decision in decisions}


def test_each_type_has_its_days() -> None:
    now = datetime(2026, 1, 1, 5, tzinfo=UTC)
    recent = [entry(now - timedelta(hours=hours)) for hours in (3, 27, 51)]
    for type_, days in DAYS.items():
        inside = entry(now - timedelta(days=days, seconds=-1), type_)  # type: ignore[arg-type]
        outside = entry(now - timedelta(days=days), type_)  # type: ignore[arg-type]
        found = _by_id(decide([*recent, inside, outside], policy=Policy(), now=now))
        assert found[inside.id] == (f"{type_}, kept {days} days",)
        assert found[outside.id] == ()


def test_seven_failed_days_do_not_remove_the_last_good_week() -> None:
    now = datetime(2026, 1, 20, 5, tzinfo=UTC)
    good = [entry(now - timedelta(days=day)) for day in range(10, 15)]
    bad = [entry(now - timedelta(days=day), good=False) for day in range(1, 10)]
    kept = {item.entry for item in decide([*good, *bad], policy=Policy(), now=now) if item.keep}
    assert set(good) <= kept


def test_what_is_dated_in_the_future_stays_and_is_said() -> None:
    now = datetime(2026, 1, 20, tzinfo=UTC)
    future = entry(now + timedelta(days=400))
    found = decide([future, entry(now)], policy=Policy(), now=now)
    assert "dated in the future: is a clock wrong?" in found[0].reasons


def test_a_removal_says_why() -> None:
    now = datetime(2026, 1, 20, tzinfo=UTC)
    old = entry(now - timedelta(days=30))
    recent = [entry(now - timedelta(hours=hours)) for hours in (1, 2, 3)]
    (change,) = plan(decide([old, *recent], policy=Policy(), now=now), store="s3", days=DAYS)
    assert str(change) == f"- s3: {old.id}  (daily, older than 7 days)"


def test_a_policy_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one"):
        Policy(at_least=0)


def test_the_type_follows_the_date() -> None:
    assert type_of_day(datetime(2026, 11, 1, tzinfo=UTC)) == "monthly"  # a Sunday
    assert type_of_day(datetime(2026, 11, 8, tzinfo=UTC)) == "weekly"
    assert type_of_day(datetime(2026, 11, 9, tzinfo=UTC)) == "daily"
