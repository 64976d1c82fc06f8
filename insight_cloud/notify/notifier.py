"""`Notifier`: what people import. It says a message in every channel and never fails for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import SystemRandom
from typing import Self

from insight_cloud.core.errors import InsightError, RateLimited, SettingsError, Unavailable
from insight_cloud.core.report import Check, Report, stopwatch
from insight_cloud.notify.channel import Channel
from insight_cloud.notify.message import SEVERITIES, Message, Severity, severe_enough
from insight_cloud.notify.quiet import Held, Quiet
from insight_cloud.notify.retry import pause_seconds

__all__ = ["ChannelStats", "Notifier"]

_log = logging.getLogger("insight_cloud.notify")

_ATTEMPTS = 4
_CLOSING_SECONDS = 5.0
_SYSTEM_RANDOM = SystemRandom()


@dataclass(slots=True)
class _Counts:
    sent: int = 0
    failed: int = 0
    held: int = 0
    retries: int = 0
    last_failure: str = ""


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """What became of the messages for one channel, since the start."""

    name: str
    minimum: Severity
    sent: int
    failed: int
    held: int
    retries: int
    last_failure: str
    """Why the last message was not taken; empty when it was."""


@dataclass(slots=True)
class _Line:
    """A channel, and what is known of it."""

    channel: Channel
    minimum: Severity
    quiet: Quiet
    counts: _Counts = field(default_factory=_Counts)
    not_before: float = 0.0
    """The channel asked to be left alone until then."""

    @property
    def check_name(self) -> str:
        return f"notify.{self.channel.name}"


class Notifier:
    """Says messages in all `channels`, each at once and by itself.

    `send` never raises for what a channel does. A failure that may pass is tried again, up to
    four times within `deadline_seconds`; one attempt lasts at most `attempt_seconds`. The same
    message is said once in `repeat_seconds`, and at most `burst` different ones in that time;
    what was held back is told with the next one, or by a summary: as a context manager, a
    notifier sends that in the background and at its end. `minimum` is the mildest severity of a
    channel, by its name.

    Raises:
        SettingsError: two channels have one name, or `minimum` names none.
    """

    def __init__(
        self,
        channels: Iterable[Channel] = (),
        *,
        minimum: Mapping[str, Severity] | None = None,
        repeat_seconds: float = 900,
        burst: int = 30,
        deadline_seconds: float = 30,
        attempt_seconds: float = 10,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = _SYSTEM_RANDOM.random,
    ) -> None:
        least = dict(minimum or {})
        self._lines = tuple(
            _Line(channel, least.pop(channel.name, SEVERITIES[0]), Quiet(repeat_seconds, burst))
            for channel in channels
        )
        names = [line.channel.name for line in self._lines]
        if len(set(names)) < len(names):
            raise SettingsError(f"two channels have the same name: {', '.join(sorted(names))}")
        if least:
            raise SettingsError(f"there is no channel {', '.join(least)} to have a minimum")
        self._repeat = repeat_seconds
        self._deadline = deadline_seconds
        self._attempt_seconds = attempt_seconds
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._flushing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._flushing = asyncio.create_task(self._keep_flushing(), name="notify-summaries")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            with suppress(asyncio.CancelledError):
                await self._flushing
            self._flushing = None
        await self.flush(everything=True)

    async def send(self, message: Message) -> Report:
        """Say `message` in every channel; a check for each tells what became of it.

        `skip` is a message that was too mild, or held back as a repetition. Waits until every
        channel has answered or was given up: up to `deadline_seconds`.
        """
        return Report.of(await asyncio.gather(*(self._say(line, message) for line in self._lines)))

    async def flush(self, *, everything: bool = False) -> Report:
        """Tell what was held back and whose time is over, or all; a check for each summary."""
        now = float("inf") if everything else self._clock()
        deadline = min(self._deadline, _CLOSING_SECONDS) if everything else self._deadline
        told = await asyncio.gather(*(self._sum_up(line, now, deadline) for line in self._lines))
        return Report.of(check for check in told if check is not None)

    def stats(self) -> tuple[ChannelStats, ...]:
        """The counts of each channel."""
        return tuple(
            ChannelStats(
                line.channel.name,
                line.minimum,
                line.counts.sent,
                line.counts.failed,
                line.counts.held,
                line.counts.retries,
                line.counts.last_failure,
            )
            for line in self._lines
        )

    # -- one message in one channel ------------------------------------------------------------

    async def _say(self, line: _Line, message: Message) -> Check:
        if not severe_enough(message.severity, line.minimum):
            return Check(line.check_name, "skip", f"only {line.minimum} and worse")
        held = line.quiet.admit(message, self._clock())
        if held is None:
            line.counts.held += 1
            return Check(line.check_name, "skip", "held back: said a moment ago, or too many")
        delivered = False
        try:
            check = await self._deliver(line, _with_held(message, held), self._deadline)
            delivered = check.status == "pass"
        finally:  # also when the caller was cancelled
            if not delivered:
                line.quiet.failed(message, held)
        return check

    async def _sum_up(self, line: _Line, now: float, deadline: float) -> Check | None:
        held = line.quiet.take_due(now)
        if not held:
            return None
        delivered = False
        try:
            check = await self._deliver(line, _summary(held), deadline)
            delivered = check.status == "pass"
        finally:
            if not delivered:
                line.quiet.restore(held)
        return check

    async def _deliver(self, line: _Line, message: Message, deadline: float) -> Check:
        """Try until it is taken, it is refused, or the time is over."""
        with stopwatch() as watch:
            limit = self._clock() + deadline
            for attempt in range(_ATTEMPTS):
                error = await self._attempt(line, message, limit)
                if error is None or not isinstance(error, (Unavailable, RateLimited)):
                    break
                asked = error.retry_after
                line.not_before = max(line.not_before, self._clock() + asked)
                pause = pause_seconds(attempt, asked, self._random())
                if attempt + 1 == _ATTEMPTS or self._clock() + pause > limit:
                    break
                line.counts.retries += 1
                await self._sleep(pause)
        return self._told(line, message, error, watch.seconds)

    async def _attempt(self, line: _Line, message: Message, limit: float) -> InsightError | None:
        """Try once. What went wrong is returned: here is where a channel's failures end."""
        wait = line.not_before - self._clock()
        if wait > 0:
            if self._clock() + wait > limit:
                return Unavailable(
                    f"{line.channel.name}: asked for no message in the next {wait:.0f} s",
                    retry_after=wait,
                )
            await self._sleep(wait)
        seconds = min(self._attempt_seconds, max(limit - self._clock(), 0.01))
        try:
            async with asyncio.timeout(seconds):
                await line.channel.deliver(message)
        except TimeoutError:
            return Unavailable(f"{line.channel.name}: no answer in {seconds:.1f} s", retry_after=0)
        except InsightError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a channel's fault must not hurt the caller
            # Neither its text nor its traceback: they may hold the address.
            return InsightError(f"{line.channel.name}: failed with {type(error).__name__}")
        return None

    def _told(
        self, line: _Line, message: Message, error: InsightError | None, seconds: float
    ) -> Check:
        counts = line.counts
        if error is None:
            counts.sent += 1
            counts.last_failure = ""
            _log.info("notify.sent %s: %s", line.channel.name, message.source or message.id)
            return Check(line.check_name, "pass", f"taken in {seconds:.1f} s", seconds)
        counts.failed += 1
        counts.last_failure = str(error)
        # What nobody could be told is in the log, at least.
        _log.error("notify.failed %s; the message was: %s", error, message.subject)
        return Check(line.check_name, "fail", str(error), seconds)

    async def _keep_flushing(self) -> None:
        while True:
            await self._sleep(max(self._repeat / 4, 1))
            await self.flush()


def _with_held(message: Message, held: int) -> Message:
    """The message, with how many like it were held back or lost before."""
    if not held:
        return message
    facts = {"held back before": f"{held} of the same", **message.facts}
    return replace(message, facts=facts)


def _summary(held: Sequence[Held]) -> Message:
    count = sum(one.count for one in held)
    lines = [f"{one.count} times: {one.title}" for one in sorted(held, key=lambda one: -one.count)]
    return Message(
        f"{count} {'message was' if count == 1 else 'messages were'} held back",
        "Repetitions, more than this channel is sent at once, or not taken by it:\n"
        + "\n".join(lines),
        severity=max((one.severity for one in held), key=SEVERITIES.index),
        source="notify.held",
    )
