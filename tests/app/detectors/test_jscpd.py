"""jscpd: code that stands twice."""

from __future__ import annotations

import os
from pathlib import Path

from insight_cloud.app.detectors import jscpd
from tests.app.detectors.trees import FUNCTION, path, run, write


async def test_both_places_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "x = 1\n\n\n" + FUNCTION, "sub/b.py": FUNCTION})
    done = await run(tmp_path, jscpd.detector)
    (finding,) = done.findings
    assert path(finding) == "a.py"
    assert [place.path for place in finding.related] == ["sub/b.py"]
    assert finding.message.endswith("lines are the same as in sub/b.py")
    assert (finding.severity, finding.category) == ("low", "duplication")
    assert finding.fingerprints["clone/v1"].endswith(":1")


async def test_a_short_repetition_is_none(tmp_path: Path) -> None:
    short = FUNCTION[: FUNCTION.index("total_5")]
    write(tmp_path, {"a.py": short, "b.py": short})
    assert (await run(tmp_path, jscpd.detector)).findings == ()


async def test_equal_copies_keep_identities_apart(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(["a.py", "b.py", "c.py"], FUNCTION))
    done = await run(tmp_path, jscpd.detector)
    names = [finding.fingerprints["clone/v1"] for finding in done.findings]
    assert len(names) == len(set(names)) == 2


async def test_weird_names(tmp_path: Path) -> None:
    weird = ["with space.py", "new\nline.py", "-x.py", "ünï.py", "%41.py", "[a]*.py"]
    write(tmp_path, dict.fromkeys(weird, FUNCTION))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.py")).write_text(FUNCTION)  # noqa: ASYNC240 - a test may wait for its disk
    done = await run(tmp_path, jscpd.detector)
    found = {place.path for each in done.findings for place in each.related}
    assert found | {path(each) for each in done.findings} == set(weird)


async def test_one_file_has_nothing_to_report(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "x = 1\n"})
    done = await run(tmp_path, jscpd.detector)
    assert (done.state, done.findings) == ("ok", ())
