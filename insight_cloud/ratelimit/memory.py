"""The limits of one process: exact logs in memory, bounded, and never forgotten too early.

Everything here is synchronous: between two checks of one event loop nothing can happen.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from insight_cloud.ratelimit.policy import Decision, Pair, Policy, Row, Source
from insight_cloud.ratelimit.window import Log

__all__ = ["Memory"]

_SWEEP = 2  # keys looked at for each new one: twice the rate at which they come
_SWEEP_FULL = 16


class Memory:
    """Exact windows for up to `max_keys` keys of each policy.

    A key is dropped only when nothing of it is in the window any more. When `max_keys` are in
    use, every further key of that policy shares one log: strangers can use each other's
    permits up, and nobody gets a permit more by being pushed out.
    """

    def __init__(
        self, *, max_keys: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_keys = max_keys
        self._clock = clock
        self._tables: dict[str, _Table] = {}

    def hit(self, policy: Policy, key: str, cost: int, source: Source = "memory") -> Decision:
        """Admit and note `cost` permits of one policy, or deny and note nothing."""
        clock = self._clock
        now = clock()
        try:
            log = self._tables[policy.name].logs[key]
        except KeyError:
            log = self._log(policy, key, now)
        row = log.take(now, policy.seconds, policy.limit, cost)
        return Decision(not row[1], ((policy, key),), (row,), cost, source, (), now, clock)

    def hit_all(self, pairs: Sequence[Pair], cost: int, source: Source = "memory") -> Decision:
        """Admit and note when every policy admits; else deny and note nothing anywhere."""
        now = self._clock()
        logs = [self._log(policy, key, now) for policy, key in pairs]
        rows = [_row(log, policy, cost, now) for log, (policy, _) in zip(logs, pairs, strict=True)]
        admitted = not any(wait for _, wait, _ in rows)
        if admitted and cost:
            for log in logs:
                log.add(now, cost)
            rows = [
                (left - cost, 0.0, following or policy.seconds)
                for (left, _, following), (policy, _) in zip(rows, pairs, strict=True)
            ]
        return Decision(admitted, tuple(pairs), rows, cost, source, (), now, self._clock)

    def note(self, pairs: Sequence[Pair], cost: int) -> None:
        """Note permits that Redis has given, as far as there is room for them here."""
        now = self._clock()
        for policy, key in pairs:
            log = self._log(policy, key, now)
            room = policy.limit - log.count(now, policy.seconds)
            log.add(now, min(cost, room))

    def peek(self, pairs: Sequence[Pair]) -> Decision:
        """Say how the pairs stand, and change nothing."""
        return self.hit_all(pairs, 0)

    def reset(self, pairs: Sequence[Pair]) -> None:
        """Give every permit back."""
        for policy, key in pairs:
            table = self._tables.get(policy.name)
            if table is not None and key in table.logs:
                table.logs[key] = Log()

    def refund(self, decision: Decision) -> None:
        """Give back what `decision` took."""
        for policy, key in decision.pairs:
            self._log(policy, key, self._clock()).remove(decision.at, decision.cost)

    def __len__(self) -> int:
        return sum(len(table.logs) for table in self._tables.values())

    def _log(self, policy: Policy, key: str, now: float) -> Log:
        table = self._tables.get(policy.name)
        if table is None:
            table = self._tables[policy.name] = _Table()
        log = table.logs.get(key)
        return log if log is not None else table.enter(key, policy, now, self._max_keys)


class _Table:
    """The logs of one policy."""

    __slots__ = ("_queue", "_shared", "logs")

    def __init__(self) -> None:
        self.logs: dict[str, Log] = {}
        self._queue: deque[str] = deque()
        self._shared = Log()

    def enter(self, key: str, policy: Policy, now: float, max_keys: int) -> Log:
        """Return a log for a new key: its own, or the shared one when there is no room."""
        self._sweep(policy, now, _SWEEP if len(self.logs) < max_keys else _SWEEP_FULL)
        if len(self.logs) >= max_keys:
            return self._shared
        # Who comes now may have used the shared log a moment ago: it begins with what is there.
        log = Log() if self._shared.idle(now, policy.seconds) else self._shared.copy()
        self.logs[key] = log
        self._queue.append(key)
        return log

    def _sweep(self, policy: Policy, now: float, number: int) -> None:
        for _ in range(min(number, len(self._queue))):
            key = self._queue.popleft()
            if self.logs[key].idle(now, policy.seconds):
                del self.logs[key]
            else:
                self._queue.append(key)


def _row(log: Log, policy: Policy, cost: int, now: float) -> Row:
    window = policy.seconds
    live = log.count(now, window)
    over = live + cost - policy.limit
    wait = log.leaves(over - 1, now, window) if cost and over > 0 else 0.0
    return policy.limit - live, wait, log.leaves(0, now, window) if live else 0.0
