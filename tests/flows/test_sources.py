"""Code that the server analyses: by command, and watched in a browser with and without scripts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.app.sources.archives import tar_gz
from tests.flows.conftest import PASSWORD
from tests.flows.test_pages import browser
from tests.sandbox import needed
from tests.serving import Served

__all__ = ["browser"]

CODE = {"src/a.py": b"import os\n\n\ndef f(x):\n    return eval(x)\n"}


@pytest.fixture(autouse=True)
async def isolated() -> None:
    """Without isolation nothing is analysed, and there is nothing to test."""
    await needed.sandbox()


@pytest.fixture(scope="module")
def ready(service: Served) -> None:
    """Its worker begins a moment after the service: until then it takes nothing in."""
    with httpx.Client(base_url=f"{service.url}/api/v1") as client:
        sent = {"email": "lead@example.org", "password": PASSWORD}
        token = client.post("/auth/token", json=sent).raise_for_status().json()["access_token"]
        client.headers["authorization"] = f"Bearer {token}"
        for _ in range(120):
            if client.post("/projects/warm-up/sources", content=b"none").status_code == 422:
                return
            time.sleep(0.5)
    pytest.fail(f"no worker began:\n{service.said}")


@pytest.fixture
def checkout(tmp_path: Path, service: Served, ready: None) -> Path:
    """A working copy of somebody who is signed in."""
    folder = tmp_path / "shop"
    for name, data in CODE.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(data)
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    service.run("login", service.url, "--email", "lead@example.org", given=PASSWORD + "\n")
    return folder


def token(service: Served) -> dict[str, str]:
    """Who the command line is, for requests of our own."""
    file = Path(service.environment["HOME"], ".config/insight/credentials.json")
    return {"authorization": f"Bearer {json.loads(file.read_text())[service.url]}"}


def test_a_developer_lets_the_server_analyse(service: Served, checkout: Path) -> None:
    url = service.run("analyze", ".", "--remote", cwd=checkout)
    assert re.fullmatch(rf"{service.url}/projects/shop/analyses/[0-9a-f-]{{36}}", url)
    with httpx.Client(base_url=f"{service.url}/api/v1", headers=token(service)) as client:
        issues = client.get("/projects/shop/issues").json()["items"]
        assert {"S307", "F401"} <= {issue["rule"] for issue in issues}
        assert {issue["path"] for issue in issues} == {"src/a.py"}
        (source,) = client.get("/projects/shop/sources").json()["items"]
        assert (source["state"], source["branch"], len(source["commit"])) == ("done", "main", 40)
        with client.stream("GET", f"/projects/shop/sources/{source['id']}/events") as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            text = answer.read().decode()
        assert json.loads(text.removeprefix("data: ")) == source


def test_what_does_not_go_with_remote_is_refused(service: Served, checkout: Path) -> None:
    for option in ("--upload", "--no-cache", "--changed-only"):
        with pytest.raises(AssertionError, match=f"{option} does not go with --remote"):
            service.run("analyze", ".", "--remote", option, cwd=checkout)


def test_ctrl_c_calls_the_analysis_off(service: Served, checkout: Path) -> None:
    (checkout / "big.js").write_text(
        "".join(f"function f{n}(a) {{ return a + {n} }}\n" for n in range(20_000))
    )
    command = [sys.executable, "-m", "insight_cloud.cli", "analyze", ".", "--remote"]
    environment = os.environ | service.environment
    with subprocess.Popen(
        [*command, "--project", "called-off"],
        cwd=checkout,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "queued" not in (line := process.stderr.readline()):
            assert line, "it ended before it began"
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130, rest
    with httpx.Client(base_url=f"{service.url}/api/v1", headers=token(service)) as client:
        (source,) = client.get("/projects/called-off/sources").json()["items"]
    assert (source["state"], "cancelled on the server, too" in rest) == ("cancelled", True), rest


def test_a_day_has_so_many_analyses(tmp_path_factory: pytest.TempPathFactory) -> None:
    from tests.flows.conftest import UNLIMITED, open_the_way_to
    from tests.serving import served

    home = tmp_path_factory.mktemp("limited")
    open_the_way_to(home)
    with served(home, **UNLIMITED, INSIGHT_RATELIMIT__ANALYSIS="1/1d") as service:
        service.run("users", "add", "a@example.org", "--password-stdin", given=PASSWORD)
        with httpx.Client(base_url=f"{service.url}/api/v1") as client:
            made = client.post("/auth/token", json={"email": "a@example.org", "password": PASSWORD})
            client.headers["authorization"] = f"Bearer {made.json()['access_token']}"
            path, data = "/projects/one/sources", tar_gz(CODE)
            for _ in range(50):  # until its worker has begun
                answer = client.post(path, content=data)
                if answer.status_code != 409:
                    break
                time.sleep(0.2)
            assert answer.status_code in {202, 429}
            second = client.post(path, content=data)
            assert second.status_code == 429
            assert int(second.headers["retry-after"]) > 3600


# -- in a browser ----------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["with-scripts", "without-scripts"])
async def page(
    request: pytest.FixtureRequest, browser: Browser, service: Served, checkout: Path
) -> AsyncIterator[Page]:
    """Somebody who is signed in, in a project."""
    service.run("analyze", ".", "--upload", "--project", "by-page", cwd=checkout)
    window = await browser.new_context(base_url=service.url, java_script_enabled=request.param)
    window.set_default_timeout(20_000)
    page = await window.new_page()
    await page.goto("/sign-in?next=/projects/by-page/sources")
    await page.get_by_label("E-mail").fill("lead@example.org")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page).to_have_url(f"{service.url}/projects/by-page/sources", timeout=60_000)
    yield page
    await window.close()


async def test_an_archive_is_handed_in_and_watched(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "code.tar.gz"
    file.write_bytes(tar_gz({f"demo-1a2b/{name}": data for name, data in CODE.items()}))
    await page.get_by_label("File").set_input_files(file)
    await page.get_by_label("Leave out its first folder").check()
    await page.get_by_role("button", name="Analyse").click()
    await expect(page).to_have_url(re.compile(r"/sources/[0-9a-f-]{36}$"))
    # Nobody reloads: events do, or the page asks again by itself.
    await expect(page.get_by_role("link", name="See the analysis")).to_be_visible(timeout=90_000)
    await expect(page.get_by_text("1 of 1 files are analysed")).to_be_visible()
    await expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    await page.get_by_role("link", name="See the analysis").click()
    await expect(page).to_have_url(re.compile(r"/analyses/[0-9a-f-]{36}$"))


async def test_what_is_no_archive_is_said_beside_the_field(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "code.zip"
    file.write_bytes(b"just text")
    await page.get_by_label("File").set_input_files(file)
    await page.get_by_role("button", name="Analyse").click()
    await expect(page.get_by_text("This is no archive that we read")).to_be_visible()
