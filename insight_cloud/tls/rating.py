"""SSL Labs' rating guide (2009r, May 2025) as a pure function: findings in, letter and reasons out.

The score is 30 % protocol, 30 % key exchange and 40 % cipher, each from the guide's tables. Caps
then lower the letter, and warnings take the plus. A+ needs HSTS for half a year.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from insight_cloud.core.report import Check
from insight_cloud.tls import certificate
from insight_cloud.tls.certificate import Certificate
from insight_cloud.tls.hello import Version
from insight_cloud.tls.prober import Findings
from insight_cloud.tls.suites import Suite

__all__ = ["Grade", "rate"]

_LETTERS = "TMFEDCBA"
"""Worst first; T is no trust, M a name that does not match."""
_PROTOCOL = {Version.SSL2: 0, Version.SSL3: 80, Version.TLS10: 90, Version.TLS11: 95,
             Version.TLS12: 100, Version.TLS13: 100}  # fmt: skip
_KEY_STEPS = {
    "EC": ((110, 20), (123, 40), (163, 80), (225, 90)),
    "RSA": ((512, 20), (1024, 40), (2048, 80), (4096, 90)),
}
_LETTER_FROM = ((80, "A"), (65, "B"), (50, "C"), (35, "D"), (20, "E"), (0, "F"))
_HSTS = timedelta(days=180)
Reason = tuple[str, str]
"""A letter that is not exceeded, and why."""


@dataclass(frozen=True, slots=True)
class Grade:
    """The result. `caps` are pairs of a letter and the reason why it is not exceeded."""

    letter: str
    score: int
    protocol: int
    key_exchange: int
    cipher: int
    caps: tuple[Reason, ...]
    warnings: tuple[str, ...]
    trusted: str = ""
    """The letter if trust and names are left aside; empty when that is the same."""

    def as_dict(self) -> dict[str, Any]:
        """The same data for `--json`."""
        return {
            "grade": self.letter,
            "grade_if_trusted": self.trusted or self.letter,
            "score": self.score,
            "protocol": self.protocol,
            "key_exchange": self.key_exchange,
            "cipher": self.cipher,
            "caps": [{"grade": letter, "reason": reason} for letter, reason in self.caps],
            "warnings": list(self.warnings),
        }


def rate(findings: Findings, *, now: datetime, roots: Sequence[x509.Certificate] | None) -> Grade:
    """Rate what was found.

    Args:
        findings: what the server accepts.
        now: the present time.
        roots: what the chain must lead to; None leaves trust out.
    """
    accepted = tuple(suite for group in findings.suites.values() for suite in group)
    parts = _protocol(findings), _key_exchange(findings, accepted), _cipher(findings, accepted)
    score = 0 if 0 in parts else sum(p * w // 100 for p, w in zip(parts, (30, 30, 40), strict=True))
    caps = [*_old(findings), *_ciphers(accepted), *_keys(parts[1], findings)]
    caps += [*_ciphers_by_age(findings), *_holes(findings), *_hsts(findings)]
    warnings = tuple(_warnings(findings))
    trust = list(_trust(findings, now, roots))
    plain = _letter(score, caps, warnings)
    letter = _letter(score, [*caps, *trust], warnings)
    ordered = tuple(sorted({*caps, *trust}, key=lambda c: (_LETTERS.index(c[0]), c[1])))
    return Grade(letter, score, *parts, ordered, warnings, plain if plain != letter else "")


def _letter(score: int, caps: Iterable[Reason], warnings: Sequence[str]) -> str:
    from_score = next(letter for least, letter in _LETTER_FROM if score >= least)
    letter = min([from_score, *(cap for cap, _ in caps)], key=_LETTERS.index)
    if letter != "A":
        return letter
    if warnings:
        return "A-"
    return "A" if any(cap == "A" for cap, _ in caps) else "A+"


def _protocol(findings: Findings) -> int:
    scores = [_PROTOCOL[version] for version in findings.versions]
    return (max(scores) + min(scores)) // 2


def _key_exchange(findings: Findings, accepted: Sequence[Suite]) -> int:
    scores = [100]
    if findings.chain is not None:
        scores.append(_key_score(*certificate.key_bits(findings.chain.leaf.public_key())))
    if findings.dh_bits is not None:
        scores.append(_key_score("RSA", findings.dh_bits))
    if findings.curve_bits is not None:
        scores.append(_key_score("EC", findings.curve_bits))
    if any(suite.export for suite in accepted):
        scores.append(40)
    if accepted and all(suite.anonymous for suite in accepted):
        scores.append(0)
    return min(scores)


def _key_score(kind: str, bits: int) -> int:
    steps = _KEY_STEPS["EC" if kind == "EC" else "RSA"]
    return next((score for below, score in steps if bits < below), 100)


def _cipher(findings: Findings, accepted: Sequence[Suite]) -> int:
    bits = [*(suite.bits for suite in accepted), *findings.ssl2_bits]
    return (_cipher_score(max(bits)) + _cipher_score(min(bits))) // 2 if min(bits) else 0


def _cipher_score(bits: int) -> int:
    return next((score for least, score in ((256, 100), (128, 80), (1, 20)) if bits >= least), 0)


def _old(findings: Findings) -> Iterator[Reason]:
    offered = findings.versions
    if Version.SSL2 in offered:
        yield "F", "SSL 2.0 is accepted (DROWN)"
    if max(offered) <= Version.SSL3:
        yield "F", "nothing newer than SSL 3.0 is accepted"
    if max(offered) < Version.TLS12:
        yield "C", "neither TLS 1.2 nor TLS 1.3 is accepted"
    for version in (Version.SSL3, Version.TLS10, Version.TLS11):
        if version in offered:
            yield "B", f"{version.title} is accepted"


def _ciphers(accepted: Sequence[Suite]) -> Iterator[Reason]:
    if any(suite.anonymous for suite in accepted):
        yield "F", "anonymous suites are accepted: anybody can pose as the server"
    if any(suite.export for suite in accepted):
        yield "F", "export suites are accepted (FREAK, Logjam)"
    if any(suite.bits < 112 for suite in accepted):
        yield "F", "suites of less than 112 bits are accepted"
    if accepted and not any(suite.authenticated for suite in accepted):
        yield "B", "no authenticated cipher (AEAD) is accepted"
    if accepted and not any(suite.forward_secret for suite in accepted):
        yield "B", "no suite with forward secrecy is accepted"


def _ciphers_by_age(findings: Findings) -> Iterator[Reason]:
    newer = [s for v, group in findings.suites.items() if v >= Version.TLS11 for s in group]
    older = [s for v, group in findings.suites.items() if v <= Version.TLS10 for s in group]
    if any(suite.rc4 for suite in newer):
        yield "C", "RC4 is accepted with TLS 1.1 or newer"
    elif any(suite.rc4 for suite in older):
        yield "B", "RC4 is accepted"
    if any(suite.small_block for suite in newer):
        yield "C", "64-bit block ciphers are accepted with TLS 1.1 or newer (Sweet32)"
    if any(suite.cbc for suite in findings.suites.get(Version.SSL3, ())):
        yield "C", "CBC is accepted with SSL 3.0 (POODLE)"
    if any(suite.cbc for suite in older):
        yield "B", "CBC is accepted with TLS 1.0 or older (BEAST)"


def _keys(score: int, findings: Findings) -> Iterator[Reason]:
    if score <= 40:
        yield "F", "the certificate's key or the key exchange is insecure"
    elif score <= 80:
        what = "the Diffie-Hellman group" if (findings.dh_bits or 9999) < 2048 else "the key"
        yield "B", f"{what} has less than 2048 bits"


def _holes(findings: Findings) -> Iterator[Reason]:
    if findings.heartbleed:
        yield "F", "Heartbleed (CVE-2014-0160): update the server, and make a new key"
    if findings.early_ccs:
        yield "F", "an early ChangeCipherSpec is accepted (CVE-2014-0224): update the server"
    if findings.compression:
        yield "C", "TLS compression is on (CRIME)"


def _hsts(findings: Findings) -> Iterator[Reason]:
    if findings.hsts_seconds is None:
        yield "A", "no Strict-Transport-Security: the first visit can be led to plain HTTP"


def _trust(
    findings: Findings, now: datetime, roots: Sequence[x509.Certificate] | None
) -> Iterator[Reason]:
    chain = findings.chain
    if chain is None:
        if any(findings.suites.values()):  # that of SSL 2.0 is not looked at
            yield "T", "the server shows no certificate"
        return
    yield from _signatures(chain)
    for check in certificate.checks(chain, now=now, names=[findings.host], roots=roots):
        yield from _trusted(check, chain, completed=_completed(findings, now, roots))


def _completed(findings: Findings, now: datetime, roots: Sequence[x509.Certificate] | None) -> bool:
    """Whether what the server left out, fetched from elsewhere, makes the chain whole."""
    if findings.chain is None or not findings.fetched:
        return False
    whole = Certificate((*findings.chain.chain, *findings.fetched))
    answers = certificate.checks(whole, now=now, roots=roots)
    return all(a.status == "pass" for a in answers if a.name in {"tls.trust", "tls.chain"})


def _signatures(chain: Certificate) -> Iterator[Reason]:
    for one in chain.chain:
        if certificate.self_issued(one):
            continue
        if isinstance(one.signature_hash_algorithm, hashes.MD5):
            yield "F", "a certificate is signed with MD5"
        elif isinstance(one.signature_hash_algorithm, hashes.SHA1):
            yield "T", "a certificate is signed with SHA-1"


def _trusted(check: Check, chain: Certificate, *, completed: bool) -> Iterator[Reason]:
    """Give the letter of one failed question about the certificate."""
    kind = check.name.removeprefix("tls.")
    if kind == "chain" and len(chain.chain) == 1 and certificate.self_issued(chain.leaf):
        yield "T", "the certificate is self-signed"
    elif check.status != "fail" or kind in {"strength", "signature"}:
        return
    elif kind == "names":
        yield "M", check.detail
    elif kind == "trust" and completed:
        # The guide tolerates it, since browsers often know the missing one from elsewhere.
        yield "B", check.detail
    else:
        yield "T", check.detail


def _warnings(findings: Findings) -> Iterator[str]:
    if Version.TLS13 not in findings.versions:
        yield "TLS 1.3 is not accepted"
    if findings.secure_renegotiation is False:
        yield "secure renegotiation (RFC 5746) is not supported"
    if findings.http and findings.hsts_seconds is not None:
        if findings.hsts_seconds < 0:
            yield "Strict-Transport-Security has no usable max-age"
        elif findings.hsts_seconds < _HSTS.total_seconds():
            yield f"Strict-Transport-Security lasts less than {_HSTS.days} days"
