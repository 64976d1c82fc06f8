"""`insight edge` as its operator uses it, against the stand-in on a port of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from insight_cloud.cli import insight
from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    InsightError,
    Missing,
    Refused,
    SettingsError,
)
from insight_cloud.edge import file
from insight_cloud.edge.fake import DASHBOARD_RULE, TOKEN, ZONE, Fake
from tests.edge.support import answering

FIREWALL = "http_request_firewall_custom"


class Rehearsal:
    """A folder with the default files, and a stand-in that the settings lead to."""

    def __init__(self, fake: Fake, folder: Path) -> None:
        self.fake = fake
        self.folder = folder

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(insight, ["edge", *words])

    def fails(self, kind: type[InsightError], *words: str) -> str:
        result = self.run(*words)
        assert isinstance(result.exception, kind), (result.exception, result.output)
        return str(result.exception)


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    fake = Fake()
    fake.add_rule(FIREWALL, DASHBOARD_RULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    monkeypatch.setenv("CLOUDFLARE_ZONE_ID", ZONE)
    (tmp_path / "edge.toml").write_text(file.default())
    (tmp_path / "edge.samples.toml").write_text(file.default_samples())
    with answering(fake) as url:
        monkeypatch.setenv("INSIGHT_EDGE__API_URL", url)
        yield Rehearsal(fake, tmp_path)


def test_plan_apply_drift_and_rollback(rehearsal: Rehearsal) -> None:
    planned = rehearsal.run("plan")
    assert planned.exit_code == 2
    assert "~ ssl  (edge.toml:" in planned.stdout
    assert "9 to create, 11 to change" in planned.stdout
    assert "made in the dashboard" in planned.stdout
    assert "looks back 10 s at most" in planned.stdout

    applied = rehearsal.run("apply", "--yes", "--json")
    assert applied.exit_code == 0, applied.output
    done = json.loads(applied.stdout)
    assert done["written"][0] == "ssl"
    assert "2/6 TLS: write ssl" in applied.stderr
    assert "6/6 firewall and rate rules: read back" in applied.stderr
    assert oct(Path(done["snapshot"]).stat().st_mode & 0o777) == "0o600"

    assert rehearsal.run("plan").exit_code == 0
    assert rehearsal.run("drift").exit_code == 0
    assert "nothing to do" in rehearsal.run("apply", "--yes").stdout

    rehearsal.fake.settings["ssl"] = "full"
    drifted = rehearsal.run("drift")
    assert drifted.exit_code == 2
    assert "full → strict" in drifted.stdout
    assert "to know" not in drifted.stdout

    assert "--although-moved" in rehearsal.fails(Conflict, "rollback", "--yes")
    back = rehearsal.run("rollback", "--yes", "--although-moved")
    assert back.exit_code == 0, back.output
    assert rehearsal.fake.settings["http3"] == "off"
    assert [rule["description"] for rule in rehearsal.fake.rulesets[FIREWALL]["rules"]] == [
        "made in the dashboard"
    ]


def test_a_reviewed_plan_is_applied_exactly_or_not_at_all(rehearsal: Rehearsal) -> None:
    saved = rehearsal.run("plan", "--out", "plan.json")
    assert saved.exit_code == 2
    assert TOKEN not in Path("plan.json").read_text()

    text = Path("edge.toml").read_text()
    Path("edge.toml").write_text(text.replace("http3 = true", "http3 = false"))
    assert "file says something else" in rehearsal.fails(Conflict, "apply", "plan.json", "--yes")
    Path("edge.toml").write_text(text)

    rehearsal.fake.settings["ssl"] = "off"
    assert "moved since plan.json was made: ssl" in rehearsal.fails(
        Conflict, "apply", "plan.json", "--yes"
    )
    rehearsal.fake.settings["ssl"] = "full"
    assert rehearsal.run("apply", "plan.json", "--yes").exit_code == 0
    assert rehearsal.run("plan").exit_code == 0

    body = json.loads(Path("plan.json").read_text())
    body["writes"][0][3] = "off"
    Path("plan.json").write_text(json.dumps(body))
    assert "was changed after it was made" in rehearsal.fails(
        Corrupt, "apply", "plan.json", "--yes"
    )


def test_the_forms_of_a_plan_say_the_same(rehearsal: Rehearsal) -> None:
    data = json.loads(rehearsal.run("plan", "--json").stdout)
    assert len(data["changes"]) == 20
    assert data["changes"][0]["target"] == "ssl"
    text = rehearsal.run("plan", "--markdown").stdout
    assert text.startswith("### Edge: 9 to create, 11 to change\n\n```diff\n~ ssl")
    assert "**Rules of others, left alone**" in text


@pytest.mark.parametrize("name", ["plan", "drift"])
def test_an_error_is_status_1_since_2_means_changes(rehearsal: Rehearsal, name: str) -> None:
    result = rehearsal.run(name, "--no-such-option")
    assert result.exit_code == 1
    Path("edge.toml").write_text(file.default().replace("tiered", "teired"))
    result = rehearsal.run(name)
    assert result.exit_code == 1
    assert "edge.toml:" in result.stderr
    assert "did you mean tiered?" in result.stderr


def test_samples_that_fail_stop_an_apply(rehearsal: Rehearsal) -> None:
    before = rehearsal.fake.dump()
    text = file.default().replace('action = "block"', 'action = "managed_challenge"')
    Path("edge.toml").write_text(text)
    said = rehearsal.fails(Refused, "apply", "--yes")
    assert "the login of WordPress is not here: expected block, got managed_challenge" in said
    assert rehearsal.fake.dump() == before


def test_nobody_is_asked_where_nobody_is(rehearsal: Rehearsal) -> None:
    assert "--yes" in rehearsal.fails(Refused, "apply")
    assert rehearsal.fake.settings["ssl"] == "full"


def test_consent_to_hsts_is_asked_for_before_anything_is_written(rehearsal: Rehearsal) -> None:
    Path("edge.toml").write_text(file.default().replace("nosniff = true", "ramp = false", 1))
    assert 'confirm = "example.com"' in rehearsal.fails(Refused, "apply", "--yes")
    planned = rehearsal.run("plan")
    assert planned.exit_code == 2
    assert "against it: edge.toml:" in planned.stderr
    text = (
        Path("edge.toml")
        .read_text()
        .replace("ramp = false", 'ramp = false\nconfirm = "example.com"')
    )
    Path("edge.toml").write_text(text)
    assert rehearsal.run("apply", "--yes").exit_code == 0
    header = rehearsal.fake.settings["security_header"]["strict_transport_security"]
    assert (header["max_age"], header["preload"]) == (63_072_000, True)


def test_what_is_imported_has_an_empty_plan(rehearsal: Rehearsal) -> None:
    assert rehearsal.run("apply", "--yes").exit_code == 0
    assert rehearsal.run("import", "--out", "there.toml").exit_code == 0
    assert rehearsal.run("plan", "--file", "there.toml").exit_code == 0
    assert "exists already" in rehearsal.fails(Conflict, "import", "--out", "there.toml")
    assert 'name = "made-in-the-dashboard"' in rehearsal.run("import").stdout


def test_a_zone_is_read_and_checked(rehearsal: Rehearsal) -> None:
    assert "example.com  active, plan free" in rehearsal.run("read").stdout
    assert json.loads(rehearsal.run("read", "--json").stdout)["zone"]["plan"] == "free"
    checked = rehearsal.run("check")
    assert checked.exit_code == 1
    assert "fail  edge.drift" in checked.stdout
    rehearsal.run("apply", "--yes")
    found = json.loads(rehearsal.run("check", "--json").stdout)
    assert {check["name"]: check["status"] for check in found["checks"]} == {
        "edge.token": "pass",
        "edge.zone": "pass",
        "edge.permissions": "pass",
        "edge.certificate": "pass",
        "edge.objections": "pass",
        "edge.drift": "pass",
        "edge.unmanaged": "pass",
        "edge.health": "skip",
        "edge.origin": "skip",
    }


def test_the_rules_are_tested_without_the_zone(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSIGHT_EDGE__API_URL", "http://127.0.0.1:9/client/v4")
    tested = rehearsal.run("test", "--strict")
    assert tested.exit_code == 0, tested.output
    assert re.search(r"(\d+) of \1 samples as expected", tested.stdout)
    assert re.search(r"(\d+) of \1 small changes of rules are noticed", tested.stdout)
    assert rehearsal.fake.calls == []

    text = file.default().replace('{"/sign-in" "/register" "/login"}', '{"/sign-in" "/enter"}')
    Path("edge.toml").write_text(text)
    tested = rehearsal.run("test", "--json")
    assert tested.exit_code == 1
    wrong = [sample for sample in json.loads(tested.stdout)["samples"] if sample["problems"]]
    assert {sample["name"] for sample in wrong} == {
        "so is registering",
        "so is the usual name of a sign-in form",
    }


def test_what_no_sample_notices_is_told_and_fails_when_strict(rehearsal: Rehearsal) -> None:
    Path("edge.samples.toml").write_text(
        '[[requests]]\nname = "home"\nurl = "/"\n'
        'headers = { User-Agent = "x" }\n'
        'known = { "cf.client.bot" = false }\n'
    )
    tested = rehearsal.run("test")
    assert tested.exit_code == 0, tested.output
    assert f"{FIREWALL}/wordpress: never matched" in tested.stdout
    assert "unnoticed: wordpress: removed" in tested.stdout
    assert rehearsal.run("test", "--strict").exit_code == 1


def test_the_routes_of_an_application_are_tried(rehearsal: Rehearsal) -> None:
    document = {
        "paths": {
            "/api/me": {"get": {"security": [{"a": []}]}},
            "/files/{name}": {"get": {}},
            "/wp-admin": {"get": {}},
        }
    }
    Path("openapi.json").write_text(json.dumps(document))
    Path("public").mkdir()
    Path("public/app.js").touch()
    tested = rehearsal.run("test", "--openapi", "openapi.json", "--static", "public=/static")
    assert tested.exit_code == 1
    assert "fail  GET /wp-admin: is blocked by wordpress" in tested.stdout
    assert "GET /files/{name} as /files/x.png: is cached for its extension" in tested.stdout
    assert "3 of 6 routes pass" in tested.stdout


def test_the_rules_on_the_zone_can_be_tested_too(rehearsal: Rehearsal) -> None:
    assert rehearsal.run("test", "--live").exit_code == 1  # nothing is applied yet
    rehearsal.run("apply", "--yes")
    Path("edge.samples.toml").write_text(
        file.default_samples().replace(
            "[defaults.known]", '[defaults.known]\n"ip.src" = "192.0.2.9"'
        )
    )
    tested = rehearsal.run("test", "--live", "--no-mutants")
    assert tested.exit_code == 0, tested.output


def test_without_a_zone_it_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ZONE_ID"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(insight, ["edge", "read"])
    assert isinstance(result.exception, SettingsError)
    assert "CLOUDFLARE_API_TOKEN" in str(result.exception)


def test_a_zone_that_is_no_identifier_is_told(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_ZONE_ID", "example.com")
    assert "32 hexadecimal digits" in rehearsal.fails(SettingsError, "read")


def test_the_files_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(insight, ["edge", "init"]).output == (
        "wrote edge.toml\nwrote edge.samples.toml\n"
    )
    again = runner.invoke(insight, ["edge", "init"])
    assert isinstance(again.exception, Conflict)
    staging = runner.invoke(insight, ["edge", "init", "--staging", "--force"])
    assert staging.output == "wrote edge.toml\n"
    assert 'name = "staging.example.com"' in Path("edge.toml").read_text()


def test_the_schema_and_the_permissions_are_printed() -> None:
    runner = CliRunner()
    schema = json.loads(runner.invoke(insight, ["edge", "schema"]).output)
    assert schema["properties"]["firewall"]["items"]["$ref"] == "#/$defs/FirewallRule"
    assert "Zone WAF: Edit" in runner.invoke(insight, ["edge", "token"]).output
    assert len(json.loads(runner.invoke(insight, ["edge", "token", "--json"]).output)) == 11


def test_the_stand_in_runs_until_ctrl_c_and_keeps_its_zone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "insight_cloud.cli", "edge"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    arguments = ["fake", "--port", "0", "--write", "insight.toml", "--state", "zone.json"]

    def stand() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*command, *arguments], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        while "Ctrl-C ends it" not in process.stderr.readline():
            assert process.poll() is None
        return process

    def end(process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        process.stderr.close()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("init").returncode == 0
    process = stand()
    applied = run("apply", "--yes")
    assert applied.returncode == 0, applied.stderr
    end(process)
    gone = run("read")
    assert gone.returncode == 6
    assert "did not answer" in gone.stderr
    refused = run(*arguments)
    assert refused.returncode == 5
    (tmp_path / "insight.toml").unlink()
    process = stand()
    assert run("plan").returncode == 0
    end(process)


def test_ctrl_c_in_the_middle_of_an_apply_takes_it_back(rehearsal: Rehearsal) -> None:
    rehearsal.fake.latency_seconds = 0.1
    process = subprocess.Popen(
        [sys.executable, "-m", "insight_cloud.cli", "edge", "apply", "--yes"],
        cwd=rehearsal.folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while rehearsal.fake.settings["min_tls_version"] == "1.0":
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "take everything back" in said
    assert rehearsal.fake.settings["ssl"] == "full"
    assert rehearsal.fake.settings["min_tls_version"] == "1.0"


@pytest.mark.parametrize("text", ["nonsense", "503:PUT:/x:many"])
def test_a_fault_that_does_not_exist_is_told(text: str) -> None:
    result = CliRunner().invoke(insight, ["edge", "fake", "--port", "0", "--fault", text])
    assert isinstance(result.exception, InsightError)


def test_a_file_that_is_not_there_is_told(rehearsal: Rehearsal) -> None:
    Path("edge.toml").unlink()
    assert "insight edge init" in rehearsal.fails(Missing, "apply", "--yes")
    assert "nothing was applied from here" in rehearsal.fails(Missing, "rollback", "--yes")
