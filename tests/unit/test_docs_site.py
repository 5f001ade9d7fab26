"""The site without Sphinx: every page in the navigation, links and anchors resolve, quotations are in the source."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))
from sitebuild.messages import messages  # noqa: E402

from bittailor.runs.forms import ResultForm, RunForm, Solution  # noqa: E402

PAGES = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("docs/tutorials/*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"^(```|~~~).*?^\1", re.S | re.M)
HOUSE = re.compile(r"\b(house|door|rooms)\b", re.I)


def prose(path: Path) -> str:
    return CODE.sub("", path.read_text())


def slug(heading: str) -> str:
    """The anchor of a heading, as forges and MyST make it."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#{1,4} (.*)$", prose(path), re.M)}


def test_every_page_is_in_the_navigation_once() -> None:
    index = ROOT / "docs" / "index.md"
    listed = [line for block in re.findall(r"```{toctree}\n(.*?)```", index.read_text(), re.S)
              for line in block.splitlines() if line and not line.startswith(":")]
    pages = [path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in PAGES if path != index]
    assert sorted(listed) == sorted([*pages, "../CONTRIBUTING", "../SECURITY", "../CHANGELOG"])


@pytest.mark.parametrize("page", [p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *PAGES]])
def test_links_and_anchors_resolve(page: str) -> None:
    path = ROOT / page
    for target, anchor in LINK.findall(prose(path)):
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), f"{page} links to {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{page}: {target} has no heading #{anchor}"


@pytest.mark.parametrize("quoted", re.findall(r"^> (.+)$", (ROOT / "docs/troubleshooting.md").read_text(), re.M))
def test_a_message_of_the_troubleshooting_page_is_in_the_source(quoted: str) -> None:
    assert any(quoted in message for message in messages()), quoted


@pytest.mark.parametrize("form", [RunForm, ResultForm, Solution])
def test_the_page_of_files_names_every_key(form: type) -> None:
    text = (ROOT / "docs" / "files.md").read_text()
    for field in dataclasses.fields(form):
        assert f"`{field.name}`" in text, f"docs/files.md does not say what {field.name} is"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_use_the_words_of_the_field(path: Path) -> None:
    for line in prose(path).splitlines():
        assert not (match := HOUSE.search(line)), f"{path.name} says '{match[0]}': {line}"


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="`make docs` installs Sphinx")
def test_the_hooks_of_the_site_load() -> None:
    from sitebuild.hooks import ANYTHING, documented, signature

    known = documented()
    assert known["Run"] == "bittailor.Run"
    assert known["DataError"] == "bittailor.errors.DataError"
    shown = signature(None, "", "", None, None, "(x: ~numpy.ndarray[tuple[~typing.Any, ...], "  # type: ignore[arg-type]
                      "~numpy.dtype[~numpy.float32]])", None)
    assert shown == ("(x: NDArray[float32])", None)
    assert ANYTHING.pattern
