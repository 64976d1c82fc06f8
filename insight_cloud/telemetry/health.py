"""Health over HTTP: `/livez`, `/readyz`, `/startupz`, `/api/health`, as health+json.

The body follows draft-inadarei-api-health-check-06, the paths and `?verbose`, `?exclude=` those
of Kubernetes. What is asked stands behind callables, so that nothing here knows a database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs

import msgspec

from insight_cloud.core.asgi import App, Receive, Scope, Send, send_problem
from insight_cloud.core.report import Check, Report, stopwatch
from insight_cloud.telemetry.logs import redact
from insight_cloud.telemetry.metrics import Allowed, is_allowed, nobody
from insight_cloud.telemetry.middleware import ROUTE

__all__ = ["PATHS", "Health", "Kind", "Probe"]

log = logging.getLogger("insight.health")

Kind: TypeAlias = Literal["live", "ready", "startup", "all"]
PATHS: dict[str, Kind] = {
    "/livez": "live",
    "/readyz": "ready",
    "/startupz": "startup",
    "/api/health": "all",
}
"""Where each question is asked."""

_DRAINING = Check("process.draining", "fail", "shutting down: send new requests elsewhere")


@dataclass(frozen=True, slots=True)
class Probe:
    """A question to one component.

    `check` returns what it found; an exception is a failure. `component` is the draft's
    `componentType`. With `required=False` it is asked by `/api/health` only: its failure is
    worth knowing and no reason to send requests elsewhere.
    """

    name: str
    check: Callable[[], Awaitable[Iterable[Check]]]
    timeout_seconds: float = 2.0
    component: Literal["component", "datastore", "system"] = "component"
    required: bool = True


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a probe found, and when."""

    probe: Probe
    at: datetime
    checks: tuple[Check, ...]


class Health:
    """An ASGI application that answers the four paths, and hands on every other one.

    `/livez` says only that this process answers: a restart would not bring a lost database
    back. `/startupz` fails until each startup probe has passed once. `/readyz` asks the required
    probes, `/api/health` all of them. The status is 200 for pass and warn, 503 for fail.

    Args:
        probes: for `/readyz` and `/api/health`.
        startup: for `/startupz`; until they have passed, `/readyz` fails too.
        app: gets the requests to other paths; without one they are answered 404.
        allowed: who sees the single checks, with `?verbose` or at `/api/health`; others see the
            status alone. By default nobody.
        cache_seconds: how long an answer is repeated; callers at one time share one question.
        version: the service's public version, `release` its exact one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        probes: Sequence[Probe] = (),
        *,
        startup: Sequence[Probe] = (),
        app: App | None = None,
        allowed: Allowed = nobody,
        cache_seconds: float = 1.0,
        version: str = "",
        release: str = "",
        service: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probes = tuple(probes)
        self._startup = tuple(startup)
        self._app = app
        self._allowed = allowed
        named = {"version": version, "releaseId": release, "serviceId": service}
        self._identity = {name: text for name, text in named.items() if text}
        self._known = {probe: _Asked(probe, cache_seconds, clock) for probe in (*probes, *startup)}
        self._started = not startup
        self._draining = False

    def drain(self) -> None:
        """Fail `/readyz` from now on, so that balancers send no more; `/livez` still passes."""
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        kind = PATHS.get(scope.get("path", "")) if scope["type"] == "http" else None
        if kind is not None:
            scope[ROUTE] = scope["path"]  # one of four
        if kind is None and self._app is not None:
            await self._app(scope, receive, send)
        elif kind is None:
            await send_problem(send, 404, _problem(404, "Nothing is here"))
        elif scope["method"] not in {"GET", "HEAD"}:
            allow = [(b"allow", b"GET, HEAD")]
            await send_problem(send, 405, _problem(405, "Health is read"), allow)
        else:
            await self._answer(scope, send, kind)

    async def report(self, kind: Kind, *, exclude: Iterable[str] = ()) -> Report:
        """Ask the probes of `kind`, except for those whose names are in `exclude`."""
        answers = await self._ask(kind, frozenset(exclude))
        return Report.of(check for answer in answers for check in answer.checks)

    async def _answer(self, scope: Scope, send: Send, kind: Kind) -> None:
        query = scope.get("query_string", b"").decode("latin-1")
        asked = parse_qs(query, keep_blank_values=True)
        exclude = frozenset(asked.get("exclude", ()))
        answers = await self._ask(kind, exclude)
        status = _status(check for answer in answers for check in answer.checks)
        body: dict[str, Any] = {"status": status}
        if (kind == "all" or "verbose" in asked) and await is_allowed(self._allowed, scope):
            unknown = exclude - {probe.name for probe in self._known}
            body |= self._identity | _details(answers, unknown)
        content = msgspec.json.encode(body)
        headers = [
            (b"content-type", b"application/health+json"),
            (b"content-length", str(len(content)).encode()),
            (b"cache-control", b"no-store"),
        ]
        code = 503 if status == "fail" else 200
        await send({"type": "http.response.start", "status": code, "headers": headers})
        shown = content if scope["method"] == "GET" else b""
        await send({"type": "http.response.body", "body": shown})

    async def _ask(self, kind: Kind, exclude: frozenset[str]) -> list[_Answer]:
        if kind == "live":
            return [_process(Check("process.alive", "pass"))]
        required = [probe for probe in self._probes if probe.required]
        probes = {"ready": required, "all": self._probes, "startup": ()}[kind]
        pending = [] if self._started else self._startup
        wanted = [one for one in dict.fromkeys((*pending, *probes)) if one.name not in exclude]
        answers = await asyncio.gather(*(self._known[probe]() for probe in wanted))
        passed = {answer.probe for answer in answers if not Report(answer.checks).failed}
        self._started = self._started or passed.issuperset(self._startup)
        if self._draining and kind == "ready":
            return [_process(_DRAINING), *answers]
        return answers


class _Asked:
    """A probe with its last answer; callers at one time share one question."""

    def __init__(self, probe: Probe, cache_seconds: float, clock: Callable[[], float]) -> None:
        self._probe = probe
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._answer: _Answer | None = None
        self._expires = 0.0
        self._sharing: asyncio.Task[_Answer] | None = None
        self._asking: asyncio.Task[Iterable[Check]] | None = None

    async def __call__(self) -> _Answer:
        if self._answer is not None and self._clock() < self._expires:
            return self._answer
        if self._sharing is None:
            self._sharing = asyncio.create_task(self._ask())
            self._sharing.add_done_callback(self._shared)
        # A caller that goes away must not end the question of the others.
        return await asyncio.shield(self._sharing)

    def _shared(self, _: asyncio.Task[_Answer]) -> None:
        self._sharing = None

    async def _ask(self) -> _Answer:
        with stopwatch() as watch:
            checks = await self._checks()
        named = tuple(
            replace(check, seconds=check.seconds or watch.seconds)
            if check.name == self._probe.name
            else check
            for check in checks
        )
        self._answer = _Answer(self._probe, datetime.now(UTC), named)
        self._expires = self._clock() + self._cache_seconds
        return self._answer

    async def _checks(self) -> Iterable[Check]:
        name, limit = self._probe.name, self._probe.timeout_seconds
        if self._asking is not None and not self._asking.done():
            return [Check(name, "fail", "an earlier question has not been answered yet")]
        # Waited for from outside: a probe that does not heed its cancellation holds nobody up.
        self._asking = asyncio.ensure_future(self._probe.check())
        await asyncio.wait({self._asking}, timeout=limit)
        if not self._asking.done():
            self._asking.cancel()
            return [Check(name, "fail", f"no answer in {limit:g} s", limit)]
        if self._asking.cancelled():
            return [Check(name, "fail", "the question was cancelled")]
        if (error := self._asking.exception()) is not None:
            log.error("health.probe_failed: %s", name, exc_info=error)
            return [Check(name, "fail", f"{type(error).__name__}: {error}")]
        return self._asking.result()


def _process(check: Check) -> _Answer:
    return _Answer(Probe("process", _nothing), datetime.now(UTC), (check,))


async def _nothing() -> Iterable[Check]:
    return ()


def _status(checks: Iterable[Check]) -> str:
    """The worst status in the draft's words; where nothing was checked nothing is wrong."""
    status = Report.of(checks).status
    return "pass" if status == "skip" else status


def _details(answers: Iterable[_Answer], unknown: Iterable[str]) -> dict[str, Any]:
    """The draft's `checks`. What was skipped is no pass: it stands in `notes`, with its reason."""
    checks: dict[str, list[dict[str, Any]]] = {}
    notes = [f"no probe is called {name!r}" for name in sorted(unknown)]
    for answer in answers:
        for check in answer.checks:
            if check.status == "skip":
                notes.append(f"{check.name} was not checked: {redact(check.detail)}")
            else:
                checks.setdefault(_key(check), []).append(_detail(answer, check))
    return {"checks": checks, **({"notes": notes} if notes else {})}


def _key(check: Check) -> str:
    """`component:measurement` from our `component.measurement`."""
    component, _, measurement = check.name.partition(".")
    return f"{component}:{measurement or 'responseTime'}"


def _detail(answer: _Answer, check: Check) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "status": check.status,
        "componentType": answer.probe.component,
        "time": answer.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if check.seconds:
        detail |= {"observedValue": round(check.seconds * 1000, 3), "observedUnit": "ms"}
    elif check.status == "pass" and check.detail:
        detail["observedValue"] = redact(check.detail)
    if check.status != "pass":
        detail["output"] = redact(check.detail)
    return detail


def _problem(status: int, title: str) -> bytes:
    return msgspec.json.encode({"type": "about:blank", "title": title, "status": status})
