"""Cloudflare's API in small, with state: DNS records and the Origin CA, checked by the schema.

`tests/data/tls/cloudflare.json` is an excerpt of an OpenAPI description of the `cloudflare` SDK's
types. Every request and every answer is checked against it. TXT records are handed on to the
challenge server, so that an authority sees them.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from jsonschema import Draft202012Validator

from tests.tls import authority

__all__ = ["TOKEN", "Cloudflare", "cloudflare"]

TOKEN = "token-of-forty-characters-0123456789abcd"
_SPEC = json.loads((Path(__file__).parent.parent / "data/tls/cloudflare.json").read_text())


@dataclass
class Cloudflare:
    """What the account holds, and how it behaves."""

    url: str = ""
    zones: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    certificates: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed: Callable[[str, list[str]], None] = lambda name, values: None
    fault: Callable[[str, str], tuple[int, dict[str, str]] | None] = lambda method, path: None
    asked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What did not fit the schema, in requests or in our answers: a test must find it empty."""


@contextmanager
def cloudflare(*zones: str) -> Iterator[Cloudflare]:
    """Run the API on loopback, with these zones."""
    state = Cloudflare(zones={name: secrets.token_hex(16) for name in zones})
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}/client/v4"
        yield state
        server.shutdown()
        thread.join()
    assert state.wrong == []


def _handler(state: Cloudflare) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Be quiet."""

        def do(self) -> None:
            parts = urlsplit(self.path.removeprefix("/client/v4"))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.asked.append(f"{self.command} {parts.path}")
            fault = state.fault(self.command, parts.path)
            if fault is not None:
                self._send(fault[0], _failure(10000, "simulated"), fault[1])
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._send(403, _failure(9109, "Invalid access token"))
            else:
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                self._send(*_answer(state, self.command, parts.path, query, body))

        do_GET = do_POST = do_DELETE = do  # noqa: N815 - the library's names

        def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            for name, text in (headers or {}).items():
                self.send_header(name, text)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def _answer(
    state: Cloudflare, method: str, path: str, query: dict[str, str], body: bytes
) -> tuple[int, Any]:
    for template, operations in _SPEC["paths"].items():
        pattern = re.sub(r"\{\w+\}", "([0-9A-Za-z]+)", template)
        match = re.fullmatch(pattern, path)
        operation = operations.get(method.lower())
        if match and operation:
            value = json.loads(body) if body else None
            wanted = operation.get("requestBody")
            if wanted is not None:
                _check(state, f"{method} {template}", wanted, value)
            status, answer = _DO[method, template](state, *match.groups(), query, value)
            if status == 200:
                _check(
                    state,
                    f"the answer to {method} {template}",
                    operation["responses"]["200"],
                    answer,
                )
            return status, answer
    return 404, _failure(7003, f"Could not route to {path}")


def _check(state: Cloudflare, what: str, content: dict[str, Any], value: Any) -> None:
    schema = content["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**schema, "components": _SPEC["components"]})
    state.wrong += [f"{what}: {error.message}" for error in validator.iter_errors(value)]


def _list_zones(state: Cloudflare, query: dict[str, str], _: Any) -> tuple[int, Any]:
    wanted = query.get("name")
    return 200, _success(
        [
            {
                "id": identifier,
                "name": name,
                "account": {"id": "a" * 32, "name": "test"},
                "meta": {},
                "owner": {},
                "plan": {},
                "activated_on": "2026-01-01T00:00:00Z",
                "created_on": "2026-01-01T00:00:00Z",
                "modified_on": "2026-01-01T00:00:00Z",
                "development_mode": 0,
                "name_servers": ["a.ns.example"],
                "original_dnshost": None,
                "original_name_servers": None,
                "original_registrar": None,
            }
            for name, identifier in state.zones.items()
            if wanted in {None, name}
        ]
    )


def _list_records(state: Cloudflare, zone: str, *_: Any) -> tuple[int, Any]:
    return 200, _success([r for r in state.records.values() if r["zone"] == zone])


def _add_record(state: Cloudflare, zone: str, _: Any, value: dict[str, Any]) -> tuple[int, Any]:
    known = {identifier: name for name, identifier in state.zones.items()}
    if zone not in known or not value["name"].endswith(known[zone]):
        return 400, _failure(1004, "DNS Validation Error")
    if not re.fullmatch(r'"[^"]{1,255}"', value["content"]):
        state.wrong.append(f"TXT content without quotes: {value['content']}")
    same = [
        r
        for r in state.records.values()
        if (r["name"], r["content"]) == (value["name"], value["content"])
    ]
    if same:
        return 400, _failure(81058, "An identical record already exists.")
    identifier = secrets.token_hex(16)
    state.records[identifier] = {**value, "id": identifier, "zone": zone}
    _hand_on(state, value["name"])
    return 200, _success(_shown(state.records[identifier]))


def _remove_record(state: Cloudflare, zone: str, record: str, *_: Any) -> tuple[int, Any]:
    found = state.records.get(record)
    if found is None or found["zone"] != zone:
        return 404, _failure(81044, "Record does not exist.")
    del state.records[record]
    _hand_on(state, found["name"])
    return 200, _success({"id": record})


def _hand_on(state: Cloudflare, name: str) -> None:
    values = [r["content"].strip('"') for r in state.records.values() if r["name"] == name]
    state.changed(name, values)


def _issue(state: Cloudflare, _: Any, value: dict[str, Any]) -> tuple[int, Any]:
    request = x509.load_pem_x509_csr(value["csr"].encode())
    ends = authority.NOW + timedelta(days=value["requested_validity"])
    made = authority.signed(
        "CloudFlare Origin Certificate",
        authority.root(),
        names=value["hostnames"],
        key=_Public(request.public_key()),
        ends=ends,
    )
    identifier = secrets.token_hex(16)
    state.certificates[identifier] = {
        "id": identifier,
        **value,
        "certificate": made.alone.decode(),
        "expires_on": ends.isoformat(),
    }
    return 200, _success(state.certificates[identifier])


def _list_certificates(state: Cloudflare, query: dict[str, str], _: Any) -> tuple[int, Any]:
    first = 50 * (int(query.get("page", "1")) - 1)
    return 200, _success(list(state.certificates.values())[first : first + 50])


def _revoke(state: Cloudflare, identifier: str, *_: Any) -> tuple[int, Any]:
    if state.certificates.pop(identifier, None) is None:
        return 404, _failure(1101, "no such certificate")
    return 200, _success({"id": identifier, "revoked_at": "2026-01-01T00:00:00Z"})


class _Public:
    """A key of which only the public half is known, as an authority knows it."""

    def __init__(self, public: Any) -> None:
        self._public = public

    def public_key(self) -> Any:
        return self._public


_DO: dict[tuple[str, str], Callable[..., tuple[int, Any]]] = {
    ("GET", "/zones"): _list_zones,
    ("GET", "/zones/{zone_id}/dns_records"): _list_records,
    ("POST", "/zones/{zone_id}/dns_records"): _add_record,
    ("DELETE", "/zones/{zone_id}/dns_records/{dns_record_id}"): _remove_record,
    ("POST", "/certificates"): _issue,
    ("GET", "/certificates"): _list_certificates,
    ("DELETE", "/certificates/{certificate_id}"): _revoke,
}


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "zone"}


def _success(result: Any) -> dict[str, Any]:
    return {"success": True, "errors": [], "messages": [], "result": result}


def _failure(code: int, message: str) -> dict[str, Any]:
    error = {"code": code, "message": message}
    return {"success": False, "errors": [error], "messages": [], "result": None}
