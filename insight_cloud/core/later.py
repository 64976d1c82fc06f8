"""Names of a package whose modules are imported when they are first used.

Settings are read by every command and import the settings of every component, and so the
component's package. What that package offers may need a library that takes long to import;
with this it is imported by whoever uses it, and by nobody else.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["names"]


def names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` (PEP 562) of `package`: names of each module, separated by spaces.

    Names under "." are modules themselves. No other name may be that of a module: once somebody
    has imported that module, Python would find it in place of what it holds.

    The package imports the same names under `TYPE_CHECKING`, so that type checkers, and people,
    see where they come from.
    """
    where = {name: module for module, all_names in modules.items() for name in all_names.split()}
    if both := sorted(name for name in where if name in modules and where[name] != "."):
        raise ValueError(f"{package}: {both[0]} is a module and a name of another")

    def get(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if where[name] == ".":
            return importlib.import_module(f"{package}.{name}")
        value = getattr(importlib.import_module(f"{package}.{where[name]}"), name)
        setattr(sys.modules[package], name, value)  # the next time it is simply there
        return value

    return get
