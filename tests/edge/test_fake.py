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


RECORDS = f"/zones/{ZONE}/dns_records"
PROOF = {"type": "TXT", "name": "_acme-challenge.example.com", "content": '"a"', "ttl": 60}


async def test_dns_records_are_added_listed_and_removed() -> None:
    fake = Fake()
    other = {**PROOF, "content": '"b"', "comment": "a proof"}
    address = {"type": "A", "name": "www", "content": "192.0.2.1", "ttl": 1, "proxied": True}
    made = [
        json.loads((await ask(fake, "POST", RECORDS, body)).body)["result"]
        for body in (PROOF, other, address)
    ]
    assert [record["name"] for record in made] == [*[PROOF["name"]] * 2, "www.example.com"]
    assert fake.records.values(str(PROOF["name"])) == ["a", "b"]
    shown = json.loads((await ask(fake, "GET", RECORDS)).body)
    assert shown["result"] == made
    assert shown["result_info"]["total_count"] == 3
    removed = await ask(fake, "DELETE", f"{RECORDS}/{made[0]['id']}")
    assert json.loads(removed.body)["result"] == {"id": made[0]["id"]}
    assert (await ask(fake, "DELETE", f"{RECORDS}/{made[0]['id']}")).status == 404
    assert fake.records.values(str(PROOF["name"])) == ["b"]
    assert (await ask(fake, "PATCH", f"{RECORDS}/{made[1]['id']}", {"ttl": 120})).status == 404
    assert fake.flaws == []


async def test_dns_records_are_found_by_name_and_in_pages() -> None:
    fake = Fake()
    for number in range(5):
        await ask(fake, "POST", RECORDS, {**PROOF, "content": f'"{number}"'})
    await ask(fake, "POST", RECORDS, {**PROOF, "name": "example.com", "content": '"v=spf1"'})
    for query, found in {
        "name=example.com": ['"v=spf1"'],
        "name=_acme-challenge.example.com&per_page=2&page=3": ['"4"'],
        "type=A": [],
        "per_page=2&page=9": [],
    }.items():
        answer = await fake.answer("GET", f"/client/v4{RECORDS}", query, HEADERS, b"")
        assert [record["content"] for record in json.loads(answer.body)["result"]] == found
    zones = await fake.answer("GET", "/client/v4/zones", "name=other.example", HEADERS, b"")
    assert json.loads(zones.body)["result"] == []
    assert fake.flaws == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "identical record"),
        ({"type": "CNAME", "content": "example.org"}, "CNAME"),
        ({"content": '"b"', "ttl": 30}, "between 60 and 86400"),
        ({"content": '"b"', "ttl": 100_000}, "86400"),
        ({"content": ""}, "is empty"),
        ({"type": "A", "content": "2001:db8::1"}, "valid address"),
        ({"type": "AAAA", "content": "here"}, "valid address"),
        ({"type": "TEXT"}, "not one of"),
        ({"name": 5}, "is not of type"),
    ],
)
async def test_a_dns_record_that_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    fake = Fake()
    await ask(fake, "POST", RECORDS, PROOF)
    before = fake.dump()
    answer = await ask(fake, "POST", RECORDS, {**PROOF, **change})
    assert answer.status == 400
    assert said in answer.body.decode()
    assert fake.dump() == before
    assert fake.flaws == []


async def test_what_was_kept_comes_back() -> None:
    fake = Fake()
    await ask(fake, "PATCH", f"/zones/{ZONE}/settings/ssl", {"value": "strict"})
    await ask(fake, "POST", RECORDS, PROOF)
    other = Fake()
    other.restore(fake.dump())
    assert other.dump() == fake.dump()
    assert other.records.values(str(PROOF["name"])) == ["a"]
    older = {key: value for key, value in fake.dump().items() if key != "records"}
    other.restore(older)
    assert other.records.kept == {}
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
