"""Certificates of our own making, for tests: roots, intermediates and leaves with any fault."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from insight_cloud.tls.certificate import Certificate, key_pem

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Signer:
    """A certificate with its key, and what stands above it."""

    certificate: x509.Certificate
    key: Any
    above: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> bytes:
        """As PEM: this one, then its issuers, without the root."""
        return Certificate((self.certificate, *self.above)).pem()

    @property
    def alone(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_bytes(self) -> bytes:
        return key_pem(self.key)


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def signed(
    subject: str,
    by: Signer | None = None,
    *,
    names: Sequence[str] = (),
    authority: bool = False,
    begins: datetime = NOW - DAY,
    ends: datetime = NOW + 90 * DAY,
    key: Any = None,
    hash_algorithm: Any = None,
    usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH,
    more: Sequence[x509.ExtensionType] = (),
) -> Signer:
    """A certificate for `subject`, signed `by` somebody or by itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by.certificate.subject if by else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                (by.key if by else key).public_key()
            ),
            critical=False,
        )
    )
    if authority:
        builder = builder.add_extension(_signs_certificates(), critical=True)
    elif usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(_san(names)), critical=False)
    made = builder.sign(by.key if by else key, hash_algorithm or hashes.SHA256())
    above = (by.certificate, *by.above) if by and by.above else (() if by is None else _below(by))
    return Signer(made, key, above)


def _below(by: Signer) -> tuple[x509.Certificate, ...]:
    """Leave a root out: nobody sends it."""
    return () if by.certificate.issuer == by.certificate.subject else (by.certificate,)


@cache
def root() -> Signer:
    return signed("Test Root", authority=True, begins=NOW - 3650 * DAY, ends=NOW + 3650 * DAY)


@cache
def intermediate() -> Signer:
    return signed(
        "Test Intermediate", root(), authority=True, begins=NOW - 365 * DAY, ends=NOW + 3600 * DAY
    )


def leaf(*names: str, by: Signer | None = None, **more: Any) -> Signer:
    """A good certificate for `names`, unless `more` says otherwise."""
    return signed(names[0], by or intermediate(), names=names, **more)


def _san(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
