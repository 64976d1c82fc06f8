"""A SARIF log in, findings out: what is refused, what is passed over, what is made of the rest.

The log is refused only where nothing sensible could be made of it. Everything else that is
not taken as it stands is named in `Log.warnings` by its JSON pointer. Results are decoded one
by one: a bad one costs only itself, and the memory of one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

import msgspec

from insight_cloud.app.sarif import wire
from insight_cloud.app.sarif.limits import Limits
from insight_cloud.app.sarif.model import Log, Run
from insight_cloud.app.sarif.runs import RunReader
from insight_cloud.app.sarif.warned import Warnings
from insight_cloud.core.errors import Invalid, TooLarge

__all__ = ["VERSION", "Limits", "log"]

VERSION = "2.1.0"
"""The only version of SARIF that is in use, and the only one that we read."""

_BYTE = re.compile(r"\(byte (\d+)\)")
_CHUNK_BYTES = 1 << 20
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u(?:"
    rb"(0000)"
    rb"|[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u)[dD][c-fC-F][0-9a-fA-F]{2}"
    rb")"
)
"""Escapes that no database can store as text: NUL (group 2) and halves of surrogate pairs."""


def log(data: bytes, *, root: str | None = None, limits: Limits | None = None) -> Log:
    """Read a SARIF 2.1.0 log (JSON, UTF-8, with or without byte order mark).

    `root` is the source root on the machine that made the log, as a path or file URI; without
    it the log's own hints are taken, see `paths.Resolver`. Raises `Invalid` for what is no
    SARIF 2.1.0 log at all and `TooLarge` for what is beyond `limits`.
    """
    limits = limits or Limits()
    if len(data) > limits.log_bytes:
        raise TooLarge(f"The log has {len(data):,} bytes; the limit is {limits.log_bytes:,}.")
    warnings = Warnings(limits.warnings)
    raw_runs = _raw_runs(_storable(data.removeprefix(codecs.BOM_UTF8), warnings))
    if len(raw_runs) > limits.runs:
        raise TooLarge(
            f"The log has {len(raw_runs)} runs; the limit is {limits.runs}.",
            problems=(("/runs", f"more than {limits.runs} runs"),),
        )
    read = [
        RunReader(f"/runs/{index}", raw, root=root, limits=limits, warnings=warnings).read()
        for index, raw in enumerate(raw_runs)
    ]
    return Log(runs=_taken(read), warnings=warnings.listed())


def _taken(read: Sequence[Run | str]) -> tuple[Run, ...]:
    """The runs that could be read; when there were some and none could be, the log is refused."""
    runs = tuple(run for run in read if isinstance(run, Run))
    if read and not runs:
        problems = tuple((f"/runs/{index}", str(why)) for index, why in enumerate(read))
        raise Invalid(f"No run of the log can be read: {problems[0][1]}.", problems=problems)
    return runs


def _storable(data: bytes, warnings: Warnings) -> bytes:
    """UTF-8 for certain, and without escapes that a database cannot store."""
    _check_utf8(data)
    if _SUSPECT.search(data) is None:
        return data
    nuls = halves = 0

    def repaired(match: re.Match[bytes]) -> bytes:
        nonlocal nuls, halves
        nuls += match.group(2) is not None
        halves += match.group(2) is None
        return match.group(1) + (b"" if match.group(2) else rb"\ufffd")

    data = _UNSTORABLE.sub(repaired, data)
    if nuls:
        warnings.add("", f"{nuls} NUL characters were taken out of the log's texts")
    if halves:
        warnings.add("", f"{halves} halves of surrogate pairs were replaced by U+FFFD")
    return data


def _check_utf8(data: bytes) -> None:
    """Refuse what is not UTF-8, in pieces: a string of the whole log would double the memory."""
    if data.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), _CHUNK_BYTES):
        end = start + _CHUNK_BYTES
        try:
            decoder.decode(data[start:end], final=end >= len(data))
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, start + error.start) + 1
            raise _no_json(f"it is not UTF-8 (line {line})") from error


def _raw_runs(data: bytes) -> list[msgspec.Raw]:
    """The runs, unopened, of what is JSON, SARIF, and of our version."""
    try:
        envelope = wire.decode(data, wire.Envelope)
    except RecursionError as error:
        raise _no_json("it is nested too deeply") from error
    except msgspec.ValidationError as error:
        raise Invalid(
            "This is no SARIF log: the JSON is not an object.", problems=(("", "not an object"),)
        ) from error
    except msgspec.DecodeError as error:
        raise _no_json(_syntax(data, error)) from error
    _check_version(envelope.version)
    try:
        return msgspec.json.decode(envelope.runs, type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        raise Invalid("`runs` is not an array.", problems=(("/runs", "not an array"),)) from error


def _syntax(data: bytes, error: msgspec.DecodeError) -> str:
    """What the parser says, by line and column instead of its byte."""
    found = _BYTE.search(str(error))
    end = int(found.group(1)) if found else len(data)
    line = data.count(b"\n", 0, end) + 1
    column = end - (data.rfind(b"\n", 0, end) + 1) + 1
    what = _BYTE.sub("", str(error)).removeprefix("JSON is malformed: ").strip()
    return f"{what.lower()} (line {line}, column {column})"


def _no_json(why: str) -> Invalid:
    return Invalid(f"The log is not JSON: {why}.", problems=(("", f"not JSON: {why}"),))


def _check_version(raw: msgspec.Raw) -> None:
    version = msgspec.json.decode(raw)
    if version == VERSION:
        return
    named = f"is {version[:20]}" if isinstance(version, str) else "is not named"
    raise Invalid(
        f"The log's version {named}; version {VERSION} of SARIF is supported.",
        problems=(("/version", f"only {VERSION} is supported"),),
    )
