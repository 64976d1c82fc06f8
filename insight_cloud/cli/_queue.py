"""Uploads that wait in a folder while the server is away, in the order in which they were made."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from insight_cloud.app.client import Client, Uploaded
from insight_cloud.cli._output import say
from insight_cloud.core import files
from insight_cloud.core.errors import InsightError, RateLimited, Unauthenticated, Unavailable

__all__ = ["send"]

_MOST = 100
_WAITS = (Unavailable, RateLimited, Unauthenticated)
"""What may be otherwise later; anything else the server would say again."""


class _Waiting(msgspec.Struct):
    server: str
    about: dict[str, Any]
    log: bytes


async def send(
    client: Client, queue: Path | None, log: bytes, about: Mapping[str, Any]
) -> Uploaded | None:
    """Send what waits in `queue`, then `log`. None: the server is away, and `log` waits too.

    The server takes the same log of the same commit once, so one that was sent but not taken
    out of the queue does no harm. Without a queue an error is the caller's.

    Raises:
        InsightError: the upload was refused, or there is no queue.
    """
    if queue is None:
        return await client.upload(log, **about)
    try:
        await _flush(client, queue)
        return await client.upload(log, **about)
    except (Unavailable, RateLimited) as error:
        _keep(queue, _Waiting(client.server, dict(about), log))
        say(f"insight: {error}; the upload waits in {queue} for the next one")
        return None


async def _flush(client: Client, queue: Path) -> None:
    for path in _waiting(queue):
        try:
            waiting = msgspec.msgpack.decode(path.read_bytes(), type=_Waiting)
        except msgspec.MsgspecError:
            say(f"insight: {path} is no upload of ours and is left alone")
            continue
        if waiting.server != client.server:
            continue  # its token may go to nobody else
        try:
            await client.upload(waiting.log, **waiting.about)
            say(f"insight: sent what waited since {path.name[:15]}")
        except _WAITS:
            raise
        except InsightError as error:
            say(f"insight: what waited in {path} is refused and removed: {error}")
        path.unlink()


def _waiting(queue: Path) -> list[Path]:
    """The files, the oldest first."""
    return sorted(queue.glob("*.msgpack"))


def _keep(queue: Path, waiting: _Waiting) -> None:
    """Write it whole; beyond a hundred the oldest go, which newer ones have overtaken."""
    data = msgspec.msgpack.encode(waiting)
    digest = hashlib.sha256(data).hexdigest()[:16]
    stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09}"
    known = [path for path in _waiting(queue) if digest in path.name]
    if not known:
        files.write(queue / f"{stamp}-{digest}.msgpack", data, mode=0o600)
    for old in _waiting(queue)[:-_MOST]:
        say(f"insight: more than {_MOST} uploads wait: {old} is given up")
        old.unlink()
