"""The documentation as data: its pages, examples and links, so that tests can ask about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "docs/reference"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)$")
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+) -->")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (?P<title>.+)$")


@dataclass(frozen=True, slots=True)
class Example:
    """A fenced block. `not_run` is the reason that stands in the comment before it, if any."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def steps(self) -> list[tuple[str, list[str]]]:
        """The commands of a console example, each with the output shown below it."""
        steps: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                steps.append((line.removeprefix("$ "), []))
            elif steps and steps[-1][0].endswith("\\"):
                steps[-1] = (steps[-1][0].removesuffix("\\") + line.strip(), [])
            else:
                assert steps, f"{self}: an example begins with `$ command`"
                steps[-1][1].append(line)
        return steps


def all_pages() -> list[Path]:
    """Every page that people read here, generated ones too."""
    top = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "changes/README.md")
    return [*(ROOT / name for name in top), *sorted((ROOT / "docs").rglob("*.md"))]


def examples(page: Path) -> Iterator[Example]:
    """The fenced blocks of a page."""
    block: list[str] | None = None
    language, indent, start, reason = "", 0, 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if block is not None and line.strip() == "```":
            yield Example(page, start, language, "\n".join(block), reason)
            block, reason = None, ""
        elif block is not None:
            block.append(line[indent:])
        elif fence is not None:
            block, start = [], number
            language, indent = fence["language"], len(fence["indent"])
        elif note := _NOT_RUN.search(line):
            reason = note["reason"]
        elif line.strip():
            reason = ""
    assert block is None, f"{page}: the block that begins at line {start} has no end"


def without_examples(page: Path) -> str:
    """The prose of a page."""
    inside, kept = False, []
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def links(page: Path) -> list[str]:
    """The targets of a page's links."""
    return [found["target"] for found in _LINK.finditer(without_examples(page))]


def anchors(page: Path) -> set[str]:
    """The names under which the headings of a page can be reached."""
    titles = (_HEADING.match(line) for line in without_examples(page).splitlines())
    return {_anchor(found["title"]) for found in titles if found}


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
