"""The stand-in is as strict as the schema, and forgets nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from insight_cloud.core.errors import Invalid
from insight_cloud.edge import schema
from insight_cloud.edge.fake import TOKEN, ZONE, Answer, Fake, Fault, fault

HEADERS = {"authorization": f"Bearer {TOKEN}"}
ENTRY = f"/zones/{ZONE}/rulesets/phases/http_request_firewall_custom/entrypoint"


async def ask(
    fake: Fake, method: str, path: str, body: Any = None, headers: Mapping[str, str] = HEADERS
) -> Answer:
    content = b"" if body is None else json.dumps(body).encode()
    return await fake.answer(method, f"/client/v4{path}", "", headers, content)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("PATCH", f"/zones/{ZONE}/settings/ssl", {"value": "nonsense"}, 400, "not one of"),
        ("PATCH", f"/zones/{ZONE}/settings/ssl", {"wert": "full"}, 400, "wert"),
        ("PATCH", f"/zones/{ZONE}/settings", {"items": []}, 404, "No route"),
        ("PATCH", f"/zones/{ZONE}/settings/minify", {"value": "on"}, 404, "No route"),
        ("GET", f"/zones/{ZONE}/pagerules", None, 404, "No route"),
        ("GET", f"/zones/{ZONE}/firewall/rules", None, 404, "No route"),
        ("GET", f"/zones/{'f' * 32}", None, 404, "Zone not found"),
        ("GET", ENTRY, None, 404, "could not find entrypoint"),
        ("PUT", ENTRY, {"rules": [{"action": "block", "filter": "ssl"}]}, 400, "filter"),
        ("PUT", ENTRY, {"rules": [{"action": "block", "expression": "nope"}]}, 400, "no field"),
        ("PUT", ENTRY, {"rules": [{"action": "log", "expression": "ssl"}]}, 400, "enterprise"),
        ("PUT", ENTRY, {"rules": [{"action": "rewrite", "expression": "ssl"}]}, 400, "not allowed"),
        ("PATCH", f"/zones/{ZONE}/settings/polish", {"value": "off"}, 400, "not editable"),
    ],
)
async def test_what_the_api_would_refuse_is_refused(
    method: str, path: str, body: Any, status: int, said: str
) -> None:
    fake = Fake()
    before = fake.dump()
    answer = await ask(fake, method, path, body)
    assert answer.status == status
    assert said in answer.body.decode()
    assert fake.dump() == before
    assert fake.flaws == []


async def test_without_the_token_nothing_is_told() -> None:
    for headers in ({}, {"authorization": "Bearer other"}):
        answer = await ask(Fake(), "GET", f"/zones/{ZONE}", headers=headers)
        assert answer.status == 401


async def test_every_living_setting_answers_by_the_schema() -> None:
    fake = Fake(plan="enterprise")
    for name in schema.settings():
        answer = await ask(fake, "GET", f"/zones/{ZONE}/settings/{name}")
        assert answer.status == 200, (name, answer.body)
    assert len(schema.settings()) > 50
    assert fake.flaws == []


async def test_versions_count_and_a_rule_keeps_its_identity_by_its_ref() -> None:
    fake = Fake()
    rule = {"ref": "ic:a", "action": "block", "expression": "ssl"}
    first = json.loads((await ask(fake, "PUT", ENTRY, {"rules": [rule]})).body)["result"]
    changed = {**rule, "expression": "not ssl"}
    other = {"action": "block", "expression": "ssl"}
    body = {"rules": [other, changed]}
    second = json.loads((await ask(fake, "PUT", ENTRY, body)).body)["result"]
    assert (first["version"], second["version"]) == ("1", "2")
    assert second["rules"][1]["id"] == first["rules"][0]["id"]
    assert second["rules"][1]["version"] == "2"
    assert second["rules"][0]["ref"] == second["rules"][0]["id"]


async def test_what_was_kept_comes_back() -> None:
    fake = Fake()
    await ask(fake, "PATCH", f"/zones/{ZONE}/settings/ssl", {"value": "strict"})
    other = Fake()
    other.restore(fake.dump())
    assert other.dump() == fake.dump()
    with pytest.raises(Invalid):
        other.restore({"settings": 1})


def test_a_fault_is_read_from_text() -> None:
    assert fault("503") == Fault("503")
    assert fault("429:put:/settings/ssl:3") == Fault("429", "PUT", "/settings/ssl", 3)
    with pytest.raises(Invalid, match="is no fault"):
        fault("teapot")


def test_there_is_nothing_dead_in_the_schema_that_we_call() -> None:
    from insight_cloud.edge.items import ITEMS

    for name, item in ITEMS.items():
        found = schema.operation(item.method, f"/zones/{ZONE}{item.path}")
        assert found is not None, name
        described = schema.document()["paths"][found.path][found.method]
        assert not described.get("deprecated"), name
