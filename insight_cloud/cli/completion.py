"""`insight completion`: tab completion for a shell."""

from __future__ import annotations

import click

from insight_cloud.cli._output import statuses

__all__ = ["command"]


@click.command(epilog=statuses())
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes `insight` in SHELL.

    For bash: insight completion bash > ~/.local/share/bash-completion/completions/insight
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - the choices are click's own shells
    click.echo(kind(ctx.find_root().command, {}, "insight", "_INSIGHT_COMPLETE").source())
