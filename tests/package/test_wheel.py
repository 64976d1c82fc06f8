"""What people install: the built wheel, alone in a fresh environment, shows a page."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from insight_cloud import __version__
from tests.docs.pages import ROOT

UV = ROOT / "scripts/uv"


def _run(*command: str | Path, folder: Path = ROOT) -> str:
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as an index would get both."""
    folder = tmp_path_factory.mktemp("dist")
    # hatchling comes from the tests' own environment: nothing is fetched.
    build = (UV, "build", "--quiet", "--no-build-isolation", "--python", sys.executable)
    _run(*build, "--out-dir", folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the programs of an environment that holds the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("installed")
    locked = folder / "requirements.txt"
    _run(
        *(UV, "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project"),
        *("--output-file", locked),
    )
    _run(UV, "venv", "--quiet", "--python", sys.executable, folder / "env")
    into = ("--quiet", "--python", folder / "env/bin/python")
    _run(UV, "pip", "install", *into, "--requirements", locked)
    _run(UV, "pip", "install", *into, "--no-deps", wheel)
    return folder / "env/bin"


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = _run("git", "ls-files", "insight_cloud").split()
    assert found == set(tracked)


def test_the_wheel_carries_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
        assert archive.read(names[0]).decode() == (ROOT / "LICENSE").read_text()


def test_the_installed_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    said = _run(installed / "insight", "--version", folder=tmp_path)
    assert said == f"insight, version {__version__}\n"


async def test_the_installed_service_shows_its_pages(installed: Path, tmp_path: Path) -> None:
    async with _serving(installed, tmp_path) as url, httpx.AsyncClient(base_url=url) as client:
        health = await client.get("/api/health")
        assert health.status_code == 200, health.text
        page = await client.get("/", follow_redirects=True)
        assert page.status_code == 200, page.text
        assert "<html" in page.text
        assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
        assert assets
        for asset in assets:
            assert (await client.get(asset)).status_code == 200, asset


@asynccontextmanager
async def _serving(programs: Path, folder: Path) -> AsyncIterator[str]:
    """Run `insight serve` on a free port with a database of its own, and say where it is."""
    child = await asyncio.create_subprocess_exec(
        *(programs / "insight", "serve", "--port", "0"),
        cwd=folder,
        env={
            "HOME": str(folder),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "INSIGHT_DATABASE__DIRECTORY": str(folder / "postgres"),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stderr is not None
    said: list[str] = []
    try:
        async for line in child.stderr:
            said.append(line.decode())
            if found := re.search(r"Insight Cloud is on (\S+)", said[-1]):
                break
        else:
            pytest.fail("".join(said))
        await _answering(found[1])
        yield found[1]
    finally:
        if child.returncode is None:
            child.terminate()
        rest = await child.stderr.read()
        assert await child.wait() == 0, "".join(said) + rest.decode()


async def _answering(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        for _ in range(600):
            try:
                await client.get("/api/health")
            except httpx.TransportError:
                await asyncio.sleep(0.1)
            else:
                return
    pytest.fail(f"nothing answers on {url}")
