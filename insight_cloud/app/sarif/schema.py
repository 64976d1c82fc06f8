"""The standard's own JSON schema, for people who want to know whether their tool keeps to it.

Apart from the reader, which takes logs that break the schema in places where nothing is lost.
`schema-2.1.0.json` is the OASIS committee's schema (2.1.0-rtm.5) as `@microsoft/jest-sarif`
distributes it under the MIT licence.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any

from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from insight_cloud.app.sarif.model import Warned

__all__ = ["faults"]

_LONGEST_DETAIL = 300


def faults(data: bytes, *, most: int = 100) -> list[Warned]:
    """Where `data` breaks the schema: at most `most` places, in the order of the log.

    What is not JSON at all has no faults here: `read.log` says so.
    """
    try:
        parsed = json.loads(data.removeprefix(codecs.BOM_UTF8))
        return list(islice(_faults(parsed), most))
    except (ValueError, RecursionError):
        return []


def _faults(parsed: Any) -> Iterator[Warned]:
    for error in _validator().iter_errors(parsed):
        pointer = "".join(f"/{_escaped(str(part))}" for part in error.absolute_path)
        yield Warned(pointer=pointer, detail=_shortened(error.message))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_DETAIL else f"{text[:_LONGEST_DETAIL]}…"


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


@cache
def _validator() -> Validator:
    text = files(__package__).joinpath("schema-2.1.0.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    return validator_for(schema)(schema)
