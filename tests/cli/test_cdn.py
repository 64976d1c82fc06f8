from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from insight_cloud.cli.cdn import command
from insight_cloud.core.errors import Corrupt, Missing, SettingsError
from tests.cdn.fronts import ACCOUNT, TOKEN, ZONE, CloudflareFront, cloudflare_front
from tests.cdn.sites import Build
from tests.core.faulty import faulty_proxy
from tests.stores import S3Server, s3_server

# ruff: noqa: ASYNC220 - nothing else runs on the loop while a process is started

BASE = "https://example.com"


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INSIGHT_CDN__TARGET", f"file://{tmp_path}/site")
    monkeypatch.setenv("INSIGHT_CDN__BASE_URL", BASE)
    monkeypatch.setenv("INSIGHT_CDN__DIRECTORY", "dist")
    return Build(tmp_path / "dist").fill()


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudflareFront]:
    with cloudflare_front() as found:
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
        monkeypatch.setenv("CLOUDFLARE_ZONE_ID", ZONE)
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", ACCOUNT)
        monkeypatch.setenv("INSIGHT_EDGE__API_URL", found.api)
        yield found


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words, catch_exceptions=True)


def test_a_plan_changes_nothing(build: Build, tmp_path: Path) -> None:
    result = run("plan")
    assert result.exit_code == 0
    assert "+ index.html  (new)\n" in result.output
    assert not (tmp_path / "site").exists()


def test_apply_does_what_the_plan_says_once(build: Build, tmp_path: Path) -> None:
    planned = json.loads(run("plan", "--json").output)
    applied = json.loads(run("apply", "--json").output)
    assert applied["changes"] == planned["changes"]
    assert applied["outcome"]["uploaded"] == 6
    assert run("apply").output == "nothing to do\n"
    assert run("plan").output == "nothing to do\n"
    assert (tmp_path / "site/docs/index.html").exists()


def test_what_changed_is_purged_and_named(build: Build, front: CloudflareFront) -> None:
    run("apply")
    build.write("robots.txt", "changed")
    result = run("apply", str(build.root))
    assert result.stdout == (
        f"~ robots.txt  (the content changed)\n* purge 1 addresses\n    {BASE}/robots.txt\n"
    )
    assert "1 files sent (7 bytes), 0 removed, 1 addresses purged" in result.stderr
    assert front.purged == [("invalidate_cache", {"files": [f"{BASE}/robots.txt"]})]


def test_the_status_ends_with_one_when_something_is_missing(build: Build, tmp_path: Path) -> None:
    assert run("status").exit_code == 1
    run("apply")
    assert run("status", "--verify").exit_code == 0
    (tmp_path / "site/robots.txt").unlink()
    result = run("status", "--json")
    assert result.exit_code == 1
    assert json.loads(result.output)["status"] == "fail"


def test_a_worker_is_deployed_and_checked(
    build: Build, front: CloudflareFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSIGHT_CDN__TARGET", "workers://my-site")
    monkeypatch.setenv("INSIGHT_CDN__BASE_URL", front.url)
    assert run("apply").exit_code == 0
    assert run("apply").output == "nothing to do\n"
    assert run("status", "--verify").exit_code == 0


def test_addresses_tags_or_everything_are_purged(build: Build, front: CloudflareFront) -> None:
    assert run("purge", f"{BASE}/a", f"{BASE}/b").output == "purged 2 addresses: Cloudflare\n"
    assert run("purge", "--tag", "site").output == "purged 1 tags: Cloudflare\n"
    assert run("purge", "--everything").output == "purged all: Cloudflare\n"
    assert [body for _, body in front.purged] == [
        {"files": [f"{BASE}/a", f"{BASE}/b"]},
        {"tags": ["site"]},
        {"purge_everything": True},
    ]


@pytest.mark.parametrize(
    "words", [[], ["--everything", "--tag", "x"], [f"{BASE}/a", "--tag", "x"], ["/path"]]
)
def test_a_purge_of_nothing_or_too_much_is_wrong_usage(words: list[str]) -> None:
    assert run("purge", *words).exit_code == 2


def test_what_is_missing_is_named(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run("plan", "nowhere").exception, Missing)
    assert isinstance(run("purge", "--everything").exception, SettingsError)
    monkeypatch.delenv("INSIGHT_CDN__DIRECTORY")
    result = run("plan")
    assert isinstance(result.exception, SettingsError)
    assert "DIRECTORY" in str(result.exception)
    monkeypatch.delenv("INSIGHT_CDN__TARGET")
    assert "cdn.target" in str(run("plan").exception)


def test_a_record_that_is_broken_is_said(build: Build, tmp_path: Path) -> None:
    run("apply")
    (tmp_path / "site/.insight/cdn.json").write_text("nonsense")
    assert isinstance(run("plan").exception, Corrupt)


async def test_an_interrupted_deployment_can_be_repeated_at_once(
    build: Build, tmp_path: Path
) -> None:
    """Ctrl-C while a file is sent: exit status 130, and the next deployment need not wait."""
    with s3_server() as server:
        url = server.bucket("site")
        async with faulty_proxy(server.endpoint, only={6: "hang"}) as proxy:
            process = subprocess.Popen(
                [sys.executable, "-m", "insight_cloud.cli", "cdn", "apply"],
                cwd=tmp_path,
                env=environment(server, f"{url}?endpoint={proxy.url}"),
                stderr=subprocess.PIPE,
                text=True,
            )
            while proxy.faults == 0:  # noqa: ASYNC110 - the proxy counts, and tells nobody
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, said = await asyncio.to_thread(process.communicate)
            assert process.returncode == 130, said
            assert "interrupted" in said
            again = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "insight_cloud.cli", "cdn", "apply"],
                cwd=tmp_path,
                env=environment(server, f"{url}?endpoint={proxy.url}"),
                capture_output=True,
                text=True,
                check=False,
            )
            assert again.returncode == 0, again.stderr
            assert "index.html" in again.stdout


def environment(server: S3Server, target: str) -> dict[str, str]:
    given = server.credentials
    return {
        "PATH": os.environ["PATH"],
        "INSIGHT_CDN__TARGET": target,
        "INSIGHT_CDN__DIRECTORY": "dist",
        "AWS_ACCESS_KEY_ID": given.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": given.aws_secret_access_key,
        "AWS_REGION": given.aws_region,
    }
