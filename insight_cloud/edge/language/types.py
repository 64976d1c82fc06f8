"""The types of the rules language: what a field, a literal or a function's result can be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

__all__ = ["BOOL", "BYTES", "INT", "IP", "Type", "array", "read"]

Kind = Literal["Bool", "Int", "Bytes", "Ip", "Array", "Map"]


@dataclass(frozen=True, slots=True)
class Type:
    """One type; `of` is what an array or a map holds. The keys of a map are always Bytes."""

    kind: Kind
    of: Type | None = None

    def __str__(self) -> str:
        name = _NAMES.get(self.kind, self.kind)
        return name if self.of is None else f"{name}<{self.of}>"


_NAMES = {"Bytes": "String", "Int": "Integer", "Bool": "Boolean", "Ip": "IP address"}
"""As the documentation of Cloudflare calls them; messages are read beside it."""

BOOL = Type("Bool")
INT = Type("Int")
BYTES = Type("Bytes")
IP = Type("Ip")
_SIMPLE = {type_.kind: type_ for type_ in (BOOL, INT, BYTES, IP)}
_COMPOUND = re.compile(r"(Array|Map)<(.+)>")


def array(of: Type) -> Type:
    """An array of `of`."""
    return Type("Array", of)


@lru_cache
def read(text: str) -> Type:
    """Read `Map<Array<Bytes>>`; the text is ours, so a wrong one is a KeyError."""
    compound = _COMPOUND.fullmatch(text)
    if compound is None:
        return _SIMPLE[text]  # type: ignore[index]
    return Type("Array" if compound[1] == "Array" else "Map", read(compound[2]))
