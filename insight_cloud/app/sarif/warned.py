"""The list of everything that was not taken as it stood, bounded so that a log cannot fill it."""

from __future__ import annotations

from insight_cloud.app.sarif.model import Warned

__all__ = ["Warnings"]


class Warnings:
    """Collects warnings up to `limit`; those beyond are counted, and the last entry says so."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[Warned] = []
        self._more = 0

    def add(self, pointer: str, detail: str) -> None:
        """Note `detail` about the place `pointer` (a JSON pointer; empty: the whole log)."""
        if len(self._kept) < self._limit:
            self._kept.append(Warned(pointer=pointer, detail=detail))
        else:
            self._more += 1

    def listed(self) -> tuple[Warned, ...]:
        """The warnings in the order in which they were noted."""
        if not self._more:
            return tuple(self._kept)
        rest = Warned(pointer="", detail=f"{self._more} more warnings are not listed")
        return (*self._kept, rest)
