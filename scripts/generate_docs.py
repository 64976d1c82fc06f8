"""What is generated: insight.example.toml and docs/reference/, from the program itself.

Apart from the program, because only its developers write these files. `--check` writes
nothing: it prints what differs and exits with 1.
"""

from __future__ import annotations

import difflib
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from insight_cloud import settings
from insight_cloud.app import web
from insight_cloud.cli import insight
from insight_cloud.core import errors

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = Path("insight.example.toml")
REFERENCE = Path("docs/reference")
_METHODS = ("get", "put", "post", "patch", "delete")


def pages() -> dict[Path, str]:
    """Every generated file: its path from the checkout's root, and its text."""
    document = web.openapi()
    return {
        EXAMPLE: example_file(),
        REFERENCE / "settings.md": settings_page(),
        REFERENCE / "errors.md": errors_page(),
        REFERENCE / "api.md": api_page(document),
        REFERENCE / "openapi.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        REFERENCE / "cli/index.md": commands_page(),
        **{REFERENCE / f"cli/{name}.md": command_page(name) for name in _command_names()},
    }


# -- settings --------------------------------------------------------------------------------


def example_file() -> str:
    """The settings file with every field, its default and its description, all commented out."""
    lines = [
        "# Every setting with its default. Copy this file to insight.toml and take the sign",
        "# off the lines that you change. The environment wins over the file:",
        "# INSIGHT_<SECTION>__<FIELD>. Written by scripts/docs; do not edit.",
    ]
    for section, model in settings.sections():
        lines += ["", f"# {_sentence(model)}", f"[{section}]"]
        for name, field in model.model_fields.items():
            words = textwrap.wrap(f"{_one_line(field.description)} {_limits(field)}", 94)
            lines += ["", *(f"# {line}" for line in words)]
            value = _toml(field.get_default(call_default_factory=True))
            lines.append(f"# {name} = {value}" if value else f"# {name} = …")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """The reference of the settings: one table a section."""
    known = {target: name for name, target in settings.WELL_KNOWN.items()}
    lines = [
        "# Settings",
        "",
        "Defaults, then `insight.toml` (or the file that `INSIGHT_CONFIG` names), then the",
        "environment, then the command line: the later wins. Names that do not exist are refused,",
        "in the environment too. `insight.example.toml` holds all of them, ready to copy.",
    ]
    for section, model in settings.sections():
        lines += ["", f"## {section}", "", _sentence(model), ""]
        lines += ["| field | default | environment | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            variables = [f"`{settings.PREFIX}{section.upper()}__{name.upper()}`"]
            if (section, name) in known:
                variables.append(f"`{known[section, name]}`")
            default = _toml(field.get_default(call_default_factory=True))
            meaning = _cell(f"{_one_line(field.description)} {_limits(field)}")
            shown = f"`{default}`" if default else "not set"
            lines.append(f"| `{name}` | {shown} | {', '.join(variables)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _sentence(model: type[BaseModel]) -> str:
    return _one_line(model.__doc__)


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _limits(field: FieldInfo) -> str:
    """Say what a value must fulfil, from the field's type and bounds."""
    words = []
    for kind in (field.annotation, *get_args(field.annotation)):
        if get_origin(kind) is Literal:
            words.append("One of " + ", ".join(f"`{value}`" for value in get_args(kind)) + ".")
        if kind is SecretStr:
            words.append("Secret.")
    bounds = {
        name: getattr(rule, name)
        for rule in field.metadata
        for name in ("ge", "le")
        if hasattr(rule, name)
    }
    if "ge" in bounds and "le" in bounds:
        words.append(f"From {bounds['ge']} to {bounds['le']}.")
    elif bounds:
        words += [f"At least {bounds['ge']}."] if "ge" in bounds else [f"At most {bounds['le']}."]
    return " ".join(words)


def _toml(value: Any) -> str:
    """Write a default as TOML; nothing for a value that is not set."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case tuple() | list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return json.dumps(str(value), ensure_ascii=False)


# -- commands --------------------------------------------------------------------------------


def commands_page() -> str:
    """The list of all commands."""
    lines = ["# Commands", "", "```text", _help(insight, None, "insight"), "```", ""]
    lines += [f"- [`insight {name}`]({name}.md)" for name in _command_names()]
    return "\n".join(lines) + "\n"


def command_page(name: str) -> str:
    """The help of one command and of everything below it."""
    context = context_of(insight, None, "insight")
    command = insight.get_command(context, name)
    assert command is not None, name  # noqa: S101 - the name comes from the list
    lines = []
    for level, title, text in _walk(command, context, name):
        lines += ["#" * level + " " + title, "", "```text", text, "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _command_names() -> list[str]:
    return insight.list_commands(context_of(insight, None, "insight"))


def _walk(
    command: click.Command, parent: click.Context, name: str, level: int = 1
) -> Iterator[tuple[int, str, str]]:
    context = context_of(command, parent, name)
    yield level, context.command_path, _help(command, parent, name)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            below = command.get_command(context, child)
            if below is not None and not below.hidden:
                yield from _walk(below, context, child, level=min(level + 1, 3))


def _help(command: click.Command, parent: click.Context | None, name: str) -> str:
    """The help text at a fixed width, so that it does not depend on the terminal."""
    context = context_of(command, parent, name)
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def context_of(command: click.Command, parent: click.Context | None, name: str) -> click.Context:
    """The context in which a command's help is the same on every terminal.

    click keeps a command's help option as the first context names it: whoever asks a command
    about itself beside us takes this one too.
    """
    own = dict(command.context_settings)
    own.update(terminal_width=90, max_content_width=90)
    return click.Context(command, parent, name, **own)


# -- errors ----------------------------------------------------------------------------------


def errors_page() -> str:
    """Every error: what it means, its exit status and its HTTP status."""
    lines = [
        "# Errors",
        "",
        "An error is named by what the caller can do. A command ends with its exit status and one",
        "line on standard error; the API answers with its HTTP status and a problem document",
        "(RFC 9457).",
        "",
        "| error | exit | HTTP | title | meaning |",
        "|---|---|---|---|---|",
    ]
    for depth, error in _tree(errors.InsightError):
        indent = "&nbsp;&nbsp;" * depth
        lines.append(
            f"| {indent}`{error.__name__}` | {error.exit_status} | {error.http_status} "
            f"| {error.title} | {_cell(_one_line(error.__doc__))} |"
        )
    lines += [
        "",
        f"Two exit statuses are not errors of this kind: {errors.CHECK_FAILED} says that a check",
        f"found something wrong, {errors.INTERRUPTED} that the command was interrupted (Ctrl-C).",
    ]
    return "\n".join(lines) + "\n"


def _tree(
    root: type[errors.InsightError], depth: int = 0
) -> Iterator[tuple[int, type[errors.InsightError]]]:
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:  # a component's own kinds are its own matter
            yield depth, child
            yield from _tree(child, depth + 1)


# -- HTTP ------------------------------------------------------------------------------------


def api_page(document: Mapping[str, Any]) -> str:
    """The reference of the HTTP API, from its OpenAPI document."""
    lines = [
        "# HTTP API",
        "",
        f"{document['info'].get('summary', '')} The same as OpenAPI: [openapi.json](openapi.json);",
        "a running service has it at `/api/v1/openapi.json`.",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method in (name for name in _METHODS if name in operations):
            operation = operations[method]
            tag = operation.get("tags", ["other"])[0]
            by_tag.setdefault(tag, []).extend(_operation(method, path, operation))
    for tag, described in by_tag.items():
        lines += ["", f"## {tag}", *described]
    lines += ["", "## Schemas"]
    for name, schema in sorted(document.get("components", {}).get("schemas", {}).items()):
        lines += _schema(name, schema)
    return "\n".join(lines) + "\n"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> list[str]:
    lines = ["", f"### {method.upper()} {path}", ""]
    lines.append(operation.get("description") or operation.get("summary", ""))
    parameters = operation.get("parameters", [])
    if parameters:
        lines += ["", "| parameter | in | type | meaning |", "|---|---|---|---|"]
    for parameter in parameters:
        name = f"`{parameter['name']}`" + (" (required)" if parameter.get("required") else "")
        meaning = _cell(_one_line(parameter.get("description")))
        kind = _cell(_kind(parameter.get("schema", {})))
        lines.append(f"| {name} | {parameter['in']} | {kind} | {meaning} |")
    if "requestBody" in operation:
        lines += ["", f"Body: {_contents(operation['requestBody'])}."]
    lines += ["", "| status | answer |", "|---|---|"]
    for status, answer in sorted(operation["responses"].items()):
        content = _cell(_contents(answer))
        words = _cell(_one_line(answer.get("description")))
        lines.append(f"| {status} | {words}{': ' + content if content else ''} |")
    return lines


def _schema(name: str, schema: Mapping[str, Any]) -> list[str]:
    lines = ["", f"### {name}", "", _one_line(schema.get("description")) or _kind(schema)]
    if "properties" in schema:
        lines += ["", "| field | type | meaning |", "|---|---|---|"]
    required = schema.get("required", [])
    for field, what in schema.get("properties", {}).items():
        shown = f"`{field}`" + (" (required)" if field in required else "")
        meaning = _cell(_one_line(what.get("description")))
        lines.append(f"| {shown} | {_cell(_kind(what))} | {meaning} |")
    return lines


def _contents(body: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{_kind(content.get('schema', {}))} as `{media_type}`"
        for media_type, content in body.get("content", {}).items()
    )


def _kind(schema: Mapping[str, Any]) -> str:
    """Name a schema in few words."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(map(_kind, schema[choice]))
    return str(schema.get("format") or schema.get("type") or "anything")


def _cell(text: str) -> str:
    return text.strip().replace("|", "\\|")


# -- writing and comparing -------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Write the files, or compare them when asked; return the exit status."""
    if arguments not in ([], ["--check"]):
        print("usage: scripts/docs [--check]", file=sys.stderr)
        return 2
    wanted = pages()
    stale = _present() - wanted.keys()
    return _compare(wanted, stale) if arguments else _write(wanted, stale)


def _present() -> set[Path]:
    return {path.relative_to(ROOT) for path in (ROOT / REFERENCE).rglob("*") if path.is_file()}


def _write(wanted: Mapping[Path, str], stale: set[Path]) -> int:
    for path, text in wanted.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
    for path in stale:
        (ROOT / path).unlink()
    print(f"{len(wanted)} files written, {len(stale)} removed")
    return 0


def _compare(wanted: Mapping[Path, str], stale: set[Path]) -> int:
    different = False
    for path, text in wanted.items():
        file = ROOT / path
        found = file.read_text(encoding="utf-8") if file.exists() else ""
        if found != text:
            different = True
            sides = (found.splitlines(keepends=True), text.splitlines(keepends=True))
            sys.stdout.writelines(difflib.unified_diff(*sides, str(path), "generated now", n=1))
    for path in sorted(stale):
        print(f"{path}: nothing generates this file")
    if different or stale:
        print("out of date; run scripts/docs", file=sys.stderr)
    return int(different or bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
