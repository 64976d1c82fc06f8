"""CSS and JavaScript without what only people need, by libraries that are kept for it."""

from __future__ import annotations

import lightningcss
from rjsmin import jsmin  # type: ignore[import-untyped]  # no types

from insight_cloud.core.errors import Invalid

__all__ = ["minify"]


def minify(name: str, body: bytes) -> bytes:
    """Return `body` smaller, by the kind of file that `name` is; never larger.

    What is called `.min.` is left as it is.

    Raises:
        Invalid: it cannot be read as what its name says.
    """
    kind = name.rpartition(".")[2]
    if ".min." in name or kind not in _MINIFIERS:
        return body
    try:
        made: bytes = _MINIFIERS[kind](body.decode("utf-8"), name).encode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{name} is not UTF-8") from error
    return made if len(made) < len(body) else body


def _css(text: str, name: str) -> str:
    try:
        return lightningcss.process_stylesheet(text, filename=name)
    except ValueError as error:
        raise Invalid(f"{name} is not CSS: {error}") from error


def _js(text: str, name: str) -> str:  # noqa: ARG001 - as the other
    made: str = jsmin(text, keep_bang_comments=True)
    return made


_MINIFIERS = {"css": _css, "js": _js, "mjs": _js}
