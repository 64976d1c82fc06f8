"""Known vulnerabilities: real lock files, OSV records in their form, versions at every edge."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.detectors import advisories, locks, osv
from insight_cloud.app.detectors.locks import Pinned
from insight_cloud.app.detectors.versions import Affected, Event, Package, Range, is_affected
from insight_cloud.cli.osv import command
from insight_cloud.core import places
from insight_cloud.core.errors import Corrupt, InsightError, Invalid, Missing
from tests.app.detectors.records import RECORDS, archive
from tests.app.detectors.trees import run, write

REQUIREMENTS = """\
# pinned
Jinja2 == 2.10 ; python_version > "3"
some-package[extra]==1.4 \\
    --hash=sha256:00
loose>=1
-e git+https://example.org/x#egg=y
fine==1.0  # a comment
"""
UV_LOCK = """\
version = 1

[[package]]
name = "fine"
version = "1.0"

[[package]]
name = "jinja2"
version = "2.10"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "itself"
source = { editable = "." }
"""
PACKAGE_LOCK = """\
{
  "name": "shop",
  "lockfileVersion": 3,
  "packages": {
    "": {"name": "shop", "version": "1.0.0"},
    "node_modules/lodash": {
      "version": "4.17.20"
    },
    "node_modules/a/node_modules/@scope/thing": {
      "version": "2.0.0-beta.11"
    },
    "packages/own": {"version": "1.0.0"}
  }
}
"""
_INNER = '"dependencies": {"lodash": {"version": "4.17.20"}}'
PACKAGE_LOCK_1 = f'{{"dependencies": {{"a": {{"version": "1.0.0", {_INNER}}}}}}}'
PNPM_LOCK = """\
lockfileVersion: '9.0'

packages:

  '@scope/thing@2.0.0-beta.2':
    resolution: {integrity: sha512-x}

  lodash@4.17.20:
    resolution: {integrity: sha512-x}

snapshots:

  lodash@4.17.20: {}
"""
YARN_LOCK = """\
# yarn lockfile v1


"@scope/thing@^2.0.0", "@scope/thing@~2.0":
  version "2.0.0-rc.1"
  resolved "https://registry.example/x"

lodash@^4.17.0:
  version "4.17.20"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a database; where it is to be."""
    file = tmp_path / "data" / "advisories.sqlite"
    monkeypatch.setattr(places, "own_advisories", lambda: file)
    monkeypatch.setattr(places, "COMMON_ADVISORIES", tmp_path / "common.sqlite")
    return file


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """Archives as somebody brought them."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for name, records in RECORDS.items():
        (folder / f"{name}.zip").write_bytes(archive(records))
    return folder


@pytest.fixture
def database(home: Path, archives: Path) -> Path:
    """A machine with a database."""
    advisories.build(sorted(archives.iterdir()), home, source="test")
    return home


# -- lock files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        (
            "requirements.txt",
            REQUIREMENTS,
            [
                Pinned("PyPI", "Jinja2", "2.10", 2),
                Pinned("PyPI", "some-package", "1.4", 3),
                Pinned("PyPI", "fine", "1.0", 7),
            ],
        ),
        (
            "uv.lock",
            UV_LOCK,
            [Pinned("PyPI", "fine", "1.0", 4), Pinned("PyPI", "jinja2", "2.10", 8)],
        ),
        (
            "package-lock.json",
            PACKAGE_LOCK,
            [
                Pinned("npm", "lodash", "4.17.20", 6),
                Pinned("npm", "@scope/thing", "2.0.0-beta.11", 9),
            ],
        ),
        (
            "package-lock.json",
            PACKAGE_LOCK_1,
            [Pinned("npm", "a", "1.0.0", 1), Pinned("npm", "lodash", "4.17.20", 1)],
        ),
        (
            "pnpm-lock.yaml",
            PNPM_LOCK,
            [
                Pinned("npm", "@scope/thing", "2.0.0-beta.2", 5),
                Pinned("npm", "lodash", "4.17.20", 8),
            ],
        ),
        (
            "yarn.lock",
            YARN_LOCK,
            [
                Pinned("npm", "@scope/thing", "2.0.0-rc.1", 4),
                Pinned("npm", "lodash", "4.17.20", 8),
            ],
        ),
    ],
)
def test_a_lock_file_names_its_packages(name: str, text: str, wanted: list[Pinned]) -> None:
    assert locks.is_lock(f"web/{name}")
    assert locks.read(f"web/{name}", text) == wanted


@pytest.mark.parametrize(
    "name", ["requirements-dev.txt", "dev_requirements.txt", "requirements.in"]
)
def test_requirements_have_many_names(name: str) -> None:
    assert locks.is_lock(name)
    assert not locks.is_lock("requirements.md")


@pytest.mark.parametrize(
    ("name", "text"), [("uv.lock", "[[package"), ("package-lock.json", "{"), ("poetry.lock", "= 1")]
)
def test_a_broken_lock_file_is_said(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        locks.read(name, text)


@given(
    st.sampled_from(
        ["uv.lock", "package-lock.json", "pnpm-lock.yaml", "yarn.lock", "requirements.txt"]
    ),
    st.text(),
)
def test_whatever_is_in_a_lock_file_nothing_else_is_raised(name: str, text: str) -> None:
    with contextlib.suppress(ValueError):
        locks.read(name, text)


@given(
    st.recursive(
        st.none() | st.text(max_size=8) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["packages", "dependencies", "version", "node_modules/a", "b"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_json_a_lock_file_is_nothing_is_raised(value: Any) -> None:
    locks.read("package-lock.json", json.dumps(value))


# -- versions --------------------------------------------------------------------------------


def affected(ecosystem: str, *events: Event) -> Affected:
    return Affected(Package(ecosystem, "x"), [Range("ECOSYSTEM", list(events))], ["odd-one"])


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        *(("0.1", True), ("2.10", True), ("2.10.1rc1", True), ("2.10.1", False), ("3!1", False)),
        *(("odd-one", True), ("odd-two", False), ("2.10.0.post1", True), ("2.9a1.dev0", True)),
    ],
)
def test_a_python_version_lies_within_or_not(version: str, *, wanted: bool) -> None:
    one = affected("PyPI", Event(introduced="0"), Event(fixed="2.10.1"))
    assert is_affected(one, version) is wanted


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        *(("1.0.0", False), ("2.0.0-alpha", False), ("2.0.0-beta.2", True), ("2.0.0", False)),
        *(("2.0.0-beta.11", True), ("2.0.0-rc.1+build", True), ("3.0.0", True), ("3.4.0", True)),
        *(("3.4.1", False), ("nonsense", False), ("v2.0.0-beta.2", True)),
    ],
)
def test_a_semantic_version_lies_within_or_not(version: str, *, wanted: bool) -> None:
    one = affected(
        "npm",
        Event(introduced="3.0.0"),
        Event(last_affected="3.4.0"),
        Event(introduced="2.0.0-beta.2"),
        Event(fixed="2.0.0"),
    )
    assert is_affected(one, version) is wanted


def test_ranges_of_commits_say_nothing() -> None:
    one = Affected(Package("PyPI", "x"), [Range("GIT", [Event(introduced="0")])])
    assert not is_affected(one, "1.0")


@pytest.mark.parametrize(
    ("vector", "level"),
    [
        # Scores as FIRST's own calculator gives them: 9.8, 8.6, 6.1, 3.1 and 0.
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "critical"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:N/A:N", "high"),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", "medium"),
        ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", "low"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", "low"),
        ("CVSS:4.0/AV:N", "medium"),
        ("CVSS:3.1/AV:Z", "medium"),
    ],
)
def test_a_score_becomes_a_severity(vector: str, level: str) -> None:
    given = advisories.Advisory(id="x", severity=[advisories._Score("CVSS_V3", vector)])
    assert given.level == level


# -- the database ----------------------------------------------------------------------------


def test_the_database_answers_by_package_and_version(database: Path) -> None:
    with contextlib.closing(advisories.Database(database)) as db:
        assert db.state.advisories == 6  # one was withdrawn
        (hit,) = db.about("PyPI", "Jinja2", "2.10")  # told by two, said once, by who says most
        assert (hit.advisory.id, hit.fixed, hit.advisory.level) == (
            "GHSA-462w-v97r-4m45",
            "2.10.1",
            "high",
        )
        (hit,) = db.about("PyPI", "some.package", "2.1")
        assert (hit.fixed, hit.advisory.level) == ("", "critical")
        assert len(db.about("PyPI", "some-package", "0.5.post-odd")) == 1
        for name, version in (("jinja2", "2.10.1"), ("some-package", "1.5"), ("gone", "1.0")):
            assert db.about("PyPI", name, version) == []
        assert db.about("npm", "jinja2", "2.10") == []


def test_a_sync_that_fails_leaves_the_old_database(database: Path, tmp_path: Path) -> None:
    before = database.read_bytes()
    bad = tmp_path / "bad.zip"
    for data in (b"no zip", archive([]), archive([{"id": 7}])):
        bad.write_bytes(data)
        with pytest.raises(Invalid):
            advisories.build([bad], database, source="test")
        assert database.read_bytes() == before
    assert list(database.parent.iterdir()) == [database]


def test_another_file_is_no_database(home: Path) -> None:
    with pytest.raises(Missing, match="insight osv sync"):
        advisories.Database(home)
    home.parent.mkdir()
    home.write_bytes(b"x" * 5000)
    with pytest.raises(Corrupt, match="no advisory database"):
        advisories.Database(home)


# -- the detector ----------------------------------------------------------------------------


async def test_vulnerable_packages_are_found_at_their_lines(database: Path, tmp_path: Path) -> None:
    code = write(
        tmp_path / "code",
        {
            "requirements.txt": REQUIREMENTS,
            "web/package-lock.json": PACKAGE_LOCK,
            "vendor/requirements.txt": REQUIREMENTS,
            "poetry.lock": "[[package",
        },
    )
    done = await run(code, osv.detector)
    assert done.state == "ok"
    assert done.detail.startswith("poetry.lock cannot be read")
    found = {
        (one.rule, one.location.path, one.location.line, one.severity, one.category)
        for one in done.findings
        if one.location
    }
    assert found == {
        ("GHSA-462w-v97r-4m45", "requirements.txt", 2, "high", "packages"),
        ("PYSEC-2099-1", "requirements.txt", 3, "critical", "packages"),
        ("GHSA-35jh-r3h4-6jhm", "web/package-lock.json", 6, "high", "packages"),
        ("GHSA-scop-ed00-0001", "web/package-lock.json", 9, "medium", "packages"),
    }
    first = next(one for one in done.findings if one.rule.startswith("GHSA-462w"))
    assert first.message == (
        "Jinja2 2.10: Jinja2 sandbox escape via string formatting (fixed in 2.10.1)"
    )


async def test_a_lock_file_larger_than_code_is_read_too(database: Path, tmp_path: Path) -> None:
    padding = "# padding\n" * 150_000
    write(tmp_path / "code", {"requirements.txt": padding + "jinja2==2.10\n"})
    done = await run(tmp_path / "code", osv.detector)
    assert [one.rule for one in done.findings] == ["GHSA-462w-v97r-4m45"]


async def test_without_a_database_nothing_is_clean(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "code", {"requirements.txt": REQUIREMENTS})
    done = await run(tmp_path / "code", osv.detector)
    assert (done.state, done.detail) == ("skipped", "no advisory database: run `insight osv sync`")
    write(tmp_path / "bare", {"a.py": ""})
    done = await run(tmp_path / "bare", osv.detector)
    assert (done.state, done.detail) == ("skipped", "no lock file")


# -- the command -----------------------------------------------------------------------------


class _Mirror(BaseHTTPRequestHandler):
    """OSV's bucket, on loopback."""

    records = RECORDS

    def do_GET(self) -> None:
        ecosystem = self.path.strip("/").partition("/")[0]
        known = self.path == f"/{ecosystem}/all.zip" and ecosystem in self.records
        body = archive(self.records[ecosystem]) if known else b"no such object"
        self.send_response(200 if known else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def mirror() -> Iterator[str]:
    """A server of OSV's archives."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Mirror)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def sync(*arguments: str) -> Any:
    return CliRunner().invoke(command, ["sync", *arguments, "--json"], catch_exceptions=True)


def test_sync_from_a_mirror_and_from_files(home: Path, mirror: str, archives: Path) -> None:
    done = sync("--from", mirror)
    assert done.exit_code == 0, done.stderr
    assert f"fetching {mirror}/PyPI/all.zip" in done.stderr
    assert json.loads(done.stdout)["advisories"] == 6
    said = CliRunner().invoke(command, ["status"]).stdout
    assert said.startswith("6 advisories, as of 20")
    assert said.rstrip().endswith(f"from {mirror}")
    assert json.loads(sync("--from", str(archives)).stdout)["advisories"] == 6
    assert json.loads(sync("--from", str(archives / "npm.zip")).stdout)["advisories"] == 2


def test_a_sync_that_cannot_be_says_why(home: Path, mirror: str, tmp_path: Path) -> None:
    for source, why in (
        (f"{mirror}/nowhere", "answered 404"),
        ("http://127.0.0.1:1", "cannot fetch"),
        (str(tmp_path / "nothing"), "there is no archive"),
    ):
        done = sync("--from", source)
        assert isinstance(done.exception, InsightError)
        assert why in str(done.exception)
    assert not home.exists()
    done = CliRunner().invoke(command, ["status"])
    assert isinstance(done.exception, Missing)


def test_an_archive_beyond_the_limit_is_refused(
    home: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSIGHT_OSV__ARCHIVE_BYTES", "1024")
    done = sync("--from", mirror)
    assert "larger than 1,024 bytes" in str(done.exception)
    assert not home.exists()
