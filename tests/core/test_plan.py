"""Plans: plain data that people can read."""

from insight_cloud.core.plan import Change, Plan


def test_an_empty_plan_is_false_and_says_so() -> None:
    assert not Plan()
    assert str(Plan()) == "nothing to do"


def test_each_change_is_one_line() -> None:
    plan = Plan((Change("create", "a"), Change("delete", "b", reason="too old")))
    assert [change.target for change in plan] == ["a", "b"]
    assert str(plan) == "+ a\n- b  (too old)"
    assert len(plan) == 2
