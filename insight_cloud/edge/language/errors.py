"""What is wrong with an expression, and where; every file of the language raises it."""

from __future__ import annotations

from insight_cloud.core.errors import Invalid

__all__ = ["ExpressionError"]


class ExpressionError(Invalid):
    """An expression that the edge would refuse; `position` counts characters from 0."""

    title = "Wrong expression"

    def __init__(self, message: str, text: str, position: int) -> None:
        super().__init__(f"{message} (at character {position + 1})")
        self.reason = message
        self.text = text
        self.position = position

    @property
    def line(self) -> int:
        """The line of the expression, from 1."""
        return self.text.count("\n", 0, self.position) + 1

    @property
    def column(self) -> int:
        """The column in that line, from 1."""
        return self.position - (self.text.rfind("\n", 0, self.position) + 1) + 1

    def pointer(self) -> str:
        """The line that is wrong, with a mark below the place."""
        lines = self.text.split("\n")
        start = max(0, self.column - 1 - 60)
        shown = lines[self.line - 1][start : start + 100].rstrip("\r")
        return f"{shown}\n{' ' * (self.column - 1 - start)}^"
