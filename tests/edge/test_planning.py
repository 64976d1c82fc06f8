"""After an apply the plan is empty, for any file; and one change shows as exactly that change."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_cloud.core.plan import Change
from insight_cloud.edge import importing
from insight_cloud.edge.fake import Fake
from insight_cloud.edge.file import EdgeFile, read
from insight_cloud.edge.phases import MANAGED
from insight_cloud.edge.planning import canonical, merged, plan
from insight_cloud.edge.state import Found, Ruleset, State, ZoneInfo
from insight_cloud.edge.wanted import PREFIX, Wanted, wanted
from tests.edge import configurations
from tests.edge.support import NOW, TODAY, asked, planned, zone_of
from tests.postgres import fast_directory

FAST = fast_directory()
FIREWALL = "http_request_firewall_custom"


def _rule(name: str, **changed: Any) -> dict[str, Any]:
    rule = {"ref": f"{PREFIX}{name}", "action": "block", "expression": "ssl", "description": name}
    return rule | changed


def _foreign(name: str) -> dict[str, Any]:
    return {"ref": name, "action": "block", "expression": "ssl", "description": name}


def _state(rules: list[dict[str, Any]], items: Mapping[str, Any] = {}) -> State:
    rulesets = {phase: Ruleset("none", ()) for phase in MANAGED}
    rulesets["http_request_firewall_custom"] = Ruleset("1", tuple(rules))
    found = {name: Found(value) for name, value in items.items()}
    return State(ZoneInfo("0" * 32, "example.com", "free", "active"), found, rulesets)


def _want(rules: list[dict[str, Any]], items: Mapping[str, Any] = {}) -> Wanted:
    return Wanted("example.com", "free", items, {"http_request_firewall_custom": tuple(rules)})


def _verbs(live: list[dict[str, Any]], want: list[dict[str, Any]]) -> list[tuple[str, str]]:
    changes = plan(_state(live), _want(want)).changes
    return [(change.verb, change.target.rpartition("/")[2]) for change in changes]


# -- the promise ---------------------------------------------------------------------------


async def _is_empty_afterwards(file: EdgeFile, foreign: list[tuple[str, int]]) -> None:
    fake = Fake(clock=lambda: NOW)
    for expression, place in foreign:
        fake.add_rule(FIREWALL, {"action": "block", "expression": expression}, at=place)
    want = wanted(file, today=TODAY)
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        async with zone_of(fake, Path(folder)) as zone:
            first = await planned(zone, want)
            await zone.apply(first)
            again = await planned(zone, want)
    assert again.changes == again.changes.__class__(())
    assert again.unmanaged == first.unmanaged
    assert fake.flaws == []


# 1,000 of them, as promised; each is two reads and an apply over the whole API.
@settings(max_examples=1000)
@given(configurations.files, configurations.foreign)
@pytest.mark.timeout(600)
def test_after_an_apply_the_plan_is_empty(file: EdgeFile, foreign: list[tuple[str, int]]) -> None:
    asyncio.run(_is_empty_afterwards(file, foreign))


@settings(max_examples=40)
@given(configurations.files, configurations.files)
def test_from_any_file_to_any_other_and_back(first: EdgeFile, second: EdgeFile) -> None:
    async def there_and_back() -> None:
        fake = Fake(clock=lambda: NOW)
        with tempfile.TemporaryDirectory(dir=FAST) as folder:
            async with zone_of(fake, Path(folder)) as zone:
                for file in (first, second, first):
                    want = wanted(file, today=TODAY)
                    await zone.apply(await planned(zone, want))
                    assert not await planned(zone, want)

    asyncio.run(there_and_back())


@settings(max_examples=40)
@given(configurations.files, configurations.foreign)
def test_what_is_imported_is_what_is_there(file: EdgeFile, foreign: list[tuple[str, int]]) -> None:
    async def imported() -> None:
        fake = Fake(clock=lambda: NOW)
        for expression, place in foreign:
            fake.add_rule(FIREWALL, {"action": "challenge", "expression": expression}, at=place)
        with tempfile.TemporaryDirectory(dir=FAST) as folder:
            async with zone_of(fake, Path(folder)) as zone:
                await zone.apply(await planned(zone, wanted(file, today=TODAY)))
                text = importing.toml(await zone.read())
                plan_ = await planned(zone, wanted(read(text), today=TODAY, plan="enterprise"))
        assert not plan_, text
        assert plan_.unmanaged == ()

    asyncio.run(imported())


# -- one change is one line ----------------------------------------------------------------


def test_a_rule_that_moved_is_one_line() -> None:
    a, b, c, d = (_rule(name) for name in "abcd")
    assert _verbs([a, b, c, d], [d, a, b, c]) == [("move", "d")]
    assert _verbs([a, b, c, d], [b, c, d, a]) == [("move", "a")]
    assert _verbs([a, b, c, d], [a, c, b, d]) in ([("move", "b")], [("move", "c")])


def test_a_rule_that_is_removed_is_one_line() -> None:
    a, b, c = (_rule(name) for name in "abc")
    assert _verbs([a, b, c], [a, c]) == [("delete", "b")]
    assert _verbs([a, b, c], [b, c]) == [("delete", "a")]


def test_a_rule_in_the_middle_is_one_line() -> None:
    a, b, c = (_rule(name) for name in "abc")
    assert _verbs([a, c], [a, b, c]) == [("create", "b")]


def test_a_changed_rule_shows_what_changed_and_nothing_else() -> None:
    (change,) = plan(_state([_rule("a")]), _want([_rule("a", action="js_challenge")])).changes
    target = f"{FIREWALL}/a"
    assert change == Change("update", target, {"action": "block"}, {"action": "js_challenge"})


@given(st.permutations(list("abcdefg")), st.sets(st.sampled_from("abcdefg")))
def test_the_fewest_rules_move_and_nobody_elses(order: list[str], others: set[str]) -> None:
    live = [_foreign(name) if name in others else _rule(name) for name in "abcdefg"]
    want = [_rule(name) for name in order if name not in others]
    result = merged(live, want)
    assert [r["ref"] for r in result if r["ref"].startswith(PREFIX)] == [r["ref"] for r in want]
    assert [r["ref"] for r in result if r["ref"] in others] == [n for n in "abcdefg" if n in others]
    assert not plan(_state(list(map(dict, result))), _want(want))


def test_a_new_rule_comes_behind_its_predecessor_and_the_others_stay() -> None:
    live = [_foreign("x"), _rule("a"), _foreign("y"), _rule("b"), _foreign("z")]
    want = [_rule("a"), _rule("n"), _rule("b")]
    assert [rule["description"] for rule in merged(live, want)] == ["x", "a", "n", "y", "b", "z"]


def test_a_new_first_rule_comes_before_its_successor() -> None:
    live = [_foreign("x"), _rule("a"), _foreign("y")]
    result = merged(live, [_rule("n"), _rule("a")])
    assert [rule["description"] for rule in result] == ["x", "n", "a", "y"]


def test_the_first_rules_of_all_come_behind_those_of_others() -> None:
    result = merged([_foreign("x")], [_rule("a"), _rule("b")])
    assert [rule["description"] for rule in result] == ["x", "a", "b"]


def test_rules_of_others_are_named_and_never_removed() -> None:
    found = plan(_state([_foreign("x"), _rule("a")]), _want([]))
    assert found.unmanaged == (f"{FIREWALL}: x",)
    (write,) = found.writes
    assert [rule["ref"] for rule in write.value] == ["x"]


# -- what is no difference -----------------------------------------------------------------


@pytest.mark.parametrize(
    "server",
    [
        {"id": "1", "version": "3", "last_updated": "2026-11-25T00:00:00Z", "categories": None},
        {"enabled": True},
        {"logging": {"enabled": True}},
        {"action_parameters": {}},
        {"expression": "  (ssl)\n"},
    ],
)
def test_what_the_server_adds_is_no_difference(server: dict[str, Any]) -> None:
    assert not plan(_state([_rule("a", **server)]), _want([_rule("a")]))


def test_white_space_inside_a_string_is_a_difference() -> None:
    live, want = (
        _rule("a", expression='http.host eq "a  b"'),
        _rule("a", expression='http.host eq "a b"'),
    )
    assert _verbs([live], [want]) == [("update", "a")]


def test_defaults_of_the_server_are_no_difference() -> None:
    limit = {"characteristics": ["cf.colo.id", "ip.src"], "period": 10, "requests_per_period": 5}
    live = {**limit, "requests_to_origin": False, "mitigation_timeout": 0}
    assert canonical(_rule("a", ratelimit=live)) == canonical(_rule("a", ratelimit=limit))


def test_0_rtt_does_not_show_as_another_tls_1_3() -> None:
    found = plan(_state([], {"tls_1_3": "zrt"}), _want([], {"tls_1_3": "on"}))
    assert not found
    assert plan(_state([], {"tls_1_3": "zrt"}), _want([], {"tls_1_3": "off"}))


def test_only_the_wanted_keys_of_an_object_are_compared_and_shown() -> None:
    live = {"fight_mode": False, "enable_js": True, "using_latest_model": True}
    (change,) = plan(
        _state([], {"bot_management": live}),
        _want([], {"bot_management": {"fight_mode": True, "enable_js": True}}),
    ).changes
    assert (change.before, change.after) == ({"fight_mode": False}, {"fight_mode": True})


# -- order and what cannot be had ----------------------------------------------------------


async def test_tls_comes_first_rules_that_block_late_and_hsts_last(tmp_path: Path) -> None:
    async with zone_of(Fake(), tmp_path) as zone:
        found = await planned(zone, asked())
    targets = [write.target for write in found.writes]
    assert targets[0] == "ssl"
    assert targets[-2:] == [FIREWALL, "security_header"]
    assert targets.index("automatic_https_rewrites") < targets.index("always_use_https")
    assert [write.step for write in found.writes] == sorted(write.step for write in found.writes)


def test_a_value_that_the_plan_does_not_have_is_told() -> None:
    state = _state([])
    state = State(state.zone, {"http3": Found("off", editable=False)}, state.rulesets)
    found = plan(state, _want([], {"http3": "on"}))
    assert "http3 cannot be changed on the plan free" in found.unavailable[0]


def test_a_value_that_cannot_be_read_is_told() -> None:
    found = plan(_state([]), _want([], {"http3": "on"}))
    assert "http3 cannot be read" in found.unavailable[0]
    assert not found.changes


def test_the_digest_is_of_what_is_written_and_of_what_was_found() -> None:
    one = plan(_state([]), _want([_rule("a")]))
    assert one.digest == plan(_state([]), _want([_rule("a")])).digest
    assert one.digest != plan(_state([]), _want([_rule("b")])).digest
    assert one.digest != plan(_state([_foreign("x")]), _want([_rule("a")])).digest
