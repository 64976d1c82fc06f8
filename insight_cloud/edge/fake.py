"""A stand-in for Cloudflare's API with a memory: for rehearsals without an account, and for tests.

It takes and gives only what the published schema allows, keeps what is written, counts versions,
checks expressions and plan limits, knows the dry run, and fails on request in the ways in which the
real one does. It is an ASGI application; `serve` puts it on a port.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from insight_cloud.core.asgi import Receive, Scope, Send
from insight_cloud.core.errors import Invalid
from insight_cloud.edge import dns, schema
from insight_cloud.edge.language import ExpressionError, parse, parse_value
from insight_cloud.edge.phases import ACTIONS, Phase, PlanName
from insight_cloud.edge.plans import at_least, excess, needs, value_expressions

__all__ = [
    "DASHBOARD_RULE",
    "TOKEN",
    "ZONE",
    "Answer",
    "Cut",
    "Fake",
    "Fault",
    "fault",
    "serve",
    "settings_text",
]

PREFIX = "/client/v4"
TOKEN = "fake-token"  # noqa: S105 - it opens nothing
ZONE = "0123456789abcdef0123456789abcdef"
ACCOUNT = "fedcba9876543210fedcba9876543210"

DASHBOARD_RULE: Mapping[str, Any] = {
    "action": "block",
    "expression": "ip.src eq 192.0.2.66",
    "description": "made in the dashboard",
}
"""A rule of somebody else, as rehearsals have one."""

_PURGES: Mapping[str, str] = {
    "/zones/{zone_id}/purge_cache": "hard",
    "/zones/{zone_id}/invalidate_cache": "soft",
}
_MOST_BYTES = 4 * 1024 * 1024
_SETTINGS: Mapping[str, Any] = {
    "0rtt": "off",
    "always_use_https": "off",
    "automatic_https_rewrites": "off",
    "browser_cache_ttl": 14400,
    "browser_check": "on",
    "challenge_ttl": 1800,
    "early_hints": "off",
    "http3": "off",
    "min_tls_version": "1.0",
    "opportunistic_encryption": "on",
    "security_header": {
        "strict_transport_security": {
            "enabled": False,
            "max_age": 0,
            "include_subdomains": False,
            "preload": False,
            "nosniff": False,
        }
    },
    "security_level": "medium",
    "ssl": "full",
    "tls_1_3": "on",
    "websockets": "on",
}
"""A new zone's values; the other settings have the first value that the schema allows."""
_NEEDS: Mapping[str, str] = {
    "image_resizing": "pro",
    "polish": "pro",
    "prefetch_preload": "enterprise",
    "true_client_ip_header": "enterprise",
    "response_buffering": "enterprise",
    "sort_query_string_for_cache": "enterprise",
    "origin_error_page_pass_thru": "enterprise",
    "proxy_read_timeout": "enterprise",
}
"""Settings that a lower plan can read, and not edit."""


class Cut(Exception):  # noqa: N818 - not a failure of ours: the connection ends here
    """The connection breaks before the answer is whole."""


class Answer(NamedTuple):
    """What goes back to the client."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Fault:
    """How some calls fail: `times` of them, after `skip` that do not.

    Kinds: `429` (with Retry-After), `500`, `503`, `refused` (HTTP 200 and success:false), `denied`
    (403), `cut` (no answer, nothing done), `cut-after` (done, but no answer), `html` (not the
    API's), `lost` (answered as done, and not done), `slow` (`value` seconds late).
    """

    kind: str
    method: str = ""
    path: str = ""
    times: int = 1
    skip: int = 0
    value: float = 1.0

    def hits(self, method: str, path: str) -> bool:
        """Whether this call fails; counts it."""
        if self.times <= 0 or self.method not in {"", method} or not re.search(self.path, path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


_KINDS = ("429", "500", "502", "503", "refused", "denied", "cut", "cut-after", "html", "lost")


def fault(text: str) -> Fault:
    """Read `KIND[:METHOD[:PATH[:TIMES]]]`.

    Raises:
        Invalid: it is not of this form.
    """
    kind, method, path, times = [*text.split(":", 3), "", "", ""][:4]
    if kind not in {*_KINDS, "slow"}:
        raise Invalid(f"{kind!r} is no fault; there are {', '.join((*_KINDS, 'slow'))}")
    if times and not times.isdigit():
        raise Invalid(f"{times!r} is no number of times")
    return Fault(kind, method.upper(), re.escape(path), int(times or 1))


def settings_text(url: str) -> str:
    """An `insight.toml` that leads to a stand-in at `url`."""
    return (
        "# For a rehearsal: the stand-in that `insight edge fake` runs.\n"
        f'[edge]\napi_url = "{url}"\napi_token = "{TOKEN}"\nzone_id = "{ZONE}"\n'
    )


class Fake:
    """The API with one zone in it. `calls` is what was asked, `flaws` what broke the schema.

    `purged` are the purges of its caches: soft or hard, and what was named. `records` are the
    zone's DNS records; nobody answers for them, `records.values(NAME)` is what would be answered.
    """

    def __init__(
        self,
        *,
        name: str = "example.com",
        plan: PlanName = "free",
        latency_seconds: float = 0.0,
        faults: Iterable[Fault] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_change: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.plan: PlanName = plan
        self.status = "active"
        self.token_status = "active"  # noqa: S105 - a status
        self.certificate = "active"
        self.latency_seconds = latency_seconds
        self.faults = list(faults)
        self.calls: list[tuple[str, str]] = []
        self.flaws: list[str] = []
        self.purged: list[tuple[str, Any]] = []
        self.settings: dict[str, Any] = {
            name: copy.deepcopy(_SETTINGS[name]) if name in _SETTINGS else _first_value(name)
            for name in schema.settings()
        }
        self.objects: dict[str, Any] = {
            "bot_management": {
                "fight_mode": False,
                "enable_js": False,
                "ai_bots_protection": "disabled",
                "using_latest_model": True,
            },
            "tiered_cache": "off",
            "origin_pulls": {"enabled": False},
            "universal_ssl": {"enabled": True},
            "url_normalization": {"scope": "incoming", "type": "cloudflare"},
        }
        self.rulesets: dict[str, dict[str, Any]] = {}
        self.records = dns.Records(name, self._id, self._time)
        self._clock = clock
        self._on_change = on_change
        self._made = 0
        self._modified = self._time()

    # -- as a server ---------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; breaks the connection where a fault says so."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body") or len(body) > _MOST_BYTES:
                break
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        query = scope.get("query_string", b"").decode()
        try:
            answer = await self.answer(scope["method"], scope["path"], query, headers, bytes(body))
        except Cut:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"{", "more_body": True})
            raise  # the server then closes the connection without the end of the body
        pairs = [("content-type", "application/json"), *answer.headers]
        raw = [(name.encode(), value.encode()) for name, value in pairs]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": answer.body})

    async def answer(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """The answer to one request.

        Raises:
            Cut: a fault says that the connection breaks.
        """
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)
        self.calls.append((method, path))
        fault = next((f for f in self.faults if f.hits(method, path)), None)
        if fault is not None and (early := await _early(fault)) is not None:
            return early
        before = self.dump() if fault is not None else {}
        answer = self._checked(method, path, query, headers, body)
        if fault is not None and fault.kind == "lost":
            self.restore(before)
        if fault is not None and fault.kind == "cut-after":
            raise Cut
        return answer

    # -- memory --------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Everything that a restart would forget."""
        kept = {
            "name": self.name,
            "plan": self.plan,
            "settings": self.settings,
            "objects": self.objects,
            "rulesets": self.rulesets,
            "records": self.records.kept,
            "made": self._made,
        }
        return copy.deepcopy(kept)

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Take over what `dump` gave.

        Raises:
            Invalid: it is something else.
        """
        try:
            settings, objects = dict(kept["settings"]), dict(kept["objects"])
            rulesets, made = dict(kept["rulesets"]), int(kept["made"])
            records = dict(kept.get("records", {}))  # not in the files of older versions
            self.name, self.plan = kept["name"], kept["plan"]
        except (KeyError, TypeError, ValueError):
            raise Invalid("this is no state of the stand-in") from None
        self.settings, self.objects = copy.deepcopy(settings), copy.deepcopy(objects)
        self.rulesets, self._made = copy.deepcopy(rulesets), made
        self.records.zone, self.records.kept = self.name, copy.deepcopy(records)

    def add_rule(self, phase: str, rule: Mapping[str, Any], *, at: int | None = None) -> None:
        """Somebody else's rule, as made in the dashboard, at position `at` of `phase`."""
        found = self.rulesets.get(phase) or self._new_ruleset(phase)
        rules = list(found["rules"])
        rules.insert(len(rules) if at is None else at, self._rule(rule, {}))
        self.rulesets[phase] = self._next_version(found, rules)

    # -- one request ---------------------------------------------------------------------

    def _checked(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        found = schema.operation(method, path.removeprefix(PREFIX))
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return _failure(401, 1000, "Invalid API Token")
        if found is None or not path.startswith(PREFIX):
            return _failure(404, 7000, f"No route for {method} {path}")
        if found.variables.get("zone_id", ZONE) != ZONE:
            return _failure(404, 1001, f"Zone not found: {found.variables['zone_id']}")
        answer = self._answered(found, body, dict(parse_qsl(query)))
        flaw = schema.response_problem(found, answer.status, json.loads(answer.body))
        if flaw:
            self.flaws.append(f"{method} {path}: {flaw}")
            return _failure(500, 10000, f"the stand-in broke the schema: {flaw}")
        if method != "GET" and answer.status < 400:
            self._on_change(self.dump())
        return answer

    def _answered(self, found: schema.Operation, body: bytes, query: Mapping[str, str]) -> Answer:
        try:
            given = json.loads(body) if body else None
        except (ValueError, RecursionError):
            return _failure(400, 6007, "Malformed JSON in request body")
        if said := schema.request_problem(found, given):
            return _failure(400, 10021, said)
        do = self._records if found.path.startswith(_RECORDS) else self._do
        return do(found, given, query)

    def _do(self, found: schema.Operation, body: Any, query: Mapping[str, str]) -> Answer:
        path, write = found.path, found.method != "get"
        fixed = self._fixed(query).get(path)
        if fixed is not None and not write:
            return _success(fixed)
        setting = path.removeprefix("/zones/{zone_id}/settings/")
        if setting in self.settings:
            return self._setting(setting, body, write=write)
        if path in _OBJECTS:
            return self._object(_OBJECTS[path], body, write=write)
        if path in _PURGES:
            self.purged.append((_PURGES[path], body))
            return _success({"id": ZONE})
        if path.endswith("/phases/{ruleset_phase}/entrypoint"):
            phase, dry_run = found.variables["ruleset_phase"], query.get("dry_run") == "true"
            return self._put(phase, body, dry_run=dry_run) if write else self._get(phase)
        return _unknown(found)

    def _fixed(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The answers that nobody can change over the API."""
        return {
            "/user/tokens/verify": {"id": ZONE, "status": self.token_status},
            "/zones": [self._zone()] if query.get("name", self.name) == self.name else [],
            "/zones/{zone_id}": self._zone(),
            "/zones/{zone_id}/ssl/certificate_packs": [self._certificate()],
            "/zones/{zone_id}/rulesets": [_without_rules(r) for r in self.rulesets.values()],
        }

    def _zone(self) -> dict[str, Any]:
        return {
            "id": ZONE,
            "name": self.name,
            "status": self.status,
            "paused": False,
            "type": "full",
            "development_mode": 0,
            "account": {"id": ACCOUNT, "name": "Rehearsal"},
            "owner": {"id": ACCOUNT, "type": "user"},
            "meta": {"phishing_detected": False},
            "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
            "created_on": "2026-01-01T00:00:00Z",
            "modified_on": self._modified,
            "plan": {"id": "rehearsal", "legacy_id": self.plan, "name": self.plan.capitalize()},
        }

    def _certificate(self) -> dict[str, Any]:
        return {
            "id": ZONE,
            "type": "universal",
            "status": self.certificate,
            "hosts": [self.name, f"*.{self.name}"],
            "certificates": [],
            "primary_certificate": None,
        }

    def _records(self, found: schema.Operation, body: Any, query: Mapping[str, str]) -> Answer:
        try:
            match found.method, found.variables.get("dns_record_id"):
                case "get", None:
                    shown, numbers = self.records.list(query)
                    return _success(shown, numbers)
                case "post", None:
                    return _success(self.records.add(body))
                case "delete", str() as identifier:
                    return _success(self.records.remove(identifier))
        except dns.Refusal as refusal:
            return _failure(refusal.status, refusal.code, str(refusal))
        return _unknown(found)

    def _setting(self, name: str, body: Any, *, write: bool) -> Answer:
        editable = at_least(self.plan, _NEEDS.get(name, "free"))
        if write:
            if not editable:
                return _failure(400, 1007, f"Setting {name} is not editable on your plan")
            value = body["value"]
            if name == "security_header":
                value = {"strict_transport_security": value["strict_transport_security"]}
            self.settings[name] = value
            if name == "0rtt" and self.settings["tls_1_3"] != "off":
                self.settings["tls_1_3"] = "zrt" if value == "on" else "on"
            self._modified = self._time()
        value = copy.deepcopy(self.settings[name])
        result: dict[str, Any] = {"id": name, "value": value, "editable": editable}
        return _success(result | {"modified_on": self._modified})

    def _object(self, name: str, body: Any, *, write: bool) -> Answer:
        if name == "tiered_cache":
            if write:
                self.objects[name] = body["value"]
            return _success(
                {
                    "id": "tiered_cache_smart_topology_enable",
                    "value": self.objects[name],
                    "editable": True,
                }
            )
        if write:
            self.objects[name] = {**self.objects[name], **body}
        return _success(copy.deepcopy(self.objects[name]))

    # -- rules ---------------------------------------------------------------------------

    def _get(self, phase: str) -> Answer:
        found = self.rulesets.get(phase)
        if found is None:
            return _failure(404, 10003, f"could not find entrypoint ruleset in the {phase!r} phase")
        return _success(found)

    def _put(self, phase: str, body: Any, *, dry_run: bool) -> Answer:
        rules = body.get("rules") or []
        said = self._refusal(phase, rules)
        if said:
            number, text = said
            pointer = f"/rules/{number}/expression"
            return _failure(400, 20127, text, pointer if number >= 0 else "/rules")
        if dry_run:
            return _success(None)
        found = self.rulesets.get(phase) or self._new_ruleset(phase)
        known = {rule["ref"]: rule for rule in found["rules"]}
        made = [self._rule(rule, known.get(rule.get("ref", ""), {})) for rule in rules]
        self.rulesets[phase] = self._next_version(found, made)
        return _success(self.rulesets[phase])

    def _refusal(self, phase: str, rules: list[dict[str, Any]]) -> tuple[int, str] | None:
        """What the real API checks and no schema shows: the rule's number (-1: all) and why."""
        known = next((name for name in ACTIONS if name == phase), None)
        if known is None:
            return (-1, f"the phase {phase} takes no rules of a zone")
        if said := excess(rules, known, self.plan):
            return (-1, f"exceeded maximum number of rules: {said}")
        refs = [rule["ref"] for rule in rules if "ref" in rule]
        if len(set(refs)) < len(refs):
            return (-1, "two rules have the same ref")
        for number, rule in enumerate(rules):
            if said := self._rule_refusal(known, rule):
                return (number, said)
        return None

    def _rule_refusal(self, phase: Phase, rule: Mapping[str, Any]) -> str:
        if rule.get("action") not in ACTIONS[phase]:
            return f"the action {rule.get('action')} is not allowed in the phase {phase}"
        if phase == "http_ratelimit" and "ratelimit" not in rule:
            return "a rule of http_ratelimit needs ratelimit"
        try:
            parse(rule.get("expression", ""), phase=phase)
            for text in value_expressions(rule.get("action_parameters")):
                parse_value(text, phase=phase)
        except ExpressionError as error:
            return f"filter parsing error: {error}"
        return next(needs(rule, phase, self.plan), "")

    def _rule(self, rule: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
        """`rule` as the server keeps it: with its own keys and defaults."""
        identifier = known.get("id") or self._id()
        kept = {key: value for key, value in rule.items() if key not in {"id", "version"}}
        same = known and {**known, **kept} == known
        version = known["version"] if same else str(int(known.get("version", "0")) + 1)
        made = {
            "id": identifier,
            "ref": rule.get("ref") or identifier,
            "version": version,
            "enabled": True,
            "last_updated": known["last_updated"] if same else self._time(),
            **kept,
        }
        if rule.get("action") == "skip":
            made.setdefault("logging", {"enabled": True})
        if "ratelimit" in made:
            made["ratelimit"] = {"requests_to_origin": False, **made["ratelimit"]}
        return made

    def _new_ruleset(self, phase: str) -> dict[str, Any]:
        return {
            "id": self._id(),
            "name": "default",
            "description": "",
            "kind": "zone",
            "phase": phase,
            "version": "0",
            "last_updated": self._time(),
            "rules": [],
        }

    def _next_version(
        self, found: Mapping[str, Any], rules: list[dict[str, Any]]
    ) -> dict[str, Any]:
        version = str(int(found["version"]) + 1)
        return {**found, "version": version, "last_updated": self._time(), "rules": rules}

    def _id(self) -> str:
        self._made += 1
        return hashlib.sha256(f"rehearsal {self._made}".encode()).hexdigest()[:32]

    def _time(self) -> str:
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_RECORDS = "/zones/{zone_id}/dns_records"
_OBJECTS = {
    "/zones/{zone_id}/bot_management": "bot_management",
    "/zones/{zone_id}/cache/tiered_cache_smart_topology_enable": "tiered_cache",
    "/zones/{zone_id}/origin_tls_client_auth/settings": "origin_pulls",
    "/zones/{zone_id}/ssl/universal/settings": "universal_ssl",
    "/zones/{zone_id}/url_normalization": "url_normalization",
}


def _first_value(name: str) -> Any:
    """The first value that the schema allows for the setting `name`."""
    found = schema.operation("patch", f"/zones/{ZONE}/settings/{name}")
    assert found is not None  # noqa: S101 - the names come from the same document
    return _example(schema.value_schema(found))


def _example(described: Mapping[str, Any]) -> Any:
    if "enum" in described:
        return "off" if "off" in described["enum"] else described["enum"][0]
    if "anyOf" in described:
        return _example(schema.target(described["anyOf"][0]))
    kind = described.get("type")
    values = {"integer": 0, "number": 0, "boolean": False, "array": [], "string": ""}
    if kind in values:
        return values[str(kind)]
    return {
        key: _example(schema.target(described["properties"][key]))
        for key in described.get("required", ())
    }


def _without_rules(ruleset: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in ruleset.items() if key != "rules"}


async def _early(fault: Fault) -> Answer | None:
    """The answer of a fault that keeps the call from being done; None for the other kinds."""
    match fault.kind:
        case "429":
            retry = ("retry-after", str(int(fault.value)))
            return _failure(429, 10429, "Rate limited. Please wait", headers=(retry,))
        case "500" | "502" | "503":
            return _failure(int(fault.kind), 10000, "Internal error")
        case "refused":
            return _failure(200, 1004, "Something is wrong with this zone")
        case "denied":
            return _failure(403, 10000, "Authentication error")
        case "html":
            return Answer(200, b"<html>not the API</html>")
        case "cut":
            raise Cut
        case "slow":
            await asyncio.sleep(fault.value)
    return None


def _success(result: Any, numbers: Mapping[str, int] | None = None) -> Answer:
    body = {"success": True, "errors": [], "messages": [], "result": result}
    if numbers is not None:
        body["result_info"] = numbers
    return Answer(200, json.dumps(body).encode())


def _unknown(found: schema.Operation) -> Answer:
    said = f"the stand-in does not know {found.method.upper()} {found.path}"
    return _failure(404, 7000, said)


def _failure(
    status: int,
    code: int,
    message: str,
    pointer: str = "",
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    error: dict[str, Any] = {"code": code, "message": message}
    if pointer:
        error["source"] = {"pointer": pointer}
    body = {"success": False, "errors": [error], "messages": [], "result": None}
    return Answer(status, json.dumps(body).encode(), headers)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _server(config: Any) -> Any:
    """A server that leaves the signals of the process alone: Ctrl-C is the caller's."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(config)


@asynccontextmanager
async def serve(fake: Fake, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve `fake` and yield the URL of its API; port 0 takes a free one.

    Raises:
        Invalid: the port cannot be had.
    """
    import socket

    import uvicorn

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Invalid(f"cannot listen on {host}:{port}: {error.strerror}") from error
    config = uvicorn.Config(fake, log_level="critical", access_log=False, lifespan="off")
    server = _server(config)
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        # uvicorn has no event to wait for
        while not server.started and not running.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield f"http://{host}:{listener.getsockname()[1]}{PREFIX}"
    finally:
        server.should_exit = True
        await running
        listener.close()
