"""Regular expressions, by RE2: the one file that knows it.

Cloudflare uses Rust's engine. RE2 is its model: the same syntax but for the exceptions below, and
the same promise that no pattern takes more than linear time. Python's `re` promises nothing: one
pattern of a zone's rules could hang a test run for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

__all__ = ["PatternError", "UnsupportedPattern", "compiled", "replaced"]

Search: TypeAlias = Callable[[bytes], Any]

_MEMORY_BYTES = 16 * 1024 * 1024
_REPLACEMENTS = 8
_REFERENCE = re.compile(rb"\$(?:\$|\{(\d{1,2})\})")
_CLASSES = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]", re.DOTALL)
_RUST_ONLY = re.compile(r"\(\?[a-zA-Z]*[xRu][a-zA-Z-]*[:)]|\\[bB]\{|\\[<>]|\\[uU]")
_SET_OPERATION = re.compile(r"&&|--|~~|\[[^\]:]*\[[^:]")
_RE2_ONLY = re.compile(r"\\[CQE]")


class PatternError(Exception):
    """The pattern is wrong for Rust's engine too."""


class UnsupportedPattern(Exception):  # noqa: N818 - not an error: the edge may well accept it
    """Rust's engine knows something here that RE2 does not."""


@lru_cache(maxsize=1024)
def compiled(text: str) -> Search:
    """A function that says whether `text` matches somewhere in its argument.

    Raises:
        PatternError: no engine would take it.
        UnsupportedPattern: only Rust's would.
    """
    return _compile(text).search  # type: ignore[no-any-return]


def replaced(text: str, value: bytes, replacement: bytes) -> bytes:
    """`value` with the first match of `text` replaced; `${1}` is a group and `$$` a dollar."""
    match = _compile(text).search(value)
    if match is None:
        return value
    new = _REFERENCE.sub(lambda found: _group(match, found[1]), replacement)
    return bytes(value[: match.start()]) + new + bytes(value[match.end() :])


def references(replacement: bytes) -> int:
    """How many groups a replacement refers to; Cloudflare takes at most eight."""
    return sum(1 for found in _REFERENCE.finditer(replacement) if found[1] is not None)


def _group(match: Any, number: bytes | None) -> bytes:
    if number is None:
        return b"$"
    try:
        return match[int(number)] or b""
    except IndexError:
        return b""


@lru_cache(maxsize=1024)
def _compile(text: str) -> Any:
    import re2  # type: ignore[import-untyped]  # loaded by the first pattern: most zones have none

    unicode_ = text.startswith("(?u)")
    pattern = text.removeprefix("(?u)")
    if _RE2_ONLY.search(pattern.replace("\\\\", "")):
        raise PatternError("this escape is unknown")
    if _is_rust_only(pattern):
        raise UnsupportedPattern("Rust's engine knows it, the local one (RE2) does not")
    options = re2.Options()
    encoding = re2.Options.Encoding
    options.encoding = encoding.UTF8 if unicode_ else encoding.LATIN1
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES
    try:
        return re2.compile(pattern.encode(), options=options)
    except re2.error as error:
        raise PatternError(_say(error)) from None


def _is_rust_only(pattern: str) -> bool:
    if _RUST_ONLY.search(pattern.replace("\\\\", "")):
        return True
    classes = (found[0] for found in _CLASSES.finditer(pattern) if found[0].startswith("["))
    return any(_SET_OPERATION.search(text[1:]) for text in classes)


def _say(error: Exception) -> str:
    said = error.args[0] if error.args else "unknown"
    said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    if said.startswith(("invalid perl operator: (?=", "invalid perl operator: (?!")):
        return "look-around is not part of the edge's regular expressions"
    if said.startswith("invalid perl operator: (?<"):
        return "look-around is not part of the edge's regular expressions"
    if re.match(r"invalid escape sequence: \\\d", said):
        return "backreferences are not part of the edge's regular expressions"
    return said
