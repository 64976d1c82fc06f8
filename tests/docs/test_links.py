"""Every link between pages leads somewhere, and every page can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import pages
from tests.docs.pages import ROOT


@pytest.mark.parametrize("page", pages.all_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [target for target in pages.links(page) if not _leads_somewhere(page, target)]
    assert broken == []


def _leads_somewhere(page: Path, target: str) -> bool:
    if target.startswith(("https://", "mailto:")):
        return True
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists() or not file.is_relative_to(ROOT):
        return False
    return not anchor or anchor in pages.anchors(file)


def test_a_broken_link_is_noticed() -> None:
    page = ROOT / "docs/index.md"
    assert not _leads_somewhere(page, "nowhere.md")
    assert not _leads_somewhere(page, "reference/errors.md#nowhere")
    assert _leads_somewhere(page, "reference/errors.md#errors")


def test_every_page_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs/index.md"
    seen, waiting = {index}, [index]
    while waiting:
        page = waiting.pop()
        for target in pages.links(page):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.exists() and file not in seen:
                seen.add(file)
                waiting.append(file)
    unreached = set((ROOT / "docs").rglob("*.md")) - seen
    assert sorted(str(page.relative_to(ROOT)) for page in unreached) == []
