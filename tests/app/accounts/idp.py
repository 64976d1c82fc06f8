"""A provider of OpenID Connect on loopback, with a state: it holds people, codes and keys.

It does what the specification says, and on request one thing wrong (`wrong`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import hmac
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response
from joserfc import jwk, jwt

CLIENT, SECRET = "insight", "a secret: with +/ signs"

Claims = dict[str, Any]


@dataclass
class Person:
    """Somebody who has an account at the provider, and is signed in there."""

    sub: str = "248289761001"
    email: str = "ada@example.com"
    email_verified: Any = True
    name: str = "Ada Lovelace"


@dataclass
class Idp:
    """The provider. `claims` and `sign` may change what it says of a person, and how."""

    url: str = ""
    person: Person = field(default_factory=Person)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    keys: list[Any] = field(default_factory=list)
    claims: Callable[[Claims], Claims] = field(default=lambda claims: claims)
    sign: Callable[[Idp, Claims], str] | None = None
    discovery: Callable[[Claims], Claims] = field(default=lambda document: document)
    answer: Callable[[dict[str, str]], dict[str, str]] = field(default=lambda answer: answer)
    clock: Callable[[], float] = time.time

    def rotate(self, kind: str = "RSA") -> None:
        """Sign with another key from now on; the old one is gone."""
        size: Any = 2048 if kind == "RSA" else "P-256"
        key = jwk.generate_key(kind, size, {"kid": secrets.token_hex(4), "use": "sig"})  # type: ignore[call-overload]
        self.keys = [key]

    def visit(self, address: str) -> str:
        """A browser comes with an authorization request, and is sent back with a code."""
        parts = urlsplit(address)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert address.startswith(f"{self.url}/authorize?")
        assert asked["client_id"] == CLIENT
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        sent = self.answer({"code": code, "state": asked["state"], "iss": self.url})
        return f"{asked['redirect_uri']}?{urlencode(sent)}"

    def id_token(self, nonce: str) -> str:
        now = int(self.clock())
        person = self.person
        claims: Claims = self.claims(
            {
                "iss": self.url,
                "sub": person.sub,
                "aud": CLIENT,
                "exp": now + 300,
                "iat": now,
                "nonce": nonce,
                "email": person.email,
                "email_verified": person.email_verified,
                "name": person.name,
            }
        )
        claims = {name: value for name, value in claims.items() if value is not None}
        return self.sign(self, claims) if self.sign else signed(self.keys[0], claims)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def note(request: Request, call: Any) -> Response:
            self.asked.append(request.url.path)
            answer: Response = await call(request)
            return answer

        @app.get("/.well-known/openid-configuration")
        async def configuration() -> Claims:
            return self.discovery(
                {
                    "issuer": self.url,
                    "authorization_endpoint": f"{self.url}/authorize",
                    "token_endpoint": f"{self.url}/token",
                    "jwks_uri": f"{self.url}/keys",
                    "userinfo_endpoint": f"{self.url}/userinfo",
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256", "ES256"],
                    "authorization_response_iss_parameter_supported": True,
                }
            )

        @app.get("/keys")
        async def keys() -> Claims:
            return {"keys": [key.as_dict(private=False) for key in self.keys]}

        @app.get("/userinfo")
        async def userinfo() -> Claims:
            person = self.person
            return {"sub": person.sub, "email": person.email, "email_verified": True}

        @app.post("/token")
        async def token(request: Request) -> Response:
            return await self._token(request)

        return app

    async def _token(self, request: Request) -> Response:
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        kind, _, pair = request.headers.get("authorization", "").partition(" ")
        expected = base64.b64encode(b"insight:a%20secret%3A%20with%20%2B%2F%20signs").decode()
        asked = self.codes.pop(form.get("code", ""), None)  # a code works once
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proved = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        if (kind, pair) != ("Basic", expected):
            return _json({"error": "invalid_client"}, 401)
        if (
            asked is None
            or form.get("redirect_uri") != asked["redirect_uri"]
            or not hmac.compare_digest(proved, asked["code_challenge"])
        ):
            return _json({"error": "invalid_grant"}, 400)
        tokens = {
            "access_token": "opaque",
            "token_type": "Bearer",
            "id_token": self.id_token(asked["nonce"]),
        }
        return _json(tokens, 200)


@functools.cache
def _first_key() -> Any:
    """The key that every provider begins with: making one takes a tenth of a second."""
    return jwk.generate_key("RSA", 2048, {"kid": "first", "use": "sig"})


def signed(key: Any, claims: Claims, *, algorithm: str = "", kid: str | None = None) -> str:
    """A token as an honest provider makes it."""
    name = algorithm or {"RSA": "RS256", "EC": "ES256"}[key.key_type]
    header = {"alg": name} if kid == "" else {"alg": name, "kid": kid or key.kid}
    return jwt.encode(header, claims, key, algorithms=[name])


def unsigned(header: Claims, claims: Claims, signature: bytes = b"") -> str:
    """A token made by hand."""
    parts = [msgspec.json.encode(header), msgspec.json.encode(claims), signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def _json(body: Claims, status: int) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[Idp]:
    """A provider on a free port of this machine."""
    idp = Idp(keys=[_first_key()])
    listener = socket.create_server(("127.0.0.1", 0))
    idp.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = _Server(uvicorn.Config(idp.app(), log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        assert not serving.done(), serving
        await asyncio.sleep(0.01)
    try:
        yield idp
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to pytest."""
        yield
