"""Views to HTML: the Jinja environment, strict and escaping, and the words it puts numbers in."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from insight_cloud.app.accounts import rules
from insight_cloud.app.dashboard import assets, operations
from insight_cloud.app.dashboard.views import Frame

__all__ = ["ago", "breakable", "page", "prose"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_QUOTED = re.compile(r"`([^`\n]+)`")
_JOINT = re.compile(r"([/\\._\-:,()\[\]])(?=.)")


def page(template: str, frame: Frame, view: Any = None) -> str:
    """Render `template` with `frame` around it."""
    return _ENVIRONMENT.get_template(template).render(frame=frame, view=view)


def ago(then: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that fits: "just now", "5 min ago", "3 days ago"."""
    seconds = int((now - then).total_seconds())
    if seconds < _MINUTE:
        return "just now"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min ago"
    if seconds < _DAY:
        return f"{seconds // _HOUR} h ago"
    days = seconds // _DAY
    if days < 60:
        return f"{days} day{'s' * (days > 1)} ago"
    if days < 730:
        return f"{days // 30} months ago"
    return f"{days // 365} years ago"


def _until(then: datetime, now: datetime) -> str:
    """How long until then, in days, the last one counted in full."""
    if then <= now:
        return "expired"
    days = math.ceil((then - now).total_seconds() / _DAY)
    return f"in {days} day{'s' * (days > 1)}"


def _stamp(moment: datetime) -> str:
    """A full date and time for people, in UTC."""
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y, %H:%M} UTC"


def prose(text: str) -> Markup:
    """A tool's plain message, escaped; what stands between backticks is set as code."""
    parts = _QUOTED.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part)
        for index, part in enumerate(parts)
    )


def breakable(text: str) -> Markup:
    """A path or name, escaped, with places where a line may break after its separators."""
    parts = _JOINT.split(text)
    return Markup("").join(
        Markup("{}<wbr>").format(part) if index % 2 else escape(part)
        for index, part in enumerate(parts)
    )


def _number(value: int) -> str:
    return f"{value:,}"


def _signed(value: int) -> str:
    """A change with its sign; a real minus sign."""
    return f"{value:+,}".replace("-", "−") if value else "±0"  # noqa: RUF001 - see above


def _seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{value // 60:.0f} min {value % 60:.0f} s"


def _span(seconds: int) -> str:
    """How long something takes, in the largest unit that says enough, rounded up."""
    for unit, size in (("days", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 2 * size:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{seconds} s"


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("insight_cloud.app.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        asset=assets.address,
        integrity=assets.integrity,
        periods=operations.PERIODS,
        password_length=rules.PASSWORD_LIMITS[0],
    )
    environment.filters.update(
        ago=ago,
        until=_until,
        stamp=_stamp,
        prose=prose,
        breakable=breakable,
        number=_number,
        signed=_signed,
        seconds=_seconds,
        plural=_plural,
        span=_span,
    )
    return environment


_ENVIRONMENT = _environment()
