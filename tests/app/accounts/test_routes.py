from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from insight_cloud.app.accounts import secret
from tests.app.accounts.house import PASSWORD, House, bearer

TABLES = ("users", "sessions", "refresh_tokens", "api_tokens", "projects")
HOSTILE = ["\x00", "a\x00b", "x" * 10_000, "\x1b[31m", "a\r\nset-cookie: x=1", "\u202ecba"]
WRONG_VALUES: list[Any] = [None, 1, True, [], {}, ["a"], {"a": "b"}, "\ud800"]


async def _tokens(house: House, name: str = "ada") -> dict[str, Any]:
    answer = await house.http.post(
        "/api/v1/auth/token", json={"email": f"{name}@example.com", "password": PASSWORD}
    )
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


async def _rows(house: House) -> list[int]:
    return [await house.count(table) for table in TABLES]


async def test_a_person_registers_gets_tokens_and_is_known(house: House) -> None:
    registered = await house.http.post(
        "/api/v1/auth/register",
        json={"email": " Ada@Example.com ", "name": "Ada O'Hara", "password": PASSWORD},
    )
    assert registered.status_code == 201, registered.text
    assert registered.json()["email"] == "Ada@Example.com"
    assert "password" not in registered.text
    tokens = await house.http.post(
        "/api/v1/auth/token", json={"email": "ADA@example.com", "password": PASSWORD}
    )
    assert tokens.status_code == 200, tokens.text
    assert tokens.headers["cache-control"] == "no-store"
    assert tokens.json()["expires_in"] == 900
    assert tokens.json()["token_type"] == "Bearer"
    me = await house.http.get("/api/v1/me", headers=bearer(tokens.json()["access_token"]))
    assert me.status_code == 200
    assert me.json() == {
        "kind": "access",
        "id": registered.json()["id"],
        "email": "Ada@Example.com",
        "name": "Ada O'Hara",
        "is_admin": False,
        "scopes": ["admin", "ingest", "read", "triage"],
        "project": None,
    }


async def test_closed_registration_is_refused(house: House) -> None:
    house.close_registration()
    answer = await house.http.post(
        "/api/v1/auth/register",
        json={"email": "ada@example.com", "name": "Ada", "password": PASSWORD},
    )
    assert answer.status_code == 403
    assert await house.count("users") == 0


async def test_nobody_registers_as_administrator(house: House) -> None:
    answer = await house.http.post(
        "/api/v1/auth/register",
        json={"email": "a@b.c", "name": "Ada", "password": PASSWORD, "is_admin": True},
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/body/is_admin"
    assert await house.count("users") == 0


async def test_wrong_and_unknown_look_the_same(house: House) -> None:
    await house.user("ada")
    answers = [
        await house.http.post("/api/v1/auth/token", json={"email": email, "password": "x" * 12})
        for email in ("ada@example.com", "eve@example.com", "not an address")
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert len({str(sorted(answer.headers.items())) for answer in answers}) == 1


async def test_a_refresh_token_works_once_over_http(house: House) -> None:
    await house.user("ada")
    first = await _tokens(house)
    body = {"refresh_token": first["refresh_token"]}
    second = await house.http.post("/api/v1/auth/refresh", json=body)
    assert second.status_code == 200
    assert second.headers["cache-control"] == "no-store"
    assert (await house.http.post("/api/v1/auth/refresh", json=body)).status_code == 401
    ended = await house.http.get("/api/v1/me", headers=bearer(second.json()["access_token"]))
    assert ended.status_code == 401


async def test_of_many_refreshes_over_http_one_succeeds(house: House) -> None:
    await house.user("ada")
    body = {"refresh_token": (await _tokens(house))["refresh_token"]}
    answers = await asyncio.gather(
        *(house.http.post("/api/v1/auth/refresh", json=body) for _ in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + 5 * [401]


@pytest.mark.parametrize("way", ["access", "refresh"])
async def test_logging_out_ends_the_family(house: House, way: str) -> None:
    await house.user("ada")
    tokens = await _tokens(house)
    if way == "access":
        headers = bearer(tokens["access_token"])
        done = await house.http.post("/api/v1/auth/logout", headers=headers)
    else:
        body = {"refresh_token": tokens["refresh_token"]}
        done = await house.http.post("/api/v1/auth/logout", json=body)
    assert done.status_code == 204
    assert done.content == b""
    assert await house.count("sessions") == 0
    assert await house.count("refresh_tokens") == 0


async def test_nobody_logs_out(house: House) -> None:
    assert (await house.http.post("/api/v1/auth/logout")).status_code == 401
    body = {"refresh_token": secret.make("refresh")}
    assert (await house.http.post("/api/v1/auth/logout", json=body)).status_code == 204


async def test_a_token_is_made_shown_once_listed_and_revoked(house: House) -> None:
    headers = await house.person("ada")
    made = await house.http.post(
        "/api/v1/tokens", json={"name": "ci", "scopes": ["ingest"]}, headers=headers
    )
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    assert made.json()["details"]["expires_at"] == "2027-03-01T12:00:00Z"
    token = made.json()["token"]
    me = (await house.http.get("/api/v1/me", headers=bearer(token))).json()
    assert (me["kind"], me["scopes"]) == ("token", ["ingest"])
    listed = await house.http.get("/api/v1/tokens", headers=headers)
    assert token not in listed.text
    (details,) = listed.json()
    assert details["last_used_at"] == "2026-03-01T12:00:00Z"
    gone = await house.http.delete(f"/api/v1/tokens/{details['id']}", headers=headers)
    assert gone.status_code == 204
    assert (await house.http.get("/api/v1/me", headers=bearer(token))).status_code == 401


async def test_a_token_is_for_a_project_within_its_makers_role(house: House) -> None:
    ada, bob, eve = [await house.person(name) for name in ("ada", "bob", "eve")]
    project = {"slug": "demo", "name": "Demo"}
    assert (await house.http.post("/api/v1/projects", json=project, headers=ada)).is_success
    role = await house.http.put(
        "/api/v1/projects/demo/members/bob@example.com", json={"role": "viewer"}, headers=ada
    )
    assert role.status_code == 204, role.text

    async def make(headers: dict[str, str], scope: str, project: str = "demo") -> int:
        body = {"name": "ci", "scopes": [scope], "project": project}
        answer = await house.http.post("/api/v1/tokens", json=body, headers=headers)
        return answer.status_code

    assert [await make(ada, scope) for scope in ("ingest", "read", "triage", "admin")] == 4 * [201]
    assert [await make(bob, scope) for scope in ("ingest", "triage", "admin")] == 3 * [403]
    assert await make(bob, "read") == 201
    assert await make(eve, "read") == 404
    assert await make(eve, "read", "nothing") == 404


@pytest.mark.parametrize("field", ["email", "name", "password"])
async def test_registering_with_nonsense_stores_nothing(house: House, field: str) -> None:
    good = {"email": "ada@example.com", "name": "Ada", "password": PASSWORD}
    for value in [*HOSTILE, *WRONG_VALUES]:
        await _refused_without_a_trace(
            house, "/api/v1/auth/register", good | {field: value}, field, {}
        )


@pytest.mark.parametrize("field", ["email", "password"])
async def test_signing_in_with_nonsense_stores_nothing(house: House, field: str) -> None:
    good = {"email": "ada@example.com", "password": PASSWORD}
    for value in ["x" * 10_000, *WRONG_VALUES]:
        await _refused_without_a_trace(
            house, "/api/v1/auth/token", good | {field: value}, field, {}
        )


@pytest.mark.parametrize("field", ["name", "scopes", "project", "days"])
async def test_a_token_of_nonsense_is_not_made(house: House, field: str) -> None:
    headers = await house.person("ada")
    good = {"name": "ci", "scopes": ["read"], "project": None, "days": 1}
    for value in [*HOSTILE, {}, "\ud800", -1, 10**30, [], ["root"], ["read", "\x00"]]:
        await _refused_without_a_trace(
            house, "/api/v1/tokens", good | {field: value}, field, headers
        )


async def test_refreshing_with_nonsense_is_refused(house: House) -> None:
    for value in ["", "' or 1=1 --", "x" * 10_000, "\x00", *WRONG_VALUES]:
        answer = await house.http.post(
            "/api/v1/auth/refresh",
            content=_json({"refresh_token": value}),
            headers={"content-type": "application/json"},
        )
        assert answer.status_code in {401, 422}
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["Robert'); drop table users; --", "<script>alert(1)</script>"])
async def test_a_name_is_data_and_comes_back_as_it_went_in(house: House, name: str) -> None:
    answer = await house.http.post(
        "/api/v1/auth/register",
        json={"email": "ada@example.com", "name": name, "password": PASSWORD},
    )
    assert answer.status_code == 201
    assert answer.json()["name"] == name
    assert answer.headers["content-type"] == "application/json"
    assert await house.count("users") == 1


async def test_an_id_that_is_none_is_refused(house: House) -> None:
    headers = await house.person("ada")
    for token_id in ["1", "x", "%00", "..%2Fme", "0" * 10_000]:
        answer = await house.http.delete(f"/api/v1/tokens/{token_id}", headers=headers)
        assert answer.status_code in {404, 422}
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_that_is_none_is_refused(house: House) -> None:
    for body in [b"", b"{", b"null", b"[]", b"\xff", b'{"email":"a","email":"b"}']:
        answer = await house.http.post(
            "/api/v1/auth/token", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code in {400, 422}
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_answers_are_as_the_openapi_says(house: House) -> None:
    document = house.app.openapi()
    assert {"HTTPBearer", "APIKeyCookie"} <= set(document["components"]["securitySchemes"])
    assert document["paths"]["/api/v1/me"]["get"]["security"]
    headers = await house.person("ada")
    body = {"name": "ci", "scopes": ["read"], "days": None}
    made = await house.http.post("/api/v1/tokens", json=body, headers=headers)
    for answer, path, method, status in (
        (made, "/api/v1/tokens", "post", "201"),
        (await house.http.get("/api/v1/tokens", headers=headers), "/api/v1/tokens", "get", "200"),
        (await house.http.get("/api/v1/me", headers=headers), "/api/v1/me", "get", "200"),
        (await house.http.get("/api/v1/me"), "/api/v1/me", "get", "401"),
    ):
        assert str(answer.status_code) == status
        described = document["paths"][path][method]["responses"][status]["content"]
        schema = next(iter(described.values()))["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": document["components"]})


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


async def _refused_without_a_trace(
    house: House, path: str, body: Any, field: str, headers: dict[str, str]
) -> None:
    before = await _rows(house)
    answer = await house.http.post(
        path, content=_json(body), headers={"content-type": "application/json"} | headers
    )
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    pointers = [fault["pointer"] for fault in answer.json()["errors"]]
    assert pointers
    assert all(pointer.startswith(f"/body/{field}") for pointer in pointers), answer.text
    assert len(answer.content) < 2_000
    assert await _rows(house) == before
