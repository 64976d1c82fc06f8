"""The command line as a whole: every command has help, errors have their exit status."""

import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from insight_cloud.cli import insight


def every_command() -> list[list[str]]:
    context = click.Context(insight)
    found = []
    for name in insight.list_commands(context):
        command = insight.get_command(context, name)
        assert command is not None
        found.append([name])
        if isinstance(command, click.Group):
            found += [[name, part] for part in command.list_commands(context)]
    return found


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "insight_cloud.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_every_command_describes_itself_and_its_exit_statuses(path: list[str]) -> None:
    command: click.Command = insight
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    assert command.help
    if not isinstance(command, click.Group):
        assert command.epilog
        assert command.epilog.startswith("Exit status: ")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--version"], 0, "insight, version"),
        (["nonsense"], 2, "No such command"),
        (["settings", "--config", "nowhere.toml"], 2, "nowhere.toml"),
        (["login", "ftp://x", "--token-stdin"], 2, "not the URL of a server"),
        (["completion", "bash"], 0, "_INSIGHT_COMPLETE"),
    ],
)
def test_errors_are_one_line_and_a_status(
    arguments: list[str], status: int, words: str, tmp_path: Path
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == status
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "background"),
    [("SIGINT", False), ("SIGTERM", False), ("SIGTERM", True), ("SIGHUP", False)],
)
def test_what_stops_a_process_stops_a_command_as_ctrl_c_does(
    tmp_path: Path, name: str, *, background: bool
) -> None:
    """Also where Ctrl-C itself is ignored, as a shell arranges for jobs in the background."""
    ctrl_c = "SIG_IGN" if background else "default_int_handler"
    code = (
        f"import signal; signal.signal(signal.SIGINT, signal.{ctrl_c}); "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
        "from insight_cloud.cli import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "tls", "renew", "--wait", "86400"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("beginning in")
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (130, "insight: interrupted")


def test_help_imports_no_component() -> None:
    code = (
        "import sys; from insight_cloud.cli import insight; insight.main(['--help'], "
        "standalone_mode=False); print([m for m in sys.modules if m in "
        "('psycopg', 'fastapi', 'pydantic', 'httpx')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_settings_hide_their_secrets(tmp_path: Path) -> None:
    (tmp_path / "insight.toml").write_text("[client]\ntoken = 'hunter2'\n")
    done = run("settings", "--changed", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "client.token = **********\n")
