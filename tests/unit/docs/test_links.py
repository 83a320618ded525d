"""Links lead somewhere, and what is called a file is one."""

from __future__ import annotations

import re

import pytest

from tests.unit.docs.pages import BY_NAME, PAGES, ROOT, Page, slug

_FILE = re.compile(r"(?:gateway|tests|config|docs|bench)/[\w./-]+")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Page) -> None:
    for link in page.links:
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        assert target.exists(), f"{page.name}: {link} leads nowhere"
        if anchor:
            there = BY_NAME[str(target.relative_to(ROOT))].anchors
            assert anchor in there, f"{page.name}: {link} names no heading of {sorted(there)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_called_a_file_is_one(page: Page) -> None:
    for code in page.code:
        if _FILE.fullmatch(code) and code != "tests/chaos":
            assert (ROOT / code).exists(), f"{page.name}: `{code}` does not exist"


def test_every_page_can_be_reached_from_the_front_door() -> None:
    reached, ahead = set(), [BY_NAME["README.md"]]
    while ahead:
        page = ahead.pop()
        if page.name in reached:
            continue
        reached.add(page.name)
        targets = {(page.path.parent / link.partition("#")[0]).resolve() for link in page.links}
        ahead += [other for other in PAGES if other.path in targets]
        if page.path.parent.name == "decisions":  # numbered: who has one has all
            ahead += [other for other in PAGES if other.path.parent == page.path.parent]
    assert reached == set(BY_NAME)


def test_decisions_are_numbered_without_a_gap() -> None:
    decisions = [page for page in PAGES if page.path.parent.name == "decisions"]
    for number, page in enumerate(decisions, start=1):
        assert page.path.name.startswith(f"{number:04d}-")
        assert page.text.startswith(f"# {number}. ")
        assert {"context", "decision", "consequences"} <= page.anchors


def test_anchors_are_made_as_readers_meet_them() -> None:
    assert slug("Why it is so: `a_b`, and more") == "why-it-is-so-a_b-and-more"
