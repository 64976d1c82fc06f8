"""Which statements run, and how long: from a server's log, a file of SQL, or our recorder. Pure.

The server's own statistics (`pg_stat_statements`) know no values. A log or a file does, and with
values the advisor can also see which rows a condition means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from insight_cloud.core.errors import Invalid
from insight_cloud.tuning.facts import Statement

__all__ = ["fingerprint", "from_json", "from_log", "from_sql"]

_MOST_KINDS = 1000
_MOST_SAMPLES = 3
_LONGEST = 100_000
_VALUE = re.compile(
    r"[EB]?'(?:[^']|'')*'|\$\d+|(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?\b", re.IGNORECASE
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LIST = re.compile(r"\(\s*\?(?:\s*,\s*\?)+\s*\)")
_DURATION = re.compile(
    r"duration: (?P<ms>\d+(?:\.\d+)?) ms  (?:statement|execute [^:]*|parse [^:]*|bind [^:]*): "
    r"(?P<text>.*)",
    re.DOTALL,
)
_PREFIX = re.compile(r"^.*?\b(?P<level>LOG|DETAIL|ERROR|STATEMENT|HINT|WARNING|FATAL|CONTEXT):  ")
_PARAMETER = re.compile(r"\$(\d+) = ('(?:[^']|'')*'|NULL)")
_READS = re.compile(r"\s*(?:\()?\s*(select|with|insert|update|delete|merge)\b", re.IGNORECASE)
_NOTE = re.compile(r"--\s*(calls|ms):\s*(\d+(?:\.\d+)?)")


def fingerprint(text: str) -> str:
    """The statement without its values: what two calls of the same kind have in common."""
    bare = _VALUE.sub("?", _COMMENT.sub(" ", text))
    return _LIST.sub("(?)", " ".join(bare.split())).rstrip("; ")


@dataclass(slots=True)
class _Kind:
    text: str
    calls: float = 0
    ms: float = 0
    samples: list[tuple[float, str]] = field(default_factory=list)


def _grouped(found: Iterable[tuple[str, float, float]]) -> tuple[Statement, ...]:
    """Calls as (text, calls, milliseconds of all) by kind; the slowest ones are the samples."""
    kinds: dict[str, _Kind] = {}
    for text, calls, ms in found:
        if len(text) > _LONGEST or _READS.match(_COMMENT.sub(" ", text)) is None:
            continue
        key = fingerprint(text)
        if key not in kinds and len(kinds) >= _MOST_KINDS:
            continue
        kind = kinds.setdefault(key, _Kind(key))
        kind.calls += calls
        kind.ms += ms
        kind.samples = sorted([*kind.samples, (ms / max(calls, 1), text)], reverse=True)
        del kind.samples[_MOST_SAMPLES:]
    ordered = sorted(kinds.values(), key=lambda kind: (-kind.ms, -kind.calls))
    return tuple(
        Statement(kind.text, round(kind.calls), kind.ms, samples=tuple(s for _, s in kind.samples))
        for kind in ordered
    )


# -- a server's log ------------------------------------------------------------------------


def from_log(lines: Iterable[str]) -> tuple[Statement, ...]:
    """Read PostgreSQL's log in its plain format, as `log_min_duration_statement` fills it."""
    return _grouped(_durations(_entries(lines)))


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Level and text of each message; what does not begin as one goes on with the last."""
    level, parts = "", []
    for line in lines:
        found = _PREFIX.match(line)
        if found is None:
            parts.append(line)
            continue
        if level:
            yield level, "".join(parts).rstrip("\n")
        level, parts = found["level"], [line[found.end() :]]
    if level:
        yield level, "".join(parts).rstrip("\n")


def _durations(entries: Iterable[tuple[str, str]]) -> Iterator[tuple[str, float, float]]:
    waiting: tuple[str, float] | None = None
    for level, text in entries:
        if level == "DETAIL" and waiting is not None:
            yield _filled(waiting[0], text), 1, waiting[1]
            waiting = None
            continue
        if waiting is not None:
            yield waiting[0], 1, waiting[1]
            waiting = None
        found = _DURATION.match(text)
        if level == "LOG" and found is not None:
            waiting = found["text"], float(found["ms"])
    if waiting is not None:
        yield waiting[0], 1, waiting[1]


def _filled(text: str, detail: str) -> str:
    """The statement with its parameters in their places."""
    values = {int(number): value for number, value in _PARAMETER.findall(detail)}
    return re.sub(r"\$(\d+)", lambda found: values.get(int(found[1]), found[0]), text)


# -- files ---------------------------------------------------------------------------------


def from_sql(text: str) -> tuple[Statement, ...]:
    """Read a file of statements, each ended by a semicolon.

    A comment before one may say how it weighs: `-- calls: 40` and `-- ms: 12.5` (of one call).

    Raises:
        Invalid: there is no statement that reads or writes rows.
    """
    found = []
    for part in _split(text):
        notes = {name: float(value) for name, value in _NOTE.findall(part)}
        calls = notes.get("calls", 1)
        found.append((_COMMENT.sub(" ", part).strip(), calls, calls * notes.get("ms", 0)))
    statements = _grouped(found)
    if not statements:
        raise Invalid("there is no statement in the file: write SQL, each ended by a semicolon")
    return statements


_PIECE = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$|;|[^;'\"\-/$]+|.",
    re.DOTALL,
)


def _split(text: str) -> Iterator[str]:
    parts: list[str] = []
    for piece in _PIECE.finditer(text):
        if piece[0] == ";":
            yield "".join(parts)
            parts = []
        else:
            parts.append(piece[0])
    if "".join(parts).strip():
        yield "".join(parts)


class _Recorded(msgspec.Struct):
    text: str
    calls: int
    total_ms: float | None = None
    total_seconds: float | None = None


def from_json(data: bytes) -> tuple[Statement, ...]:
    """Read a list of `{"text", "calls", "total_ms"}`; `total_seconds` as our recorder has it.

    Raises:
        Invalid: it is no such list.
    """
    try:
        recorded = msgspec.json.decode(data, type=list[_Recorded])
    except msgspec.DecodeError as error:
        raise Invalid(f"the file of statements cannot be read: {error}") from error
    return _grouped((one.text, one.calls, _ms(one)) for one in recorded)


def _ms(one: _Recorded) -> float:
    return one.total_ms if one.total_ms is not None else 1000 * (one.total_seconds or 0)


def merged(*sources: Iterable[Statement]) -> tuple[Statement, ...]:
    """Several sources as one; the same kind in two of them counts once, with its samples."""
    kinds: dict[str, Statement] = {}
    for source in sources:
        for statement in source:
            key = fingerprint(statement.text)
            if key not in kinds or (_has_values(statement) and not _has_values(kinds[key])):
                kinds[key] = statement
    return tuple(kinds.values())


def _has_values(statement: Statement) -> bool:
    return bool(statement.samples) and re.search(r"\$\d", statement.samples[0]) is None
