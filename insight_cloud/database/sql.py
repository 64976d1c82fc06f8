"""Named SQL: a `.sql` file becomes `Query` objects; apart, because it knows no database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import LiteralString, cast

from insight_cloud.core.errors import Corrupt

__all__ = ["Queries", "Query", "fingerprint", "load"]

_NAME = re.compile(r"^--[ \t]*name:[ \t]*(\S*)[ \t]*$", re.MULTILINE)
_PARAMETER = re.compile(r"%\((\w+)\)[sbt]")
_QUOTED_OR_COMMENT = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
_READ = re.compile(r"\s*(?:select|values|table|show|with)\b", re.IGNORECASE)
_WRITE = re.compile(r"\b(?:insert|update|delete|merge|into)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Query:
    """A statement with the name under which it is counted and logged.

    Parameters are written `%(name)s`. A statement that has any writes a literal percent sign
    as `%%`, which is psycopg's rule.
    """

    name: str
    text: str
    encoded: bytes = field(init=False, repr=False, compare=False)
    reads: bool = field(init=False, repr=False, compare=False)
    """Whether it changes nothing, so that it may be sent again after a lost connection.

    A `select` that writes through a function looks like a read: send it with `execute`.
    """

    def __post_init__(self) -> None:
        bare = _QUOTED_OR_COMMENT.sub(" ", self.text)
        object.__setattr__(self, "encoded", self.text.encode())
        object.__setattr__(self, "reads", bool(_READ.match(bare)) and not _WRITE.search(bare))

    @property
    def parameters(self) -> frozenset[str]:
        """The names that a call must supply."""
        return frozenset(_PARAMETER.findall(self.text))


class Queries:
    """The statements of one file, as attributes: `queries.get_user`."""

    def __init__(self, queries: tuple[Query, ...]) -> None:
        self._queries = {query.name: query for query in queries}

    def __getattr__(self, name: str) -> Query:
        try:
            return cast("Query", self.__dict__["_queries"][name])
        except KeyError:
            raise AttributeError(f"there is no query named {name!r}") from None

    def __iter__(self) -> Iterator[Query]:
        return iter(self._queries.values())

    def __len__(self) -> int:
        return len(self._queries)


def load(source: Path | Traversable) -> Queries:
    """Read a file of `-- name: get_user` blocks, as UTF-8.

    Raises:
        Corrupt: text before the first name, a name twice or not an identifier, an empty
            statement, or a percent sign that is neither a parameter nor doubled.
    """
    return Queries(tuple(_parse(source.read_text(encoding="utf-8"), origin=source.name)))


def _parse(text: str, *, origin: str) -> Iterator[Query]:
    before, *blocks = _NAME.split(text)
    if _bare(before):
        raise Corrupt(f"{origin}: there is a statement before the first `-- name:` line")
    seen: set[str] = set()
    for name, block in zip(blocks[::2], blocks[1::2], strict=True):
        if not name.isidentifier():
            raise Corrupt(f"{origin}: {name!r} cannot be the name of a query")
        if name in seen:
            raise Corrupt(f"{origin}: two queries are named {name!r}")
        if not _bare(block):
            raise Corrupt(f"{origin}: the query {name!r} is empty")
        seen.add(name)
        query = Query(name, block.strip().removesuffix(";"))
        if query.parameters and "%" in _PARAMETER.sub("", query.text).replace("%%", ""):
            raise Corrupt(f"{origin}: {name!r} has a single percent sign; write `%%`")
        yield query


def _bare(text: str) -> str:
    return re.sub(r"--[^\n]*", "", text).strip(" \t\r\n;")


@lru_cache(maxsize=1024)
def query_of(text: LiteralString) -> Query:
    """The query of a statement written in the code: its fingerprint is its name."""
    return Query(fingerprint(text), text)


def fingerprint(text: str) -> str:
    """`text` on one line of at most 120 characters, each literal replaced by a question mark."""
    return " ".join(_LITERAL.sub("?", text).split())[:120]
