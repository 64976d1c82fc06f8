"""Markup as a type: a text that templates insert as it is."""

from __future__ import annotations

__all__ = ["Html"]


class Html(str):
    """Markup; `__html__` is how Jinja, Django and others ask whether a text is one."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the markup itself."""
        return self
