"""Seeded faults: what is wrong in a file never reaches the zone, what fails half-way is undone.

The first part breaks the shipped file in one place and expects a message with the line of that
place; the second breaks the zone, the second person or the API, and expects the zone as it was.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    InsightError,
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

IN_THE_FILE: list[tuple[str, str, str, str]] = [
    # what, the text that is broken, what it becomes, what the message says
    ("misspelt key", "tiered = true", "teired = true", "did you mean tiered?"),
    ("misspelt table", "[performance]\n", "[perfomance]\n", "did you mean performance?"),
    ("misspelt rule key", "bypass = true", "bypas = true", "did you mean bypass?"),
    ("key of another table", "http3 = true", "http3 = true\nmode = 'full'", "no such key"),
    ("wrong type", "http3 = true", "http3 = 'yes please'", "valid boolean"),
    ("unknown value", 'mode = "strict"', 'mode = "stict"', "'flexible'"),
    ("unknown TLS version", '_version = "1.2"', '_version = "1.4"', "'1.3'"),
    ("unknown action", 'action = "block"', 'action = "deny"', "'block'"),
    ("removed action", 'action = "block"', 'action = "allow"', "'block'"),
    ("rule without filter", "when = 'starts_with(http.request.uri.path, \"/api/\")'\n", "", "missing"),
    ("not a rule name", 'name = "admin"', 'name = "Admin Area"', "pattern"),
    ("name used twice", 'name = "admin"', 'name = "auth"', "a second rule 'auth'"),
    ("no domain", 'name = "example.com"', 'name = "https://example.com"', "pattern"),
    ("unknown plan", 'plan = "free"', 'plan = "premium"', "'free'"),
    ("negative time", "edge_seconds = 604800", "edge_seconds = -1", "greater than or equal"),
    ("time beyond the limit", "edge_seconds = 604800", "edge_seconds = 99999999", "less than"),
    ("bypass with a time", "bypass = true", "bypass = true\nedge_seconds = 7200", "keeps nothing"),
    ("two targets", "[settings]", "[[redirects]]\nname = 'r'\nwhen = 'ssl'\nto = '/a'\n"
     "to_expression = '\"/b\"'\n\n[settings]", "either `to` or `to_expression`"),
    ("skip without what", "[settings]", "[[firewall]]\nname = 's'\nwhen = 'ssl'\n"
     "action = 'skip'\n\n[settings]", "`skip` needs"),
    ("preload without subdomains", "subdomains = true", "subdomains = false", "preload list"),
    ("misspelt field", "ip.src.country in", "ip.src.contry in", "did you mean ip.src.country?"),
    ("unquoted text", 'eq ""\n', "eq empty\n", "needed here"),
    ("operator in capitals", "  or http.request.uri.path in", "  OR http.request.uri.path in", "small letters"),
    ("function as operator", 'lower(http.user_agent) contains "nikto"', 'http.user_agent starts_with "nikto"',
     "is a function"),
    ("compared Boolean", "not cf.client.bot and", "cf.client.bot eq false and", "takes no operator"),
    ("commas in a set", '{"AT" "CH"', '{"AT", "CH"', "spaces, not commas"),
    ("open parenthesis", ADMIN, ADMIN.replace("(http", "((http"), "this ( has no )"),
    ("reversed wildcard", '"/static/")\n', '"/static/") and http.host wildcard "**.a"\n', "two * in a row"),
    ("CIDR with host bits", '"/static/")\n', '"/static/") and ip.src in {10.0.0.1/8}\n', "10.0.0.0/8"),
    ("tab in an expression", '"/static/")\n', '"/static/")\tand ssl\n', "tab"),
    ("look-around", '"/static/")\n', '"/static/") and http.host matches "a(?=b)"\n', "look-around"),
    ("regular expression on Free", '"/static/")\n', '"/static/") and http.host matches "^a"\n', "plan business"),
    ("bot score on Free", "not cf.client.bot and", "cf.bot_management.score lt 30 and", "plan enterprise"),
    ("cookies on Free", '"/static/")\n', '"/static/") and has_key(http.request.cookies, "a")\n', "plan pro"),
    ("attack class on Free", "not cf.client.bot and", 'cf.waf.score.class eq "attack" and', "plan business"),
    ("log on Free", 'action = "block"', 'action = "log"', "plan enterprise"),
    ("own response on Free", 'action = "block"', 'action = "block"\nresponse = { body = "no" }', "plan pro"),
    ("too many firewall rules", "[settings]", "".join(f"[[firewall]]\nname = 'x{n}'\nwhen = 'ssl'\n"
     "action = 'block'\n\n" for n in range(2)) + "[settings]", "6 rules in http_request_firewall_custom"),
    ("too many cache rules", "[settings]", "".join(f"[[cache.rules]]\nname = 'x{n}'\nwhen = 'ssl'\n"
     "bypass = true\n\n" for n in range(8)) + "[settings]", "11 rules in http_request_cache_settings"),
    ("edge time below the plan's", "edge_seconds = 604800", "edge_seconds = 60", "at least 7200 s"),
    ("rate field on Free", 'uri.path, "/api/")\'\nclients', 'uri.path, "/api/") and http.host eq "a"\'\nclients',
     "filter of a rate rule"),
    ("rate period on Free", "[settings]", "[[rate.rules]]\nname = 'r'\nwhen = 'http.request.uri.path eq \"/a\"'\n"
     "requests = 5\nperiod_seconds = 60\ntimeout_seconds = 10\n\n[settings]", "looks back 10 s"),
    ("rate period that nobody counts", "[settings]", "[[rate.rules]]\nname = 'r'\nwhen = 'ssl'\nrequests = 5\n"
     "period_seconds = 11\ntimeout_seconds = 10\n\n[settings]", "Cloudflare counts in"),
    ("rate rule without a data centre", "[settings]", "[[rate.rules]]\nname = 'r'\nwhen = 'ssl'\nrequests = 5\n"
     "period_seconds = 10\ntimeout_seconds = 10\nby = ['ip.src']\n\n[settings]", "cf.colo.id"),
    ("wrong phase", "[settings]", "[[others]]\nname = 'o'\nwhen = 'ssl'\nphase = 'http_ratelimit'\n"
     "action = 'redirect'\n\n[settings]", "cannot redirect"),
    ("unknown phase", "[settings]", "[[others]]\nname = 'o'\nwhen = 'ssl'\nphase = 'http_request_waf'\n"
     "action = 'block'\n\n[settings]", "'http_request_dynamic_redirect'"),
    ("misspelt API parameter", "[settings]", "[[others]]\nname = 'o'\nwhen = 'ssl'\n"
     "phase = 'http_request_cache_settings'\naction = 'set_cache_settings'\n"
     "parameters = { chace = true }\n\n[settings]", "chace"),
    ("function of another phase", '"/static/")\n', '"/static/") and any(split(http.host, ".", 2)[*] eq "a")\n',
     "does not exist in the phase"),
    ("value function in a filter", '"/static/")\n', '"/static/") and to_string(ssl) eq "true"\n',
     "rewrites and redirects"),
    ("dead setting", 'websockets = "on"', 'brotli = "on"', "Cloudflare has ended it"),
    ("removed setting", 'websockets = "on"', 'minify = "on"', "no such setting"),
    ("wrong value of a setting", 'websockets = "on"', 'websockets = "yes"', "not one of"),
    ("setting with a key of its own", 'websockets = "on"', 'ssl = "off"', "a key of its own"),
    ("flexible with redirects", 'mode = "strict"', 'mode = "flexible"', "redirects for ever"),
    ("HSTS before HTTPS", "always_https = true", "always_https = false", "always_https = true first"),
    ("not TOML", "[settings]", "[settings", "not TOML"),
    ("too long an expression", '"/static/")\n', '"/static/")' + " " * 4200 + "\n", "at most 4096"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "old", "new", "said"), IN_THE_FILE, ids=[f[0] for f in IN_THE_FILE]
)
def test_a_fault_in_the_file_is_told_with_its_line(
    what: str, old: str, new: str, said: str
) -> None:
    assert old in DEFAULT, what
    text = DEFAULT.replace(old, new, 1)
    with pytest.raises(SettingsError) as refused:
        asked(text)
    message = str(refused.value)
    assert said in message, message
    if "not TOML" in said:
        return
    number = int(message.split("edge.toml:", 1)[1].split(":", 1)[0])
    around = "\n".join(text.splitlines()[max(0, number - 2) : number + 12])
    changed = [line for line in new.splitlines() if line.strip() and line not in old.splitlines()]
    assert any(line.strip() in around for line in changed or [old.splitlines()[0]]) or new == "", (
        message,
        around,
    )


def test_a_tier_that_the_application_does_not_have_is_told() -> None:
    with pytest.raises(Invalid, match="no tier 'apo'; it has analysis, api"):
        asked(DEFAULT.replace('tier = "api"', 'tier = "apo"'))


def test_there_are_many_faults() -> None:
    assert len(IN_THE_FILE) + len(HALFWAY) + len(SAMPLED) >= 60


# -- what the samples notice ---------------------------------------------------------------

SAMPLED: list[tuple[str, str, str, str]] = [
    ("own API blocked", 'starts_with(lower(http.request.uri.path), "/wp-admin")',
     'starts_with(lower(http.request.uri.path), "/a")', "expected pass, got block by wordpress"),
    ("own API challenged", ' and not starts_with(http.request.uri.path, "/api/") and (', " and (",
     "expected pass, got managed_challenge by bots"),
    ("private page cached", 'name = "images"\n', 'name = "images"\nenabled = true\n# ', ""),
    ("API cached", "bypass = true", "edge_seconds = 7200", "expected cache 'bypass', got 'cache'"),
    ("rules in the wrong order", 'action = "managed_challenge"', 'action = "block"', "got block"),
    ("administration open", "and not ip.src.country in", "and ip.src.country in", "expected pass, got block"),
    ("everybody blocked", 'http.user_agent eq ""', 'http.user_agent ne ""', "got managed_challenge"),
    ("nothing cached", '"/static/")\n  and', '"/statics/")\n  and', "expected cache 'cache'"),
    ("nothing compressed", '"text/html" ', "", "expected compression"),
    ("rule switched off", 'name = "auth"', 'name = "auth"\nenabled = false', "expected managed_challenge, got pass"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "old", "new", "said"), SAMPLED, ids=[f[0] for f in SAMPLED])
def test_the_samples_notice_a_rule_that_does_something_else(
    what: str, old: str, new: str, said: str
) -> None:
    text = DEFAULT.replace(old, new, 1)
    if what == "private page cached":
        folders = DEFAULT[
            DEFAULT.index(' and (\n  starts_with(http.request.uri.path, "/static/")') :
        ]
        text = DEFAULT.replace(folders[: folders.index("'''")], "\n", 1)
        said = "expected cache 'by extension', got 'cache'"
    assert text != DEFAULT
    want = asked(text)
    simulator = Simulator(want.rulesets, **of_items(want.items))
    outcomes = samples.run(samples.read(file.default_samples()), simulator, want.zone)
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    assert any(said in problem for problem in problems), problems


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
HALFWAY: list[tuple[str, Fault, type[InsightError]]] = [
    *(
        (f"{kind} at {target}", Fault(kind, "PUT" if "http" in target else "PATCH", target, 9, skip), Unavailable)
        for kind in ("500", "503", "cut", "refused", "denied", "html", "429")
        for target, skip in ((FIREWALL, 1), (_LAST, 0))
    ),
    ("lost write of a rule", Fault("lost", "PUT", FIREWALL, 1, 1), Unavailable),
    ("lost write of a setting", Fault("lost", "PATCH", "min_tls_version", 1), Unavailable),
    ("lost write of the last", Fault("lost", "PATCH", _LAST, 1), Unavailable),
    ("503 in the middle", Fault("503", "PUT", "bot_management", 9), Unavailable),
    ("cut in the middle", Fault("cut", "PATCH", "early_hints", 9), Unavailable),
]  # fmt: skip


@pytest.mark.parametrize(("what", "fault", "error"), HALFWAY, ids=[f[0] for f in HALFWAY])
async def test_what_fails_half_way_is_taken_back(
    what: str, fault: Fault, error: type[InsightError], tmp_path: Path
) -> None:
    fake = Fake()
    fake.add_rule(FIREWALL, {"action": "block", "expression": "ip.src eq 192.0.2.1"})
    async with zone_of(fake, tmp_path) as zone:
        found = await planned(zone, asked())
        before = _meaning(fake)
        # Five attempts fail, then the way back is open.
        fake.faults = [
            Fault(fault.kind, fault.method, fault.path, min(fault.times, _tries(fault)), fault.skip)
        ]
        with pytest.raises(error, match="taken back"):
            await zone.apply(found)
        assert _meaning(fake) == before, what
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
    fake = Fake(
        faults=[Fault("503", "PATCH", "http3", times=99), Fault("503", "PATCH", "ssl", 99, 1)]
    )
    async with zone_of(fake, tmp_path) as zone:
        found = await planned(zone, asked())
        with pytest.raises(Unavailable, match=r"insight edge rollback .*json") as failed:
            await zone.apply(found)
        assert "written so far: ssl" in str(failed.value)
        fake.faults = []
        (snapshot,) = tmp_path.glob("*.json")
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
