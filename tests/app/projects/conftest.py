"""Fixtures: the same house as for accounts."""

from tests.app.accounts.conftest import house

__all__ = ["house"]
