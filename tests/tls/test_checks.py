from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from insight_cloud.core.errors import Corrupt
from insight_cloud.core.report import Check
from insight_cloud.tls import certificate, checks, revocation
from insight_cloud.tls.issuer import Wanted
from insight_cloud.tls.keeper import Keeper
from insight_cloud.tls.store import Store
from tests.tls import authority as made
from tests.tls import servers
from tests.tls.authority import DAY, NOW, Signer, leaf
from tests.tls.issuers import Authority, Clock
from tests.tls.pebble import free_port


def by_name(found: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in found}


# -- files ----------------------------------------------------------------------------------------


async def test_an_installed_certificate_is_looked_at_from_all_sides(tmp_path: Path) -> None:
    store, clock = Store(tmp_path), Clock()
    assert (await checks.check(store))[0].detail.endswith("run `insight tls issue` or `install`")
    keeper = Keeper(store, Authority(clock), Wanted(("a.example",)), now=clock)
    await keeper.renew()
    roots = [made.root().certificate]
    found = by_name(await checks.check(store, names=["a.example"], now=clock.now, roots=roots))
    assert {c.status for c in found.values()} == {"pass"}
    assert set(found) >= {
        "tls.expiry", "tls.names", "tls.strength", "tls.key", "tls.chain", "tls.trust",
        "tls.permissions", "tls.renewal",
    }  # fmt: skip
    late = by_name(await checks.check(store, now=clock.now + 61 * DAY))
    assert late["tls.expiry"].status == "warn"
    version = store.current()
    assert version is not None
    version.key.unlink()
    (gone,) = await checks.check(store)
    assert (gone.status, "there is no file" in gone.detail) == ("fail", True)


async def test_failed_renewals_are_a_warning_with_the_reason(tmp_path: Path) -> None:
    store, clock = Store(tmp_path), Clock()
    issuer = Authority(clock)
    keeper = Keeper(store, issuer, Wanted(("a.example",)), now=clock)
    await keeper.renew()
    from insight_cloud.core.errors import Refused

    issuer.failing = lambda _: Refused("no more")
    with pytest.raises(Refused):
        await keeper.renew(force=True)
    found = by_name(await checks.check(store, now=clock.now))
    assert found["tls.renewal"].status == "warn"
    assert "1 tries have failed, the last because: no more" in found["tls.renewal"].detail


def test_files_anywhere_are_looked_at(tmp_path: Path) -> None:
    pair = leaf("a.example")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(pair.chain)
    key.write_bytes(pair.key_bytes)
    key.chmod(0o644)
    found = by_name(checks.check_files(chain, key, names=["a.example"]))
    assert "chmod 600" in found["tls.permissions"].detail
    key.chmod(0o600)
    found = by_name(checks.check_files(chain, key, names=["a.example"]))
    assert {c.status for c in found.values()} == {"pass"}
    assert "tls.key" not in by_name(checks.check_files(chain, None))
    with pytest.raises(Corrupt, match=r"key\.pem: it holds a private key"):
        checks.check_files(key, chain)
    with pytest.raises(Corrupt, match=r"chain\.pem: the key file holds no private key"):
        checks.check_files(chain, chain)


def test_the_public_roots_are_those_of_certifi(tmp_path: Path) -> None:
    assert len(checks.read_roots(None)) > 50
    (tmp_path / "roots").write_bytes(made.root().alone)
    assert checks.read_roots(tmp_path / "roots") == (made.root().certificate,)


async def test_numbers_for_the_metrics(tmp_path: Path) -> None:
    store, clock = Store(tmp_path), Clock()
    assert list(checks.samples(store)) == [("tls_renewal_failures", {}, 0.0)]
    keeper = Keeper(store, Authority(clock), Wanted(("a.example",)), now=clock)
    await keeper.renew()
    numbers = {name: (labels, value) for name, labels, value in checks.samples(store)}
    standing = keeper.look().certificate
    assert standing is not None
    expiry = ({"name": "a.example"}, standing.ends.timestamp())
    assert numbers["tls_certificate_expiry_timestamp_seconds"] == expiry
    assert numbers["tls_certificate_readable"][1] == 1
    store.chain.write_text("nothing")
    assert list(checks.samples(store)) == [("tls_certificate_readable", {}, 0.0)]


# -- servers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocols", ["TLSv1.2", "TLSv1.3"])
async def test_a_server_is_looked_at_as_a_visitor_would(protocols: str) -> None:
    pair = leaf("localhost")
    with servers.nginx(pair, protocols=protocols) as port:
        found = by_name(
            await checks.check_server(
                "localhost",
                port,
                roots=[made.root().certificate],
                expected=certificate.load(pair.chain),
            )
        )
        assert {n: c.status for n, c in found.items() if c.status != "pass"} == {
            "tls.revocation": "skip"
        }
        other = certificate.load(leaf("localhost").chain)
        wrong = by_name(await checks.check_server("localhost", port, expected=other))
        assert "reload it" in wrong["tls.served"].detail
        assert wrong["tls.served"].status == "fail"
        named = by_name(await checks.check_server("localhost", port, names=["b.example"]))
        assert "not for b.example" in named["tls.names"].detail


async def test_a_server_that_is_not_there_is_a_failure() -> None:
    (found,) = await checks.check_server("localhost", free_port())
    assert (found.name, found.status) == ("tls.served", "fail")
    with servers.answering({}) as url:
        (found,) = await checks.check_server("localhost", int(url.rpartition(":")[2]))
    assert "no TLS handshake" in found.detail
    assert "is it a plain port?" in found.detail


# -- revocation -----------------------------------------------------------------------------------


class _Book:
    """What an authority publishes about what it revoked."""

    def __init__(self) -> None:
        self.revoked: dict[int, datetime] = {}
        self.signer: Signer = made.intermediate()
        self.responder: Signer | None = None
        self.until = NOW + DAY
        self.garbage = False
        self.unknown = False
        self.serial: int | None = None

    def crl(self, _: bytes) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.signer.certificate.subject)
            .last_update(NOW - DAY)
            .next_update(self.until)
        )
        for serial, moment in self.revoked.items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment)
            builder = builder.add_revoked_certificate(entry.build())
        made_list = builder.sign(self.signer.key, hashes.SHA256())
        return b"garbage" if self.garbage else made_list.public_bytes(Encoding.DER)

    def ocsp(self, body: bytes) -> bytes:
        question = ocsp.load_der_ocsp_request(body)
        serial = question.serial_number if self.serial is None else self.serial
        revoked = self.revoked.get(serial)
        status = ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD
        if self.unknown:
            status = ocsp.OCSPCertStatus.UNKNOWN
        responder = self.responder or self.signer
        builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
            issuer_name_hash=question.issuer_name_hash,
            issuer_key_hash=question.issuer_key_hash,
            serial_number=serial,
            algorithm=hashes.SHA1(),
            cert_status=status,
            this_update=NOW - DAY,
            next_update=self.until,
            revocation_time=revoked,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, responder.certificate)
        if self.responder is not None:
            builder = builder.certificates([self.responder.certificate])
        answer = builder.sign(responder.key, hashes.SHA256()).public_bytes(Encoding.DER)
        return b"garbage" if self.garbage else answer


@contextmanager
def published(how: str) -> Iterator[tuple[_Book, certificate.Certificate]]:
    book = _Book()
    with servers.answering({"/crl": book.crl, "/ocsp": book.ocsp}) as url:
        place: Any
        if how == "crl":
            point = x509.DistributionPoint(
                [x509.UniformResourceIdentifier(f"{url}/crl")], None, None, None
            )
            place = x509.CRLDistributionPoints([point])
        else:
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"{url}/ocsp")
            )
            place = x509.AuthorityInformationAccess([access])
        yield book, certificate.load(leaf("a.example", more=[place]).chain)


@pytest.mark.parametrize("how", ["crl", "ocsp"])
async def test_a_revoked_certificate_is_found(how: str) -> None:
    with published(how) as (book, found):
        assert (await revocation.check(found, now=NOW)).status == "pass"
        book.revoked[found.leaf.serial_number] = NOW - timedelta(hours=1)
        check = await revocation.check(found, now=NOW)
        assert check.status == "fail"
        assert "it was revoked at" in check.detail
        book.until = NOW - timedelta(minutes=1)
        assert "out of date" in (await revocation.check(found, now=NOW)).detail
        book.garbage = True
        check = await revocation.check(found, now=NOW)
        assert (check.status, "cannot be" in check.detail) == ("warn", True)


@pytest.mark.parametrize("how", ["crl", "ocsp"])
async def test_an_answer_that_somebody_else_signed_counts_for_nothing(how: str) -> None:
    with published(how) as (book, found):
        book.signer = made.signed("Somebody", authority=True)
        check = await revocation.check(found, now=NOW)
        assert check.status == "warn"
        assert "not signed by" in check.detail or "cannot be verified" in check.detail


async def test_an_appointed_responder_is_believed_and_another_is_not() -> None:
    with published("ocsp") as (book, found):
        usage = ExtendedKeyUsageOID.OCSP_SIGNING
        book.responder = made.signed("Responder", made.intermediate(), usage=usage)
        assert (await revocation.check(found, now=NOW)).status == "pass"
        book.responder = made.signed(
            "Responder", made.signed("Somebody", authority=True), usage=usage
        )
        assert (await revocation.check(found, now=NOW)).status == "warn"


async def test_a_responder_that_knows_nothing_or_speaks_of_another_is_a_warning() -> None:
    with published("ocsp") as (book, found):
        book.unknown = True
        assert "does not know" in (await revocation.check(found, now=NOW)).detail
        book.unknown, book.serial = False, 77
        assert "another certificate" in (await revocation.check(found, now=NOW)).detail


async def test_where_nothing_is_published_it_is_skipped() -> None:
    found = certificate.load(leaf("a.example").chain)
    assert (await revocation.check(found, now=NOW)).status == "skip"
    alone = certificate.load(leaf("a.example").alone)
    assert (await revocation.check(alone, now=NOW)).status == "skip"


async def test_an_authority_that_is_away_is_a_warning() -> None:
    with published("crl") as (_, found):
        pass
    check = await revocation.check(found, now=NOW)
    assert (check.status, "does not answer" in check.detail) == ("warn", True)
