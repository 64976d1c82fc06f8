"""What is said: one message with a severity, cleaned and bounded where it is made.

Apart from the channels, so that each of them may rely on it: a title is one line, nothing holds
control characters, and nothing is longer than the limits here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, get_args
from urllib.parse import urlsplit
from uuid import uuid4

__all__ = ["SEVERITIES", "Message", "Severity", "clip", "severe_enough"]

Severity = Literal["info", "warning", "error", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the mildest to the worst."""

_TITLE = 300
_BODY = 20_000
_FACTS = 20
_FACT_NAME = 100
_FACT_VALUE = 1_000
_LINK = 2_000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Message:
    """Something that an operator should know.

    `source` names what happened as `component.event`. `key` says when two messages are the same
    one: by default when severity, source and title are. Put what changes, such as a figure,
    into the body or the facts, so that a repetition can be recognised.

    Text that is too long is cut, characters that could deceive a reader become spaces, and
    facts beyond the twentieth are left out, each visibly.

    Raises:
        ValueError: the severity is unknown, or the link is no HTTP URL.
    """

    title: str
    body: str = ""
    severity: Severity = "info"
    source: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    link: str | None = None
    key: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: uuid4().hex)
    """The same in every channel and at every attempt, so that a receiver can tell a repetition."""

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"a severity is one of {', '.join(SEVERITIES)}: {self.severity!r}")
        if self.link is not None and not _is_link(self.link):
            raise ValueError("the link of a message must be an http or https URL")
        clean = {
            "title": clip(_line(self.title), _TITLE) or "(no title)",
            "body": clip(_clean(self.body).strip(), _BODY),
            "source": clip(_line(self.source), _FACT_NAME),
            "facts": _facts(self.facts),
        }
        for name, value in clean.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "key", self.key or f"{self.severity}|{self.source}|{self.title}")

    @property
    def subject(self) -> str:
        """Severity and title in one line."""
        return f"[{self.severity}] {self.title}"

    @property
    def text(self) -> str:
        """All but the title, as plain text of many lines."""
        facts = "\n".join(f"{name}: {value}" for name, value in self.facts.items())
        parts = (self.body, facts, self.link or "", self.origin)
        return "\n\n".join(part for part in parts if part) + "\n"

    @property
    def origin(self) -> str:
        """Where and when, in one line."""
        at = self.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return " · ".join(part for part in (self.source, self.severity, at) if part)


def severe_enough(severity: Severity, minimum: Severity) -> bool:
    """Whether `severity` is `minimum` or worse."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(minimum)


def clip(text: str, limit: int) -> str:
    """`text`, cut to `limit` characters with an ellipsis at its end.

    Characters are counted as UTF-16 does, where an emoji is two: no service counts more.
    """
    units = text.encode("utf-16-le")
    if len(units) <= 2 * limit:
        return text
    return units[: 2 * (limit - 1)].decode("utf-16-le", "ignore") + "…"


def _facts(facts: Mapping[str, object]) -> Mapping[str, str]:
    kept = {
        clip(_line(str(name)), _FACT_NAME) or "-": clip(_clean(str(value)), _FACT_VALUE) or "-"
        for name, value in list(facts.items())[:_FACTS]
    }
    if len(facts) > _FACTS:
        kept["left out"] = f"{len(facts) - _FACTS} more facts"
    return MappingProxyType(kept)


def _line(text: str) -> str:
    return " ".join(_clean(text).split())


def _clean(text: str) -> str:
    """Valid Unicode without control characters, or characters that turn the writing direction."""
    return _CONTROL.sub(" ", text.encode("utf-8", "replace").decode().replace("\r\n", "\n"))


def _is_link(link: str) -> bool:
    """Whether it is an HTTP URL without blanks, quotes or angle brackets."""
    if len(link) > _LINK or not re.fullmatch(r"[!-~]+", link) or re.search(r'[<>"|\\^`{}]', link):
        return False
    try:
        parts = urlsplit(link)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
