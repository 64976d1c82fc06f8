"""Google's Lighthouse over one page: scores and audits, in a browser that always ends.

Apart from its users because its program starts browsers that outlive it when it is stopped: here
the browser is ours, and both end with their process groups.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from insight_cloud.core import process
from insight_cloud.core.errors import Corrupt, Unavailable

__all__ = ["CATEGORIES", "Audit", "Result", "audit"]

CATEGORIES = ("performance", "accessibility", "best-practices", "seo")

_START_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",  # containers give 64 MB of it, which hangs a renderer
)


@dataclass(frozen=True, slots=True)
class Audit:
    """One thing that Lighthouse looked at. Without a score it only informs or did not apply."""

    title: str
    score: float | None
    """From 0 to 1."""
    shown: str
    """The finding as people read it, such as `1.3 s`; may be empty."""
    value: float | None
    """The finding as a number, in the unit of the audit (milliseconds, bytes)."""


@dataclass(frozen=True, slots=True)
class Result:
    """What Lighthouse says of a page."""

    url: str
    """Where it ended up, after redirects."""
    version: str
    scores: Mapping[str, int]
    """From 0 to 100 by category."""
    audits: Mapping[str, Audit]
    document: Mapping[str, Any]
    """All that Lighthouse wrote, to be kept as evidence."""


async def audit(
    url: str,
    *,
    program: str | Path = "lighthouse",
    chromium: str | Path = "chromium",
    categories: Sequence[str] = CATEGORIES,
    desktop: bool = False,
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float = 180,
) -> Result:
    """Load `url` as Lighthouse does, on its slow phone or, with `desktop`, on a computer.

    `headers` go with every request to that page's host, such as the cookie of a session; they
    stand in no command line. The whole takes about 15 seconds of a free processor. Whoever
    serves the page must go on serving meanwhile: a server in this event loop does, because
    nothing here blocks it.

    Raises:
        Missing: there is no such program.
        Unavailable: the browser does not start, the page does not load, or time is up.
        Corrupt: Lighthouse's answer cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="insight-lighthouse-") as name:
        folder = Path(name)
        async with _browser(chromium, folder, timeout_seconds) as port:
            command = [program, url, "--quiet", "--output=json", "--output-path=stdout"]
            command += [f"--port={port}", "--no-enable-error-reporting"]
            command += ["--disable-full-page-screenshot"]
            command.append(f"--only-categories={','.join(categories)}")
            if desktop:
                command.append("--preset=desktop")
            if headers:
                command.append(f"--extra-headers={_secret(folder / 'headers.json', headers)}")
            ended = await process.run(
                command, timeout_seconds=timeout_seconds, environment=_environment(folder)
            )
    if ended.timed_out:
        raise Unavailable(f"Lighthouse was not done with {url} after {timeout_seconds:g} s")
    return _result(url, ended)


@contextlib.asynccontextmanager
async def _browser(
    chromium: str | Path, folder: Path, timeout_seconds: float
) -> AsyncIterator[int]:
    """Run a browser with a new profile; yield the port on which it takes orders."""
    profile = folder / "profile"
    flags = [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else [*_FLAGS]
    flags += ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
    running = asyncio.create_task(
        process.run(
            [chromium, *flags, "about:blank"],
            timeout_seconds=timeout_seconds + _START_SECONDS,
            environment=_environment(folder),
        )
    )
    try:
        yield await _port(profile / "DevToolsActivePort", running)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _port(place: Path, running: asyncio.Task[process.Outcome]) -> int:
    """Wait until the browser has written down where it listens."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_START_SECONDS):
            while not running.done():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    return int(place.read_text("ascii").splitlines()[0])  # noqa: ASYNC240 - tiny
                await asyncio.sleep(_LOOK_SECONDS)
    said = running.result().stderr_tail if running.done() else "it says nothing"
    raise Unavailable(f"the browser for Lighthouse does not start: {said}")


def _environment(folder: Path) -> dict[str, str]:
    """What both programs need and nothing else: our own environment holds secrets."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
    }


def _secret(place: Path, headers: Mapping[str, str]) -> Path:
    place.touch(mode=0o600)
    place.write_text(json.dumps(dict(headers)), "utf-8")
    return place


def _result(url: str, ended: process.Outcome) -> Result:
    try:
        document = json.loads(ended.stdout)
        problem = document.get("runtimeError") or {}
        if problem.get("code", "NO_ERROR") != "NO_ERROR":
            raise Unavailable(f"Lighthouse could not load {url}: {problem.get('message', '')}")
        return Result(
            document.get("finalDisplayedUrl") or url,
            document["lighthouseVersion"],
            {
                name: round(category["score"] * 100)
                for name, category in document["categories"].items()
                if category["score"] is not None
            },
            {name: _audit(given) for name, given in document["audits"].items()},
            document,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if ended.status != 0:
            raise Unavailable(f"Lighthouse failed on {url}: {ended.stderr_tail}") from error
        raise Corrupt(f"the answer of Lighthouse on {url} cannot be read: {error!r}") from error


def _audit(given: Mapping[str, Any]) -> Audit:
    return Audit(
        given["title"], given["score"], given.get("displayValue", ""), given.get("numericValue")
    )
