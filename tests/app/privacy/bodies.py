"""Bodies of each level, whole, and what each level must not hold."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from insight_cloud.app import privacy
from insight_cloud.app.detectors import tokens
from insight_cloud.app.privacy import Keyed, Level
from insight_cloud.app.sarif.model import Finding, Location, Rule, Run, Snippet

KEYED = Keyed(b"a key of the tests")
TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3

RUN = Run(
    tool="Semgrep OSS/Pro",
    version="1.2",
    category="nightly",
    rules=(Rule(code="S113", name="no-timeout", summary="A call waits for ever", help="Why"),),
    findings=(
        Finding(
            rule="S113",
            message=f"the call in pay() waits; it sends {TOKEN} to https://ada:pw@pay.example/x",
            severity="high",
            category="network",
            location=Location(path="src/pay.py", line=7, column=3, end_line=7, end_column=20),
            related=(Location(path="src/other.py", line=1, message="made here"),),
            flow=(Location(path="src/other.py", line=1), Location(path="src/pay.py", line=7)),
            fingerprints={"primaryLocationLineHash": "39fa2ee980eb94b0:1"},
            context_hash="0123456789abcdef",
            line_hash="fedcba9876543210",
            snippet=Snippet(line=6, text=f"def pay():\n    post(url, token='{TOKEN}')\n"),
        ),
        Finding(
            rule="S999",
            message="about the machine",
            severity="low",
            category="style",
            location=Location(path="/home/ada/.bashrc", external=True),
        ),
    ),
)
BROKEN = Run(tool="mypy", state="failed", detail="cannot read /home/ada/shop/src/pay.py")


def body(level: Level) -> dict[str, Any]:
    """What `RUN` and `BROKEN` become at `level`."""
    if level == "counts":
        data = privacy.counts(
            [RUN, BROKEN],
            branch="topic/pay.py",
            commit="0f" * 20,
            keyed=KEYED,
            remote="git@git.example:shop.git",
            files=2,
            lines=90,
        )
    else:
        data = privacy.log([RUN, BROKEN], level, find=tokens.find, keyed=KEYED)
    document: dict[str, Any] = msgspec.json.decode(data)
    return document


_RESULT = "/runs/0/results/0"
_PLACE = f"{_RESULT}/locations/0/physicalLocation"

MORE: dict[Level, dict[str, Any]] = {
    "counts": {
        "/project": {"name": "shop"},
        "/files": ["src/pay.py"],
        "/paths": ["src/pay.py"],
        "/issues": [],
        "/branch": "topic/pay.py",
        "/commit": "src/pay.py",
        "/remote": "39fa2ee980eb94b039fa2ee980eb94b0",
        "/counts/0/path": "src/pay.py",
        "/counts/0/rule": "S113",
        "/counts/0/message": "waits",
        "/counts/0/tool": "src/pay.py",
        "/counts/0/category": "src/pay.py",
        "/counts/0/open": -1,
        "/tools/0/detail": "cannot read src/pay.py",
        "/tools/0/name": "../pay.py",
        "/versions/host": "ada-laptop",
        "/versions/insight": "/home/ada",
    },
    "metadata": {
        "/properties": {"host": "ada-laptop"},
        "/runs/0/artifacts": [{"location": {"uri": "src/pay.py"}}],
        "/runs/0/versionControlProvenance": [{"repositoryUri": "https://git.example"}],
        "/runs/0/invocations/0/commandLine": "semgrep --token x",
        "/runs/0/invocations/0/workingDirectory": {"uri": "file:///home/ada"},
        "/runs/1/invocations/0/toolExecutionNotifications/0/message/text": "cannot read pay.py",
        "/runs/1/invocations/0/properties/insightDetail": "cannot read pay.py",
        "/runs/0/originalUriBaseIds/%SRCROOT%/uri": "file:///home/ada/shop/",
        f"{_RESULT}/message/text": "the call in pay() waits",
        f"{_RESULT}/message/markdown": "the call in `pay()`",
        f"{_RESULT}/relatedLocations": [],
        f"{_RESULT}/codeFlows": [],
        f"{_RESULT}/fixes": [{}],
        f"{_RESULT}/properties/author": "ada",
        f"{_RESULT}/locations/0/message": {"text": "here"},
        f"{_RESULT}/locations/0/logicalLocations": [{"fullyQualifiedName": "shop.pay"}],
        f"{_RESULT}/partialFingerprints/primaryLocationLineHash": "39fa2ee980eb94b0:1",
        f"{_PLACE}/artifactLocation/uri": "/home/ada/shop/src/pay.py",
        f"{_PLACE}/artifactLocation/description": {"text": "a file"},
        f"{_PLACE}/region/startColumn": 3,
        f"{_PLACE}/region/snippet": {"text": "post(url)"},
        f"{_PLACE}/contextRegion": {"startLine": 6, "snippet": {"text": "post(url)"}},
    },
    "findings": {
        "/runs/0/artifacts": [{"contents": {"text": "import os"}}],
        "/runs/0/invocations/0/environmentVariables": {"HOME": "/home/ada"},
        f"{_RESULT}/message/text": f"it sends {TOKEN}",
        f"{_RESULT}/relatedLocations/0/message/text": "from https://ada:pw@pay.example/x",
        f"{_RESULT}/relatedLocations/0/physicalLocation/artifactLocation/uri": "../other/x.py",
        f"{_RESULT}/fixes": [{}],
        f"{_RESULT}/attachments": [{}],
        f"{_PLACE}/artifactLocation/uri": "file:///home/ada/shop/src/pay.py",
        f"{_PLACE}/region/snippet": {"text": "post(url)"},
        f"{_PLACE}/contextRegion": {"startLine": 6, "snippet": {"text": "post(url)"}},
        "/inlineExternalProperties": [{}],
    },
    "snippets": {
        "/runs/0/artifacts": [{"contents": {"text": "import os"}}],
        f"{_RESULT}/fixes": [{}],
        f"{_PLACE}/artifactLocation/uri": "C:\\shop\\pay.py",
        f"{_PLACE}/region/snippet": {"text": "post(url)"},
        f"{_PLACE}/contextRegion/snippet/text": "\n".join("abcdefgh"),
        f"{_PLACE}/contextRegion/snippet/rendered": {"text": "x"},
        f"{_RESULT}/relatedLocations/0/physicalLocation/contextRegion": {
            "startLine": 1,
            "snippet": {"text": "x"},
        },
        "/runs/0/webRequests": [{}],
    },
}
"""By level: a place, and what must not stand there."""

CASES = [(level, pointer) for level, places in MORE.items() for pointer in places]


def with_more(level: Level, pointer: str) -> dict[str, Any]:
    """A body of `level` that holds one thing more than it may."""
    document: Any = copy.deepcopy(body(level))
    target, steps = document, pointer.strip("/").split("/")
    for step in steps[:-1]:
        target = target[int(step)] if isinstance(target, list) else target.setdefault(step, {})
    target[steps[-1]] = MORE[level][pointer]
    return document  # type: ignore[no-any-return]
