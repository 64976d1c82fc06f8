"""Structured logs on the standard `logging`: JSON or lines, the request's id, no secrets.

Every program logs as before, `log.warning("cache.unavailable: %s", error)`; what stands before
the colon becomes the event's name.
"""

from __future__ import annotations

import contextvars
import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from insight_cloud.core.errors import SettingsError

__all__ = ["Format", "JsonFormatter", "LineFormatter", "clean", "config", "redact", "request_id"]

Format: TypeAlias = Literal["json", "line", "auto"]

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("insight.request_id", default="")
"""The id of the request that the present task serves; empty outside of one."""

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_EVENT = re.compile(r"([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)(?:: ?|$)")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_TEXT_CHARACTERS = 8000
_ITEMS = 200
_HIDDEN = "[redacted]"
_CHATTY = {"azure": "WARNING", "httpx": "WARNING", "urllib3": "WARNING"}
"""Libraries that tell of each of their requests as if it were news."""

_NAMES = (
    r"(?:[a-z0-9_.-]{0,30}(?:password|passwd|secret|token|api[_-]?key|apikey|credential|account[_-]?key"
    r"|shared[_-]?access[_-]?(?:key|signature)|private[_-]?key)"
    r"|dsn|sig|pwd)"
)
_SECRET_NAME = re.compile(_NAMES + "|authorization|cookie|set-cookie", re.IGNORECASE)
# Each alternative begins with fixed text or a short class, so that none backtracks for long;
# `keep` is what may be shown of it.
_PATTERNS = re.compile(
    "|".join(
        (
            r"(?P<url>://)[^\s/@:'\"]{0,256}(?::[^\s/@'\"]{0,256})?@",  # user and password of a URL
            r"(?P<header>\b(?:set-cookie|cookie|authorization)['\"]?\s*[=:]\s*)[^\r\n]{1,9999}",
            r"(?P<scheme>\b(?:Bearer|Basic|Token)\s+)[\w.~+/=-]{8,}",
            r"(?P<name>\b" + _NAMES + r"['\"]?\s*[=:]\s*)(?!\[redacted)"
            r"(?:\"[^\"]{0,999}\"|'[^']{0,999}'|[^\s,;&'\"}\])]+)",
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
            r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
            r"\bgh[pousr]_[0-9A-Za-z]{20,}",
            r"\bgithub_pat_\w{20,}",
            r"\bglpat-[\w-]{20,}",
            r"\bxox[abeoprs]-[\w-]{10,}",
            r"\bsk-[\w-]{20,}",
            r"\bin[abrsl]_[0-9A-Za-z]{20,}",  # our own
            r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",  # JSON Web Token
            r"(?P<slack>hooks\.slack\.com/(?:services|workflows)/)[\w/-]+",
        )
    ),
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Replace what looks like a secret: a net beneath code that logs none, not in its place."""
    return _PATTERNS.sub(_hide, text)


def clean(name: str, value: Any, *, depth: int = 3) -> Any:
    """`value`, which stands under `name`, without secrets in its texts or under their names.

    What lies deeper than `depth` is made text.
    """
    if _SECRET_NAME.fullmatch(name) and value is not None:
        return _HIDDEN
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping) and depth > 0:
        return {str(key): clean(str(key), item, depth=depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and depth > 0:
        return [clean("", item, depth=depth - 1) for item in value[:_ITEMS]]
    return redact(_text(value))


def config(
    format: Format = "auto",  # noqa: A002 - the word of dictConfig itself
    level: str = "INFO",
    *,
    levels: Mapping[str, str] | None = None,
    stream: str = "ext://sys.stderr",
) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`, or uvicorn's `log_config`.

    Args:
        format: `json`, one object a line; `line`, for people; `auto`, lines on a terminal.
        level: what is logged at least.
        levels: other levels by logger.
        stream: where to; `ext://sys.stdout` for the other one.

    Raises:
        SettingsError: a level does not exist.
    """
    wanted = {"": level, **_CHATTY, **(levels or {})}
    for name, word in wanted.items():
        if word.upper() not in _LEVELS:
            raise SettingsError(
                f"the log level {word!r}{f' of {name}' if name else ''} does not exist; "
                f"choose one of {', '.join(_LEVELS)}"
            )
    if format == "auto":
        format = "line" if _is_terminal(stream) else "json"  # noqa: A001
    formatter = {"json": JsonFormatter, "line": LineFormatter}[format]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"insight": {"()": formatter}},
        "handlers": {
            "stream": {"class": "logging.StreamHandler", "formatter": "insight", "stream": stream}
        },
        "root": {"level": level.upper(), "handlers": ["stream"]},
        "loggers": {
            # Its own configuration may be there first: without this its lines would not be ours.
            "uvicorn": {"handlers": [], "propagate": True},
            **{name: {"level": word.upper()} for name, word in wanted.items() if name},
        },
    }


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, message, request_id, extra, error."""

    def format(self, record: logging.LogRecord) -> str:
        """Write `record`; a value that JSON does not know is written as its text."""
        event, message = _event(record)
        fields: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if event:
            fields["event"] = event
        fields["message"] = message
        if identity := _request(record):
            fields["request_id"] = identity
        for name, value in _extra(record).items():
            fields.setdefault(name, value)
        if error := _error(record):
            fields["error"] = error
        return json.dumps(fields, default=_text, ensure_ascii=False, skipkeys=True)


class LineFormatter(logging.Formatter):
    """For people: `10:05:13 WARNING insight.cache cache.unavailable: ... key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write `record`; only the stack of an error takes further lines."""
        parts = [
            f"{_time(record).astimezone():%H:%M:%S}",
            f"{record.levelname:<7}",
            record.name,
            _one_line(redact(record.getMessage()[:_TEXT_CHARACTERS])),
            *(f"{name}={_one_line(_text(value))}" for name, value in _extra(record).items()),
        ]
        if identity := _request(record):
            parts.append(f"request={identity}")
        line = " ".join(parts)
        error = _error(record)
        return f"{line}\n{error['stack']}" if error else line


def _event(record: logging.LogRecord) -> tuple[str, str]:
    """The event's name and the message without it, which is the name where nothing follows."""
    message = redact(record.getMessage()[:_TEXT_CHARACTERS])
    found = _EVENT.match(message)
    if found is None:
        return "", message
    return found[1], message[found.end() :] or found[1]


def _request(record: logging.LogRecord) -> str:
    """The id that came with the record, from another thread perhaps, else the present one."""
    return str(getattr(record, "request_id", "") or request_id.get())


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller gave as `extra`, with the secrets out of it."""
    return {
        name: clean(name, value)
        for name, value in vars(record).items()
        if name not in _STANDARD and name != "request_id" and not name.startswith("_")
    }


def _error(record: logging.LogRecord) -> dict[str, str] | None:
    if not record.exc_info or record.exc_info[1] is None:
        return None
    kind, error, stack = record.exc_info
    text = "".join(traceback.format_exception(kind, error, stack)).rstrip()
    return {
        "type": type(error).__name__,
        "message": redact(str(error)[:_TEXT_CHARACTERS]),
        "stack": redact(text[-4 * _TEXT_CHARACTERS :]),
    }


def _hide(found: re.Match[str]) -> str:
    if found["url"]:
        return f"://{_HIDDEN}@"
    return (found["header"] or found["scheme"] or found["name"] or found["slack"] or "") + _HIDDEN


def _text(value: Any) -> str:
    return str(value)[:_TEXT_CHARACTERS]


def _one_line(text: str) -> str:
    """Without line breaks and control characters: they would forge a line or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _is_terminal(stream: str) -> bool:
    return (
        getattr(sys, stream.rpartition(".")[2]).isatty()
        if stream.startswith("ext://sys.")
        else False
    )
