"""A verification for other programs and for people: JSON schema, JUnit, one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Any
from xml.etree import ElementTree as ET

import msgspec

from insight_cloud.verify.verification import Check, Suite, Verification

__all__ = ["html", "json_schema", "junit"]

_STYLE = """
:root{color-scheme:light dark;--line:#8884}
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.3rem .5rem}
td,th{border-bottom:1px solid var(--line);overflow-wrap:anywhere}
td:last-child{text-align:right;white-space:nowrap}
.pass{color:#2e7d32}.fail{color:#c62828;font-weight:600}
.error{color:#b45309;font-weight:600}.not{opacity:.7}
img{max-width:100%;border:1px solid var(--line)}
td:first-child{white-space:nowrap}
"""


def json_schema() -> dict[str, Any]:
    """The schema of the JSON that every verification is written as."""
    return msgspec.json.schema(Verification)


def junit(found: Verification) -> bytes:
    """Suites and checks as test suites and test cases."""
    root = ET.Element(
        "testsuites",
        name=f"verify {found.target}",
        tests=str(sum(found.counts.values())),
        failures=str(found.counts["fail"]),
        errors=str(found.counts["error"]),
        time=f"{found.seconds:.3f}",
    )
    for suite in found.suites:
        _junit_suite(root, suite, found)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _junit_suite(root: ET.Element, suite: Suite, found: Verification) -> None:
    statuses = [check.status for check in suite.checks]
    element = ET.SubElement(
        root,
        "testsuite",
        name=suite.name,
        tests=str(len(statuses)),
        failures=str(statuses.count("fail")),
        errors=str(statuses.count("error")),
        skipped=str(statuses.count("not run")),
        time=f"{suite.seconds:.3f}",
        timestamp=found.started.isoformat(timespec="seconds"),
    )
    kinds = {"fail": "failure", "error": "error", "not run": "skipped"}
    for check in suite.checks:
        case = ET.SubElement(
            element,
            "testcase",
            classname=f"verify.{suite.name}",
            name=_printable(check.name),
            time=f"{check.seconds:.3f}",
        )
        if check.status in kinds:
            told = ET.SubElement(case, kinds[check.status], message=_printable(check.detail))
            told.text = _printable("\n".join(check.evidence))


def _printable(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(c if c >= " " or c in "\n\t" else "�" for c in text)


def html(found: Verification, pictures: Mapping[str, bytes] | None = None) -> str:
    """One file, without scripts and without anything to fetch; the pictures are inside."""
    rate = "nothing was asked" if found.success_rate is None else f"{found.success_rate:.1%}"
    counts = ", ".join(f"{number} {status}" for status, number in found.counts.items() if number)
    suites = "".join(_suite(suite, pictures or {}) for suite in found.suites)
    summary = "".join(
        f'<tr><td><a href="#{suite.name}">{suite.name}</a><td class="{_class(suite.status)}">'
        f"{suite.status}<td>{suite.seconds:.0f} s</tr>"
        for suite in found.suites
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Verification</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style><body><h1>Verification of {escape(found.target)}</h1>"
        f'<p><span class="{_class(found.status)}">{found.status}</span>: {rate} ({counts}), '
        f"{found.started:%Y-%m-%d %H:%M} UTC, {found.seconds:.0f} s"
        f"{', short form' if found.short else ''}</p><table>{summary}</table>{suites}</body></html>"
    )


def _suite(suite: Suite, pictures: Mapping[str, bytes]) -> str:
    rows = "".join(_row(check, pictures) for check in suite.checks)
    return f'<h2 id="{suite.name}">{suite.name}</h2><table>{rows}</table>'


def _row(check: Check, pictures: Mapping[str, bytes]) -> str:
    more = "".join(f"<li>{escape(text)}</li>" for text in check.evidence)
    more = f"<details><summary>evidence</summary><ul>{more}</ul></details>" if more else ""
    if check.picture in pictures:
        data = base64.b64encode(pictures[check.picture or ""]).decode()
        more += (
            "<details><summary>picture</summary>"
            f'<img alt="{escape(check.name)}" src="data:image/png;base64,{data}"></details>'
        )
    return (
        f'<tr><td class="{_class(check.status)}">{check.status}<td>{escape(check.name)}'
        f"<td>{escape(check.detail)}{more}<td>{check.seconds:.1f} s</tr>"
    )


def _class(status: str) -> str:
    return status.split(" ", maxsplit=1)[0]
