"""`edge.toml` from disk to the model; what is wrong in it is told with file and line."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from insight_cloud.core.errors import Missing, SettingsError
from insight_cloud.edge import source
from insight_cloud.edge.model import Edge

__all__ = ["DEFAULTS", "EdgeFile", "default", "json_schema", "load", "read"]

DEFAULTS = ("production", "staging")
_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True)
class EdgeFile:
    """A file that was read: its model, its text, and where everything stands in it."""

    edge: Edge
    text: str = ""
    name: str = "edge.toml"
    lines: dict[source.Path, int] = field(default_factory=dict, repr=False)

    def place(self, path: Iterable[str | int], *, further: int = 0) -> str:
        """`edge.toml:12` for the value at `path`, `further` lines below it."""
        found = tuple(path)
        if not self.lines:
            return f"{self.name} {_dotted(found)}"
        return f"{self.name}:{source.locate(self.lines, found) + further}"


def load(path: Path) -> EdgeFile:
    """Read the file at `path`.

    Raises:
        Missing: there is no such file.
        SettingsError: it is not TOML, or a value is not what it must be; each with its line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise Missing(f"there is no file {path}; `insight edge init` writes the default") from None
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
    if len(data) > _MOST_BYTES:
        raise SettingsError(f"{path} has more than {_MOST_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
    return read(text, name=str(path))


def read(text: str, *, name: str = "edge.toml") -> EdgeFile:
    """Read the text of a file; `name` is what messages call it.

    Raises:
        SettingsError: see `load`.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{name} is not TOML: {error}") from None
    lines = source.lines_of(text)
    try:
        edge = Edge.model_validate(values)
    except ValidationError as error:
        said = [_explain(fault, name, lines) for fault in error.errors(include_url=False)]
        raise SettingsError("\n".join(said)) from None
    return EdgeFile(edge, text, name, lines)


def default(variant: str = "production") -> str:
    """The text of the shipped default, `production` or `staging`."""
    folder = resources.files("insight_cloud.edge").joinpath("defaults")
    return folder.joinpath(f"{variant}.toml").read_text("utf-8")


def default_samples() -> str:
    """The text of the sample requests that belong to the shipped default."""
    folder = resources.files("insight_cloud.edge").joinpath("defaults")
    return folder.joinpath("samples.toml").read_text("utf-8")


def json_schema() -> str:
    """The JSON Schema of the file, for editors."""
    return json.dumps(Edge.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def _explain(fault: Mapping[str, Any], name: str, lines: dict[source.Path, int]) -> str:
    path = tuple(fault["loc"])
    where = f"{name}:{source.locate(lines, path)}: {_dotted(path)}"
    if fault["type"] == "extra_forbidden":
        return f"{where}: there is no such key{_hint(path)}"
    if fault["type"] == "missing":
        return f"{where}: is missing"
    said = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {said[:1].lower()}{said[1:]}"


def _dotted(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _hint(path: tuple[str | int, ...]) -> str:
    model: Any = Edge
    for part in path[:-1]:
        if isinstance(part, str) and _is_model(model) and part in model.model_fields:
            model = _inner(model.model_fields[part].annotation)
    if not _is_model(model):
        return ""
    close = difflib.get_close_matches(str(path[-1]), model.model_fields, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(model.model_fields)}"


def _is_model(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, BaseModel)


def _inner(annotation: Any) -> Any:
    """The model inside an annotation such as `tuple[Rule, ...]` or `Hsts | None`."""
    if _is_model(annotation):
        return annotation
    found = (_inner(argument) for argument in get_args(annotation))
    return next((model for model in found if _is_model(model)), None)
