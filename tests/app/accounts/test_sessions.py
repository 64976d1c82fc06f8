"""Sessions in a cache that processes share: fast to find, and gone everywhere when they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from insight_cloud.app.accounts import secret, service
from insight_cloud.app.api import Context
from insight_cloud.cache import Cache, Redis
from insight_cloud.core.errors import Unauthenticated
from insight_cloud.database import Pool
from tests.app.accounts.house import PASSWORD, House
from tests.redis import RedisServer, redis_server, redis_server_fixture

__all__ = ["redis_server_fixture"]


@pytest.fixture
async def caches(redis_server: RedisServer) -> AsyncIterator[tuple[Cache, Cache]]:
    """The caches of two processes."""
    redis_server.command("FLUSHALL")
    async with Cache(Redis(redis_server.url)) as one, Cache(Redis(redis_server.url)) as other:
        yield one, other


@pytest.fixture
async def house(pool: Pool, caches: tuple[Cache, Cache]) -> AsyncIterator[House]:
    async with House(pool) as house:
        house.context = replace(house.context, cache=caches[0])
        await house.user("ada")
        yield house


@pytest.fixture
def elsewhere(house: House, caches: tuple[Cache, Cache]) -> Context:
    """The context of another process."""
    return replace(house.context, cache=caches[1])


def asked(pool: Pool) -> int:
    return sum(one.calls for one in pool.recorder.statements() if one.name == "find_session")


async def test_the_database_is_asked_once_for_all_processes(
    house: House, elsewhere: Context
) -> None:
    text = (await house.session("ada")).secret
    before = asked(house.pool)
    callers = [
        await service.identify(context, text, "session")
        for context in (house.context, house.context, elsewhere, elsewhere)
    ]
    assert asked(house.pool) == before + 1
    assert {caller and caller.email for caller in callers} == {"ada@example.com"}


@pytest.mark.parametrize("way", ["sign_out", "disable", "password", "end_browser"])
async def test_a_session_that_ended_here_is_over_there(
    house: House, elsewhere: Context, way: str
) -> None:
    text = (await house.session("ada")).secret
    caller = await service.identify(elsewhere, text, "session")
    assert caller is not None
    if way == "sign_out":
        await service.sign_out(house.context, text)
    elif way == "disable":
        await service.disable(house.context, "ada@example.com")
    elif way == "password":
        link = await service.password_link(house.context, "ada@example.com")
        await service.redeem(house.context, link, password="another good secret")
    else:
        (browser,) = await service.list_browsers(house.context, caller)
        await service.end_browser(house.context, caller, browser.id)
    assert await service.identify(elsewhere, text, "session") is None
    assert await service.identify(house.context, text, "session") is None


async def test_a_stolen_family_ends_in_every_process(house: House, elsewhere: Context) -> None:
    first = await service.tokens(house.context, email="ada@example.com", password=PASSWORD)
    second = await service.refresh(house.context, first.refresh_token)
    assert await service.identify(elsewhere, second.access_token, "access") is not None
    with pytest.raises(Unauthenticated):
        await service.refresh(house.context, first.refresh_token)
    assert await service.identify(elsewhere, second.access_token, "access") is None


async def test_an_expired_session_is_over_although_it_is_cached(
    house: House, elsewhere: Context
) -> None:
    text = (await house.session("ada")).secret
    assert await service.identify(elsewhere, text, "session") is not None
    house.later(days=8)
    assert await service.identify(elsewhere, text, "session") is None


async def test_invented_secrets_leave_nothing_in_the_cache(house: House) -> None:
    made_up = secret.make("session")
    assert await service.identify(house.context, made_up, "session") is None
    assert [key async for key in house.context.cache.keys("session:*")] == []


async def test_without_redis_every_request_asks_the_database(pool: Pool) -> None:
    async with House(pool) as house:
        await house.user("ada")
        text = (await house.session("ada")).secret
        before = asked(pool)
        for _ in range(3):
            assert await service.identify(house.context, text, "session") is not None
        assert asked(pool) == before + 3


async def test_a_session_that_ended_while_redis_was_away_stays_over(pool: Pool) -> None:
    with redis_server() as server:
        async with House(pool) as house, Cache(Redis(server.url)) as cache:
            house.context = replace(house.context, cache=cache)
            await house.user("ada")
            text = (await house.session("ada")).secret
            assert await service.identify(house.context, text, "session") is not None
            server.stop()
            await service.sign_out(house.context, text)
            assert await service.identify(house.context, text, "session") is None
            server.resume()
            await cache.set("probe", 1)
            assert await service.identify(house.context, text, "session") is None
