"""Import cycles, found without importing anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from insight_cloud.app.detectors import imports
from tests.app.detectors.trees import line, path, places, run, write


async def test_the_shortest_cycle_is_shown_with_its_lines(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "p/__init__.py": "",
            "p/a.py": "import os\nfrom p import b\n",
            "p/b.py": "from p import c\n",
            "p/c.py": "from . import d\nfrom p.b import x\n",
            "p/d.py": "import p.a\n",
        },
    )
    done = await run(tmp_path, imports.detector)
    (finding,) = done.findings
    assert done.state == "ok"
    assert finding.rule == "import-cycle"
    assert finding.message == (
        "Import cycle of 2 modules, in a tangle of 4: p/b.py → p/c.py → p/b.py"
    )
    assert (path(finding), line(finding)) == ("p/b.py", 1)
    assert [(place.path, place.line) for place in finding.related] == [("p/c.py", 2)]
    assert finding.severity == "medium"
    assert finding.category == "imports"


@pytest.mark.parametrize(
    "layout", ["{}.py", "src/{}.py", "app/{}.py", "src/ns/inner/{}.py", "apps/one/{}.py"]
)
async def test_cycles_are_found_in_every_layout(tmp_path: Path, layout: str) -> None:
    a, b = layout.format("a"), layout.format("b")
    write(tmp_path, {a: "import b\n", b: "import a\n"})
    assert [finding.rule for finding in (await run(tmp_path, imports.detector)).findings] == [
        "import-cycle"
    ]


async def test_namespace_packages_import_by_their_full_name(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "src/ns/p/__init__.py": "",
            "src/ns/p/a.py": "from ns.p import b\n",
            "src/ns/p/b.py": "from ns.p.a import x\n",
        },
    )
    assert len((await run(tmp_path, imports.detector)).findings) == 1


async def test_a_cycle_through_functions_is_another_rule(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "p/__init__.py": "",
            "p/a.py": "from p import b\n",
            "p/b.py": "def f():\n    from p import a\n    return a\n",
        },
    )
    (finding,) = (await run(tmp_path, imports.detector)).findings
    assert (finding.rule, finding.severity) == ("deferred-import-cycle", "low")


async def test_imports_for_types_only_make_no_cycle(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": "import b\n",
            "b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\n",
        },
    )
    assert (await run(tmp_path, imports.detector)).findings == ()


async def test_files_that_cannot_be_parsed_hide_no_other(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "p/__init__.py": "",
            "p/a.py": "from p import b\n",
            "p/b.py": "from p import a\n",
            "p/broken.py": "def (:\nfrom p import a\n",
            "p/latin.py": b"name = '\xe9'\n",
            "p/deep.py": "x = " + "(" * 3000 + ")" * 3000 + "\n",
        },
    )
    done = await run(tmp_path, imports.detector)
    assert [place for place in places(done) if place[1] == "p/a.py"] == [
        ("import-cycle", "p/a.py", 1)
    ]
    assert done.state == "ok"
    assert "files could not be parsed" in done.detail
    assert "p/broken.py" in done.detail


async def test_nothing_is_imported(tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    traps = ["p/__init__.py", "json.py", "msgspec.py", "sitecustomize.py", "grimp/__init__.py"]
    write(tmp_path, dict.fromkeys(traps, trap))
    write(tmp_path, {"p/a.py": trap + "from p import b\n", "p/b.py": trap + "from p import a\n"})
    assert len((await run(tmp_path, imports.detector)).findings) == 1
    assert not (tmp_path / "ran").exists()
