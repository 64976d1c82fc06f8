from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from insight_cloud.cli.cdn import command
from insight_cloud.core.errors import Corrupt, Invalid, Missing, Refused, SettingsError
from tests.cdn.fronts import ACCOUNT, TOKEN, ZONE, CloudflareFront, cloudflare_front
from tests.cdn.sites import Build
from tests.core.faulty import faulty_proxy
from tests.images.gallery import jpeg, photo
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


PAGES = """
import json, os, pathlib
from insight_cloud.assets import Assets
from insight_cloud.images import Catalogue, picture
assets = Assets.load(pathlib.Path(".insight/site/assets"))
images = Catalogue.decode(pathlib.Path(".insight/site/images/images.json").read_bytes())
shown = picture(images.described("cat.jpg"), images.address("/img"), alt="A cat")
pathlib.Path("dist").mkdir(exist_ok=True)
pathlib.Path("dist/index.html").write_text(f"<!doctype html>{assets.stylesheet('app.css')}{shown}")
pathlib.Path("seen.json").write_text(json.dumps(dict(os.environ)))
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site in its sources: a photograph, a stylesheet, a program that writes the page."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "TARGET": f"file://{tmp_path}/site",
        "BASE_URL": BASE,
        "DIRECTORY": "dist",
        "IMAGES": "/img/=photos",
        "ASSETS": "/static/=styles",
        "BUILD": f"{sys.executable},pages.py",
        "COMPRESS": "true",
    }.items():
        monkeypatch.setenv(f"INSIGHT_CDN__{name}", text)
    for folder in ("photos", "styles"):
        (tmp_path / folder).mkdir()
    (tmp_path / "photos/cat.jpg").write_bytes(jpeg(photo(700, 400)))
    (tmp_path / "styles/app.css").write_text(".a { color: red }\n" * 20)
    (tmp_path / "pages.py").write_text(PAGES)
    return tmp_path


def test_one_command_makes_the_site_sends_it_and_purges(
    source: Path, front: CloudflareFront
) -> None:
    result = run("apply")
    assert result.exit_code == 0, result.exception
    page = (source / "site/index.html").read_text()
    named = re.findall(r"/(?:img|static)/[^\s\"?]+", page)
    assert named
    assert all((source / "site" / path[1:]).is_file() for path in named), named
    packed = (source / "site/index.html.gz").read_bytes()
    assert gzip.decompress(packed).decode() == page
    sent = {path.relative_to(source / "site").as_posix() for path in (source / "site").rglob("*")}
    assert not {"img/images.json", "static/manifest.json"} & sent
    assert run("apply").stdout == "nothing to do\n"
    (source / "styles/app.css").write_text(".a { color: blue }\n" * 20)
    changed = json.loads(run("apply", "--json").stdout)
    again = {one["target"] for one in changed["changes"] if one["verb"] in {"create", "update"}}
    assert not any(path.startswith("img/") for path in again)
    assert {f"{BASE}/", f"{BASE}/index.html"} <= set(changed["purge"])
    assert front.purged == [("invalidate_cache", {"files": changed["purge"]})]


def test_secrets_are_kept_from_the_program_that_builds(
    source: Path, front: CloudflareFront
) -> None:
    assert run("plan").exit_code == 0
    seen = json.loads((source / "seen.json").read_text())
    assert "PATH" in seen
    assert TOKEN not in seen.values()
    assert not [name for name in seen if name.startswith("INSIGHT_")]


def test_what_was_made_before_is_deployed_without_making_it(source: Path) -> None:
    assert isinstance(run("apply", "--no-build").exception, Missing)
    run("plan")
    (source / "styles/app.css").write_text(".a { color: blue }")
    (source / "seen.json").unlink()
    assert run("apply", "--no-build").exit_code == 0
    assert not (source / "seen.json").exists()
    assert b"red" in next((source / "site/static").glob("app.*.css")).read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("pages.py", "raise SystemExit('no template')", "status 1: no template"),
        ("photos/dog.jpg", "no image", "dog.jpg: the file is no JPEG"),
    ],
)
def test_what_cannot_be_made_leaves_the_site_as_it_is(
    source: Path, name: str, content: str, words: str
) -> None:
    run("apply")
    before = {path: path.read_bytes() for path in (source / "site").rglob("*") if path.is_file()}
    (source / name).write_text(content)
    failed = run("apply")
    assert isinstance(failed.exception, Invalid)
    assert words in str(failed.exception)
    after = {path: path.read_bytes() for path in (source / "site").rglob("*") if path.is_file()}
    assert after == before


def test_a_program_that_does_not_end_is_ended(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSIGHT_CDN__BUILD", "sleep,600")
    monkeypatch.setenv("INSIGHT_CDN__BUILD_SECONDS", "0.2")
    failed = run("plan")
    assert isinstance(failed.exception, Invalid)
    assert "was not done after 0.2 s" in str(failed.exception)
    monkeypatch.setenv("INSIGHT_CDN__BUILD", "no-such-program")
    assert isinstance(run("plan").exception, Missing)


def test_what_is_gone_is_not_deployed_from_memory(source: Path) -> None:
    run("apply")
    shutil.rmtree(source / ".insight/site/images")
    assert isinstance(run("apply", "--no-build").exception, Refused)
