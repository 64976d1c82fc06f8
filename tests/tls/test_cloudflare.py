from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificates

from insight_cloud.core.errors import (
    Corrupt,
    InsightError,
    Missing,
    RateLimited,
    Refused,
    SettingsError,
    Unavailable,
)
from insight_cloud.tls import certificate
from insight_cloud.tls.cloudflare import Api, OriginCa, Records
from insight_cloud.tls.issuer import Wanted
from insight_cloud.tls.keeper import accept
from insight_cloud.tls.solvers import Dns01
from insight_cloud.tls.store import Store
from tests.tls import authority as made
from tests.tls.answering import authority
from tests.tls.cloudflare import TOKEN, Cloudflare, cloudflare
from tests.tls.pebble import Pebble, free_port
from tests.tls.servers import answering


@pytest.fixture
def cf() -> Iterator[Cloudflare]:
    with cloudflare("a.example", "b.co.example") as running:
        yield running


def api(cf: Cloudflare, token: str = TOKEN) -> Api:
    return Api(token, url=cf.url)


def connect(cf: Cloudflare, acme: Pebble) -> None:
    """Let the authority's DNS show what Cloudflare holds."""

    def changed(name: str, values: list[str]) -> None:
        acme.tell("clear-txt", host=f"{name}.")
        for value in values:
            acme.tell("set-txt", host=f"{name}.", value=value)

    cf.changed = changed


async def test_a_name_and_its_wildcard_are_issued_through_the_dns(
    tmp_path: Path, acme: Pebble, cf: Cloudflare
) -> None:
    connect(cf, acme)
    seen: list[int] = []
    tell = cf.changed

    def changed(name: str, values: list[str]) -> None:
        seen.append(len(values))
        tell(name, values)

    cf.changed = changed
    store, names = Store(tmp_path), ("a.example", "*.a.example", "www.b.co.example")
    solver = Dns01(Records(api(cf)), wait_seconds=0)
    issued = await authority(acme, store, solver).issue(Wanted(names), replaces=None)
    roots = load_pem_x509_certificates(acme.root())
    accept(issued, names=names, now=datetime.now(UTC), roots=roots)
    assert max(seen) == 2  # two values under one name at the same time
    assert cf.records == {}


async def test_a_record_that_is_not_seen_is_refused_and_removed(
    tmp_path: Path, acme: Pebble, cf: Cloudflare
) -> None:
    solver = Dns01(Records(api(cf)), wait_seconds=0)  # nobody tells the authority's DNS
    with pytest.raises(Refused, match=r"a\.example was not proven to be ours"):
        await authority(acme, Store(tmp_path), solver).issue(Wanted(("a.example",)), replaces=None)
    assert cf.records == {}


async def test_records_that_stay_behind_are_no_failure(
    cf: Cloudflare, caplog: pytest.LogCaptureFixture
) -> None:
    solver = Dns01(Records(api(cf)), wait_seconds=0)
    await solver.present("a.example", "t", "value")
    cf.fault = lambda method, _: (500, {}) if method == "DELETE" else None
    await solver.withdraw()
    assert "was not removed" in caplog.text
    cf.fault = lambda *_: None
    await Records(api(cf)).remove(f"{cf.zones['a.example']}/{'0' * 32}")  # gone already


async def test_the_zone_is_given_or_found(cf: Cloudflare) -> None:
    records = Records(api(cf))
    await records.add("_acme-challenge.www.b.co.example", "v")
    await records.add("_acme-challenge.www.b.co.example", "w")
    assert [a for a in cf.asked if a == "GET /zones"] == ["GET /zones"] * 2  # www.b.co, b.co
    with pytest.raises(Missing, match="CLOUDFLARE_ZONE_ID"):
        await records.add("_acme-challenge.c.example", "v")
    given = Records(api(cf), zone_id=cf.zones["a.example"])
    await given.add("_acme-challenge.a.example", "v")
    assert cf.asked[-1].startswith("POST")


@pytest.mark.parametrize(
    ("status", "headers", "kind", "words"),
    [
        (401, {}, Refused, "the token needs DNS: Edit"),
        (403, {}, Refused, "the token needs DNS: Edit"),
        (404, {}, Missing, "knows nothing"),
        (429, {"Retry-After": "77"}, RateLimited, "wait 77 s"),
        (429, {}, RateLimited, "wait 300 s"),
        (500, {}, Unavailable, "out of order: simulated"),
        (400, {}, Refused, r"simulated \(10000\)"),
        (200, {}, Refused, "simulated"),  # success: false
    ],
)
async def test_refusals_say_what_to_do(
    cf: Cloudflare, status: int, headers: dict[str, str], kind: type[InsightError], words: str
) -> None:
    cf.fault = lambda *_: (status, headers)
    records = Records(api(cf), zone_id="0" * 32)
    with pytest.raises(kind, match=words) as caught:
        await records.add("_acme-challenge.a.example", "v")
    assert TOKEN not in str(caught.value)


async def test_the_wrong_token_is_refused_and_never_repeated(cf: Cloudflare) -> None:
    with pytest.raises(Refused, match="Invalid access token") as caught:
        await Records(api(cf, "x" * 40)).add("_acme-challenge.a.example", "v")
    assert "xxxx" not in str(caught.value)
    with pytest.raises(SettingsError, match="cloudflare_token"):
        api(cf, " ")


async def test_nobody_there_and_nonsense_are_said(cf: Cloudflare) -> None:
    away = Api(TOKEN, url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match="does not answer"):
        await away.call("GET", "/zones", needs="x")
    with answering({"/zones": b"<html>"}) as url, pytest.raises(Refused, match="status 200"):
        await Api(TOKEN, url=url).call("GET", "/zones", needs="x")
    with answering({"/zones": b"x" * (5 << 20)}) as url, pytest.raises(Corrupt, match="more than"):
        await Api(TOKEN, url=url).call("GET", "/zones", needs="x")


@pytest.mark.parametrize("kind", ["ec256", "rsa2048"])
async def test_the_origin_ca_issues_and_revokes(cf: Cloudflare, kind: str) -> None:
    origin = OriginCa(api(cf), days=90, zone_id=cf.zones["a.example"])
    issued = await origin.issue(Wanted(("a.example", "*.a.example"), kind), replaces=None)
    now = made.NOW + timedelta(minutes=1)
    accept(issued, names=["a.example", "*.a.example"], now=now)
    found = certificate.load(issued.chain)
    assert found.ends == made.NOW + timedelta(days=90)
    (kept,) = cf.certificates.values()
    assert kept["request_type"] == ("origin-ecc" if kind == "ec256" else "origin-rsa")
    assert await origin.advice(found, now) is None
    await origin.revoke(found, reason=0)
    assert cf.certificates == {}
    with pytest.raises(Missing, match="revoked already"):
        await origin.revoke(found, reason=0)


async def test_what_the_origin_ca_cannot_do_is_said(cf: Cloudflare) -> None:
    origin = OriginCa(api(cf))
    with pytest.raises(SettingsError, match="P-384"):
        await origin.issue(Wanted(("a.example",), "ec384"), replaces=None)
    with pytest.raises(SettingsError, match="CLOUDFLARE_ZONE_ID"):
        await origin.revoke(certificate.load(made.leaf("a.example").chain), reason=0)
