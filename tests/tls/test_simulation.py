"""Three years in seconds: from today to 2029 with the lives that certificates will have."""

from __future__ import annotations

import contextlib
import itertools
import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from insight_cloud.core.errors import InsightError, Refused, Unavailable
from insight_cloud.tls.issuer import Wanted
from insight_cloud.tls.keeper import Keeper
from insight_cloud.tls.store import Store
from tests.postgres import fast_directory
from tests.tls.issuers import Authority, Clock

BEGIN = datetime(2026, 11, 25, tzinfo=UTC)
END = datetime(2029, 12, 31, tzinfo=UTC)
HOUR = timedelta(hours=1)


class _Weather:
    """Outages of the authority: now and then some hours, once a quarter a day or two."""

    def __init__(self, seed: int, life: timedelta) -> None:
        source = random.Random(seed)
        self.outages: list[tuple[datetime, datetime]] = []
        moment = BEGIN + timedelta(days=1)
        longest = min(timedelta(days=2), life / 8)
        while moment < END:
            moment += timedelta(days=source.uniform(1, 30))
            length = longest * source.random() ** 2
            self.outages.append((moment, moment + length))
            moment += length

    def __call__(self, now: datetime) -> InsightError | None:
        if any(start <= now < end for start, end in self.outages):
            return Unavailable("the authority is down", retry_after=60)
        return None


async def live(
    path: Path, authority: Authority, *, minutes: float, seed: int, told: list[str]
) -> timedelta:
    """Go through the years as `renewing` does; return the least that was ever left."""
    clock, source = authority.clock, random.Random(seed)

    async def notify(subject: str, _: str) -> None:
        told.append(subject)

    keeper = Keeper(
        Store(path), authority, Wanted(("a.example",)), notify=notify, now=clock, keep=2
    )
    least = authority.life
    while clock.now < END:
        with contextlib.suppress(InsightError):
            await keeper.renew()
        standing = keeper.look()
        assert standing.certificate is not None
        least = min(least, standing.certificate.ends - clock.now)
        usual = timedelta(minutes=minutes * (0.5 + source.random()))
        wait = keeper.decide(standing).at - clock.now
        clock.now += max(timedelta(minutes=1), min(usual, wait))
    return least


def most(moments: list[datetime], within: timedelta) -> int:
    return max(
        (
            sum(first <= m < first + within for m in moments[i : i + 50])
            for i, first in enumerate(moments)
        ),
        default=0,
    )


@pytest.mark.parametrize("days", [90, 64, 47, 45, 6])
@pytest.mark.parametrize("advises", [False, True])
async def test_never_less_than_the_safe_remainder_nor_more_than_the_limits(
    *, days: int, advises: bool
) -> None:
    life = timedelta(hours=160) if days == 6 else timedelta(days=days)
    authority = Authority(Clock(BEGIN), life=life, advises=advises, failing=_Weather(days, life))
    told: list[str] = []
    # Twice a day is the least that is advised; six days need more.
    minutes = 240 if days == 6 else 720
    with tempfile.TemporaryDirectory(dir=fast_directory()) as folder:
        least = await live(Path(folder), authority, minutes=minutes, seed=days, told=told)
    # Renewal falls due at a third (at the half with six days); an outage takes an eighth at most.
    safe = life * (1 / 3 if days == 6 else 1 / 6)
    assert least > safe, f"{least} of {life} was left"
    assert most(authority.issued, timedelta(days=7)) <= 4
    assert most(authority.failed, HOUR) <= 5
    expected = (END - BEGIN) / (life * (1 / 2 if days == 6 else 2 / 3))
    assert expected * 0.9 <= len(authority.issued) <= expected * 1.25
    assert authority.replaced[0] is None
    assert None not in authority.replaced[1:]


async def test_an_authority_that_is_gone_for_good_is_told_about_in_time(tmp_path: Path) -> None:
    """The names are no longer ours, say: nothing can be issued; somebody must know early."""
    life, clock = timedelta(days=45), Clock(END - timedelta(days=60))
    authority = Authority(clock, life=life)
    gone = clock.now + timedelta(days=3)
    authority.failing = lambda now: Refused("not yours") if now > gone else None
    told: list[datetime] = []

    async def notify(subject: str, text: str) -> None:
        assert "a.example" in subject
        assert "not yours" in text
        told.append(clock.now)

    keeper = Keeper(Store(tmp_path), authority, Wanted(("a.example",)), notify=notify, now=clock)
    while clock.now < END:
        with contextlib.suppress(Refused):
            await keeper.renew()
        clock.now += timedelta(hours=4)
    ends = authority.issued[0] - HOUR + life
    assert told, "nobody was told"
    assert ends - told[0] > life * 0.3
    assert all(b - a >= timedelta(days=1) for a, b in itertools.pairwise(told))
    # It goes on trying, within the limits, until the end and beyond it.
    assert authority.failed[-1] > ends - timedelta(days=1)
    assert most(authority.failed, HOUR) <= 5
