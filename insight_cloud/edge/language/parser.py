"""The grammar: from the text of an expression to its tree, with types checked on the way.

expression := operand (("and" | "xor" | "or") operand)*         and before xor before or
operand    := "not" operand | "(" expression ")" | value [operator right]
value      := "true" | "false"
            | (field | function "(" arguments ")") ("[" (integer | string | "*") "]")*
right      := string | integer | address | "{" items "}" | "$" list | function "(" … ")"
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal as OneOf

from insight_cloud.edge.language import regex
from insight_cloud.edge.language.fields import FIELDS
from insight_cloud.edge.language.functions import (
    FUNCTIONS,
    Function,
    Parameter,
    wildcard_pieces,
)
from insight_cloud.edge.language.scanner import Scanner
from insight_cloud.edge.language.syntax import (
    Address,
    Call,
    Compare,
    Field,
    Index,
    Items,
    ListName,
    Literal,
    Logic,
    Node,
    Not,
    Pattern,
    Range,
    Right,
    Wildcard,
    value_type,
    walk,
)
from insight_cloud.edge.language.types import BOOL, BYTES, INT, IP, Type, array

__all__ = ["MOST_CHARACTERS", "MOST_DEPTH", "parse", "parse_value"]

MOST_CHARACTERS = 4096
MOST_DEPTH = 128

_LOGIC: Mapping[str, tuple[str, int]] = {
    "or": ("or", 1),
    "||": ("or", 1),
    "xor": ("xor", 2),
    "^^": ("xor", 2),
    "and": ("and", 3),
    "&&": ("and", 3),
}
_SIGNS = {"==": "eq", "!=": "ne", "<=": "le", ">=": "ge", "<": "lt", ">": "gt", "~": "matches"}
_ORDER = ("eq", "ne", "lt", "le", "gt", "ge")
_OPERATORS: Mapping[Type, tuple[str, ...]] = {
    INT: (*_ORDER, "in", "bitwise_and"),
    BYTES: (*_ORDER, "in", "contains", "matches", "wildcard", "strict wildcard"),
    IP: ("eq", "ne", "in"),
}
_WORDS = {*_ORDER, "in", "contains", "matches", "wildcard", "strict", "bitwise_and"}


def parse(text: str, *, phase: str = "") -> Node:
    """Read a filter, which is a Bool; with `phase`, refuse what does not exist there.

    Raises:
        ExpressionError: the edge would refuse it too; the position is in the error.
    """
    node = _Parser(text, phase=phase, kind="filter").whole()
    if node.type != BOOL or node.mapped:
        Scanner(text).fail(_needs_operator(node), _end(node, text))
    return node


def parse_value(text: str, *, phase: str = "") -> Node:
    """Read the expression of a rewrite or redirect, which is a String.

    Raises:
        ExpressionError: see `parse`.
    """
    node = _Parser(text, phase=phase, kind="value").whole()
    if value_type(node) != BYTES:
        Scanner(text).fail(f"this is a {value_type(node)}, and a String is needed", 0)
    return node


def _end(node: Node, text: str) -> int:
    return len(text.rstrip()) if node.at == 0 else node.at


def _needs_operator(node: Node) -> str:
    if node.mapped:
        return "[*] stands for many values: put the comparison into any(…) or all(…)"
    return f"{node} is a {node.type}: a comparison such as `eq` must follow"


@dataclass(slots=True)
class _Pending:
    """What `and`, `xor` and `or` have joined so far, the loosest first."""

    operator: str
    rank: int
    parts: list[Node]
    at: int


class _Parser:
    def __init__(self, text: str, *, phase: str, kind: OneOf["filter", "value"]) -> None:
        self._scan = Scanner(text)
        self._phase = phase
        self._kind = kind
        self._depth = 0
        self._once: set[str] = set()
        if not text.strip(" \r\n"):
            self._scan.fail("the expression is empty", 0)
        if len(text) > MOST_CHARACTERS:
            self._scan.fail(f"an expression has at most {MOST_CHARACTERS} characters", 0)

    def whole(self) -> Node:
        node = self._argument() if self._kind == "value" else self._expression()
        if not self._scan.at_end():
            self._scan.fail(self._left_over())
        return node

    # -- logic ---------------------------------------------------------------------------

    def _expression(self) -> Node:
        """Operands and the operators between them, without a frame for each rank."""
        stack: list[_Pending] = []
        node = self._operand()
        while (found := self._logic()) is not None:
            operator, rank, at = found
            self._need_bool(node)
            while stack and stack[-1].rank > rank:
                node = self._join(stack.pop(), node)
            if stack and stack[-1].rank == rank:
                stack[-1].parts.append(node)
            else:
                stack.append(_Pending(operator, rank, [node], at))
            node = self._operand()
        if stack:
            self._need_bool(node)
        while stack:
            node = self._join(stack.pop(), node)
        return node

    def _join(self, pending: _Pending, last: Node) -> Node:
        parts = (*pending.parts, last)
        mapped = [part for part in parts if part.mapped]
        if mapped and len(mapped) < len(parts):
            self._scan.fail(f"{pending.operator} joins one value with many", pending.at)
        if len({_root(part) for part in mapped}) > 1:
            self._scan.fail("several [*] must stand for the same array", pending.at)
        return Logic(pending.operator, parts, pending.at)

    def _logic(self) -> tuple[str, int, int] | None:
        at = self._scan.skip()
        word = self._scan.word()
        sign = word or self._scan.text[at : at + 2]
        if sign in _LOGIC:
            self._scan.position = at + len(sign)
            return (*_LOGIC[sign], at)
        if word.lower() in _LOGIC:
            self._scan.fail(f"operators are written in small letters: {word.lower()}")
        return None

    def _need_bool(self, node: Node) -> None:
        word = self._scan.word()
        if node.type != BOOL and word in FUNCTIONS:
            self._scan.fail(f"{word} is a function: {word}(field, …)")
        if node.type != BOOL:
            self._scan.fail(f"{node} is a {value_type(node)}: a comparison must follow", node.at)

    def _operand(self) -> Node:
        at = self._scan.skip()
        word = self._scan.word()
        if word == "not" or self._scan.peek("!"):
            self._scan.position = at + (3 if word == "not" else 1)
            node = self._deeper(self._operand)
            self._need_bool(node)
            return Not(node, at)
        if self._scan.take("("):
            node = self._deeper(self._expression)
            self._need_bool(node)
            if not self._scan.take(")"):
                self._scan.fail(*self._unclosed(at))
            return node
        return self._comparison()

    def _unclosed(self, opened: int) -> tuple[str, int]:
        if self._scan.at_end():
            return "this ( has no )", opened
        return self._left_over(), self._scan.position

    def _deeper(self, step: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            self._scan.fail(f"expressions nest at most {MOST_DEPTH} deep")
        node = step()
        self._depth -= 1
        return node

    # -- comparison ----------------------------------------------------------------------

    def _comparison(self) -> Node:
        left = self._value()
        at = self._scan.skip()
        operator = self._operator()
        if not operator:
            return left
        if left.type == BOOL:
            self._scan.fail(
                f"{left} is a Boolean and takes no operator: write `{left}` or `not {left}`", at
            )
        known = _OPERATORS.get(left.type)
        if known is None:
            self._scan.fail(
                f"{left} is an {left.type}, which takes no operator: index it, or use [*] "
                "inside any(…) or all(…)",
                at,
            )
        if operator not in known:
            self._scan.fail(f"`{operator}` does not work on a {left.type}", at)
        return Compare(left, operator, self._right(left.type, operator), at)

    def _operator(self) -> str:
        at = self._scan.skip()
        text = self._scan.text
        if text.startswith(("&&", "||", "^^"), at):
            return ""
        for sign, name in _SIGNS.items():
            if text.startswith(sign, at):
                self._scan.position = at + len(sign)
                return name
        if text.startswith("&", at):
            self._scan.position = at + 1
            return "bitwise_and"
        return self._word_operator(at)

    def _word_operator(self, at: int) -> str:
        word = self._scan.word()
        if word not in _WORDS:
            if word.lower() in _WORDS:
                self._scan.fail(f"operators are written in small letters: {word.lower()}")
            return ""
        self._scan.position = at + len(word)
        if word != "strict":
            return word
        if self._scan.name() != "wildcard":
            self._scan.fail("`strict` stands before `wildcard` only", at)
        return "strict wildcard"

    def _right(self, type_: Type, operator: str) -> Right:
        at = self._scan.skip()
        if operator == "in":
            return self._set(type_)
        if operator == "matches":
            return self._pattern(at)
        if operator.endswith("wildcard"):
            return self._wildcard(at)
        if self._calls():
            found = self._deeper(self._value)
            if not isinstance(found, Call) or found.type != type_:
                self._scan.fail(f"a {type_} is needed here", at)
            return found
        return self._literal(type_)

    def _calls(self) -> bool:
        name = self._scan.word()
        if not name or self._scan.starts_string():
            return False
        return self._scan.text[self._scan.position + len(name) :].lstrip(" \r\n").startswith("(")

    def _pattern(self, at: int) -> Pattern:
        self._need_string("a regular expression")
        text = self._scan.string(pattern=True).decode(errors="surrogatepass")
        try:
            regex.compiled(text)
        except regex.UnsupportedPattern:
            pass  # the edge knows more than we do: the evaluator answers `unknown`
        except (regex.PatternError, UnicodeError) as error:
            self._scan.fail(f"wrong regular expression: {error}", at)
        return Pattern(text)

    def _wildcard(self, at: int) -> Wildcard:
        self._need_string("a text with *")
        text = self._scan.string()
        try:
            wildcard_pieces(text)
        except ValueError as error:
            self._scan.fail(f"wrong wildcard: {error}", at)
        return Wildcard(text)

    def _need_string(self, what: str) -> None:
        if not self._scan.starts_string():
            word = self._scan.word()
            hint = f'; strings stand in quotes: "{word}"' if word else ""
            self._scan.fail(f"{what} is needed here{hint}")

    # -- literals ------------------------------------------------------------------------

    def _literal(self, type_: Type) -> Literal:
        at = self._scan.skip()
        if type_ == INT:
            if not self._scan.starts_integer():
                self._scan.fail("an integer is needed here")
            return Literal(self._scan.integer(), INT, at)
        if type_ == IP:
            return Literal(self._one_address(at), IP, at)
        if not self._scan.starts_string() and (value := self._scan.byte_string()) is not None:
            return Literal(value, BYTES, at)
        self._need_string("a string")
        return Literal(self._scan.string(), BYTES, at)

    def _one_address(self, at: int) -> Address:
        text = self._scan.address()
        if "/" in text:
            self._scan.fail("a range of addresses stands in braces: in {…}", at)
        try:
            return ip_address(text)
        except ValueError:
            self._scan.fail("an IP address is needed here, without quotes", at)

    def _set(self, type_: Type) -> Items | ListName:
        at = self._scan.skip()
        if self._scan.take("$"):
            name = self._scan.name()
            if not name or name != name.lower():
                self._scan.fail("a list is named by small letters, digits, _ and dots", at)
            return ListName(name)
        self._scan.need("{", "before the values of `in`")
        items: list[Literal | Range] = []
        while not self._scan.take("}"):
            if self._scan.at_end():
                self._scan.fail("this { has no }", at)
            items.append(self._item(type_))
        if not items:
            self._scan.fail("an empty {} never matches", at)
        return Items(tuple(items))

    def _item(self, type_: Type) -> Literal | Range:
        if self._scan.peek(","):
            self._scan.fail("values are separated by spaces, not commas")
        if type_ == BYTES:
            return self._literal(BYTES)
        at = self._scan.skip()
        low = self._literal(INT) if type_ == INT else self._network(at)
        if not self._scan.text.startswith("..", self._scan.position):
            return low
        self._scan.position += 2
        high = self._literal(type_)
        return self._range(low, high, at)

    def _range(self, low: Literal, high: Literal, at: int) -> Range:
        first, last = low.value, high.value
        if type(first) is not type(last):
            self._scan.fail("a range has two addresses of one kind", at)
        match first, last:
            case (int(), int()) if first <= last:
                return Range(first, last)
            case (IPv4Address(), IPv4Address()) if first <= last:
                return Range(first, last)
            case (IPv6Address(), IPv6Address()) if first <= last:
                return Range(first, last)
            case _:
                pass
        return self._scan.fail(f"this range is reversed: {high}..{low}", at)

    def _network(self, at: int) -> Literal:
        text = self._scan.address()
        try:
            if "/" in text:
                return Literal(ip_network(text), IP, at)
            return Literal(ip_address(text), IP, at)
        except ValueError as error:
            if "host bits" in str(error):
                self._scan.fail(
                    f"{text} has bits beyond its prefix; "
                    f"it is {ip_network(text, strict=False)} that you mean",
                    at,
                )
            self._scan.fail("an IP address or range is needed here, without quotes", at)

    # -- values --------------------------------------------------------------------------

    def _value(self) -> Node:
        at = self._scan.skip()
        if self._scan.starts_string() or self._scan.starts_integer():
            self._scan.fail("a comparison begins with a field or a function, not with a value")
        name = self._scan.name()
        if not name:
            self._scan.fail("expected a field or a function")
        node: Node
        if self._scan.take("("):
            node = self._deeper(lambda: self._call(name, at))
        elif name in ("true", "false"):
            return Literal(name == "true", BOOL, at)
        else:
            node = self._field(name, at)
        return self._indexes(node)

    def _field(self, name: str, at: int) -> Field:
        known = FIELDS.get(name)
        if known is None:
            self._scan.fail(self._unknown("field", name, FIELDS), at)
        if self._phase and known.phases and self._phase not in known.phases:
            self._scan.fail(f"{name} does not exist in the phase {self._phase}", at)
        return Field(name, known.type, at)

    def _unknown(self, kind: str, name: str, names: Iterable[str]) -> str:
        close = difflib.get_close_matches(name, names, n=1)
        if close:
            return f"there is no {kind} {name}; did you mean {close[0]}?"
        if name in FUNCTIONS:
            return f"{name} is a function: {name}(…)"
        return f"there is no {kind} {name}"

    def _indexes(self, node: Node) -> Node:
        while self._scan.take("["):
            at = self._scan.skip()
            key = self._key()
            self._scan.need("]", "after the index")
            node = self._index(node, key, at)
        return node

    def _key(self) -> int | bytes | None:
        if self._scan.take("*"):
            return None
        if self._scan.starts_string():
            return self._scan.string()
        if not self._scan.starts_integer():
            self._scan.fail('an index is a number, a "key" or *')
        return self._scan.integer()

    def _index(self, node: Node, key: int | bytes | None, at: int) -> Index:
        type_ = node.type
        if type_.of is None:
            self._scan.fail(f"{node} is a {type_} and has no index", at)
        if key is None and type_.kind == "Map":
            self._scan.fail(f"{node} is a {type_}: name a key before [*]", at)
        if isinstance(key, bytes) and type_.kind == "Array":
            self._scan.fail(f"{node} is an {type_}: its index is a number", at)
        if isinstance(key, int):
            if type_.kind == "Map":
                self._scan.fail(f"{node} is a {type_}: its index is a string", at)
            if key < 0:
                self._scan.fail("an index counts from 0", at)
        return Index(node, key, type_.of, at)

    # -- functions -----------------------------------------------------------------------

    def _call(self, name: str, at: int) -> Call:
        arguments = self._arguments()
        if name in {"any", "all"}:
            return self._quantifier(name, arguments, at)
        function = FUNCTIONS.get(name)
        if function is None:
            self._scan.fail(self._unknown("function", name, [*FUNCTIONS, "any", "all"]), at)
        self._check_place(name, function, at)
        self._check_arguments(name, function, arguments, at)
        returns = function.returns or value_type(arguments[0])
        if arguments and arguments[0].mapped:
            returns = array(function.returns or arguments[0].type)
        return Call(name, arguments, returns, at)

    def _arguments(self) -> tuple[Node, ...]:
        found: list[Node] = []
        if self._scan.take(")"):
            return ()
        while True:
            found.append(self._argument())
            if self._scan.take(")"):
                return tuple(found)
            self._scan.need(",", "or ) after an argument")

    def _argument(self) -> Node:
        at = self._scan.skip()
        if self._scan.starts_string():
            return Literal(self._scan.string(), BYTES, at)
        if self._scan.starts_integer():
            return Literal(self._scan.integer(), INT, at)
        # As in the engine: what `and` and the others join stands in parentheses here.
        logic = self._scan.peek("(") or self._scan.peek("!") or self._scan.word() == "not"
        return self._deeper(self._expression if logic else self._comparison)

    def _quantifier(self, name: str, arguments: tuple[Node, ...], at: int) -> Call:
        if len(arguments) != 1:
            self._scan.fail(f"{name}() takes one argument", at)
        if value_type(arguments[0]) != array(BOOL):
            self._scan.fail(f"{name}() takes comparisons of many values: use [*] inside", at)
        if isinstance(arguments[0], Index) and arguments[0].mapped:
            self._scan.fail(f"{name}() takes the array itself, without the last [*]", at)
        return Call(name, arguments, BOOL, at)

    def _check_place(self, name: str, function: Function, at: int) -> None:
        if function.values_only and self._kind == "filter":
            self._scan.fail(f"{name}() is for rewrites and redirects, not for filters", at)
        if self._phase and function.phases and self._phase not in function.phases:
            self._scan.fail(f"{name}() does not exist in the phase {self._phase}", at)
        if function.once:
            if self._once:
                self._scan.fail("regex_replace() and wildcard_replace() are used once at most", at)
            self._once.add(name)

    def _check_arguments(
        self, name: str, function: Function, arguments: tuple[Node, ...], at: int
    ) -> None:
        least = sum(not parameter.optional for parameter in function.parameters)
        most = len(function.parameters)
        if len(arguments) < least or (function.rest is None and len(arguments) > most):
            wanted = str(least) if least == most else f"{least} to {most}"
            wanted = f"at least {least}" if function.rest else wanted
            self._scan.fail(f"{name}() takes {wanted} arguments, not {len(arguments)}", at)
        for number, argument in enumerate(arguments):
            given = function.parameters[number] if number < most else function.rest
            assert given is not None  # noqa: S101 - the number of arguments was checked
            self._check_argument(f"argument {number + 1} of {name}()", given, argument, number)
        self._check_alike(name, function, arguments, at)
        _check_values(self._scan, name, arguments)

    def _check_argument(self, where: str, wanted: Parameter, argument: Node, number: int) -> None:
        if argument.mapped and number > 0:
            self._scan.fail(f"{where}: [*] stands in the first argument only", argument.at)
        if wanted.types and argument.type not in wanted.types:
            names = " or ".join(map(str, wanted.types))
            self._scan.fail(f"{where} is a {argument.type}, and a {names} is needed", argument.at)
        literal = isinstance(argument, Literal)
        if wanted.literal is True and not literal:
            self._scan.fail(f"{where} must be a literal value", argument.at)
        if wanted.literal is False and literal:
            self._scan.fail(f"{where} must be a field, not a literal value", argument.at)

    def _check_alike(
        self, name: str, function: Function, arguments: tuple[Node, ...], at: int
    ) -> None:
        if function.returns is None and len({value_type(argument) for argument in arguments}) > 1:
            self._scan.fail(f"the arguments of {name}() have one type", at)

    # -- messages ------------------------------------------------------------------------

    def _left_over(self) -> str:
        word = self._scan.word()
        if word in FUNCTIONS:
            return f"{word} is a function: {word}(field, …)"
        if word:
            return f"unexpected `{word}`; `and`, `or` or `xor` joins two comparisons"
        return f"unexpected `{self._scan.text[self._scan.position]}`"


def _check_values(scan: Scanner, name: str, arguments: tuple[Node, ...]) -> None:
    """Limits of literal arguments that the documentation names."""
    numbers = [a.value for a in arguments if isinstance(a, Literal) and isinstance(a.value, int)]
    if name == "split":
        if not 1 <= numbers[0] <= 128:
            scan.fail("the limit of split() is 1 to 128", arguments[2].at)
        if isinstance(arguments[1], Literal) and not arguments[1].value:
            scan.fail("the separator of split() must not be empty", arguments[1].at)
    if name == "cidr" and not (1 <= numbers[0] <= 32 and 1 <= numbers[1] <= 128):
        scan.fail("cidr() takes 1 to 32 bits of IPv4 and 1 to 128 of IPv6", arguments[1].at)
    if name == "cidr6" and not 1 <= numbers[0] <= 128:
        scan.fail("cidr6() takes 1 to 128 bits", arguments[1].at)
    if name in {"regex_replace", "wildcard_replace"}:
        _check_replacement(scan, name, arguments)


def _check_replacement(scan: Scanner, name: str, arguments: tuple[Node, ...]) -> None:
    pattern, replacement = arguments[1], arguments[2]
    assert isinstance(pattern, Literal)  # noqa: S101 - the signature demands it
    assert isinstance(replacement, Literal)  # noqa: S101 - see above
    text, new = pattern.value, replacement.value
    assert isinstance(text, bytes)  # noqa: S101 - see above
    assert isinstance(new, bytes)  # noqa: S101 - see above
    if regex.references(new) > 8:
        scan.fail(f"the replacement of {name}() has at most 8 references", replacement.at)
    try:
        if name == "regex_replace":
            regex.compiled(text.decode())
        else:
            wildcard_pieces(text)
    except regex.UnsupportedPattern:
        pass
    except (regex.PatternError, ValueError) as error:
        scan.fail(f"wrong pattern: {error}", pattern.at)


def _root(node: Node) -> str:
    """The array that a mapped expression goes over."""
    return next(
        str(inner.base) for inner in walk(node) if isinstance(inner, Index) and inner.mapped
    )
