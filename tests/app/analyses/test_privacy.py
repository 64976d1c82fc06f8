"""The server's side of the privacy levels: one field too many is refused, with its pointer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from insight_cloud import wiring
from insight_cloud.app import web
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.privacy import LEVELS, Level
from insight_cloud.app.projects import service as projects
from insight_cloud.ratelimit import RateLimitSettings
from insight_cloud.settings import AnalysesSettings, QuotasSettings, Settings
from tests.app.analyses.conftest import Site, finding, run
from tests.app.privacy.bodies import MORE, TOKEN, body, with_more

STORED = ("analyses", "branches", "issues", "rules", "paths", "runs", "branch_stats")
AMPLE = RateLimitSettings(api="100000/1h", auth="100000/1h", strict="100000/1h")


class Api:
    """The application, and somebody who uploads."""

    def __init__(self, site: Site, http: httpx.AsyncClient) -> None:
        self.site = site
        self.http = http

    async def takes(self, level: Level) -> None:
        await projects.change(self.site.context, self.site.caller, "demo", privacy=level)

    async def send(
        self, document: Any, *, project: str = "demo", counts: bool = False, **query: str
    ) -> httpx.Response:
        what = "snapshots" if counts else "analyses"
        path = f"/api/v1/projects/{project}/{what}"
        return await self.http.post(path, content=json.dumps(document), params=query)

    async def rows(self) -> int:
        tables = [f"(select count(*) from {table})" for table in STORED]
        return int(await self.site.context.pool.fetch_value(f"select {' + '.join(tables)}"))


@pytest.fixture
async def api(site: Site) -> AsyncIterator[Api]:
    settings = Settings(ratelimit=AMPLE)
    components = wiring.Components(site.context.pool, limits=wiring.limits(settings))
    app = web.create(settings, components)
    site.context = app.state.context = replace(site.context, settings=settings)
    made = await accounts.operator_token(site.context, name="ci", scopes=["ingest", "read"])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://test",
        headers={"authorization": f"Bearer {made.token}"},
    ) as http:
        yield Api(site, http)


@pytest.mark.parametrize("level", MORE)
async def test_every_forbidden_field_is_refused_and_nothing_is_stored(
    api: Api, level: Level
) -> None:
    await api.takes(level)
    counts = level == "counts"
    for pointer in MORE[level]:
        answer = await api.send(with_more(level, pointer), counts=counts)
        assert answer.status_code == 422, (pointer, answer.text)
        assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert await api.rows() == 0
    answer = await api.send(body(level), counts=counts)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("ceiling", LEVELS)
async def test_a_project_takes_what_is_of_its_level_or_below(api: Api, ceiling: Level) -> None:
    await api.takes(ceiling)
    for level in LEVELS[1:4]:
        answer = await api.send(body(level), branch=f"as-{level}")
        taken = LEVELS.index(level) <= LEVELS.index(ceiling)
        assert answer.status_code == (201 if taken else 422), (level, answer.text)


async def test_a_project_for_counts_names_every_path_of_a_log(api: Api) -> None:
    await api.takes("counts")
    answer = await api.send(body("findings"))
    assert answer.status_code == 422
    pointers = [fault["pointer"] for fault in answer.json()["errors"]]
    assert "/runs/0/results/0/locations/0/physicalLocation/artifactLocation/uri" in pointers
    assert await api.rows() == 0


async def test_the_root_is_a_path_of_a_machine(api: Api) -> None:
    await api.takes("findings")
    answer = await api.send(body("findings"), root="/home/ada/shop")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/root"


async def test_the_operator_decides_about_new_projects(api: Api) -> None:
    wanted = AnalysesSettings(privacy="metadata")
    settings = Settings().model_copy(update={"analyses": wanted})
    api.site.context = replace(api.site.context, settings=settings)
    api.http._transport.app.state.context = api.site.context  # type: ignore[attr-defined]
    refused = await api.send(body("findings"), project="brand-new")
    assert refused.status_code == 422
    assert (await api.http.get("/api/v1/projects/brand-new")).status_code == 404
    assert (await api.send(body("metadata"), project="brand-new")).status_code == 201
    shown = (await api.http.get("/api/v1/projects/brand-new")).json()
    assert shown["privacy"] == "metadata"


async def test_the_code_around_a_finding_is_kept_masked(api: Api) -> None:
    """A log as it is, at the level `source`: what it brings of the code is masked here."""
    document = body("snippets")
    place = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    place["contextRegion"]["snippet"]["text"] = f"def pay():\n    post('{TOKEN}')"
    assert (await api.send(document)).status_code == 201
    issues = (await api.http.get("/api/v1/projects/demo/issues")).json()["items"]
    high = next(issue for issue in issues if issue["severity"] == "high")
    detail = (await api.http.get(f"/api/v1/projects/demo/issues/{high['id']}")).json()
    assert detail["code"] == {"line": 6, "text": "def pay():\n    post('***')"}


# -- counts ------------------------------------------------------------------------------------


def counts(open_: dict[str, int], *, commit: str = "", **more: Any) -> dict[str, Any]:
    document = body("counts") | {"branch": "main", "complete": True} | more
    document["tools"] = [{"name": "ruff", "version": "1", "state": "ok", "seconds": 1.5}]
    document["counts"] = [
        {"tool": "ruff", "severity": severity, "category": "runtime", "open": number}
        for severity, number in open_.items()
    ]
    if commit:
        document["commit"] = commit
    return document


async def test_counts_are_shown_as_any_numbers(api: Api) -> None:
    first = await api.send(counts({"high": 3, "low": 5}, commit="a" * 40), counts=True)
    assert first.status_code == 201
    assert first.json()["analysis"]["open"] == 8
    assert first.json()["gate"]["verdict"] == "passed"
    again = await api.send(counts({"high": 3, "low": 5}, commit="a" * 40, seconds=9.0), counts=True)
    assert (again.status_code, again.json()["repeated"]) == (200, True)
    worse = await api.send(counts({"high": 4, "low": 2}, commit="b" * 40), counts=True)
    found = worse.json()["analysis"]
    assert (found["new"], found["fixed"], found["unchanged"], found["open"]) == (1, 3, 5, 6)
    assert worse.json()["gate"]["verdict"] == "failed"
    same = counts({"high": 4, "low": 1}, commit="b" * 40)
    answer = await api.send(same, counts=True)
    assert answer.json()["gate"]["verdict"] == "failed", "the commit is no better than it was"
    summary = (await api.http.get("/api/v1/projects/demo/summary")).json()
    assert summary["open"]["high"] == 4
    gate = (await api.http.get("/api/v1/projects/demo/gate/result")).json()
    assert gate["result"]["verdict"] == "failed"
    assert (await api.http.get("/api/v1/projects/demo/issues")).json()["items"] == []


async def test_counts_of_a_tool_that_failed_change_nothing(api: Api) -> None:
    await api.send(counts({"high": 3}), counts=True)
    document = counts({"high": 0})
    document["tools"][0]["state"] = "failed"
    answer = await api.send(document, counts=True)
    assert answer.json()["analysis"]["open"] == 3
    assert answer.json()["analysis"]["complete"] is False
    assert answer.json()["gate"]["verdict"] == "incomplete"


async def test_no_number_is_too_large_for_a_day(api: Api) -> None:
    many = counts({"high": 1_000_000, "low": 1_000_000})
    many["counts"] *= 6
    refused = await api.send(many, counts=True)
    assert refused.json()["errors"][0]["pointer"] == "/counts"
    many["counts"] = many["counts"][:10]
    assert (await api.send(many, counts=True)).json()["analysis"]["open"] == 10_000_000
    await api.site.context.pool.execute("update daily_stats set new = 2147483000")
    assert (await api.send(counts({}), counts=True)).status_code == 201
    assert (await api.send(many | {"lines": 1}, counts=True)).status_code == 201


async def test_counts_and_findings_do_not_mix(api: Api) -> None:
    site = api.site
    await site.analyse(run(finding(), finding("E1", line=2)), branch="main")
    refused = await api.send(counts({"high": 1}), counts=True)
    assert refused.status_code == 409
    assert len(await site.issues()) == 2
    await api.takes("counts")
    taken = await api.send(counts({"high": 1}), counts=True)
    assert taken.json()["analysis"]["open"] == 1
    assert not await site.issues()
    await api.takes("source")
    back = await site.analyse(run(finding()), branch="main")
    assert (back.analysis.new, back.analysis.open) == (1, 1)
    again = await site.analyse(run(), branch="main")
    assert (again.analysis.fixed, again.analysis.open) == (1, 0)


# -- quotas ------------------------------------------------------------------------------------


async def test_an_upload_is_counted_unless_it_is_refused_or_repeated(api: Api) -> None:
    settings = Settings(ratelimit=AMPLE).model_copy(
        update={"quotas": QuotasSettings(uploads_per_day=2)}
    )
    api.site.context = replace(api.site.context, settings=settings)
    api.http._transport.app.state.context = api.site.context  # type: ignore[attr-defined]
    refused = await api.send({"version": "1.0.0", "runs": []})
    assert refused.status_code == 422
    first = await api.send(body("findings"), commit="a")
    assert '"uploads-day";q=2;w=86400' in first.headers.get_list("ratelimit-policy")
    assert '"uploads-day";r=1;t=86400' in first.headers.get_list("ratelimit") or (
        '"uploads-day";r=1' in first.headers.get_list("ratelimit")
    )
    again = await api.send(body("findings"), commit="a")
    assert again.status_code == 200
    second = await api.send(counts({"high": 1}, commit="b" * 40, branch="other"), counts=True)
    assert second.status_code == 201
    third = await api.send(body("findings"), commit="c")
    assert third.status_code == 429
    assert third.json()["title"] == "Quota exceeded"
    assert 0 < int(third.headers["retry-after"]) <= 86400
    assert any('"uploads-day";r=0' in line for line in third.headers.get_list("ratelimit"))
    usage = (await api.http.get("/api/v1/usage")).json()
    assert usage["uploads"][0]["day"] == {
        "used": 2, "limit": 2, "window_seconds": 86400, "next_seconds": 0,
    }  # fmt: skip
