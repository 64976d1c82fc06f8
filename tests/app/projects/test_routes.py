from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest

from tests.app.accounts.house import House, bearer

HOSTILE: list[Any] = ["\x00", "a\x00b", "x" * 10_000, "\ud800", None, 1, [], {}, "\u202ecba"]


async def _make(house: House, headers: dict[str, str], slug: str = "demo") -> None:
    answer = await house.http.post(
        "/api/v1/projects", json={"slug": slug, "name": slug.title()}, headers=headers
    )
    assert answer.status_code == 201, answer.text


async def test_a_project_is_made_shown_changed_and_deleted(house: House) -> None:
    ada = await house.person("ada")
    await _make(house, ada)
    shown = await house.http.get("/api/v1/projects/demo", headers=ada)
    assert shown.status_code == 200
    project = shown.json()
    assert set(project) == {
        "id",
        "slug",
        "name",
        "default_branch",
        "created_at",
        "role",
        "public_badge",
        "privacy",
    }
    assert (project["slug"], project["role"]) == ("demo", "maintainer")
    same = await house.http.get(
        "/api/v1/projects/demo", headers=ada | {"if-none-match": shown.headers["etag"]}
    )
    assert same.status_code == 304
    changed = await house.http.patch(
        "/api/v1/projects/demo", json={"default_branch": "trunk"}, headers=ada
    )
    assert changed.json() == project | {"default_branch": "trunk"}
    taken = await house.http.post(
        "/api/v1/projects", json={"slug": "demo", "name": "x"}, headers=ada
    )
    assert taken.status_code == 409
    assert (await house.http.delete("/api/v1/projects/demo", headers=ada)).status_code == 204
    assert (await house.http.get("/api/v1/projects/demo", headers=ada)).status_code == 404


async def test_the_list_is_read_page_by_page(house: House) -> None:
    ada = await house.person("ada")
    for slug in ("a", "b", "c"):
        await _make(house, ada, slug)
    first = (await house.http.get("/api/v1/projects?limit=2", headers=ada)).json()
    assert [one["slug"] for one in first["items"]] == ["a", "b"]
    second = await house.http.get("/api/v1/projects", params={"cursor": first["next"]}, headers=ada)
    assert [one["slug"] for one in second.json()["items"]] == ["c"]
    assert second.json()["next"] is None
    for query in ("limit=0", "limit=201", "limit=x", "cursor=!", "cursor=" + "x" * 201):
        answer = await house.http.get(f"/api/v1/projects?{query}", headers=ada)
        assert answer.status_code == 422, query


async def test_another_teams_project_answers_like_none_on_every_route(house: House) -> None:
    ada, eve = await house.person("ada"), await house.person("eve")
    await _make(house, ada)
    calls: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("GET", "/members", None),
        ("PUT", "/members/eve@example.com", {"role": "maintainer"}),
        ("DELETE", "/members/ada@example.com", None),
        ("DELETE", "/members/eve@example.com", None),
        ("GET", "/tokens", None),
        ("DELETE", "/tokens/00000000-0000-7000-8000-000000000000", None),
    ]
    for method, path, body in calls:
        answers = [
            await house.http.request(
                method, f"/api/v1/projects/{slug}{path}", json=body, headers=eve
            )
            for slug in ("demo", "none")
        ]
        assert [answer.status_code for answer in answers] == [404, 404], (method, path)
        texts = {answer.text.replace("demo", "none") for answer in answers}
        assert len(texts) == 1, texts
    assert (await house.http.get("/api/v1/projects", headers=eve)).json()["items"] == []
    assert (await house.http.get("/api/v1/projects/demo", headers=ada)).status_code == 200


async def test_nobody_gets_in_without_signing_in(house: House) -> None:
    for method, path in (
        ("GET", "/projects"),
        ("POST", "/projects"),
        ("GET", "/projects/demo"),
        ("PATCH", "/projects/demo"),
        ("DELETE", "/projects/demo"),
        ("GET", "/projects/demo/members"),
        ("GET", "/projects/demo/tokens"),
    ):
        body = {"slug": "demo", "name": "x"} if method == "POST" else {}
        answer = await house.http.request(
            method, f"/api/v1{path}", json=body if method in {"POST", "PATCH"} else None
        )
        assert answer.status_code == 401, (method, path)


async def test_members_are_named_by_their_address(house: House) -> None:
    ada, bob = await house.person("ada"), await house.person("bob")
    await _make(house, ada)
    path = f"/api/v1/projects/demo/members/{quote('bob@example.com', safe='')}"
    assert (await house.http.put(path, json={"role": "viewer"}, headers=ada)).status_code == 204
    members = await house.http.get("/api/v1/projects/demo/members", headers=bob)
    assert [one["email"] for one in members.json()] == ["ada@example.com", "bob@example.com"]
    assert (await house.http.put(path, json={"role": "maintainer"}, headers=bob)).status_code == 403
    assert (await house.http.delete(path, headers=ada)).status_code == 204
    last = await house.http.delete("/api/v1/projects/demo/members/ada@example.com", headers=ada)
    assert last.status_code == 409


@pytest.mark.parametrize("field", ["slug", "name"])
async def test_a_project_of_nonsense_is_not_made(house: House, field: str) -> None:
    ada = await house.person("ada")
    more = ["' or '1'='1", "<script>", "A", "-a", "../x"] if field == "slug" else []
    for value in [*HOSTILE, *more]:
        body = json.dumps({"slug": "demo", "name": "Demo"} | {field: value})
        answer = await house.http.post("/api/v1/projects", content=body, headers=ada | JSON)
        assert answer.status_code == 422, (value, answer.text)
        assert answer.json()["errors"][0]["pointer"] == f"/body/{field}"
    assert await house.count("projects") == 0


async def test_nonsense_changes_nothing(house: House) -> None:
    ada = await house.person("ada")
    await _make(house, ada)
    before = (await house.http.get("/api/v1/projects/demo", headers=ada)).json()
    for field in ("name", "default_branch", "slug", "hash_key", "id"):
        for value in HOSTILE:
            answer = await house.http.patch(
                "/api/v1/projects/demo", content=json.dumps({field: value}), headers=ada | JSON
            )
            if value is None and field in {"name", "default_branch"}:
                assert answer.status_code == 200
            else:
                assert answer.status_code == 422, (field, value)
    for role in [*HOSTILE, "admin", "owner"]:
        answer = await house.http.put(
            "/api/v1/projects/demo/members/ada@example.com",
            content=json.dumps({"role": role}),
            headers=ada | JSON,
        )
        assert answer.status_code == 422
    for slug in ("%00", "..", "a%0Ab", "%27", "x" * 65, "%F0%9F%92%A9", "%FF"):
        answer = await house.http.get(f"/api/v1/projects/{slug}", headers=ada)
        assert answer.status_code in {404, 422}, slug
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await house.http.get("/api/v1/projects/demo", headers=ada)).json() == before


async def test_a_token_for_another_project_finds_none(house: House) -> None:
    ada = await house.person("ada")
    await _make(house, ada)
    await _make(house, ada, "other")
    body = {"name": "ci", "scopes": ["read", "admin"], "project": "other"}
    made = await house.http.post("/api/v1/tokens", json=body, headers=ada)
    token = bearer(made.json()["token"])
    assert (await house.http.get("/api/v1/projects/other", headers=token)).status_code == 200
    assert (await house.http.get("/api/v1/projects/demo", headers=token)).status_code == 404
    assert (await house.http.delete("/api/v1/projects/demo", headers=token)).status_code == 404
    listed = await house.http.get("/api/v1/projects/other/tokens", headers=token)
    assert [one["name"] for one in listed.json()] == ["ci"]
    own = listed.json()[0]["id"]
    gone = await house.http.delete(f"/api/v1/projects/other/tokens/{own}", headers=token)
    assert gone.status_code == 204
    assert (await house.http.get("/api/v1/projects/other", headers=token)).status_code == 401


async def test_the_answers_are_as_the_openapi_says(house: House) -> None:
    document = house.app.openapi()
    ada = await house.person("ada")
    await _make(house, ada)
    for path in ("/projects", "/projects/demo", "/projects/demo/members", "/projects/demo/tokens"):
        answer = await house.http.get(f"/api/v1{path}", headers=ada)
        described = document["paths"][f"/api/v1{path.replace('demo', '{project}')}"]["get"]
        schema = described["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": document["components"]})


JSON = {"content-type": "application/json"}
