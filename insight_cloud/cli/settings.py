"""`insight settings`: what is in force, with every secret hidden."""

from __future__ import annotations

from pathlib import Path

import click

from insight_cloud.cli._output import emit, json_option, statuses

__all__ = ["command"]


@click.command(epilog=statuses())
@click.option(
    "--config", type=click.Path(path_type=Path), help="Settings file.  [default: insight.toml]"
)
@click.option("--changed", is_flag=True, help="Only what differs from the defaults.")
@json_option
def command(config: Path | None, *, changed: bool, as_json: bool) -> None:
    """Print the settings in force: defaults, file and environment together.

    Secrets are shown as stars. A wrong or unknown setting is named, with exit status 2.
    """
    from insight_cloud import settings

    found = settings.load(config).model_dump(mode="json", exclude_defaults=changed)

    def human() -> None:
        for section, fields in found.items():
            for name, value in fields.items():
                click.echo(f"{section}.{name} = {'' if value is None else value}")

    emit(found, as_json=as_json, human=human)
