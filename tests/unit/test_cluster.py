"""Searching on a real Dask cluster of processes: equal to the bit, whatever dies, joins or is started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_toy import OBJECTIVES, SEEDS, SETTINGS, SPACE, make_fragile, make_toy, run, summary, values
from test_beacons import run as beacon_run
from test_beacons import whole

import bittailor as bt
from bittailor.errors import BittailorError
from bittailor.runs.problem import Display
from bittailor.search import Executor, SearchSettings, Store, search
from bittailor.search.executors.connecting import ClusterSettings, connect
from bittailor.train.recipe import Retraining
from small import small_data, small_network

pytest.importorskip("distributed")

GENOMES = SPACE.random(np.random.default_rng(0), 30)
SOURCE = Path(bt.__file__).parent


def until(ready: Callable[[], Any], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def python(*words: str, path: Path = SOURCE.parent) -> subprocess.Popen[str]:
    """A Python process that imports bittailor, and these tests, from a folder."""
    where = os.pathsep.join([str(path), str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": where}, start_new_session=True)


class Site:
    """A scheduler and workers, each a process that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[str]] = []
        self.scheduler = self.start("scheduler", "--port", "0", "--scheduler-file", str(self.file), "--no-dashboard",
                                    "--host", "127.0.0.1")
        until(self.file.is_file)

    def start(self, what: str, *words: str, path: Path = SOURCE.parent) -> subprocess.Popen[str]:
        self.processes.append(python("-m", "distributed.cli.dask_" + what, *words, path=path))
        return self.processes[-1]

    def worker(self, path: Path = SOURCE.parent, nanny: bool = False) -> subprocess.Popen[str]:
        return self.start("worker", "--scheduler-file", str(self.file), "--nthreads", "1", "--no-dashboard",
                          *([] if nanny else ["--no-nanny"]), path=path)

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.end()


@pytest.fixture(scope="module")
def local() -> Iterator[Executor]:
    with connect(ClusterSettings("local:2")) as cluster:
        yield cluster


def on(executor: Executor, settings: SearchSettings = SETTINGS, delay_s: float = 0.0, **options: Any) -> dict[str, Any]:
    """The result of the toy's search there."""
    worker = executor.evaluation(partial(make_toy, delay_s))
    return summary(search(SPACE, OBJECTIVES, worker, settings, seeds=SEEDS, **options))


def after(n: int, act: Callable[[], Any]) -> Callable[[], bool]:
    """A `stop` that never stops, but acts once after so many evaluations."""
    count = iter(range(10**9))

    def stop() -> bool:
        if next(count) == n:
            act()
        return False

    return stop


def test_a_search_is_that_of_this_process(local: Executor) -> None:
    assert on(local) == summary(run(None))
    assert list(local.evaluation(make_toy)([])) == []


def test_several_searches_at_once(local: Executor) -> None:
    found: dict[int, Any] = {}

    def go(seed: int) -> None:
        found[seed] = on(local, SearchSettings(population=10, generations=4, seed=seed))

    threads = [threading.Thread(target=go, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(3):
        assert found[seed] == summary(run(None, settings=SearchSettings(population=10, generations=4, seed=seed)))


def test_a_genome_that_kills_its_worker_is_failed_and_no_other(local: Executor, tmp_path: Path) -> None:
    worker = local.evaluation(partial(make_fragile, str(tmp_path), GENOMES[3:5], [GENOMES[7]]))
    found = list(worker(GENOMES))
    assert [o.values for o in found] == [None if i == 7 else values(g) for i, g in enumerate(GENOMES)]
    assert "its worker died" in str(found[7].reason)
    assert " ".join(map(str, GENOMES[7])) in str(found[7].reason)


def _square(x: int) -> int:
    if x == 3:
        raise ValueError("three")
    return x * x


def test_tasks_are_done_there_in_order(local: Executor) -> None:
    found = list(local.tasks(_square, range(5), memory=1000))
    assert [a.found for a in found] == [0, 1, 4, None, 16]
    assert found[3].reason == "ValueError: three"
    with pytest.raises(BittailorError, match=r"a task takes about 1000000\.0 GB; the largest worker has"):
        list(local.tasks(_square, range(2), memory=10**15))


def test_one_worker_killed_and_one_that_joins(site: Site) -> None:
    first, _ = site.worker(), site.worker()
    with connect(ClusterSettings(str(site.file))) as cluster:
        until(lambda: len(cluster._client.scheduler_info(n_workers=-1)["workers"]) == 2)

        def disturb() -> None:
            first.kill()
            site.worker()

        assert on(cluster, delay_s=0.02, stop=after(100, disturb)) == summary(run(None))
        assert "2 workers (1 lost" in cluster.standing()


@pytest.mark.slow
def test_all_workers_killed(site: Site) -> None:
    workers = [site.worker(), site.worker()]
    with connect(ClusterSettings(str(site.file))) as cluster:
        def disturb() -> None:
            for worker in workers:
                worker.kill()
            site.worker()

        assert on(cluster, delay_s=0.01, stop=after(100, disturb)) == summary(run(None))


def test_no_worker_left_is_one_line(site: Site) -> None:
    worker = site.worker()
    with (connect(ClusterSettings(str(site.file), patience=3)) as cluster,
          pytest.raises(BittailorError, match=r"the cluster has had no worker for 3 s.*start workers")):
        on(cluster, delay_s=0.01, stop=after(50, worker.kill))


def test_a_lost_scheduler_is_one_line_and_the_search_goes_on(site: Site, tmp_path: Path) -> None:
    site.worker()
    with Store(tmp_path / "s.sqlite", {"task": "toy"}) as store:
        with (connect(ClusterSettings(str(site.file))) as cluster,
              pytest.raises(BittailorError, match=r"the scheduler tcp://.* is gone.*start one and resume")):
            on(cluster, delay_s=0.01, store=store, stop=after(100, site.scheduler.kill))
        assert 100 <= len(store) < SETTINGS.evaluations
        assert summary(search(SPACE, OBJECTIVES, run_here, SETTINGS, store, seeds=SEEDS)) == summary(run(None))


def run_here(genomes: Any) -> Iterator[Any]:
    return iter(make_toy()(genomes))


def test_other_code_is_refused_at_once_and_where_it_joins(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(SOURCE, other / "bittailor")
    with (other / "bittailor/core/arith.py").open("a") as file:
        file.write("\n# another\n")
    worker = site.worker(other)
    with pytest.raises(BittailorError, match=r"worker tcp://.* runs other code than this process: code \w+ th"):
        connect(ClusterSettings(str(site.file)))
    worker.kill()
    site.worker()
    time.sleep(1)  # the scheduler forgets the first
    with connect(ClusterSettings(str(site.file))) as cluster:
        def disturb() -> None:
            site.worker(other)
            until(lambda: len(cluster._client.scheduler_info(n_workers=-1)["workers"]) == 2)

        with pytest.raises(BittailorError, match=r"runs other code than this process.*, and resume"):
            on(cluster, delay_s=0.02, stop=after(20, disturb))


def test_nobody_there_is_one_line(tmp_path: Path) -> None:
    for address, words in {"tcp://127.0.0.1:1": "no scheduler answers at tcp://127.0.0.1:1",
                           str(tmp_path / "none.json"): "there is no file"}.items():
        with pytest.raises(BittailorError, match=words):
            connect(ClusterSettings(address))


@pytest.mark.parametrize(("settings", "words"), [
    ({"address": "local:"}, "no number of processes"), ({"address": "local:0"}, "no number of processes"),
    ({"address": "host"}, "the cluster 'host' is unknown"), ({"patience": 0}, "patience is 0"),
    ({"address": "tls://a:1", "tls_cert": "c"}, "belong together"), ({"tls_ca": "c"}, "add --cluster tls"),
])
def test_settings_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BittailorError, match=words):
        ClusterSettings(**settings)


COORDINATOR = """
import sys
from functools import partial
from pathlib import Path
from search_toy import OBJECTIVES, SEEDS, SETTINGS, SPACE, make_toy
from bittailor.search import Store, search
from bittailor.search.executors.connecting import ClusterSettings, connect
from bittailor.train.recipe import Retraining
with Store(sys.argv[2], {"task": "toy"}) as store, connect(ClusterSettings(sys.argv[1])) as cluster:
    search(SPACE, OBJECTIVES, cluster.evaluation(partial(make_toy, 0.01)), SETTINGS, store, seeds=SEEDS)
"""


def stored(path: Path) -> int:
    try:
        with Store(path, readonly=True) as store:
            return len(store)
    except BittailorError:  # not made yet
        return 0


def test_a_killed_coordinator_goes_on(site: Site, tmp_path: Path) -> None:
    site.worker()
    path = tmp_path / "s.sqlite"
    coordinator = python("-c", COORDINATOR, str(site.file), str(path))
    until(lambda: stored(path) >= 100)
    coordinator.kill()
    coordinator.communicate()
    assert 100 <= stored(path) < SETTINGS.evaluations
    again = python("-c", COORDINATOR, str(site.file), str(path))
    assert again.communicate(timeout=120) == ("", "")  # nothing of Dask's own talk either
    with Store(path, readonly=True) as store:
        found = search(SPACE, OBJECTIVES, run_here, SETTINGS, store_of(store), seeds=SEEDS)
    assert found.new == 0
    assert summary(found) == summary(run(None))


def store_of(old: Store) -> Store:
    """A copy in memory of which nothing is missing: a search on it evaluates nothing."""
    made = Store(":memory:")
    made.put_all([(row.key, row.genome, row.outcome, row.generation) for row in old.rows()])
    return made


@pytest.mark.slow
def test_a_run_with_beacons_is_that_of_this_process(local: Executor, tmp_path: Path) -> None:
    network = small_network()
    data = small_data(network)
    rule = {"recipe": Retraining(epochs=2), "polish": 2}
    one = beacon_run(network, data, tmp_path / "one", rule)
    two = beacon_run(network, data, tmp_path / "two", rule, executor=local)
    assert whole(one) == whole(two)
    assert one.result["beacons"]["retrainings"] >= 4
    at = bt.run_sensitivity(one, data), bt.run_sensitivity(two, data, executor=local)
    assert at[0] == at[1]


class Told(Display):
    """Acts once, when a beacon is trained."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act, self.done = act, False

    def tell(self, text: str) -> None:
        if "retraining" in text and not self.done:
            self.done = True
            threading.Thread(target=self.act).start()


@pytest.mark.slow
def test_a_training_lost_with_its_worker_is_done_again(site: Site, tmp_path: Path) -> None:
    site.worker()
    network = small_network()
    data = small_data(network)
    rule = {"recipe": Retraining(epochs=40), "polish": 0, "budget": 2}
    one = beacon_run(network, data, tmp_path / "one", rule)
    killed: list[str] = []
    with connect(ClusterSettings(str(site.file))) as cluster:
        client = cluster._client

        def training() -> list[str]:
            return [worker for worker, keys in client.processing().items() if any("_task" in str(k) for k in keys)]

        def kill() -> None:
            until(training)
            time.sleep(0.5)
            pids = client.run(os.getpid)
            os.kill(pids[training()[0]], signal.SIGKILL)
            killed.append("one")
            site.worker()

        two = beacon_run(network, data, tmp_path / "two", rule, executor=cluster, display=Told(kill))
    assert killed
    assert whole(one) == whole(two)
