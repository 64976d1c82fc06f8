from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from insight_cloud.core.errors import Corrupt
from insight_cloud.core.report import Check
from insight_cloud.tls import certificate
from tests.tls import authority
from tests.tls.authority import DAY, NOW, Signer, leaf


def asked(signer: Signer, chain: bytes | None = None, **options: Any) -> dict[str, Check]:
    found = certificate.load(signer.chain if chain is None else chain)
    options.setdefault("names", ["a.example"])
    options.setdefault("roots", [authority.root().certificate])
    options.setdefault("key", signer.key)
    options.setdefault("now", NOW)
    return {check.name: check for check in certificate.checks(found, **options)}


def failed(answers: dict[str, Check]) -> dict[str, str]:
    return {name: check.detail for name, check in answers.items() if check.status == "fail"}


def test_a_good_pair_passes_every_question() -> None:
    answers = asked(leaf("a.example", "10.0.0.1"), names=["a.example", "10.0.0.1"])
    assert {check.status for check in answers.values()} == {"pass"}
    assert answers["tls.trust"].detail == "CN=Test Root"
    assert {"tls.expiry", "tls.names", "tls.strength", "tls.key", "tls.chain"} < set(answers)


@pytest.mark.parametrize(
    ("made", "name", "words"),
    [
        (lambda: leaf("a.example", ends=NOW - DAY), "tls.expiry", "expired"),
        (lambda: leaf("a.example", begins=NOW + DAY), "tls.expiry", "clock"),
        (lambda: leaf("b.example"), "tls.names", "not for a.example, but for b.example"),
        (lambda: leaf("a.example", key=authority.rsa_key(1024)), "tls.strength", "too weak"),
        (
            lambda: leaf("a.example", usage=ExtendedKeyUsageOID.CLIENT_AUTH),
            "tls.usage",
            "server authentication",
        ),
        (lambda: leaf("a.example", authority=True), "tls.usage", "authority's"),
        (
            lambda: leaf(
                "a.example",
                by=authority.signed(
                    "Old", authority.root(), authority=True, begins=NOW - 9 * DAY, ends=NOW - DAY
                ),
            ),
            "tls.chain",
            "the intermediate CN=Old expired",
        ),
        (
            lambda: leaf("a.example", by=authority.signed("Other", authority=True)),
            "tls.trust",
            "chain is incomplete",
        ),
        (
            lambda: leaf("a.example", by=authority.leaf("not.an.authority")),
            "tls.chain",
            "no authority",
        ),
    ],
)
def test_a_fault_is_named_with_what_to_do(made: Any, name: str, words: str) -> None:
    faults = failed(asked(made()))
    assert words in faults[name]


def test_a_name_in_the_subject_alone_does_not_count() -> None:
    faults = failed(asked(authority.signed("a.example", authority.intermediate())))
    assert "no name at all" in faults["tls.names"]


def test_the_key_of_another_certificate_is_found() -> None:
    assert "does not belong" in failed(asked(leaf("a.example"), key=leaf("x").key))["tls.key"]


def test_a_chain_in_the_wrong_order_is_found() -> None:
    good = leaf("a.example")
    chain = authority.intermediate().alone + good.alone
    faults = failed(asked(good, chain))
    assert "put the server's own first" in faults["tls.key"]
    assert "leaf first" in faults["tls.chain"]


def test_a_missing_intermediate_is_found() -> None:
    good = leaf("a.example")
    faults = failed(asked(good, good.alone))
    assert "the intermediate CN=Test Intermediate is missing" in faults["tls.trust"]


def test_a_chain_to_an_unknown_root_is_not_trusted() -> None:
    other = authority.signed("Unknown Root", authority=True)
    below = authority.signed("Unknown Intermediate", other, authority=True)
    faults = failed(asked(leaf("a.example", by=below)))
    assert "no path leads to a trusted root" in faults["tls.trust"]


def test_a_root_that_is_sent_too_is_a_warning() -> None:
    good = leaf("a.example")
    answers = asked(good, good.chain + authority.root().alone)
    assert (answers["tls.chain"].status, failed(answers)) == ("warn", {})


def test_a_self_signed_certificate_is_a_warning_and_not_trusted() -> None:
    own = authority.signed("a.example", names=["a.example"])
    answers = asked(own)
    assert answers["tls.chain"].status == "warn"
    assert "tls.trust" in failed(answers)


def test_a_signature_with_sha1_is_found() -> None:
    # Modern libraries refuse to sign with SHA-1, so an old certificate is needed.
    old = certificate.load(_SHA1)
    answers = certificate.checks(old, now=NOW)
    assert [c.status for c in answers if c.name == "tls.signature"] == ["fail"]


def test_little_time_left_is_a_warning() -> None:
    answers = asked(leaf("a.example", ends=NOW + DAY), warn_below=timedelta(days=2))
    assert answers["tls.expiry"].status == "warn"
    assert "24 hours left" in answers["tls.expiry"].detail


@pytest.mark.parametrize(
    ("name", "names", "covered"),
    [
        ("a.example", ["a.example"], True),
        ("A.Example", ["a.example"], True),
        ("www.a.example", ["*.a.example"], True),
        ("a.example", ["*.a.example"], False),
        ("x.www.a.example", ["*.a.example"], False),
        ("*.a.example", ["*.a.example"], True),
        ("*.a.example", ["a.example"], False),
        ("127.0.0.1", ["127.0.0.1"], True),
        ("127.0.0.1", ["*.0.0.1"], False),
        ("::1", ["::1"], True),
    ],
)
def test_names_are_covered_as_in_browsers(*, name: str, names: list[str], covered: bool) -> None:
    assert certificate.covers(names, name) is covered


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        (b"", "no PEM certificate"),
        (b"hello", "if it is DER, convert it"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        (b"x" * 70_000, "more than 65536 bytes"),
        (leaf("a.example").key_bytes, "private key: name the chain first, then the key"),
    ],
)
def test_what_is_no_chain_is_refused(pem: bytes, words: str) -> None:
    with pytest.raises(Corrupt, match=words):
        certificate.load(pem)


def test_a_chain_of_too_many_certificates_is_refused() -> None:
    with pytest.raises(Corrupt, match="11 certificates"):
        certificate.load(leaf("a.example").alone * 11)


def test_a_key_with_a_password_is_refused_without_repeating_it() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(Corrupt, match="has a password") as caught:
        certificate.load_key(pem)
    assert pem.decode().splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize(
    "pem", [b"", b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_refused_without_repeating_it(pem: bytes) -> None:
    with pytest.raises(Corrupt, match="no private key") as caught:
        certificate.load_key(pem)
    assert caught.value.__cause__ is None
    assert "c2VjcmV0" not in str(caught.value)
    with pytest.raises(Corrupt, match="more than"):
        certificate.load_key(b"x" * 20_000)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("ec256", ("EC", 256)), ("ec384", ("EC", 384)), ("rsa2048", ("RSA", 2048))],
)
def test_keys_and_requests_are_made_as_wanted(kind: str, expected: tuple[str, int]) -> None:
    key = certificate.make_key(kind)
    request = certificate.make_request(["a.example", "10.0.0.1", "::1"], key)
    assert certificate.key_bits(request.public_key()) == expected
    assert request.is_signature_valid
    assert isinstance(request.signature_hash_algorithm, hashes.SHA256)


def test_the_placeholder_serves_its_names_for_a_week() -> None:
    chain, key = certificate.placeholder(["a.example", "127.0.0.1"], now=NOW)
    found = certificate.load(chain)
    assert found.names == ("a.example", "127.0.0.1")
    assert found.ends == NOW + 7 * DAY
    answers = certificate.checks(found, now=NOW, key=certificate.load_key(key))
    assert {c.status for c in answers} == {"pass", "warn"}


_SHA1 = b"""-----BEGIN CERTIFICATE-----
MIIBIzCBygIUKStd2Q6zMOfX//ofWum0XYxID6gwCQYHKoZIzj0EATASMRAwDgYD
VQQDDAdTSEExLUNBMCAXDTI2MTEyNTEwMzM1M1oYDzIwNTEwNzE3MTAzMzUzWjAW
MRQwEgYDVQQDDAtvbGQuZXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BIRtxWmxOg4vKq6EX5rKmJcSvXGKuUiwUW7wkBIdFsmk3zTlhPLg6+Bx2mubjFm1
yhXeuroaJVSX4e6Sra+IOwkwCQYHKoZIzj0EAQNJADBGAiEAsp4OU7SQ8SJjvQ0w
SUlozDcbaAnqXOe7z0VYexavq7ACIQCA0jM8ARUp51HWD9u2zyfuwuJ595xK1sTk
4RJlCIr50g==
-----END CERTIFICATE-----
"""
