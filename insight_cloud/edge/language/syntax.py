"""An expression as a tree, and how a tree is written: the printer gives one text per meaning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from insight_cloud.edge.language.types import BOOL, Type, array

__all__ = [
    "Address",
    "Call",
    "Compare",
    "Field",
    "Index",
    "Items",
    "ListName",
    "Literal",
    "Logic",
    "Node",
    "Not",
    "Pattern",
    "Range",
    "Wildcard",
    "children",
    "walk",
]

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that stands in the expression."""

    value: bytes | int | Address | Network
    type: Type
    at: int = field(default=0, compare=False)
    mapped = False

    def __str__(self) -> str:
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        return _quote(self.value) if isinstance(self.value, bytes) else str(self.value)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the request or of its answer."""

    name: str
    type: Type
    at: int = field(default=0, compare=False)
    mapped = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Index:
    """`base[key]`; a key of None is `[*]`, which takes each element in turn."""

    base: Node
    key: int | bytes | None
    type: Type
    at: int = field(default=0, compare=False)

    @property
    def mapped(self) -> bool:
        """Whether this stands for many values."""
        return self.key is None or self.base.mapped

    def __str__(self) -> str:
        if self.key is None:
            return f"{self.base}[*]"
        return f"{self.base}[{_quote(self.key) if isinstance(self.key, bytes) else self.key}]"


@dataclass(frozen=True, slots=True)
class Call:
    """`name(arguments)`."""

    name: str
    arguments: tuple[Node, ...]
    type: Type
    at: int = field(default=0, compare=False)
    mapped = False

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(_argument, self.arguments))})"


@dataclass(frozen=True, slots=True)
class Range:
    """`low..high`, both included."""

    low: int | Address
    high: int | Address

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"


@dataclass(frozen=True, slots=True)
class Items:
    """`{a b c}`."""

    items: tuple[Literal | Range, ...]

    def __str__(self) -> str:
        return "{" + " ".join(map(str, self.items)) + "}"


@dataclass(frozen=True, slots=True)
class ListName:
    """`$name`: a list that the account keeps."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression."""

    text: str

    def __str__(self) -> str:
        return _raw(self.text)


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A text with `*` in it, which the whole value must match."""

    text: bytes

    def __str__(self) -> str:
        return _quote(self.text)


Right: TypeAlias = "Literal | Call | Items | ListName | Pattern | Wildcard"


@dataclass(frozen=True, slots=True)
class Compare:
    """`left operator right`; the operator in its English form."""

    left: Node
    operator: str
    right: Right
    at: int = field(default=0, compare=False)

    @property
    def mapped(self) -> bool:
        """Whether this stands for many comparisons."""
        return self.left.mapped

    @property
    def type(self) -> Type:
        """Always a Bool, once for each value on the left."""
        return BOOL

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


@dataclass(frozen=True, slots=True)
class Not:
    """`not of`."""

    of: Node
    at: int = field(default=0, compare=False)

    @property
    def mapped(self) -> bool:
        """Whether each of many values is turned round."""
        return self.of.mapped

    @property
    def type(self) -> Type:
        """Always a Bool."""
        return BOOL

    def __str__(self) -> str:
        return f"not ({self.of})" if isinstance(self.of, Logic) else f"not {self.of}"


@dataclass(frozen=True, slots=True)
class Logic:
    """Two or more parts joined by `and`, `xor` or `or`."""

    operator: str
    parts: tuple[Node, ...]
    at: int = field(default=0, compare=False)

    @property
    def mapped(self) -> bool:
        """Whether many values are joined, each with its counterpart."""
        return any(part.mapped for part in self.parts)

    @property
    def type(self) -> Type:
        """Always a Bool."""
        return BOOL

    def __str__(self) -> str:
        # The parser flattens only what is written without parentheses, so a part of the same
        # operator was written in them.
        return f" {self.operator} ".join(
            f"({part})" if isinstance(part, Logic) else str(part) for part in self.parts
        )


Node: TypeAlias = Literal | Field | Index | Call | Compare | Not | Logic


def children(node: Node) -> tuple[Node, ...]:  # noqa: PLR0911 - one return for each kind
    """The expressions directly inside `node`."""
    match node:
        case Index(base=base):
            return (base,)
        case Call(arguments=arguments):
            return arguments
        case Compare(left=left, right=Call() as right):
            return (left, right)
        case Compare(left=left):
            return (left,)
        case Not(of=of):
            return (of,)
        case Logic(parts=parts):
            return parts
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """`node` and everything inside it, from the left."""
    yield node
    for child in children(node):
        yield from walk(child)


def value_type(node: Node) -> Type:
    """The type that a function sees: a mapped value is an array."""
    return array(node.type) if node.mapped else node.type


def _argument(node: Node) -> str:
    return f"({node})" if isinstance(node, Logic) else str(node)


def _quote(value: bytes) -> str:
    if all(32 <= byte < 127 for byte in value):
        return '"' + value.decode("ascii").replace("\\", "\\\\").replace('"', '\\"') + '"'
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text and text.isprintable():
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    plain = {ord('"'): '\\"', ord("\\"): "\\\\"}
    shown = (
        plain.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in value
    )
    return '"' + "".join(shown) + '"'


def _raw(text: str) -> str:
    marks = ""
    while f'"{marks}' in text:
        marks += "#"
    return f'r{marks}"{text}"{marks}'
