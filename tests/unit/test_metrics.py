"""Metrics against plain computations, their directions everywhere a user looks, and metrics of a user's own."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittailor as bt
from bittailor.cli.actions import (
    export_solution,
    load_own,
    make_spec,
    retrain_run,
    search_spec,
    sensitivity_run,
    verify_export,
)
from bittailor.cli.show import (
    print_comparison,
    print_retrained,
    print_run,
    print_sensitivity,
    print_solution,
    summary_row,
    write_comparison,
)
from bittailor.errors import BittailorError, DataError, UnknownName
from bittailor.evaluate import decode
from bittailor.evaluate.metrics import METRICS, metric_of
from bittailor.quantise.spaces import per_layer
from bittailor.search.constraints import ConstraintError
from bittailor.train.recipe import Retraining
from small import small_data, small_network

Rng = np.random.Generator
ROOT = Path(__file__).resolve().parents[2]
QUICK = bt.SearchSettings(population=8, generations=2, seed=1)


def case(name: str, rng: Rng) -> tuple[np.ndarray, bt.Data]:
    """Outputs and data that a metric takes."""
    x, lengths = rng.normal(size=(7, 6, 2)), np.array([6, 1, 3, 6, 2, 5, 4])
    if name == "classification_error floats":
        return rng.normal(size=(7, 3)), bt.Data(x, rng.integers(0, 3, 7) * 1.0, lengths)
    if name in ("classification_error", "accuracy"):
        return rng.normal(size=(7, 3)), bt.Data(x, rng.integers(0, 3, 7), lengths)
    if name == "mse":
        return rng.normal(size=(7, 3)), bt.Data(x, rng.normal(size=(7, 3)), lengths)
    if name in ("mse per step", "si_sdr"):
        return rng.normal(size=(7, 6, 3)), bt.Data(x, rng.normal(size=(7, 6, 3)), lengths)
    if name.startswith("binary_error"):
        given = {"binary_error": (rng.integers(0, 2, 7), (7, 1)),
                 "binary_error floats": (rng.integers(0, 2, 7) * 1.0, (7, 1)),
                 "binary_error of many": (rng.integers(0, 2, (7, 3)) * 1.0, (7, 3)),
                 "binary_error per step": (rng.integers(-1, 2, (7, 6)), (7, 6, 1)),
                 "binary_error of many per step": (rng.integers(0, 2, (7, 6, 3)) * 1.0, (7, 6, 3))}
        y, shape = given[name]
        if y.ndim == 2 and y.dtype.kind == "i":
            y[:, 0] = np.abs(y[:, 0])  # one step at least has a label
        return rng.random(shape), bt.Data(x, y, lengths)
    if name == "masked_si_sdr":
        noisy = rng.normal(size=(7, 6, 3, 2)) @ [1, 1j]
        lengths = np.maximum(lengths, 2)  # a sample needs two frames
        return rng.random((7, 6, 3)), bt.Data(x, rng.normal(size=(7, 14)), lengths, extras={"noisy": noisy})
    if name == "frame_error of labels":
        y = rng.integers(-1, 4, (7, 6))
        y[:, 0] = np.abs(y[:, 0])
        return rng.normal(size=(7, 6, 4)), bt.Data(x, y, lengths)
    labels = np.stack([rng.integers(1, 4, 7), np.zeros(7, int)], axis=1)[:, None].repeat(6, axis=1)
    labels[np.arange(6) >= lengths[:, None]] = -1
    return rng.normal(size=(7, 6, 4)), bt.Data(x, labels, lengths)


def plain(name: str, outputs: np.ndarray, data: bt.Data) -> list[float]:
    """Item by item, as one would write it by hand."""
    found = []
    for output, target, n in zip(outputs.tolist(), data.y.tolist(), data.lengths.tolist(), strict=True):
        if name == "classification_error":
            found.append(100.0 * (output.index(max(output)) != target))
        elif name == "accuracy":
            found.append(100.0 * (output.index(max(output)) == target))
        elif name == "classification_error floats":
            found.append(100.0 * (output.index(max(output)) != target[0]))
        elif name.startswith("binary_error"):
            sides = [(a, b) for a, b in zip(np.ravel(output[:n] if "step" in name else output),
                                            np.ravel(target[:n] if "step" in name else target), strict=True) if b >= 0]
            found.append(100.0 * sum((a > 0.5) != (b > 0) for a, b in sides) / len(sides))
        elif name.startswith("frame_error"):
            labels = [step[0] for step in target] if isinstance(target[0], list) else target
            frames = sum(step >= 0 for step in np.ravel(data.y if data.y.ndim == 2 else data.y[:, :, 0]))
            wrong = sum(row.index(max(row)) != label for row, label in zip(output, labels, strict=True) if label >= 0)
            found.append(100.0 * wrong * 7 / frames)
        elif name == "mse":
            found.append(sum((a - b) ** 2 for a, b in zip(output, target, strict=True)) / len(output))
        else:
            e, s = ([v for step in rows[:n] for v in step] for rows in (output, target))
            if name == "mse per step":
                found.append(sum((a - b) ** 2 for a, b in zip(e, s, strict=True)) / len(e))
            else:
                share = sum(a * b for a, b in zip(e, s, strict=True)) / sum(b * b for b in s)
                signal, noise = sum((share * b) ** 2 for b in s), sum((share * b - a) ** 2 for a, b in zip(e, s,
                                                                                                         strict=True))
                found.append(10 * np.log10(signal / noise))
    return found


BINARY = ["binary_error", "binary_error floats", "binary_error of many", "binary_error per step",
          "binary_error of many per step"]


@pytest.mark.parametrize("name", ["classification_error", "classification_error floats", "accuracy", "mse",
                                  "mse per step", "si_sdr", "frame_error", "frame_error of labels", *BINARY])
def test_metrics_are_what_one_computes_by_hand(name: str, rng: Rng) -> None:
    outputs, data = case(name, rng)
    metric = METRICS[name.split()[0]]
    wanted = plain(name, outputs, data)
    assert metric.per_item(outputs, data.targets) == pytest.approx(np.array(wanted), rel=1e-6)
    assert metric.value(outputs, data.targets) == pytest.approx(np.mean(wanted), rel=1e-6)
    beyond = outputs.copy()
    if beyond.ndim == 3:
        beyond[np.arange(6) >= data.lengths[:, None]] = 0.99
    assert metric.value(beyond, data.targets) == metric.value(outputs, data.targets)


@pytest.mark.parametrize("name", list(METRICS))
def test_items_make_the_whole(name: str, rng: Rng) -> None:
    """What intervals of paired differences rely on; and what a metric says of itself."""
    outputs, data = case(name, rng)
    metric = METRICS[name].fitted(data.targets, lambda: outputs, data.targets)
    parts = metric.per_item(outputs, data.targets)
    assert parts is not None
    assert parts.dtype == np.float64
    assert parts.shape == (7,)
    assert parts.mean() == pytest.approx(metric.value(outputs, data.targets))
    assert metric.title
    assert metric.loss is not None
    metric.check(data.targets, outputs.shape[-1], outputs.ndim == 3)
    assert metric_of(metric.to_json()).title == metric.title
    assert pickle.loads(pickle.dumps(metric)).value(outputs, data.targets) == metric.value(outputs, data.targets)


def test_a_ratio_is_blind_to_scale_and_has_limits() -> None:
    wanted = np.array([[[3.0], [-1.0], [2.0], [9.0]]])
    targets = bt.Targets(wanted, np.array([3]))
    ratio = METRICS["si_sdr"]
    other = np.array([[[1.0], [0.5], [2.0], [0.0]]])
    assert ratio.value(other, targets) == pytest.approx(ratio.value(5 * other, targets), abs=1e-6)
    assert ratio.value(2 * wanted, targets) == pytest.approx(100, abs=0.1)
    assert ratio.value(np.zeros((1, 4, 1)), targets) == pytest.approx(-100, abs=0.1)
    assert ratio.value(np.array([[[1.0], [3.0], [0.0], [0.0]]]), targets) == pytest.approx(-100, abs=0.1)  # orthogonal
    with pytest.raises(DataError, match="item 0 is silent"):
        ratio.check(bt.Targets(np.zeros((1, 4, 1), np.float32), np.array([3])), 1, True)


def test_a_phone_error_rate_has_items_though_it_is_a_ratio_of_sums(rng: Rng) -> None:
    outputs, data = case("per_ctc", rng)
    said, meant = decode.collapsed(decode.greedy(outputs, data.y)), decode.transcripts(data.y)
    parts = METRICS["per_ctc"].per_item(outputs, data.targets)
    assert (parts == 0).tolist() == [a == b for a, b in zip(said, meant, strict=True)]


@pytest.mark.parametrize(("name", "base", "good", "bad"), [
    ("classification_error", 3.0, 3.1, 3.11), ("accuracy", 97.0, 96.9, 96.89), ("mse", 2.0, 2.2, 2.21),
    ("si_sdr", -3.0, -3.1, -3.11),
])
def test_as_good_follows_the_direction(name: str, base: float, good: float, bad: float) -> None:
    metric = METRICS[name]
    worst = metric.cost(metric.as_good(base))
    assert metric.cost(good) <= worst + 1e-12 < metric.cost(bad)


def test_a_solution_stands_within_the_tolerance_of_its_metric() -> None:
    error, ratio = METRICS["classification_error"], METRICS["si_sdr"]
    base = {"error": 4.0, "loss": 0.2}
    assert error.stands({"error": 4.1, "loss": 0.2}, base)
    assert not error.stands({"error": 4.2, "loss": 0.1}, base)
    assert not error.stands({"error": 3.0, "loss": 0.2001}, base)  # a loss of its own has nothing to spare
    heard = {"error": 11.7, "loss": -11.7}
    assert ratio.stands({"error": 11.65, "loss": -11.65}, heard)  # the metric is the loss
    assert not ratio.stands({"error": 11.55, "loss": -11.55}, heard)


@pytest.mark.parametrize(("name", "y", "outputs", "sequence", "said"), [
    ("accuracy", np.arange(4.0), 3, False, "labels run 0..3"),
    ("accuracy", np.arange(4) / 2, 3, False, "it needs class labels"),
    ("accuracy", np.arange(4) % 2, 1, False, "metric 'binary_error'"),
    ("accuracy", np.zeros((4, 5), int), 3, True, "for a label per step there is 'frame_error'"),
    ("accuracy", np.zeros((4, 5), int), 3, False, "are one per step: leave out"),
    ("frame_error", np.full((4, 5), 3), 3, True, "labels run 0..3"),
    ("frame_error", np.zeros((4, 5, 3)), 3, True, "an integer label per step"),
    ("frame_error", np.arange(4), 3, False, "needs one per step"),
    ("per", np.zeros((4, 5), int), 3, True, "a label and a segment number"),
    ("binary_error", np.arange(4), 1, False, "targets of 0 and 1"),
    ("binary_error", np.arange(4) / 3, 1, False, "targets of 0 and 1"),
    ("binary_error", np.arange(4) % 2, 2, False, "but the network has 2 outputs"),
    ("binary_error", np.zeros((4, 5), int), 1, False, "are one per step"),
    ("binary_error", np.zeros((4, 5, 2), int), 2, True, "targets of 0 and 1"),
    ("mse", np.arange(4.0), 3, False, "look like class labels"),
    ("accuracy", np.arange(4), 3, False, "labels run 0..3 but the network has 3 outputs; it needs one output per cl"),
    ("accuracy", np.zeros((4, 3)), 3, False, "use metric 'mse'"),
    ("mse", np.arange(4), 4, False, "labels of classes. Use metric 'classification_error'"),
    ("mse", np.zeros((4, 2)), 3, False, "3 outputs per item"),
    ("mse", np.zeros((4, 5, 2)), 3, True, "3 outputs per step"),
    ("mse", np.zeros((4, 5, 3)), 3, False, "leave out the last step"),
    ("mse", np.zeros((4, 3)), 3, True, "end the network with the last step"),
    ("si_sdr", np.ones((4, 3)), 3, False, "needs one per step"),
    ("per", np.arange(4), 4, True, "one per item"),
])
def test_wrong_shapes_get_advice(name: str, y: np.ndarray, outputs: int, sequence: bool, said: str) -> None:
    data = bt.Data(np.zeros((4, 5, 2)), y)
    with pytest.raises(DataError) as caught:
        METRICS[name].check(data.targets, outputs, sequence)
    assert said in str(caught.value)


def test_data_hand_extras_along(rng: Rng) -> None:
    x, y = rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 5, 1))
    data = bt.Data(x, y, extras={"noisy": np.arange(20.0).reshape(4, 5)})
    assert data[[2, 0]].targets.extras["noisy"][:, 0].tolist() == [10.0, 0.0]
    assert data.targets[1:2].extras["noisy"].tolist() == [[5.0, 6.0, 7.0, 8.0, 9.0]]
    assert data.fingerprint != bt.Data(x, y).fingerprint
    with pytest.raises(DataError, match="'noisy' must be numbers"):
        bt.Data(x, y, extras={"noisy": np.zeros(3)})
    with pytest.raises(DataError, match="5 steps but y has 4"):
        bt.Data(x, y[:, :4])


# --- directions ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bt.Run]:
    """The same search by error and by accuracy."""
    network = small_network()
    data = small_data(network, items=50)
    return {name: bt.run_search(network, data, tmp_path_factory.mktemp("runs") / name,
                                bt.SearchSpec(metric=name, search=QUICK, guide="error"))
            for name in ("error", "accuracy")}


def test_an_accuracy_is_an_error_the_other_way_round(runs: dict[str, bt.Run]) -> None:
    wrong, right = runs["error"], runs["accuracy"]
    assert (wrong.spec.metric, right.spec.metric) == ("classification_error", "accuracy")
    assert right.objectives["error"].maximise
    assert [s.key for s in right.front] == [s.key for s in wrong.front]
    for a, b in zip(right.front, wrong.front, strict=True):
        assert a.values["error"] == pytest.approx(100 - b.values["error"])
        assert a.test is not None
        assert b.test is not None
        assert a.test == pytest.approx(100 - b.test)
    assert {k: s.key for k, s in right.picks.items()} == {k: s.key for k, s in wrong.picks.items()}
    assert right.result["hypervolume"]["front"] == pytest.approx(wrong.result["hypervolume"]["front"])
    for text in ("best", "knee", "size<=0.1KiB"):
        assert right.pick(text).key == wrong.pick(text).key
    for other in ("error>=70", "accuracy>=70", "accuracy >= 70 %"):
        assert right.pick(other).key == wrong.pick("error<=30").key
    assert wrong.pick("classification_error<=30%").key == wrong.pick("error<=30").key
    for run, text in ((right, "error<=30"), (wrong, "error>=30"), (right, "accuracy<=30")):
        with pytest.raises(ConstraintError, match="from getting better; say"):
            run.pick(text)
    with pytest.raises(BittailorError, match="no solution has a validation accuracy that high"):
        right.pick("error>=100.5")


def test_an_accuracy_is_shown_as_one(runs: dict[str, bt.Run], capsys: pytest.CaptureFixture[str],
                                     monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run = runs["accuracy"]
    print_run(run)
    print_comparison([run, runs["error"]])
    write_comparison([summary_row(run), summary_row(runs["error"])], tmp_path / "table.csv")
    shown = capsys.readouterr().out
    assert "accuracy [%], more is better" in shown
    assert "by selection accuracy and loss" in shown
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["metric"] for row in rows] == ["accuracy", "classification_error"]
    assert float(rows[0]["int8_valid"]) == run.baseline(8).values["error"] > 50
    pytest.importorskip("matplotlib")
    page = bt.write_report(run).read_text()
    assert "selection accuracy" in page
    assert "accuracy [%], more is better" in page
    assert "selection error" not in page.split("<h2>Words")[0].split("Search compared")[0]
    with open(run.path / "report" / "front.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["error"]) for row in table] == [s.values["error"] for s in run.front]
    assert "-" not in "".join(row["error"] for row in table)


def test_runs_that_say_error_open_as_before(
    runs: dict[str, bt.Run], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run = runs["error"]
    path = run.path / "run.json"
    body = path.read_bytes()
    old = bt.Run(run.path, {**run.config, "spec": {**run.config["spec"], "metric": "error"}})
    assert old.metric.name == "classification_error"
    print_run(old)
    assert "; classification error [%]\n" in capsys.readouterr().out
    assert old.pick("error<=50").values["error"] <= 50
    assert path.read_bytes() == body
    with pytest.raises(UnknownName, match="did you mean 'accuracy'"):
        metric_of("acuracy")


# --- metrics of one's own --------------------------------------------------------------------------------------------


def top2(output: np.ndarray, label: int) -> float:
    return 100.0 * (label in np.argsort(output)[-2:])


class Correlation(bt.Metric):
    name, title, maximise = "correlation", "correlation of all outputs", True

    def value(self, outputs: np.ndarray, targets: bt.Targets) -> float:
        return float(np.corrcoef(outputs.ravel(), targets.y.ravel())[0, 1])


def test_the_example_keeps_its_metric_through_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "run"
    # worker processes load the file again
    example = f"{ROOT / 'examples' / 'own_metric.py'}:load"
    spec = make_spec({"search": {"population": 4, "generations": 2}, "space": {"name": "per_layer"}, "workers": 2,
                      "engine": "reference", "constraints": ["top2>=10%"], "seeding": "homogeneous"}, task=example)
    run = search_spec(spec, out)
    about = {"name": "top2", "title": "top-2 accuracy", "unit": "%", "maximise": True}
    assert json.loads((out / "run.json").read_text())["spec"]["metric"] == about
    print_run(run)
    print_solution(run, run.pick("top2>=20"))
    (again,) = retrain_run(out, ["smallest"], recipe={"epochs": 1, "updates": 0}, own=example)
    print_retrained(out, [again])
    found, _ = sensitivity_run(out, own=example)
    print_sensitivity(found, run.metric.noun)
    print_comparison([run])
    shown = capsys.readouterr().out
    assert "; top-2 accuracy [%], more is better\n" in shown
    assert "top-2 accuracy 9" in " ".join(shown.split())  # lines are wrapped
    assert again.after is not None
    assert 10 < again.after.values["error"] <= 100
    assert found.base["error"] == run.baseline(8).values["error"]
    export_solution(out, tmp_path / "firmware", pick="best")
    assert "selection top-2 accuracy" in (tmp_path / "firmware" / "README.md").read_text()
    assert verify_export(tmp_path / "firmware", cores=["host"], items=2, run=out).problem is None
    pytest.importorskip("matplotlib")
    assert "top-2 accuracy [%], more is better" in bt.write_report(run).read_text()


def test_a_metric_from_python(tmp_path: Path, rng: Rng) -> None:
    """A class without parts, and its run with and without the metric at hand."""
    network = small_network()
    data = small_data(network, items=30)
    parts = [bt.Data(p.x, network(p.x, p.lengths).astype(np.float32), p.lengths)
             for p in (data.train, data.valid, data.test)]
    splits = bt.Splits(*parts)
    run = bt.run_search(network, splits, tmp_path / "run", bt.SearchSpec(
        metric=Correlation, search=QUICK, space=per_layer(network.graph)))
    assert run.front[0].values["error"] == max(s.values["error"] for s in run.front) > 0.9
    assert run.result["float"]["test"] == pytest.approx(1)
    quick = Retraining(epochs=1, updates=0)
    with pytest.raises(BittailorError, match="your own metric 'correlation'; give it again: metric="):
        bt.retrain_picks(run, splits, ["best"], recipe=quick)
    with pytest.raises(BittailorError, match=r"the metric of .* is .*correlation.*, not mse"):
        bt.retrain_picks(run, splits, ["best"], recipe=quick, metric=METRICS["mse"])
    (made,) = bt.retrain_picks(run, splits, ["best"], recipe=quick, metric=Correlation, workers=1)
    assert made.after is not None
    assert bt.run_sensitivity(run, splits, metric=Correlation()).base["error"] == run.baseline(8).values["error"]


def test_what_a_lambda_cannot_do(tmp_path: Path) -> None:
    network = small_network()
    data = small_data(network, items=20)
    own = bt.metric(lambda output, label: float(output[label]), name="score", maximise=True)
    settings = bt.SearchSettings(population=4, generations=1)
    run = bt.run_search(network, data, tmp_path / "one",
                        bt.SearchSpec(metric=own, search=settings, engine="reference", workers=1))
    assert run.metric.label == "score, more is better"
    with pytest.raises(BittailorError, match=r"'score' cannot be sent to a worker process .* not as a lambda"):
        bt.run_search(network, data, tmp_path / "two",
                      bt.SearchSpec(metric=own, search=settings, engine="reference", workers=2))


@pytest.mark.parametrize(("make", "said"), [
    (lambda: bt.metric(lambda output, label: 0.0), "needs a name"),
    (lambda: bt.metric(top2, name="accuracy"), "a metric called 'accuracy' already"),
    (lambda: metric_of(3.5), "a metric is a name, a bittailor.Metric or a function"),
    (lambda: metric_of(dict), "a metric is a name, a bittailor.Metric or a function"),
])
def test_what_is_no_metric_is_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(BittailorError, match=said):
        make()


def broken(output: np.ndarray, label: int) -> float:
    return output[label + 7]


class Lengthless(bt.Metric):
    name = "lengthless"

    def per_item(self, outputs: np.ndarray, targets: bt.Targets) -> np.ndarray:
        return outputs


class Empty(bt.Metric):
    name = "empty"


class Mute(bt.Metric):
    name = "mute"

    def value(self, outputs: np.ndarray, targets: bt.Targets) -> float:
        return 0.0

    def references(self, targets: bt.Targets) -> dict[str, np.ndarray]:
        return {"noise": np.zeros((len(targets), 9))}


@pytest.mark.parametrize(("metric", "said"), [
    (Mute, "'mute' has `references` to listen to, but no `heard`; write it"),
    (broken, r"'broken' failed on an output \(3,\) and a target \(\): IndexError"),
    (Lengthless, r"'lengthless' gives values of shape \(2, 3\) for 2 items"),
    (Empty, "'empty' has neither `value` nor `per_item`"),
    (bt.metric(top2, name="size"), "an objective called 'size'"),
])
def test_own_metrics_that_cannot_work_fail_at_once(metric: Any, said: str, tmp_path: Path) -> None:
    network = small_network()
    with pytest.raises(BittailorError, match=said):
        bt.run_search(network, small_data(network, items=10), tmp_path / "run",
                      bt.SearchSpec(metric=metric, search=QUICK))
    assert not (tmp_path / "run").exists()


def test_files_are_loaded_by_path_and_once(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text((ROOT / "examples" / "own_metric.py").read_text())
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(BittailorError, match=r"broken\.py:1: ZeroDivisionError"):
        load_own(f"{tmp_path / 'broken.py'}:load")
    with pytest.raises(BittailorError, match="has no function 'lode'"):
        load_own(f"{file}:lode")
    with pytest.raises(BittailorError, match="there is no file"):
        load_own(f"{tmp_path / 'none.py'}:load")
