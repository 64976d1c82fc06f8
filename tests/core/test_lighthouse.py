"""Lighthouse over real pages in a real browser, and what is said when it cannot be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from insight_cloud.core import lighthouse as core
from insight_cloud.core.errors import Corrupt, Missing, Unavailable
from tests import lighthouse

PAGE = """<!doctype html><html lang="en"><head><title>A page</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width"><meta name="description" content="One page.">
</head><body><h1>Hello</h1></body></html>"""


class Pages:
    """A server that says PAGE, and remembers what it was asked with."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        kind = "text/plain" if "/robots.txt" in self.asked[-1] else "text/html; charset=utf-8"
        body = "" if kind == "text/plain" else PAGE
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
        writer.write(f"{head}connection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    served = Pages()
    async with await asyncio.start_server(served.answer, "127.0.0.1", 0) as server:
        served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield served


def program(folder: Path, script: str) -> Path:
    """A program that stands where Lighthouse would."""
    place = folder / "lighthouse"
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)
    return place


def browsers() -> list[str]:
    """The command lines of browsers that were started here."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:
            continue
        found += [str(word, "utf-8") for word in words if b"insight-lighthouse-" in word]
    return found


@pytest.mark.timeout(2 * lighthouse.SECONDS)
async def test_a_page_is_scored_and_asked_for_with_our_headers(pages: Pages) -> None:
    found = await lighthouse.look(
        pages.url, categories=["seo", "accessibility"], headers={"x-visitor": "ada"}
    )
    assert found.scores == {"seo": 100, "accessibility": 100}
    assert found.audits["document-title"].score == 1
    assert found.version.startswith("12.")
    assert found.url == pages.url
    assert "x-visitor: ada" in pages.asked[0]


async def test_a_program_that_does_not_end_is_ended_and_its_browser_too(tmp_path: Path) -> None:
    lighthouse.require()
    slow = program(tmp_path, 'echo "$@" > "$0.said"; sleep 600')
    with pytest.raises(Unavailable, match=r"not done with .* after 1 s"):
        await core.audit(
            "http://127.0.0.1:1/",
            program=slow,
            chromium=lighthouse.CHROMIUM,
            headers={"cookie": "the-secret"},
            timeout_seconds=1,
        )
    said = (tmp_path / "lighthouse.said").read_text()
    assert "the-secret" not in said
    folder = next(word for word in said.split() if word.startswith("--extra-headers="))
    folder = folder.removeprefix("--extra-headers=").removesuffix("/headers.json")
    assert not await asyncio.to_thread(Path(folder).exists)
    assert not [line for line in browsers() if folder in line]


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("echo oh dear >&2; exit 1", Unavailable, "oh dear"),
        ("echo no JSON", Corrupt, "cannot be read"),
        ("echo '[]'", Corrupt, "cannot be read"),
        ("cat <<'END'\n{}\nEND", Corrupt, "lighthouseVersion"),
    ],
)
async def test_what_goes_wrong_is_said(
    tmp_path: Path, script: str, error: type[Exception], words: str
) -> None:
    lighthouse.require()
    with pytest.raises(error, match=words):
        await core.audit(
            "http://127.0.0.1:1/",
            program=program(tmp_path, script),
            chromium=lighthouse.CHROMIUM,
        )


async def test_a_page_that_does_not_load_is_told(tmp_path: Path) -> None:
    lighthouse.require()
    answer = {"runtimeError": {"code": "NO_FCP", "message": "The page did not paint"}}
    fake = program(tmp_path, f"echo '{json.dumps(answer)}'; exit 1")
    with pytest.raises(Unavailable, match="The page did not paint"):
        await core.audit("http://127.0.0.1:1/", program=fake, chromium=lighthouse.CHROMIUM)


async def test_missing_programs_are_named(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no-browser"):
        await core.audit("http://127.0.0.1:1/", chromium=tmp_path / "no-browser")
    lighthouse.require()
    with pytest.raises(Missing, match="no-lighthouse"):
        await core.audit(
            "http://127.0.0.1:1/",
            program=tmp_path / "no-lighthouse",
            chromium=lighthouse.CHROMIUM,
        )


async def test_a_browser_that_gives_up_at_once_says_why(tmp_path: Path) -> None:
    fake = program(tmp_path, "echo no display >&2; exit 3")
    with pytest.raises(Unavailable, match="no display"):
        await core.audit("http://127.0.0.1:1/", chromium=fake)
