"""The report: files, numbers, units, escaping, odd runs, and the page in a real browser where there is one."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittailor as bt
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.graph import Graph
from bittailor.errors import BittailorError, FileError
from bittailor.evaluate.evaluator import objectives_with
from bittailor.evaluate.metrics import METRICS
from bittailor.runs import Origin

for library in ("matplotlib", "sklearn"):
    pytest.importorskip(library, reason=f"{library} is not installed: no reports here")

from bittailor import report  # noqa: E402
from bittailor.report import facts as made  # noqa: E402
from bittailor.report import words  # noqa: E402

EVIL = '</script><img src=x onerror="window.hacked=1">'
TITLE = '<b onmouseover=alert(1)>"x" & $y$ </script><script>window.hacked=2</script>'
LONG = "a_very_long_site_name.that_goes.on_and_on.for.ever.and.a.day.W"
FIGURES = ("fronts", "generations", "hypervolume", "tsne", "widths")


def small_network(outputs: int = 3) -> bt.Network:
    """A GRU whose layer and weight have names that a page must escape and a figure must shorten."""
    rng = np.random.default_rng(0)
    b = Builder()
    h = add_layer(b, CELLS["gru"], EVIL, b.input("input", 2), 4)
    graph = b.graph(b.linear("head.out", b.op("last", "last", h), LONG, outputs, "head.b"))
    return bt.Network(graph, {s.name: rng.normal(size=s.shape) for s in graph.sites.values()
                              if s.kind in ("weight", "bias")})


def small_run(out: Path, network: bt.Network, regression: bool = False, **options: Any) -> bt.Run:
    rng = np.random.default_rng(1)

    def part() -> bt.Data:
        x = rng.normal(size=(30, 4, 2)).astype(np.float32)
        y = network(x)
        return bt.Data(x, y.astype(np.float32) if regression else np.where(rng.random(30) < 0.1, 0, y.argmax(-1)))

    return bt.run_search(network, bt.Splits(part(), part(), part()), out,
                         bt.SearchSpec(metric="mse" if regression else "error", engine="reference", workers=1,
                                       search=bt.SearchSettings(population=16, generations=3, seed=2), **options),
                         origin=Origin(title=TITLE))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bt.Run:
    return small_run(tmp_path_factory.mktemp("report") / "run", small_network())


@pytest.fixture(scope="module")
def page(run: bt.Run) -> Path:
    return report.write_report(run)


def changed(run: bt.Run, folder: Path, change: Callable[[dict[str, Any]], None]) -> bt.Run:
    """A copy of a run whose result.json was edited by hand."""
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("report"))
    file = folder / "result.json"
    result = json.loads(file.read_text())
    result.pop("sha256", None)
    change(result)
    file.write_text(json.dumps(result))
    return bt.Run.open(folder)


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and the text of its scripts by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str | None, str] = {}
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[self.tags[-1][1].get("id")] = data
        elif self.cdata_elem is None:
            self.text += data.replace("\xa0", " ")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def test_all_files_are_there_and_figures_can_be_read(run: bt.Run, page: Path) -> None:
    from matplotlib.image import imread

    assert page == run.path / "report" / "index.html"
    for name in FIGURES:
        image = imread(page.parent / f"{name}.png")
        assert min(image.shape[:2]) > 300
        assert image[..., :3].std() > 0.02
    assert {f.name for f in page.parent.iterdir()} == {
        "index.html", *(f"{name}.{ending}" for name in FIGURES for ending in ("png", "svg")),
        "front.csv", "picks.csv", "homogeneous.csv", "evaluations.csv", "history.csv", "retrained.csv"}


def test_tables_hold_every_number_of_the_result(run: bt.Run, page: Path) -> None:
    picks = list(run.picks.values())
    for name, solutions in (("front", run.front), ("picks", picks), ("homogeneous", run.homogeneous)):
        table = rows(page.parent / f"{name}.csv")
        assert len(table) == len(solutions) > 0
        for i, (row, solution) in enumerate(zip(table, solutions, strict=True)):
            if name == "front":
                assert int(row["index"]) == i
            elif name == "picks":
                assert row["pick"] == list(run.picks)[i]
            else:
                assert solution.key == f"homogeneous {row['bits']}"
            assert row["key"] == solution.key
            assert float(row["error"]) == solution.values["error"]
            assert float(row["size_bits"]) == solution.values["size"]
            assert float(row["stored_bytes"]) == solution.values["stored"]
            assert float(row["test"]) == solution.test
            widths = {site: int(row[f"bits {site}"]) for site in solution.widths}
            assert widths == dict(solution.widths)
    history = rows(page.parent / "history.csv")
    assert [float(row["hypervolume"]) for row in history] == [g["hypervolume"] for g in run.result["history"]]
    assert [float(row["best_flash_bytes"]) for row in history] == [g["best"]["flash"] for g in run.result["history"]]
    with run.store() as store:
        stored = list(store.rows())
    evaluations = rows(page.parent / "evaluations.csv")
    assert [row["key"] for row in evaluations] == [row.key for row in stored]
    assert [float(row["error"]) for row in evaluations] == [(row.outcome.values or {})["error"] for row in stored]


def test_the_page_loads_nothing_and_escapes_everything(run: bt.Run, page: Path) -> None:
    found = Tags(page.read_text())
    names = [tag for tag, _ in found.tags]
    assert "link" not in names
    assert "iframe" not in names
    assert names.count("script") == 2, "data and the page's own; nothing that a title brought in"
    for tag, attributes in found.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        for reference in ("href", "xlink:href"):
            assert (attributes.get(reference) or "#").startswith(("#", "data:"))
    assert {a.get("id") for tag, a in found.tags if tag == "figure"} == {f"figure-{name}" for name in FIGURES}
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert len(ids) == len(set(ids)), "no id twice, of figures neither"
    assert "url(" not in "".join(re.findall(r"<style>.*?</style>", page.read_text(), re.S))
    policy = next(a["content"] or "" for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    data = json.loads(found.scripts["data"])
    assert {site["name"] for site in data["sites"]} == {site.name for site in run.network.graph.free}
    assert TITLE in found.text
    for solution, item in zip(made.gather(run).solutions, data["solutions"], strict=True):
        assert item["values"] == {**solution.values, "test": solution.test}
        assert dict(zip((s["name"] for s in data["sites"]), item["widths"], strict=True)) == dict(solution.widths)
        assert sum(item["account"].values()) == item["total"] == solution.values["stored"]


def test_the_headline_says_what_the_run_says(run: bt.Run, page: Path) -> None:
    found, base = run.picks["smallest"], run.baseline(8)
    facts = made.gather(run)
    text = " ".join(words.headline(facts))
    assert f"{100 * (1 - found.values['flash'] / base.values['flash']):.0f} % smaller" in text
    assert f"{made.number(found.values['error'])} % against {made.number(base.values['error'])} %" in text
    assert words.headline(facts)[0] in Tags(page.read_text()).text


def test_a_test_error_that_doubles_is_in_the_headline(run: bt.Run, tmp_path: Path) -> None:
    def doubled(result: dict[str, Any]) -> None:
        base = next(h for h in result["homogeneous"] if h["key"] == "homogeneous 8")
        base["test"] = 10.0
        for item in result["picks"].values():
            item |= {"test": 20.0, "compared": [{
                "part": "test", "base": "8bit", "difference": 10.0, "low": 2.0, "high": 18.0, "upper": 17.0,
                "items": 300, "method": "betting"}]}

    changed_run = changed(run, tmp_path / "doubled", doubled)
    first = words.headline(made.gather(changed_run))[0]
    assert "on test data is 20.0 %, 2.0 times that of 8 bit (10.0 %)" in first
    assert "It is worse than 8 bit on test data, with 95 % confidence." in first
    assert "no worse" not in first
    text = report.write_report(changed_run).read_text()
    assert 'class="answer at-a-price"' in text


def test_differences_are_paired_and_have_intervals(run: bt.Run, tmp_path: Path) -> None:
    def worse(result: dict[str, Any]) -> None:
        result["items"] |= {"select": 30, "confirm": 0, "test": 30}
        for item in [*result["front"], *result["picks"].values()]:
            item["compared"] = [{"part": "test", "base": "8bit", "difference": 10.0, "low": -3.25, "high": 22.0,
                                 "upper": 25.0, "items": 30, "method": "betting"}]

    facts = made.gather(changed(run, tmp_path / "worse", worse))
    said = " ".join(words.headline(facts))
    assert "On test data it differs from 8 bit by +10 points (-3.2 to +22 with 95 % confidence, 30 items)." in said
    small = " ".join(words.small_print(facts))
    assert "one of the 30 selection items is worth 3.3 %" in small
    assert "0 validation items were kept from it to confirm" in small
    page = Tags(report.write_report(facts.run).read_text())
    assert "+10 (−3.2 to +22)" in page.text
    known = json.loads(page.scripts["data"])["solutions"]
    base = facts.base.test
    assert base is not None
    for solution in (s for s in known if s["id"].startswith("s")):
        assert solution["against"]["test"] == [10.0, -3.25, 22.0, 30]
        assert solution["intervals"]["test"] == [base - 3.25, base + 22.0]


def test_a_certificate_is_said_in_one_sentence(run: bt.Run, tmp_path: Path) -> None:
    def certified(result: dict[str, Any]) -> None:
        result["picks"] = {"certified": result["picks"]["smallest"], **result["picks"]}
        result["certificate"] = {"margin": 0.5, "confidence": 0.95, "items": 4000, "pick": "x", "method": "betting",
                                 "reason": "", "reachable": 0.3, "items_needed": 4000, "against": "8bit", "tested": 3}

    changed_run = changed(run, tmp_path / "certified", certified)
    said = words.headline(made.gather(changed_run))
    assert said[0].startswith("The certified")
    assert " choice, " in said[0]
    assert said[1] == ("Certified on 4,000 items that no search saw: at most 0.5 points worse than homogeneous 8 bit, "
                       "with 95 % confidence (betting).")
    assert changed_run.holds == "certified"
    report.write_report(changed_run)


def test_a_stopped_run_says_so(run: bt.Run, tmp_path: Path) -> None:
    def stop(result: dict[str, Any]) -> None:
        result |= {"interrupted": True, "message": "stopped after 9 of 48 evaluations", "history": []}
        result["float"]["test"] = None
        for item in [*result["front"], *result["picks"].values(), *result["homogeneous"]]:
            item["test"] = None

    out = tmp_path / "elsewhere"
    page = report.write_report(changed(run, tmp_path / "stopped", stop), out)
    text = Tags(page.read_text()).text
    assert "The search was stopped after 9 of 48 evaluations. Test data have not been used." in text
    assert "No generation was finished." in text
    assert not (out / "hypervolume.png").exists()
    assert {row["test"] for row in rows(out / "front.csv")} == {""}


def test_an_empty_front_says_why(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", small_network(), constraints=["size<=1B"])
    page = report.write_report(run)
    text = Tags(page.read_text()).text
    assert "The front is empty: none of" in text
    assert "size<=1B" in text
    assert (page.parent / "front.csv").read_text().count("\n") == 1


def test_three_objectives_regression_and_a_front_of_one(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", small_network(1), regression=True, objectives=("error", "size", "stored"))
    page = report.write_report(run)
    assert {"pairs.png", "parallel.png"} <= {f.name for f in page.parent.iterdir()}
    assert "mean squared error" in Tags(page.read_text()).text

    def one(result: dict[str, Any]) -> None:
        result["front"], result["history"] = result["front"][:1], result["history"][:1]

    page = report.write_report(changed(run, tmp_path / "one", one))
    assert len(rows(page.parent / "front.csv")) == 1


def test_an_earlier_report_is_overwritten_and_a_file_in_the_way_is_not(run: bt.Run, page: Path, tmp_path: Path) -> None:
    before = (page.parent / "front.csv").read_bytes()
    (page.parent / "front.csv").write_text("old")
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(FileError, match="cannot write"):
        report.write_report(run, file)
    assert file.read_text() == "mine"
    assert report.write_report(run) == page
    assert (page.parent / "front.csv").read_bytes() == before


def test_a_report_stopped_half_way_is_written_again(
    run: bt.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bittailor.report import figures

    def stop(facts: made.Facts) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(figures, "draw", stop)
        with pytest.raises(KeyboardInterrupt):
            report.write_report(run, out)
    assert (out / "front.csv").exists()
    assert "was not finished" in (out / "index.html").read_text()
    assert "was not finished" not in report.write_report(run, out).read_text()


def test_a_missing_library_is_named(run: bt.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "NEEDED", ("matplotlib", "no_such_library"))
    with pytest.raises(BittailorError, match=r"needs no_such_library.*bittailor\[report\]"):
        report.write_report(run)


@pytest.mark.parametrize(("value", "text"), [
    (None, "–"), (0.0, "0"), (1.74216, "1.74"), (0.8333, "0.833"), (4.0, "4.00"), (99.96, "100"), (12345.6, "12346"),
    (0.0012345, "0.00123"), (1e-7, "1e-07"), (-2.5, "-2.50"),
])
def test_numbers_as_people_read_them(value: float | None, text: str) -> None:
    assert made.number(value) == text


def test_units_come_from_the_tables() -> None:
    classes, squares, right = (objectives_with((), METRICS[n]) for n in ("classification_error", "mse", "accuracy"))
    assert made.axis(classes["size"]).text(10844.0) == "1.32 KiB"
    assert made.axis(classes["stored"]).text(2048.0) == "2.00 KiB"
    assert made.axis(classes["error"]).label == "selection classification error [%]"
    assert made.axis(squares["error"]).label == "selection mean squared error"
    assert made.axis(right["error"]).label == "selection accuracy [%], more is better"
    columns = [made.axis(classes[n]).column for n in ("error", "size", "stored")]
    assert columns == ["error", "size_bits", "stored_bytes"]


def test_axes_are_logarithmic_where_values_span_decades() -> None:
    from matplotlib.figure import Figure

    from bittailor.report.style import nice_ticks, scale

    for values, kind in (([1.0, 2.0], "linear"), ([1.0, 90.0], "log"), ([0.0, 1.0, 90.0], "symlog"), ([], "linear"),
                         ([0.0, 0.0], "linear")):
        ax = Figure().subplots()
        scale(ax, "y", values)
        assert ax.get_yscale() == kind
        if values:
            assert ax.get_ylim()[0] < min(values) <= max(values) < ax.get_ylim()[1]
    assert nice_ticks(1, 1000) == [1, 10, 100, 1000]
    assert nice_ticks(1, 8) == [1, 1.5, 2, 3, 4, 6, 8]


def test_sites_are_grouped_by_layer_then_role() -> None:
    def bidirectional() -> Graph:
        b = Builder()
        x = b.input("input", 3)
        for layer in range(2):
            x = b.op("concat", f"cat{layer}", *(
                add_layer(b, CELLS["gru"], f"rnn{layer}.{way}", x, 4, reverse=way == "reverse")
                for way in ("forward", "reverse")))
        return b.graph(b.linear("head.out", b.op("last", "last", x), "head.W", 2, "head.b"))

    graph = bidirectional()
    sites = made.site_rows(graph)
    assert sorted(s.name for s in sites) == sorted(s.name for s in graph.free)
    layers = [name for name, _ in groupby(sites, key=lambda s: s.layer)]
    assert len(layers) == len(set(layers))
    roles = [s.role for s in sites if s.layer == "rnn1.reverse"]
    assert roles == sorted(roles, key=["weight", "bias", "activation", "state"].index)
    assert {s.short for s in sites if s.layer == "head"} == {"W", "b", "out"}


def test_several_runs_in_one_page(run: bt.Run, tmp_path: Path) -> None:
    other = small_run(tmp_path / "other", small_network(), objectives=("error", "stored"))
    squares = small_run(tmp_path / "squares", small_network(1), regression=True)
    file = report.write_comparison([run, other, squares], tmp_path / "compared.html")
    found = Tags(file.read_text())
    data = json.loads(found.scripts["data"])
    assert [r["name"] for r in data["runs"]] == ["run", "other", "squares"]
    assert len({r["metric"] for r in data["runs"]}) == 2
    for one, shown in zip((run, other, squares), data["runs"], strict=True):
        least = "stored" if one is other else "flash"
        base = one.baseline(8)
        on_front = [s for s in shown["solutions"] if s["id"].startswith("s")][:len(one.front)]
        for solution, item in zip(one.front, on_front, strict=True):
            assert item["values"]["of8"] == pytest.approx(100 * solution.values[least] / base.values[least])
            assert item["values"]["test"] == solution.test
            assert item["pick"] == str(one.front.index(solution))
        picks = {name for s in shown["solutions"] for name in s["mark"].split(" and ") if name}
        assert picks == set(one.picks)
    for tag, attributes in found.tags:
        assert tag not in ("link", "iframe")
        assert not any(name.startswith("on") for name in attributes)
    assert report.write_comparison([run], file) == file, "an earlier page is written over"
    note = tmp_path / "note.html"
    note.write_text("mine")
    with pytest.raises(FileError, match="is not overwritten"):
        report.write_comparison([run], note)
    assert note.read_text() == "mine"


def test_a_page_stays_small_and_a_sample_is_said(run: bt.Run, page: Path) -> None:
    from bittailor.report import payload

    assert page.stat().st_size < 1_000_000
    data = json.loads(Tags(page.read_text()).scripts["data"])
    with run.store() as store:
        assert data["cloud"]["total"] == data["cloud"]["shown"] == len(store)
    facts = made.gather(run)
    kept = made.sample(100_000, payload.CLOUD)
    assert len(set(kept)) == payload.CLOUD
    assert list(kept) == sorted(kept)
    assert list(kept) == list(made.sample(100_000, payload.CLOUD)), "the same every time"
    assert len(payload.payload(facts)["cloud"]["values"]["error"]) == data["cloud"]["shown"]
