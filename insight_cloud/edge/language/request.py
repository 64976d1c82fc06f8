"""A sample request, and the fields that the edge would derive from it.

What only the edge can know (country, bot score, certificate) is unknown unless the sample says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from insight_cloud.core.errors import Invalid
from insight_cloud.edge.language.evaluate import LISTS
from insight_cloud.edge.language.fields import FIELDS
from insight_cloud.edge.language.types import Type

__all__ = ["Request", "fields_of"]

_PORTS = {"https": 443, "http": 80}
_MOST_URL = 16 * 1024
_FORM = "application/x-www-form-urlencoded"
_ALIAS = re.compile(r"^ip\.geoip\.")


@dataclass(frozen=True)
class Request:
    """One request as a client sends it; `known` adds what the edge would find out by itself.

    The names in `known` are those of the fields, such as `ip.src.country` or `cf.client.bot`.
    """

    url: str = "https://example.com/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    lists: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    raw_target: str = ""
    """The path and query as first received, when a rewrite has changed `url` since."""

    def __post_init__(self) -> None:
        parts = _split(self.url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise Invalid(f"{self.url!r} is no http or https URL")
        for name, value in self.known.items():
            _check_known(name, value)

    def with_target(self, target: str) -> Request:
        """The same request after a rewrite to `target`, a path with its query."""
        parts = _split(self.url)
        raw = self.raw_target or _target(self.url)
        return replace(self, url=f"{parts.scheme}://{parts.netloc}{target}", raw_target=raw)


def fields_of(request: Request) -> dict[str, Any]:
    """Every field of `request` by name; those that are unknown have the value None."""
    fields: dict[str, Any] = dict.fromkeys(FIELDS)
    fields.update(_target_fields("http.request", request, _target(request.url)))
    fields.update(
        _target_fields("raw.http.request", request, request.raw_target or _target(request.url))
    )
    fields.update(_connection_fields(request))
    fields.update(_header_fields(request))
    fields.update(_body_fields(request))
    fields.update({name: _known(FIELDS[name].type, given) for name, given in request.known.items()})
    for name, known in FIELDS.items():
        if fields[name] is None and name.startswith("ip.geoip."):
            fields[name] = fields[known.instead]
    fields[LISTS] = request.lists
    return fields


def _split(url: str) -> Any:
    if len(url) > _MOST_URL:
        raise Invalid(f"a URL has at most {_MOST_URL} characters")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Invalid(f"{url!r} is no URL: {error}") from None
    return parts


def _target(url: str) -> str:
    """The path and query exactly as they are sent."""
    rest = url.split("://", 1)[1]
    rest = rest.split("#", 1)[0]
    start = re.search(r"[/?]", rest)
    target = rest[start.start() :] if start else "/"
    return target if target.startswith("/") else f"/{target}"


def _target_fields(prefix: str, request: Request, target: str) -> dict[str, Any]:
    path, _, query = target.partition("?")
    parts = _split(request.url)
    host = (parts.hostname or "").encode()
    port = "" if parts.port in {None, _PORTS[parts.scheme]} else f":{parts.port}"
    arguments = _arguments(query.encode())
    names, values = [name for name, _ in arguments], [value for _, value in arguments]
    return {
        f"{prefix}.uri": target.encode(),
        f"{prefix}.uri.path": path.encode(),
        f"{prefix}.uri.path.extension": _extension(path).encode(),
        f"{prefix}.uri.query": query.encode(),
        f"{prefix}.uri.args": _grouped(arguments),
        f"{prefix}.uri.args.names": names,
        f"{prefix}.uri.args.values": values,
        f"{prefix}.full_uri": f"{parts.scheme}://".encode() + host + f"{port}{target}".encode(),
    }


def _arguments(query: bytes) -> list[tuple[bytes, bytes]]:
    pairs = (part.partition(b"=") for part in query.split(b"&") if part)
    return [(name, value) for name, _, value in pairs]


def _extension(path: str) -> str:
    name = path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return extension.lower() if dot and stem else ""


def _grouped(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    groups: dict[bytes, list[bytes]] = {}
    for name, value in pairs:
        groups.setdefault(name, []).append(value)
    return groups


def _connection_fields(request: Request) -> dict[str, Any]:
    parts = _split(request.url)
    return {
        "http.host": (parts.hostname or "").encode(),
        "http.request.method": request.method.upper().encode(),
        "ssl": parts.scheme == "https",
        "cf.edge.server_port": parts.port or _PORTS[parts.scheme],
    }


def _header_fields(request: Request) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in request.headers]
    headers = _grouped([(name.lower(), value) for name, value in pairs])
    # A header that was not sent is an empty string here, as the edge has it.
    single = {
        f"http.{name}": b", ".join(headers.get(header, []))
        for name, header in _SINGLE_HEADERS.items()
    }
    cookies = [pair for value in headers.get(b"cookie", []) for pair in _cookies(value)]
    return {
        **single,
        "http.request.headers": headers,
        "http.request.headers.names": [name for name, _ in pairs],
        "http.request.headers.values": [value for _, value in pairs],
        "http.request.headers.truncated": False,
        "http.request.cookies": _grouped(cookies),
        "http.request.accepted_languages": _languages(headers.get(b"accept-language", [])),
    }


_SINGLE_HEADERS = {
    "cookie": b"cookie",
    "referer": b"referer",
    "user_agent": b"user-agent",
    "x_forwarded_for": b"x-forwarded-for",
}


def _cookies(header: bytes) -> list[tuple[bytes, bytes]]:
    pairs = (part.strip().partition(b"=") for part in header.split(b";") if part.strip())
    return [(unquote_to_bytes(name), value) for name, _, value in pairs]


def _languages(values: list[bytes]) -> list[bytes]:
    weighted = []
    for number, part in enumerate(b",".join(values).split(b",")):
        tag, _, parameters = part.strip().partition(b";")
        if not tag or tag == b"*":
            continue
        found = re.search(rb"q=([0-9.]+)", parameters)
        try:
            weight = float(found[1]) if found else 1.0
        except ValueError:
            weight = 0.0
        weighted.append((-weight, number, tag))
    return [tag for _, _, tag in sorted(weighted)]


def _body_fields(request: Request) -> dict[str, Any]:
    body = request.body
    if body is None and request.method.upper() in {"GET", "HEAD"}:
        body = b""
    if body is None:
        return {}
    types = [value for name, value in request.headers if name.lower() == "content-type"]
    form = _arguments(body) if types and types[0].split(";")[0].strip().lower() == _FORM else []
    return {
        "http.request.body.raw": body,
        "http.request.body.size": len(body),
        "http.request.body.truncated": False,
        "http.request.body.form": _grouped(form),
        "http.request.body.form.names": [name for name, _ in form],
        "http.request.body.form.values": [value for _, value in form],
    }


def _check_known(name: str, value: Any) -> None:
    if name not in FIELDS:
        raise Invalid(f"there is no field {name}")
    try:
        _known(FIELDS[name].type, value)
    except (TypeError, ValueError, AttributeError):
        raise Invalid(f"{value!r} is no {FIELDS[name].type}, which {name} is") from None


def _known(type_: Type, value: Any) -> Any:
    if value is None:
        return None
    if type_.of is not None:
        if type_.kind == "Array":
            return [_known(type_.of, item) for item in _sequence(value)]
        return {key.encode(): _known(type_.of, item) for key, item in value.items()}
    if type_.kind == "Bytes":
        return value if isinstance(value, bytes) else value.encode()
    if type_.kind == "Ip":
        return ip_address(value)
    wanted = bool if type_.kind == "Bool" else int
    if type(value) is not wanted:
        raise TypeError(value)
    return value


def _sequence(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError(value)
    return list(value)
