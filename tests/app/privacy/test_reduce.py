"""What leaves a machine: nothing of a higher level, and nothing that can be guessed back."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app import privacy
from insight_cloud.app.detectors import tokens
from insight_cloud.app.privacy import Keyed
from insight_cloud.app.sarif import read
from insight_cloud.app.sarif.model import Finding, Location, Rule, Run
from tests.app.privacy.bodies import BROKEN, KEYED, RUN, TOKEN


def test_counts_name_nothing_but_tools() -> None:
    data = privacy.counts(
        [RUN, BROKEN], branch="topic/pay.py", commit="src/pay.py", keyed=KEYED, remote="git@x:y"
    ).decode()
    for word in ("src", "S113", "waits", "bashrc", "ada", "git@x", "/pay", TOKEN):
        assert word not in data
    found = msgspec.json.decode(data)
    assert found["branch"] == "topic-pay.py"
    assert "commit" not in found
    assert found["complete"] is False
    assert {one["severity"]: one["open"] for one in found["counts"]} == {"high": 1, "low": 1}


def test_the_remote_is_hashed_with_a_key_or_not_sent() -> None:
    first = privacy.counts([RUN], branch=None, commit="", keyed=KEYED, remote="git@x:y")
    other = privacy.counts([RUN], branch=None, commit="", keyed=Keyed(b"other"), remote="git@x:y")
    without = privacy.counts([RUN], branch=None, commit="", keyed=Keyed(), remote="git@x:y")
    hashes = [msgspec.json.decode(one).get("remote") for one in (first, other, without)]
    assert hashes[0] != hashes[1]
    assert hashes[2] is None


def test_metadata_holds_places_and_the_rules_own_words() -> None:
    data = privacy.log([RUN, BROKEN], "metadata", find=tokens.find, keyed=KEYED)
    for word in (b"waits; it", b"ada", b"made here", b"other.py", b"39fa2ee9", b"0123456789abcdef"):
        assert word not in data
    first, second = read.log(data).runs[0].findings
    assert first.message == "A call waits for ever"
    assert first.location == Location(path="src/pay.py", line=7, end_line=7)
    assert first.context_hash.startswith("k:")
    assert (second.message, second.location) == ("S999", None)


def test_without_a_key_metadata_holds_no_hashes() -> None:
    data = privacy.log([RUN], "metadata", find=tokens.find, keyed=Keyed())
    finding = read.log(data).runs[0].findings[0]
    assert (finding.context_hash, finding.line_hash, finding.fingerprints) == ("", "", {})


def test_paths_can_be_hashed_part_by_part() -> None:
    keyed = Keyed(b"key", hash_paths=True)
    data = privacy.log([RUN], "metadata", find=tokens.find, keyed=keyed)
    privacy.require(data, "metadata", tokens.find)
    assert b"pay.py" not in data
    place = read.log(data).runs[0].findings[0].location
    assert place is not None
    folder, name = place.path.split("/")
    assert keyed.path("src/other.py").split("/")[0] == folder
    assert len(name) == 16


def test_findings_hold_messages_without_credentials_and_no_code() -> None:
    data = privacy.log([RUN, BROKEN], "findings", find=tokens.find, keyed=KEYED)
    for word in (TOKEN.encode(), b"ada:pw", b"def pay", b".bashrc"):
        assert word not in data
    first = read.log(data).runs[0].findings[0]
    assert first.message == "the call in pay() waits; it sends *** to https://***@pay.example/x"
    assert first.related[0].message == "made here"
    assert len(first.flow) == 2


def test_snippets_hold_the_lines_around_without_credentials(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(1, 12)]
    lines[6] = f"token = '{TOKEN}'"
    Path(tmp_path, "a.py").write_text("\n".join(lines), "utf-8")
    key = [
        "-----BEGIN PRIVATE " + "KEY-----",
        *["MIIEvQ" + "Ab1" * 19] * 20,
        "-----END PRIVATE " + "KEY-----",
    ]
    Path(tmp_path, "key.pem").write_text("\n".join(key), "utf-8")
    (tmp_path.parent / "outside.py").write_text("secret")
    places = {"a.py": 6, "key.pem": 10, "../outside.py": 1, "absent.py": 1}
    run = Run(
        tool="x",
        findings=tuple(
            Finding(
                rule="R",
                message="m",
                severity="low",
                category="style",
                location=Location(path=path, line=line),
            )
            for path, line in places.items()
        ),
    )
    found = privacy.with_snippets(run, tmp_path, tokens.find).findings
    assert found[0].snippet is not None
    assert found[0].snippet.line == 3
    shown = found[0].snippet.text.split("\n")
    assert shown == ["line 3", "line 4", "line 5", "line 6", "token = '***'", "line 8", "line 9"]
    assert found[1].snippet is not None
    assert found[1].snippet.text == "\n" * 6
    assert (found[2].snippet, found[3].snippet) == (None, None)
    secrets = msgspec.structs.replace(run, tool="secrets")
    assert privacy.with_snippets(secrets, tmp_path, tokens.find) == secrets


@given(st.text(alphabet="ab:/@ \n'*?#", max_size=60), st.sampled_from(["", TOKEN, "https://a:b@"]))
def test_masking_again_changes_nothing(text: str, secret: str) -> None:
    once = privacy.masked(text + secret + text, tokens.find)
    assert privacy.masked(once, tokens.find) == once
    assert TOKEN not in privacy.masked(f"{text} {TOKEN} {text}", tokens.find)


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80), st.text(max_size=40))
def test_no_text_of_a_tool_makes_a_body_that_does_not_fit(
    code: str, message: str, path: str, tool: str
) -> None:
    finding = Finding(
        rule=code or "x",
        message=message,
        severity="low",
        category="style",
        location=Location(path=path.strip("/").replace("..", "") or ".", line=1),
        fingerprints={code: message},
    )
    rule = Rule(code=code or "x", name=message, summary=path, help_uri=path)
    run = Run(tool=tool or "t", version=message, category=code, rules=(rule,), findings=(finding,))
    for level in privacy.LEVELS[2:4]:
        data = privacy.log([run], level, find=tokens.find, keyed=KEYED)
        privacy.require(data, level, tokens.find)
    data = privacy.counts([run], branch=path, commit=code, keyed=KEYED)
    privacy.require(data, "counts", tokens.find)
