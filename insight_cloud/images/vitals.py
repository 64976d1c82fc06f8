"""The script by which pages report how long their images took."""

from __future__ import annotations

from importlib import resources

__all__ = ["vitals"]


def vitals() -> str:
    """Return the script; serve it as a file of your own, with `data-endpoint` on its element.

    It posts `{"page": ..., "metrics": [{"name": "IMG", "value": milliseconds, ...}]}` there.
    """
    return (resources.files(__package__) / "vitals.js").read_text(encoding="utf-8")
