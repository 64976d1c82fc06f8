from __future__ import annotations

import asyncio
import time

import argon2
import pytest

from insight_cloud.app.accounts import passwords
from insight_cloud.core.errors import Unavailable


async def test_a_password_matches_its_own_hash_only() -> None:
    stored = await passwords.hashed("correct horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.matches("correct horse", stored)
    assert not await passwords.matches("correct horsf", stored)


async def test_the_same_password_is_never_hashed_the_same() -> None:
    assert await passwords.hashed("correct horse") != await passwords.hashed("correct horse")


async def test_what_looks_the_same_matches() -> None:
    stored = await passwords.hashed("\u00e9t\u00e9 \u00e0 la mer")
    assert await passwords.matches("e\u0301te\u0301 a\u0300 la mer", stored)


@pytest.mark.parametrize("stored", [None, "", "!", "$argon2id$v=19$broken", "plain"])
async def test_nothing_matches_what_is_no_hash(stored: str | None) -> None:
    assert not await passwords.matches("correct horse", stored)


async def test_a_text_that_is_no_unicode_matches_nothing() -> None:
    assert not await passwords.matches("\ud800" * 12, await passwords.hashed("correct horse"))


async def test_nobodys_hash_costs_what_everybodys_costs() -> None:
    assert not passwords.is_outdated(passwords._NOBODY)
    stored = await passwords.hashed("correct horse")
    seconds: dict[str | None, list[float]] = {None: [], stored: []}
    for _ in range(10):
        for one, spent in seconds.items():
            started = time.perf_counter()
            await passwords.matches("wrong horse", one)
            spent.append(time.perf_counter() - started)
    assert 0.4 < min(seconds[None]) / min(seconds[stored]) < 2.5


async def test_a_hash_by_weaker_parameters_is_outdated() -> None:
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("x" * 10)
    assert passwords.is_outdated(weak)
    assert not passwords.is_outdated(await passwords.hashed("x" * 10))
    assert await passwords.matches("x" * 10, weak)


async def test_a_flood_of_sign_ins_is_turned_away_and_ends() -> None:
    stored = await passwords.hashed("correct horse")
    asked = [passwords.matches("wrong horse", stored) for _ in range(100)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    turned_away = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert len(turned_away) == 100 - 66
    assert answers.count(False) == 66
    assert await passwords.matches("correct horse", stored)
