"""What a result says: texts by id, arguments in place, links taken out.

Apart because the standard has a small language in here: `{0}` for arguments, doubled braces
for real ones, and `[text](0)` for a related location.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from insight_cloud.app.sarif.wire import Message

__all__ = ["literal", "render"]

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{(\d{1,4})\}")
_LINK_END = re.compile(r"\]\(\d")
_LINK = re.compile(r"\\([\[\]\\])|\[((?:\\.|[^\[\]\\])*)\]\(\d{1,9}\)")
_ESCAPED = re.compile(r"\\([\[\]\\])")
_BRACKET = re.compile(r"[\[\]\\]")

Texts = Mapping[str, Message]


def render(message: Message | None, *texts: Texts | None) -> str:
    """The plain text of `message`; `texts` are looked through for its id. Empty: none is there."""
    if message is None:
        return ""
    template = message.text
    if template is None and message.id is not None:
        template = _by_id(message.id, texts)
    if template is None:
        template = message.markdown or ""
    if message.arguments and "{" in template:
        template = _filled(template, message.arguments)
    if _LINK_END.search(template):
        template = _LINK.sub(_linked_text, template)
    return template


def literal(text: str) -> str:
    """`text` as a message that `render` and other readers take word for word."""
    return _BRACKET.sub(r"\\\g<0>", text) if _LINK_END.search(text) else text


def _linked_text(found: re.Match[str]) -> str:
    """A link's text; an escaped bracket is itself. Only texts with a link have escapes."""
    escaped: str | None = found.group(1)
    return escaped if escaped is not None else _ESCAPED.sub(r"\1", found.group(2))


def _by_id(name: str, texts: Sequence[Texts | None]) -> str | None:
    """The text called `name`; ids may be refined after a slash as rule ids are."""
    for known in texts:
        found = known.get(name) if known else None
        if found is not None:
            return found.text if found.text is not None else found.markdown
    return None


def _filled(template: str, arguments: Sequence[Any]) -> str:
    def value(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return match.group()[0]
        index = int(match.group(1))
        return str(arguments[index]) if index < len(arguments) else match.group()

    return _PLACEHOLDER.sub(value, template)
