"""The client: what it retries, how it waits, what it makes of every kind of answer."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    InsightError,
    Invalid,
    Missing,
    RateLimited,
    Refused,
    SettingsError,
    Unauthenticated,
    Unavailable,
)
from insight_cloud.edge.cloudflare import PERMISSIONS, Cloudflare
from insight_cloud.edge.fake import TOKEN, ZONE, Fake, Fault, serve
from tests.edge.support import URL, Waits, client


def _failure(code: int = 1000, pointer: str = "") -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": "no"}
    if pointer:
        error["source"] = {"pointer": pointer}
    return {"success": False, "errors": [error], "messages": [], "result": None}


async def _ask(*answers: httpx.Response | Exception, waits: Waits | None = None) -> Any:
    left = list(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    transport = httpx.MockTransport(answer)
    async with Cloudflare(TOKEN, url=URL, transport=transport, sleep=waits or Waits()) as api:
        return await api.get("/zones/x/settings/ssl")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, Invalid),
        (400, Invalid),
        (401, Unauthenticated),
        (403, Refused),
        (404, Missing),
        (409, Conflict),
        (422, Invalid),
        (429, RateLimited),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_each_status_is_one_of_our_errors(status: int, error: type[InsightError]) -> None:
    with pytest.raises(error) as raised:
        await _ask(httpx.Response(status, json=_failure(pointer="/value")))
    assert "no (/value) [1000]" in str(raised.value)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("x"),
        httpx.ReadTimeout("x"),
        httpx.RemoteProtocolError("x"),
        httpx.PoolTimeout("x"),
        httpx.DecodingError("x"),
    ],
)
async def test_no_foreign_error_escapes(failure: httpx.HTTPError) -> None:
    with pytest.raises(Unavailable, match=type(failure).__name__):
        await _ask(failure)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b"1", b"[" * 100_000])
async def test_an_answer_that_is_not_the_apis_is_corrupt(content: bytes) -> None:
    with pytest.raises(Corrupt, match="not the API's"):
        await _ask(httpx.Response(200, content=content))


async def test_an_answer_without_end_is_cut_off() -> None:
    with pytest.raises(Corrupt, match="larger than any"):
        await _ask(httpx.Response(200, content=b"x" * (17 * 1024 * 1024)))


@pytest.mark.parametrize("errors", [None, "text", [1], [{"message": 5, "source": "x"}]])
async def test_strange_errors_are_told_as_well_as_they_can_be(errors: Any) -> None:
    with pytest.raises(Invalid):
        await _ask(httpx.Response(400, json={"success": False, "errors": errors}))


async def test_it_waits_as_long_as_it_is_told_and_tries_again() -> None:
    waits = Waits()
    good = httpx.Response(200, json={"success": True, "result": 1})
    limited = httpx.Response(429, headers={"Retry-After": "7"}, json=_failure())
    assert await _ask(limited, limited, good, waits=waits) == 1
    assert waits.seconds == [7.0, 7.0]


async def test_it_never_waits_longer_than_a_minute() -> None:
    waits = Waits()
    good = httpx.Response(200, json={"success": True, "result": 1})
    limited = httpx.Response(429, headers={"Retry-After": "99999"}, json=_failure())
    assert await _ask(limited, good, waits=waits) == 1
    assert waits.seconds == [60.0]


async def test_without_advice_it_waits_longer_each_time() -> None:
    waits = Waits()
    with pytest.raises(Unavailable):
        await _ask(httpx.Response(503, json=_failure()), waits=waits)
    assert len(waits.seconds) == 4
    assert waits.seconds[0] < waits.seconds[-1]


async def test_what_is_not_allowed_names_the_permission() -> None:
    assert "Zone Settings: Edit" in PERMISSIONS
    with pytest.raises(Refused, match="It needs: Zone Settings: Edit"):
        await _ask(httpx.Response(403, json=_failure()))


@pytest.mark.parametrize(
    "url", ["http://api.cloudflare.com/client/v4", "ftp://127.0.0.1/", "api.cloudflare.com"]
)
def test_a_token_travels_over_https_only(url: str) -> None:
    with pytest.raises(SettingsError, match="over https only"):
        Cloudflare(TOKEN, url=url)


def test_a_token_that_is_none_is_refused_without_repeating_it() -> None:
    with pytest.raises(SettingsError) as refused:
        Cloudflare("tökén", url=URL)
    assert "tökén" not in str(refused.value)


async def test_a_phase_without_rules_is_none_and_another_404_is_missing() -> None:
    async with client(Fake()) as api:
        assert await api.ruleset(ZONE, "http_ratelimit") is None
        with pytest.raises(Missing, match="Zone not found"):
            await api.ruleset("f" * 32, "http_ratelimit")


async def test_a_dry_run_changes_nothing() -> None:
    fake = Fake()
    rules = {"rules": [{"ref": "a", "action": "block", "expression": "ssl"}]}
    path = f"/zones/{ZONE}/rulesets/phases/http_request_firewall_custom/entrypoint"
    async with client(fake) as api:
        assert await api.call("PUT", path, rules, dry_run=True) is None
        assert fake.rulesets == {}
        assert (await api.call("PUT", path, rules))["version"] == "1"


async def test_over_a_real_socket_a_cut_answer_is_asked_for_again() -> None:
    fake = Fake(faults=[Fault("cut", times=2)])
    async with serve(fake) as url, Cloudflare(TOKEN, url=url, sleep=Waits()) as api:
        assert (await api.get(f"/zones/{ZONE}"))["name"] == "example.com"
    assert len(fake.calls) == 3
    assert json.loads(json.dumps(fake.dump())) == fake.dump()
