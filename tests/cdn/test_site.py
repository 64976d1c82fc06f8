"""A site on its way into a directory, an S3 server and Azurite."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from insight_cloud.cdn import Cloudflare, Rules, Site
from insight_cloud.cdn.record import RECORD
from insight_cloud.core.errors import Conflict, Corrupt, Unavailable
from insight_cloud.core.storage import Credentials, Store, open_store
from insight_cloud.edge import fake as edge
from tests.cdn.fronts import TOKEN, ZONE, CloudflareFront
from tests.cdn.sites import NOW, Build, Watched, contents, deploy
from tests.stores import Azurite, S3Server

BASE = "https://example.com"


class Caches:
    """A purger that remembers, and fails when told to."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.broken = False

    async def purge(self, urls: Sequence[str]) -> None:
        if self.broken:
            raise Unavailable("the cache does not answer")
        self.calls.append([*urls])


class Suite:
    """What a deployment promises, whatever the store; a subclass gives `store`."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        raise NotImplementedError
        yield  # pragma: no cover  # noqa: PT022 - a subclass closes what it opened

    async def test_the_second_deployment_sends_nothing(self, store: Store, build: Build) -> None:
        watched = Watched(store)
        site = Site(watched)
        await deploy(site, build.read())
        assert watched.files() == {file.path for file in build.read()}
        watched.written.clear()
        _, changed = await deploy(site, build.read())
        assert changed == ()
        assert watched.written == []

    async def test_one_changed_file_sends_one(self, store: Store, build: Build) -> None:
        watched, caches = Watched(store), Caches()
        site = Site(watched, base_url=BASE, purgers=[caches])
        await deploy(site, build.read())
        watched.written.clear()
        build.write("docs/index.html", "changed")
        await deploy(site, build.read())
        assert watched.files() == {"docs/index.html"}
        assert caches.calls == [[f"{BASE}/docs/index.html", f"{BASE}/docs/"]]
        assert (await contents(store))["docs/index.html"] == b"changed"

    async def test_what_was_deployed_is_there(self, store: Store, build: Build) -> None:
        site = Site(store)
        await deploy(site, build.read())
        expected = {file.path: file.source.read_bytes() for file in build.read()}
        assert await contents(store) == expected
        checks = await site.check(await site.read(), NOW, verify=True)
        assert {check.status for check in checks} == {"pass"}

    async def test_a_release_keeps_what_yesterdays_pages_need(
        self, store: Store, build: Build
    ) -> None:
        site = Site(store, keep=timedelta(days=30))
        old = next(build.root.glob("app.*.css")).name
        await deploy(site, build.read())
        new = build.restyle(b"body { color: blue }" * 40)
        await deploy(site, build.read(), days=1)
        assert {old, f"{old}.gz", new, f"{new}.gz"} <= (await contents(store)).keys()
        await deploy(site, build.read(), days=30)
        assert old in await contents(store)
        await deploy(site, build.read(), days=31)
        assert old not in await contents(store)
        assert f"{old}.gz" not in await contents(store)
        assert new in await contents(store)

    async def test_a_cut_anywhere_leaves_pages_that_work(self, store: Store, build: Build) -> None:
        """Broken before each of its writes in turn: every page that is there finds its style."""
        site = Site(store)
        await deploy(site, build.read())
        old = await contents(store)
        new = build.restyle(b"body { color: blue }" * 40)
        wanted = build.read()
        for broken in range(20):
            watched = Watched(store)
            watched.break_before = broken
            once = Site(watched, at_once=1)
            try:
                await deploy(once, wanted, days=broken)
            except Unavailable:
                await self.assert_it_works(store, old, new)
                continue
            break
        assert broken > 5
        await self.assert_it_works(store, old, new)
        found = await contents(store)
        assert {path: found[path] for path in old if path.endswith(".html")} == {
            file.path: file.source.read_bytes() for file in wanted if file.page
        }

    async def assert_it_works(self, store: Store, old: dict[str, bytes], new: str) -> None:
        found = await contents(store)
        for path, content in found.items():
            if path.endswith(".html"):
                style = content.decode().split('"')[3].removeprefix("../")
                assert style in found, f"{path} needs {style}"
        pages = {path for path in old if path.endswith(".html")}
        if new not in found:  # nothing but the new files was begun: the old site is whole
            assert {path: found[path] for path in pages} == {path: old[path] for path in pages}

    async def test_of_two_at_once_one_is_refused(self, store: Store, build: Build) -> None:
        site = Site(store)
        found = await site.read()
        first = site.plan(build.read(), found, NOW)
        outcomes = await asyncio.gather(
            site.apply(first, found, NOW), site.apply(first, found, NOW), return_exceptions=True
        )
        conflicts = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        assert len(conflicts) == 1
        assert "faster" in str(conflicts[0])
        assert not site.plan(build.read(), await site.read(), NOW).changes

    async def test_going_back_after_a_cut_is_complete(self, store: Store, build: Build) -> None:
        site = Site(store)
        await deploy(site, build.read())
        before = await contents(store)
        first = build.read()
        watched = Watched(store)
        build.write("index.html", "the new page")
        watched.break_before = 2  # the record, and one page
        with pytest.raises(Unavailable):
            await deploy(Site(watched), build.read())
        assert (await contents(store))["index.html"] == b"the new page"
        build.write("index.html", before["index.html"])
        assert build.read() == first
        await deploy(site, build.read(), days=1)
        assert await contents(store) == before


class TestDirectory(Suite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with open_store(f"file://{tmp_path}/site") as store:
            yield store


class TestS3(Suite):
    @pytest.fixture
    async def store(self, s3_server: S3Server) -> AsyncIterator[Store]:
        async with open_store(s3_server.bucket("site"), s3_server.credentials) as store:
            yield store


class TestAzure(Suite):
    @pytest.fixture
    async def store(self, azurite: Azurite) -> AsyncIterator[Store]:
        async with open_store(azurite.container("site"), azurite.credentials) as store:
            yield store


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(f"file://{tmp_path}/site") as store:
        yield store


async def test_s3_answers_with_the_right_headers(s3_server: S3Server, build: Build) -> None:
    url = s3_server.bucket("site")
    await deploy(Site(open_store(url, s3_server.credentials)), build.read())
    style = next(build.root.glob("app.*.css")).name
    packed = s3_server.headers(url, f"{style}.gz")
    assert packed["content-type"] == "text/css; charset=utf-8"
    assert packed["content-encoding"] == "gzip"
    assert packed["cache-control"] == "public, max-age=31536000, immutable"
    page = s3_server.headers(url, "index.html")
    assert page["content-type"] == "text/html; charset=utf-8"
    assert page["cache-control"] == "public, max-age=0, must-revalidate"
    assert "content-encoding" not in page


async def test_azure_answers_with_the_right_headers(azurite: Azurite, build: Build) -> None:
    url = azurite.container("site")
    files = build.read(Rules(encoding="gzip"))
    await deploy(Site(open_store(url, azurite.credentials)), files)
    style = next(build.root.glob("app.*.css")).name
    found = azurite.headers(url, style)
    assert found["content-type"] == "text/css; charset=utf-8"
    assert found["content-encoding"] == "gzip"
    assert found["cache-control"] == "public, max-age=31536000, immutable"


async def test_the_purge_calls_are_exactly_the_changed_addresses(
    disk: Store, build: Build, cloudflare: CloudflareFront
) -> None:
    purger = Cloudflare(TOKEN, ZONE, api=cloudflare.api)
    site = Site(disk, base_url=BASE, purgers=[purger])
    await deploy(site, build.read())
    assert cloudflare.urls == []
    build.restyle(b"body { color: blue }" * 40)
    build.write("new.html", "new")
    (build.root / "robots.txt").unlink()
    await deploy(site, build.read())
    assert cloudflare.urls == [
        f"{BASE}/docs/index.html",
        f"{BASE}/docs/",
        f"{BASE}/index.html",
        f"{BASE}/",
        f"{BASE}/robots.txt",
    ]
    assert [kind for kind, _ in cloudflare.purged] == ["invalidate_cache"]


async def test_a_rehearsal_with_the_edges_stand_in_sees_the_same_purges(
    disk: Store, build: Build
) -> None:
    fake = edge.Fake()
    async with edge.serve(fake) as api:
        purger = Cloudflare(edge.TOKEN, edge.ZONE, api=api)
        site = Site(disk, base_url=BASE, purgers=[purger])
        await deploy(site, build.read())
        build.write("docs/index.html", "changed")
        await deploy(site, build.read())
        await Cloudflare(edge.TOKEN, edge.ZONE, mode="hard", api=api).purge_tags(["docs"])
    assert fake.purged == [
        ("soft", {"files": [f"{BASE}/docs/index.html", f"{BASE}/docs/"]}),
        ("hard", {"tags": ["docs"]}),
    ]
    assert fake.flaws == []


async def test_a_purge_that_fails_is_made_up_for(disk: Store, build: Build) -> None:
    caches = Caches()
    site = Site(disk, base_url=BASE, purgers=[caches])
    await deploy(site, build.read())
    build.write("robots.txt", "changed")
    caches.broken = True
    with pytest.raises(Unavailable, match="cache does not answer"):
        await deploy(site, build.read())
    assert (await contents(disk))["robots.txt"] == b"changed"
    found = await site.read()
    assert "cdn.purged" in [c.name for c in await site.check(found, NOW) if c.status == "warn"]
    assert str(site.plan(build.read(), found, NOW).changes) == "* purge 1 addresses"
    caches.broken = False
    await deploy(site, build.read())
    assert caches.calls == [[f"{BASE}/robots.txt"]]
    assert not site.plan(build.read(), await site.read(), NOW).changes


async def test_a_running_deployment_is_waited_for_and_a_dead_one_is_not(
    disk: Store, build: Build
) -> None:
    site = Site(disk)
    await deploy(site, build.read())
    found = await site.read()
    await site._write(replace(found.record, begun=NOW), found.etag)
    build.write("robots.txt", "changed")
    found = await site.read()
    (warned,) = [c for c in await site.check(found, NOW) if c.name == "cdn.unfinished"]
    assert (warned.status, "runs" in warned.detail) == ("warn", True)
    with pytest.raises(Conflict, match="a deployment runs since 10:00"):
        await deploy(site, build.read())
    await deploy(site, build.read(), days=1)
    assert (await site.read()).record.begun is None


async def test_a_deployment_that_was_killed_is_finished_by_the_next(
    disk: Store, build: Build, tmp_path: Path
) -> None:
    """Killed by the system while it sends: what it left is found, and goes after its days."""
    code = (
        "import asyncio\n"
        "from datetime import datetime, UTC\n"
        "from pathlib import Path\n"
        "from insight_cloud.cdn import *\n"
        "from insight_cloud.core.storage import open_store\n"
        "import insight_cloud.cdn.site as module\n"
        "async def main():\n"
        f"    site = Site(open_store('file://{tmp_path}/site'), at_once=1)\n"
        "    real = site._store.put\n"
        "    async def put(path, *rest, **more):\n"
        "        if path.endswith('.html'):\n"
        "            print('sent', flush=True)\n"
        "            await asyncio.Event().wait()\n"
        "        return await real(path, *rest, **more)\n"
        "    site._store.put = put\n"
        f"    wanted = read_build(Path({str(build.root)!r}), Rules())\n"
        "    moment = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)\n"
        "    found = await site.read()\n"
        "    await site.apply(site.plan(wanted, found, moment), found, moment)\n"
        "asyncio.run(main())\n"
    )
    stranded = next(build.root.glob("app.*.css")).name
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert await child.stdout.readline() == b"sent\n"
    child.kill()
    await child.wait()
    site = Site(disk)
    assert stranded in await contents(disk)
    build.restyle(b"body { color: blue }" * 40)
    await deploy(site, build.read(), days=1)
    assert stranded in await contents(disk)
    await deploy(site, build.read(), days=31)
    assert stranded not in await contents(disk)
    assert {"index.html", "docs/index.html"} <= (await contents(disk)).keys()


async def test_a_file_that_changes_while_it_is_sent_ends_the_deployment(
    disk: Store, build: Build
) -> None:
    site = Site(disk)
    wanted = build.read()
    build.write("robots.txt", "changed since")
    with pytest.raises(Conflict, match="changed while it was sent"):
        await deploy(site, wanted)
    assert "robots.txt" not in await contents(disk)
    await deploy(site, build.read())


async def test_what_is_missing_or_wrong_is_told(disk: Store, build: Build) -> None:
    site = Site(disk)
    (before,) = await site.check(await site.read(), NOW)
    assert (before.status, "nothing was deployed" in before.detail) == ("fail", True)
    await deploy(site, build.read())
    await disk.delete(["robots.txt"])
    await disk.put("index.html", b"<" * (await disk.head("index.html")).size)
    checks = {c.name: c for c in await site.check(await site.read(), NOW, verify=True)}
    assert "robots.txt" in checks["cdn.complete"].detail
    assert "index.html" in checks["cdn.content"].detail
    assert checks["cdn.complete"].status == checks["cdn.content"].status == "fail"


@pytest.mark.parametrize(
    "content", [b"", b"{}x", b'{"version": 9}', b'{"deployed": "2026-11-25T10:00:00"}']
)
async def test_a_record_that_is_broken_is_not_believed(disk: Store, content: bytes) -> None:
    await disk.put(RECORD, content)
    with pytest.raises(Corrupt, match="record"):
        await Site(disk).read()


async def test_progress_is_told_in_bytes(disk: Store, build: Build) -> None:
    site, told = Site(disk), list[tuple[int, int]]()
    found = await site.read()
    deployment = site.plan(build.read(), found, NOW)
    await site.apply(deployment, found, NOW, progress=lambda *seen: told.append(seen))
    total = sum(file.size for file in build.read())
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_the_credentials_of_the_tests_are_no_secret_in_a_repr(s3_server: S3Server) -> None:
    site_store = open_store("s3://bucket", s3_server.credentials)
    assert isinstance(s3_server.credentials, Credentials)
    assert s3_server.credentials.aws_secret_access_key not in repr(site_store)
