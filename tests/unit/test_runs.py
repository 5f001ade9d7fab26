"""Runs and evaluation from the library's side, on a small random network."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import bittailor as bt
from bittailor.errors import BittailorError, FileError, RangeError
from bittailor.evaluate.evaluator import Evaluator
from bittailor.runs import seeds
from bittailor.runs.problem import Display
from bittailor.search.executors import Given
from bittailor.search.optimisers.generational import Generational, unseen
from bittailor.search.space import Genome
from small import small_network

SETTINGS = bt.SearchSettings(population=20, generations=4, seed=3)


def test_what_takes_long_is_said(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    told: list[str] = []

    class Told(Display):
        def tell(self, text: str) -> None:
            if not text.startswith("fitted"):  # every ten seconds, on a busy machine
                told.append(text)

    settings = bt.SearchSettings(population=4, generations=1)
    bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(search=settings), display=Told())
    assert told == ["calibrating on 60 sequences", "fitting formats and weights",
                    "making the first population by sensitivity",
                    "measuring front, picks and baselines on test data"]
    more = bt.SearchSettings(population=4, generations=2)
    bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(search=more), resume=True, display=Told())
    assert told[4:] == ["fitting formats and weights", "measuring front, picks and baselines on test data"]


def test_a_stopped_search_leaves_the_careful_pick_to_resume(
    network: bt.Network, data: bt.Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its candidates are not evaluated on training items while somebody waits for the end."""
    monkeypatch.setattr("bittailor.runs.searching.STOPPED_SECONDS", 0.0)

    def stop(status: Any) -> None:
        if status.finished == 3:
            raise KeyboardInterrupt

    spec = bt.SearchSpec(search=SETTINGS)
    stopped = bt.run_search(network, data, tmp_path / "run", spec, on_generation=stop)
    assert stopped.result["interrupted"]
    assert stopped.result["message"].endswith("; the careful pick, which takes more evaluations, is left to --resume")
    assert set(stopped.picks) == {"smallest"}
    with pytest.raises(BittailorError, match="was stopped before one was found; go on with it"):
        stopped.pick("careful")
    again = bt.run_search(network, data, tmp_path / "run", spec, resume=True)
    whole = bt.run_search(network, data, tmp_path / "whole", spec)
    assert again.picks == whole.picks
    assert "careful" in whole.picks


def test_a_resumed_search_has_its_first_population(
    network: bt.Network, data: bt.Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the first generation was whole; what took long is not done again."""

    def stop(status: Any) -> None:
        raise KeyboardInterrupt

    spec = bt.SearchSpec(search=SETTINGS)
    whole = bt.run_search(network, data, tmp_path / "whole", spec)
    bt.run_search(network, data, tmp_path / "run", spec, on_generation=stop)
    with sqlite3.connect(tmp_path / "run" / "evaluations.sqlite") as store:
        store.execute("DELETE FROM evaluations WHERE ordinal > 5")
    monkeypatch.setattr("bittailor.runs.searching.SEEDINGS", {"sensitivity": lambda *_: pytest.fail("made again")})
    again = bt.run_search(network, data, tmp_path / "run", spec, resume=True)
    assert again.front == whole.front
    assert again.picks == whole.picks
    # a decision that is damaged is made again
    monkeypatch.undo()
    with sqlite3.connect(tmp_path / "run" / "evaluations.sqlite") as store:
        assert store.execute("UPDATE decisions SET value = '[[0]]' WHERE generation = -1").rowcount == 1
    assert bt.run_search(network, data, tmp_path / "run", spec, resume=True).front == whole.front


def test_a_run_is_complete_and_reads_back(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    run = bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(search=SETTINGS))
    again = bt.Run.open(tmp_path / "run")
    assert again.front == run.front
    assert again.network.fingerprint == network.fingerprint
    assert run.result["float"]["select"] == 0
    assert [s.key for s in run.homogeneous] == [f"homogeneous {b}" for b in (2, 3, 4, 5, 6, 7, 8, 16)]
    assert run.result["hypervolume"]["front"] >= run.result["hypervolume"]["homogeneous"] > 0


def test_stored_values_are_those_of_the_program_that_is_shipped(
    network: bt.Network, data: bt.Splits, tmp_path: Path
) -> None:
    run = bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(search=SETTINGS))
    engine = bt.ENGINES["reference"]
    for solution in [*run.front, *run.homogeneous]:
        program = run.program(solution)
        for part, expected in ((run.spec.divide(data).select, solution.values["error"]), (data.test, solution.test)):
            y = engine.run(program, program.quantise_input(part.x), part.lengths)
            assert 100 * np.mean(y.argmax(-1) != part.y) == expected
        assert bt.account(program).total == solution.values["stored"]
        assert bt.parameter_bits(network.graph, run.plan(solution)) == solution.values["size"]


@pytest.mark.parametrize("workers", [2, 3])
def test_results_do_not_depend_on_workers_or_engine(
    network: bt.Network, data: bt.Splits, tmp_path: Path, workers: int
) -> None:
    one = bt.run_search(network, data, tmp_path / "one", bt.SearchSpec(search=SETTINGS, workers=1, engine="reference"))
    many = bt.run_search(network, data, tmp_path / "many",
                         bt.SearchSpec(search=SETTINGS, workers=workers, engine="auto"))
    processes = bt.run_search(network, data, tmp_path / "p",
                              bt.SearchSpec(search=SETTINGS, workers=workers, engine="reference"))
    assert one.front == many.front == processes.front
    assert one.result["history"] == many.result["history"] == processes.result["history"]


class Sampling(Generational):
    """Random search that keeps the smallest."""

    title = "random search"

    def ask(self) -> list[Genome]:
        if not self.population[0]:
            return super().ask()
        self._asked = unseen(self._space, self._settings.population, self._seen, self._rng)
        self._seen.update(self._asked)
        return self._asked

    def survive(self, points: NDArray[np.float64], violations: NDArray[np.float64], n: int) -> NDArray[np.int64]:
        return np.lexsort((points[:, 1], violations))[:n]

    def tournament(self) -> Any:
        raise AssertionError("it does not mate")


def test_optimiser_and_executor_can_be_handed_in(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    spec = bt.SearchSpec(search=SETTINGS)
    plain = bt.run_search(network, data, tmp_path / "plain", spec)
    with ThreadPoolExecutor(2) as pool:
        given = bt.run_search(network, data, tmp_path / "given", spec, executor=Given(pool, 2))
    assert given.front == plain.front
    own = bt.run_search(network, data, tmp_path / "own", spec, optimiser=Sampling)
    assert own.front != plain.front
    assert own.result["evaluations"] == plain.result["evaluations"]
    again = bt.run_search(network, data, tmp_path / "own", spec, optimiser=Sampling, resume=True)
    assert again.front == own.front
    with pytest.raises(FileError, match=r'its fingerprints.optimiser is "Sampling", now it is null'):
        bt.run_search(network, data, tmp_path / "own", spec, resume=True)


def test_the_front_never_loses_to_its_baseline(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    settings = bt.SearchSettings(population=4, generations=1, seed=0)
    run = bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(search=settings))
    for base in run.homogeneous[:-1]:
        assert any(
            s.values["error"] <= base.values["error"] and s.values["size"] <= base.values["size"] for s in run.front
        )


def test_every_width_of_the_baseline_is_among_the_seeds(network: bt.Network) -> None:
    space = bt.per_operator(network.graph)
    found = seeds(space, network.graph)
    for bits in range(2, 9):
        assert space.genome(bt.homogeneous_widths(network.graph, bits)) in found


def test_a_guide_changes_the_search_but_not_what_the_front_means(
    network: bt.Network, data: bt.Splits, tmp_path: Path
) -> None:
    runs = [bt.run_search(network, data, tmp_path / g, bt.SearchSpec(search=SETTINGS, guide=g))
            for g in ("loss", "error")]
    assert runs[0].front != runs[1].front
    for run in runs:
        with run.store() as store:
            points = {tuple(r.outcome.values[n] for n in run.spec.objectives) for r in store.rows() if r.outcome.values}
        for s in run.front:
            here = (s.values["error"], s.values[run.spec.least])
            assert not any(p != here and p[0] <= here[0] and p[1] <= here[1] for p in points)


def test_constraints_hold_on_the_front(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    run = bt.run_search(network, data, tmp_path / "run",
                        bt.SearchSpec(search=SETTINGS, constraints=["size<=90B"], objectives=("error", "stored")))
    assert run.front
    assert all(s.values["size"] <= 90 * 8 for s in run.front)


def test_own_grouping(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    space = bt.grouped(network.graph, {
        "recurrent": (["gru0.W_h*"], (1, 2, 4)), "other": (["gru0.W_i*", "head.W"], (3, 8)),
        "biases": (["*.b_*", "head.b"], (8,)), "rest": (["input", "gru0.[rznh].*", "gru0.h", "head.out"], (6, 8)),
    })
    settings = bt.SearchSettings(population=6, generations=8)
    run = bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(search=settings, space=space))
    assert space.size == 12
    assert run.result["evaluations"] <= 12
    assert "all 12 plans" in run.result["message"]


def test_picks(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    run = bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(search=SETTINGS))
    assert run.pick("0") == run.front[0]
    assert run.pick("best").values["error"] == min(s.values["error"] for s in run.front)
    assert run.pick("8bit").key == "homogeneous 8"
    assert run.pick("smallest").values["error"] <= run.baseline(8).values["error"]
    assert run.pick("error<=50").values["size"] <= run.pick("error<=5").values["size"]
    assert run.pick("knee") in run.front
    careful, base = run.pick("careful"), run.baseline(8)
    assert careful.values["error"] <= base.values["error"]
    assert careful.values["loss"] <= base.values["loss"]
    assert careful.values["size"] >= run.pick("smallest").values["size"]
    train = Evaluator(run.calibration, data.train, "error", "reference", ())
    seen, wanted = train.evaluate([dict(careful.widths), dict(base.widths)])
    assert seen["error"] <= wanted["error"] + 0.1
    with run.store() as store:
        rows = [r for r in store.rows() if r.outcome.values]
    for r in rows:
        if r.outcome.values["error"] <= base.values["error"]:
            assert r.outcome.values["size"] >= run.pick("smallest").values["size"]
    for text in ("99", "smallish", "9bit"):
        with pytest.raises(bt.BittailorError):
            run.pick(text)


def test_regression_metric(tmp_path: Path) -> None:
    network = small_network(outputs=2)
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(3):
        x = rng.normal(size=(20, 6, 3)).astype(np.float32)
        parts.append(bt.Data(x, network(x).astype(np.float32)))
    run = bt.run_search(network, bt.Splits(*parts), tmp_path / "run", bt.SearchSpec(metric="mse", search=SETTINGS))
    assert run.baseline(8).values["error"] < run.baseline(2).values["error"]


def test_evaluator_is_the_same_one_by_one_and_together(network: bt.Network, data: bt.Splits) -> None:
    calibration = bt.calibrate(network, data.train.x, data.train.lengths)
    space = bt.per_operator(network.graph, biases=(4, 8, 16, 32))
    widths = [space.widths(g) for g in space.random(np.random.default_rng(1), 6)]
    evaluator = Evaluator(calibration, data.valid, "error", "reference", ("error", "size", "stored"))
    assert evaluator.evaluate(widths) == [evaluator.evaluate([w])[0] for w in widths]


def test_the_weights_that_were_searched_are_kept(network: bt.Network, data: bt.Splits, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    run = bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(search=SETTINGS))
    expected = {s.key: run.program(s) for s in run.front}

    def never(*_: object) -> None:
        raise AssertionError("fitted again: another machine might get other integers")

    monkeypatch.setattr("bittailor.quantise.calibration.fit_to_inputs", never)
    again = bt.Run.open(tmp_path / "run")
    for s in again.front:
        program = again.program(s)
        for mine, theirs in zip(program.stored(), expected[s.key].stored(), strict=True):
            assert (mine.data == theirs.data).all()


def test_a_finished_search_can_be_made_longer(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    longer = bt.SearchSettings(population=20, generations=7, seed=3)
    whole = bt.run_search(network, data, tmp_path / "whole", bt.SearchSpec(search=longer))
    bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(search=SETTINGS))
    run = bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(search=longer), resume=True)
    assert run.front == whole.front
    assert run.spec == whole.spec
    other = bt.SearchSettings(population=21, generations=7, seed=3)
    with pytest.raises(bt.BittailorError, match="another search"):
        bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(search=other), resume=True)


def test_without_a_compiler_a_slower_engine_serves_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bittailor.engines.native_build.find_compiler", lambda: None)
    assert bt.best_engine() == "torch"
    assert bt.best_engine() == "torch"
    assert [record.message.count("gcc") > 0 for record in caplog.records] == [True]


@pytest.mark.parametrize("racing", [False, True])
def test_a_candidate_that_cannot_be_bound_costs_only_itself(
    network: bt.Network, data: bt.Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, racing: bool
) -> None:
    plain = Evaluator.program

    def refuses_some(self: Evaluator, widths: dict[str, int]) -> object:
        if widths["gru0.W_hn"] in (3, 5, 6) and widths["head.W"] != widths["gru0.W_hn"]:
            raise RangeError("head.out: scales differ too much")
        return plain(self, widths)

    monkeypatch.setattr(Evaluator, "program", refuses_some)
    monkeypatch.setattr("bittailor.runs.evaluating.LEAST", 0)
    run = bt.run_search(network, data, tmp_path / "run",
                        bt.SearchSpec(search=SETTINGS, racing=racing, seeding="templates"))
    assert run.result["failed"] > 0
    with run.store() as store:
        reasons = {row.outcome.reason for row in store.rows() if row.outcome.values is None}
    assert "head.out: scales differ too much" in reasons
    assert all(s.widths["gru0.W_hn"] not in (3, 5, 6) or s.widths["head.W"] == s.widths["gru0.W_hn"] for s in run.front)
