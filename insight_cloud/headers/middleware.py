"""The ASGI face: adds the security headers to every answer of an application."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from insight_cloud.core.asgi import App, Message, Receive, Scope, Send
from insight_cloud.core.errors import SettingsError
from insight_cloud.headers import csp, hsts

__all__ = ["ENDPOINT", "PERMISSIONS", "Headers", "is_https", "nonce", "path_prefixes"]

PERMISSIONS = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), "
    "magnetometer=(), microphone=(), midi=(), payment=(), usb=(), browsing-topics=()"
)
"""The abilities of a browser that a service like ours never needs, for nobody."""

ENDPOINT = "default"
"""The name of the reporting endpoint; under this one browsers also report crashes and more."""

_CSP = b"content-security-policy"
_HSTS = b"strict-transport-security"
_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})
_NONCE_BYTES = 16
_NAME = re.compile(r"[a-z0-9-]+")
_VALUE = re.compile(r"[\x20-\x7e]+")

_Pairs = tuple[tuple[bytes, bytes], ...]


def nonce(scope: Scope) -> str:
    """The nonce of this request, for `<script nonce="...">`; empty where the policy has none."""
    return str(scope.get("headers.nonce", ""))


def is_https(scope: Scope) -> bool:
    """Whether the request came over TLS, as the server says (it knows its trusted proxies)."""
    return scope.get("scheme") in {"https", "wss"}


class Headers:
    """Add the security headers to what `app` answers; headers that it set itself are kept.

    Everything is checked and encoded here, once. A request costs a nonce, one join, and a
    look at the names of the answer's headers.

    Args:
        app: the ASGI application.
        page_policy: content security policy of everything but the API; `{nonce}` in it becomes
            the nonce of the request, see `nonce`.
        api_policy: content security policy of the API.
        api_prefixes: how the API's paths begin.
        report_only: violations of the page policy are reported, not prevented.
        report_url: where browsers send reports: a path here (see `Reports`) or a URL.
        hsts_stage: how long browsers remember to come over HTTPS, see `hsts.SECONDS`.
        hsts_subdomains: whether that holds for all subdomains.
        hsts_preload: whether the domain may be built into browsers (last stage only).
        https: whether a request came over HTTPS; only then HSTS is sent.
        frame_options: `DENY` or `SAMEORIGIN`, for browsers without `frame-ancestors`.
        referrer_policy: what other sites learn about where a visitor came from.
        permissions_policy: which abilities of the browser pages may use.
        opener_policy: Cross-Origin-Opener-Policy.
        resource_policy: Cross-Origin-Resource-Policy.
        dns_prefetch: whether browsers may look up the names in links beforehand.
        extra: more headers, by name.

    Raises:
        SettingsError: a value cannot be sent as a header, or a policy is not strict.
    """

    def __init__(
        self,
        app: App,
        *,
        page_policy: str = csp.PAGE,
        api_policy: str = csp.API,
        api_prefixes: Sequence[str] = ("/api/",),
        report_only: bool = False,
        report_url: str | None = None,
        hsts_stage: hsts.Stage = "full",
        hsts_subdomains: bool = True,
        hsts_preload: bool = True,
        https: Callable[[Scope], bool] = is_https,
        frame_options: str = "DENY",
        referrer_policy: str = "strict-origin-when-cross-origin",
        permissions_policy: str = PERMISSIONS,
        opener_policy: str = "same-origin",
        resource_policy: str = "same-origin",
        dns_prefetch: bool = False,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        fixed = {
            "x-content-type-options": "nosniff",
            "x-frame-options": frame_options,
            "x-xss-protection": "0",  # the old filter itself could be abused; absent since 2020
            "referrer-policy": referrer_policy,
            "permissions-policy": permissions_policy,
            "x-dns-prefetch-control": "on" if dns_prefetch else "off",
            "cross-origin-opener-policy": opener_policy,
            "cross-origin-resource-policy": resource_policy,
        }
        page, api = csp.check(page_policy), csp.check(api_policy)
        if csp.NONCE in api:
            raise SettingsError("the API's policy has a nonce, but data hold no scripts")
        if report_url is not None:
            if not re.fullmatch(r"(/|https://)[^\s\";,]*", report_url):
                raise SettingsError(f"reports cannot be sent to {report_url!r}: no path or URL")
            fixed["reporting-endpoints"] = f'{ENDPOINT}="{report_url}"'
            page, api = (csp.with_reports(text, report_url, ENDPOINT) for text in (page, api))
        common = _encode(fixed | {name.lower(): text for name, text in (extra or {}).items()})
        strict = hsts.value(hsts_stage, subdomains=hsts_subdomains, preload=hsts_preload)
        self._app = app
        self._api = path_prefixes(api_prefixes)
        self._https = https
        self._hsts: _Pairs = _encode({_HSTS.decode(): strict}) if strict else ()
        self._common = common
        self._data: _Pairs = (*common, *_encode({_CSP.decode(): api}))
        self._csp_name = _CSP + b"-report-only" if report_only else _CSP
        self._csp_parts = [part.encode() for part in _checked("a policy", page).split(csp.NONCE)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, with the headers."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        added = self._data if scope["path"].startswith(self._api) else self._page(scope)
        if self._hsts and self._https(scope):
            added += self._hsts

        async def send_with_headers(message: Message) -> None:
            if message["type"] in _STARTS:
                message = {**message, "headers": _merge(message.get("headers", ()), added)}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _page(self, scope: Scope) -> _Pairs:
        """The headers of a page, with a nonce of its own that templates find in `scope`."""
        if len(self._csp_parts) == 1:
            return (*self._common, (self._csp_name, self._csp_parts[0]))
        text = secrets.token_urlsafe(_NONCE_BYTES)
        scope["headers.nonce"] = text
        scope.setdefault("state", {})["nonce"] = text
        return (*self._common, (self._csp_name, text.encode().join(self._csp_parts)))


def _merge(own: Any, added: _Pairs) -> list[tuple[bytes, bytes]]:
    """The application's headers, then ours of a name that it has not set."""
    headers = list(own)
    names = {name.lower() for name, _ in headers}
    headers += [pair for pair in added if pair[0] not in names]
    return headers


def _encode(headers: Mapping[str, str]) -> _Pairs:
    """Check names and values; a line break in one would let its author write the answer."""
    for name in headers:
        if not _NAME.fullmatch(name):
            raise SettingsError(f"{name!r} is no name of a header")
    return tuple((name.encode(), _checked(name, text).encode()) for name, text in headers.items())


def _checked(name: str, text: str) -> str:
    if not _VALUE.fullmatch(text) or text != text.strip():
        raise SettingsError(f"{name} cannot be {text!r}: printable ASCII without space around it")
    return text


def path_prefixes(paths: Sequence[str]) -> tuple[str, ...]:
    """Return beginnings of paths as `str.startswith` takes them.

    Raises:
        SettingsError: one does not begin with a slash, or they are a single string.
    """
    wrong = [path for path in paths if not path.startswith("/")]
    if wrong or isinstance(paths, str):
        raise SettingsError(f"prefixes are paths that begin with a slash, not {wrong or paths!r}")
    return tuple(paths)
