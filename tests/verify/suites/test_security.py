"""A good site passes; each question finds what is planted for it, outside and inside."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from insight_cloud.verify.suites import security
from tests.tls import authority
from tests.verify.sites import HOME, STRICT, Page, Site, asked, serving, statuses

OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": "Shop", "version": "1"},
    "security": [{"bearer": []}],
    "paths": {"/mine": {"get": {"responses": {"200": {"description": "mine"}}}}},
}
TRACEBACK = "<pre>Traceback (most recent call last)\n  File '/srv/shop/app.py'</pre>"
OUTSIDE = {
    "no version is told",
    "no private file is served",
    "errors tell nothing about the program",
    "TRACE is refused",
    "no other origin may read with credentials",
    "sign-in leads to no other site",
    "what needs a sign-in refuses without one",
}


def described(**pages: Page) -> Site:
    given = {"sign_in": Page("<h1>Sign in</h1>"), "mine": Page("", status=401)} | pages
    site = Site()
    site.pages |= {f"/{name.replace('_', '-')}": page for name, page in given.items()}
    site.pages["/openapi.json"] = Page(json.dumps(OPENAPI), type="application/json")
    return site


async def _echo(asked: dict[str, str]) -> Page | None:
    """Repeat what was asked, as TRACE does; let everybody read."""
    if asked[":method"] == "TRACE":
        return Page(str(asked), type="message/http")
    origin = asked.get("origin")
    if origin is None:
        return None
    allowed = {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
    }
    return Page(HOME, headers=allowed)


async def _away(asked: dict[str, str]) -> Page | None:
    if "evil.example" not in asked[":query"]:
        return None
    return Page("", status=302, headers={"location": "//evil.example/"})


async def test_a_good_site_passes(tmp_path: Path) -> None:
    async with serving(described()) as url:
        checks = await asked(security, url)
    assert {checks[name].status for name in OUTSIDE} == {"pass"}, statuses(checks, OUTSIDE)
    wrong = {name: c.detail for name, c in checks.items() if c.status in {"fail", "error"}}
    assert wrong == {}
    assert checks["TLS is graded A or better"].status == "not run"
    assert checks["no secret in the source"].status == "not run"


async def test_every_fault_of_a_site_is_found() -> None:
    site = described(mine=Page("yours", status=200), sign_in=Page("", make=_away))
    site.headers = {"server": "nginx/1.2.3", "set-cookie": "session=1; Path=/; Secure"}
    site.pages["/"] = Page(HOME, make=_echo)
    site.pages["/.env"] = Page("SECRET=1\n", type="text/plain")
    site.pages["/no-such-page-insight"] = Page(TRACEBACK, status=500)
    async with serving(site) as url:
        checks = await asked(security, url)
    assert {n for n in OUTSIDE if checks[n].status == "fail"} == OUTSIDE, statuses(checks, OUTSIDE)
    headers = {n: c.status for n, c in checks.items() if n.startswith("headers: ")}
    for test in ("content-security-policy", "x-frame-options", "x-content-type-options", "cookies"):
        assert headers[f"headers: {test}"] == "fail", headers


async def test_a_page_that_says_that_nothing_is_there_is_no_private_file() -> None:
    """Some answer everything with 200 and a page."""
    site = described()
    site.pages |= dict.fromkeys(security.EXPOSED, Page("<h1>There is no such page</h1>"))
    async with serving(site) as url:
        assert (await asked(security, url))["no private file is served"].status == "pass"


async def test_a_site_that_is_away_fails() -> None:
    checks = await asked(security, "http://127.0.0.1:1")
    assert checks["the site answers"].status == "fail"
    assert "pass" not in {check.status for check in checks.values()}


async def test_tls_is_graded(tmp_path: Path) -> None:
    """With its own name and HSTS, and with neither."""
    key, chain, ca_file = (tmp_path / name for name in ("key.pem", "chain.pem", "ca.pem"))
    ca_file.write_bytes(authority.root().alone)
    files = {"ssl_keyfile": str(key), "ssl_certfile": str(chain)}

    def certify(name: str) -> None:
        leaf = authority.leaf(name)
        key.write_bytes(leaf.key_bytes)
        chain.write_bytes(leaf.chain)

    certify("127.0.0.1")
    site = described()
    site.headers = STRICT | {"strict-transport-security": "max-age=63072000"}
    name = "TLS is graded A or better"
    async with serving(site, **files) as url:
        good = await asked(security, url, ca_file=ca_file)
    assert good[name].status == "pass", good[name]
    assert good["headers: strict-transport-security"].status == "pass"
    certify("shop.example.org")
    async with serving(described(), **files) as url:
        bad = await asked(security, url, ca_file=ca_file)
    assert bad[name].status == "fail", bad[name]
    assert bad[name].evidence
    assert bad["headers: strict-transport-security"].status == "fail"


# -- inside ----------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "app.py").write_text("def add(a, b):\n    return a + b\n")
    (folder / "insight.toml").write_text("")
    (folder / "insight.toml").chmod(0o600)
    (folder / "requirements.txt").write_text("shop==1.0\nsafe==2.0\n")
    return folder


@pytest.fixture
async def advisories() -> AsyncIterator[str]:
    """A service that speaks OSV, and knows of one fault in shop 1.0."""
    fault = {
        "id": "TEST-2026-1",
        "details": "it sells for nothing",
        "affected": [
            {
                "package": {"name": "shop", "ecosystem": "PyPI"},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}
                ],
            }
        ],
        "published": "2026-01-01T00:00:00Z",
        "modified": "2026-01-01T00:00:00Z",
        "schema_version": "1.4.0",
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        name = json.loads(body)["package"]["name"]
        answer = json.dumps({"vulns": [fault]} if name == "shop" else {}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async with serving(app) as url:
        yield f"{url}/v1/query"


def into_git(project: Path) -> None:
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    subprocess.run(["git", "-C", str(project), "add", "insight.toml"], check=True)


INSIDE = {
    "no known vulnerability in the dependencies",
    "no dangerous call in the source",
    "no secret in the source",
    "settings with secrets are private",
}


async def inside(project: Path, osv_url: str | None) -> dict[str, Any]:
    checks = await asked(security, "http://127.0.0.1:1", project=project, osv_url=osv_url)
    return {name: checks[name] for name in INSIDE}


async def test_good_source_passes(project: Path, advisories: str) -> None:
    (project / "requirements.txt").write_text("safe==2.0\n")
    checks = await inside(project, advisories)
    assert {check.status for check in checks.values()} == {"pass"}, statuses(checks)


async def test_every_fault_of_the_source_is_found(project: Path, advisories: str) -> None:
    (project / "app.py").write_text(
        "import pickle, subprocess\n"
        "def run(text):\n"
        "    eval(text)\n"
        "    pickle.loads(text)\n"
        "    subprocess.run(text, shell=True)\n"
        "    return f\"select * from items where name = '{text}'\"\n"
    )
    key = "AKIA" + "Q" * 16
    token = "ghp_" + "a1" * 18
    (project / "deploy.sh").write_text(f"export AWS_ACCESS_KEY_ID={key}\ncurl -H {token}\n")
    (project / "insight.toml").chmod(0o644)
    await asyncio.to_thread(into_git, project)
    checks = await inside(project, advisories)
    assert {check.status for check in checks.values()} == {"fail"}, statuses(checks)
    codes = " ".join(checks["no dangerous call in the source"].evidence)
    assert all(code in codes for code in ("S307", "S301", "S602", "S608"))
    found = checks["no secret in the source"].evidence
    assert found == ("deploy.sh:1: an AWS key", "deploy.sh:2: a GitHub token")
    assert key not in str(checks)
    assert checks["settings with secrets are private"].evidence == (
        "insight.toml can be read by every user: chmod 600",
        "insight.toml is in Git",
    )
    audited = checks["no known vulnerability in the dependencies"]
    assert audited.evidence == ("shop 1.0: TEST-2026-1",)


async def test_dependencies_that_cannot_be_looked_up_are_never_passed(project: Path) -> None:
    name = "no known vulnerability in the dependencies"
    assert (await inside(project, "http://127.0.0.1:1/v1/query"))[name].status == "not run"
    (project / "requirements.txt").unlink()
    assert (await inside(project, None))[name].status == "not run"


@pytest.mark.parametrize("name", security.SECRETS)
async def test_each_kind_of_secret_is_known(project: Path, name: str) -> None:
    samples = {
        "a private key": "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA" * 6,
        "an AWS key": "AKIA" + "Z" * 16,
        "a GitHub token": "ghs_" + "Ab1" * 12,
        "a Slack token": "xoxb-" + "1234567890-" * 3,
        "a Slack webhook": "https://hooks.slack.com/services/T12345678/B12345678/" + "x" * 24,
        "a Stripe key": "sk_live_" + "4" * 24,
        "a Google key": "AIza" + "b" * 35,
        "a password in an address": "postgresql://shop:" + "k3n9x2m1q" + "@db.shop.org/shop",
    }
    (project / "notes.txt").write_text(samples[name])
    found = await security._secrets(project)
    assert found.evidence == (f"notes.txt:1: {name}",)


async def test_examples_are_no_secrets(project: Path) -> None:
    (project / "notes.txt").write_text(
        "postgresql://USER:PASSWORD@HOST/NAME redis://a:${SECRET_OF_IT}@host "
        "postgresql://a:longpassword@localhost/x AKIAshort -----BEGIN PUBLIC KEY-----"
    )
    assert (await security._secrets(project)).status == "pass"
    assert os.access(project, os.R_OK)
