"""A rule's help as safe HTML: Markdown from a stranger's tool, so no HTML, images or scripts."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

__all__ = ["render"]

_LIMIT_CHARACTERS = 40_000


def render(text: str) -> Markup:
    """Turn `text` into HTML. Raw HTML is shown as text, images become links to nothing.

    Every heading becomes an h3, so that the outline of the page around it stays whole. A text
    of more than 40,000 characters is cut: nobody reads that far, and parsing takes its time.
    """
    return Markup(_MARKDOWN.render(text[:_LIMIT_CHARACTERS]))  # noqa: S704 - html is off


def _heading(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: Any,
    env: MutableMapping[str, Any],
) -> str:
    tokens[index].tag = "h3"
    return renderer.renderToken(tokens, index, options, env)


def _link(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: Any,
    env: MutableMapping[str, Any],
) -> str:
    tokens[index].attrSet("rel", "noopener noreferrer nofollow")
    return renderer.renderToken(tokens, index, options, env)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    parser.add_render_rule("heading_open", _heading)
    parser.add_render_rule("heading_close", _heading)
    parser.add_render_rule("link_open", _link)
    return parser


_MARKDOWN = _parser()
