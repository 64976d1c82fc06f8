"""What in a correct expression may surprise: deprecated fields, and places nobody documents."""

from __future__ import annotations

from collections.abc import Iterator

from insight_cloud.edge.language import regex
from insight_cloud.edge.language.fields import FIELDS
from insight_cloud.edge.language.functions import FUNCTIONS
from insight_cloud.edge.language.syntax import (
    Call,
    Compare,
    Field,
    Index,
    Node,
    Pattern,
    Wildcard,
    walk,
)

__all__ = ["hints"]


def hints(node: Node) -> Iterator[str]:
    """One sentence for each place of `node` that may surprise."""
    for part in walk(node):
        match part:
            case Field(name=name) if FIELDS[name].instead:
                yield f"{name} is deprecated; use {FIELDS[name].instead}"
            case Compare(operator="ne", left=left) if _may_be_missing(left):
                yield (
                    f"`{part}`: when it is missing, the documentation says false and the open "
                    "engine says true; ask for its presence as well"
                )
            case Compare(right=Wildcard(text=text)) if b"*" not in text:
                yield f"`{part}`: without * a wildcard only compares without regard to case"
            case Compare(right=Pattern(text=text)) if not _is_known(text):
                yield f"`{part}`: this regular expression cannot be evaluated here"
            case Call(name="all", arguments=(inner,)) if _may_be_missing(inner):
                yield f"`{part}` is taken as true when it is missing; nobody documents it"
            case Call(name=name) if name in FUNCTIONS and FUNCTIONS[name].run is None:
                yield f"{name}() cannot be evaluated here; its result is unknown"
            case _:
                pass


def _may_be_missing(node: Node) -> bool:
    return any(isinstance(part, Index) and part.key is not None for part in walk(node))


def _is_known(text: str) -> bool:
    try:
        regex.compiled(text)
    except regex.UnsupportedPattern:
        return False
    return True
