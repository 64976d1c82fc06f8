"""The command `insight`: each module in here is a command or a group, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import sys
from types import FrameType

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
    _stop_as_by_ctrl_c("SIGTERM", "SIGHUP")
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


def _stop_as_by_ctrl_c(*names: str) -> None:
    """Let a scheduler's stop and a lost terminal end a command as Ctrl-C does: tidied up.

    Their default action ends the process on the spot, with locks, records and temporary files
    left as they are. A command that handles one of them itself, such as `serve`, replaces this;
    what the caller wanted ignored, as `nohup` does, stays ignored.
    """
    for name in names:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do now: `asyncio` cancels its task then, everybody else is raised at."""
    by_ctrl_c = signal.getsignal(signal.SIGINT)
    if not callable(by_ctrl_c):  # ignored, as a shell does for what it starts in the background
        raise KeyboardInterrupt
    by_ctrl_c(number, frame)
