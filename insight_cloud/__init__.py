"""Insight Cloud: a team sees what is wrong with its code, on infrastructure that it can trust."""

from importlib.metadata import version

__version__ = version("insight-cloud")
__all__ = ["__version__"]
