"""When a job runs: a few times a day, on one day a week, or on one day a month. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from insight_cloud.core.errors import SettingsError

__all__ = ["WEEKDAYS", "When", "daily", "monthly", "parse", "several", "weekly"]

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_LAST_DAY = 28  # every month has it
_DAY_MINUTES = 24 * 60
_FORMS = "daily 02:00[,14:00], weekly sunday 03:00, monthly 1 04:00"


@dataclass(frozen=True, slots=True)
class When:
    """`times` on every day, or on `weekday` (0 is Monday), or on the `day` of every month.

    They are times of the machine's own clock on the wall, as an operator means them.
    """

    times: tuple[time, ...]
    weekday: int | None = None
    day: int | None = None

    def __str__(self) -> str:
        times = ",".join(f"{moment:%H:%M}" for moment in self.times)
        if self.weekday is not None:
            return f"weekly {WEEKDAYS[self.weekday]} {times}"
        return f"daily {times}" if self.day is None else f"monthly {self.day} {times}"

    def previous(self, now: datetime, zone: tzinfo | None = None) -> datetime:
        """Return the last moment at or before `now` (aware); `zone` is by default the machine's."""
        today = now.astimezone(zone).date()
        days = (today - timedelta(days=back) for back in range(63))
        return next(
            moment
            for one in days
            if self._on(one)
            for moment in sorted(self._moments(one, zone), reverse=True)
            if moment <= now
        )

    def following(self, now: datetime, zone: tzinfo | None = None) -> datetime:
        """Return the first moment after `now`."""
        today = now.astimezone(zone).date()
        days = (today + timedelta(days=ahead) for ahead in range(63))
        return next(
            moment
            for one in days
            if self._on(one)
            for moment in sorted(self._moments(one, zone))
            if moment > now
        )

    def _on(self, one: date) -> bool:
        return self.weekday in {None, one.weekday()} and self.day in {None, one.day}

    def _moments(self, one: date, zone: tzinfo | None) -> list[datetime]:
        """The moments of one day. A time that the clock skips that day is an hour later."""
        walls = [datetime.combine(one, moment) for moment in self.times]
        if zone is None:
            return [wall.astimezone() for wall in walls]
        return [wall.replace(tzinfo=zone) for wall in walls]


def daily(*times: str) -> When:
    """Every day at `times`, each written HH:MM."""
    return When(_times(times))


def weekly(weekday: str, at: str) -> When:
    """Every week on `weekday` (English, at least three letters) at HH:MM."""
    found = [n for n, name in enumerate(WEEKDAYS) if name.startswith(weekday.lower())]
    if len(weekday) < 3 or len(found) != 1:
        raise SettingsError(
            f"{weekday!r} is no day of the week: write one of {', '.join(WEEKDAYS)}"
        )
    return When(_times([at]), weekday=found[0])


def monthly(day: int, at: str) -> When:
    """Every month on `day` (1 to 28, which every month has) at HH:MM."""
    if not 1 <= day <= _LAST_DAY:
        raise SettingsError(f"a monthly job runs on a day from 1 to {_LAST_DAY}, not on {day}")
    return When(_times([at]), day=day)


def several(count: int, *, seed: str) -> When:
    """`count` times a day, at minutes that look random and are always the same for `seed`.

    One falls into each of `count` equal parts of the day. Machines with different seeds do
    not all knock at the same door at the same minute.
    """
    if not 1 <= count <= 24:
        raise SettingsError(f"a job runs 1 to 24 times a day, not {count} times")
    length = _DAY_MINUTES // count
    starts = [part * _DAY_MINUTES // count for part in range(count)]
    minutes = [start + _drawn(f"{seed}/{start}", length) for start in starts]
    return When(tuple(time(*divmod(minute, 60)) for minute in minutes))


def parse(text: str) -> When:
    """Read what `str(when)` writes.

    Raises:
        SettingsError: it has none of the three forms.
    """
    match text.split():
        case ["daily", times]:
            return daily(*times.split(","))
        case ["weekly", weekday, at]:
            return weekly(weekday, at)
        case ["monthly", day, at] if re.fullmatch(r"[0-9]{1,2}", day):
            return monthly(int(day), at)
    raise SettingsError(f"{text[:60]!r} is no schedule; write {_FORMS}")


def _times(texts: tuple[str, ...] | list[str]) -> tuple[time, ...]:
    moments = set()
    for text in texts:
        found = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text.strip())
        if found is None:
            raise SettingsError(f"{text[:20]!r} is no time of day: write HH:MM")
        moments.add(time(int(found[1]), int(found[2])))
    if not moments:
        raise SettingsError("a job without a time never runs: write HH:MM")
    return tuple(sorted(moments))


def _drawn(seed: str, below: int) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) % below
