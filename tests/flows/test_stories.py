"""The ten stories of the product, each as its person lives it: in a terminal or in a browser.

Where a story is told in full elsewhere, that test is named beside it. Story 4 is told up to the
page of the pull request: its comment at the provider is written by the CI integration.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, expect
from standardwebhooks import Webhook

from insight_cloud.app.accounts import COOKIE
from tests.flows.conftest import PASSWORD, UNLIMITED, open_the_way_to
from tests.flows.test_pages import browser
from tests.serving import Served, insight, served

__all__ = ["browser"]

LOGS = Path(__file__).parents[1] / "data" / "sarif"
BAD = "import os\n\n\ndef run(command):\n    return eval(command)\n"
LEAD = "lead@example.org"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running service whose webhooks may reach this machine."""
    home = tmp_path_factory.mktemp("stories")
    open_the_way_to(home)
    settings = {
        "INSIGHT_WEBHOOKS__ALLOW_PRIVATE": "true",
        "INSIGHT_BACKUP__STORES": (home / "backups").as_uri(),
    }
    with served(home, **settings, **UNLIMITED) as service:
        service.run("users", "add", LEAD, "--admin", "--password-stdin", given=PASSWORD)
        service.run("login", service.url, "--email", LEAD, given=PASSWORD + "\n")
        yield service


@pytest.fixture(scope="module")
def api(service: Served) -> Iterator[httpx.Client]:
    """The lead, by the API."""
    with httpx.Client(base_url=f"{service.url}/api/v1", timeout=30) as client:
        tokens = client.post("/auth/token", json={"email": LEAD, "password": PASSWORD}).json()
        client.headers["authorization"] = f"Bearer {tokens['access_token']}"
        yield client


@pytest.fixture
async def page(browser: Browser, service: Served) -> AsyncIterator[Page]:
    """The lead, in a browser."""
    window = await browser.new_context(base_url=service.url)
    window.set_default_timeout(20_000)
    page = await window.new_page()
    await page.goto("/sign-in")
    await page.get_by_label("E-mail").fill(LEAD)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    yield page
    await window.close()


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A repository called after its test, with one bad file."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[-40:].strip("-")
    folder = tmp_path / name
    folder.mkdir()
    (folder / "shop.py").write_text(BAD)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def analyzed(service: Served, folder: Path, *arguments: str) -> None:
    service.run("analyze", ".", "--upload", "--detectors", "ruff", *arguments, cwd=folder)


def gate_of(service: Served, folder: Path) -> subprocess.CompletedProcess[str]:
    return insight(
        "gate", "--project", folder.name, "--pr", "7",
        environment=service.environment, cwd=folder, check=False,
    )  # fmt: skip


def run(function: Any, *arguments: Any) -> Any:
    return asyncio.get_running_loop().run_in_executor(None, function, *arguments)


# 1, with an installed wheel in an environment of its own: tests/package/test_wheel.py
async def test_1_one_command_and_a_link_make_an_administrator(
    browser: Browser, tmp_path: Path
) -> None:
    open_the_way_to(tmp_path)

    def begin() -> Any:
        context = served(tmp_path, **UNLIMITED)
        return context, context.__enter__()

    context, service = await run(begin)
    try:
        link = service.find(r"(http://\S+/welcome/inl_\w+)")
        window = await browser.new_context()
        page = await window.new_page()
        await page.goto(link)
        await page.get_by_label("Name").fill("Ada")
        await page.get_by_label("E-mail").fill("ada@example.org")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Create the account").click()
        await expect(page.get_by_text("No project yet")).to_be_visible()
        await expect(page.get_by_role("link", name="Operator")).to_be_visible()
        await page.goto(link)
        await expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
        await window.close()
    finally:
        await run(context.__exit__, None, None, None)


def test_2_findings_offline_and_without_an_account(checkout: Path, tmp_path: Path) -> None:
    """Nothing but the code: no settings, no server, and no network that could be used."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    done = insight("analyze", ".", environment=environment, cwd=checkout)
    assert "S307" in done.stdout
    assert "shop.py" in done.stdout


# 3, with moved lines and a mended file: tests/flows/test_first_hour.py
def test_3_an_upload_makes_the_project_and_shows_the_link(
    service: Served, api: httpx.Client, checkout: Path
) -> None:
    done = insight(
        "analyze", ".", "--upload", "--detectors", "ruff",
        environment=service.environment, cwd=checkout,
    )  # fmt: skip
    found = re.search(rf"{service.url}/projects/{checkout.name}/analyses/([0-9a-f-]+)", done.stderr)
    assert found is not None, done.stderr
    assert api.get(f"/projects/{checkout.name}/analyses/{found[1]}").status_code == 200


async def test_4_a_pull_request_shows_what_it_adds_and_whether_it_may_go_in(
    service: Served, checkout: Path, page: Page
) -> None:
    await run(analyzed, service, checkout)
    git(checkout, "checkout", "-q", "-b", "topic")
    (checkout / "shop.py").write_text(
        "# moved\n\n" + BAD + "\n\ndef more(x):\n    return eval(x)\n"
    )
    git(checkout, "commit", "-q", "-am", "more")
    await run(analyzed, service, checkout, "--pr", "7", "--base", "main")
    done = await run(gate_of, service, checkout)
    assert done.returncode == 1
    assert "failed" in done.stdout + done.stderr
    await page.goto(f"/projects/{checkout.name}/pulls/7")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Pull request 7")
    await expect(page.locator(".tag.failed").first).to_contain_text("failed")
    await page.get_by_role("link", name="Judge them").click()
    added = page.locator(".issue").filter(has_text="S307")
    await expect(added).to_have_count(1)
    await expect(added).to_contain_text("shop.py:11")


async def test_5_the_overview_says_what_got_worse(
    service: Served, checkout: Path, page: Page
) -> None:
    await run(analyzed, service, checkout)
    await page.goto("/")
    await expect(page.get_by_text("what got worse this week comes first")).to_be_visible()
    row = page.locator(".project").filter(has_text=checkout.name)
    await expect(row).to_contain_text("main")
    await row.get_by_role("link", name=checkout.name).click()
    await expect(page.get_by_role("heading", name="Open issues")).to_be_visible()


async def test_6_a_false_positive_is_marked_once(
    service: Served, api: httpx.Client, checkout: Path, page: Page
) -> None:
    await run(analyzed, service, checkout)
    await page.goto(f"/projects/{checkout.name}/issues?rule=S307")
    await page.locator(".issue a").first.click()
    await page.get_by_label("What it is").select_option("false_positive")
    await page.get_by_label("Why").fill("only our own input")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Judged, on every branch")).to_be_visible()

    def listed(branch: str, muted: str | None) -> list[str]:
        query = {"branch": branch} | ({"muted": muted} if muted else {})
        found = api.get(f"/projects/{checkout.name}/issues", params=query).json()["items"]
        return [issue["path"] for issue in found if issue["rule"] == "S307"]

    assert await run(listed, "main", "false_positive") == ["shop.py"]
    git(checkout, "checkout", "-q", "-b", "release")
    (checkout / "src").mkdir()
    git(checkout, "mv", "shop.py", "src/store.py")
    moved = checkout / "src" / "store.py"
    moved.write_text("# a new first line\n\n" + moved.read_text())
    git(checkout, "commit", "-q", "-am", "move and rename")
    await run(analyzed, service, checkout)
    assert await run(listed, "release", "false_positive") == ["src/store.py"]
    assert await run(listed, "release", None) == []


async def test_7_logs_of_other_tools_are_one_list(
    service: Served, page: Page, tmp_path: Path
) -> None:
    names = ("pub-codeql-python", "own-semgrep-flask-3.1.0", "own-hadolint-defectdojo")
    logs = [str(LOGS / f"{name}.sarif") for name in names]
    for log in logs:  # each tool reports on its own, as its job in CI ends
        await run(service.run, "upload", log, "--project", "security", "--branch", "main")
    await page.goto("/projects/security/issues")
    tools = await page.get_by_label("Tool").locator("option").all_inner_texts()
    assert {"CodeQL", "Semgrep OSS", "Hadolint"} <= {tool.partition(" (")[0] for tool in tools}
    await page.get_by_text("Judge issues").click()
    await expect(page.get_by_label("What it is")).to_be_visible()
    rows = page.locator(".issue")
    assert await rows.count() > 20


# 8: tests/flows/test_privacy.py, test_a_project_set_to_counts_refuses_paths
async def test_8_a_project_is_set_to_counts_on_its_page(
    service: Served, checkout: Path, page: Page
) -> None:
    await run(analyzed, service, checkout)
    await page.goto(f"/projects/{checkout.name}/settings")
    await page.get_by_label("What its uploads may hold at most").select_option("counts")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_text("Saved.")).to_be_visible()

    def again() -> subprocess.CompletedProcess[str]:
        return insight(
            "analyze", ".", "--upload", "--detectors", "ruff",
            environment=service.environment, cwd=checkout, check=False,
        )  # fmt: skip

    done = await run(again)
    assert done.returncode == 4
    assert "/runs/0/results/0/locations/0/physicalLocation/artifactLocation/uri" in done.stderr
    await run(analyzed, service, checkout, "--privacy", "counts")
    await page.goto(f"/projects/{checkout.name}")
    await expect(page.get_by_text("This project takes counts only")).to_be_visible()


async def test_9_an_administrator_sees_the_whole_service(service: Served, page: Page) -> None:
    await page.goto("/operator")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Operator")
    await expect(page.locator("main")).to_contain_text(re.compile("backup", re.IGNORECASE))
    await expect(page.get_by_role("heading", name="Health")).to_be_visible()
    for tab, heading in (
        ("Users", "Users"),
        ("Tokens", "Tokens"),
        ("Usage", "Usage"),
        ("Audit log", "Audit log"),
    ):
        await page.get_by_role("link", name=tab, exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    await expect(page.get_by_role("row").filter(has_text="token made").first).to_be_visible()


class _Hook(BaseHTTPRequestHandler):
    """Another program that is told."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.told.append((dict(self.headers), body))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
        """Say nothing."""


def _webhook(api: httpx.Client, project: str, url: str) -> str:
    """Add a webhook; return the secret that signs its messages."""
    body = {"url": url, "events": ["gate.changed"]}
    secret: str = api.post(f"/projects/{project}/webhooks", json=body).json()["secret"]
    return secret


async def test_10_a_badge_for_anybody_and_a_webhook_when_the_gate_changes(
    service: Served, api: httpx.Client, checkout: Path, page: Page, browser: Browser
) -> None:
    hook = ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    told: list[tuple[dict[str, str], bytes]] = []
    hook.told = told  # type: ignore[attr-defined]
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    (checkout / "shop.py").write_text("VALUE = 1\n")
    git(checkout, "commit", "-q", "-am", "good")
    await run(analyzed, service, checkout)
    url = f"http://127.0.0.1:{hook.server_address[1]}/hook"
    secret = await run(_webhook, api, checkout.name, url)
    await page.goto(f"/projects/{checkout.name}/settings")
    await page.get_by_label("Everybody may see the badge").check()
    await page.get_by_role("button", name="Save", exact=True).click()
    window = await browser.new_context(base_url=service.url)
    outside = await window.new_page()
    badge = f"/badge/{checkout.name}/main.svg"
    answer = await outside.goto(badge)
    assert answer is not None
    assert "insight: passed" in await answer.text()
    (checkout / "shop.py").write_text(BAD)
    git(checkout, "commit", "-q", "-am", "bad")
    await run(analyzed, service, checkout)
    for _ in range(300):
        if told:
            break
        await asyncio.sleep(0.1)
    headers, body = told[0]
    told_headers = {name.lower(): value for name, value in headers.items()}
    Webhook(secret).verify(body, told_headers)
    event = json.loads(body)
    assert event["type"] == "gate.changed"
    assert (event["data"]["before"], event["data"]["verdict"]) == ("passed", "failed")
    answer = await outside.goto(badge)
    assert answer is not None
    assert "insight: failed" in await answer.text()
    assert COOKIE not in {cookie["name"] for cookie in await window.cookies()}
    await window.close()
    hook.shutdown()
    hook.server_close()
