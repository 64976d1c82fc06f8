"""Judgements over HTTP: what is asked, what is answered, what is refused."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.app.analyses.conftest import Site, finding, run
from tests.app.analyses.test_routes import Api, api

__all__ = ["api"]

BASE = "/api/v1/projects/demo"


async def judge(api: Api, **body: Any) -> Any:
    headers = await api.token("triage")
    return await api.client.post(f"{BASE}/issues/triage", json=body, headers=headers)


async def listed(api: Api, **query: str) -> list[dict[str, Any]]:
    headers = await api.token("read")
    answer = await api.client.get(f"{BASE}/issues", headers=headers, params=query)
    items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return items


async def test_issues_are_judged_by_id_and_by_filter(api: Api, site: Site) -> None:
    await site.analyse(run(finding("A"), finding("B"), finding("C", severity="low")), commit="1")
    (first,) = await listed(api, rule="A")
    answer = await judge(api, ids=[first["id"]], state="wont_fix", reason="too dear")
    assert (answer.status_code, answer.json()) == (200, {"issues": 1, "on_all_branches": 1})
    answer = await judge(
        api, filter={"severity": ["low"]}, state="accepted", reason="later", until="2026-04-01"
    )
    assert answer.json()["issues"] == 1
    assert [one["rule"] for one in await listed(api)] == ["B"]
    (one,) = await listed(api, muted="accepted")
    assert (one["rule"], one["triage"]) == ("C", "accepted")
    headers = await api.token("read")
    detail = (await api.client.get(f"{BASE}/issues/{one['id']}", headers=headers)).json()
    assert detail["judgement"]["until"] == "2026-04-01"
    assert detail["events"][1]["actor"] == "test"
    assert (await judge(api, ids=[one["id"]], state="open")).status_code == 200
    assert len(await listed(api)) == 2


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"state": "wont_fix", "reason": "x"}, "/body/ids"),
        ({"state": "wont_fix", "reason": "x", "ids": [str(uuid4())], "filter": {}}, "/body/ids"),
        ({"state": "wont_fix", "ids": []}, "/body/ids"),
        ({"state": "never", "ids": [str(uuid4())]}, "/body/state"),
        ({"state": "accepted", "reason": "x", "filter": {}}, "/body/until"),
        ({"state": "accepted", "reason": "x", "filter": {}, "until": "soon"}, "/body/until"),
        ({"state": "wont_fix", "reason": "x", "filter": {"rul": "A"}}, "/body/filter/rul"),
    ],
)
async def test_a_wrong_judgement_is_named_and_changes_nothing(
    api: Api, site: Site, body: dict[str, Any], pointer: str
) -> None:
    await site.analyse(run(finding("A")), commit="1")
    answer = await judge(api, **body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert len(await listed(api)) == 1


async def test_suppressions_are_made_listed_and_removed(api: Api, site: Site) -> None:
    await site.analyse(run(finding("A", "gen/a.py"), finding("B")), commit="1")
    headers = await api.token("admin", "read")
    made = await api.client.post(
        f"{BASE}/suppressions", json={"path": "gen/", "reason": "generated"}, headers=headers
    )
    assert made.status_code == 201
    assert (made.json()["issues"], made.json()["author"]) == (1, "test")
    (shown,) = (await api.client.get(f"{BASE}/suppressions", headers=headers)).json()["items"]
    assert shown == made.json()
    assert [one["rule"] for one in await listed(api)] == ["B"]
    path = f"{BASE}/suppressions/{shown['id']}"
    assert (await api.client.delete(path, headers=headers)).status_code == 204
    assert (await api.client.delete(path, headers=headers)).status_code == 404
    assert len(await listed(api)) == 2
    answer = await api.client.post(
        f"{BASE}/suppressions", json={"reason": "nothing named"}, headers=headers
    )
    assert answer.json()["errors"][0]["pointer"] == "/body/rule"
