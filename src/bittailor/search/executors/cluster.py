"""Evaluation on a cluster of Dask (`dask.distributed`): many machines, workers that come and go."""

from __future__ import annotations

import logging
import pickle
import queue
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from time import monotonic, perf_counter
from typing import Any, TypeAlias

from distributed import Client, Future, WorkerPlugin

from bittailor.common.identity import code_identity, difference
from bittailor.common.processors import use_at_most
from bittailor.errors import BittailorError
from bittailor.search.executors.base import (
    TRIES,
    Answer,
    Batches,
    Executor,
    WorkerState,
    bare,
    guarded,
    run_batch,
    said,
)
from bittailor.search.space import Genome
from bittailor.search.store import Outcome

Result: TypeAlias = "list[Outcome] | None"

SHORTEST_S = 0.1
"""What a batch takes at least, about: a task costs the scheduler and this process some two milliseconds of work."""
FIRST, AHEAD = 3, 16
"""Batches that are out at a time, per thread of a worker: while it is not known how long an evaluation takes, and then:
a whole generation, as a rule, so that workers need not wait for this process."""
CUT = 2
"""A batch is what is left of a generation over so many times the workers' threads: large ones first, small ones last,
so that all finish together."""
STATES = 4
"""States that workers keep while nobody evaluates with them."""
_LOOK_S = 1.0  # between two looks at who is there
_REFILL_S = 5.0
_FETCH_S = 30.0  # for the results of several batches
MEMORY = "memory"
"""The resource by which Dask workers declare their bytes: `dask worker … --resources "memory=16e9"`."""


# --- on the workers ----------------------------------------------------------------------------------------------

_held: dict[str, bytes] = {}


class _State(WorkerPlugin):  # type: ignore[misc]
    """Brings a state to every worker, those that join later or replace dead ones included."""

    def __init__(self, fingerprint: str, blob: bytes) -> None:
        self.name, self.fingerprint, self.blob = f"bittailor-{fingerprint}", fingerprint, blob

    def setup(self, worker: Any) -> None:
        use_at_most(1)  # one thread a task: as many tasks run as the worker has threads
        _held[self.fingerprint] = self.blob

    def teardown(self, worker: Any) -> None:
        _held.pop(self.fingerprint, None)


def _evaluate(genomes: bytes, identity: dict[str, str], fingerprint: str) -> Result:
    """A batch, as bytes: Dask looks into lists, which takes longer than to send them. None where this worker lacks the
    state."""
    _check_code(identity)
    return run_batch(fingerprint, _held.get(fingerprint), pickle.loads(genomes))


def _task(blob: bytes, identity: dict[str, str]) -> Result:
    """A task: (work, item) as bytes."""
    _check_code(identity)

    def ready() -> Callable[[Sequence[Genome]], Iterator[Outcome]]:
        work, item = pickle.loads(blob)

        def run(_places: Sequence[Genome]) -> Iterator[Outcome]:
            start = perf_counter()
            found = work(item)
            yield Answer({}, None, perf_counter() - start, found=found)

        return run

    return list(guarded(ready, [(0,)]))


def _check_code(identity: dict[str, str]) -> None:
    if differs := difference(identity, code_identity()):
        from distributed import get_worker

        raise BittailorError(f"worker {get_worker().address} runs other code than this process: {differs}. Install the "
                             "same on both, and resume")


# --- on this side ------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Batch:
    """Genomes or a task on their way; `outcomes` once they are back."""

    genomes: list[Genome]
    send: Callable[[list[bytes]], list[Future]]
    blob: Callable[[], bytes]
    state: WorkerState | None = None
    future: Future | None = None
    outcomes: list[Outcome] | None = None
    lost: int = 0
    start: float = field(default_factory=perf_counter)


class Cluster(Executor):
    """Evaluates on the workers of a Dask scheduler. `run` may be called by several threads at once.

    Every worker holds the states (a plugin of the scheduler: workers that join later get them too); batches name them.
    What a dead worker had is done again by others. Genomes of a batch that died with several workers are tried alone,
    so that the one to blame is known, and that one is failed.

    client    connected; closed with this executor by `stop`, if given
    patience  seconds to wait while the cluster has no worker
    refill    called now and then while there are fewer workers than there were: starts those that are missing
    """

    remote = True

    def __init__(self, client: Client, patience: float = 300.0, stop: Callable[[], None] | None = None,
                 refill: Callable[[], None] | None = None) -> None:
        self._client, self._patience, self._stop, self._refill = client, patience, stop, refill
        self._identity = code_identity()
        self._lock, self._alone = threading.Lock(), threading.Lock()
        self._states: OrderedDict[str, int] = OrderedDict()  # fingerprint -> runs that use it; the longest unused first
        self._pace: dict[str, float] = {}  # fingerprint -> seconds of an evaluation
        self._workers: set[str] = set()
        self._at_work: dict[str, tuple[str, ...]] = {}
        self._seen = self._looked = self._refilled = monotonic()
        self._most = 0
        self._lost = self._retried = self._slots = 0

    def run(self, state: WorkerState, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        with self._holding(state):
            fingerprint = state.fingerprint
            self._look(force=True)
            # a known pace sizes the batches of the first wave too
            pace = self._pace.get(fingerprint)
            least = 1 if pace is None else ceil(SHORTEST_S / max(pace, 1e-6))
            batches = Batches(genomes, least, CUT * max(1, self._slots), pace, state.alone)

            def send(several: list[bytes]) -> list[Future]:
                return list(self._client.map(_evaluate, several, identity=self._identity, fingerprint=fingerprint,
                                             pure=False))

            for done in self._flight((_Batch(batch, send, partial(_pickled, batch), state) for batch in batches),
                                     FIRST if pace is None else AHEAD):
                batches.took(done)
                seconds = sum(outcome.seconds for outcome in done) / len(done)
                self._pace[fingerprint] = seconds if pace is None else 0.5 * (seconds + self._pace[fingerprint])
                yield from done

    def tasks(self, work: Callable[[Any], Any], items: Sequence[Any], memory: int = 0) -> Iterator[Answer]:
        resources = self._resources(memory)

        def send(several: list[bytes]) -> list[Future]:
            return list(self._client.map(_task, several, identity=self._identity, pure=False, resources=resources,
                                         priority=1))

        self._look(force=True)
        batches = (_Batch([(i,)], send, partial(_pickled, (work, item))) for i, item in enumerate(items))
        for answers in self._flight(batches, AHEAD):
            for answer in answers:
                yield answer if isinstance(answer, Answer) else Answer(None, answer.reason, answer.seconds)

    def standing(self) -> str:
        words = f"{len(self._workers)} worker{'s' * (len(self._workers) != 1)}"
        return words + (f" ({self._lost} lost, {self._retried} retried)" if self._lost or self._retried else "")

    def ask(self, probe: Callable[[], str]) -> dict[str, str]:
        """What every worker that is there answers: its address -> the answer."""
        with _as_error(self._client):
            return dict(self._client.run(probe))

    def close(self) -> None:
        stop, self._stop = self._stop, None
        with _as_error(self._client):
            for fingerprint in list(self._states):
                self._forget(fingerprint)
        if stop is not None:
            stop()

    # states

    @contextmanager
    def _holding(self, state: WorkerState) -> Iterator[None]:
        """Workers have the state meanwhile."""
        fingerprint = state.fingerprint
        with self._lock, _as_error(self._client):
            if fingerprint not in self._states:
                self._client.register_plugin(_State(fingerprint, state.blob))
            self._states[fingerprint] = self._states.get(fingerprint, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._states[fingerprint] -= 1
                self._states.move_to_end(fingerprint)
                unused = [name for name, users in self._states.items() if not users]
                for name in unused[:max(0, len(unused) - STATES)]:
                    self._forget(name)

    def _forget(self, fingerprint: str) -> None:
        self._states.pop(fingerprint, None)
        if self._client.status == "running":
            self._client.unregister_worker_plugin(f"bittailor-{fingerprint}")

    # batches

    def _flight(self, ready: Iterator[_Batch], ahead: int) -> Iterator[list[Outcome]]:
        """Send batches, so many at a time for each thread of a worker; their outcomes, in order."""
        waiting: deque[_Batch] = deque()
        arrived: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        out: set[_Batch] = set()
        suspects: list[_Batch] = []
        try:
            while True:
                new: list[_Batch] = []
                while (not suspects and len(out) + len(new) < ahead * max(1, self._slots)
                       and (batch := next(ready, None)) is not None):
                    new.append(batch)
                waiting.extend(new)
                out.update(new)
                self._send(new, arrived)
                if out:
                    self._collect(arrived, out, suspects)
                elif suspects:  # nothing else is at work: a death is its own
                    self._one_by_one(suspects.pop())
                elif not waiting:
                    return
                while waiting and (outcomes := waiting[0].outcomes) is not None:
                    waiting.popleft()
                    yield outcomes
        finally:
            futures = [batch.future for batch in out if batch.future is not None]
            if futures and self._client.status == "running":
                self._client.cancel(futures, force=True)

    def _send(self, batches: Sequence[_Batch], arrived: queue.SimpleQueue[_Batch]) -> None:
        """Send batches of one kind, together: what they cost the scheduler together is less."""
        if not batches:
            return
        with _as_error(self._client):
            futures = batches[0].send([batch.blob() for batch in batches])
            for batch, future in zip(batches, futures, strict=True):
                batch.future = future
                future.add_done_callback(partial(_put, arrived, batch))

    def _collect(self, arrived: queue.SimpleQueue[_Batch], out: set[_Batch], suspects: list[_Batch]) -> None:
        """Wait for something to arrive, and take all that did."""
        here: list[_Batch] = []
        try:
            here.append(arrived.get(timeout=_LOOK_S))
            while True:
                here.append(arrived.get_nowait())
        except queue.Empty:
            pass
        self._look()
        found = self._results([b.future for b in here if b.future is not None and b.future.status == "finished"])
        for batch in here:
            if batch.future in found:
                result = found[batch.future]
                if result is None:  # joined while the state was on its way
                    self._again(batch, arrived)
                else:
                    batch.outcomes = result
            else:
                self._failed(batch, arrived, suspects)
            if batch.outcomes is not None or batch in suspects:
                out.discard(batch)
                batch.future = None

    def _results(self, futures: list[Future]) -> dict[Future, Result]:
        """Results of finished futures; those are not in it whose worker died before it gave them away."""
        if not futures:
            return {}
        try:
            found = self._client.sync(self._client._gather, futures, callback_timeout=_FETCH_S)
            return dict(zip(futures, found, strict=True))
        except (Exception, CancelledError):  # of one of them: which, shows when each is alone
            self._connected()
        each: dict[Future, Result] = {}
        for future in futures:
            with suppress(Exception, CancelledError):
                each[future] = future.result(timeout=_LOOK_S)
        return each

    def _failed(self, batch: _Batch, arrived: queue.SimpleQueue[_Batch], suspects: list[_Batch]) -> None:
        """A batch that raised, or that Dask gave up: again; if workers died with it, later and genome by genome."""
        if batch.future is not None and batch.future.status == "pending":  # its result was lost: it is made again
            self._retried += 1
            batch.future.add_done_callback(partial(_put, arrived, batch))
            return
        error = _error_of(batch.future)
        if isinstance(error, BittailorError):
            raise bare(error) from None
        self._connected()
        batch.lost += 1
        if _killed(error):
            suspects.append(batch)
        elif batch.lost < TRIES:
            self._again(batch, arrived)
        elif len(batch.genomes) > 1:
            suspects.append(batch)
        else:
            batch.outcomes = [Outcome(None, f"lost {TRIES} times, the last because of {said(error)}",
                                      perf_counter() - batch.start)]

    def _again(self, batch: _Batch, arrived: queue.SimpleQueue[_Batch]) -> None:
        self._retried += 1
        if batch.state is not None:
            self._state_again(batch.state)
        self._send([batch], arrived)

    def _state_again(self, state: WorkerState) -> None:
        """Hand the state out once more; a worker that dies just then breaks that, not the scheduler's being there."""
        for _ in range(TRIES):
            with suppress(OSError):
                self._client.register_plugin(_State(state.fingerprint, state.blob))
                return
            self._connected()
        with _as_error(self._client):
            self._client.register_plugin(_State(state.fingerprint, state.blob))

    def _one_by_one(self, batch: _Batch) -> None:
        """Outcomes of a batch of which one genome is to blame, or none."""
        self._retried += 1
        found: list[Outcome] = []
        with self._alone:
            for genome in batch.genomes:
                blob = partial(_pickled, [genome]) if batch.state is not None else batch.blob
                only = _Batch([genome], batch.send, blob, batch.state)
                arrived: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
                out, killed = {only}, list[_Batch]()
                self._send([only], arrived)
                while out:
                    self._collect(arrived, out, killed)
                found += only.outcomes or [Outcome(None, f"its worker died, again and again, while evaluating genome "
                                                         f"{' '.join(map(str, genome))} (out of memory?)",
                                                   perf_counter() - only.start)]
        batch.outcomes = found

    # who is there

    def _look(self, force: bool = False) -> None:
        """Once a second: which workers there are, which went away and what they were doing."""
        now = monotonic()
        with self._lock:
            if not force and now - self._looked < _LOOK_S:
                return
            self._looked = now
            self._connected()
            with _as_error(self._client):
                about = self._client.scheduler_info(n_workers=-1)["workers"]
                there = set(about)
                at_work = {name: tuple(keys) for name, keys in self._client.processing().items()}
            gone = self._workers - there
            self._lost += len(gone)
            self._retried += sum(len(self._at_work.get(name, ())) for name in gone)
            self._workers, self._at_work = there, at_work
            self._slots = sum(int(worker["nthreads"]) for worker in about.values())
            self._most = max(self._most, len(there))
            if there:
                self._seen = now
            if len(there) < self._most and self._refill is not None and now - self._refilled > _REFILL_S:
                self._refilled = now
                self._refill()
        if now - self._seen > self._patience:
            raise BittailorError(f"the cluster has had no worker for {self._patience:.0f} s. What is finished is "
                                 "stored; start workers and resume")

    def _connected(self) -> None:
        if self._client.status != "running":
            raise _gone(self._client)

    def _resources(self, memory: int) -> dict[str, float] | None:
        """What a task of so many bytes asks of its worker, where workers declare their memory."""
        if not memory:
            return None
        with _as_error(self._client):
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        declared = [float(w["resources"][MEMORY]) for w in workers if MEMORY in w.get("resources", {})]
        most = float("inf")
        largest = max(declared or [float(w["memory_limit"] or most) for w in workers], default=most)
        if memory > largest:
            raise BittailorError(f"a task takes about {memory / 1e9:.1f} GB; the largest worker has "
                                 f"{largest / 1e9:.1f} GB. Start workers with more")
        return {MEMORY: float(memory)} if declared else None


def _pickled(what: Any) -> bytes:
    return pickle.dumps(what, pickle.HIGHEST_PROTOCOL)


def _put(arrived: queue.SimpleQueue[_Batch], batch: _Batch, _done: Future) -> None:
    arrived.put(batch)


def _error_of(future: Future | None) -> BaseException:
    """Why a future has no result."""
    if future is None or future.status != "error":
        return RuntimeError("the cluster lost it")
    return future.exception() or RuntimeError("the cluster lost it")


def _killed(error: BaseException) -> bool:
    from distributed import KilledWorker

    return isinstance(error, KilledWorker)


@contextmanager
def _as_error(client: Client) -> Iterator[None]:
    """What a connection that breaks raises, as one line."""
    try:
        yield
    except BittailorError:
        raise
    except (OSError, RuntimeError, ValueError, TimeoutError) as error:
        logging.getLogger(__name__).debug("lost: %s", error)
        raise _gone(client, error) from None


def _gone(client: Client, error: BaseException | None = None) -> BittailorError:
    address = getattr(client.scheduler, "address", "") or "the cluster"
    why = "" if error is None else f" ({said(error)})"
    return BittailorError(f"the scheduler {address} is gone{why}. What is finished is stored; start one and resume")
