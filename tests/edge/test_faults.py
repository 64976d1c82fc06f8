"""Seeded faults: what is wrong in a file never reaches the zone, what fails half-way is undone.

The first part breaks the shipped file in one place and expects a message with the line of that
place; the second breaks the zone, the second person or the API, and expects the zone as it was.
"""

from __future__ import annotations

import asyncio
import copy
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    Invalid,
    RateLimited,
    Refused,
    SettingsError,
    Unauthenticated,
    Unavailable,
)
from insight_cloud.edge import file, samples
from insight_cloud.edge.fake import ZONE, Fake, Fault
from insight_cloud.edge.guards import objections
from insight_cloud.edge.planning import plan
from insight_cloud.edge.probes import origin_certificate
from insight_cloud.edge.simulate import Simulator, of_items
from insight_cloud.edge.zone import Zone
from tests.edge.support import TODAY, Waits, asked, client, planned, zone_of

DEFAULT = file.default()
ADMIN = "when = '''\n(http.request.uri.path eq \"/admin\""
FIREWALL = "http_request_firewall_custom"

_FAULTS = tomllib.loads((Path(__file__).parents[1] / "data/edge/faults.toml").read_text())
IN_THE_FILE: list[dict[str, str]] = _FAULTS["file"]
SAMPLED: list[dict[str, str]] = _FAULTS["samples"]


@pytest.mark.parametrize("fault", IN_THE_FILE, ids=[fault["what"] for fault in IN_THE_FILE])
def test_a_fault_in_the_file_is_told_with_its_line(fault: dict[str, str]) -> None:
    old, new, said = fault["old"], fault["new"], fault["said"]
    assert old in DEFAULT
    text = DEFAULT.replace(old, new, 1)
    with pytest.raises(SettingsError) as refused:
        asked(text)
    message = str(refused.value)
    assert said in message, message
    if said == "not TOML":  # the parser of TOML tells the line in its own words
        return
    number = int(message.split("edge.toml:", 1)[1].split(":", 1)[0])
    around = "\n".join(text.splitlines()[max(0, number - 2) : number + 12])
    changed = [line for line in new.splitlines() if line.strip() and line not in old.splitlines()]
    assert not changed or any(line.strip() in around for line in changed), (message, around)


def test_a_tier_that_the_application_does_not_have_is_told() -> None:
    with pytest.raises(Invalid, match="no tier 'apo'; it has analysis, api"):
        asked(DEFAULT.replace('tier = "api"', 'tier = "apo"'))


def test_there_are_many_faults() -> None:
    assert len(IN_THE_FILE) + len(HALFWAY) + len(SAMPLED) >= 60


# -- what the samples notice ---------------------------------------------------------------


@pytest.mark.parametrize("fault", SAMPLED, ids=[fault["what"] for fault in SAMPLED])
def test_the_samples_notice_a_rule_that_does_something_else(fault: dict[str, str]) -> None:
    assert fault["old"] in DEFAULT
    problems = _problems(DEFAULT.replace(fault["old"], fault["new"], 1))
    assert any(fault["said"] in problem for problem in problems), problems


def test_the_samples_notice_that_a_private_page_would_be_cached() -> None:
    folders = DEFAULT[DEFAULT.index(' and (\n  starts_with(http.request.uri.path, "/static/")') :]
    problems = _problems(DEFAULT.replace(folders[: folders.index("'''")], "\n", 1))
    assert any("expected cache 'by extension', got 'cache'" in problem for problem in problems)


def _problems(text: str) -> list[str]:
    want = asked(text)
    simulator = Simulator(want.rulesets, **of_items(want.items))
    outcomes = samples.run(samples.read(file.default_samples()), simulator, want.zone)
    return [problem for outcome in outcomes for problem in outcome.problems]


# -- what speaks against it before the first write -----------------------------------------


async def _objections(fake: Fake, text: str, folder: Path, **allowed: bool) -> list[str]:
    found = file.read(text)
    async with zone_of(fake, folder) as zone:
        want = asked(text)
        state = await zone.read(list(found.edge.settings))
        return objections(found, state, plan(state, want), today=TODAY, **allowed)


@pytest.mark.parametrize(
    ("fake", "old", "new", "said"),
    [
        (Fake(name="other.example"), "", "", "the file is for example.com"),
        (Fake(plan="free"), 'plan = "free"', 'plan = "business"', "the zone is on free"),
        (Fake(), "# since = 2026-11-25", "ramp = false", "write confirm ="),
        (Fake(), "# since = 2026-11-25", "since = 2026-01-01", "the preload list"),
        (Fake(), "# since = 2026-11-25", "since = 2026-11-10", "at once"),
    ],
)
async def test_it_is_refused_with_the_line(
    fake: Fake, old: str, new: str, said: str, tmp_path: Path
) -> None:
    found = await _objections(fake, DEFAULT.replace(old, new, 1) if old else DEFAULT, tmp_path)
    assert any(said in text and "edge.toml:" in text for text in found), found


async def test_https_before_there_is_a_certificate_is_refused(tmp_path: Path) -> None:
    fake = Fake()
    fake.certificate = "pending_validation"
    found = await _objections(fake, DEFAULT, tmp_path)
    assert any("no active certificate" in text for text in found)
    assert any("lock everybody out" in text for text in found)


async def test_a_zone_that_went_elsewhere_is_refused(tmp_path: Path) -> None:
    fake = Fake()
    fake.status = "moved"
    assert any("moved away" in text for text in await _objections(fake, DEFAULT, tmp_path))


async def test_removing_many_rules_needs_a_word(tmp_path: Path) -> None:
    fake = Fake()
    more = "".join(
        f"[[response_headers]]\nname = 'h{n}'\nwhen = 'ssl'\nremove = ['X-{n}']\n\n"
        for n in range(5)
    )
    async with zone_of(fake, tmp_path) as zone:
        await zone.apply(await planned(zone, asked(more + DEFAULT)))
    found = await _objections(fake, DEFAULT, tmp_path)
    assert any("5 of 14 rules" in text for text in found), found
    assert await _objections(fake, DEFAULT, tmp_path, removals=True) == []


async def test_strict_with_a_bad_origin_certificate_is_refused_before_the_first_write(
    tmp_path: Path,
) -> None:
    from tests.edge.origin import origin

    fake = Fake()
    with origin("wrong.example") as (url, ca_file):
        ready = partial(origin_certificate, url, "example.com", ca_file=ca_file)
        async with zone_of(fake, tmp_path) as zone:
            found = await planned(zone, asked())
            before = copy.deepcopy(fake.dump())
            with pytest.raises(Refused, match="does not hold"):
                await zone.apply(found, ready=[ready])
        assert fake.dump() == before
    with origin("example.com") as (url, ca_file):
        assert await origin_certificate(url, "example.com", ca_file=ca_file) == ""
        assert "does not hold" in await origin_certificate(url, "example.com")


async def test_what_only_the_server_knows_is_refused_by_the_rehearsal_with_its_line(
    tmp_path: Path,
) -> None:
    fake = Fake()
    async with zone_of(fake, tmp_path) as zone:
        found = await planned(zone, asked())
        # The zone is downgraded after the plan was made, as far as the plan can tell.
        fake.add_rule(FIREWALL, {"action": "block", "expression": "ssl"})
        fake.add_rule(FIREWALL, {"action": "block", "expression": "ssl"})
        found = await planned(zone, asked())
        before = copy.deepcopy(fake.dump())
        with pytest.raises(Invalid, match=r"edge\.toml:\d+.*6 rules"):
            await zone.apply(found)
    assert fake.dump() == before


# -- what fails while it is written --------------------------------------------------------

_LAST = "security_header"
HALFWAY: dict[str, Fault] = {
    **{
        f"{kind} at {target}": Fault(kind, method, target, 9, skip)
        for kind in ("500", "503", "cut", "refused", "denied", "html", "429")
        for method, target, skip in (("PUT", FIREWALL, 1), ("PATCH", _LAST, 0))
    },
    "lost write of a rule": Fault("lost", "PUT", FIREWALL, 1, 1),
    "lost write of a setting": Fault("lost", "PATCH", "min_tls_version", 1),
    "lost write of the last": Fault("lost", "PATCH", _LAST, 1),
    "503 in the middle": Fault("503", "PUT", "bot_management", 9),
    "cut in the middle": Fault("cut", "PATCH", "early_hints", 9),
}


@pytest.mark.parametrize("what", HALFWAY)
async def test_what_fails_half_way_is_taken_back(what: str, tmp_path: Path) -> None:
    fake, fault = Fake(), HALFWAY[what]
    fake.add_rule(FIREWALL, {"action": "block", "expression": "ip.src eq 192.0.2.1"})
    async with zone_of(fake, tmp_path) as zone:
        found = await planned(zone, asked())
        before = _meaning(fake)
        # Every attempt fails, then the way back is open.
        times = min(fault.times, _tries(fault))
        fake.faults = [Fault(fault.kind, fault.method, fault.path, times, fault.skip)]
        with pytest.raises(Unavailable, match="taken back"):
            await zone.apply(found)
        assert _meaning(fake) == before
        again = await planned(zone, asked())
    assert again.changes == found.changes
    assert fake.flaws == []


def _tries(fault: Fault) -> int:
    return 5 if fault.kind in {"500", "503", "cut", "429"} else 1


def _meaning(fake: Fake) -> Any:
    """The zone without versions and times; no ruleset is like one without rules."""
    dumped = fake.dump()
    rules = {
        phase: [(rule["ref"], rule["action"], rule["expression"]) for rule in found["rules"]]
        for phase, found in dumped["rulesets"].items()
        if found["rules"]
    }
    return dumped["settings"], dumped["objects"], rules


@pytest.mark.parametrize("kind", ["429", "500", "503", "cut", "cut-after"])
async def test_a_short_burst_of_failures_is_ridden_out(kind: str, tmp_path: Path) -> None:
    fake = Fake(faults=[Fault(kind, times=3), Fault(kind, "PUT", times=3, skip=4)])
    async with zone_of(fake, tmp_path) as zone:
        await zone.apply(await planned(zone, asked()))
        assert not await planned(zone, asked())


async def test_the_site_that_stops_to_answer_takes_everything_back(tmp_path: Path) -> None:
    fake = Fake()

    async def ill() -> str:
        return "https://example.com/livez answers HTTP 403"

    async with zone_of(fake, tmp_path) as zone:
        found = await planned(zone, asked())
        before = _meaning(fake)
        with pytest.raises(Unavailable, match=r"(?s)HTTP 403.*taken back"):
            await zone.apply(found, healthy=ill)
    assert _meaning(fake) == before


async def test_an_interruption_takes_everything_back(tmp_path: Path) -> None:
    fake = Fake()
    before = _meaning(fake)

    async with client(fake) as api:
        zone = Zone(api, ZONE, snapshots=tmp_path)
        found = await planned(zone, asked())
        running = asyncio.ensure_future(zone.apply(found))
        while fake.settings["http3"] == "off":  # noqa: ASYNC110 - until it is in the middle
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.sleep(0)
        running.cancel()  # and a second Ctrl-C, by somebody who is impatient
        with pytest.raises(asyncio.CancelledError):
            await running
    assert _meaning(fake) == before


async def test_when_going_back_fails_too_the_message_says_how(tmp_path: Path) -> None:
    faults = [Fault("503", "PATCH", "http3", times=99), Fault("503", "PATCH", "ssl", 99, 1)]
    fake = Fake(faults=faults)
    async with zone_of(fake, tmp_path) as zone:
        found = await planned(zone, asked())
        with pytest.raises(Unavailable, match=r"insight edge rollback .*json") as failed:
            await zone.apply(found)
        assert "written so far: ssl" in str(failed.value)
        fake.faults = []
        (snapshot,) = tmp_path.glob("*.json")  # noqa: ASYNC240 - a test may block
        await zone.rollback(snapshot)
        assert (await planned(zone, asked())).changes == found.changes


async def test_a_zone_that_moved_since_the_plan_is_refused(tmp_path: Path) -> None:
    fake = Fake()
    moves: list[Callable[[], None]] = [
        lambda: fake.settings.update(ssl="flexible"),
        lambda: fake.add_rule(FIREWALL, {"action": "block", "expression": "ssl"}),
        lambda: fake.objects["bot_management"].update(fight_mode=True),
    ]
    async with zone_of(fake, tmp_path) as zone:
        for move in moves:
            found = await planned(zone, asked())
            move()
            before = _meaning(fake)
            with pytest.raises(Conflict, match="the zone moved since"):
                await zone.apply(found)
            assert _meaning(fake) == before


async def test_a_rule_that_somebody_adds_in_between_is_not_lost(tmp_path: Path) -> None:
    fake = Fake()
    async with zone_of(fake, tmp_path, progress=lambda _, said: _interfere(fake, said)) as zone:
        found = await planned(zone, asked())
        with pytest.raises(Unavailable, match=r"(?s)somebody changed .*taken back"):
            await zone.apply(found)
    (rule,) = fake.rulesets[FIREWALL]["rules"]
    assert rule["description"] == "in between"
    assert fake.settings["ssl"] == "full"


def _interfere(fake: Fake, said: str) -> None:
    if said == f"write {FIREWALL}":
        fake.add_rule(
            FIREWALL, {"action": "block", "expression": "ssl", "description": "in between"}
        )


async def test_a_wrong_token_is_told_as_such(tmp_path: Path) -> None:
    async with client(Fake(), token="wrong") as api:
        with pytest.raises(Unauthenticated, match="Invalid API Token"):
            await Zone(api, ZONE, snapshots=tmp_path).read()
    fake = Fake()
    fake.token_status = "expired"
    async with zone_of(fake, tmp_path) as zone:
        with pytest.raises(Unauthenticated, match="expired; make a new one"):
            await zone.read()


async def test_what_the_token_may_not_read_is_told_by_its_permission(tmp_path: Path) -> None:
    fake = Fake(faults=[Fault("denied", "GET", "bot_management", 9)])
    async with zone_of(fake, tmp_path) as zone:
        found = await planned(zone, asked())
        with pytest.raises(Refused, match="Bot Management: Edit"):
            await zone.apply(found)
    assert fake.settings["ssl"] == "full"


async def test_a_limit_that_does_not_end_is_told_with_the_time_to_wait(tmp_path: Path) -> None:
    waits = Waits()
    async with client(Fake(faults=[Fault("429", value=7, times=999)]), waits=waits) as api:
        with pytest.raises(RateLimited) as limited:
            await Zone(api, ZONE, snapshots=tmp_path).read()
    assert limited.value.retry_after == 7
    assert set(waits.seconds) == {7.0}


async def test_an_answer_that_is_not_the_apis_is_told(tmp_path: Path) -> None:
    async with zone_of(Fake(faults=[Fault("html", path="ssl", times=99)]), tmp_path) as zone:
        with pytest.raises(Corrupt, match="not the API's"):
            await zone.read()
