"""The checklist is run against an application that knows nothing of us, as its operator would."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.launch.world import World, serving

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/launch.toml"


@pytest.fixture
async def shop(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, str]]:
    """The example, served with a database of its own; what the command's environment is."""
    url = await world.database()
    monkeypatch.setenv("DATABASE_URL", url)
    from examples import launch_app

    (world.folder / "launch.toml").write_text(EXAMPLE.read_text())
    async with launch_app.lifespan(launch_app.app), serving(launch_app.app) as port:
        yield {
            "PATH": os.environ["PATH"],
            "HOME": str(world.folder),
            "DATABASE_URL": url,
            "SHOP": f"http://127.0.0.1:{port}",
        }


async def insight(shop: dict[str, str], folder: Path, *words: str) -> tuple[int, str, str]:
    """Run a command in the project's folder, while the shop is served here."""

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "insight_cloud.cli", "launch", *words]
        return subprocess.run(
            command, cwd=folder, env=shop, capture_output=True, text=True, check=False, timeout=100
        )

    done = await asyncio.to_thread(run)
    return done.returncode, done.stdout, done.stderr


def items(text: str) -> dict[str, Any]:
    return {one["answer"]["id"]: one for one in json.loads(text)["items"]}


async def test_what_applies_runs_and_the_rest_says_why_not(
    shop: dict[str, str], world: World
) -> None:
    status, out, _ = await insight(shop, world.folder, "check", "--url", shop["SHOP"], "--json")
    assert status == 1
    found = items(out)
    states = Counter(one["state"] for one in found.values())
    assert sum(states.values()) == 186
    passed = {name for name, one in found.items() if one["state"] == "pass"}
    assert passed >= {
        "P012", "P016", "P018", "P019", "P025", "P033", "P034", "P035", "P036", "P037",
        "P060", "P061", "P065", "L012", "L022", "SHOP-1",
    }  # fmt: skip
    failed = {name: one["answer"] for name, one in found.items() if one["state"] == "fail"}
    assert set(failed) >= {"P026", "P027", "P054", "P059", "P062", "P084", "P125", "P129"}
    assert "cookies/0/secure is false" in failed["P062"]["reason"]
    assert {name for name, one in found.items() if one["state"] == "error"} == set()
    not_run = [one["answer"] for one in found.values() if one["state"] == "not_run"]
    assert all(one["reason"] for one in not_run)
    assert not {one["id"] for one in not_run} & passed
    assert {name for name, one in found.items() if one["state"] == "not_applicable"} == {
        "P041", "P042", "P043", "L011",
    }  # fmt: skip
    assert "postgresql://" not in out


async def test_a_second_run_says_what_changed_and_waivers_open_the_gate(
    shop: dict[str, str], world: World
) -> None:
    only = ("--item", "P062", "--item", "p012")
    status, _, _ = await insight(shop, world.folder, "check", "--url", shop["SHOP"], *only)
    assert status == 1
    status, out, _ = await insight(
        shop, world.folder, "waive", "P062", "--by", "Ann", "--until", "2020-01-01", "--why", "x"
    )
    assert (status, out) == (4, "")
    until = (world.now.date()).isoformat()
    words = ("--by", "Ann", "--until", until, "--why", "TLS comes tomorrow")
    status, out, _ = await insight(shop, world.folder, "waive", "p062", *words)
    assert status == 0
    assert out.startswith("P062 is waived until")
    status, out, _ = await insight(shop, world.folder, "check", "--url", shop["SHOP"], *only)
    assert status == 0
    assert "waived by Ann" in out
    (world.folder / "launch.toml").write_text(
        EXAMPLE.read_text() + '\n[probe.P012]\nkind = "http"\nrequests = ["/"]\n'
        "expect = ['0/text ~ \"Sofas\"']\n"
    )
    status, out, _ = await insight(shop, world.folder, "check", "--url", shop["SHOP"], *only)
    assert status == 1
    assert "P012   passed -> failed" in out
    html = world.folder / "room.html"
    status, out, _ = await insight(shop, world.folder, "report", "--html", str(html))
    page = html.read_text()
    assert status == 1
    for said in ("no-go", "T-48h", "T-0", "T+48h", "Chairs and tables is open", "waived by Ann"):
        assert said in page, said
    assert "<script" not in page


async def test_the_way_back_is_a_plan_with_the_previous_release(
    shop: dict[str, str], world: World
) -> None:
    only = ("--item", "P012", "--url", shop["SHOP"])
    assert (await insight(shop, world.folder, "check", *only))[0] == 0
    file = world.folder / "launch.toml"
    file.write_text(file.read_text().replace("v3.1.0", "v3.2.0"))
    status, out, _ = await insight(shop, world.folder, "rollback", "plan")
    assert status == 0
    assert "1. application: deploy v3.1.0  (Ann, 5 min, errors)" in out
    assert "Example Hosting" in out
    file.write_text("[launch]\nname = 'x'\n")
    status, _, said = await insight(shop, world.folder, "rollback", "plan")
    assert status == 3
    assert "has no [[rollback.steps]]" in said


async def test_what_nobody_can_mean_is_refused(shop: dict[str, str], world: World) -> None:
    run = insight
    assert (await run(shop, world.folder, "check", "--item", "P999"))[0] == 3
    assert (await run(shop, world.folder, "check", "--url", "shop"))[0] == 2
    assert (await run(shop, world.folder, "sign", "P001", "--by", "Ann"))[0] == 4
    assert (await run(shop, world.folder, "init"))[0] == 5
    assert (await run(shop, world.folder, "report"))[0] == 3
    words = ("--by", " ", "--until", "2999-01-01", "--why", "x")
    assert (await run(shop, world.folder, "waive", "P001", *words))[0] == 4
    (world.folder / "launch.toml").write_text("[values]\nhealth_pth = '/'\n")
    status, _, said = await run(shop, world.folder, "check")
    assert status == 2
    assert "values.health_pth" in said


async def test_a_person_signs_what_no_machine_can_ask(shop: dict[str, str], world: World) -> None:
    only = ("--item", "P010", "--url", shop["SHOP"])
    assert (await insight(shop, world.folder, "check", *only))[0] == 3
    words = ("--by", "Ann", "--note", "two left, accepted")
    assert (await insight(shop, world.folder, "sign", "p010", *words))[0] == 0
    status, out, _ = await insight(shop, world.folder, "check", *only)
    assert status == 0
    assert "1 signed" in out
