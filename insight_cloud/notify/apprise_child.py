"""What runs in the child process: say one message, read from standard input, by Apprise.

Exit status: 0 said, 1 not taken, 2 the URL cannot be used.
"""

from __future__ import annotations

import json
import sys

__all__: list[str] = []


def _say(order: dict[str, str]) -> int:
    import apprise
    from apprise.common import OverflowMode

    asset = apprise.AppriseAsset(http_redirects=False, async_mode=False)
    service = apprise.Apprise.instantiate(order["url"], asset=asset)
    if service is None:
        return 2
    service.overflow_mode = OverflowMode.TRUNCATE  # its own limit, whatever that is
    said = service.notify(
        title=order["title"], body=order["body"], notify_type=apprise.NotifyType(order["kind"])
    )
    return 0 if said else 1


if __name__ == "__main__":
    sys.exit(_say(json.load(sys.stdin)))
