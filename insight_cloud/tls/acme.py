"""An ACME authority (RFC 8555): the only file that imports `acme`, `josepy` and `requests`.

Those libraries block, so every call runs in a thread of its own; waiting happens here, in the loop.
Beyond them we ask for the renewal window and say what a renewal replaces (ARI, RFC 9773).
"""

from __future__ import annotations

import asyncio
import base64
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import requests
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JoseError
from josepy.json_util import field
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from requests.adapters import HTTPAdapter

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
from insight_cloud.tls.certificate import Certificate
from insight_cloud.tls.issuer import Advice, Issued, Solver, Wanted
from insight_cloud.tls.renewal import Window
from insight_cloud.tls.store import Store

__all__ = ["Acme", "certificate_id"]

T = TypeVar("T")
_ACCOUNT = "account.json"
_ANSWER_BYTES = 1024 * 1024
_ASK_AGAIN = timedelta(hours=6)
_ASK_RANGE = (timedelta(minutes=1), timedelta(days=1))
_LIMITED_SECONDS = 3600.0
_NONCES = 4
_AGENT = "insight-cloud"
_HINTS = {
    "caa": "a CAA record of the domain forbids this authority: add it there",
    "connection": "the authority could not connect: open port 80 from everywhere, and let the "
    "name's address be this machine's",
    "dns": "the authority did not find the name: look at its DNS records",
    "dnssec": "the name's DNSSEC signatures are wrong: correct them at the DNS provider",
    "unauthorized": "the authority saw another answer: the name must lead to this machine, and "
    "nothing in between may answer /.well-known/acme-challenge/",
    "incorrectResponse": "the authority saw another answer: nothing in between may change it",
    "rejectedIdentifier": "this authority does not issue for that name",
    "unsupportedIdentifier": "this authority does not issue for such a name",
    "badCSR": "choose another tls.key_type, or fewer names",
    "externalAccountRequired": "this authority wants an account made on its pages",
    "tls": "the name answered with a broken TLS connection",
    "unknownHost": "the name does not exist",
}
_NAME_IN = re.compile(r"[^\x20-\x7e]")


class _Bounded(HTTPAdapter):
    """Reads at most a megabyte of any answer; the library itself would read for ever."""

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        options["stream"] = True
        response = super().send(request, *args, **options)
        body = response.raw.read(_ANSWER_BYTES + 1, decode_content=True)
        response.close()
        if len(body) > _ANSWER_BYTES:
            raise requests.exceptions.InvalidHeader(f"more than {_ANSWER_BYTES} bytes")
        response._content = body  # noqa: SLF001 - how `requests` marks a body as read
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        return response


class _Network(client.ClientNetwork):
    """Remembers what the library throws away: the status and `Retry-After` of the last answer."""

    status = 0
    retry_after: float | None = None

    def post(self, *args: Any, **options: Any) -> Any:
        """Send again while the authority does not like the nonce; the library does so only once."""
        for _ in range(_NONCES):
            try:
                return super().post(*args, **options)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **options)

    def _send_request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        self.status, self.retry_after = 0, None
        response = super()._send_request(method, url, *args, **options)
        self.status = response.status_code
        self.retry_after = _seconds(response.headers.get("Retry-After"))
        return response


class _NewOrder(messages.NewOrder):
    """An order that says which certificate it replaces (RFC 9773, section 5)."""

    replaces: str = field("replaces", omitempty=True)


class _Client(client.ClientV2):
    """The calls of which the library has only a form that sleeps."""

    net: _Network

    def order(self, identifiers: list[messages.Identifier], profile: str, replaces: str) -> Any:
        """Make an order and read its authorizations."""
        body = _NewOrder(identifiers=identifiers, profile=profile, replaces=replaces)
        response = self._post(self.directory["newOrder"], body)
        order = _order(response.json())
        found = [
            self._authzr_from_response(self._post_as_get(url), uri=url)
            for url in order.authorizations
        ]
        return order, response.headers["Location"], found

    def finalize(self, order: messages.Order, request: x509.CertificateSigningRequest) -> Any:
        """Send the request for the certificate."""
        response = self._post(order.finalize, messages.CertificateRequest(csr=request))
        return _order(response.json())

    def read_order(self, uri: str) -> messages.Order:
        """Ask how the order stands."""
        return _order(self._post_as_get(uri).json())

    def download(self, uri: str) -> bytes:
        """Fetch the chain."""
        content: bytes = self._post_as_get(uri).content
        return content


class Acme:
    """An authority at `url`, with an account that lies in `store`.

    Args:
        url: the authority's directory.
        store: keeps the account's key.
        solver: proves that the names are ours.
        email: contact for the account.
        agree_terms: whether the operator has agreed to the authority's terms.
        ca_file: what the server is verified by, when not by the public roots.
        timeout_seconds: for each answer.
        patience_seconds: for the whole of an order.
        now: the clock.
    """

    method = "letsencrypt"

    def __init__(
        self,
        url: str,
        store: Store,
        solver: Solver,
        *,
        email: str | None = None,
        agree_terms: bool = False,
        ca_file: Path | None = None,
        timeout_seconds: float = 30,
        patience_seconds: float = 120,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._url = url
        self._store = store
        self._solver = solver
        self._email = email
        self._agree = agree_terms
        self._ca_file = ca_file
        self._timeout = timeout_seconds
        self._patience = patience_seconds
        self._now = now
        self._client: _Client | None = None
        self._key = b""

    async def issue(self, wanted: Wanted, *, replaces: Certificate | None) -> Issued:
        """Order, prove, finalize, download.

        Raises:
            Refused: the authority refuses; the message says what to mend.
            RateLimited: it wants us to wait `retry_after` seconds.
            Unavailable: it does not answer, or not in time.
            SettingsError: an unknown profile, terms not agreed to.
        """
        try:
            async with asyncio.timeout(self._patience):
                try:
                    return await self._issue(wanted, replaces)
                except _AccountGone:
                    acme = await self._connected()
                    acme.net.account = None  # the next try makes a new one, with the same key
                    return await self._issue(wanted, replaces)
        except TimeoutError as error:
            raise Unavailable(
                f"{self._url} did not finish the order within {self._patience:g} s", retry_after=60
            ) from error

    async def advice(self, current: Certificate, now: datetime) -> Advice | None:
        """Read the renewal window of `current`; None where the authority has no such thing."""
        acme = await self._connected()
        base, identifier = self._renewal_info(acme), certificate_id(current)
        if base is None or identifier is None or now > current.ends:
            return None
        response = await self._call(acme.net.get, f"{base.rstrip('/')}/{identifier}")
        wait = timedelta(seconds=acme.net.retry_after or _ASK_AGAIN.total_seconds())
        return Advice(_window(response.json()), now + min(max(wait, _ASK_RANGE[0]), _ASK_RANGE[1]))

    async def revoke(self, found: Certificate, *, reason: int) -> None:
        """Revoke `found` with the account that issued it."""
        acme = await self._ready()
        await self._call(acme.revoke, found.leaf, reason)

    async def _issue(self, wanted: Wanted, replaces: Certificate | None) -> Issued:
        acme = await self._ready()
        self._check_profile(acme, wanted.profile)
        order, uri, proofs = await self._order(acme, wanted, replaces)
        try:
            answered = [await self._present(acme, proof) for proof in proofs if _pending(proof)]
            if answered:
                await self._solver.settle()
            for body, response in filter(None, answered):
                await self._call(acme.answer_challenge, body, response)
            for proof in proofs:
                await self._proven(acme, proof)
        finally:
            await self._solver.withdraw()
        key = certificate.make_key(wanted.key_type)
        request = certificate.make_request(wanted.names, key)
        chain = await self._finalized(acme, order, uri, request)
        return Issued(chain, certificate.key_pem(key))

    async def _order(self, acme: _Client, wanted: Wanted, replaces: Certificate | None) -> Any:
        names = [_identifier(name) for name in wanted.names]
        known = (replaces and self._renewal_info(acme) and certificate_id(replaces)) or ""
        try:
            return await self._call(acme.order, names, wanted.profile or "", known)
        except Conflict:
            # Replaced already, by a run of ours that died after it: an ordinary order then.
            return await self._call(acme.order, names, wanted.profile or "", "")
        except Refused as error:
            if not known or isinstance(error, RateLimited) or "replace" not in str(error).lower():
                raise
            return await self._call(acme.order, names, wanted.profile or "", "")

    async def _present(self, acme: _Client, proof: Any) -> Any:
        kind = {"http-01": challenges.HTTP01, "dns-01": challenges.DNS01}[self._solver.kind]
        name = proof.body.identifier.value
        for body in proof.body.challenges:
            if isinstance(body.chall, kind):
                response, answer = body.chall.response_and_validation(acme.net.key)
                await self._solver.present(name, body.chall.encode("token"), answer)
                return body, response
        offered = ", ".join(sorted({str(body.chall.typ) for body in proof.body.challenges}))
        raise Refused(
            f"the authority does not offer {self._solver.kind} for {name}, but {offered}: "
            "set tls.challenge (a wildcard needs dns-01, an address http-01)"
        )

    async def _proven(self, acme: _Client, proof: Any) -> None:
        pause = _Pause()
        while _pending(proof):
            await pause.wait(acme.net.retry_after)
            proof, _ = await self._call(acme.poll, proof)
        if proof.body.status == messages.STATUS_VALID:
            return
        name = proof.body.identifier.value
        found = [body.error for body in proof.body.challenges if body.error is not None]
        if found:
            raise self._translated(found[0], acme, about=f"{name} was not proven to be ours")
        raise Refused(f"{name} was not proven to be ours: the authority says {proof.body.status}")

    async def _finalized(
        self, acme: _Client, order: Any, uri: str, request: x509.CertificateSigningRequest
    ) -> bytes:
        order = await self._call(acme.finalize, order, request)
        pause = _Pause()
        while order.status in {messages.STATUS_PROCESSING, messages.STATUS_READY}:
            await pause.wait(acme.net.retry_after)
            order = await self._call(acme.read_order, uri)
        if order.status != messages.STATUS_VALID or order.certificate is None:
            reason = self._translated(order.error, acme) if order.error else None
            raise reason or Refused(f"the authority ended the order as {order.status}")
        return await self._call(acme.download, order.certificate)

    async def _ready(self) -> _Client:
        """Connect, and have an account."""
        acme = await self._connected()
        if acme.net.account is None:
            await self._register(acme)
        return acme

    async def _connected(self) -> _Client:
        if self._client is None:
            known = self._account()
            pem = known["key"].encode() if known else _new_account_key()
            key = JWKEC(key=certificate.load_key(pem))
            net = _Network(
                key,
                alg=ES256,
                verify_ssl=str(self._ca_file) if self._ca_file else True,  # type: ignore[arg-type]
                user_agent=_AGENT,
                timeout=self._timeout,  # type: ignore[arg-type]  # requests takes fractions too
            )
            net.session.mount("https://", _Bounded())
            net.session.mount("http://", _Bounded())
            if known and known.get("uri"):
                net.account = _account_at(known["uri"])
            directory = await self._call(_Client.get_directory, self._url, net, net=net)
            if "newOrder" not in directory.to_partial_json():
                raise Unavailable(f"{self._url} is not an ACME directory: look at tls.acme_url")
            self._client = _Client(directory, net)
            self._key = pem
        return self._client

    async def _register(self, acme: _Client) -> None:
        terms = acme.directory.meta.terms_of_service
        if terms and not self._agree:
            raise SettingsError(
                f"the authority asks you to agree to its terms, {terms}: "
                "read them, then set tls.agree_terms = true"
            )
        new = messages.NewRegistration.from_data(
            email=self._email, terms_of_service_agreed=bool(terms) or None
        )
        try:
            account = await self._call(acme.new_account, new)
            uri = account.uri
        except Conflict as error:  # the key has an account already
            uri = str(error.__cause__.location)  # type: ignore[union-attr]
            acme.net.account = _account_at(uri)
        value = {"directory": self._url, "uri": uri, "key": self._key.decode()}
        self._store.write_json(_ACCOUNT, value)

    def _account(self) -> dict[str, Any] | None:
        known = self._store.read_json(_ACCOUNT)
        if known is None or known.get("directory") != self._url:
            return None  # another authority's account is of no use here
        if not isinstance(known.get("key"), str):
            path = self._store.directory / _ACCOUNT
            raise Corrupt(f"{path} holds no key: move it away, and a new account will be made")
        return known

    def _check_profile(self, acme: _Client, profile: str | None) -> None:
        offered = acme.directory.meta.profiles or {}
        if profile is not None and profile not in offered:
            choice = ", ".join(sorted(offered)) or "none"
            raise SettingsError(
                f"the authority has no profile {profile!r}; it offers {choice}: set tls.profile"
            )

    def _renewal_info(self, acme: _Client) -> str | None:
        url = acme.directory.to_partial_json().get("renewalInfo")
        return url if isinstance(url, str) else None

    async def _call(
        self, function: Callable[..., T], *arguments: Any, net: _Network | None = None
    ) -> T:
        """Run a blocking call in a thread; every foreign exception ends here."""
        net = net or (self._client.net if self._client else None)
        try:
            return await _in_thread(function, *arguments)
        except (errors.Error, JoseError, OSError, ValueError, KeyError) as e:
            raise self._explained(e, net) from e

    def _explained(self, error: Exception, net: _Network | None) -> InsightError:
        wait = net.retry_after if net else None
        status = net.status if net else 0
        if isinstance(error, errors.ConflictError):
            return Conflict(f"{self._url} already has it")
        if isinstance(error, messages.Error):
            return self._problem(error, wait, status)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return self._limited("it does not say why", wait)
        if isinstance(error, OSError):  # what `requests` raises are such
            return self._unreachable(error, wait)
        what = (
            "is out of order"
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR
            else ("answered what is not ACME: look at tls.acme_url;")
        )
        return Unavailable(f"{self._url} {what} (status {status})", retry_after=wait or 60)

    def _unreachable(self, error: OSError, wait: float | None) -> InsightError:
        if self._ca_file and not self._ca_file.is_file():
            return SettingsError(f"there is no file {self._ca_file}: correct tls.acme_ca_file")
        if isinstance(error, requests.exceptions.SSLError):
            return Unavailable(
                f"the certificate of {self._url} cannot be verified: look at this machine's clock "
                "and root certificates, or set tls.acme_ca_file",
                retry_after=60,
            )
        what = type(error).__name__
        return Unavailable(f"{self._url} does not answer ({what})", retry_after=wait or 60)

    def _translated(self, error: messages.Error, acme: _Client, *, about: str = "") -> InsightError:
        found = self._problem(error, acme.net.retry_after, acme.net.status)
        if not about or isinstance(found, RateLimited):
            return found
        return type(found)(f"{about}: {found}")

    def _problem(self, error: messages.Error, wait: float | None, status: int) -> InsightError:
        """Turn a problem document into one of ours, with what to do about it."""
        details = [
            error.detail or error.title or "",
            *(s.detail or "" for s in error.subproblems or ()),
        ]
        detail = _NAME_IN.sub("?", "; ".join(filter(None, details)))[:500]
        kind = str(error.typ).rsplit(":", 1)[-1]
        if kind == "blank" and not detail:  # a problem that says nothing but its status
            kind = f"status {status}"
        if kind == "rateLimited" or status == HTTPStatus.TOO_MANY_REQUESTS:
            return self._limited(detail, wait)
        if kind in {"serverInternal", "badNonce"} or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Unavailable(
                f"{self._url} is out of order: {detail or kind}", retry_after=wait or 60
            )
        if kind == "accountDoesNotExist":
            return _AccountGone(f"{self._url} does not know our account")
        hint = _HINTS.get(kind)
        return Refused(f"{detail or kind}" + (f"; {hint}" if hint else f" ({kind})"))

    def _limited(self, detail: str, wait: float | None) -> RateLimited:
        seconds = wait or _LIMITED_SECONDS
        return RateLimited(
            f"{self._url} wants us to wait {seconds:.0f} s: {detail[:300]}", retry_after=seconds
        )


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run a blocking call in a thread that nobody waits for once the caller is cancelled.

    The threads of `asyncio.to_thread` are joined when the loop ends: there Ctrl-C took as long as
    a silent authority's time limit. What an abandoned call still gets is thrown away.
    """
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()  # so that nobody cancels it: only the waiting ends

    def run() -> None:
        try:
            answer.set_result(function(*arguments))
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            answer.set_exception(error)

    threading.Thread(target=run, name="tls-acme", daemon=True).start()
    return await asyncio.wrap_future(answer)


class _AccountGone(Refused):
    """The authority has forgotten our account, as test systems do now and then."""


class _Pause:
    """Pauses between two looks: short at first, growing, and never against the server's wish."""

    def __init__(self) -> None:
        self._seconds = 0.05

    async def wait(self, retry_after: float | None) -> None:
        await asyncio.sleep(max(self._seconds, min(retry_after or 0, 60)))
        self._seconds = min(self._seconds * 1.5, 3)


def certificate_id(found: Certificate) -> str | None:
    """Name `found` as ARI does: the issuer's key identifier and the serial number.

    None when the certificate does not say by which key it was signed.
    """
    try:
        extension = found.leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        return None
    if extension.value.key_identifier is None:
        return None
    serial = found.leaf.serial_number
    # DER's INTEGER has a sign: a leading zero byte stays when the first bit is set.
    encoded = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{_base64(extension.value.key_identifier)}.{_base64(encoded)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _window(raw: Any) -> Window:
    try:
        window = raw["suggestedWindow"]
        start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
        url = str(raw.get("explanationURL", ""))[:500]
        found = Window(start.astimezone(UTC), end.astimezone(UTC), url)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Corrupt("the authority's renewal information cannot be read") from error
    if found.start > found.end:
        raise Corrupt("the authority's renewal window ends before it begins")
    return found


def _order(raw: Any) -> messages.Order:
    order: messages.Order = messages.Order.from_json(raw)
    return order


def _identifier(name: str) -> messages.Identifier:
    address = ":" in name or re.fullmatch(r"[\d.]+", name)
    kind = messages.IDENTIFIER_IP if address else messages.IDENTIFIER_FQDN
    return messages.Identifier(typ=kind, value=name)


def _pending(proof: Any) -> bool:
    return bool(proof.body.status == messages.STATUS_PENDING)


def _account_at(uri: str) -> messages.RegistrationResource:
    return messages.RegistrationResource(body=messages.Registration(), uri=uri)


def _new_account_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _seconds(text: str | None) -> float | None:
    """Read `Retry-After`: seconds or a date."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
