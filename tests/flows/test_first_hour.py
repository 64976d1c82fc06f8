"""The team lead's first hour: sign in, analyse, upload, see what is wrong and what was mended."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.flows.conftest import PASSWORD
from tests.serving import Served, insight

BAD = "import os\n\n\ndef run(command):\n    return eval(command)\n"
GOOD = "def run(command):\n    return command\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one bad file."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "shop.py").write_text(BAD)
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def upload(service: Served, checkout: Path) -> dict[str, object]:
    done = service.run("analyze", ".", "--upload", "--format", "json", cwd=checkout)
    result: dict[str, object] = json.loads(done)
    return result


def test_from_a_bad_file_to_a_fixed_issue(service: Served, checkout: Path) -> None:
    with pytest.raises(AssertionError, match="insight login"):
        service.run("analyze", ".", "--upload", cwd=checkout)
    service.run("login", service.url, "--email", "lead@example.org", given=PASSWORD + "\n")
    credentials = Path(service.environment["HOME"], ".config/insight/credentials.json")
    assert credentials.stat().st_mode & 0o777 == 0o600
    service.run("analyze", ".", "--upload", cwd=checkout)

    token = json.loads(credentials.read_text())[service.url]
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{service.url}/api/v1", headers=headers) as client:
        projects = client.get("/overview").json()["projects"]
        assert "shop" in [project["slug"] for project in projects]
        issues = client.get("/projects/shop/issues").json()["items"]
        assert {"S307", "F401"} <= {issue["rule"] for issue in issues}
        assert {issue["path"] for issue in issues} == {"shop.py"}

        (checkout / "shop.py").write_text("# moved down\n\n" + BAD)
        service.run("analyze", ".", "--upload", cwd=checkout)
        latest = client.get("/projects/shop/analyses").json()["items"][0]
        assert (latest["new"], latest["fixed"]) == (0, 0)

        (checkout / "shop.py").write_text(GOOD)
        service.run("analyze", ".", "--upload", cwd=checkout)
        latest = client.get("/projects/shop/analyses").json()["items"][0]
        assert (latest["new"], latest["fixed"], latest["open"]) == (0, len(issues), 0)


def test_a_wrong_password_is_one_clear_line(service: Served) -> None:
    done = insight(
        "login",
        service.url,
        "--email",
        "lead@example.org",
        environment=service.environment,
        given="wrong password\n",
        check=False,
    )
    assert done.returncode == 4
    assert "Traceback" not in done.stderr


def test_any_tools_log_can_be_uploaded(service: Served, tmp_path: Path) -> None:
    logs = Path(__file__).parents[1] / "data" / "sarif"
    token = service.run("users", "token", "--name", "ci", "--scope", "ingest")
    environment = service.environment | {
        "INSIGHT_CLIENT__SERVER": service.url,
        "INSIGHT_CLIENT__TOKEN": token,
    }
    arguments = ["upload", str(logs / "pub-codeql-python.sarif"), "--project", "codeql", "--json"]
    done = insight(*arguments, environment=environment, cwd=tmp_path)
    assert json.loads(done.stdout)[0]["new"] == 72
    again = insight(*arguments, environment=environment, cwd=tmp_path)
    assert json.loads(again.stdout)[0]["repeated"]
    bad = logs / "edge" / "bad-version-2.0.0.sarif"
    refused = insight("upload", str(bad), environment=environment, cwd=tmp_path, check=False)
    assert refused.returncode == 4
    assert "2.1.0" in refused.stderr
