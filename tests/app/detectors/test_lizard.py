"""lizard: three limits in many languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from insight_cloud.app.detectors import lizard
from tests.app.detectors.trees import places, run, write

BRANCHES = "".join(f"    if (x == {n}) {{ y += {n}; }}\n" for n in range(20))
LANGUAGES = {
    "a.c": f"int f(int x) {{\n    int y = 0;\n{BRANCHES}    return y;\n}}\n",
    "a.js": f"function f(x) {{\n    let y = 0;\n{BRANCHES}    return y;\n}}\n",
    "a.ts": f"function f(x: number): number {{\n    let y = 0;\n{BRANCHES}    return y;\n}}\n",
    "a.java": f"class A {{\n  int f(int x) {{\n    int y = 0;\n{BRANCHES}    return y;\n  }}\n}}\n",
    "a.php": f"<?php\nfunction f($x) {{\n    $y = 0;\n{BRANCHES}    return $y;\n}}\n",
    "a.go": "package a\n\nfunc f(x int) int {\n\ty := 0\n"
    + "".join(f"\tif x == {n} {{\n\t\ty += {n}\n\t}}\n" for n in range(20))
    + "\treturn y\n}\n",
    "a.py": "def f(x):\n    y = 0\n"
    + "".join(f"    if x == {n}:\n        y += {n}\n" for n in range(20))
    + "    return y\n",
    "a.rb": "def f(x)\n  y = 0\n"
    + "".join(f"  if x == {n}\n    y += {n}\n  end\n" for n in range(20))
    + "  y\nend\n",
}


@pytest.mark.parametrize("name", sorted(LANGUAGES))
async def test_complexity_is_found_in(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: LANGUAGES[name]})
    (finding,) = (await run(tmp_path, lizard.detector)).findings
    assert finding.rule == "complexity"
    assert "cyclomatic complexity of 21 (limit 15)" in finding.message
    assert (finding.severity, finding.category) == ("medium", "complexity")


async def test_the_limits_themselves_are_allowed(tmp_path: Path) -> None:
    exact = "def f(a, b, c, d, e, g, h):\n" + "    a()\n" * 99
    over = "def g(a, b, c, d, e, g, h, i):\n" + "    a()\n" * 100
    write(tmp_path, {"exact.py": exact, "over.py": over})
    assert places(await run(tmp_path, lizard.detector)) == [
        ("length", "over.py", 1),
        ("parameters", "over.py", 1),
    ]


async def test_odd_code_and_odd_bytes_are_no_failure(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "broken.py": "def (:\n  ))) '''",
            "latin.c": b"int f(void) { return '\xe9'; }",
            "deep.js": "(" * 20_000,
            "over.py": "def g(a, b, c, d, e, g, h, i):\n    pass\n",
        },
    )
    done = await run(tmp_path, lizard.detector)
    assert done.state == "ok"
    assert ("parameters", "over.py", 1) in places(done)


async def test_generated_code_is_not_judged(tmp_path: Path) -> None:
    write(tmp_path, {"x.min.js": LANGUAGES["a.js"], "vendor/a.c": LANGUAGES["a.c"]})
    assert (await run(tmp_path, lizard.detector)).state == "skipped"
