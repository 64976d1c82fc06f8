from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.load.site import site

INSIGHT = [sys.executable, "-m", "insight_cloud.cli", "load"]
SCENARIO = """
name = "two seconds"
[generator]
lag_ms = 60000
cpu_percent = 100
[thresholds]
http_req_failed = ["rate<0.01"]
[scenarios.all]
kind = "arrivals"
start = 10
stages = [{ seconds = 1, target = 10 }]
[[scenarios.all.steps]]
name = "home"
path = "/?q=${word}"
[variables]
word = "none"
"""


async def insight(*arguments: str, cwd: Path | None = None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *INSIGHT,
        *arguments,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    file = tmp_path / "two.toml"
    file.write_text(SCENARIO)
    return file


@pytest.fixture
def strict(tmp_path: Path) -> Path:
    """One whose generator may never be a thousandth of a millisecond late."""
    file = tmp_path / "strict.toml"
    file.write_text(SCENARIO.replace("lag_ms = 60000", "lag_ms = 0.001"))
    return file


async def test_a_run_writes_its_reports(tmp_path: Path, scenario: Path) -> None:
    (tmp_path / "words.toml").write_text('word = "secret"\n')
    async with site() as shop:
        status, out, err = await insight(
            *("run", str(scenario), shop.url, "--json", "--html", "r.html", "--junit", "r.xml"),
            *("--variables", "words.toml", "--threshold", "http_req_duration", "p(95)<60000"),
            cwd=tmp_path,
        )
        assert status == 0, err
        assert set(shop.counts) == {"/?q=secret"}
    found = json.loads(out)
    assert found["total"]["count"] == 10
    assert [threshold["passed"] for threshold in found["thresholds"]] == [True, True]
    assert "<h1>Load: two seconds</h1>" in (tmp_path / "r.html").read_text()
    assert ET.parse(tmp_path / "r.xml").getroot().get("tests") == "3"
    assert "two seconds: 1 s, up to 25 users" in err
    assert "secret" not in err


async def test_a_failed_threshold_is_status_1(scenario: Path) -> None:
    async with site() as shop:
        status, out, _ = await insight("run", str(scenario), shop.url, "--path", "/broken")
    assert status == 1
    assert "FAIL   http_req_failed: rate<0.01 (1)" in out
    assert "10 times /broken: HTTP 500" in out


async def test_an_overloaded_generator_is_status_8(strict: Path) -> None:
    async with site() as shop:
        status, out, _ = await insight("run", str(strict), shop.url)
    assert status == 8
    assert "INVALID" in out


async def test_ctrl_c_prints_the_figures_until_then() -> None:
    async with site() as shop:
        process = await asyncio.create_subprocess_exec(
            *INSIGHT,
            *("normal", shop.url, "--path", "/"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        await shop.begun.wait()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    assert "interrupted: these are the figures until then" in out.decode()
    assert "Traceback" not in err.decode()


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["run", "none.toml", "http://127.0.0.1"], 3, "no scenario file none.toml"),
        (["smoke", "127.0.0.1"], 4, "no URL of a site"),
        (["smoke", "http://127.0.0.1", "--expect", "1"], 4, "belong together"),
        (["smoke", "http://127.0.0.1", "--threshold", "a", "b"], 4, "'a' is no metric"),
        (["smoke", "http://127.0.0.1", "--variables", "none.toml"], 4, "cannot read none.toml"),
        (["worker", "here"], 4, "no HOST:PORT"),
        (["example", "none"], 3, "no built-in scenario"),
    ],
)
async def test_wrong_input_is_one_line_and_its_status(
    tmp_path: Path, arguments: list[str], status: int, told: str
) -> None:
    ended, _, err = await insight(*arguments, cwd=tmp_path)
    assert (ended, told in err) == (status, True), err
    assert "Traceback" not in err


async def test_an_example_can_be_run_at_once(tmp_path: Path) -> None:
    status, out, _ = await insight("example", "smoke")
    assert status == 0
    (tmp_path / "mine.toml").write_text(out)
    async with site() as shop:
        status, _, err = await insight(*("run", "mine.toml", shop.url, "--path", "/"), cwd=tmp_path)
        assert status in {0, 8}, err  # 8 on a machine that is very busy
        assert shop.asked


async def test_help_and_the_component_do_not_import_locust() -> None:
    """Locust replaces sockets and threads of the whole process."""
    code = (
        "import sys\n"
        "from insight_cloud import load\n"
        "from insight_cloud.cli import insight\n"
        "load.run, load.html, load.built_in('smoke'), load.Figures\n"
        "insight.main(['load', 'normal', '--help'], standalone_mode=False)\n"
        "print([name for name in ('locust', 'gevent', 'flask') if name in sys.modules])\n"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "generator itself was the bottleneck" in " ".join(done.stdout.split())
