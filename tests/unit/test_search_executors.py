"""Executors: results in order whatever computes them, and real processes that really die."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_toy import (
    SEEDS,
    SETTINGS,
    SPACE,
    evaluate,
    evaluation,
    make_broken,
    make_fragile,
    make_raising,
    make_toy,
    run,
    summary,
    values,
)

from bittailor.errors import BittailorError, DataError
from bittailor.search import Given, InProcess, Outcome, Processes, SearchSettings, make_executor, search
from bittailor.search.executors import base as executors_base
from bittailor.search.executors.base import Batches, WorkerState, run_batch

GENOMES = SPACE.random(np.random.default_rng(0), 30)


class Flaky(Executor):
    """Runs tasks at once, but loses some of them, as a cluster does that loses a machine."""

    def __init__(self, lose: int, each: int = 1) -> None:
        self.sent, self.lose, self.each = 0, lose, each

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.sent += 1
        future: Future[Any] = Future()
        if self.sent % self.lose == 0:
            future.set_exception(ConnectionError("machine 3 went away"))
            return future
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_do_not_depend_on_the_number_of_workers(workers: int) -> None:
    assert summary(run(None, workers)) == summary(run(None, 1))


def test_order_is_kept_and_processes_are_reused() -> None:
    with evaluation(partial(make_toy, 0.001), 2) as evaluate:
        for _ in range(2):
            assert [outcome.values for outcome in evaluate(GENOMES)] == [values(g) for g in GENOMES]
        assert list(evaluate([])) == []


def test_a_given_executor_is_used_and_left_running() -> None:
    with ThreadPoolExecutor(3) as threads:
        with evaluation(make_toy, executor=Given(threads)) as evaluate:
            assert [outcome.values for outcome in evaluate(GENOMES)] == [values(g) for g in GENOMES]
        assert threads.submit(int, "7").result() == 7
        with evaluation(make_toy, executor=Given(threads)) as evaluate:
            result = search(SPACE, ("error", "size"), evaluate, SETTINGS, seeds=SEEDS)
        assert summary(result) == summary(run(None))


def test_each_thread_builds_one_worker() -> None:
    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            [f.result() for f in [threads.submit(barrier.wait, 5) for _ in range(2)]]
        evaluate = Given(threads, ahead=4).evaluation(make_toy)
        assert len(list(evaluate(GENOMES))) == 30


def test_given_executor_looks_ahead_within_bounds() -> None:
    flaky = Flaky(10**9)
    stream = iter(Given(flaky, ahead=5).evaluation(make_toy)(GENOMES))
    next(stream)
    assert flaky.sent == 5
    next(stream)
    assert flaky.sent == 6


def test_tasks_that_an_executor_loses_are_sent_again() -> None:
    outcomes = list(Given(Flaky(4)).evaluation(make_toy)(GENOMES))
    assert [outcome.values for outcome in outcomes] == [values(g) for g in GENOMES]
    gone = list(Given(Flaky(1)).evaluation(make_toy)(GENOMES[:2]))
    assert [outcome.reason for outcome in gone] == [
        "lost 3 times, the last because of ConnectionError: machine 3 went away"] * 2


def test_an_executor_that_is_shut_down() -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    with pytest.raises(BittailorError, match="the executor takes no work"):
        list(Given(threads).evaluation(make_toy)(GENOMES))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bittailor_error_ends_the_search_as_it_is(workers: int) -> None:
    with evaluation(partial(make_raising, True), workers) as evaluate, \
            pytest.raises(DataError, match=r"^the data is empty$") as error:
        list(evaluate([(1, 2), (0, 1)]))
    assert error.value.__cause__ is None


@pytest.mark.parametrize("workers", [1, 2])
def test_other_exceptions_fail_their_genome(workers: int) -> None:
    with evaluation(partial(make_raising, False), workers) as evaluate:
        outcomes = list(evaluate([(1, 2), (0, 1), (2, 2)]))
    assert [outcome.reason for outcome in outcomes] == [None, "ValueError: gene 0 is 0", None]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_cannot_be_made_stops_the_search(workers: int) -> None:
    with evaluation(make_broken, workers) as evaluate, \
            pytest.raises(BittailorError, match="the first because: OSError: no such device"):
        search(SPACE, ("error", "size"), evaluate, SearchSettings(population=4))


def test_a_killed_worker_costs_a_retry(tmp_path: Path) -> None:
    once = (GENOMES[3], GENOMES[17])
    with evaluation(partial(make_fragile, str(tmp_path), once), 2) as evaluate:
        outcomes = list(evaluate(GENOMES))
    assert [outcome.values for outcome in outcomes] == [values(g) for g in GENOMES]
    tries = {mark.name: mark.stat().st_size for mark in tmp_path.iterdir()}
    assert all(tries[" ".join(map(str, genome))] >= 2 for genome in once)
    assert max(tries.values()) <= 4  # those at work beside them are tried again, not again and again


def test_a_killed_worker_does_not_change_the_result(tmp_path: Path) -> None:
    result = run(None)
    once = result.front.genomes[1:6:4]
    with evaluation(partial(make_fragile, str(tmp_path), once), 2) as evaluate:
        again = search(SPACE, ("error", "size"), evaluate, SETTINGS, seeds=SEEDS)
    assert summary(again) == summary(result)


def test_a_genome_that_always_kills_fails_alone(tmp_path: Path) -> None:
    always = (GENOMES[5],)
    with evaluation(partial(make_fragile, str(tmp_path), (), always), 2) as evaluate:
        outcomes = list(evaluate(GENOMES[:12]))
    assert [i for i, outcome in enumerate(outcomes) if outcome.values is None] == [5]
    name = " ".join(map(str, always[0]))
    assert outcomes[5].reason == f"its process died 3 times while evaluating genome {name} (out of memory?)"
    assert (tmp_path / name).stat().st_size == 4


@pytest.mark.slow
def test_gives_up_where_every_genome_kills(tmp_path: Path) -> None:
    with evaluation(partial(make_fragile, str(tmp_path), (), tuple(GENOMES)), 2) as evaluate, \
            pytest.raises(BittailorError, match="died on each of the first 3 genomes, 3 times each"):
        list(evaluate(GENOMES))


def test_closing_ends_long_evaluations() -> None:
    executor = Processes(2)
    stream = iter(executor.evaluation(partial(make_toy, 60.0))(GENOMES))
    reader = threading.Thread(target=lambda: next(stream, None))
    reader.start()
    while executor._pool is None or len(executor._pool._processes) < 2 or not executor._greeted:
        reader.join(0.02)
    processes = list(executor._pool._processes.values())
    executor._ever = True
    executor.close()
    assert not any(process.is_alive() for process in processes)
    executor.close()
    reader.join(10)
    assert (reader.is_alive(), executor._pool, executor._folder) == (False, None, None)


class Wire(Executor):
    """Runs tasks at once, as if through a wire: what is sent is pickled, and its bytes are counted."""

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        blob = pickle.dumps((fn, args))
        self.bytes.append(len(blob))
        fn, args = pickle.loads(blob)
        future: Future[Any] = Future()
        future.set_result(fn(*args))
        return future


def make_heavy(weight: bytes) -> Any:
    return make_toy()


def test_a_state_goes_to_a_worker_once_and_genomes_in_batches() -> None:
    weight = np.random.default_rng(1).bytes(300_000)
    wire = Wire()
    executor = Given(wire, workers=2)
    evaluate = executor.evaluation(partial(make_heavy, weight))
    many = SPACE.random(np.random.default_rng(5), 2000)
    assert [outcome.values for outcome in evaluate(many)] == [values(g) for g in many]
    assert [n > len(weight) for n in wire.bytes[:3]] == [True, True, False]
    assert len(wire.bytes) < 60
    assert sum(wire.bytes[2:]) / 1998 < 40  # bytes a genome
    # a worker that comes late lacks the state; it is sent the state, and once
    with ThreadPoolExecutor(1) as late:
        sent = len(wire.bytes)
        executor._executor = late
        assert [outcome.values for outcome in evaluate(GENOMES)] == [values(g) for g in GENOMES]
        assert len(wire.bytes) == sent
        assert late.submit(lambda: list(executors_base._made.workers)).result() == [WorkerState(
            partial(make_heavy, weight)).fingerprint]
    assert run_batch("unknown", None, GENOMES) is None


def test_two_states_share_an_executor() -> None:
    with make_executor(2) as executor:
        toy, raising = executor.evaluation(make_toy), executor.evaluation(partial(make_raising, False))
        for _ in range(2):
            assert [o.values for o in toy(GENOMES)] == [values(g) for g in GENOMES]
            assert [o.values is None for o in raising(GENOMES)] == [g[0] == 0 for g in GENOMES]
        assert executor._folder is not None
        folder = Path(executor._folder.name)
        assert len(list(folder.iterdir())) == 2
    assert not folder.exists()


@given(st.integers(1, 300), st.integers(1, 20), st.integers(1, 9), st.floats(0, 3))
def test_batches_hold_every_genome_once(n: int, least: int, ahead: int, seconds: float) -> None:
    batches = Batches([(i,) for i in range(n)], least, ahead)
    seen: list[tuple[int, ...]] = []
    for batch in batches:
        assert len(batch) <= max(least, n / ahead + 1, 1 / max(seconds, 1e-6))
        assert len(batch) <= max(least, int(1 / max(seconds, 1e-6))) or not seen
        seen += batch
        batches.took([Outcome({}, None, seconds)] * len(batch))
    assert seen == [(i,) for i in range(n)]


def test_a_worker_that_takes_many_at_once_fails_only_the_one_to_blame() -> None:
    def at_once(genomes: Any) -> list[Outcome]:
        if any(genome[0] == 0 for genome in genomes):
            raise ValueError("one of them")
        return [Outcome(values(genome)) for genome in genomes]

    outcomes = list(InProcess(4).evaluation(lambda: at_once)(GENOMES))
    assert [outcome.values for outcome in outcomes] == [None if g[0] == 0 else values(g) for g in GENOMES]
    short = list(InProcess(4).evaluation(lambda: lambda genomes: [])(GENOMES[:2]))
    assert [outcome.reason for outcome in short] == ["RuntimeError: a worker gave 0 outcomes for 1 genomes"] * 2


def test_wrong_use() -> None:
    for workers in (0, -1, 1.5, True):
        with pytest.raises(BittailorError, match="expected a whole number, 1 or more"):
            make_executor(workers)  # type: ignore[arg-type]
    with make_executor(2) as executor, pytest.raises(TypeError, match="cannot be sent to another process"):
        list(executor.evaluation(lambda: evaluate)(GENOMES))
