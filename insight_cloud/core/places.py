"""Where programs lie that were installed on request.

Apart, because who installs them and who shows them to a sandbox must agree.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["COMMON_ADVISORIES", "COMMON_TOOLS", "advisories", "own_advisories", "tools"]

COMMON_TOOLS = Path("/var/lib/insight/tools")
"""Those of everybody on this machine, which root installs."""

COMMON_ADVISORIES = Path("/var/lib/insight/advisories.sqlite")
"""The database of known vulnerabilities of everybody on this machine."""


def own_advisories() -> Path:
    """Where this user's database of known vulnerabilities is put."""
    if os.geteuid() == 0:
        return COMMON_ADVISORIES
    return Path.home() / ".local/share/insight/advisories.sqlite"


def advisories() -> Path:
    """Where it is read: this user's own, else everybody's."""
    own = own_advisories()
    return own if own.exists() else COMMON_ADVISORIES


def tools() -> Path:
    """Where this user installs them."""
    return COMMON_TOOLS if os.geteuid() == 0 else Path.home() / ".local/share/insight/tools"
