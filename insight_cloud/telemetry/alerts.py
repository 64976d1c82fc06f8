"""When to call an operator: rules with patience and memory, pure, and who asks them.

A value must lie above its limit for a while before it is told, and clearly below it for as
long before the all-clear: so one bad second wakes nobody, and a value at the limit does not
alternate. While it goes on, it is told again from time to time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from insight_cloud.telemetry.history import History, Period
from insight_cloud.telemetry.middleware import REQUESTS
from insight_cloud.telemetry.series import Sample

__all__ = ["Alert", "Alerts", "Rule", "State", "Word", "rules", "step"]

log = logging.getLogger("insight.alert")

Word: TypeAlias = Literal["began", "continues", "ended"]
_SEND_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One value and its limit.

    `value` returns the present value, or None when nothing can be said. `about` is the sentence
    for people, with `{value}` and `{limit}`. The alert ends below `clear`, by default four
    fifths of the limit.
    """

    name: str
    about: str
    value: Callable[[], float | None]
    above: float
    clear: float | None = None
    for_seconds: float = 60.0
    repeat_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class State:
    """How a rule stands: since when across the line, since when told, and when last."""

    crossed: float | None = None
    began: float | None = None
    told: float = 0.0


@dataclass(frozen=True, slots=True)
class Alert:
    """What is sent. `text` is a sentence; `since` is when it began."""

    name: str
    word: Word
    text: str
    value: float
    limit: float
    since: datetime


def step(rule: Rule, state: State, value: float | None, now: float) -> tuple[State, Word | None]:
    """How `rule` stands after `value` at `now`, and what is to be told, if anything.

    Where nothing can be said, nothing begins or ends.
    """
    firing = state.began is not None
    if value is None:
        return replace(state, crossed=None), None
    clear = rule.above * 0.8 if rule.clear is None else rule.clear
    if (value > clear) if firing else (value <= rule.above):  # on the side where it was
        if firing and now - state.told >= rule.repeat_seconds:
            return replace(state, crossed=None, told=now), "continues"
        return replace(state, crossed=None), None
    crossed = now if state.crossed is None else state.crossed
    if now - crossed < rule.for_seconds:
        return replace(state, crossed=crossed), None
    return (State(), "ended") if firing else (State(None, crossed, now), "began")


class Alerts:
    """Asks the rules, and sends what is to be told.

    Args:
        rules: what is watched.
        send: takes an alert to people. One that raises, or takes over 30 seconds, is logged and
            counted in `failures`, and the alert is sent again at the next step.
        leads: whether this process is the one that tells (`Leader`), so that four workers do
            not say the same four times.
        clock: Unix seconds.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        send: Callable[[Alert], Awaitable[None]],
        *,
        leads: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rules = tuple(rules)
        self._send = send
        self._leads = leads
        self._clock = clock
        self._states = {rule.name: State() for rule in self._rules}
        self._firing: dict[str, Alert] = {}
        self._broken: set[str] = set()
        self._unsent: set[str] = set()
        self.failures = 0

    @property
    def firing(self) -> tuple[Alert, ...]:
        """What goes on now, as it was told last."""
        return tuple(self._firing.values())

    @property
    def unsent(self) -> int:
        """How many alerts wait for a channel that takes them."""
        return len(self._unsent)

    def samples(self) -> Iterable[Sample]:
        """A collector."""
        yield "alert_firing", {}, float(len(self._firing))
        yield "alert_send_failed_total", {}, float(self.failures)

    async def step(self) -> None:
        """Ask every rule once: to be called every few seconds."""
        if self._leads():
            for rule in self._rules:
                await self._judge(rule, self._value(rule))

    def _value(self, rule: Rule) -> float | None:
        try:
            value = rule.value()
        except Exception:
            if rule.name not in self._broken:  # once for a row of failures
                log.exception("alert.not_asked: %s", rule.name)
            self._broken.add(rule.name)
            return None
        self._broken.discard(rule.name)
        return value

    async def _judge(self, rule: Rule, value: float | None) -> None:
        now = self._clock()
        before = self._states[rule.name]
        after, word = step(rule, before, value, now)
        if word is None or value is None:
            self._states[rule.name] = after
            self._unsent.discard(rule.name)
            return
        since = datetime.fromtimestamp(after.began or before.began or now, UTC)
        text = rule.about.format(value=value, limit=rule.above)
        alert = Alert(rule.name, word, _sentence(word, text), value, rule.above, since)
        if not await self._sent(alert):
            self._unsent.add(rule.name)
        else:
            self._unsent.discard(rule.name)
            self._states[rule.name] = after
            self._firing[rule.name] = alert
            if word == "ended":
                del self._firing[rule.name]

    async def _sent(self, alert: Alert) -> bool:
        extra = {"alert": alert.name, "word": alert.word, "value": alert.value}
        level = logging.INFO if alert.word == "ended" else logging.WARNING
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._send(alert)
        except Exception as error:  # noqa: BLE001 - whatever a channel raises, the watch goes on
            self.failures += 1
            log.error("alert.not_sent: %s: %s: %s", alert.text, type(error).__name__, error)  # noqa: TRY400 - the stack is the channel's
            return False
        log.log(level, "alert.%s: %s", alert.word, alert.text, extra=extra)
        return True


def rules(
    history: History,
    *,
    error_share: float = 0.01,
    p95_seconds: float = 2.0,
    slow_queries: int = 1,
    memory_share: float = 0.9,
    memory: Callable[[], float | None] = lambda: None,
    slow_query_metric: str = "database_slow_query_total",
    window_seconds: float = 300.0,
    fewest: int = 20,
    for_seconds: float = 60.0,
    repeat_seconds: float = 3600.0,
) -> Sequence[Rule]:
    """The four alerts that every service needs: errors, slowness, slow statements, memory.

    Args:
        history: of the requests.
        error_share: share of 5xx above which it is told.
        p95_seconds: 95th percentile above which it is told.
        slow_queries: how many slow statements in the window are told.
        memory_share: share of the memory above which it is told.
        memory: returns the share in use, or None where that is not known.
        slow_query_metric: the counter of slow statements.
        window_seconds: over which the requests are judged.
        fewest: fewer requests than these say nothing: one error in three is no third.
        for_seconds: how long a value must be above its limit.
        repeat_seconds: after how long it is told again.
    """
    recent = _Recent(history, window_seconds)

    def errors() -> float | None:
        period = recent()
        requests = period.count(REQUESTS)
        return period.count(REQUESTS, status="5xx") / requests if requests >= fewest else None

    def p95() -> float | None:
        period = recent()
        return period.percentile(REQUESTS, 0.95) if period.count(REQUESTS) >= fewest else None

    def slow() -> float:
        return recent().count(slow_query_metric)

    common = {"for_seconds": for_seconds, "repeat_seconds": repeat_seconds}
    return (
        Rule(
            "http.errors",
            "{value:.1%} of the requests fail (limit {limit:.1%})",
            errors,
            error_share,
            **common,
        ),
        Rule(
            "http.p95",
            "one request in twenty takes over {value:.2g} s (limit {limit:g} s)",
            p95,
            p95_seconds,
            **common,
        ),
        Rule(
            "database.slow_queries",
            f"{{value:.0f}} slow statements in {window_seconds / 60:g} minutes",
            slow,
            slow_queries - 0.5,
            clear=0.5,
            for_seconds=0.0,
            repeat_seconds=repeat_seconds,
        ),
        Rule(
            "process.memory",
            "{value:.0%} of the memory is in use (limit {limit:.0%})",
            memory,
            memory_share,
            clear=memory_share * 0.95,
            **common,
        ),
    )


class _Recent:
    """The last window, read once for all rules of a step: a reading goes over every series."""

    def __init__(self, history: History, seconds: float) -> None:
        self._history = history
        self._seconds = seconds
        self._read: tuple[float, Period] | None = None

    def __call__(self) -> Period:
        now = self._history.clock()
        if self._read is None or not 0 <= now - self._read[0] < 1:
            self._read = (now, self._history.over(self._seconds))
        return self._read[1]


def _sentence(word: Word, text: str) -> str:
    prefix = {"began": "", "continues": "Still: ", "ended": "Over: now "}[word]
    return prefix + text if prefix else text[:1].upper() + text[1:]
