"""The child that looks for secrets in its part of the files; apart so that it can be stopped."""

from __future__ import annotations

from pathlib import Path

from insight_cloud.app.detectors import work
from insight_cloud.app.detectors.secrets import Hit, hits

__all__: list[str] = []


def _analyse(name: str, path: str, generated: frozenset[str]) -> list[Hit]:
    text = Path(path).read_bytes().decode("utf-8", "replace")
    # A lock file is full of random looking values that are no secrets.
    return hits(text, generic=name not in generated)


if __name__ == "__main__":
    work.serve(_analyse, parameters=frozenset[str])
