"""From characters to words, numbers and strings; what they mean together is the parser's matter."""

from __future__ import annotations

import re
from typing import NoReturn

from insight_cloud.edge.language.errors import ExpressionError

__all__ = ["Scanner"]

_SPACE = re.compile(r"[ \r\n]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
_RAW = re.compile(r'r(#{0,255})"')
_INTEGER = re.compile(r"-?(?:0[xX][0-9A-Fa-f]+|[0-9]+)")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]*[0-9A-Fa-f:](?:/[0-9]{1,3})?")
_BYTES = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+(?![0-9A-Fa-f:.])")
_PLAIN = re.compile(r'[^"\\]+')
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_OCTAL = re.compile(r"[0-3][0-7]{2}")
_LARGEST = 2**63 - 1


class Scanner:
    """A place in the text of an expression, moving forward."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def skip(self) -> int:
        """Go over white space (a space, CR, LF) and return where we are."""
        found = _SPACE.match(self.text, self.position)
        assert found is not None  # noqa: S101 - the pattern matches nothing too
        self.position = found.end()
        if self.text[self.position : self.position + 1] == "\t":
            self.fail("a tab is not white space here; use spaces")
        return self.position

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        """Say what is wrong at `at`, by default here.

        Raises:
            ExpressionError: always.
        """
        raise ExpressionError(message, self.text, self.position if at is None else at)

    def at_end(self) -> bool:
        """Whether nothing but white space is left."""
        return self.skip() == len(self.text)

    def peek(self, sign: str) -> bool:
        """Whether `sign` comes next."""
        return self.text.startswith(sign, self.skip())

    def take(self, sign: str) -> bool:
        """Go over `sign` if it comes next."""
        found = self.peek(sign)
        self.position += len(sign) if found else 0
        return found

    def need(self, sign: str, why: str) -> None:
        """Go over `sign`, or fail."""
        if not self.take(sign):
            self.fail(f"expected {sign} {why}")

    def name(self) -> str:
        """Go over a name such as `http.host` and return it; empty when none comes next."""
        found = _NAME.match(self.text, self.skip())
        if found is None:
            return ""
        self.position = found.end()
        return found[0]

    def word(self) -> str:
        """The name that comes next, without going over it."""
        found = _NAME.match(self.text, self.skip())
        return found[0] if found else ""

    def starts_string(self) -> bool:
        """Whether a quoted or raw string comes next."""
        at = self.skip()
        return self.text.startswith('"', at) or _RAW.match(self.text, at) is not None

    def string(self, *, pattern: bool = False) -> bytes:
        """Go over a string; in a quoted `pattern` backslashes are the regular expression's."""
        at = self.skip()
        raw = _RAW.match(self.text, at)
        if raw is not None:
            return self._raw(raw)
        self.position = at + 1
        return self._pattern(at) if pattern else self._quoted(at)

    def starts_integer(self) -> bool:
        """Whether an integer comes next."""
        return _INTEGER.match(self.text, self.skip()) is not None

    def integer(self) -> int:
        """Go over an integer: decimal, `0x…`, or octal after a leading 0."""
        at = self.skip()
        found = _INTEGER.match(self.text, at)
        if found is None:
            self.fail("expected an integer")
        self.position = found.end()
        digits = found[0].removeprefix("-")
        if len(digits) > 24:  # long before Python's own limit for huge numbers
            self.fail("an integer has at most 64 bits", at)
        octal = len(digits) > 1 and digits[0] == "0" and digits[1] not in "xX"
        try:
            value = int(digits, 8 if octal else 0)
        except ValueError:
            self.fail("a number with a leading 0 is octal, and 8 and 9 are no octal digits", at)
        value = -value if found[0].startswith("-") else value
        if not -_LARGEST - 1 <= value <= _LARGEST:
            self.fail("an integer has at most 64 bits", at)
        return value

    def address(self) -> str:
        """Go over what looks like an IP address or a CIDR range; empty when nothing does."""
        at = self.skip()
        found = _ADDRESS.match(self.text, at)
        if found is None:
            return ""
        text = found[0]
        dots = text.find("..")
        if dots >= 0:  # a range: the first address ends here
            text = text[:dots]
        self.position = at + len(text)
        return text

    def byte_string(self) -> bytes | None:
        """Go over `61:62:63` if it comes next."""
        found = _BYTES.match(self.text, self.skip())
        if found is None:
            return None
        self.position = found.end()
        return bytes.fromhex(found[0].replace(":", ""))

    def _raw(self, opening: re.Match[str]) -> bytes:
        closing = '"' + opening[1]
        end = self.text.find(closing, opening.end())
        if end < 0:
            self.fail(f"this raw string has no end; it ends with {closing}", opening.start())
        self.position = end + len(closing)
        return self.text[opening.end() : end].encode(errors="surrogatepass")

    def _quoted(self, start: int) -> bytes:
        parts: list[bytes] = []
        while True:
            if plain := _PLAIN.match(self.text, self.position):
                parts.append(plain[0].encode(errors="surrogatepass"))
                self.position = plain.end()
            sign = self.text[self.position : self.position + 1]
            if not sign:
                self.fail("this string has no end", start)
            self.position += 1
            if sign == '"':
                return b"".join(parts)
            parts.append(self._escape())

    def _escape(self) -> bytes:
        at = self.position
        sign = self.text[at : at + 1]
        if sign and sign in '"\\':
            self.position = at + 1
            return sign.encode()
        if sign == "x" and (digits := _HEX.match(self.text, at + 1)):
            self.position = digits.end()
            return bytes.fromhex(digits[0])
        octal = _OCTAL.match(self.text, at)
        if octal is None:
            known = '\\", \\\\, \\xHH and \\OOO'
            self.fail(f'in "…" a backslash stands only in {known}; use a raw string r"…"', at - 1)
        self.position = octal.end()
        return bytes([int(octal[0], 8)])

    def _pattern(self, start: int) -> bytes:
        """A quoted regular expression: only a quote loses its backslash, outside of `[…]`."""
        parts: list[str] = []
        inside = False
        while True:
            sign = self.text[self.position : self.position + 1]
            if not sign:
                self.fail("this string has no end", start)
            self.position += 1
            if sign == "\\":
                following = self.text[self.position : self.position + 1]
                self.position += 1
                parts.append('"' if following == '"' and not inside else sign + following)
                continue
            if sign == '"' and not inside:
                return "".join(parts).encode(errors="surrogatepass")
            inside = sign != "]" if inside else sign == "["
            parts.append(sign)
