"""certbot as the engine, against the same authority; the oldest that we support is Debian's."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from insight_cloud.core.errors import (
    InsightError,
    Missing,
    RateLimited,
    Refused,
    SettingsError,
    Unavailable,
)
from insight_cloud.tls import certificate
from insight_cloud.tls.certbot import Certbot
from insight_cloud.tls.issuer import Wanted
from insight_cloud.tls.keeper import Keeper, accept
from insight_cloud.tls.store import Store
from tests.tls import authority as made
from tests.tls.answering import answering
from tests.tls.pebble import Pebble, require


def engine(store: Store, acme: Pebble, **more: str) -> Certbot:
    return Certbot(acme.url, store, agree_terms=True, ca_file=acme.ca_file, **more)  # type: ignore[arg-type]


async def test_it_issues_renews_and_revokes(tmp_path: Path, acme: Pebble) -> None:
    require("certbot")
    store, names = Store(tmp_path), ("a.example", "www.a.example")
    client = engine(store, acme)
    async with answering(store, acme):
        keeper = Keeper(store, client, Wanted(names))
        await keeper.renew()
        first = keeper.look().certificate
        await keeper.renew(force=True)
    second = keeper.look()
    assert first is not None
    assert second.certificate is not None
    assert second.certificate.fingerprint != first.fingerprint
    assert second.version is not None
    assert second.version.meta.method == "certbot"
    assert store.permissions().status == "pass"
    roots = certificate.load_roots(acme.root())
    answers = certificate.checks(
        second.certificate, now=datetime.now(UTC), names=names, roots=roots
    )
    assert {c.status for c in answers} == {"pass"}
    await client.revoke(second.certificate, reason=4)
    with pytest.raises(Refused, match="certbot failed"):
        await client.revoke(second.certificate, reason=4)


async def test_a_challenge_that_nobody_answers_is_refused(tmp_path: Path, acme: Pebble) -> None:
    require("certbot")
    with pytest.raises(Refused, match=r"certbot failed: .*a\.example"):
        await engine(Store(tmp_path), acme).issue(Wanted(("a.example",)), replaces=None)


async def test_what_an_old_certbot_cannot_do_is_said(tmp_path: Path, acme: Pebble) -> None:
    require("certbot")
    store = Store(tmp_path)
    try:
        async with answering(store, acme):
            wanted = Wanted(("127.0.0.1",), profile="shortlived")
            issued = await engine(store, acme).issue(wanted, replaces=None)
    except Refused as error:
        assert "too old for profiles" in str(error)  # noqa: PT017 - either is right, by its age
    else:
        accept(issued, names=wanted.names, now=datetime.now(UTC))


async def test_wrong_wishes_are_said_before_anything_runs(tmp_path: Path, acme: Pebble) -> None:
    client = Certbot(acme.url, Store(tmp_path))
    with pytest.raises(SettingsError, match="agree_terms"):
        await client.issue(Wanted(("a.example",)), replaces=None)
    with pytest.raises(SettingsError, match="no wildcards"):
        await engine(Store(tmp_path), acme).issue(Wanted(("*.a.example",)), replaces=None)
    with pytest.raises(Missing, match="insight-no-certbot is not installed"):
        await engine(Store(tmp_path), acme, program="insight-no-certbot").issue(
            Wanted(("a.example",)), replaces=None
        )


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("urn:ietf:params:acme:error:rateLimited", RateLimited, "wants us to wait"),
        ("requests.exceptions.ConnectionError: no", Unavailable, "does not answer"),
        ("unrecognized arguments: --ip-address", Refused, "too old for profiles"),
        ("something else", Refused, "certbot failed: something else"),
    ],
)
async def test_what_it_says_becomes_an_error_of_ours(
    tmp_path: Path, acme: Pebble, said: str, kind: type[InsightError], words: str
) -> None:
    program = tmp_path / "certbot"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('{said}')\n")
    program.chmod(0o700)
    client = engine(Store(tmp_path / "s"), acme, program=str(program))
    with pytest.raises(kind, match=words):
        await client.issue(Wanted(("a.example",)), replaces=None)


async def test_advice_comes_from_the_adviser(tmp_path: Path, acme: Pebble) -> None:
    found = certificate.load(made.leaf("a.example").chain)
    assert await engine(Store(tmp_path), acme).advice(found, made.NOW) is None
