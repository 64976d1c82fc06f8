"""The API against its own description: nothing undocumented, no server error, for any input."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.flows.conftest import PASSWORD
from tests.serving import Served

LOG = Path(__file__).parents[1] / "data" / "sarif" / "pub-codeql-python.sarif"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,negative_data_rejection"
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("signed_in", [True, False])
def test_the_api_keeps_to_its_description(
    service: Served, tmp_path: Path, *, signed_in: bool
) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run"]
    command += [f"{service.url}/api/v1/openapi.json", "--checks", CHECKS, "--no-color"]
    # Signing out would end the session that the other operations are tried with.
    command += ["--phases", "coverage,fuzzing", "--exclude-path", "/api/v1/auth/logout"]
    command += ["-n", "8" if signed_in else "4"]
    if signed_in:
        command += ["-H", f"Authorization: Bearer {access_token(service)}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert not re.search(r"\b0 generated", done.stdout)
    assert "ERROR" not in service.said


def access_token(service: Served) -> str:
    """Sign in, and leave a project with issues behind for the tool to find."""
    with httpx.Client(base_url=f"{service.url}/api/v1") as client:
        answer = client.post(
            "/auth/token", json={"email": "lead@example.org", "password": PASSWORD}
        )
        token = str(answer.raise_for_status().json()["access_token"])
        client.headers["authorization"] = f"Bearer {token}"
        uploaded = client.post("/projects/demo/analyses", content=LOG.read_bytes())
        assert uploaded.status_code in {200, 201}
        return token
