"""The pages a reader sees, taken apart: fences, code in lines, links, headings, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[3]
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Fence:
    """A block of code; `line` is that of its first line of text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """A Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without blocks of code."""
        return _FENCE.sub("", self.text)

    @cached_property
    def sentences(self) -> str:
        """The prose without its line breaks."""
        return " ".join(self.prose.split())

    @cached_property
    def fences(self) -> list[Fence]:
        return [
            Fence(self.name, self.text.count("\n", 0, found.start()) + 2, found["language"], found["text"])
            for found in _FENCE.finditer(self.text)
        ]

    @cached_property
    def code(self) -> list[str]:
        """What stands between backticks in lines of prose and tables."""
        return _CODE.findall(self.prose)

    @cached_property
    def links(self) -> list[str]:
        return _LINK.findall(_CODE.sub("", self.prose))

    @cached_property
    def anchors(self) -> set[str]:
        """Headings, as GitHub and most others make anchors of them."""
        return {slug(heading) for heading in _HEADING.findall(self.prose)}

    def table(self, first_heading: str) -> list[dict[str, str]]:
        """The rows of the table whose first column has this heading."""
        lines = iter(self.prose.splitlines())
        for line in lines:
            headings = _cells(line)
            if headings and headings[0] == first_heading:
                next(lines)
                return [dict(zip(headings, row, strict=True)) for row in _rows(lines)]
        raise AssertionError(f"{self.name} has no table whose first column is {first_heading!r}")


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _rows(lines: Iterator[str]) -> Iterator[list[str]]:
    for line in lines:
        cells = _cells(line)
        if not cells:
            return
        yield cells


def _cells(line: str) -> list[str]:
    if not line.startswith("|"):
        return []
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


PAGES = [
    Page(path)
    for path in (
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    )
]
BY_NAME = {page.name: page for page in PAGES}
FENCES = [fence for page in PAGES for fence in page.fences]
EVERYTHING = "\n".join(page.text for page in PAGES)


def fences_of(*languages: str) -> list[Fence]:
    return [fence for fence in FENCES if fence.language in languages]


def source_texts() -> Iterator[str]:
    """The text of every file of the package."""
    for path in (ROOT / "gateway").rglob("*.py"):
        yield path.read_text(encoding="utf-8")
