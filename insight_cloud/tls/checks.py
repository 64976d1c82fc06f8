"""What can be asked of certificates: the files here, and what a server really shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
from cryptography import x509

from insight_cloud.core.errors import Corrupt, InsightError
from insight_cloud.core.report import Check, stopwatch
from insight_cloud.tls import certificate, prober, renewal, revocation, store
from insight_cloud.tls.certificate import Certificate
from insight_cloud.tls.store import Store

__all__ = ["check", "check_files", "check_server", "read_roots", "samples"]

_LATE = 1 / 3
"""The part of its life below which a certificate should have been replaced."""


async def check(
    kept: Store,
    *,
    names: Sequence[str] = (),
    now: datetime | None = None,
    roots: Sequence[x509.Certificate] | None = None,
) -> list[Check]:
    """Look at the certificate in use: files, permissions, names, chain, expiry, last renewal.

    Nothing outside is asked, so this fits into a health report.
    """
    now = now or datetime.now(UTC)
    try:
        version = kept.current()
        if version is None:
            detail = f"there is none in {kept.directory}: run `insight tls issue` or `install`"
            return [Check("tls.certificate", "fail", detail)]
        found = version.read()
        key = certificate.load_key(store.read(version.key, certificate.KEY_BYTES))
    except InsightError as error:
        return [Check("tls.certificate", "fail", str(error))]
    answers = certificate.checks(
        found, now=now, names=names, key=key, roots=roots, warn_below=found.lifetime * _LATE
    )
    return [*answers, kept.permissions(), _renewal(kept)]


def check_files(
    chain: Path,
    key: Path | None,
    *,
    names: Sequence[str] = (),
    now: datetime | None = None,
    roots: Sequence[x509.Certificate] | None = None,
) -> list[Check]:
    """Look at a chain and a key that lie anywhere.

    Raises:
        Missing, Unavailable, Corrupt: one of them cannot be read; the message says which.
    """
    now = now or datetime.now(UTC)
    with _about(chain):
        found = certificate.load(store.read(chain, certificate.CHAIN_BYTES))
    with _about(key):
        secret = certificate.load_key(store.read(key, certificate.KEY_BYTES)) if key else None
    answers = certificate.checks(
        found,
        now=now,
        names=names,
        key=secret,
        roots=roots,
        warn_below=min(found.lifetime * _LATE, timedelta(days=30)),
    )
    return [*answers, *([store.private(key)] if key else [])]


@contextlib.contextmanager
def _about(path: Path | None) -> Iterator[None]:
    """Name the file of which something is said."""
    try:
        yield
    except Corrupt as error:
        raise Corrupt(f"{path}: {error}") from error.__cause__


async def check_server(
    host: str,
    port: int = 443,
    *,
    address: str | None = None,
    names: Sequence[str] = (),
    now: datetime | None = None,
    roots: Sequence[x509.Certificate] | None = None,
    expected: Certificate | None = None,
) -> list[Check]:
    """Look at what a server really shows, as a visitor would.

    Args:
        host: the name to ask for, which the certificate must be for.
        port: the TCP port.
        address: connect there instead.
        names: further names that it must be for.
        now: the present time.
        roots: what the chain must lead to.
        expected: the certificate that should be shown, if it is known.
    """
    now = now or datetime.now(UTC)
    with stopwatch() as watch:
        try:
            found = await prober.served_chain(host, port, address=address)
        except InsightError as error:
            return [Check("tls.served", "fail", str(error), watch.seconds)]
    answers = [_served(found, expected, watch.seconds)]
    answers += certificate.checks(
        found,
        now=now,
        names=[host, *names],
        roots=roots,
        warn_below=min(found.lifetime * _LATE, timedelta(days=30)),
    )
    return [*answers, await revocation.check(found, now=now)]


def read_roots(file: Path | None) -> tuple[x509.Certificate, ...]:
    """Read the roots in `file`; without one, those that browsers trust (from `certifi`)."""
    return certificate.load_roots(
        store.read(file or Path(certifi.where()), certificate.ROOTS_BYTES)
    )


def samples(kept: Store) -> Iterable[tuple[str, dict[str, str], float]]:
    """Numbers for a metrics recorder: name, labels, value. Nothing when there is no certificate."""
    try:
        state = renewal.decode(kept.read_json("state.json") or {})
        version = kept.current()
        found = version.read() if version is not None else None
    except InsightError:
        return [("tls_certificate_readable", {}, 0.0)]
    numbers: list[tuple[str, dict[str, str], float]]
    numbers = [("tls_renewal_failures", {}, float(state.failures))]
    if found is not None:
        labels = {"name": found.names[0] if found.names else ""}
        numbers += [
            ("tls_certificate_readable", {}, 1.0),
            ("tls_certificate_expiry_timestamp_seconds", labels, found.ends.timestamp()),
            ("tls_certificate_lifetime_seconds", labels, found.lifetime.total_seconds()),
        ]
    return numbers


def _served(found: Certificate, expected: Certificate | None, seconds: float) -> Check:
    what = f"{found.names[0] if found.names else 'no name'}, serial {found.serial}"
    if expected is None or expected.fingerprint == found.fingerprint:
        return Check("tls.served", "pass", what, seconds)
    detail = (
        f"the server shows {what} and not the one that is installed "
        f"(serial {expected.serial}): reload it, and see that it reads the right files"
    )
    return Check("tls.served", "fail", detail, seconds)


def _renewal(kept: Store) -> Check:
    try:
        state = renewal.decode(kept.read_json("state.json") or {})
    except InsightError as error:
        return Check("tls.renewal", "warn", str(error))
    if state.failures:
        detail = f"{state.failures} tries have failed, the last because: {state.problem}"
        return Check("tls.renewal", "warn", detail)
    when = f"{state.issued:%Y-%m-%d %H:%M} UTC" if state.issued else "never by us"
    return Check("tls.renewal", "pass", f"last: {when}")
