"""The ACME manager against a real authority."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from insight_cloud.core.errors import Corrupt, Refused, SettingsError, Unavailable
from insight_cloud.tls import certificate
from insight_cloud.tls.acme import certificate_id
from insight_cloud.tls.issuer import Issued, Wanted
from insight_cloud.tls.keeper import accept
from insight_cloud.tls.store import Store
from tests.tls import authority as made
from tests.tls.answering import answering, authority
from tests.tls.pebble import Answer, Pebble

HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


def checked(issued: Issued, names: tuple[str, ...], acme: Pebble) -> certificate.Certificate:
    accept(issued, names=names, now=now(), roots=certificate.load_roots(acme.root()))
    return certificate.load(issued.chain)


@pytest.mark.parametrize("key_type", ["ec256", "ec384", "rsa2048"])
async def test_two_names_are_issued_over_http(tmp_path: Path, acme: Pebble, key_type: str) -> None:
    store = Store(tmp_path)
    names = ("a.example", "www.a.example")
    async with answering(store, acme):
        issued = await authority(acme, store).issue(Wanted(names, key_type), replaces=None)
    found = checked(issued, names, acme)
    assert set(found.names) == set(names)
    assert found.leaf.public_key() == certificate.load_key(issued.key).public_key()
    assert list(store.challenges.iterdir()) == []
    assert "PRIVATE" not in repr(issued)


async def test_an_address_is_issued_with_a_profile(tmp_path: Path, acme: Pebble) -> None:
    store = Store(tmp_path)
    wanted = Wanted(("127.0.0.1",), profile="shortlived")
    async with answering(store, acme):
        issued = await authority(acme, store).issue(wanted, replaces=None)
    assert checked(issued, wanted.names, acme).names == ("127.0.0.1",)
    order = acme.front.orders[-1]
    assert order["identifiers"] == [{"type": "ip", "value": "127.0.0.1"}]
    assert order["profile"] == "shortlived"


async def test_a_renewal_says_what_it_replaces_and_keeps_the_account(
    tmp_path: Path, acme: Pebble
) -> None:
    store = Store(tmp_path)
    async with answering(store, acme):
        first = await authority(acme, store).issue(Wanted(("a.example",)), replaces=None)
        account = json.loads((tmp_path / "account.json").read_text())
        old = certificate.load(first.chain)
        second = await authority(acme, store).issue(Wanted(("a.example",)), replaces=old)
    assert json.loads((tmp_path / "account.json").read_text()) == account
    assert stat.S_IMODE((tmp_path / "account.json").stat().st_mode) == 0o600
    assert acme.front.orders[-1]["replaces"] == certificate_id(old)
    assert "replaces" not in acme.front.orders[-2]
    assert first.key != second.key


@pytest.mark.parametrize(
    "answer",
    [
        Answer.problem(409, "alreadyReplaced", "that was replaced already"),
        Answer.problem(404, "malformed", "replaces: unknown certificate"),
    ],
)
async def test_what_was_replaced_already_is_ordered_anew(
    tmp_path: Path, acme: Pebble, answer: Answer
) -> None:
    store = Store(tmp_path)
    refused: list[str] = []

    def fault(method: str, path: str) -> Answer | None:
        if path == "/order-plz" and not refused:
            refused.append(path)
            return answer
        return None

    acme.front.fault = fault
    old = certificate.load(made.leaf("a.example").chain)
    async with answering(store, acme):
        issued = await authority(acme, store).issue(Wanted(("a.example",)), replaces=old)
    checked(issued, ("a.example",), acme)
    assert refused
    assert "replaces" not in acme.front.orders[-1]


async def test_a_forgotten_account_is_made_again_with_the_same_key(
    tmp_path: Path, acme: Pebble
) -> None:
    store = Store(tmp_path)
    async with answering(store, acme):
        await authority(acme, store).issue(Wanted(("a.example",)), replaces=None)
        known = json.loads((tmp_path / "account.json").read_text())
        gone = {**known, "uri": known["uri"].rsplit("/", 1)[0] + "/abcdef"}
        store.write_json("account.json", gone)
        await authority(acme, store).issue(Wanted(("a.example",)), replaces=None)
    assert json.loads((tmp_path / "account.json").read_text()) == known


async def test_another_authority_gets_an_account_of_its_own(tmp_path: Path, acme: Pebble) -> None:
    store = Store(tmp_path)
    async with answering(store, acme):
        await authority(acme, store).issue(Wanted(("a.example",)), replaces=None)
        before = json.loads((tmp_path / "account.json").read_text())
        direct = authority(acme, store, url=acme.direct_url)
        await direct.issue(Wanted(("a.example",)), replaces=None)
    after = json.loads((tmp_path / "account.json").read_text())
    assert (after["directory"], after["key"] == before["key"]) == (acme.direct_url, False)


async def test_advice_is_read_with_the_time_to_ask_again(tmp_path: Path, acme: Pebble) -> None:
    found = certificate.load(made.leaf("a.example").chain)
    client = authority(acme, Store(tmp_path))
    moment = now().replace(microsecond=0)
    window = {"start": moment.isoformat(), "end": (moment + HOUR).isoformat()}
    acme.front.renewal = {"suggestedWindow": window, "explanationURL": "https://a.example/why"}
    acme.front.ask_again = "7200"
    advice = await client.advice(found, moment)
    assert advice is not None
    assert advice.window is not None
    assert (advice.window.start, advice.window.end) == (moment, moment + HOUR)
    assert advice.window.explanation == "https://a.example/why"
    assert advice.ask_again == moment + 2 * HOUR
    assert f"GET /renewal-info/{certificate_id(found)}" in acme.front.asked
    for text, seconds in (("1", 60), ("99999999", 86400)):  # within a minute and a day
        acme.front.ask_again = text
        advice = await client.advice(found, moment)
        assert advice is not None
        assert advice.ask_again == moment + timedelta(seconds=seconds)
    assert not (tmp_path / "account.json").exists()  # asking needs no account


async def test_no_advice_is_asked_for_where_there_is_none(tmp_path: Path, acme: Pebble) -> None:
    found = certificate.load(made.leaf("a.example").chain)
    direct = authority(acme, Store(tmp_path), url=acme.direct_url)
    assert await direct.advice(found, now()) is None
    assert await authority(acme, Store(tmp_path)).advice(found, found.ends + HOUR) is None


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"suggestedWindow": "soon"},
        {"suggestedWindow": {"start": "x", "end": "y"}},
        {"suggestedWindow": {"start": "2026-02-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}},
    ],
)
async def test_advice_that_makes_no_sense_is_corrupt(
    tmp_path: Path, acme: Pebble, raw: dict[str, object]
) -> None:
    acme.front.renewal = raw
    found = certificate.load(made.leaf("a.example").chain)
    with pytest.raises(Corrupt, match="renewal"):
        await authority(acme, Store(tmp_path)).advice(found, now())


async def test_a_certificate_is_revoked_once(tmp_path: Path, acme: Pebble) -> None:
    store = Store(tmp_path)
    client = authority(acme, store)
    async with answering(store, acme):
        issued = await client.issue(Wanted(("a.example",)), replaces=None)
    found = certificate.load(issued.chain)
    await client.revoke(found, reason=4)
    with pytest.raises(Refused, match="alreadyRevoked"):
        await client.revoke(found, reason=4)


async def test_the_terms_must_be_agreed_to(tmp_path: Path, acme: Pebble) -> None:
    client = authority(acme, Store(tmp_path), agree_terms=False)
    with pytest.raises(SettingsError, match=r"agree to its terms, data:.*tls\.agree_terms"):
        await client.issue(Wanted(("a.example",)), replaces=None)
    assert acme.front.orders == []


async def test_a_profile_that_is_not_offered_is_said_with_those_that_are(
    tmp_path: Path, acme: Pebble
) -> None:
    client = authority(acme, Store(tmp_path))
    with pytest.raises(SettingsError, match="offers classic, shortlived, tlsserver"):
        await client.issue(Wanted(("a.example",), profile="eternal"), replaces=None)
    assert acme.front.orders == []


async def test_a_wildcard_needs_the_dns(tmp_path: Path, acme: Pebble) -> None:
    with pytest.raises(Refused, match=r"does not offer http-01 for a\.example, but dns-01"):
        await authority(acme, Store(tmp_path)).issue(Wanted(("*.a.example",)), replaces=None)


async def test_an_order_that_never_ends_is_given_up(tmp_path: Path, acme: Pebble) -> None:
    store = Store(tmp_path)

    def fault(method: str, path: str) -> Answer | None:
        if path.startswith(("/finalize-order/", "/my-order/")):
            body = {"status": "processing", "authorizations": [], "finalize": "https://x/"}
            kind = ("Content-Type", "application/json")
            return Answer(200, json.dumps(body).encode(), (kind, ("Replay-Nonce", "bm9uY2U")))
        return None

    acme.front.fault = fault
    client = authority(acme, store, patience_seconds=2)
    async with answering(store, acme):
        with pytest.raises(Unavailable, match="did not finish"):
            await client.issue(Wanted(("a.example",)), replaces=None)
    assert list(store.challenges.iterdir()) == []


async def test_an_interrupted_order_leaves_no_challenge_behind(
    tmp_path: Path, acme: Pebble
) -> None:
    """Ctrl-C cancels the order while the authority is being asked to look."""
    store, asked, go_on = Store(tmp_path), threading.Event(), threading.Event()

    def fault(_: str, path: str) -> None:
        if path.startswith("/chalZ/"):
            asked.set()
            go_on.wait(20)

    acme.front.fault = fault
    order = asyncio.create_task(authority(acme, store).issue(Wanted(("a.example",)), replaces=None))
    try:
        assert await asyncio.to_thread(asked.wait, 20)
        assert len(list(store.challenges.iterdir())) == 1
        order.cancel()
        with pytest.raises(asyncio.CancelledError):
            await order
    finally:
        go_on.set()
    assert list(store.challenges.iterdir()) == []


def test_the_identifier_of_a_certificate_is_that_of_the_standard() -> None:
    """The example of RFC 9773, section 4.1: key identifier and serial number."""
    key = bytes.fromhex("69885B6B873975174B9AE0AC2FD54A4A0A6C0BCA".lower()[:40])
    signer = made.signed("a.example", names=["a.example"])
    builder = (
        x509.CertificateBuilder()
        .subject_name(signer.certificate.subject)
        .issuer_name(signer.certificate.subject)
        .public_key(signer.key.public_key())
        .serial_number(0x8765_4321)
        .not_valid_before(made.NOW)
        .not_valid_after(made.NOW + made.DAY)
        .add_extension(x509.AuthorityKeyIdentifier(key, None, None), critical=False)
    )
    signed = builder.sign(signer.key, hashes.SHA256())
    found = certificate_id(certificate.Certificate((signed,)))
    assert found is not None
    assert found.endswith(".AIdlQyE")  # the first bit is set, so a zero byte goes before it
    assert certificate_id(certificate.Certificate((made.signed("x").certificate,)))
