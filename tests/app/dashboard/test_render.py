"""Templates and words: strict, escaping, complete, with no script or style inside."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from insight_cloud.app.dashboard import assets, markdown, render
from tests.app.dashboard import sample

VOID = {"meta", "link", "input", "br", "hr", "wbr", "img", "path", "use"}
FILES = ("app.css", "app.js", "icons.svg", "favicon.svg")


class Checked(HTMLParser):
    """Reads a page and keeps what is wrong with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.wanted: list[str] = []
        self.files: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "style" or (tag == "script" and "src" not in found):
            self.wrong.append(f"inline {tag}")
        self.wrong += [f"{tag} {name}" for name in found if name == "style" or name[:2] == "on"]
        self.ids += [found["id"] or ""] if "id" in found else []
        for name in ("for", "aria-labelledby", "aria-describedby"):
            self.wanted += (found.get(name) or "").split()
        self.files += [found[name] or "" for name in ("src", "href") if found.get(name)]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"stray </{tag}>")


@pytest.mark.parametrize("name", sample.PAGES)
def test_a_page_is_well_formed_and_holds_no_script_or_style(name: str) -> None:
    page = Checked(render.page(*sample.PAGES[name]))
    assert page.wrong == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert set(page.wanted) <= set(page.ids)
    ours = [file.partition("#")[0] for file in page.files if file.startswith("/static/")]
    assert ours
    assert set(ours) <= {assets.address(name) for name in FILES}


@pytest.mark.parametrize("name", sample.PAGES)
def test_every_icon_is_in_the_sprite(name: str) -> None:
    sprite = assets.named("icons.svg").body.decode()
    used = set(re.findall(r"icons\.\w+\.svg#(\w+)", render.page(*sample.PAGES[name])))
    assert used
    assert used <= set(re.findall(r'<symbol id="(\w+)"', sprite))


@given(st.text(max_size=60))
def test_text_from_outside_is_never_markup(text: str) -> None:
    frame = sample.frame(text, path=text, notice=None)
    line = replace(sample.ISSUES[0], message=text, rule=text, place=text, tool=text, href=text)
    view = replace(sample.ISSUES_PAGE, issues=(line,))
    clean = Checked(render.page("issues.html", sample.frame("x"), view))
    page = Checked(render.page("issues.html", frame, view))
    assert page.wrong == []
    assert page.open == clean.open


@given(st.text(max_size=200))
def test_a_help_text_is_never_markup_of_its_own(text: str) -> None:
    checked = Checked(str(markdown.render(text)))
    assert checked.wrong == []
    assert not [link for link in checked.files if link.lower().startswith(("javascript", "data"))]


def test_a_help_text_keeps_what_is_harmless() -> None:
    html = markdown.render("# Title\n\n**bold** [x](https://e.org) <b>no</b> ![p](https://e.org/p)")
    assert "<h3>Title</h3>" in html
    assert "<strong>bold</strong>" in html
    assert '<a href="https://e.org" rel="noopener noreferrer nofollow">x</a>' in html
    assert "&lt;b&gt;no&lt;/b&gt;" in html
    assert "<img" not in html
    assert "javascript" not in markdown.render("<https://e.org>").lower()
    assert 'href="javascript' not in markdown.render("[x](javascript:alert(1))")


@pytest.mark.parametrize(
    ("past", "said"),
    [
        (timedelta(seconds=-3), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 min ago"),
        (timedelta(minutes=119), "1 h ago"),
        (timedelta(hours=47), "1 day ago"),
        (timedelta(days=59), "59 days ago"),
        (timedelta(days=60), "2 months ago"),
        (timedelta(days=729), "24 months ago"),
        (timedelta(days=730), "2 years ago"),
    ],
)
def test_an_age_is_said_in_its_largest_unit(past: timedelta, said: str) -> None:
    assert render.ago(sample.NOW - past, sample.NOW) == said


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (timedelta(days=90, seconds=-1), "in 90 days"),
        (timedelta(seconds=1), "in 1 day"),
        (timedelta(0), "expired"),
    ],
)
def test_an_expiry_counts_the_days_to_come(rest: timedelta, said: str) -> None:
    token = replace(sample.TOKENS[0], expires_at=sample.NOW + rest)
    view = replace(sample.ACCOUNT, tokens=(token,), sessions=())
    assert f">{said}</time>" in render.page("account.html", sample.frame("x"), view)


@given(st.text(max_size=80))
def test_a_path_breaks_without_losing_a_letter(text: str) -> None:
    assert render.breakable(text).replace("<wbr>", "") == escape(text)


def test_backticks_become_code_and_nothing_more() -> None:
    assert render.prose("`a<b` and ` alone") == "<code>a&lt;b</code> and ` alone"


def test_files_have_a_hash_in_their_address_and_small_size() -> None:
    for name in FILES:
        assert re.fullmatch(r"/static/\w+\.[0-9a-f]{12}\.\w+", assets.address(name))
    assert len(assets.named("app.js").body) <= 6 * 1024
    sent = (assets.named(name).encodings["gzip"] for name in ("app.css", "app.js"))
    assert sum(map(len, sent)) < 12_000


def test_nothing_is_loaded_from_elsewhere() -> None:
    css = assets.named("app.css").body.decode()
    assert "url(" not in css
    assert "@import" not in css
