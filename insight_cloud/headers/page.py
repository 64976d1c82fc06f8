"""What the head of a page says beside its headers: policies in `meta`, and its scripts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

__all__ = ["Page", "Script", "read"]


@dataclass(frozen=True, slots=True)
class Script:
    """A `script` element; `source` is empty for an inline one."""

    source: str
    integrity: str


@dataclass(slots=True)
class Page:
    """What was found in the HTML."""

    policies: list[str] = field(default_factory=list)
    referrer: str | None = None
    scripts: list[Script] = field(default_factory=list)


def read(html: str) -> Page:
    """Read a page; HTML that is not well formed is read as far as it goes."""
    parser = _Parser()
    # Python's parser asserts instead of reading on at some broken declarations: `<![x`.
    with contextlib.suppress(AssertionError):
        parser.feed(html)
        parser.close()
    return parser.page


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self._base = ""
        self._templates = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in reversed(attrs)}  # the first one counts
        if tag == "template":
            self._templates += 1
        elif self._templates:
            return  # a template is not part of the page until a script says so
        elif tag == "base" and not self._base:
            self._base = values.get("href", "")
        elif tag == "meta":
            self._meta(values)
        elif tag == "script":
            source = values.get("src", "").strip()
            where = urljoin(self._base, source) if source and self._base else source
            self.page.scripts.append(Script(where, values.get("integrity", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "template" and self._templates:
            self._templates -= 1

    def _meta(self, values: dict[str, str]) -> None:
        content = values.get("content", "")
        if "http-equiv" in values and "content" in values:
            if values["http-equiv"].strip().lower() == "content-security-policy" and content:
                self.page.policies.append(content)
        elif values.get("name", "").strip().lower() == "referrer" and content:
            self.page.referrer = content
