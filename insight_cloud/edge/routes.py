"""The application's own routes through the rules: blocked, challenged, or wrongly cached?

Routes come from an OpenAPI document (a file, a URL, or an ASGI application) and from a folder of
static files. An application that lists its `routes` is asked for the pages that it documents
nowhere.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import httpx

from insight_cloud.core.errors import Invalid, Missing, Unavailable
from insight_cloud.core.report import Check, Report, Status
from insight_cloud.edge.language import Request
from insight_cloud.edge.phases import ENDING
from insight_cloud.edge.samples import Samples
from insight_cloud.edge.simulate import Simulator, Verdict

__all__ = ["Route", "check", "from_app", "from_files", "from_openapi", "read_document"]

_MOST_BYTES = 32 * 1024 * 1024
_MOST_FILES = 100_000
_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
_VARIABLE = re.compile(r"\{([^}:]+)(?::([^}]+))?\}")
_PROGRAM = "python-httpx/0.28"
_STATIC_SUFFIXES = (".png", ".js")
"""What an attacker appends to a path so that it looks like a file: web cache deception."""


@dataclass(frozen=True, slots=True)
class Route:
    """One path of the application, as a client would ask for it."""

    method: str
    template: str
    path: str
    kind: Literal["api", "page", "static"]
    private: bool = False
    """Whether it is for signed-in people only, as far as the application says."""

    def __str__(self) -> str:
        shown = self.template if self.path.count("/") == self.template.count("/") else self.path
        suffix = next((s for s in _STATIC_SUFFIXES if self.path.endswith(s)), "")
        dressed = suffix and not shown.endswith(suffix)
        return f"{self.method} {shown}" + (f" as {self.path}" if dressed else "")


# -- where routes come from ----------------------------------------------------------------


async def read_document(place: str) -> Mapping[str, Any]:
    """The OpenAPI document at `place`, a URL or a file.

    Raises:
        Missing: there is no such file.
        Unavailable: the URL does not answer.
        Invalid: it is no OpenAPI document.
    """
    if place.startswith(("http://", "https://")):
        content = await _fetched(place)
    else:
        try:
            content = Path(place).read_bytes()  # noqa: ASYNC240 - once, before anything runs
        except OSError as error:
            raise Missing(f"cannot read {place}: {error.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise Invalid(f"{place} is larger than any OpenAPI document")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{place} is not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise Invalid(f"{place} is no OpenAPI document: it has no paths")
    return document


async def _fetched(url: str) -> bytes:
    try:
        async with httpx.AsyncClient(timeout=30, follow_redirects=True) as http:
            answer = await http.get(url)
    except httpx.HTTPError as error:
        raise Unavailable(f"{url} does not answer: {str(error) or type(error).__name__}") from error
    if not answer.is_success:
        raise Unavailable(f"{url} answers HTTP {answer.status_code}")
    return answer.content


async def from_app(place: str) -> list[Route]:
    """The routes of the ASGI application `module:name`, or of what `module:name()` returns.

    Raises:
        Missing: there is no such module or name.
        Invalid: it gives no routes.
    """
    app = _imported(place)
    document = await _document_of(app)
    routes = [] if document is None else from_openapi(document)
    known = {(route.method, route.template) for route in routes}
    routes += [route for route in _listed(app) if (route.method, route.template) not in known]
    if not routes:
        raise Invalid(f"{place} has neither an OpenAPI document nor a list of routes")
    return routes


def from_openapi(document: Mapping[str, Any]) -> list[Route]:
    """One route for each path and method, and more where the path's end is free."""
    routes = []
    everywhere = bool(document.get("security"))
    for template, methods in document["paths"].items():
        if not isinstance(methods, dict):
            continue
        shared = methods.get("parameters") or []
        for method in _METHODS:
            described = methods.get(method)
            if not isinstance(described, dict):
                continue
            parameters = [*shared, *(described.get("parameters") or [])]
            security = described.get("security")
            private = everywhere if security is None else bool(security) and {} not in security
            path = _filled(template, _schemas(parameters))
            route = Route(method.upper(), template, path, "api", private)
            routes += [route, *_dressed(route)]
    return routes


def from_files(folder: Path, prefix: str) -> list[Route]:
    """One route for each file below `folder`, served at `prefix`.

    Raises:
        Missing: there is no such folder.
        Invalid: it holds too many files.
    """
    if not folder.is_dir():
        raise Missing(f"there is no folder {folder}")
    routes: list[Route] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            url = f"{prefix.rstrip('/')}/{path.relative_to(folder).as_posix()}"
            routes.append(Route("GET", url, url, "static"))
        if len(routes) > _MOST_FILES:
            raise Invalid(f"{folder} holds more than {_MOST_FILES} files")
    return routes


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    if not name:
        raise Invalid(f"{place!r} is not MODULE:NAME")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise Missing(f"cannot import {module}: {error}") from error
    try:
        app = getattr(found, name.removesuffix("()"))
    except AttributeError:
        raise Missing(f"there is no {name} in {module}") from None
    return app() if name.endswith("()") else app


async def _document_of(app: Any) -> Mapping[str, Any] | None:
    if callable(getattr(app, "openapi", None)):
        document: Mapping[str, Any] = app.openapi()
        return document
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as http:
        answer = await http.get("/openapi.json")
    try:
        found = answer.json()
    except ValueError:
        return None
    return found if answer.is_success and isinstance(found.get("paths"), dict) else None


def _listed(app: Any) -> Iterator[Route]:
    """The routes of an application that has a list of them, such as Starlette's."""
    for route in getattr(app, "routes", ()):
        template, methods = getattr(route, "path", None), getattr(route, "methods", None)
        if not isinstance(template, str) or not methods:
            continue
        kind: Literal["api", "page"] = "api" if template.startswith("/api/") else "page"
        for method in sorted(methods):
            found = Route(method, template, _filled(template, {}), kind)
            yield found
            yield from _dressed(found)


def _schemas(parameters: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    return {
        parameter["name"]: parameter.get("schema") or {}
        for parameter in parameters
        if isinstance(parameter, dict) and parameter.get("in") == "path" and "name" in parameter
    }


def _filled(template: str, schemas: Mapping[str, Mapping[str, Any]]) -> str:
    return _VARIABLE.sub(lambda found: _value(schemas.get(found[1], {}), found[2]), template)


def _value(schema: Mapping[str, Any], converter: str | None) -> str:
    if schema.get("enum"):
        return str(schema["enum"][0])
    if schema.get("type") == "integer" or converter in {"int", "float"}:
        return "1"
    if schema.get("format") == "uuid" or converter == "uuid":
        return "00000000-0000-4000-8000-000000000000"
    return "x"


def _dressed(route: Route) -> Iterator[Route]:
    """The same route with an end that looks like a static file, where its last part is free."""
    if route.method == "GET" and route.template.endswith("}") and route.path.endswith("/x"):
        for suffix in _STATIC_SUFFIXES:
            yield replace(route, path=f"{route.path}{suffix}")


# -- what becomes of them ------------------------------------------------------------------


def check(routes: Sequence[Route], simulator: Simulator, samples: Samples, zone: str) -> Report:
    """One check for each route: it passes, and nothing of it is cached that should not be."""
    return Report.of(_check(route, simulator, samples, zone) for route in routes)


def _check(route: Route, simulator: Simulator, samples: Samples, zone: str) -> Check:
    verdict = simulator.judge(_request(route, samples, zone))
    status: Status = "pass"
    detail = _kept(verdict)
    for found in (_ended(route, verdict, samples), _cached(route, verdict, samples)):
        if found is not None and (status == "pass" or found[0] == "fail"):
            status, detail = found
    return Check(str(route), status, detail)


def _request(route: Route, samples: Samples, zone: str) -> Request:
    headers = dict(samples.defaults.headers)
    if route.kind == "api":
        headers = {"User-Agent": _PROGRAM}
    if route.private:
        headers["Authorization"] = "Bearer x"
    return Request(
        f"https://{zone}{route.path}",
        route.method,
        tuple((name, value) for name, value in headers.items() if value),
        known=samples.defaults.known,
    )


def _ended(route: Route, verdict: Verdict, samples: Samples) -> tuple[Status, str] | None:
    if _named(route, samples.routes.blocked):
        return None if verdict.ended else ("fail", "shall be blocked, and passes")
    return _stopped(route, verdict) if verdict.ended else _doubtful(verdict)


def _stopped(route: Route, verdict: Verdict) -> tuple[Status, str]:
    if verdict.action == "redirect":
        return ("warn", f"is redirected to {verdict.location} by {verdict.rule}")
    if verdict.action == "block":
        return ("fail", f"is blocked by {verdict.rule}")
    said = f"is challenged by {verdict.rule} ({verdict.action})"
    if route.kind == "api":
        return ("fail", f"{said}; a program cannot solve a challenge")
    return ("warn", said)


def _doubtful(verdict: Verdict) -> tuple[Status, str] | None:
    for doubt in verdict.doubts:
        if doubt.action in ENDING:
            fields = ", ".join(doubt.fields) or "what is not known here"
            return ("warn", f"{doubt.action} by {doubt.rule} depends on {fields}")
    return None


def _cached(route: Route, verdict: Verdict, samples: Samples) -> tuple[Status, str] | None:
    if route.kind == "static":
        bypassed = verdict.cache == "bypass" and not verdict.ended
        return ("warn", f"is not cached: {verdict.cache_rule}") if bypassed else None
    if verdict.ended or _named(route, samples.routes.public):
        return None
    if verdict.cache == "by extension":
        return ("warn", "is cached for its extension unless its headers forbid it")
    return _kept_wrongly(route, verdict) if verdict.cache == "cache" else None


def _kept_wrongly(route: Route, verdict: Verdict) -> tuple[Status, str]:
    who = "a private answer" if route.private else "an answer of the application"
    said = f"{who} is cached by {verdict.cache_rule}"
    if verdict.edge_seconds is None or verdict.armored:
        return ("warn", f"{said} when its headers allow it")
    return ("fail", f"{said} for {verdict.edge_seconds} s, whatever its headers say")


def _named(route: Route, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(route.path, pattern) for pattern in patterns)


def _kept(verdict: Verdict) -> str:
    if verdict.ended:
        return f"{verdict.action} by {verdict.rule}"
    if verdict.edge_seconds is not None:
        return f"cached for {verdict.edge_seconds} s"
    return {"default": "passes", "bypass": "passes, never cached"}.get(verdict.cache, "passes")
