"""Whether a certificate was revoked: by OCSP where the authority has it, else by its list (CRL)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from insight_cloud.core.errors import Corrupt, InsightError, Unavailable
from insight_cloud.core.report import Check, stopwatch
from insight_cloud.tls.certificate import Certificate

__all__ = ["check"]

_NAME = "tls.revocation"
_BYTES = 16 * 1024 * 1024
"""The largest list that is read; Let's Encrypt's parts have less than one megabyte."""


async def check(found: Certificate, *, now: datetime, timeout_seconds: float = 10) -> Check:
    """Ask whether `found` was revoked. Skipped when its authority publishes nothing to ask.

    An authority that cannot be asked is a warning: it says nothing about the certificate.
    """
    if len(found.chain) < 2:
        return Check(_NAME, "skip", "the issuer is not in the chain, so no answer can be verified")
    responders, lists = tuple(_responders(found.leaf)), tuple(_lists(found.leaf))
    if not responders and not lists:
        return Check(_NAME, "skip", "its authority publishes neither OCSP nor a list")
    with stopwatch() as watch:
        try:
            async with httpx.AsyncClient(timeout=timeout_seconds, follow_redirects=True) as client:
                if responders:
                    revoked = await _by_ocsp(client, responders[0], found, now)
                else:
                    revoked = await _by_list(client, lists[0], found, now)
        except InsightError as error:
            return Check(_NAME, "warn", str(error), watch.seconds)
    if revoked is not None:
        detail = f"it was revoked at {revoked:%Y-%m-%d %H:%M} UTC: get a new one with a new key"
        return Check(_NAME, "fail", detail, watch.seconds)
    return Check(_NAME, "pass", "not revoked", watch.seconds)


async def _by_list(
    client: httpx.AsyncClient, url: str, found: Certificate, now: datetime
) -> datetime | None:
    data = await _fetched(client, httpx.Request("GET", url))
    try:
        revoked = x509.load_der_x509_crl(data)
    except ValueError as error:
        raise Corrupt(f"the list of revoked certificates at {url} cannot be read") from error
    issuer = found.chain[1].public_key()
    if not revoked.is_signature_valid(issuer):  # type: ignore[arg-type]  # keys of authorities
        raise Corrupt(f"the list at {url} is not signed by the issuer")
    if revoked.next_update_utc is not None and revoked.next_update_utc < now:
        raise Unavailable(f"the list at {url} is out of date")
    entry = revoked.get_revoked_certificate_by_serial_number(found.leaf.serial_number)
    return entry.revocation_date_utc if entry is not None else None


async def _by_ocsp(
    client: httpx.AsyncClient, url: str, found: Certificate, now: datetime
) -> datetime | None:
    leaf, issuer = found.chain[0], found.chain[1]
    # SHA-1 only names the issuer here; responders understand nothing else (RFC 5019).
    question = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1()).build()  # noqa: S303
    body = question.public_bytes(serialization.Encoding.DER)
    headers = {"Content-Type": "application/ocsp-request"}
    data = await _fetched(client, httpx.Request("POST", url, content=body, headers=headers))
    try:
        answer = ocsp.load_der_ocsp_response(data)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise Unavailable(f"{url} does not answer the question: {answer.response_status.name}")
        if answer.serial_number != leaf.serial_number:
            raise Corrupt(f"{url} answered about another certificate")
        _verify(answer, issuer)
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise Corrupt(f"the answer of {url} cannot be verified") from error
    if answer.next_update_utc is not None and answer.next_update_utc < now:
        raise Unavailable(f"the answer of {url} is out of date")
    if answer.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        raise Unavailable(f"{url} does not know the certificate")
    return answer.revocation_time_utc


def _verify(answer: ocsp.OCSPResponse, issuer: x509.Certificate) -> None:
    """Check the signature: the issuer's own, or that of a responder which it appointed."""
    signer = issuer
    for offered in answer.certificates:
        usage = offered.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.OCSP_SIGNING in usage:
            offered.verify_directly_issued_by(issuer)
            signer = offered
            break
    key, algorithm = signer.public_key(), answer.signature_hash_algorithm
    if algorithm is None:
        raise ValueError("signed without a hash")
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(algorithm))
    else:
        raise UnsupportedAlgorithm("signed by a key of an unusual kind")


async def _fetched(client: httpx.AsyncClient, request: httpx.Request) -> bytes:
    url = request.url
    try:
        response = await client.send(request, stream=True)
        try:
            data = bytearray()
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > _BYTES:
                    raise Corrupt(f"{url} sent more than {_BYTES} bytes")
        finally:
            await response.aclose()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"{url} does not answer ({type(error).__name__})") from error
    if response.status_code != httpx.codes.OK:
        raise Unavailable(f"{url} answered with status {response.status_code}")
    return bytes(data)


def _responders(leaf: x509.Certificate) -> Iterator[str]:
    try:
        places = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return
    for place in places:
        is_ocsp = place.access_method == AuthorityInformationAccessOID.OCSP
        if is_ocsp and isinstance(place.access_location, x509.UniformResourceIdentifier):
            yield place.access_location.value


def _lists(leaf: x509.Certificate) -> Iterator[str]:
    try:
        points = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except (x509.ExtensionNotFound, ValueError):
        return
    for point in points:
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier) and name.value.startswith("http:"):
                yield name.value
