"""Where programs lie that were installed on request.

Apart, because who installs them and who shows them to a sandbox must agree.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["COMMON_TOOLS", "tools"]

COMMON_TOOLS = Path("/var/lib/insight/tools")
"""Those of everybody on this machine, which root installs."""


def tools() -> Path:
    """Where this user installs them."""
    return COMMON_TOOLS if os.geteuid() == 0 else Path.home() / ".local/share/insight/tools"
