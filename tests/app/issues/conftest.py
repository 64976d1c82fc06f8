"""Fixtures: the same project as for analyses."""

from tests.app.analyses.conftest import site

__all__ = ["site"]
