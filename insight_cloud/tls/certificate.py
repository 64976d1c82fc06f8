"""A certificate with its chain and key: read within limits, and every fault that it can have.

Nothing here knows files or the network; the time is an argument.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from insight_cloud.core.errors import Corrupt
from insight_cloud.core.report import Check, Status

__all__ = [
    "CHAIN_BYTES",
    "KEY_BYTES",
    "ROOTS_BYTES",
    "Certificate",
    "checks",
    "covers",
    "key_bits",
    "key_pem",
    "load",
    "load_key",
    "load_roots",
    "make_key",
    "make_request",
    "placeholder",
    "self_issued",
]

CHAIN_BYTES = 64 * 1024
"""The largest chain file that is read; a usual one has 4 kB."""
KEY_BYTES = 16 * 1024
"""The largest key file that is read."""
ROOTS_BYTES = 4 * 1024 * 1024
"""The largest bundle of roots that is read; a usual one has 250 kB."""
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_CHAIN_LENGTH = 10
_WEAK_HASHES = (hashes.MD5, hashes.SHA1)
_NAME = "insight"
# Authorities inside of companies often leave out what public ones must have.
_AUTHORITIES = ExtensionPolicy.permit_all().require_present(
    x509.BasicConstraints, Criticality.AGNOSTIC, None
)
_SERVERS = ExtensionPolicy.webpki_defaults_ee()


@dataclass(frozen=True)
class Certificate:
    """A leaf certificate and what was sent with it, leaf first."""

    chain: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate of the server itself."""
        return self.chain[0]

    @property
    def begins(self) -> datetime:
        """First moment of validity."""
        return self.leaf.not_valid_before_utc

    @property
    def ends(self) -> datetime:
        """Last moment of validity of the leaf."""
        return self.leaf.not_valid_after_utc

    @property
    def lifetime(self) -> timedelta:
        """From the first to the last moment."""
        return self.ends - self.begins

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The host names and addresses it is for; the common name does not count (RFC 9525)."""
        try:
            found = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            return ()
        hosts = [name.lower() for name in found.get_values_for_type(x509.DNSName)]
        return (*hosts, *map(str, found.get_values_for_type(x509.IPAddress)))

    @property
    def issuer(self) -> str:
        """The issuer's name, for people."""
        return self.leaf.issuer.rfc4514_string()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, in hexadecimal digits."""
        return self.leaf.fingerprint(hashes.SHA256()).hex()

    @property
    def serial(self) -> str:
        """Serial number in hexadecimal digits, as authorities print it."""
        return f"{self.leaf.serial_number:x}"

    def pem(self) -> bytes:
        """The whole chain as PEM, leaf first."""
        return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in self.chain)


def load(pem: bytes) -> Certificate:
    """Read a chain of PEM certificates, leaf first.

    Raises:
        Corrupt: it is too large, or not PEM, or one of the certificates cannot be read.
    """
    if len(pem) > CHAIN_BYTES:
        raise Corrupt(f"the certificates have more than {CHAIN_BYTES} bytes; give the chain only")
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        if b"PRIVATE KEY-----" in pem and b"-----BEGIN CERTIFICATE" not in pem:
            # `from None`: the original may quote what it could not read.
            raise Corrupt("it holds a private key: name the chain first, then the key") from None
        if b"-----BEGIN" not in pem:
            hint = "convert it: openssl x509 -inform DER -in FILE"
            raise Corrupt(f"there is no PEM certificate in it; if it is DER, {hint}") from error
        raise Corrupt(f"a certificate in it cannot be read: {_first_line(error)}") from error
    if len(found) > _CHAIN_LENGTH:
        raise Corrupt(
            f"{len(found)} certificates are more than a chain has (at most {_CHAIN_LENGTH})"
        )
    return Certificate(tuple(found))


def load_key(pem: bytes) -> PrivateKeyTypes:
    """Read a private key without a password.

    Raises:
        Corrupt: it has one, or is no key; the message never repeats any of it.
    """
    if len(pem) > KEY_BYTES:
        raise Corrupt(f"the key file has more than {KEY_BYTES} bytes; it can be no private key")
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise Corrupt(
            "the private key has a password, and a server cannot type it; "
            "remove it: openssl pkey -in FILE -out FILE.plain"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        # `from None`: the original may quote what it could not read.
        raise Corrupt("the key file holds no private key in PEM form that can be read") from None


def load_roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Read a bundle of root certificates.

    One of them that cannot be read is passed over: bundles hold roots from the nineties that
    break the rules of today, and nobody's certificate leads to those.

    Raises:
        Corrupt: it is too large, or holds no certificate at all.
    """
    if len(pem) > ROOTS_BYTES:
        raise Corrupt(f"the roots have more than {ROOTS_BYTES} bytes")
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for block in _PEM.findall(pem):
            with contextlib.suppress(ValueError):
                found.append(x509.load_pem_x509_certificate(block))
    if not found:
        raise Corrupt("there is no PEM certificate among the roots")
    return tuple(found)


def make_key(kind: str) -> PrivateKeyTypes:
    """Make a private key of the kind that the settings name."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:]))
    return ec.generate_private_key({"ec256": ec.SECP256R1, "ec384": ec.SECP384R1}[kind]())


def make_request(names: Sequence[str], key: PrivateKeyTypes) -> x509.CertificateSigningRequest:
    """Ask for a certificate for `names`, signed by `key`."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(_san(names), critical=True)
    return builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]  # only kinds of make_key


def placeholder(names: Sequence[str], *, now: datetime) -> tuple[bytes, bytes]:
    """Make a self-signed pair (chain, key) that a server can start with, before the first issue.

    Nobody trusts it; it lets the port be open, so that the http-01 challenge can be answered.
    """
    key = make_key("ec256")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{_NAME} placeholder")])
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key())  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(_san(names or ["localhost"]), critical=False)
    )
    chain = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    return chain.public_bytes(serialization.Encoding.PEM), key_pem(key)


def key_pem(key: PrivateKeyTypes) -> bytes:
    """Write a key as PKCS#8, which every server reads."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def key_bits(key: PublicKeyTypes) -> tuple[str, int]:
    """Name the kind of a public key (RSA, DSA, EC) and its size in bits."""
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size
    if isinstance(key, dsa.DSAPublicKey):
        return "DSA", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "EC", key.curve.key_size
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "EC", 256
    return ("EC", 448) if isinstance(key, ed448.Ed448PublicKey) else ("unknown", 0)


def covers(names: Iterable[str], wanted: str) -> bool:
    """Whether a certificate for `names` is good for the host name or address `wanted`."""
    wanted = wanted.lower()
    if _is_address(wanted) or wanted.startswith("*."):
        return wanted in names
    _, _, parent = wanted.partition(".")
    return any(name == wanted or (parent and name == f"*.{parent}") for name in names)


def self_issued(certificate: x509.Certificate) -> bool:
    """Whether it was signed by its own key."""
    return certificate.issuer == certificate.subject and _signed_by(certificate, certificate)


def checks(
    found: Certificate,
    *,
    now: datetime,
    names: Iterable[str] = (),
    key: PrivateKeyTypes | None = None,
    roots: Sequence[x509.Certificate] | None = None,
    warn_below: timedelta = timedelta(0),
) -> list[Check]:
    """Answer every question about `found` that needs neither files nor the network.

    Args:
        found: the certificate with its chain.
        now: the present time.
        names: what it must be good for.
        key: its private key, if known.
        roots: what it must lead to; None leaves the question of trust out.
        warn_below: the remainder of its life below which expiry is a warning.
    """
    answers = [_expiry(found, now, warn_below), _names(found, names), *_strength(found)]
    if key is not None:
        answers.append(_key(found, key))
    answers.extend(_chain(found, now))
    if roots is not None:
        answers.append(_trust(found, roots, now))
    return answers


def _expiry(found: Certificate, now: datetime, warn_below: timedelta) -> Check:
    left = found.ends - now
    if now < found.begins:
        return _check(
            "expiry",
            "fail",
            f"it is valid from {_when(found.begins)} only, and now is {_when(now)}: "
            "set this machine's clock, or wait",
        )
    if left <= timedelta(0):
        return _check("expiry", "fail", f"it expired at {_when(found.ends)}: renew it")
    status: Status = "warn" if left < warn_below else "pass"
    return _check("expiry", status, f"until {_when(found.ends)}, {_span(left)} left")


def _names(found: Certificate, wanted: Iterable[str]) -> Check:
    missing = [name for name in wanted if not covers(found.names, name)]
    has = ", ".join(found.names[:10]) or "no name at all"
    if missing or not found.names:
        return _check("names", "fail", f"it is not for {', '.join(missing) or has}, but for {has}")
    return _check("names", "pass", has)


def _is_weak(found: Certificate) -> bool:
    kind, bits = key_bits(found.leaf.public_key())
    return bits < (224 if kind == "EC" else 2048)


def _strength(found: Certificate) -> Iterable[Check]:
    kind, bits = key_bits(found.leaf.public_key())
    enough = not _is_weak(found)
    weak = "" if enough else ": too weak, make a new key of 2048 bits, or EC P-256"
    yield _check("strength", "pass" if enough else "fail", f"{kind} {bits} bits{weak}")
    weak_names = [
        type(c.signature_hash_algorithm).__name__
        for c in found.chain
        if isinstance(c.signature_hash_algorithm, _WEAK_HASHES) and not self_issued(c)
    ]
    if weak_names:
        yield _check(
            "signature", "fail", f"signed with {weak_names[0]}, which nobody accepts: issue it anew"
        )
    if not _for_servers(found.leaf):
        yield _check("usage", "fail", "its extended key usage does not allow server authentication")
    if _is_authority(found.leaf):
        yield _check("usage", "fail", "the first certificate is an authority's, not a server's")


def _key(found: Certificate, key: PrivateKeyTypes) -> Check:
    if _spki(key.public_key()) == _spki(found.leaf.public_key()):
        return _check("key", "pass", "the private key belongs to the certificate")
    other = any(_spki(c.public_key()) == _spki(key.public_key()) for c in found.chain[1:])
    hint = (
        "it belongs to a later certificate of the chain: put the server's own first"
        if other
        else "use the key that the request was made with"
    )
    return _check("key", "fail", f"the private key does not belong to the certificate; {hint}")


def _chain(found: Certificate, now: datetime) -> Iterable[Check]:
    for below, above in zip(found.chain, found.chain[1:], strict=False):
        subject = above.subject.rfc4514_string()
        if below.issuer != above.subject or not _signed_by(below, above):
            issuer = below.issuer.rfc4514_string()
            yield _check(
                "chain",
                "fail",
                f"{subject} did not sign the certificate before it (issuer {issuer}): "
                "order the file leaf first, each followed by its issuer",
            )
            return
        if not _is_authority(above):
            yield _check("chain", "fail", f"{subject} signed another, but is no authority")
            return
        if now > above.not_valid_after_utc:
            yield _check(
                "chain",
                "fail",
                f"the intermediate {subject} expired at {_when(above.not_valid_after_utc)}: "
                "download the present one from the issuer",
            )
            return
        if now < above.not_valid_before_utc:
            yield _check("chain", "fail", f"the intermediate {subject} is not valid yet")
            return
    last = found.chain[-1]
    if len(found.chain) == 1 and self_issued(last):
        yield _check("chain", "warn", "self-signed: no browser trusts it")
    elif len(found.chain) > 1 and self_issued(last):
        yield _check("chain", "warn", "the root is sent too, which nobody needs: leave it out")
    else:
        yield _check("chain", "pass", f"{len(found.chain)} in order")


def _trust(found: Certificate, roots: Sequence[x509.Certificate], now: datetime) -> Check:
    """Build a path to a root, as a browser would.

    Without intermediate certificates the message says so: it is the commonest mistake, and
    invisible in browsers that remember them from elsewhere.
    """
    if not roots or not found.names:
        return _check("trust", "fail", "there is nothing to verify it against")
    name = found.names[0].replace("*", "any")
    subject = (
        x509.IPAddress(ipaddress.ip_address(name)) if _is_address(name) else x509.DNSName(name)
    )
    verifier = (
        PolicyBuilder()
        .store(Store(list(roots)))
        .time(now.replace(tzinfo=None))
        .extension_policies(ca_policy=_AUTHORITIES, ee_policy=_SERVERS)
    ).build_server_verifier(subject)
    try:
        path = verifier.verify(found.leaf, list(found.chain[1:]))
    except (VerificationError, ValueError) as error:
        pinned = found.leaf in roots
        if (pinned or _is_weak(found)) and _leads_to(found, roots, now):
            # The verifier refuses weak keys too; `strength` has said so already.
            return _check("trust", "pass", "leads to a trusted root")
        if len(found.chain) == 1 and not self_issued(found.leaf):
            return _check(
                "trust",
                "fail",
                f"the chain is incomplete: the intermediate {found.issuer} is missing; "
                "append it to the file",
            )
        return _check("trust", "fail", f"no path leads to a trusted root: {_first_line(error)}")
    return _check("trust", "pass", path[-1].subject.rfc4514_string() or "a trusted root")


def _leads_to(found: Certificate, roots: Sequence[x509.Certificate], now: datetime) -> bool:
    """Whether the chain, as it stands, ends at a root that is valid now."""
    links = zip(found.chain, found.chain[1:], strict=False)
    if not all(_issued(below, above) and _is_authority(above) for below, above in links):
        return False
    last = found.chain[-1]
    return any(
        (root == last or _issued(last, root))
        and root.not_valid_before_utc <= now <= root.not_valid_after_utc
        for root in roots
    )


def _issued(below: x509.Certificate, above: x509.Certificate) -> bool:
    return below.issuer == above.subject and _signed_by(below, above)


def _signed_by(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _for_servers(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usage


def _san(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            x509.IPAddress(ipaddress.ip_address(name)) if _is_address(name) else x509.DNSName(name)
            for name in names
        ]
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _check(name: str, status: Status, detail: str) -> Check:
    return Check(f"tls.{name}", status, detail)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _span(left: timedelta) -> str:
    return f"{left.days} days" if left.days >= 3 else f"{left.total_seconds() / 3600:.0f} hours"


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or ["unknown"])[0]
    return line.partition(" (encountered processing")[0].partition(" See https:")[0][:200]
