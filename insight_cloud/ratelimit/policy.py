"""What is limited and what was decided: plain data that every other file here speaks of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, NamedTuple, TypeAlias, cast

import msgspec

from insight_cloud.core.errors import SettingsError

__all__ = ["Decision", "OnFailure", "Pair", "Policy", "Row", "Source", "Standing", "parse"]

OnFailure = Literal["local", "closed", "open"]
"""Who decides while Redis is away: this process alone, nobody (refused), nobody (admitted)."""

Source = Literal["memory", "redis", "fallback", "open", "closed"]
"""Who decided: the process (there is no Redis), Redis, or a policy's `on_failure`."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_TIER = re.compile(r"(\d+) */ *(\d+) *(s|min|m|h|d)(?:[ ,]+(local|closed|open))?")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_LARGEST_LIMIT = 1_000_000  # 8 bytes a permit: 8 MB for one key


@dataclass(frozen=True, slots=True)
class Policy:
    """At most `limit` permits in any `window`, for each key.

    The name is part of the stored key and of the response headers, so two policies of one
    limiter must not share it. A full key takes 8 bytes a permit.
    """

    name: str
    limit: int
    window: timedelta
    on_failure: OnFailure = "local"
    seconds: float = field(init=False, repr=False, compare=False)
    """The window in seconds, at hand for the arithmetic of each check."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SettingsError(
                f"rate limit {self.name!r}: a name is a small letter, then letters, digits, - or _"
            )
        if not 1 <= self.limit <= _LARGEST_LIMIT:
            raise SettingsError(f"rate limit {self.name}: the limit must be 1 to {_LARGEST_LIMIT}")
        if not timedelta(milliseconds=1) <= self.window <= timedelta(days=366):
            raise SettingsError(f"rate limit {self.name}: the window must be 1 ms to 366 days")
        object.__setattr__(self, "seconds", self.window.total_seconds())


Pair: TypeAlias = tuple[Policy, str]
"""A policy and the key (a user, a token, an address) that it is applied to."""

Row: TypeAlias = tuple[int, float, float]
"""`remaining`, `wait_seconds`, `next_seconds` of a standing."""


class Standing(NamedTuple):
    """How one key stood with one policy after the decision."""

    policy: Policy
    key: str
    remaining: int
    """Permits left."""
    wait_seconds: float
    """Until the same request can be admitted; 0 when this policy admits it."""
    next_seconds: float
    """Until more than `remaining` become available; 0 when none is in use."""


class Decision(msgspec.Struct, eq=False, gc=False):
    """Whether a request is admitted. True when it is.

    A Struct, because it is made for every check and C does that in half the time. It is no
    business of the garbage collector: nothing that it holds can lead back to it.
    """

    admitted: bool
    pairs: Sequence[Pair]
    rows: Sequence[Row]
    cost: int
    source: Source
    stamps: Sequence[float]
    at: float
    _clock: Callable[[], float]

    def __bool__(self) -> bool:
        return self.admitted

    def __repr__(self) -> str:
        word = "admitted" if self.admitted else "denied"
        return f"<Decision {word} by {self.source}: {list(self.standings)}>"

    @property
    def degraded(self) -> bool:
        """Whether Redis should have decided and could not."""
        return self.source not in {"memory", "redis"}

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Each policy's standing, as far as it is known, with times counted from now on."""
        passed = self._clock() - self.at
        return tuple(
            Standing(policy, key, remaining, max(0.0, wait - passed), max(0.0, following - passed))
            for (policy, key), (remaining, wait, following) in zip(
                self.pairs, self.rows, strict=False
            )
        )

    @property
    def retry_after(self) -> float:
        """Seconds from now until the same request can be admitted by every policy."""
        if self.admitted:
            return 0.0
        if not self.rows:
            return 1.0  # Redis is away and the policy is closed; it is asked again each second
        return max(0.0, max(row[1] for row in self.rows) - (self._clock() - self.at))

    @property
    def violated(self) -> tuple[Policy, ...]:
        """The policies that refuse."""
        if self.admitted:
            return ()
        if not self.rows:
            return tuple(policy for policy, _ in self.pairs)
        rows = zip(self.pairs, self.rows, strict=False)
        return tuple(policy for (policy, _), row in rows if row[1] > 0)


def parse(name: str, text: str) -> Policy:
    """Read `100/15m open`: limit, window (s, m, h, d) and, if not local, `on_failure`.

    Raises:
        SettingsError: it is not of this form, or a number is out of range.
    """
    match = _TIER.fullmatch(text.strip())
    if match is None:
        raise SettingsError(
            f"rate limit {name}: {text!r} is not LIMIT/WINDOW, as in '100/15m' or '5/15m closed'"
        )
    limit, count, unit, on_failure = match.groups()
    if len(limit) > 9 or len(count) > 9:
        raise SettingsError(f"rate limit {name}: {text!r} has a number that is too large")
    window = timedelta(seconds=int(count) * _UNITS[unit])
    return Policy(name, int(limit), window, cast("OnFailure", on_failure or "local"))
