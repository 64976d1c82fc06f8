"""The program that runs inside the sandbox: unpacks an archive, runs the detectors, writes SARIF.

Standard input holds the order, standard output gets the log. On standard error there is one JSON
object a line: what has begun or ended, and at the end how much code it was.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Literal

import msgspec

from insight_cloud.app import detectors
from insight_cloud.app.sarif import write
from insight_cloud.app.sources import unpack
from insight_cloud.core.errors import InsightError

__all__ = ["ARCHIVE", "Event", "Order", "main"]

ARCHIVE = "/in/archive"
_TREE = Path("/tmp/tree")  # noqa: S108 - the sandbox's own, empty at the start
_REFUSED = 3


class Order(msgspec.Struct, frozen=True):
    """What to do."""

    unpacked_bytes: int
    entries: int
    ratio: int
    strip: bool
    detector_seconds: float


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is told on the way. `refused` and `lines` come once, at the end."""

    name: str = ""
    state: Literal["", "running", "ended"] = ""
    detail: str = ""
    refused: str = ""
    lines: int = 0


def main() -> int:
    """Do what standard input says; return the exit status."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        sys.stdout.buffer.write(asyncio.run(_analysed(order)))
    except InsightError as error:
        _tell(Event(refused=str(error)[:500]))
        return _REFUSED
    return 0


async def _analysed(order: Order) -> bytes:
    _tell(Event("unpack", "running"))
    limits = unpack.Limits(order.unpacked_bytes, order.entries, order.ratio)
    done = await asyncio.to_thread(unpack.unpack, Path(ARCHIVE), _TREE, limits, strip=order.strip)
    tree = await detectors.read(_TREE)
    _tell(Event("unpack", "ended", _summary(done, tree)))
    runs = await detectors.analyze(
        tree,
        detectors=detectors.fitting(tree),
        timeout_seconds=order.detector_seconds,
        progress=lambda name, event: _tell(
            Event(name, "running" if event == "started" else "ended")
        ),
    )
    _tell(Event(lines=await asyncio.to_thread(_lines, tree)))
    return write.log(runs)


def _summary(done: unpack.Unpacked, tree: detectors.Tree) -> str:
    text = f"{len(tree.files):,} of {done.files:,} files are analysed"
    if done.left_out:
        text += f"; {done.left_out:,} entries were left out, as {', '.join(done.examples)}"
    return text[:300]


def _lines(tree: detectors.Tree) -> int:
    total = 0
    for file in tree.files:
        data = Path(file.path).read_bytes()
        total += data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    return total


def _tell(event: Event) -> None:
    sys.stderr.buffer.write(msgspec.json.encode(event) + b"\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
