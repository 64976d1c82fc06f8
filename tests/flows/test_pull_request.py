"""The pull request's story: one comment, updated in place, right after rebase and force-push."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from insight_cloud.cli import _queue
from tests.flows.conftest import open_the_way_to
from tests.flows.provider import TOKEN, Provider, provider
from tests.serving import Served, insight

BAD = "import subprocess\n\n\ndef run(word: str) -> None:\n    subprocess.call(word, shell=True)\n"
WORSE = "import pickle\n\n\ndef load(data: bytes) -> object:\n    return pickle.loads(data)\n"


class Clone:
    """A working copy of a bare repository, as a CI job has it, with the stand-in beside it."""

    def __init__(self, folder: Path, service: Served, token: str, api: str) -> None:
        self.folder = folder
        self.api = api
        self.environment = {
            "PATH": service.environment["PATH"],
            "HOME": str(folder.parent),
            "INSIGHT_CLIENT__SERVER": service.url,
            "INSIGHT_CLIENT__TOKEN": token,
            "GITHUB_TOKEN": TOKEN,
        }

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
        command = ["git", *who, *words]
        done = subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, name: str, text: str | None, *options: str) -> None:
        if text is None:
            self.git("rm", "-q", name)
        else:
            (self.folder / name).write_text(text)
            self.git("add", name)
        self.git("commit", "-q", "-m", f"Change {name}", *options)

    def insight(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return insight(*words, environment=self.environment, cwd=self.folder, check=check)

    def analyse(self, *words: str) -> None:
        fixed = ("--no-cache", "--detectors", "ruff", "--limit", "1")
        self.insight("analyze", ".", *fixed, "--upload", "--project", "shop", *words)

    def job(self, *more: str) -> dict[str, Any]:
        """What CI does for pull request 7."""
        self.git("fetch", "-q", "origin")
        self.analyse("--pr", "7", "--base", "main", "--branch", "feature")
        words = ("--pr", "7", "--repository", "team/shop", "--project", "shop", "--api", self.api)
        done = self.insight("comment", *words, "--json", *more)
        found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
        return found


@pytest.fixture
def hub() -> Iterator[tuple[str, Provider]]:
    with provider() as found:
        yield found


@pytest.fixture
def clone(
    service: Served, tmp_path_factory: pytest.TempPathFactory, hub: tuple[str, Provider]
) -> Clone:
    folder = tmp_path_factory.mktemp("clone")
    open_the_way_to(folder)
    bare, work = folder / "shop.git", folder / "shop"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", bare], check=True)
    subprocess.run(["git", "clone", "-q", bare, work], check=True, capture_output=True)
    name = f"ci-{folder.name}"
    said = service.run("users", "token", "--name", name, "--scope", "ingest", "--scope", "read")
    return Clone(work, service, said.splitlines()[-1].strip(), hub[0])


def numbers(found: dict[str, Any]) -> tuple[int, int]:
    return found["new"], found["fixed"]


def test_one_comment_follows_a_pull_request_through_rebase_and_force_push(
    clone: Clone, hub: tuple[str, Provider]
) -> None:
    _, state = hub
    for number in range(130):  # ours must be found beyond the first page
        state.add(7, f"words {number}", author="ann")
    mimic = state.add(7, "<!-- insight-cloud: shop --> says ann", author="ann")
    clone.git("checkout", "-q", "-b", "main")
    clone.commit("old.py", BAD)
    clone.git("push", "-q", "origin", "main")
    clone.analyse("--branch", "main")

    clone.git("checkout", "-q", "-b", "feature")
    clone.commit("new.py", WORSE)
    first = clone.job()
    base = numbers(first)
    assert first["result"] == "created"
    assert base[0] >= 1
    assert base[1] == 0
    ours = [one for one in state.of(7) if one["author"] == "bot"]
    assert len(ours) == 1
    assert "new.py" in ours[0]["body"]
    assert "old.py" not in ours[0]["body"]
    assert clone.job()["result"] == "unchanged"

    # The branch fixes what the base has, and main moves on with a finding of its own.
    clone.commit("old.py", None)
    fixing = clone.job()
    assert fixing["result"] == "updated"
    assert fixing["new"] == base[0]
    assert fixing["fixed"] >= 1
    clone.git("checkout", "-q", "main")
    clone.commit("other.py", BAD.replace("run", "go"))
    clone.git("push", "-q", "origin", "main")
    clone.analyse("--branch", "main")

    # Rebased: what came from main is not the pull request's.
    clone.git("checkout", "-q", "feature")
    clone.git("rebase", "-q", "main")
    rebased = clone.job()
    assert numbers(rebased) == numbers(fixing)
    assert "other.py" not in state.comments[ours[0]["id"]]["body"]

    # Force-pushed: the commit that brought the finding is gone.
    clone.git("reset", "-q", "--hard", "main")
    clone.commit("clean.py", "A = 1\n")
    forced = clone.job()
    assert numbers(forced) == (0, 0)
    body = state.comments[ours[0]["id"]]["body"]
    assert "Quality gate passed" in body
    assert "**0 new**, **0 fixed**" in body
    assert clone.git("rev-parse", "HEAD")[:12] in body
    assert [one["id"] for one in state.of(7) if one["author"] == "bot"] == [ours[0]["id"]]
    assert state.comments[mimic]["body"].endswith("says ann")
    assert state.calls.count("POST") == 1


def test_two_jobs_at_once_leave_one_comment_and_gitlab_is_spoken_too(
    clone: Clone, hub: tuple[str, Provider], tmp_path: Path
) -> None:
    _, state = hub
    clone.git("checkout", "-q", "-b", "main")
    clone.commit("old.py", "A = 1\n")
    clone.git("push", "-q", "origin", "main")
    clone.analyse("--branch", "main")
    clone.git("checkout", "-q", "-b", "feature")
    clone.commit("new.py", WORSE)
    clone.job()
    twin = state.add(7, state.of(7)[0]["body"])
    assert clone.job()["result"] == "unchanged"
    assert twin not in state.comments
    state.comments.clear()
    summary = tmp_path / "summary.md"
    found = clone.job("--provider", "gitlab", "--summary", str(summary))
    assert found["result"] == "created"
    assert clone.job("--provider", "gitlab")["result"] == "unchanged"
    assert len(state.of(7)) == 1
    assert summary.read_text() == state.of(7)[0]["body"]
    words = ("comment", "--pr", "7", "--repository", "team/shop", "--api", clone.api)
    out = clone.insight(*words, "--project", "shop", "--annotate").stdout
    found_lines = re.findall(
        r"^::(?:error|warning|notice) file=new\.py,line=\d+", out, re.MULTILINE
    )
    assert 1 <= len(found_lines) <= 10
    clone.environment["GITHUB_TOKEN"] = "wrong"
    refused = clone.insight(*words, "--project", "shop", check=False)
    assert refused.returncode == 4
    assert "Bad credentials" in refused.stderr
    assert "wrong" not in refused.stderr


def test_uploads_wait_while_the_server_is_away_and_are_sent_in_order(
    clone: Clone, service: Served
) -> None:
    clone.git("checkout", "-q", "-b", "main")
    clone.commit("a.py", WORSE)
    away = dict(clone.environment)
    # A server that is away, at the address that the queue remembers: nothing listens there yet.
    log = clone.folder.parent / "log.sarif"
    words = ("analyze", ".", "--no-cache", "--detectors", "ruff", "--format", "sarif")
    clone.insight(*words, "--output", str(log))
    queue = clone.folder.parent / "queue"
    clone.environment["INSIGHT_CLIENT__SERVER"] = "http://127.0.0.1:9"
    done = clone.insight("upload", str(log), "--project", "waits", "--queue", str(queue))
    assert "waits in" in done.stderr
    (kept,) = queue.glob("*.msgpack")
    assert kept.stat().st_mode & 0o077 == 0
    assert away["INSIGHT_CLIENT__TOKEN"].encode() not in kept.read_bytes()
    again = clone.insight("upload", str(log), "--project", "waits", "--queue", str(queue))
    assert "waits in" in again.stderr
    assert len(list(queue.glob("*.msgpack"))) == 1
    # What waits for one server is never sent to another.
    clone.environment = away
    clone.commit("b.py", "A = 1\n")
    clone.insight("upload", str(log), "--project", "waits", "--queue", str(queue))
    assert kept.exists()
    # When it is back, at its address, what waited is sent first.
    waiting = msgspec.msgpack.decode(kept.read_bytes(), type=_queue._Waiting)
    waiting.server = service.url
    kept.write_bytes(msgspec.msgpack.encode(waiting))
    sent = clone.insight("upload", str(log), "--project", "waits", "--queue", str(queue))
    assert "sent what waited" in sent.stderr
    assert not list(queue.glob("*.msgpack"))
