"""The HTTP kernel: every failure is a problem document, every list continues where it ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from insight_cloud.app import api
from insight_cloud.core import errors


class Body(BaseModel):
    name: Annotated[str, Field(max_length=5)]


def application() -> FastAPI:
    app = FastAPI()
    api.install(app)
    failures: dict[str, errors.InsightError] = {
        "missing": errors.Missing("no such thing"),
        "signed-out": errors.Unauthenticated("who is asking?"),
        "later": errors.Unavailable("later", retry_after=1.2),
        "limited": errors.RateLimited("too many", retry_after=30),
        "invalid": errors.Invalid("wrong", problems=(("/name", "too long"),)),
        "corrupt": errors.Corrupt("password=hunter2"),
    }

    @app.get("/api/fail/{name}")
    async def fail(name: str) -> None:
        raise failures.get(name) or RuntimeError("password=hunter2")

    @app.post("/api/body")
    async def body(body: Body) -> str:
        return body.name

    @app.get("/api/value")
    async def value(request: Request) -> Response:
        return api.reply(request, {"answer": 42})

    app.add_middleware(api.BodyLimit, limit_bytes=100, exempt=lambda path: path.endswith("/exempt"))
    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.parametrize(
    ("name", "status", "headers"),
    [
        ("missing", 404, {}),
        ("signed-out", 401, {"www-authenticate": "Bearer"}),
        ("later", 503, {"retry-after": "2"}),
        ("limited", 429, {"retry-after": "30"}),
        ("invalid", 422, {}),
        ("corrupt", 500, {}),
        ("bug", 500, {}),
    ],
)
async def test_a_failure_is_a_problem_document(
    client: httpx.AsyncClient, name: str, status: int, headers: dict[str, str]
) -> None:
    answer = await client.get(f"/api/fail/{name}")
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert headers.items() <= dict(answer.headers).items()
    assert "hunter2" not in answer.text


async def test_a_wrong_value_is_pointed_at(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/body", json={"name": "much too long"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/body/name"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/x", 404), ("PUT", "/api/value", 405)]
)
async def test_what_is_not_there_is_a_problem_too(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == answer.json()["status"] == status


async def test_what_the_client_has_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/api/value")
    assert first.json() == {"answer": 42}
    again = await client.get("/api/value", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def chunks(size: int) -> AsyncIterator[bytes]:
    yield b'{"name": "'
    for _ in range(size // 10):
        yield b"x" * 10
    yield b'"}'


@pytest.mark.parametrize("declared", [True, False])
async def test_a_large_body_is_refused(client: httpx.AsyncClient, *, declared: bool) -> None:
    content: Any = b"x" * 101 if declared else chunks(200)
    answer = await client.post("/api/body", content=content)
    assert answer.status_code == answer.json()["status"] == 413
    assert "100 bytes" in answer.json()["detail"]


async def test_an_exempt_path_has_its_own_limit(client: httpx.AsyncClient) -> None:
    answer = await client.post("/exempt", content=b"x" * 1000)
    assert answer.status_code == 404


@given(st.integers(-(2**63), 2**63 - 1), st.text())
def test_a_cursor_is_read_back(number: int, text: str) -> None:
    assert api.position(api.cursor(number, text), int, str) == (number, text)


def test_no_cursor_is_the_beginning() -> None:
    assert api.position(None, int) is None


@pytest.mark.parametrize("text", ["", "x", "%%%", "bnVsbA", "WzEsMl0", api.cursor("a"), "é"])
def test_what_is_not_a_cursor_is_refused(text: str) -> None:
    with pytest.raises(errors.Invalid) as refusal:
        api.position(text, int)
    assert refusal.value.problems[0][0] == "/query/cursor"


def test_the_description_speaks_of_problems_only() -> None:
    document = application().openapi()
    assert "HTTPValidationError" not in str(document)
    answers = document["paths"]["/api/body"]["post"]["responses"]
    assert {"200", "413", "422", "503"} <= answers.keys()
    assert "application/problem+json" in answers["422"]["content"]
