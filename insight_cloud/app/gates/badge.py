"""A gate's verdict as a small picture for a README: text in two boxes, no script, no font."""

from __future__ import annotations

from xml.sax.saxutils import escape

__all__ = ["COLOURS", "draw"]

COLOURS = {
    "passed": "#1a7f4b",
    "failed": "#b3174a",
    "incomplete": "#8a5a00",
    "unknown": "#5b6572",
}
_WIDTHS = {"i": 3.1, "j": 3.4, "l": 3.1, "t": 4.4, "f": 4.2, "r": 4.8, " ": 3.9, "m": 10.7, "w": 9}
_PADDING = 10


def draw(label: str, verdict: str) -> bytes:
    """Draw `label` beside `verdict`, one of `COLOURS`."""
    left, right = _width(label), _width(verdict)
    total = left + right
    said = escape(f"{label}: {verdict}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="20" role="img" '
        f'aria-label="{said}"><title>{said}</title>'
        f'<rect width="{total}" height="20" rx="3" fill="{COLOURS[verdict]}"/>'
        f'<path d="M3 0h{left - 3}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="#3b4351"/>'
        '<g fill="#fff" text-anchor="middle" font-size="11" '
        'font-family="Verdana,Geneva,DejaVu Sans,sans-serif">'
        f'<text x="{left / 2:g}" y="14">{escape(label)}</text>'
        f'<text x="{left + right / 2:g}" y="14">{escape(verdict)}</text></g></svg>'
    ).encode()


def _width(text: str) -> int:
    """About what the text takes in 11 pixel Verdana: the box need not be exact."""
    return round(sum(_WIDTHS.get(letter, 7) for letter in text)) + _PADDING
