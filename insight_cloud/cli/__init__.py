"""The command `insight`: each module in here is a command or a group, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import click

from insight_cloud import __version__
from insight_cloud.core.errors import INTERRUPTED, InsightError

__all__ = ["insight", "main"]


class _Modules(click.Group):
    """A group whose commands are this package's modules; one is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name every module that does not begin with an underscore."""
        names = (module.name for module in pkgutil.iter_modules(__path__))
        return sorted(name for name in names if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module `cmd_name` and return its `command`."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command


@click.group(
    cls=_Modules,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 a check failed, 2 wrong usage or settings, 3 not found, "
    "4 refused, 5 conflict, 6 unavailable, 7 corrupt, 130 interrupted.",
)
@click.version_option(__version__, prog_name="insight")
def insight() -> None:
    """See what is wrong with your code, and run the service that tracks it."""


def main() -> None:
    """Run the command line; an error of ours becomes one line and its exit status."""
    try:
        status = insight.main(prog_name="insight", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except InsightError as error:
        click.secho(f"insight: {error}", fg="red", err=True)
        status = error.exit_status
    except (click.Abort, KeyboardInterrupt):
        click.echo("insight: interrupted", err=True)
        status = INTERRUPTED
    sys.exit(status if isinstance(status, int) else 0)
