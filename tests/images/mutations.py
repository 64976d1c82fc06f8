"""Images that are damaged at random, through the whole way: header, child process, codec."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from insight_cloud.core.errors import Invalid
from insight_cloud.images import Variant, Workers
from tests.images.gallery import GOOD, jpeg, photo, png, webp

__all__ = ["Damage", "damage"]

_AT_ONCE = 50
_ENDED = ("takes more than", "cannot be decoded within the limits")
"""What is said when a child process was ended, by itself or by the kernel."""


@dataclass(slots=True)
class Damage:
    """What became of the files."""

    made: int = 0
    refused: int = 0
    ended: int = 0
    """How many of the refused ones ended a child process."""


async def damage(workers: Workers, count: int, seed: int = 8) -> Damage:
    """Send `count` damaged files, the same ones for the same seed."""
    chance = random.Random(seed)
    small = photo(96, 64)
    seeds = [jpeg(small), jpeg(small, interlace=True), png(small), webp(small)]
    seeds += [webp(small, lossless=True), GOOD["gif-animated"](), GOOD["webp-animated"]()]
    found = Damage()

    async def one(data: bytes) -> None:
        try:
            await workers.make(data, [Variant(32)])
        except Invalid as error:
            found.refused += 1
            found.ended += any(words in str(error) for words in _ENDED)
        else:
            found.made += 1

    for begun in range(0, count, _AT_ONCE):
        files = [_damaged(chance, seeds) for _ in range(min(_AT_ONCE, count - begun))]
        await asyncio.gather(*map(one, files))
    return found


def _damaged(chance: random.Random, seeds: list[bytes]) -> bytes:
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 12)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    return bytes(data)
