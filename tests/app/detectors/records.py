"""OSV records in their real form (ossf.github.io/osv-schema), and archives of them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from typing import Any

__all__ = ["RECORDS", "archive", "record"]


def record(
    name: str,
    package: str,
    *,
    ecosystem: str = "PyPI",
    events: Iterable[dict[str, str]] = (),
    kind: str = "ECOSYSTEM",
    **others: Any,
) -> dict[str, Any]:
    """One record, as the databases export it."""
    affected = {
        "package": {"ecosystem": ecosystem, "name": package, "purl": f"pkg:x/{package}"},
        "ranges": [{"type": kind, "events": list(events)}],
        "versions": others.pop("versions", []),
        "database_specific": {"source": "https://example.org"},
    }
    return {
        "schema_version": "1.6.0",
        "id": name,
        "published": "2019-04-10T14:30:24Z",
        "modified": "2024-09-24T21:19:29Z",
        "affected": [affected],
        "references": [{"type": "WEB", "url": "https://example.org"}],
    } | others


JINJA = record(
    "GHSA-462w-v97r-4m45",
    "jinja2",
    events=[{"introduced": "0"}, {"fixed": "2.10.1"}],
    summary="Jinja2 sandbox escape via string formatting",
    details="In Pallets Jinja before 2.10.1, str.format_map allows a sandbox escape.",
    aliases=["CVE-2019-10906", "PYSEC-2019-217"],
    severity=[{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:N/A:N"}],
    database_specific={"severity": "HIGH", "cwe_ids": ["CWE-693"], "github_reviewed": True},
)
RECORDS: dict[str, list[dict[str, Any]]] = {
    "PyPI": [
        JINJA,
        record(
            "PYSEC-2019-217",
            "jinja2",
            events=[{"introduced": "0"}, {"fixed": "2.10.1"}],
            aliases=["CVE-2019-10906", "GHSA-462w-v97r-4m45"],
            details="The same, told by another database.",
        ),
        record(
            "PYSEC-2099-1",
            "Some_Package",
            events=[{"introduced": "1.0"}, {"last_affected": "1.4"}, {"introduced": "2.0rc1"}],
            severity=[{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
            versions=["0.5.post-odd"],
        ),
        record(
            "PYSEC-2099-2", "gone", events=[{"introduced": "0"}], withdrawn="2099-01-01T00:00:00Z"
        ),
        record("PYSEC-2099-3", "commits", kind="GIT", events=[{"introduced": "0"}]),
    ],
    "npm": [
        record(
            "GHSA-35jh-r3h4-6jhm",
            "lodash",
            ecosystem="npm",
            kind="SEMVER",
            events=[{"introduced": "0"}, {"fixed": "4.17.21"}],
            summary="Command Injection in lodash",
            database_specific={"severity": "HIGH"},
        ),
        record(
            "GHSA-scop-ed00-0001",
            "@scope/thing",
            ecosystem="npm",
            kind="SEMVER",
            events=[{"introduced": "2.0.0-beta.2"}, {"fixed": "2.0.0"}],
            database_specific={"severity": "MODERATE"},
        ),
    ],
}


def archive(records: Iterable[dict[str, Any]]) -> bytes:
    """`all.zip`: one file a record."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as opened:
        for one in records:
            opened.writestr(f"{one['id']}.json", json.dumps(one))
    return out.getvalue()
