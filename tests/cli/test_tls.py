from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from insight_cloud.cli.tls import command
from insight_cloud.core import schedule
from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    Missing,
    Refused,
    SettingsError,
    Unavailable,
)
from insight_cloud.core.schedule.choose import Choice
from insight_cloud.core.schedule.job import Scope
from insight_cloud.core.schedule.systemd import Systemd
from insight_cloud.tls import Store
from tests.core.schedule.systems import System
from tests.tls import authority, servers
from tests.tls.authority import DAY, NOW, Signer, leaf
from tests.tls.cloudflare import TOKEN, cloudflare
from tests.tls.pebble import Answer, Pebble, pebble

_WITH_CTRL_C = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from insight_cloud.cli import main; main()"
)
"""The command line where whoever runs the tests ignores Ctrl-C, as jobs in the background do."""
_HANGING_SECONDS = 60
_LESS_THAN_A_CALL_S_LIMIT = 25
"""A call to the authority ends by itself after 30 seconds: whoever ends sooner has not waited."""


@pytest.fixture(scope="module")
def acme() -> Iterator[Pebble]:
    with pebble() as running:
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [n for n in os.environ if n.startswith(("INSIGHT_", "CLOUDFLARE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INSIGHT_TLS__DIRECTORY", str(tmp_path / "certificates"))
    return tmp_path


def run(*words: str, given: str = "") -> Result:
    return CliRunner().invoke(command, words, catch_exceptions=True, input=given)


def by_pebble(monkeypatch: pytest.MonkeyPatch, acme: Pebble, **more: str) -> None:
    acme.front.fault = lambda *_: None
    wanted = {
        "NAMES": "a.example,127.0.0.1",
        "ACME_URL": acme.url,
        "ACME_CA_FILE": str(acme.ca_file),
        "AGREE_TERMS": "true",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(acme.http_port),
        **more,
    }
    for name, value in wanted.items():
        monkeypatch.setenv(f"INSIGHT_TLS__{name}", value)


def written(home: Path, pair: Signer) -> tuple[str, str]:
    chain, key = home / "chain.pem", home / "key.pem"
    chain.write_bytes(pair.chain)
    key.touch(mode=0o600)
    key.write_bytes(pair.key_bytes)
    (home / "roots.pem").write_bytes(authority.root().alone)
    return str(chain), str(key)


def test_from_nothing_to_renewed_and_revoked(
    home: Path, monkeypatch: pytest.MonkeyPatch, acme: Pebble
) -> None:
    by_pebble(monkeypatch, acme, HOOKS="true")
    planned = run("issue", "--plan")
    assert planned.output == (
        "+ certificate for a.example, 127.0.0.1  (there is no certificate yet)\n"
        "* true  (tell the servers)\n"
    )
    assert not (home / "certificates").exists()
    issued = run("issue")
    assert issued.exit_code == 0, issued.output
    assert "pass  tls.key " in issued.output
    assert "pass  tls.hook true" in issued.output
    again = run("issue")
    assert again.output.startswith("nothing to do\nthe next renewal is due at 20")
    assert run("renew").output == again.output
    before = json.loads(run("status", "--json").output)
    assert before["certificate"]["names"] == ["a.example", "127.0.0.1"]
    assert (before["status"], before["renewal"]["due"]) == ("pass", False)
    assert run("issue", "--again").exit_code == 0
    assert run("renew", "--now", "--wait", "1").exit_code == 0
    after = run("status").output
    assert after.count("letsencrypt") == 3
    assert "* 20" in after
    assert "renewal is due at 20" in after
    assert run("install", "--version", before["version"]).exit_code == 0
    assert json.loads(run("status", "--json").output)["version"] == before["version"]
    refused = run("revoke", given="n\n")
    assert refused.exit_code == 1
    revoked = run("revoke", "--reason", "superseded", "--yes")
    assert f"revoked {before['version']}" in revoked.output


def test_a_failure_is_told_and_remembered(monkeypatch: pytest.MonkeyPatch, acme: Pebble) -> None:
    by_pebble(monkeypatch, acme)
    problem = Answer.problem(429, "rateLimited", "too many", Retry_After="3600")
    acme.front.fault = lambda _, path: problem if path == "/order-plz" else None
    result = run("issue")
    assert isinstance(result.exception, Refused)
    assert "wait 3600 s" in str(result.exception)
    status = run("status")
    assert status.exit_code == 1
    data = json.loads(run("status", "--json").output)
    assert data["renewal"]["failures"] == 1
    assert "too many" in data["renewal"]["problem"]
    assert run("renew").output.startswith("nothing to do")  # the authority wants its hour
    acme.front.fault = lambda *_: None
    assert run("issue").exit_code == 0


def test_the_origin_ca_is_one_setting_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHT_TLS__METHOD", "cloudflare")
    monkeypatch.setenv("INSIGHT_TLS__NAMES", "a.example,*.a.example")
    result = run("issue")
    assert isinstance(result.exception, SettingsError)
    assert "CLOUDFLARE_API_TOKEN" in str(result.exception)
    with cloudflare("a.example") as cf:
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
        monkeypatch.setenv("CLOUDFLARE_ZONE_ID", cf.zones["a.example"])
        monkeypatch.setenv("INSIGHT_TLS__CLOUDFLARE_URL", cf.url)
        assert run("issue").exit_code == 0
        assert json.loads(run("status", "--json").output)["history"][0]["method"] == "cloudflare"
        assert run("revoke", "--yes").exit_code == 0
        assert cf.certificates == {}


def test_the_dns_is_one_setting_away(monkeypatch: pytest.MonkeyPatch, acme: Pebble) -> None:
    by_pebble(monkeypatch, acme, NAMES="a.example,*.a.example", CHALLENGE="dns-01", DNS_SECONDS="0")
    with cloudflare("a.example") as cf:

        def changed(name: str, values: list[str]) -> None:
            for value in values:
                acme.tell("set-txt", host=f"{name}.", value=value)

        cf.changed = changed
        monkeypatch.setenv("INSIGHT_TLS__CLOUDFLARE_TOKEN", TOKEN)
        monkeypatch.setenv("INSIGHT_TLS__CLOUDFLARE_URL", cf.url)
        result = run("issue")
        assert result.exit_code == 0, result.exception


def test_wishes_that_cannot_be_met_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("issue")
    assert isinstance(result.exception, SettingsError)
    assert 'tls.names = ["www.example.com"]' in str(result.exception)
    monkeypatch.setenv("INSIGHT_TLS__METHOD", "custom")
    assert "insight tls install" in str(run("issue").exception)
    monkeypatch.setenv("INSIGHT_TLS__METHOD", "certbot")
    monkeypatch.setenv("INSIGHT_TLS__CHALLENGE", "dns-01")
    assert "http-01 only" in str(run("renew").exception)


def test_files_are_installed_when_every_check_passes(home: Path) -> None:
    chain, key = written(home, leaf("a.example"))
    untrusted = run("install", chain, key)
    assert isinstance(untrusted.exception, Refused)
    assert "nothing was installed: no path leads to a trusted root" in str(untrusted.exception)
    result = run("install", chain, key, "--roots", "roots.pem")
    assert result.exit_code == 0, result.exception
    assert "pass  tls.trust " in result.output
    assert run("install", chain, key, "--untrusted").exit_code == 0
    assert run("status").exit_code == 0


def test_files_that_would_not_serve_are_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSIGHT_TLS__NAMES", "b.example")
    chain, key = written(home, leaf("a.example", ends=NOW - DAY))
    Path(key).chmod(0o644)
    result = run("install", chain, key, "--untrusted")
    assert isinstance(result.exception, Refused)
    for words in ("expired", "not for b.example", "chmod 600"):
        assert words in str(result.exception)
    assert isinstance(run("install", "none", key).exception, Missing)
    assert isinstance(run("install", key, key).exception, Corrupt)
    assert run("install").exit_code == 2
    assert isinstance(run("install", "--version", "x").exception, Missing)


def test_files_and_hosts_are_checked(home: Path) -> None:
    chain, key = written(home, leaf("localhost"))
    good = run("check", "--files", chain, key, "--roots", "roots.pem", "localhost")
    assert good.exit_code == 0, good.output
    assert run("check", "--files", chain, key).exit_code == 1  # not trusted by the public roots
    with servers.nginx(leaf("localhost")) as port:
        result = run("check", f"localhost:{port}", "--roots", "roots.pem", "--json")
        assert json.loads(result.output)["status"] == "pass"
        assert run("check", f"localhost:{port}").exit_code == 1
        assert run("check", f"localhost:{port}", "--untrusted").exit_code == 0
    assert run("check").exit_code == 1  # nothing is installed
    assert run("check", "localhost:70000").exit_code == 2


def test_a_server_is_graded(home: Path) -> None:
    written(home, leaf("localhost"))
    with servers.nginx(leaf("localhost")) as port:
        host = f"localhost:{port}"
        result = run("grade", host, "--roots", "roots.pem", "--at-least", "A+")
        assert result.exit_code == 0, result.output
        assert f"{host}: A+  (score 96: protocol 100, key 100, cipher 90)" in result.output
        assert "TLS 1.3: 3 suites" in result.output
        strict = run("grade", host, "--at-least", "A")
        assert strict.exit_code == 1
        assert f"{host}: T " in strict.output
        assert "with a trusted certificate: A+" in strict.output
        data = json.loads(run("grade", host, "--untrusted", "--json").output)
        assert (data[0]["grade"], data[0]["score"]) == ("A+", 96)
    assert isinstance(run("grade", host).exception, Unavailable)


def test_the_job_is_installed_looked_at_and_removed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System()

    async def choose(scope: Scope) -> Choice:
        return Choice(Systemd(system, scope=scope, folder=home / "units", user="u"), "a test")

    monkeypatch.setattr(schedule, "choose", choose)
    assert run("schedule", "status").exit_code == 1
    planned = run("schedule", "install", "--scope", "user", "--plan")
    assert planned.stdout.startswith("+ insight-tls-renew  (daily ")
    assert planned.stdout.count(",") == 5  # six looks a day
    assert not (home / "units").exists()
    installed = run("schedule", "install", "--scope", "user")
    assert installed.exit_code == 0, installed.exception
    assert "tls renew" in (home / "units/insight-tls-renew.service").read_text()
    assert run("schedule", "install", "--scope", "user").stdout == "nothing to do\n"
    assert run("schedule", "status").output.startswith("pass  schedule.tls-renew")
    fixed = run("schedule", "install", "--scope", "user", "--at", "daily 03:00")
    assert fixed.stdout == "~ insight-tls-renew  (changed: daily 03:00)\n"
    assert isinstance(run("schedule", "install", "--at", "now").exception, SettingsError)
    assert run("schedule", "uninstall").stdout.startswith("- insight-tls-renew")
    assert list((home / "units").iterdir()) == []


def test_one_at_a_time(home: Path, monkeypatch: pytest.MonkeyPatch, acme: Pebble) -> None:
    by_pebble(monkeypatch, acme)
    with Store(home / "certificates").locked():
        assert isinstance(run("issue").exception, Conflict)


@pytest.mark.parametrize(
    ("number", "silent"),
    [
        (signal.SIGINT, "/order-plz"),
        (signal.SIGINT, "/chalZ/"),
        (signal.SIGTERM, "/chalZ/"),
        (signal.SIGTERM, "/finalize-order/"),
    ],
)
def test_interrupted_it_ends_at_once_tidies_up_and_can_go_on(
    home: Path, monkeypatch: pytest.MonkeyPatch, acme: Pebble, number: int, silent: str
) -> None:
    """The authority says nothing while the command is stopped, and until it has ended."""
    by_pebble(monkeypatch, acme)
    assert run("issue").exit_code == 0
    store = Store(home / "certificates")
    before = store.chain.read_bytes(), store.key.read_bytes()
    asked, go_on, seen = threading.Event(), threading.Event(), []

    def fault(_: str, path: str) -> None:
        if path.startswith(silent):
            seen.append(len(list(store.challenges.iterdir())))
            asked.set()
            go_on.wait(_HANGING_SECONDS)

    acme.front.fault = fault
    process = subprocess.Popen(
        [sys.executable, "-c", _WITH_CTRL_C, "tls", "issue", "--again"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert asked.wait(_HANGING_SECONDS)
        process.send_signal(number)
        out, said = process.communicate(timeout=_LESS_THAN_A_CALL_S_LIMIT)
    finally:
        process.kill()
        acme.front.fault = lambda *_: None
        go_on.set()
    assert (process.returncode, out) == (130, "")
    assert said.strip().splitlines()[-1] == "insight: interrupted"
    assert "Traceback" not in said
    assert seen[0] == (2 if silent == "/chalZ/" else 0)
    assert list(store.challenges.iterdir()) == []
    assert (store.chain.read_bytes(), store.key.read_bytes()) == before
    with store.locked():
        pass
    assert json.loads(run("status", "--json").stdout)["renewal"]["problem"] == "it was interrupted"
    assert run("issue", "--again").exit_code == 0
    assert store.chain.read_bytes() != before[0]
