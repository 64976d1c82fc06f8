"""Reads the environment file of the service: is all set, is nothing left from an example."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from insight_cloud.launch.probes.files import chosen
from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_environment"]

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)=(.*)")
_PLACEHOLDER = re.compile(
    r"(?i)^$|^(?:change[-_ ]?me|example|test|todo|xxx+|secret|password|your[-_ ].*|<.*>|\.\.\.)$"
    r"|example\.(?:com|org)|changeme"
)


async def read_environment(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of `required` names and of `secrets`; values are never told.

    A secret's strength is the bits that its characters can carry at most. `others` are SHA-256
    sums of the secrets of other environments.
    """
    given = {
        name: value
        for path in chosen(target, parameters["file"], parameters, private=True)
        for name, value in _read(path.read_text(encoding="utf-8", errors="replace"))
    }
    names = [str(name) for name in parameters.get("required", [])]
    if "required" in parameters and not names:
        raise NotRun("values.required_environment names nothing")
    others = set(map(str, parameters.get("others", [])))
    return {
        "names": sorted(given),
        "missing": [name for name in names if name not in given],
        "placeholders": sorted(name for name, text in given.items() if _PLACEHOLDER.search(text)),
        "secrets": {
            str(name): _strength(given.get(str(name)), others)
            for name in parameters.get("secrets", [])
        },
    }


def _read(text: str) -> list[tuple[str, str]]:
    lines = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return [(found[1], found[2].strip().strip("\"'")) for found in lines if found]


def _strength(secret: str | None, others: set[str]) -> dict[str, Any]:
    if secret is None:
        return {"length": 0, "bits": 0, "shared": False}
    counts = Counter(secret)
    each = -sum(n / len(secret) * math.log2(n / len(secret)) for n in counts.values())
    return {
        "length": len(secret),
        "bits": round(each * len(secret)),
        "shared": hashlib.sha256(secret.encode()).hexdigest() in others,
    }
