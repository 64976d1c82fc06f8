"""What every command prints with: results on standard output, the rest on standard error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import msgspec

__all__ = ["emit", "json_option", "say", "statuses"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print the same data as JSON.")

_MEANINGS = {
    0: "done",
    1: "a check failed",
    2: "wrong usage or settings",
    3: "not found",
    4: "refused",
    5: "conflict",
    6: "unavailable, try again",
    7: "corrupt data",
    130: "interrupted",
}


def statuses(*numbers: int, **others: str) -> str:
    """The help text's last line: the exit statuses `0`, 2, 130 and `numbers`.

    `others` describe a status that this command uses in its own sense: `s1="gate failed"`.
    """
    meanings = {number: _MEANINGS[number] for number in sorted({0, 2, 130, *numbers})}
    meanings |= {int(name.removeprefix("s")): meaning for name, meaning in others.items()}
    return "Exit status: " + ", ".join(f"{n} {m}" for n, m in sorted(meanings.items())) + "."


def emit(data: Any, *, as_json: bool, human: Callable[[], None]) -> None:
    """Print `data` as JSON, or let `human` print it for people."""
    if not as_json:
        human()
        return
    click.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())


def say(message: str) -> None:
    """Tell the person in front of the terminal something that is not a result."""
    click.echo(message, err=True)
