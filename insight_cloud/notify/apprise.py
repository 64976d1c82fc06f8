"""Everything else that Apprise knows: some hundred services, each named by a URL.

Apprise is an extra (`insight-cloud[apprise]`), and it runs in a child process: it takes a second
to load and 50 MB, it blocks, and it logs its URLs, which are secrets. A child can be ended in
time, and what it says is not repeated.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import msgspec

from insight_cloud.core import process
from insight_cloud.core.errors import Refused, SettingsError, Unavailable
from insight_cloud.notify.message import Message, Severity

__all__ = ["Apprise"]

_CHILD = Path(__file__).with_name("apprise_child.py")
_LIMIT_SECONDS = 60
_OUTPUT_BYTES = 1024 * 1024
_SCHEMA = re.compile(r"([a-z0-9]{1,30})://")
_KINDS: dict[Severity, str] = {
    "info": "info",
    "warning": "warning",
    "error": "failure",
    "critical": "failure",
}


class Apprise:
    """Says messages through one Apprise `url`, which is a secret; its schema is the name.

    Apprise says only whether it worked, so a failure is not tried again: some of the
    receivers of a URL may have been reached.
    """

    def __init__(self, url: str, *, name: str = "") -> None:
        schema = _SCHEMA.match(url)
        if schema is None:
            raise SettingsError("apprise: a URL must begin with the name of a service and ://")
        if importlib.util.find_spec("apprise") is None:
            raise SettingsError("Apprise is not installed: pip install 'insight-cloud[apprise]'")
        self.name = name or schema[1]
        self._url = url

    async def deliver(self, message: Message) -> None:
        """Say it; see `Channel`."""
        order = {
            "url": self._url,
            "title": message.subject,
            "body": message.text,
            "kind": _KINDS[message.severity],
        }
        done = await process.run(
            # -I: the child's folder is not searched, in which there is an `apprise.py`.
            [sys.executable, "-I", _CHILD],
            stdin=msgspec.json.encode(order),  # not an argument: everybody can read those
            environment={"LC_ALL": "C.UTF-8"},
            timeout_seconds=_LIMIT_SECONDS,
            output_bytes=_OUTPUT_BYTES,
        )
        if done.status == 2:
            raise SettingsError(f"{self.name}: Apprise cannot use the URL")
        if done.status == 1:
            raise Refused(f"{self.name}: the service did not take it")
        if done.status != 0:
            raise Unavailable(f"{self.name}: Apprise did not end as it should")
