"""Permits: exact over processes, given back when refused, shown to who asks."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fastapi import Response

from insight_cloud.app import quotas
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.projects import service as projects
from insight_cloud.core.errors import Conflict, Refused
from insight_cloud.settings import QuotasSettings, Settings
from tests.app.accounts.house import House


def with_quotas(house: House, **limits: object) -> None:
    settings = Settings(quotas=QuotasSettings.model_validate(limits))
    house.context = replace(house.context, settings=settings)
    house.app.state.context = house.context


async def test_twenty_analyses_in_any_24_hours_and_no_more(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    for _ in range(20):
        await quotas.take(house.context, ada)
        house.later(minutes=30)
    with pytest.raises(quotas.Exceeded) as refused:
        await quotas.take(house.context, ada)
    assert refused.value.retry_after == 14 * 3600
    assert refused.value.headers == {
        "ratelimit-policy": '"analysis";q=20;w=86400',
        "ratelimit": '"analysis";r=0;t=50400',
    }
    await quotas.take(house.context, bob)
    house.later(seconds=14 * 3600 - 1)
    with pytest.raises(quotas.Exceeded):
        await quotas.take(house.context, ada)
    house.later(seconds=1)
    await quotas.take(house.context, ada)
    with pytest.raises(quotas.Exceeded):
        await quotas.take(house.context, ada)


async def test_a_crowd_gets_exactly_what_there_is(house: House) -> None:
    ada = await house.caller("ada")

    async def attempt() -> bool:
        try:
            await quotas.take(house.context, ada)
        except quotas.Exceeded:
            return False
        return True

    taken = await asyncio.gather(*(attempt() for _ in range(60)))
    assert sum(taken) == 20


async def test_every_token_of_a_user_counts_for_the_user(house: House) -> None:
    ada = await house.caller("ada")
    made = await accounts.add_token(house.context, ada, name="ci", scopes=["ingest"])
    token = await house.with_token(made.token)
    for caller in (ada, token) * 10:
        await quotas.take(house.context, caller)
    for caller in (ada, token):
        with pytest.raises(quotas.Exceeded):
            await quotas.take(house.context, caller)
    operators = await accounts.operator_token(house.context, name="ci", scopes=["ingest"])
    await quotas.take(house.context, await house.with_token(operators.token))


async def test_what_was_refused_does_not_count(house: House) -> None:
    ada = await house.caller("ada")
    taken = await quotas.take(house.context, ada)
    await quotas.refund(house.context, taken)
    assert (await quotas.usage(house.context, ada)).analyses.used == 0
    with pytest.raises(Refused):
        async with quotas.uploading(house.context, "demo"):
            raise Refused("no")
    async with quotas.uploading(house.context, "demo") as counted:
        assert counted is not None
    response = Response()
    counted.tell(response)
    assert response.headers.getlist("ratelimit-policy") == ['"uploads-day";q=1000;w=86400']
    assert response.headers.getlist("ratelimit") == ['"uploads-day";r=999']


async def test_uploads_are_counted_by_day_and_month(house: House) -> None:
    with_quotas(house, uploads_per_day=3, uploads_per_month=5)
    for _ in range(5):
        async with quotas.uploading(house.context, "demo"):
            pass
        house.later(hours=9)
    with pytest.raises(quotas.Exceeded, match="5 uploads to the project 'demo' in 30 days"):
        async with quotas.uploading(house.context, "demo"):
            pass
    async with quotas.uploading(house.context, "other"):
        pass
    house.later(days=31)
    for _ in range(3):
        async with quotas.uploading(house.context, "demo"):
            pass
    with pytest.raises(quotas.Exceeded, match="3 uploads"):
        async with quotas.uploading(house.context, "demo"):
            pass
    assert await quotas.clean(house.context) == 6
    assert await house.pool.fetch_value("select count(*) from usage") == 3


async def test_usage_shows_what_the_caller_sees(house: House) -> None:
    ada, bob = await house.caller("ada"), await house.caller("bob")
    admin = await house.caller("root", is_admin=True)
    await projects.create(house.context, ada, slug="demo", name="Demo")
    await quotas.take(house.context, ada)
    async with quotas.uploading(house.context, "demo"):
        pass
    house.later(hours=1)
    found = await quotas.usage(house.context, ada)
    assert (found.analyses.used, found.analyses.remaining) == (1, 19)
    assert found.analyses.next_seconds == 23 * 3600
    assert (found.projects.used, found.projects.limit) == (1, None)
    assert [(one.project, one.day.used, one.month.used) for one in found.uploads] == [
        ("demo", 1, 1)
    ]
    assert list((await quotas.usage(house.context, bob)).uploads) == []
    assert len((await quotas.usage(house.context, admin)).uploads) == 1
    everybody = await quotas.overview(house.context)
    assert [(one.who, one.analyses.used) for one in everybody.users] == [("ada@example.com", 1)]


async def test_a_preset_bounds_projects_and_members(house: House) -> None:
    with_quotas(house, preset="free")
    ada = await house.caller("ada")
    await house.user("bob")
    for slug in ("one", "two", "three"):
        await projects.create(house.context, ada, slug=slug, name=slug)
    with pytest.raises(Conflict, match="3 projects"):
        await projects.create(house.context, ada, slug="four", name="four")
    with pytest.raises(Conflict, match="limit"):
        await projects.put_member(house.context, ada, "one", email="bob@example.com", role="viewer")
    await projects.delete(house.context, ada, "three")
    await projects.create(house.context, ada, slug="four", name="four")
