"""The report in a real browser, where there is one: clicks, keys, limits, light and dark, phone and print."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

import bittailor as bt

test_report = pytest.importorskip("test_report")
_file = Path(__file__).resolve().parents[2] / "tools" / "browser.py"
_spec = importlib.util.spec_from_file_location("bittailor_browser", _file)
assert _spec is not None
assert _spec.loader is not None
driver = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = driver
_spec.loader.exec_module(driver)
Browser = driver.Browser

pytestmark = pytest.mark.skipif(driver.found() is None, reason="no chromium here: pages are not looked at in a browser")

run = test_report.run
page = test_report.page
ROWS = "[...document.querySelectorAll('#front-table tr[data-id^=s]')].filter((r) => !r.hidden).map((r) => r.dataset.id)"
DIM = "[...document.querySelectorAll('#chart .point.dim')].map((p) => p.dataset.id)"


def widths(seen: Any, column: int = 2) -> list[int]:
    """The widths in the site table."""
    cells = f"document.querySelectorAll('#sites tbody td:nth-child({column}) .bits')"
    found: list[int] = seen.value(f"[...{cells}].map((n) => Number(n.textContent))")
    return found


def of(run: bt.Run, solution: bt.Solution) -> list[int]:
    """The same, as the run has them."""
    return [solution.widths[site.name] for site in test_report.made.site_rows(run.network.graph)]


def drawn(seen: Any, where: str = "#drawings") -> dict[int, int]:
    """Site -> the width that the drawings show."""
    pairs = seen.value(f"[...document.querySelectorAll('{where} [data-site]')].map((n) => "
                       "[Number(n.dataset.site), Number(n.querySelector('.bits').textContent)])")
    return dict(pairs)


def test_front_table_limits_and_drawing_follow_each_other(run: bt.Run, page: Path) -> None:
    last = len(run.front) - 1
    with Browser() as browser:
        seen = browser.open(page, 1400, 1000, hash_=f"#s{last}")
        assert widths(seen) == of(run, run.front[last])
        assert widths(seen, 3) == of(run, run.baseline(8)), "compared with homogeneous 8 bit"
        assert drawn(seen) == dict(enumerate(of(run, run.front[last])))
        # a click on the front chooses, and the chart stays where it is
        seen.middle("#chart")
        before = seen.value("scrollY")
        point = "document.querySelector('#chart .point[data-id=s0]').getBoundingClientRect()"
        box = seen.value(f"(() => {{ const r = {point}; return [r.left + r.width / 2, r.top + r.height / 2]; }})()")
        seen.mouse("mousePressed", *box)
        seen.mouse("mouseReleased", *box)
        assert seen.value("location.hash") == "#s0"
        assert seen.value("scrollY") == before
        assert widths(seen) == of(run, run.front[0])
        # a limit that is typed: table and chart follow
        middle = sorted(s.values["flash"] for s in run.front)[len(run.front) // 2] / 1024
        field = "document.querySelector('[aria-label$=\"[KiB]: at most\"]')"
        seen.value(f"(() => {{ {field}.value = {middle}; {field}.dispatchEvent(new Event('input')); }})()")
        kept = [f"s{i}" for i, s in enumerate(run.front) if s.values["flash"] / 1024 <= middle]
        assert seen.value(ROWS) == kept
        assert {name for name in seen.value(DIM) if name[0] == "s"} == (
            {f"s{i}" for i in range(len(run.front))} - set(kept))
        seen.click("#clear")
        assert len(seen.value(ROWS)) == len(run.front)
        assert seen.value("window.hacked ?? null") is None
        assert seen.problems == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1400, False), (1400, True)])
def test_nothing_overflows_and_everything_can_be_read(page: Path, width: int, dark: bool) -> None:
    with Browser() as browser:
        seen = browser.open(page, width, 900, dark=dark)
        assert seen.value("innerWidth") == width
        assert seen.value("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
        assert seen.problems == []
        # the test column is in sight on a phone as well
        assert seen.value("""(() => { const t = document.querySelector('table.summary');
            const k = [...t.tHead.rows[0].cells].findIndex((c) => c.textContent.startsWith('test'));
            return t.tBodies[0].rows[1].cells[k].getBoundingClientRect().right; })()""") <= width
        # no white slabs: what is behind a figure is the page's paper
        patch, card = (seen.value(f"getComputedStyle(document.querySelector('{what}')).{how}")
                       for what, how in (("#figure-fronts path", "fill"), (".card", "backgroundColor")))
        assert patch == card
        ink = [sum(map(int, seen.value(f"getComputedStyle(document.querySelector('{what}')).{how}")[4:-1].split(",")))
               for what, how in (("#figure-fronts text", "fill"), ("#chart text", "fill"), ("#drawings text", "fill"))]
        assert all(tone > 380 for tone in ink) if dark else all(tone < 380 for tone in ink)


@pytest.mark.slow
def test_keys_rectangle_comparison_and_command(run: bt.Run, page: Path) -> None:
    with Browser() as browser:
        seen = browser.open(page, 1400, 1000, hash_="#s0")
        seen.value("document.getElementById('chart').focus()")
        before = seen.value("document.getElementById('pick').value")
        seen.press("ArrowLeft")
        after = seen.value("document.getElementById('pick').value")
        assert before != after, "arrow keys walk along the front"
        assert seen.value("document.getElementById('said').textContent").startswith(
            seen.value("document.getElementById('solution-title').textContent").split(",")[0]), "it is said aloud"
        # a rectangle over the smaller half of the front
        seen.middle("#chart")
        half = sorted(range(len(run.front)), key=lambda i: run.front[i].values["flash"])[len(run.front) // 2]
        edge = seen.value(f"document.querySelector('#chart .point[data-id=s{half}]').getBoundingClientRect().left")
        frame = seen.value("(() => { const r = document.querySelector('#chart svg').getBoundingClientRect();"
                           "return [r.left, r.top, r.width, r.height]; })()")
        seen.drag((frame[0] + 60, frame[1] + 2), (edge, frame[1] + frame[3] - 50))
        kept, dim = seen.value(ROWS), set(seen.value(DIM))
        assert 0 < len(kept) < len(run.front)
        assert not dim & set(kept)
        inside = seen.value("""(() => { const f = document.querySelector('[aria-label$="[KiB]: at most"]');
            return Number(f.value); })()""")
        assert kept == [f"s{i}" for i, s in enumerate(run.front) if s.values["flash"] / 1024 <= inside]
        seen.press("Escape")
        assert len(seen.value(ROWS)) == len(run.front)
        # two side by side
        seen.value("location.hash = '#s0'")
        seen.wait("document.getElementById('pick').value === 's0'")
        other = f"s{len(run.front) - 1}"
        seen.click(f"tr[data-id={other}] button")
        assert seen.value("document.getElementById('other').value") == other
        assert widths(seen, 3) == of(run, run.front[-1])
        assert drawn(seen, "#drawings-other") == dict(enumerate(of(run, run.front[-1])))
        differing = seen.value("document.querySelectorAll('#sites tr.differs').length")
        pairs = zip(of(run, run.front[0]), of(run, run.front[-1]), strict=True)
        assert differing == sum(a != b for a, b in pairs)
        # the command that exports what is chosen
        assert seen.value("document.getElementById('export').textContent") == (
            f"bittailor export {run.path} firmware --pick 0")
        seen.click("#copy")
        seen.wait("document.getElementById('copied').textContent !== ''")
        # the table is sorted by a column
        seen.click("#front-table thead th:nth-child(2) button")
        order = seen.value("[...document.querySelectorAll('#front-table tr[data-id^=s]')].map((r) => "
                           "Number(r.cells[1].textContent))")
        assert order == sorted(order)
        assert seen.problems == []


@pytest.mark.slow
def test_it_prints(page: Path) -> None:
    with Browser() as browser:
        seen = browser.open(page, 1100, 900, print_=True, dark=True)
        assert seen.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert seen.value("getComputedStyle(document.getElementById('limits')).display") == "none"
        assert seen.value("document.querySelector('#front-table .scroll').scrollHeight <= "
                          "document.querySelector('#front-table .scroll').clientHeight + 1"), "all rows are printed"
        import base64

        assert base64.b64decode(seen.send("Page.printToPDF")["data"]).startswith(b"%PDF")


@pytest.mark.slow
def test_several_runs_in_one_chart(run: bt.Run, tmp_path: Path) -> None:
    other = test_report.small_run(tmp_path / "other", test_report.small_network(), objectives=("error", "stored"))
    page = bt.write_comparison([run, other], tmp_path / "compared.html")
    with Browser() as browser:
        seen = browser.open(page, 390, 844, dark=True)
        assert seen.value("document.documentElement.scrollWidth") <= 390
        shown = set(seen.value("[...document.querySelectorAll('#chart .point')].map((p) => p.dataset.id)"))
        assert {f"{i}:s{k}" for i, one in enumerate((run, other)) for k in range(len(one.front))} <= shown
        seen.value("document.getElementById('chart').focus()")
        for _ in range(3):
            seen.press("ArrowRight")
        assert "bittailor export " in seen.value("document.getElementById('export').textContent")
        assert seen.problems == []
