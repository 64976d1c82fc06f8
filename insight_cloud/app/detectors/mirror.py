"""Copies of chosen files at a place of their own, for tools that read what lies beside a file.

Beside the copies lies nothing else: no configuration of the code's own, no installed packages, and
no link that leads out of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from insight_cloud.app.detectors.files import FILE_BYTES, File

__all__ = ["fill"]


def fill(folder: Path, files: Iterable[File]) -> None:
    """Write a copy of each of `files` below `folder`, under its own name.

    A file that is gone by now, or became something else than a file, is left out.
    """
    for file in files:
        try:
            # Without following a link that took the file's place since it was chosen.
            source = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        with os.fdopen(source, "rb") as stream:
            data = stream.read(FILE_BYTES)
        copy = folder / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(data)
