"""Repositories fetched from a real Git host on loopback, also malicious ones."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from insight_cloud.app import jobs
from insight_cloud.app.sources import clone, service, work
from insight_cloud.app.sources.models import Place
from insight_cloud.core.errors import Invalid, Refused, TooLarge, Unavailable
from insight_cloud.sandbox import Sandbox
from insight_cloud.settings import Settings, SourcesSettings
from tests.app.analyses.conftest import Site
from tests.app.sources.hosting import Host, git, hosting

CODE = {"src/a.py": b"import os\n", ".gitattributes": b"*.py export-ignore export-subst\n"}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host with one repository."""
    folder = tmp_path / "repositories"
    folder.mkdir()
    with hosting(folder) as host:
        yield host


async def fetch(
    sandbox: Sandbox, host: Host, name: str = "code", ref: str = "", **options: Any
) -> clone.Fetched:
    """Fetch from the host as the operator allowed it."""
    given: dict[str, Any] = {
        "hosts": [host.name],
        "allow_private": True,
        "authorities": host.authority,
    } | options
    return await clone.fetch(sandbox, f"{host.url}/{name}", ref, **given)


def names(fetched: clone.Fetched) -> dict[str, bytes]:
    """The files of a fetched commit."""
    with tarfile.open(fileobj=io.BytesIO(fetched.archive)) as archive:
        files = [info for info in archive if info.isreg()]
        return {info.name: archive.extractfile(info).read() for info in files}  # type: ignore[union-attr]


async def test_one_commit_comes_whole(sandbox: Sandbox, host: Host) -> None:
    commit = host.repository("code", CODE)
    fetched = await fetch(sandbox, host)
    assert fetched.commit == commit
    assert names(fetched) == CODE  # whatever it says about being exported


async def test_a_branch_a_tag_and_a_commit_are_refs(sandbox: Sandbox, host: Host) -> None:
    first = host.repository("code", CODE)
    place = host.folder / "code"
    git(place, "tag", "v1")
    git(place, "checkout", "-q", "-b", "topic/x")
    (place / "new.py").write_text("x = 1\n")
    git(place, "add", ".")
    git(place, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "second")
    second = git(place, "rev-parse", "HEAD")
    for ref, commit in (("topic/x", second), ("v1", first), ("main", first), (first, first)):
        assert (await fetch(sandbox, host, ref=ref)).commit == commit


async def test_what_is_not_there_is_said(sandbox: Sandbox, host: Host) -> None:
    host.repository("code", CODE)
    with pytest.raises(Invalid, match=r"git could not fetch .*couldn't find remote ref nothing"):
        await fetch(sandbox, host, ref="nothing")
    with pytest.raises(Invalid, match="git could not fetch"):
        await fetch(sandbox, host, "missing")


async def test_a_redirect_is_not_followed(sandbox: Sandbox, host: Host) -> None:
    host.repository("code", CODE)
    host.moved["/moved"] = f"{host.url}/code"
    with pytest.raises(Invalid, match="git could not fetch"):
        await fetch(sandbox, host, "moved")
    assert not [path for path in host.asked if path.startswith("/code")]


async def test_submodules_are_not_fetched(sandbox: Sandbox, host: Host) -> None:
    host.repository("inner", CODE)
    host.repository("code", CODE)
    place = host.folder / "code"
    git(place, "-c", "protocol.file.allow=always", "submodule", "add", "-q", "../inner", "sub")
    git(place, "config", "-f", ".gitmodules", "submodule.sub.url", f"{host.url}/inner")
    git(place, "add", ".")
    git(place, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "second")
    assert set(names(await fetch(sandbox, host))) == {*CODE, ".gitmodules"}
    assert not [path for path in host.asked if path.startswith("/inner")]


async def test_a_stranger_with_another_certificate_is_refused(sandbox: Sandbox, host: Host) -> None:
    host.repository("code", CODE)
    with pytest.raises(Invalid, match=r"(?i)certificate"):
        await fetch(sandbox, host, authorities=None)


async def test_the_own_network_is_out_of_reach(sandbox: Sandbox, host: Host) -> None:
    host.repository("code", CODE)
    with pytest.raises(Refused, match="not on the public internet"):
        await fetch(sandbox, host, allow_private=False)
    assert host.asked == []


async def test_a_name_that_nobody_knows_is_tried_again_later(sandbox: Sandbox) -> None:
    with pytest.raises(Unavailable, match=r"look nothing\.invalid up"):
        await clone.fetch(
            sandbox,
            "https://nothing.invalid/a",
            "",
            hosts=["nothing.invalid"],
            allow_private=False,
        )


async def test_too_large_a_repository_is_refused(sandbox: Sandbox, host: Host) -> None:
    host.repository("code", CODE | {"noise.txt": os.urandom(300_000)})
    with pytest.raises(TooLarge, match="too large to be analysed here"):
        await fetch(sandbox.within(output_bytes=100_000), host)


async def test_a_repository_is_analysed(site: Site, sandbox: Sandbox, host: Host) -> None:
    commit = host.repository("code", CODE)
    sources = SourcesSettings(hosts=(host.name,), allow_private=True, authorities=host.authority)
    site.context = replace(site.context, settings=Settings(sources=sources))
    async with jobs.working(site.context, work.tasks(sandbox)):
        async with asyncio.timeout(60):
            while not (await jobs.counts(site.context)).workers:  # noqa: ASYNC110 - processes
                await asyncio.sleep(0.05)
            source = await service.add_clone(
                site.context,
                site.caller,
                site.project,
                Place(branch="main"),
                url=f"{host.url}/code",
                ref="",
            )
            while source.is_alive:
                await asyncio.sleep(0.1)
                source = await service.one(site.context, site.project, source.id)
    assert (source.state, source.detail, source.commit) == ("done", "", commit)
    assert source.steps[0].name == "fetch"
    assert {one.path for one in await site.issues()} == {"src/a.py"}
