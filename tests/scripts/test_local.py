from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from insight_cloud.core.errors import Unavailable
from scripts import local

_NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own: nothing here may touch a service that somebody runs."""
    state = tmp_path / ".var"
    state.mkdir()
    names = {"ROOT": tmp_path, "STATE": state, "INSIGHT": tmp_path / "insight"}
    for name, value in names.items():
        monkeypatch.setattr(local, name, value)
    monkeypatch.setattr(local, "LOG", state / "serve.log")
    monkeypatch.setattr(local, "PID", state / "serve.pid")
    return state


def _service(body: str) -> None:
    local.INSIGHT.write_text(f"#!/bin/bash\n{body}\n")
    local.INSIGHT.chmod(0o755)


@pytest.mark.parametrize("text", ["", "words", "999999999", "1"])
def test_a_pid_file_that_names_something_else_is_no_service(text: str) -> None:
    local.PID.write_text(text)
    assert local.pid() is None


def test_a_service_that_ends_early_is_told_with_the_end_of_its_log() -> None:
    _service("echo the port is taken >&2; exit 6")
    with (
        pytest.raises(Unavailable, match="the port is taken"),
        local.started(_NOBODY_LISTENS),
    ):
        pytest.fail("it is not ready")
    assert not local.PID.exists()


def test_a_failure_after_the_start_stops_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    _service("echo Insight Cloud is on an address; exec sleep 100")
    monkeypatch.setattr(local, "healthy", lambda _: True)
    with pytest.raises(KeyboardInterrupt):
        _be_interrupted()
    assert not local.PID.exists()


def _be_interrupted() -> None:
    with local.started(_NOBODY_LISTENS) as process:
        assert local.alive(process)
        raise KeyboardInterrupt


def test_a_service_that_never_gets_ready_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    _service("exec sleep 100")
    monkeypatch.setattr(local, "READY_SECONDS", 0.3)
    with (
        pytest.raises(Unavailable, match="was not ready after"),
        local.started(_NOBODY_LISTENS),
    ):
        pytest.fail("it is not ready")


def test_another_program_at_the_address_is_not_taken_for_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _service("sleep 0.3; echo cannot listen: in use >&2; exit 6")
    monkeypatch.setattr(local, "healthy", lambda _: True)
    with pytest.raises(Unavailable, match="in use"), local.started(_NOBODY_LISTENS):
        pytest.fail("it is not ours")


def test_a_running_service_is_found_and_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import time\nprint('Insight Cloud is on an address', flush=True)\ntime.sleep(100)\n"
    local.INSIGHT.write_text(f"#!{sys.executable}\n{program}")
    local.INSIGHT.chmod(0o755)
    monkeypatch.setattr(local, "healthy", lambda _: True)
    with local.started(_NOBODY_LISTENS) as process:
        while local.pid() is None:  # the kernel shows the command line a moment after the start
            assert local.alive(process)
        assert local.pid() == process
    assert local.alive(process)
    local.down()
    assert not local.alive(process)
    assert local.pid() is None
    os.waitpid(process, 0)


def test_stopping_what_does_not_run_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    local.down()
    assert "not running" in capsys.readouterr().out


def test_without_the_registry_this_checkout_is_analysed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Path) -> None:
        raise subprocess.CalledProcessError(1, ["pip"])

    monkeypatch.setattr(local, "fetch", fail)
    assert local.sample() == (local.ROOT, "insight-cloud", "checkout")
    assert "analysing this checkout instead" in capsys.readouterr().out


def test_a_failing_command_is_an_error_that_names_it() -> None:
    _service("echo no such user >&2; exit 3")
    with pytest.raises(Unavailable, match=r"`insight users link` ended with 3"):
        local.insight("users", "link")


def test_memory_counts_descendants_and_not_the_database(tmp_path: Path) -> None:
    body = "import sys, time; data = bytearray(40 << 20); print(len(data), flush=True); time.sleep"
    postgres = tmp_path / "postgres"
    postgres.symlink_to(sys.executable)
    sizes = {}
    for program in (Path(sys.executable), postgres):
        with subprocess.Popen([program, "-c", f"{body}(60)"], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            sizes[program.name] = local.memory_bytes(child.pid)
            child.kill()
    assert sizes.pop("postgres") == 0
    assert min(sizes.values()) > 40 << 20


def test_data_stay_in_the_checkout_unless_the_caller_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("INSIGHT_DATABASE__DIRECTORY", raising=False)
    here = str(local.STATE / "postgres")
    assert local.environment()["INSIGHT_DATABASE__DIRECTORY"] == here
    monkeypatch.setenv("INSIGHT_DATABASE__DIRECTORY", "/elsewhere")
    assert local.environment()["INSIGHT_DATABASE__DIRECTORY"] == "/elsewhere"
