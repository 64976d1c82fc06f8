"""Another service that says who somebody is (OpenID Connect Core 1.0): asked, and not believed.

`joserfc` is imported here only. Every answer is bounded in size and time, no redirect is
followed, and a token counts only after its signature and each of its claims were checked.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec

from insight_cloud.core.errors import Unauthenticated, Unavailable

__all__ = ["Identity", "Provider", "challenge"]

log = logging.getLogger("insight.accounts")

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Asymmetric ones only: neither `none` nor a signature that our own secret or their public key
could make."""

_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_LARGEST_ANSWER = 1024 * 1024
_LONGEST_TOKEN = 64 * 1024
_DISCOVERY_SECONDS = 3600
_KEYS_AGAIN_SECONDS = 30
"""How often unknown key ids may make us fetch the keys: tokens are anybody's to invent."""
_SKEW_SECONDS = 60
_OLDEST_SECONDS = 600
"""A token that we have just been handed was made a moment ago."""
_SUBJECT_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is, as the provider says and we have checked."""

    issuer: str
    subject: str
    email: str
    email_verified: bool
    name: str


@dataclass(slots=True)
class _Found:
    """What the provider says of itself, and when it was asked."""

    at: float
    document: dict[str, Any]


@dataclass(slots=True)
class Provider:
    """One provider; made once for a process, because it remembers what it was told.

    Attributes:
        issuer: as the provider calls itself; everything is compared with this text.
        secret: authenticates us; never in a log, an address or an error.
    """

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    redirect_uri: str
    scopes: Sequence[str] = ("openid", "email", "profile")
    timeout_seconds: float = 10
    _discovery: _Found | None = None
    _keys: _Found | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def authorization_url(self, *, state: str, nonce: str, challenge: str) -> str:
        """The address at the provider to which the browser is sent.

        Raises:
            Unavailable: the provider cannot be reached, or does not say where that is.
        """
        found = await self._discovered()
        endpoint = str(found["authorization_endpoint"])
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.client_id,
                "redirect_uri": self.redirect_uri,
                "scope": " ".join(self.scopes),
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
        )
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    async def identity(
        self, *, code: str, verifier: str, nonce: str, issuer: str | None, now: datetime
    ) -> Identity:
        """Exchange a code and say who came with it.

        `issuer` is the parameter `iss` of the answer (RFC 9207): a code of another provider
        must not be sent to this one.

        Raises:
            Unauthenticated: something is not as it must be; the message says what.
            Unavailable: the provider cannot be reached or makes no sense.
        """
        found = await self._discovered()
        told = found.get("authorization_response_iss_parameter_supported") is True
        if (told and issuer is None) or (issuer is not None and issuer != self.issuer):
            raise Unauthenticated("the answer comes from another provider than it was asked of")
        tokens = await self._exchanged(found, code, verifier)
        claims = await self._checked(tokens.get("id_token"), nonce, now)
        if "email" not in claims and isinstance(tokens.get("access_token"), str):
            claims |= await self._userinfo(found, tokens["access_token"], claims["sub"])
        return Identity(
            self.issuer,
            claims["sub"],
            email=_text(claims.get("email")),
            # Only the boolean: "false" is a true string.
            email_verified=claims.get("email_verified") is True,
            name=_text(claims.get("name")) or _text(claims.get("preferred_username")),
        )

    # -- what the provider says of itself --------------------------------------------------

    async def _discovered(self) -> dict[str, Any]:
        async with self._lock:
            kept = self._discovery
            if kept is None or time.monotonic() - kept.at > _DISCOVERY_SECONDS:
                kept = _Found(time.monotonic(), await self._discover())
                self._discovery = kept
            return kept.document

    async def _discover(self) -> dict[str, Any]:
        base = self.issuer.rstrip("/")
        found = await self._ask("GET", f"{base}/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:
            raise Unavailable(f"the provider {self.issuer} calls itself something else")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            self._require_address(found, name)
        if found.get("userinfo_endpoint") is not None:
            self._require_address(found, "userinfo_endpoint")
        return found

    def _require_address(self, found: Mapping[str, Any], name: str) -> None:
        """No less secure than the issuer: what goes there are codes, secrets and people."""
        address = urlsplit(str(found.get(name) or ""))
        schemes = {"https"} if self.issuer.startswith("https://") else {"https", "http"}
        if address.scheme not in schemes or not address.hostname or address.username:
            raise Unavailable(f"the provider {self.issuer} has no usable {name}")

    async def _keys_for(
        self, header: Mapping[str, Any], *, anew: bool = False
    ) -> list[dict[str, Any]]:
        """The keys that may have made a signature.

        They are fetched when they are old, when none matches, and when those that match did not
        make it (`anew`), but not again and again.
        """
        async with self._lock:
            kept = self._keys
            age = math.inf if kept is None else time.monotonic() - kept.at
            matching = [] if kept is None else _matching(kept.document, header)
            if matching and not anew and age < _DISCOVERY_SECONDS:
                return matching
            if age < _KEYS_AGAIN_SECONDS:
                return []
            assert self._discovery is not None  # noqa: S101 - discovered before any token
            document = await self._ask("GET", str(self._discovery.document["jwks_uri"]))
            self._keys = _Found(time.monotonic(), document)
            return _matching(document, header)

    # -- tokens ----------------------------------------------------------------------------

    async def _exchanged(
        self, found: Mapping[str, Any], code: str, verifier: str
    ) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        headers = {}
        methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if "client_secret_basic" in methods:
            pair = f"{quote(self.client_id, safe='')}:{quote(self.secret, safe='')}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self.client_id, "client_secret": self.secret}
        address = str(found["token_endpoint"])
        return await self._ask("POST", address, data=form, headers=headers)

    async def _checked(self, token: Any, nonce: str, now: datetime) -> dict[str, Any]:
        """The claims of an ID token, each checked (OpenID Connect Core 1.0, 3.1.3.7)."""
        if not isinstance(token, str) or len(token) > _LONGEST_TOKEN:
            raise Unauthenticated("the provider gave no ID token")
        claims = await self._verified(token)
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience
        if claims.get("iss") != self.issuer:
            raise Unauthenticated("the ID token comes from another provider")
        if not isinstance(audiences, list) or self.client_id not in audiences:
            raise Unauthenticated("the ID token is for somebody else")
        party = claims.get("azp")
        if (len(audiences) > 1 and party is None) or party not in {None, self.client_id}:
            raise Unauthenticated("the ID token was made for another program")
        _check_times(claims, now.timestamp())
        if not hmac.compare_digest(_text(claims.get("nonce")).encode(), nonce.encode()):
            raise Unauthenticated("the ID token does not belong to this sign-in")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 1 <= len(subject) <= _SUBJECT_CHARACTERS:
            raise Unauthenticated("the ID token does not say who it is about")
        return claims

    async def _verified(self, token: str) -> dict[str, Any]:
        from joserfc import jwk, jwt
        from joserfc.errors import JoseError

        header = _header(token)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise Unauthenticated("the ID token is signed in a way that is not accepted")
        for anew in (False, True):
            for key in await self._keys_for(header, anew=anew):
                try:
                    # One algorithm, one key of its type: a token does not choose its check.
                    imported = jwk.import_key({"kty": key["kty"]} | key)
                    claims: dict[str, Any] = jwt.decode(token, imported, [algorithm]).claims
                except (JoseError, ValueError, TypeError, KeyError):
                    continue
                return claims
        raise Unauthenticated("the signature of the ID token is not the provider's")

    async def _userinfo(
        self, found: Mapping[str, Any], access_token: str, subject: str
    ) -> dict[str, Any]:
        """What the ID token does not say; only about the same person (Core 1.0, 5.3.2)."""
        if found.get("userinfo_endpoint") is None:
            return {}
        told = await self._ask(
            "GET",
            str(found["userinfo_endpoint"]),
            headers={"authorization": f"Bearer {access_token}"},
        )
        if told.get("sub") != subject:
            raise Unauthenticated("the provider tells of another person than it signed in")
        return {name: told[name] for name in ("email", "email_verified", "name") if name in told}

    async def _ask(self, method: str, address: str, **request: Any) -> dict[str, Any]:
        """One request; its answer as a JSON object."""
        try:
            async with (
                asyncio.timeout(self.timeout_seconds),
                httpx.AsyncClient(follow_redirects=False, trust_env=False) as http,
                http.stream(method, address, **request) as answer,
            ):
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > _LARGEST_ANSWER:
                        raise Unavailable(f"the provider {self.issuer} answers at too great length")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            what = type(error).__name__  # its text may repeat what was sent
            raise Unavailable(f"cannot reach the provider {self.issuer}: {what}") from None
        if answer.status_code in {400, 401, 403} and method == "POST":
            # `invalid_client` is the operator's to mend; no other text of theirs is repeated.
            said = re.search(rb'"error"\s*:\s*"([a-z_]{1,40})"', bytes(body))
            log.warning("oidc.refused: %s", said[1].decode() if said else answer.status_code)
            raise Unauthenticated("the provider does not accept the code")
        if not answer.is_success:
            raise Unavailable(f"the provider {self.issuer} answered {answer.status_code}")
        try:
            return msgspec.json.decode(bytes(body), type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise Unavailable(f"the provider {self.issuer} makes no sense") from error


def challenge(verifier: str) -> str:
    """What is sent ahead of `verifier`: who sees it cannot exchange the code (RFC 7636, S256)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _header(token: str) -> dict[str, Any]:
    part = token.partition(".")[0]
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        return msgspec.json.decode(data, type=dict[str, Any])
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise Unauthenticated("the provider gave no ID token") from error


def _matching(document: Mapping[str, Any], header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The keys for signatures of the header's algorithm, and of its id where it names one."""
    keys = document.get("keys")
    kind = _KEY_TYPES[str(header["alg"])[:2]]
    return [
        key
        for key in (keys if isinstance(keys, list) else ())
        if isinstance(key, dict)
        and key.get("kty") == kind
        and key.get("use") in {None, "sig"}
        and key.get("alg") in {None, header["alg"]}
        and (header.get("kid") is None or key.get("kid") == header["kid"])
    ][:10]


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    ends, made = _moment(claims.get("exp")), _moment(claims.get("iat"))
    if ends is None or ends + _SKEW_SECONDS <= now:
        raise Unauthenticated("the ID token has expired")
    if made is None or not now - _OLDEST_SECONDS <= made <= now + _SKEW_SECONDS:
        raise Unauthenticated("the ID token was not made just now; are both clocks right?")
    begins = _moment(claims.get("nbf", made))
    if begins is None or begins > now + _SKEW_SECONDS:
        raise Unauthenticated("the ID token is not valid yet")


def _moment(value: Any) -> float | None:
    """A time in seconds since 1970; None when it is none."""
    return float(value) if isinstance(value, int | float) and value is not True else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
