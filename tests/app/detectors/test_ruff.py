"""ruff with our selection."""

from __future__ import annotations

from pathlib import Path

from insight_cloud.app.detectors import ruff
from tests.app.detectors.trees import places, run, write


async def test_defects_are_found_with_place_severity_and_rule(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "import subprocess\nsubprocess.run('ls', shell=True)\nprint(y)\n"})
    done = await run(tmp_path, ruff.detector)
    assert (done.state, done.tool) == ("ok", "ruff")
    assert ("F821", "a.py", 3) in places(done)
    shell = next(finding for finding in done.findings if finding.rule == "S602")
    assert (shell.severity, shell.category) == ("high", "security")
    assert shell.context_hash
    assert {rule.code for rule in done.rules} == {finding.rule for finding in done.findings}
    assert all(rule.help_uri for rule in done.rules)


async def test_matters_of_style_are_not(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "def F( x ) :\n  assert x\n  return x;\n\nlambda_ = lambda: 0\n"})
    assert (await run(tmp_path, ruff.detector)).findings == ()


async def test_a_syntax_error_is_a_finding_not_a_failure(tmp_path: Path) -> None:
    write(tmp_path, {"bad.py": "def (:\n", "good.py": "import os\n"})
    done = await run(tmp_path, ruff.detector)
    assert done.state == "ok"
    assert ("invalid-syntax", "bad.py", 1) in places(done)
    assert ("F401", "good.py", 1) in places(done)


async def test_syntax_of_newer_pythons_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": 'def f[T](x: T) -> T:\n    return x\n\ny = t"{f(1)}"\n'})
    assert (await run(tmp_path, ruff.detector)).findings == ()


async def test_tests_may_do_what_products_may_not(tmp_path: Path) -> None:
    code = "import pickle\n\nPASSWORD = 'hunter22'\nx = pickle.loads(b'')\n"
    write(tmp_path, dict.fromkeys(["app.py", "tests/x.py", "test_x.py", "a/x_test.py"], code))
    done = await run(tmp_path, ruff.detector)
    assert {place[1] for place in places(done)} == {"app.py"}


async def test_names_survive_as_they_are(tmp_path: Path) -> None:
    weird = ["with space.py", "new\nline.py", "-x.py", "ünï.py", "%41.py", "@list.py", "[a].py"]
    write(tmp_path, dict.fromkeys(weird, "import os\n"))
    done = await run(tmp_path, ruff.detector)
    assert sorted(place[1] for place in places(done)) == sorted(weird)


async def test_more_names_than_a_command_line_holds(tmp_path: Path) -> None:
    folder = "d" * 200 + "/" + "e" * 200
    write(tmp_path, {f"{folder}/{n:05}.py": "" for n in range(3000)})
    write(tmp_path, {f"{folder}/last.py": "import os\n"})
    done = await run(tmp_path, ruff.detector)
    assert places(done) == [("F401", f"{folder}/last.py", 1)]


async def test_without_python_it_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, {"a.js": "", "vendor/b.py": "import os"})
    done = await run(tmp_path, ruff.detector)
    assert (done.state, done.detail) == ("skipped", "no Python files")


async def test_the_rules_found_are_explained(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "import os\n"})
    (rule,) = (await run(tmp_path, ruff.detector)).rules
    assert rule.code == "F401"
    assert "unused imports" in rule.help


async def test_a_package_may_offer_what_it_imports(tmp_path: Path) -> None:
    write(tmp_path, {"__init__.py": "from os import path\n"})
    assert (await run(tmp_path, ruff.detector)).findings == ()
