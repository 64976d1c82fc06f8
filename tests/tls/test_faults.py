"""Everything that can go wrong: the certificate in use stays, and the message says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    InsightError,
    RateLimited,
    Refused,
    SettingsError,
    Unavailable,
)
from insight_cloud.tls import certificate
from insight_cloud.tls.issuer import Issued, Issuer, Wanted
from insight_cloud.tls.keeper import Keeper
from insight_cloud.tls.serving import Live
from insight_cloud.tls.store import Meta, Store
from tests.tls import authority as made
from tests.tls.answering import answering, authority
from tests.tls.authority import DAY, NOW, Signer, leaf
from tests.tls.issuers import Authority, Clock
from tests.tls.pebble import Answer, Pebble, free_port

NAMES = ("a.example",)
Fault = Callable[[str, str], Answer | None]


@contextlib.asynccontextmanager
async def kept(store: Store) -> AsyncIterator[None]:
    """The certificate that is in use before is in use, and served, after the body too."""
    old = leaf(*NAMES)
    before = store.install(old.chain, old.key_bytes, Meta("custom", NOW))
    live = Live(store)
    yield
    live.reload()
    after = store.current()
    assert after is not None
    assert (after.name, live.version) == (before.name, before.name)
    found = after.read()
    key = certificate.load_key(after.key.read_bytes())
    answers = certificate.checks(found, now=NOW, names=NAMES, key=key)
    assert [c for c in answers if c.status == "fail"] == []
    assert list((store.directory / "versions").iterdir()) == [before.directory]


async def failed(
    store: Store, issuer: Issuer, kind: type[InsightError], words: str
) -> InsightError:
    """A forced renewal fails with that error, which is noted, and repeats no key."""
    keeper = Keeper(store, issuer, Wanted(NAMES))
    async with kept(store):
        with pytest.raises(kind, match=words) as caught:
            await keeper.renew(force=True)
    state = keeper.look().state
    assert (state.failures, state.problem) == (1, str(caught.value))
    decision = keeper.decide(keeper.look())
    assert not decision.act
    assert "PRIVATE KEY" not in f"{caught.value} {caught.value.__cause__}"
    return caught.value


def on(method_and_path: str, answer: Answer) -> Fault:
    """Answer so whenever a path begins like that."""
    method, _, path = method_and_path.partition(" ")
    return lambda m, p: answer if m == method and p.startswith(path) else None


HTML = (("Content-Type", "text/html"),)
JSON = (("Content-Type", "application/json"), ("Replay-Nonce", "bm9uY2U"))
PROBLEM = Answer.problem


@dataclass(frozen=True)
class Case:
    name: str
    fault: Fault
    kind: type[InsightError]
    words: str


AUTHORITY = (
    Case("hangs up", on("GET /dir", Answer(0, close=True)), Unavailable, "does not answer"),
    Case("broken", on("GET /dir", Answer(500, b"oops", HTML)), Unavailable, r"out of order"),
    Case(
        "overloaded",
        on("POST /order-plz", PROBLEM(503, "serverInternal", "busy", Retry_After="1800")),
        Unavailable,
        "out of order: busy",
    ),
    Case(
        "rate limited",
        on("POST /order-plz", PROBLEM(429, "rateLimited", "too many", Retry_After="7200")),
        RateLimited,
        "wants us to wait 7200 s: too many",
    ),
    Case(
        "rate limited, without a word",
        on("POST /order-plz", Answer(429, b"<html>", HTML)),
        RateLimited,
        "wants us to wait 3600 s",
    ),
    Case(
        "a portal's page", on("GET /dir", Answer(200, b"<html>", HTML)), Unavailable, "tls.acme_url"
    ),
    Case("no directory", on("GET /dir", Answer(200, b"{}", JSON)), Unavailable, "tls.acme_url"),
    Case(
        "endless",
        on("GET /dir", Answer(200, b'"' + b"x" * (2 << 20), JSON)),
        Unavailable,
        "does not answer",
    ),
    Case(
        "never a good nonce",
        on("POST /order-plz", PROBLEM(400, "badNonce", "again", Replay_Nonce="bm9uY2U")),
        Unavailable,
        "out of order: again",
    ),
    Case(
        "no such name here",
        on("POST /order-plz", PROBLEM(400, "rejectedIdentifier", "policy")),
        Refused,
        "policy; this authority does not issue",
    ),
    Case(
        "forbidden by CAA",
        on("POST /finalize-order", PROBLEM(403, "caa", "CAA says no")),
        Refused,
        "add it there",
    ),
    Case(
        "a request it does not like",
        on("POST /finalize-order", PROBLEM(400, "badCSR", "weak key")),
        Refused,
        "weak key; choose another tls.key_type",
    ),
    Case(
        "an account elsewhere first",
        on("POST /sign-me-up", PROBLEM(403, "externalAccountRequired", "register")),
        Refused,
        "made on its pages",
    ),
    Case(
        "an order that ends badly",
        on(
            "POST /finalize-order",
            Answer(200, b'{"status":"invalid","finalize":"https://x/","authorizations":[]}', JSON),
        ),
        Refused,
        "ended the order as",
    ),
    Case(
        "garbage for a certificate",
        on("POST /certZ", Answer(200, b"none today", JSON)),
        Corrupt,
        "PEM",
    ),
    Case(
        "another's certificate",
        on("POST /certZ", Answer(200, leaf("other.example").chain, JSON)),
        Refused,
        "not for a.example.*does not belong",
    ),
)


@pytest.mark.parametrize("case", AUTHORITY, ids=lambda c: c.name.replace(" ", "-"))
async def test_the_authority_fails(tmp_path: Path, acme: Pebble, case: Case) -> None:
    store = Store(tmp_path)
    acme.front.fault = case.fault
    async with answering(store, acme):
        error = await failed(store, authority(acme, store), case.kind, case.words)
    assert list(store.challenges.iterdir()) == []
    if "7200" in case.words:
        state = Keeper(store, None, Wanted(NAMES)).look().state
        assert state.not_before is not None
        wait = state.not_before - datetime.now(UTC)
        assert timedelta(seconds=7000) < wait <= timedelta(seconds=7200)
        assert isinstance(error, RateLimited)
        assert error.retry_after == 7200


async def test_nothing_listens_at_the_authority(tmp_path: Path, acme: Pebble) -> None:
    store, url = Store(tmp_path), f"https://127.0.0.1:{free_port()}/dir"
    await failed(store, authority(acme, store, url=url), Unavailable, "does not answer")


async def test_the_authority_s_own_certificate_is_strange(tmp_path: Path, acme: Pebble) -> None:
    store = Store(tmp_path)
    client = authority(acme, store, ca_file=None)
    await failed(store, client, Unavailable, "clock and root certificates, or set tls.acme_ca_file")


async def test_the_file_that_verifies_it_is_missing(tmp_path: Path, acme: Pebble) -> None:
    store = Store(tmp_path / "store")
    client = authority(acme, store, ca_file=tmp_path / "none.pem")
    await failed(store, client, SettingsError, "correct tls.acme_ca_file")


async def test_nobody_answers_the_challenge(tmp_path: Path, acme: Pebble) -> None:
    store = Store(tmp_path)
    await failed(
        store, authority(acme, store), Refused, "a.example was not proven to be ours.*open port 80"
    )


async def test_somebody_else_answers_the_challenge(tmp_path: Path, acme: Pebble) -> None:
    async with answering(Store(tmp_path / "other"), acme):
        store = Store(tmp_path / "store")
        await failed(store, authority(acme, store), Refused, "must lead to this machine")


async def test_the_name_does_not_exist(tmp_path: Path, acme: Pebble) -> None:
    store = Store(tmp_path)
    acme.tell("set-default-ipv4", ip="")
    try:
        await failed(store, authority(acme, store), Refused, "was not proven to be ours")
    finally:
        acme.tell("set-default-ipv4", ip="127.0.0.1")


async def test_the_advice_cannot_be_had(tmp_path: Path, acme: Pebble) -> None:
    """That is no failure: the certificate's own life decides."""
    store = Store(tmp_path)
    acme.front.fault = on("GET /renewal-info", Answer(500, b"", HTML))
    keeper = Keeper(store, authority(acme, store), Wanted(NAMES))
    async with kept(store):
        plan, report = await keeper.renew()
    assert (len(plan), report.checks) == (0, ())
    assert keeper.look().state.ask_again is not None


# -- what it sends, what the machine is like ------------------------------------------------------


@pytest.mark.parametrize(
    ("signer", "words"),
    [
        (lambda: leaf(*NAMES, ends=NOW - DAY), "expired at .* renew it"),
        (lambda: leaf(*NAMES, begins=NOW + DAY), "set this machine's clock"),
        (
            lambda: leaf(
                *NAMES,
                by=made.signed(
                    "Old", made.root(), authority=True, begins=NOW - 9 * DAY, ends=NOW - DAY
                ),
            ),
            "the intermediate CN=Old expired.*download the present one",
        ),
        (lambda: leaf(*NAMES, key=made.rsa_key(1024)), "too weak"),
        (lambda: leaf("b.example"), "not for a.example"),
    ],
)
async def test_a_certificate_that_would_not_serve_is_not_installed(
    tmp_path: Path, signer: Callable[[], Signer], words: str
) -> None:
    issuer = Authority(Clock(), signer=signer())
    await failed(Store(tmp_path), issuer, Refused, f"was not installed: .*{words}")


@pytest.mark.parametrize(("days", "words"), [(-2, "set this machine's clock"), (365, "expired at")])
async def test_the_clock_of_this_machine_is_wrong(tmp_path: Path, days: int, words: str) -> None:
    class Right(Authority):
        async def issue(self, wanted: Wanted, **_: Any) -> Issued:
            signer = leaf(*wanted.names, begins=NOW)
            return Issued(signer.chain, signer.key_bytes)

    store, clock = Store(tmp_path), Clock(NOW + days * DAY)
    keeper = Keeper(store, Right(clock), Wanted(NAMES), now=clock)
    async with kept(store):
        with pytest.raises(Refused, match=words):
            await keeper.renew(force=True)
    clock.now = NOW + DAY  # mended: what was noted with the wrong clock does not put it off
    assert keeper.decide(keeper.look()).at < NOW + 80 * DAY


async def test_another_process_is_at_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keeper = Keeper(store, Authority(Clock()), Wanted(NAMES))
    async with kept(store):
        with Store(tmp_path).locked(), pytest.raises(Conflict, match="another process"):
            await keeper.renew(force=True)
    assert keeper.look().state.failures == 0


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
async def test_the_account_s_file_is_damaged(tmp_path: Path, acme: Pebble, text: str) -> None:
    store = Store(tmp_path)
    (tmp_path / "account.json").write_text(text)
    await failed(store, authority(acme, store), Corrupt, "move it away")


async def test_the_account_s_key_is_damaged(tmp_path: Path, acme: Pebble) -> None:
    store = Store(tmp_path)
    store.write_json("account.json", {"directory": acme.url, "uri": "x"})
    await failed(store, authority(acme, store), Corrupt, "holds no key: move it away")


async def test_the_memory_is_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keeper = Keeper(store, Authority(Clock()), Wanted(NAMES))
    async with kept(store):
        (tmp_path / "state.json").write_text("{")
        with pytest.raises(Corrupt, match="move it away"):
            await keeper.renew(force=True)


async def test_the_pair_in_use_is_damaged_and_is_replaced(tmp_path: Path) -> None:
    store, clock = Store(tmp_path), Clock()
    keeper = Keeper(store, Authority(clock), Wanted(NAMES), now=clock)
    await keeper.renew()
    current = store.current()
    assert current is not None
    current.key.write_bytes(leaf("x").key_bytes)
    clock.now += timedelta(minutes=1)
    plan = keeper.plan(keeper.look())
    assert "does not belong" in next(iter(plan)).reason
    current.chain.write_text("nothing")
    assert "cannot be used" in keeper.look().fault
    await keeper.renew()
    assert keeper.look().fault == ""


async def test_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    keeper = Keeper(Store(tmp_path / "file" / "x"), Authority(Clock()), Wanted(NAMES))
    with pytest.raises(Unavailable, match=r"cannot write|cannot read"):
        await keeper.renew(force=True)


# -- those who bring files ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (lambda: (leaf(*NAMES).chain, leaf(*NAMES).key_bytes), "does not belong"),
        (lambda: _pair(leaf(*NAMES, ends=NOW - DAY)), "expired"),
        (lambda: _pair(leaf("b.example")), "not for a.example"),
        (lambda: (b"DER", leaf(*NAMES).key_bytes), "convert it"),
        (lambda: (leaf(*NAMES).chain, b"nothing"), "no private key"),
        (
            lambda: (
                made.intermediate().alone + (p := leaf(*NAMES)).alone,
                p.key_bytes,
            ),
            "leaf first",
        ),
    ],
)
async def test_a_pair_that_would_not_serve_is_not_imported(
    tmp_path: Path, pair: Callable[[], tuple[bytes, bytes]], words: str
) -> None:
    store = Store(tmp_path)
    keeper = Keeper(store, None, Wanted(NAMES))
    chain, key = pair()
    async with kept(store):
        with pytest.raises((Refused, Corrupt), match=words):
            await keeper.install(chain, key, source="test")
    assert not (tmp_path / "state.json").exists()


def _pair(signer: Signer) -> tuple[bytes, bytes]:
    return signer.chain, signer.key_bytes


# -- hooks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (["insight-no-such-program"], "correct tls.hooks"),
        (["sh", "-c", "echo reason >&2; exit 3"], "status 3: reason"),
        (["sleep", "60"], "did not end within 0.3 s"),
    ],
)
async def test_a_hook_that_fails_is_said_and_run_again(
    tmp_path: Path, hook: list[str], words: str
) -> None:
    clock = Clock()
    keeper = Keeper(
        Store(tmp_path), Authority(clock), Wanted(NAMES), hooks=[hook], hook_seconds=0.3, now=clock
    )
    _, report = await keeper.renew()
    assert words in report.failed[0].detail
    plan = keeper.plan(keeper.look())
    assert [change.verb for change in plan] == ["run"]
    mended = Keeper(Store(tmp_path), Authority(clock), Wanted(NAMES), hooks=[["true"]], now=clock)
    _, report = await mended.renew()
    assert report.status == "pass"
    assert not mended.plan(mended.look())


async def test_hooks_see_the_paths_and_none_of_our_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "secret")
    clock, out = Clock(), tmp_path / "out"
    hook = ["sh", "-c", f"env > {out}"]
    keeper = Keeper(Store(tmp_path / "s"), Authority(clock), Wanted(NAMES), hooks=[hook], now=clock)
    await keeper.renew()
    seen = dict(line.split("=", 1) for line in out.read_text().splitlines())
    assert seen["INSIGHT_TLS_CHAIN"] == str(keeper.store.chain)
    assert seen["INSIGHT_TLS_KEY"] == str(keeper.store.key)
    assert set(seen) <= {
        "PATH",
        "LANG",
        "INSIGHT_TLS_CHAIN",
        "INSIGHT_TLS_KEY",
        "PWD",
        "SHLVL",
        "_",
        "OLDPWD",
    }
