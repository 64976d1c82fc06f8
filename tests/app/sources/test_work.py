"""Code handed in and analysed by real workers in the real sandbox, also when they are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from insight_cloud.app import jobs
from insight_cloud.app.analyses import service as analyses
from insight_cloud.app.sources import clone, service, work
from insight_cloud.app.sources.models import Place, Source
from insight_cloud.core.errors import Conflict, Invalid, Missing, Refused, TooLarge
from insight_cloud.sandbox import Isolation, Sandbox, SandboxSettings, check
from insight_cloud.settings import JobsSettings, Settings, SourcesSettings
from tests.app.analyses.conftest import Site
from tests.app.sources.archives import tar_zst, zipped
from tests.sandbox import needed

CODE = {
    "src/a.py": b"import os\n\n\ndef f(x):\n    return eval(x)\n",
    "src/b.js": b"function f(a, b, c, d, e, g, h, i) { return a }\n",
}


async def stream(data: bytes) -> AsyncIterator[bytes]:
    """`data` as a client sends it."""
    for at in range(0, len(data), 300_000):
        yield data[at : at + 300_000]
    if not data:
        yield b""


async def hand_in(site: Site, data: bytes, *, strip: bool = False, **place: Any) -> Source:
    """Hand an archive in."""
    return await service.add_archive(
        site.context, site.caller, site.project, Place(**place), stream(data), strip=strip
    )


async def until(site: Site, source: Source, ready: Callable[[Source], bool]) -> Source:
    """Wait for a source."""
    async with asyncio.timeout(100):
        while not ready(found := await service.one(site.context, site.project, source.id)):  # noqa: ASYNC110 - a worker sets no event of ours
            await asyncio.sleep(0.1)
    return found


async def ended(site: Site, source: Source) -> Source:
    """Wait for its end."""
    return await until(site, source, lambda one: not one.is_alive)


@pytest.fixture
async def worked(site: Site, sandbox: Sandbox) -> AsyncIterator[Site]:
    """The site, with a worker."""
    async with jobs.working(site.context, work.tasks(sandbox)):
        await _alive(site, 1)
        yield site


@pytest.fixture
async def waited(site: Site) -> Site:
    """The site with somebody who looks like a worker and does nothing."""
    await site.context.pool.execute("insert into procrastinate_workers default values")
    return site


async def _alive(site: Site, count: int) -> None:
    async with asyncio.timeout(60):
        while (await jobs.counts(site.context)).workers < count:  # noqa: ASYNC110 - processes
            await asyncio.sleep(0.05)


async def test_an_archive_is_analysed_and_nothing_of_it_is_kept(worked: Site) -> None:
    source = await hand_in(worked, tar_zst(CODE), branch="main", commit="abc")
    assert (source.state, source.kind, source.size_bytes > 0) == ("queued", "archive", True)
    done = await ended(worked, source)
    assert (done.state, done.detail, done.tries) == ("done", "", 1)
    assert done.steps[0].name == "unpack"
    assert done.steps[0].detail == "2 of 2 files are analysed"
    assert {step.name for step in done.steps} >= {"ruff", "lizard", "secrets"}
    assert {step.state for step in done.steps} == {"ended"}
    assert done.analysis is not None
    detail = await analyses.one(worked.context, worked.project, done.analysis)
    assert (detail.analysis.commit, detail.analysis.uploader) == ("abc", "test")
    assert (detail.analysis.complete, detail.analysis.lines) == (True, 6)
    paths = {(one.tool, one.path) for one in await worked.issues()}
    assert ("ruff", "src/a.py") in paths
    assert ("lizard", "src/b.js") in paths
    assert await worked.context.pool.fetch_value("select count(*) from source_parts") == 0


async def test_a_hosts_archive_is_analysed_without_its_first_folder(worked: Site) -> None:
    data = zipped({f"demo-1a2b/{name}": text for name, text in CODE.items()})
    await ended(worked, await hand_in(worked, data, strip=True))
    assert {one.path for one in await worked.issues()} == {"src/a.py", "src/b.js"}


async def test_a_malicious_archive_fails_and_says_why(worked: Site) -> None:
    done = await ended(worked, await hand_in(worked, tar_zst({"../owned": b"x"})))
    assert done.state == "failed"
    assert done.detail == "the archive has an entry with a name that is not allowed: '../owned'"
    assert done.analysis is None
    assert await worked.context.pool.fetch_value("select count(*) from analyses") == 0


async def test_a_bomb_fails_and_says_why(worked: Site) -> None:
    done = await ended(worked, await hand_in(worked, zipped({"a": bytes(50 * 1024 * 1024)})))
    assert (done.state, done.detail) == (
        "failed",
        "the archive unpacks to more than 100 times its size",
    )


async def test_a_run_beyond_its_limits_fails_and_says_why(site: Site, sandbox: Sandbox) -> None:
    async with jobs.working(site.context, work.tasks(sandbox.within(seconds=0.2))):
        await _alive(site, 1)
        done = await ended(site, await hand_in(site, tar_zst(CODE)))
    assert done.detail == "the analysis was stopped at its time limit of 0.2 s"


async def test_an_analysis_is_cancelled_while_it_waits(waited: Site) -> None:
    source = await hand_in(waited, tar_zst(CODE))
    await service.cancel(waited.context, waited.caller, waited.project, source.id)
    found = await service.one(waited.context, waited.project, source.id)
    assert (found.state, found.detail) == ("cancelled", "cancelled by test")
    assert (await jobs.counts(waited.context)).waiting == 0
    with pytest.raises(Conflict, match="ended already: cancelled"):
        await service.cancel(waited.context, waited.caller, waited.project, source.id)


async def test_an_analysis_is_cancelled_while_it_runs(worked: Site) -> None:
    source = await hand_in(worked, tar_zst(CODE))
    await until(worked, source, lambda one: bool(one.steps))
    await service.cancel(worked.context, worked.caller, worked.project, source.id)

    async def idle() -> bool:
        return (await jobs.counts(worked.context)).running == 0

    async with asyncio.timeout(30):
        while not await idle():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.05)
    assert (await service.one(worked.context, worked.project, source.id)).state == "cancelled"
    assert await worked.context.pool.fetch_value("select count(*) from analyses") == 0
    assert await worked.context.pool.fetch_value("select count(*) from source_parts") == 0


async def test_nobody_can_hand_in_what_nobody_would_analyse(site: Site) -> None:
    with pytest.raises(Conflict, match="no worker is running that can isolate it"):
        await hand_in(site, tar_zst(CODE))
    assert await site.context.pool.fetch_value("select count(*) from sources") == 0


async def test_where_nothing_isolates_nothing_runs() -> None:
    sandbox = Sandbox(bubblewrap="/nowhere/bwrap")
    assert await sandbox.isolation() == Isolation(
        active=False, detail="bubblewrap is not installed (`apt-get install bubblewrap`)"
    )
    with pytest.raises(Refused, match="cannot isolate foreign code"):
        await sandbox.run(["/bin/true"])
    (found,) = await check(sandbox)
    assert found.status == "warn"
    assert found.detail.startswith("none, so no code is analysed here")


async def test_a_bubblewrap_that_isolates_nothing_is_none(tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift\nexec "$@"\n')
    fake.chmod(0o755)
    isolation = await Sandbox(bubblewrap=str(fake)).isolation()
    assert not isolation.active
    assert "a probe inside found too much" in isolation.detail
    assert "files" in isolation.detail


async def test_health_says_which_isolation_is_active(sandbox: Sandbox) -> None:
    (found,) = await check(sandbox)
    assert "bubblewrap" in found.detail
    assert "no network" in found.detail


async def test_too_large_or_no_archive_leaves_nothing(waited: Site) -> None:
    small = Settings(sources=SourcesSettings(archive_bytes=2_000_000))
    waited.context = replace(waited.context, settings=small)
    with pytest.raises(TooLarge, match="larger than 1 MiB"):
        await hand_in(waited, b"\x1f\x8b" + os.urandom(2_100_000))
    for data in (b"", b"just text"):
        with pytest.raises(Invalid, match="no archive that we read"):
            await hand_in(waited, data)
    for table in ("sources", "source_parts", "procrastinate_jobs"):
        count = await waited.context.pool.fetch_value(f"select count(*) from {table}")
        assert count == 0


async def test_a_project_has_only_so_many_waiting(waited: Site) -> None:
    settings = Settings(sources=SourcesSettings(waiting=2))
    waited.context = replace(waited.context, settings=settings)
    await hand_in(waited, tar_zst(CODE))
    last = await hand_in(waited, tar_zst(CODE))
    with pytest.raises(Conflict, match="2 analyses of 'demo' wait already"):
        await hand_in(waited, tar_zst(CODE))
    await service.cancel(waited.context, waited.caller, waited.project, last.id)
    await hand_in(waited, tar_zst(CODE))
    page = await service.listed(waited.context, waited.project, limit=2)
    assert [one.state for one in page.items] == ["queued", "cancelled"]
    rest = await service.listed(waited.context, waited.project, cursor=page.next)
    assert [one.state for one in rest.items] == ["queued"]


async def test_an_analysis_whose_workers_all_died_is_given_up(waited: Site) -> None:
    source = await hand_in(waited, tar_zst(CODE))
    for _ in range(3):
        await waited.context.pool.execute("select procrastinate_fetch_job_v2(null, null)")
        await jobs.recover(waited.context.pool, stalled=timedelta(seconds=30), tries=3)
    assert await service.end_lost(waited.context) == 1
    found = await service.one(waited.context, waited.project, source.id)
    assert (found.state, found.detail) == (
        "failed",
        "given up: the worker died each time, in 3 tries",
    )
    assert await service.end_lost(waited.context) == 0


async def test_what_ended_is_forgotten_after_a_while(waited: Site) -> None:
    source = await hand_in(waited, tar_zst(CODE))
    await service.cancel(waited.context, waited.caller, waited.project, source.id)
    assert await service.clean(waited.context) == 0
    waited.pass_days(31)
    assert await service.clean(waited.context) == 1
    with pytest.raises(Missing):
        await service.one(waited.context, waited.project, source.id)


# -- killed workers --------------------------------------------------------------------------


async def _worker(site: Site) -> asyncio.subprocess.Process:
    """`insight worker`, in a process of its own."""
    one = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "insight_cloud.cli", "worker"),
        cwd="/",
        stderr=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/",
            "DATABASE_URL": site.context.pool.conninfo,
            "INSIGHT_JOBS__HEARTBEAT_SECONDS": "0.5",
            "INSIGHT_JOBS__STALLED_SECONDS": "3",
            "INSIGHT_SANDBOX__UID": str(needed.UID),
        },
    )
    assert one.stderr is not None
    async with asyncio.timeout(60):
        while b"working, 1 at a time" not in await one.stderr.readline():
            assert one.returncode is None
    return one


async def test_a_worker_killed_in_the_middle_and_the_analysis_ends_once_elsewhere(
    site: Site, sandbox: Sandbox
) -> None:
    settings = Settings(
        jobs=JobsSettings(heartbeat_seconds=0.5, stalled_seconds=3),
        sandbox=SandboxSettings(uid=sandbox.uid),
    )
    site.context = replace(site.context, settings=settings)
    first = await _worker(site)
    await _alive(site, 1)
    source = await hand_in(site, tar_zst(CODE), branch="main", commit="abc")
    await until(site, source, lambda one: bool(one.steps))
    first.send_signal(signal.SIGKILL)
    await first.wait()
    second = await _worker(site)
    try:
        done = await ended(site, source)
    finally:
        second.send_signal(signal.SIGTERM)
        assert await second.wait() == 0
    assert (done.state, done.tries) == ("done", 2)
    assert await site.context.pool.fetch_value("select count(*) from analyses") == 1
    opened = await site.issues()
    assert len(opened) == len({(one.rule, one.path, one.line) for one in opened}) > 1
    events = await site.context.pool.fetch_value("select count(*) from procrastinate_jobs")
    assert events == 1


# -- repositories ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *("http://git.example/a", "ssh://git.example/a", "git://git.example/a", "file:///etc"),
        *("/etc", "git@git.example:a", "https://user:pw@git.example/a", "https://git.example"),
        *("https://git.example/a?x=1", "https://git.example/a b", "https://git.example:x/a"),
        *("ext::sh -c id", "--upload-pack=id", "https://git.example/a\nb", "https://git.exämple/a"),
    ],
)
def test_only_plain_https_urls_are_fetched(url: str) -> None:
    with pytest.raises(Invalid):
        clone.check_url(url, ["git.example"])


@pytest.mark.parametrize(
    "url", ["https://other.example/a", "https://git.example.evil/a", "https://git.example:8443/a"]
)
def test_only_named_hosts_are_fetched(url: str) -> None:
    with pytest.raises(Invalid, match=r"the operator allows: git\.example"):
        clone.check_url(url, ["git.example"])


@pytest.mark.parametrize("ref", ["--upload-pack=id", "a..b", "a b", "a:b", "^a", "a.lock", "../a"])
def test_a_ref_is_a_name(ref: str) -> None:
    with pytest.raises(Invalid, match="no branch, tag or commit"):
        clone.check_ref(ref)
    assert clone.check_ref(" feature/x-1.2 ") == "feature/x-1.2"
