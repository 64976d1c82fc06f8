"""An authority in memory, with a clock, limits and moods, for what only needs to be decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from insight_cloud.core.errors import InsightError, RateLimited
from insight_cloud.tls.certificate import Certificate
from insight_cloud.tls.issuer import Advice, Issued, Wanted
from insight_cloud.tls.renewal import Window
from tests.tls import authority
from tests.tls.authority import Signer

WEEK = timedelta(days=7)


@dataclass
class Clock:
    """Time that goes on when it is told to."""

    now: datetime = authority.NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Authority:
    """Issues at once, for `life`; refuses more than Let's Encrypt would give.

    `advises` makes it suggest the middle of the third part of a life, as Let's Encrypt does.
    """

    clock: Clock
    life: timedelta = timedelta(days=90)
    method: str = "letsencrypt"
    advises: bool = False
    failing: Callable[[datetime], InsightError | None] = lambda _: None
    issued: list[datetime] = field(default_factory=list)
    failed: list[datetime] = field(default_factory=list)
    replaced: list[str | None] = field(default_factory=list)
    revoked: list[int] = field(default_factory=list)
    signer: Signer | None = None

    async def issue(self, wanted: Wanted, *, replaces: Certificate | None) -> Issued:
        now = self.clock()
        problem = self.failing(now)
        if problem is not None:
            self.failed.append(now)
            raise problem
        if sum(now - moment < WEEK for moment in self.issued) >= 5:
            raise RateLimited("5 equal certificates in a week", retry_after=3600)
        self.issued.append(now)
        self.replaced.append(replaces.fingerprint if replaces else None)
        signer = self.signer or authority.signed(
            wanted.names[0],
            authority.root(),
            names=wanted.names,
            begins=now - timedelta(hours=1),
            ends=now - timedelta(hours=1) + self.life,
        )
        return Issued(signer.chain, signer.key_bytes)

    async def advice(self, current: Certificate, now: datetime) -> Advice | None:
        if not self.advises:
            return None
        middle = current.begins + current.lifetime * (0.5 if self.life < timedelta(10) else 2 / 3)
        spread = current.lifetime * 0.02
        return Advice(Window(middle - spread, middle + spread), now + timedelta(hours=6))

    async def revoke(self, found: Certificate, *, reason: int) -> None:
        self.revoked.append(reason)
