"""The application's routes: where they come from, and what is wrong with the rules for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from insight_cloud.core.asgi import Receive, Scope, Send
from insight_cloud.core.errors import Invalid, Missing, Unavailable
from insight_cloud.edge import Simulator, file, of_items, routes
from insight_cloud.edge.routes import Route
from insight_cloud.edge.samples import read
from tests.edge.support import asked

ROOT = Path(__file__).parents[2]


def _judged(found: list[Route], rules: dict[Any, Any], table: str = "") -> dict[str, str]:
    report = routes.check(found, Simulator(rules), read(table), "example.com")
    return {check.name: f"{check.status}: {check.detail}" for check in report.checks}


def _rules(action: str, expression: str, **parameters: Any) -> list[dict[str, Any]]:
    rule = {"ref": "ic:r", "action": action, "expression": expression}
    return [rule | ({"action_parameters": parameters} if parameters else {})]


def test_paths_methods_parameters_and_security_are_read() -> None:
    document = {
        "security": [{"bearer": []}],
        "paths": {
            "/items/{id}": {
                "parameters": [{"in": "path", "name": "id", "schema": {"type": "integer"}}],
                "get": {},
                "delete": {"security": []},
                "x-note": "no method",
            },
            "/kinds/{kind}/x": {
                "get": {
                    "security": [{}, {"bearer": []}],
                    "parameters": [
                        {"in": "path", "name": "kind", "schema": {"enum": ["a"]}},
                        {"$ref": "#/elsewhere"},
                    ],
                }
            },
            "/broken": [],
        },
    }
    assert routes.from_openapi(document) == [
        Route("GET", "/items/{id}", "/items/1", "api", private=True),
        Route("DELETE", "/items/{id}", "/items/1", "api"),
        Route("GET", "/kinds/{kind}/x", "/kinds/a/x", "api"),
    ]


def test_a_free_end_is_tried_as_a_file_too() -> None:
    found = routes.from_openapi({"paths": {"/a/{name}": {"get": {}, "post": {}}}})
    assert [route.path for route in found] == ["/a/x", "/a/x.png", "/a/x.js", "/a/x"]


def test_a_route_that_is_blocked_or_challenged_fails() -> None:
    api, page = Route("GET", "/api", "/api", "api"), Route("GET", "/p", "/p", "page")
    firewall = "http_request_firewall_custom"
    assert _judged([api, page], {firewall: _rules("block", "ssl")}) == {
        "GET /api": "fail: is blocked by r",
        "GET /p": "fail: is blocked by r",
    }
    assert _judged([api, page], {firewall: _rules("managed_challenge", "ssl")}) == {
        "GET /api": "fail: is challenged by r (managed_challenge); "
        "a program cannot solve a challenge",
        "GET /p": "warn: is challenged by r (managed_challenge)",
    }
    wished = '[routes]\nblocked = ["/p"]\n'
    assert _judged([page], {firewall: _rules("block", "ssl")}, wished) == {
        "GET /p": "pass: block by r"
    }
    assert _judged([page], {}, wished) == {"GET /p": "fail: shall be blocked, and passes"}


def test_a_route_that_might_be_blocked_is_told_with_the_field() -> None:
    page = Route("GET", "/p", "/p", "page")
    rules = {"http_request_firewall_custom": _rules("block", "cf.client.bot")}
    assert _judged([page], rules)["GET /p"] == "warn: block by r depends on cf.client.bot"
    known = '[defaults.known]\n"cf.client.bot" = false\n'
    assert _judged([page], rules, known)["GET /p"] == "pass: passes"


def test_what_is_cached_and_should_not_be_fails() -> None:
    private = Route("GET", "/me", "/me", "api", private=True)
    ttl = {"mode": "override_origin", "default": 60}
    phase = "http_request_cache_settings"
    cached = _rules("set_cache_settings", "ssl", cache=True, edge_ttl=ttl)
    assert _judged([private], {phase: cached})["GET /me"] == (
        "fail: a private answer is cached by r for 60 s, whatever its headers say"
    )
    assert _judged([private], {phase: cached}, '[routes]\npublic = ["/m*"]\n')["GET /me"] == (
        "pass: cached for 60 s"
    )
    polite = _rules("set_cache_settings", "ssl", cache=True)
    assert _judged([private], {phase: polite})["GET /me"].startswith("warn: a private answer")


def test_a_static_file_that_is_not_cached_is_told(tmp_path: Path) -> None:
    (tmp_path / "css").mkdir()
    (tmp_path / "css/a.css").touch()
    found = routes.from_files(tmp_path, "/static/")
    assert [route.path for route in found] == ["/static/css/a.css"]
    bypass = {"http_request_cache_settings": _rules("set_cache_settings", "ssl", cache=False)}
    assert _judged(found, bypass)["GET /static/css/a.css"] == "warn: is not cached: r"
    with pytest.raises(Missing):
        routes.from_files(tmp_path / "nothing", "/")


async def test_our_own_application_passes_the_shipped_rules() -> None:
    document = await routes.read_document(str(ROOT / "docs/reference/openapi.json"))
    want = asked()
    simulator = Simulator(want.rulesets, **of_items(want.items))
    table = read(file.default_samples())
    report = routes.check(routes.from_openapi(document), simulator, table, want.zone)
    assert report.checks
    assert [check for check in report.checks if check.status != "pass"] == []


class _Listed:
    """An application with a list of routes, as Starlette has, and no document."""

    def __init__(self) -> None:
        route = type("Route", (), {"path": "/p/{name:str}", "methods": {"GET"}})
        self.routes = [route(), object()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})


listed = _Listed()


async def test_an_application_is_asked_for_its_list_of_routes() -> None:
    found = await routes.from_app(f"{__name__}:listed")
    assert [route.path for route in found] == ["/p/x", "/p/x.png", "/p/x.js"]
    assert await routes.from_app(f"{__name__}:_Listed()") == found


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("nothing", Invalid),
        ("no.such.module:app", Missing),
        (f"{__name__}:nobody", Missing),
        (f"{__name__}:_nothing", Invalid),
    ],
)
async def test_what_is_no_application_is_told(place: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await routes.from_app(place)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


@pytest.mark.parametrize("text", ["{", "[]", '{"paths": 1}', "[" * 100_000])
async def test_what_is_no_document_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(text)
    with pytest.raises(Invalid):
        await routes.read_document(str(tmp_path / "openapi.json"))


async def test_a_document_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        await routes.read_document(str(tmp_path / "openapi.json"))
    with pytest.raises(Unavailable):
        await routes.read_document("http://127.0.0.1:9/openapi.json")
