"""Our prober beside Debian's testssl.sh, in what that version says: protocols and known holes.

It gives no letter yet (3.0.8; only 3.3dev does), so the letters in `configurations.py` were noted
by hand. A run takes it some ten seconds a server: three here, all with INSIGHT_TEST_TESTSSL=all.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from insight_cloud.tls import prober
from insight_cloud.tls.hello import Version
from tests.patience import BUSY
from tests.tls.configurations import ALL, Configuration
from tests.tls.pebble import require

_FEW = {"modern", "1.0 to 1.3", "1.1 and 1.2"}
_CHOSEN = [
    one for one in ALL if os.environ.get("INSIGHT_TEST_TESTSSL") == "all" or one.name in _FEW
]
_PROTOCOLS = {
    "SSLv2": Version.SSL2,
    "SSLv3": Version.SSL3,
    "TLS1": Version.TLS10,
    "TLS1_1": Version.TLS11,
    "TLS1_2": Version.TLS12,
    "TLS1_3": Version.TLS13,
}
_UNANSWERED = {"no secure renegotiation"}
"""Where its OpenSSL does not speak to such a server at all, and so testssl.sh says WARN."""


@pytest.mark.timeout(60 * BUSY)
@pytest.mark.parametrize("server", _CHOSEN, ids=lambda one: one.name.replace(" ", "-"))
async def test_testssl_finds_the_same(server: Configuration, tmp_path: Path) -> None:
    program = require("testssl", "testssl.sh")
    with server.serve() as port:
        said = answers(program, port, tmp_path, may_refuse=server.name not in _FEW)
        ours = await prober.probe("localhost", port, address="127.0.0.1")
    offered = {v for name, v in _PROTOCOLS.items() if said[name][1].startswith("offered")}
    assert set(ours.versions) == offered
    assert (ours.heartbleed, ours.early_ccs) == (bad(said, "heartbleed"), bad(said, "CCS"))
    assert ours.compression == bad(said, "CRIME_TLS")
    if server.name in _UNANSWERED:
        assert said["secure_renego"][0] == "WARN"
    else:
        assert ours.secure_renegotiation is not bad(said, "secure_renego")


def answers(
    program: str, port: int, folder: Path, *, may_refuse: bool
) -> dict[str, tuple[str, str]]:
    """What testssl.sh says of a port of this machine: severity and finding of each question."""
    asked = ("-p", "-H", "-I", "-R", "-C", "--ip", "127.0.0.1", f"localhost:{port}")
    quiet = ("--quiet", "--color", "0", "--warnings", "batch", "--jsonfile", str(folder / "said"))
    done = subprocess.run(
        [program, *quiet, *asked],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if may_refuse and "Your OpenSSL cannot connect" in done.stdout:
        pytest.skip("testssl.sh gives up: its OpenSSL does not speak to such a server any more")
    assert done.returncode == 0, done.stdout + done.stderr
    entries = json.loads((folder / "said").read_text())
    return {entry["id"]: (entry["severity"], entry["finding"]) for entry in entries}


def bad(said: dict[str, tuple[str, str]], question: str) -> bool:
    """Whether it found the hole; a question that it could not answer fails the test."""
    severity, finding = said[question]
    assert severity in {"OK", "LOW", "MEDIUM", "HIGH", "CRITICAL"}, finding
    return severity != "OK"
