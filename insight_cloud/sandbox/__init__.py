"""Programs of ours that read what strangers wrote, where they can do no harm.

from insight_cloud.sandbox import Sandbox

sandbox = Sandbox()
isolation = await sandbox.isolation()  # what protects us here, found out by trying
ended = await sandbox.run(["/usr/bin/wc", "-l", "/in"], show={"/in": Path("stranger.txt")})
"""

from __future__ import annotations

from insight_cloud.sandbox.checks import check
from insight_cloud.sandbox.sandbox import Ended, Isolation, Limits, Sandbox
from insight_cloud.sandbox.settings import SandboxSettings

__all__ = ["Ended", "Isolation", "Limits", "Sandbox", "SandboxSettings", "check"]
