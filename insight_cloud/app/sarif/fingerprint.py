"""Hashes of the code around a finding, so that it keeps its identity when lines move.

Apart because this is the only part that looks at sources: it runs where the code is, and the
server never needs it. Ours are two: the line with its neighbours, and the line alone, both
without blanks. GitHub's `primaryLocationLineHash` is added so that the same log works there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from insight_cloud.app.sarif.model import Finding, Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GITHUB", "LARGEST_FILE_BYTES", "add", "line_hashes"]

GITHUB = "primaryLocationLineHash"
"""GitHub's name for its hash of the code from a finding's line on."""

LARGEST_FILE_BYTES = 5_000_000
"""Larger files are generated; their findings keep their identity by message."""

_WINDOW = 100
_FACTOR = 37
_END_OF_FILE = 65_535
_LINE_END = re.compile(r"\r\n|\r|\n")
_BLANKS = re.compile(r"\s+")


def add(run: Run, *, root: Path) -> Run:
    """The same run with hashes on every finding whose source line can be read below `root`.

    Every file is read once. Findings in files that are absent, outside of `root`, binary or
    larger than `LARGEST_FILE_BYTES` stay as they are.
    """
    by_path: dict[str, list[int]] = defaultdict(list)
    for index, finding in enumerate(run.findings):
        if finding.location is not None and not finding.location.external:
            by_path[finding.location.path].append(index)
    findings = list(run.findings)
    top = root.resolve()
    for path, indexes in by_path.items():
        text = _text(top, path)
        if text is None:
            continue
        for index, hashed in zip(
            indexes, _hashed(text, [findings[i] for i in indexes]), strict=True
        ):
            findings[index] = hashed
    return msgspec.structs.replace(run, findings=tuple(findings))


def line_hashes(text: str) -> list[str]:
    """GitHub's hash of every line of `text`; a line after the last line end counts.

    The hash covers the 100 UTF-16 units from the line's beginning without spaces and tabs,
    with CR and CRLF as LF, 65535 for the end of the file and zeros behind it: the sum of
    `unit * 37^(99-k)` modulo 2^64. A number behind it tells equal ones apart.
    """
    import numpy as np

    units = _units(text)
    ends = np.flatnonzero(units[: -_WINDOW - 1] == ord("\n"))
    starts = np.concatenate((np.zeros(1, ends.dtype), ends + 1))
    inverse_powers, powers = _powers(1 << (len(units) + 1).bit_length())
    # sum(c[s+k] * 37^(99-k)) = 37^(99+s) * (P[s+100] - P[s]) with P the sums of c[i] * 37^-i
    sums = np.zeros(len(units) + 1, np.uint64)
    np.cumsum(units * inverse_powers[: len(units)], out=sums[1:])
    hashes = (sums[starts + _WINDOW] - sums[starts]) * powers[starts + _WINDOW - 1]
    seen: dict[int, int] = {}
    numbered: list[str] = []
    for value in hashes.tolist():
        count = seen[value] = seen.get(value, 0) + 1
        numbered.append(f"{value:x}:{count}")
    return numbered


def _units(text: str) -> NDArray[np.uint64]:
    """The UTF-16 units that count, then the end marker and the zeros of an empty window."""
    import numpy as np

    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
    carriage_return = units == ord("\r")
    line_feed = units == ord("\n")
    keep = (units != ord(" ")) & (units != ord("\t"))
    keep[1:] &= ~(line_feed[1:] & carriage_return[:-1])
    kept = np.where(carriage_return, np.uint16(ord("\n")), units)[keep]
    padded = np.zeros(len(kept) + 1 + _WINDOW, np.uint64)
    padded[: len(kept)] = kept
    padded[len(kept)] = _END_OF_FILE
    return padded


@cache
def _powers(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """37^-i and 37^i modulo 2^64 for i below `count`; 37 is odd, so it has an inverse."""
    import numpy as np

    def powers(factor: int) -> NDArray[np.uint64]:
        steps = np.full(count, factor, np.uint64)
        steps[0] = 1
        return np.cumprod(steps, dtype=np.uint64)

    return powers(pow(_FACTOR, -1, 1 << 64)), powers(_FACTOR)


def _text(top: Path, path: str) -> str | None:
    try:
        file = (top / path).resolve()
        if not file.is_relative_to(top) or not file.is_file():
            return None
        if file.stat().st_size > LARGEST_FILE_BYTES:
            return None
        data = file.read_bytes()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return None if b"\0" in data else data.decode("utf-8", errors="replace")


def _hashed(text: str, findings: Sequence[Finding]) -> list[Finding]:
    github = line_hashes(text)
    lines = [_BLANKS.sub("", line) for line in _LINE_END.split(text.removeprefix("\ufeff"))]
    return [_with_hashes(finding, lines, github) for finding in findings]


def _with_hashes(finding: Finding, lines: Sequence[str], github: Sequence[str]) -> Finding:
    line = finding.location.line if finding.location is not None else None
    if line is None or line > len(lines):
        return finding
    own = line - 1
    around = (lines[own - 1] if own else "", lines[own], *lines[own + 1 : own + 2])
    return msgspec.structs.replace(
        finding,
        context_hash=_hash("\n".join(around)),
        line_hash=_hash(lines[own]),
        fingerprints={GITHUB: github[own], **finding.fingerprints},
    )


def _hash(text: str) -> str:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
