"""What a page says in its HTML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.headers import page

HTML = """<!doctype html><html><head>
<META HTTP-EQUIV=" Content-Security-Policy " CONTENT="img-src 'self'">
<meta http-equiv=refresh content=1><meta name=Referrer content=no-referrer>
<!-- <script src=/commented.js></script> -->
<script>document.write("<script src=/written.js>")</script>
<script src=" /a.js " integrity=sha384-x src=/second.js></script>
<template><script src=/template.js></script></template>
<script src=//b.example/c.js></script>"""


def test_policies_and_scripts_are_found() -> None:
    found = page.read(HTML)
    assert found.policies == ["img-src 'self'"]
    assert found.referrer == "no-referrer"
    assert found.scripts == [
        page.Script("", ""),
        page.Script("/a.js", "sha384-x"),
        page.Script("//b.example/c.js", ""),
    ]


def test_a_base_decides_where_scripts_come_from() -> None:
    found = page.read("<base href=https://cdn.example/x/><base href=/y/><script src=a.js></script>")
    assert found.scripts == [page.Script("https://cdn.example/x/a.js", "")]


@pytest.mark.parametrize("broken", ["<![x", "<![x y]>", "<!a [<!b", "<!x[[", "<![[a"])
def test_what_stands_before_a_broken_declaration_is_read(broken: str) -> None:
    assert page.read(f"<script src=/a.js></script>{broken}").scripts == [page.Script("/a.js", "")]


@given(st.text(alphabet="<>/!-=\"' scriptmea[]x\n&#;", max_size=200))
def test_any_text_can_be_read(html: str) -> None:
    page.read(html)
