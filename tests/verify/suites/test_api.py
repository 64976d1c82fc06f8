"""A good API passes; in a bad one, each question finds its own fault."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import FastAPI, HTTPException, Security
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from insight_cloud.verify.suites import api
from tests.verify.sites import Site, asked, serving, statuses


class Item(BaseModel):
    id: int
    name: str


_DOCUMENTED: dict[int | str, dict[str, Any]] = {200: {"model": Item}}
_PRIVATE: dict[str, Any] = {"security": [{"HTTPBearer": []}]}


def good() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{number}")
    async def item(number: int) -> Item:
        return Item(id=number, name="tea")

    @app.get("/mine", responses={401: {}, 403: {}})
    async def mine(secret: Annotated[Any, Security(HTTPBearer())]) -> Item:
        if secret.credentials != "right":
            raise HTTPException(401, "no")
        return Item(id=1, name="mine")

    return app


def bad() -> FastAPI:
    app = good()

    @app.get("/crash")
    async def crash(number: int) -> Item:
        return Item(id=number // 0, name="")

    @app.get("/teapot")
    async def teapot() -> Item:
        raise HTTPException(418, "I am one")

    @app.get("/shape", responses=_DOCUMENTED)
    async def shape() -> JSONResponse:
        return JSONResponse({"id": "no number"})

    @app.get("/text", responses=_DOCUMENTED)
    async def text() -> PlainTextResponse:
        return PlainTextResponse("tea")

    @app.get(
        "/lax",
        responses={422: {}},
        openapi_extra={
            "parameters": [
                {"in": "query", "name": "n", "required": True, "schema": {"type": "integer"}}
            ]
        },
    )
    async def lax() -> Item:
        return Item(id=1, name="")

    @app.get("/open", openapi_extra=_PRIVATE)
    async def for_anybody() -> Item:
        return Item(id=1, name="")

    return app


NOT_FOUND_IN_BAD = {"other methods are refused"}
"""FastAPI refuses them by itself; see the test of its own."""


@pytest.mark.timeout(300)
async def test_every_fault_of_an_api_is_found_and_a_good_one_has_none() -> None:
    questions = {question for _, question in api.KINDS.values()}
    async with serving(good()) as url:
        checks = await asked(api, url)
    assert {check.status for check in checks.values()} == {"pass"}, statuses(checks)
    async with serving(bad()) as url:
        checks = await asked(api, url)
    failed = {name for name, check in checks.items() if check.status == "fail"}
    assert failed == questions - NOT_FOUND_IN_BAD, statuses(checks)
    assert checks["nothing makes it fail (5xx)"].evidence == ("GET /crash",)
    assert "GET /open" in checks["nobody gets in without signing in"].evidence
    assert "--allow-writes tries the rest" in checks["the operations are tried"].detail


@pytest.mark.timeout(300)
async def test_with_writes_other_methods_and_bodies_are_tried() -> None:
    app, changed = FastAPI(), []

    @app.post("/items", responses={422: {}})
    async def make(item: Item) -> Item:
        changed.append(item)
        return item

    @app.get("/any")
    async def documented() -> Item:
        return Item(id=1, name="")

    others = ["POST", "PUT", "PATCH", "DELETE", "TRACE"]

    @app.api_route("/any", methods=others, include_in_schema=False)
    async def not_documented() -> Item:
        return Item(id=1, name="")

    async with serving(app) as url:
        checks = await asked(api, url)
        assert changed == []
        assert checks["the operations are tried"].detail.startswith("1 operations")
        checks = await asked(api, url, writes=True)
    assert changed
    assert checks["other methods are refused"].status == "fail", statuses(checks)


async def test_no_description_is_not_run_and_a_broken_one_fails() -> None:
    async with serving(Site()) as url:
        checks = await asked(api, url)
    assert {check.status for check in checks.values()} == {"not run"}
    document = good().openapi()
    document["paths"]["/gone"] = {"get": {"responses": {}}}
    document["paths"]["/lost"] = {"get": {"responses": {"200": {"$ref": "#/components/x/Y"}}}}
    found = await api._whole(document)
    assert found.status == "fail"
    assert found.evidence == ("#/components/x/Y does not exist", "GET /gone has no responses")
    assert (await api._whole({"paths": {}})).status == "fail"


async def test_a_site_that_is_away_is_an_error() -> None:
    checks = await asked(api, "http://127.0.0.1:1")
    assert checks["the API is described"].status == "error"


def test_requests_that_the_rate_limit_stopped_prove_nothing() -> None:
    report = {
        "operations": {"tested": 3},
        "test_cases": {"generated": 9},
        "errors": [],
        "warnings": {"rate_limited": ["GET /"]},
    }
    assert api._tried(report, writes=True).status == "error"
    assert api._tried(report | {"errors": ["x"]}, writes=True).status == "error"
    untested = report | {"operations": {"tested": 0}}
    assert api._tried(untested, writes=False).status == "not run"
