"""A site as the assets of a Worker, deployed by API."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from insight_cloud.cdn import Workers
from insight_cloud.cdn.files import IMMUTABLE
from insight_cloud.cdn.record import Known
from insight_cloud.cdn.workers import headers_text
from insight_cloud.core.errors import Conflict, Refused, SettingsError, TooLarge, Unavailable
from tests.cdn.fronts import ACCOUNT, TOKEN, CloudflareFront
from tests.cdn.sites import NOW, Build

# ruff: noqa: ASYNC210 - nothing else runs on the loop while a test looks at its server


async def no_sleep(_: float) -> None:
    """Do not wait."""


def worker(front: CloudflareFront, *, token: str = TOKEN) -> Workers:
    return Workers(token, ACCOUNT, "my-site", base_url=front.url, api=front.api, sleep=no_sleep)


async def deploy(target: Workers, build: Build, *, days: int = 0) -> list[str]:
    now = NOW + timedelta(days=days)
    found = await target.read()
    deployment = target.plan(build.read(), found, now)
    await target.apply(deployment, found, now)
    return [change.target for change in deployment.changes]


async def test_a_site_is_served_as_it_was_built(cloudflare: CloudflareFront, build: Build) -> None:
    await deploy(worker(cloudflare), build)
    for file in build.read():
        answer = httpx.get(f"{cloudflare.url}/{file.path}")
        if file.attributes.content_encoding:
            assert answer.status_code == 404  # Cloudflare compresses by itself
            continue
        assert answer.content == file.source.read_bytes()
        assert answer.headers["content-type"] == file.attributes.content_type
    assert httpx.get(f"{cloudflare.url}/docs/").status_code == 200


async def test_the_second_deployment_sends_nothing_and_a_change_sends_one(
    cloudflare: CloudflareFront, build: Build
) -> None:
    target = worker(cloudflare)
    await deploy(target, build)
    before = len(cloudflare.requests)
    assert await deploy(target, build) == []
    assert len(cloudflare.requests) == before + 1  # the record was read
    cloudflare.uploaded.clear()
    build.write("robots.txt", "changed")
    assert await deploy(target, build) == ["robots.txt"]
    assert len(cloudflare.uploaded) == 2  # the file, and the record
    assert httpx.get(f"{cloudflare.url}/robots.txt").text == "changed"


async def test_old_hashed_files_stay_for_their_days(
    cloudflare: CloudflareFront, build: Build
) -> None:
    target = worker(cloudflare)
    old = next(build.root.glob("app.*.css")).name
    await deploy(target, build)
    build.restyle(b"body { color: blue }" * 40)
    await deploy(target, build, days=1)
    assert httpx.get(f"{cloudflare.url}/{old}").status_code == 200
    await deploy(target, build, days=31)
    assert httpx.get(f"{cloudflare.url}/{old}").status_code == 404


async def test_old_files_that_cloudflare_forgot_are_let_go(
    cloudflare: CloudflareFront, build: Build
) -> None:
    target = worker(cloudflare)
    old = next(build.root.glob("app.*.css")).name
    await deploy(target, build)
    forgotten = cloudflare.deployed[f"/{old}"]
    build.restyle(b"body { color: blue }" * 40)
    del cloudflare.stored[forgotten]
    await deploy(target, build, days=1)
    assert f"/{old}" not in cloudflare.deployed
    assert await deploy(target, build, days=1) == []


async def test_a_failure_anywhere_leaves_the_old_site(
    cloudflare: CloudflareFront, build: Build
) -> None:
    target = worker(cloudflare)
    await deploy(target, build)
    before = dict(cloudflare.deployed)
    build.restyle(b"body { color: blue }" * 40)
    cloudflare.fail_switch = True
    with pytest.raises(Unavailable):
        await deploy(target, build)
    assert cloudflare.deployed == before
    cloudflare.fail_switch = False
    await deploy(target, build)
    assert cloudflare.deployed != before


async def test_a_file_that_changes_meanwhile_ends_it(
    cloudflare: CloudflareFront, build: Build
) -> None:
    target = worker(cloudflare)
    found = await target.read()
    deployment = target.plan(build.read(), found, NOW)
    build.write("robots.txt", "changed since")
    with pytest.raises(Conflict, match="changed while it was sent"):
        await target.apply(deployment, found, NOW)
    assert cloudflare.deployed == {}


async def test_a_wrong_token_is_refused(cloudflare: CloudflareFront, build: Build) -> None:
    with pytest.raises(Refused, match="permission") as caught:
        await deploy(worker(cloudflare, token="hidden"), build)
    assert "hidden" not in str(caught.value)


async def test_the_check_reads_what_is_served(cloudflare: CloudflareFront, build: Build) -> None:
    target = worker(cloudflare)
    (before,) = await target.check(await target.read(), NOW)
    assert before.status == "fail"
    await deploy(target, build)
    checks = await target.check(await target.read(), NOW, verify=True)
    assert [check.status for check in checks] == ["pass", "pass"]
    cloudflare.stored[cloudflare.deployed["/robots.txt"]] = (b"other", "text/plain")
    last = (await target.check(await target.read(), NOW, verify=True))[-1]
    assert (last.status, "robots.txt" in last.detail) == ("fail", True)


async def test_what_is_too_large_for_a_worker_is_told_before(
    cloudflare: CloudflareFront, build: Build
) -> None:
    build.write("film.mp4", b"x" * (25 * 1024 * 1024 + 1))
    with pytest.raises(TooLarge, match=r"film\.mp4"):
        await deploy(worker(cloudflare), build)
    assert len(cloudflare.requests) == 1


def test_the_headers_name_what_never_changes() -> None:
    constant = Known("", 1, "text/css", IMMUTABLE, hashed=True)
    other = Known("", 1, "text/html", "max-age=0")
    files = {
        "index.html": other,
        "app.1.css": constant,
        "static/a.js": constant,
        "static/b.js": constant,
        "mixed/a.js": constant,
        "mixed/b.html": other,
    }
    assert headers_text(files) == "".join(
        f"{rule}\n  Cache-Control: {IMMUTABLE}\n"
        for rule in ("/static/*", "/app.1.css", "/mixed/a.js")
    )
    many = {f"x/{number}.js": constant for number in range(500)} | {"x/index.html": other}
    assert headers_text(many).count("Cache-Control") == 100


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"account": "x"}, "account"),
        ({"script": "../x"}, "name of a Worker"),
        ({"base_url": ""}, "base_url"),
    ],
)
def test_wrong_names_are_refused(changed: dict[str, str], reason: str) -> None:
    given = {"account": ACCOUNT, "script": "my-site", "base_url": "https://example.com"} | changed
    with pytest.raises(SettingsError, match=reason):
        Workers(TOKEN, given["account"], given["script"], base_url=given["base_url"])
