"""From `--cluster …` to an executor: connecting to a Dask cluster, and refusing one whose workers run other code."""

from __future__ import annotations

import json
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bittailor.common.files import read_bytes
from bittailor.common.identity import code_identity, difference
from bittailor.errors import BittailorError

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

    from bittailor.search.executors.cluster import Cluster

LOCAL = "local:"
_CONNECT_S = 20.0
_WORDS = "expected tcp://HOST:PORT, tls://HOST:PORT, a scheduler's JSON file, or local:N"


@dataclass(frozen=True)
class ClusterSettings:
    """Where candidates are evaluated and networks retrained; results do not depend on it.

    address   tcp://HOST:PORT or tls://HOST:PORT of a Dask scheduler, the JSON file that it wrote, or local:N for N
              processes of this machine; empty: this process (see `workers`)
    tls_ca    file of the certificate authority, for tls://; where empty, what Dask's own configuration says
    tls_cert  file of this process's certificate
    tls_key   file of its key
    patience  seconds to wait while the cluster has no worker, before the search ends (to be resumed)
    """

    address: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    patience: float = 300.0

    def __post_init__(self) -> None:
        where = self.address
        if where.startswith(LOCAL):
            if not where.removeprefix(LOCAL).isdecimal() or int(where.removeprefix(LOCAL)) < 1:
                raise BittailorError(f"the cluster '{where}' has no number of processes; write it like local:4")
        elif where and "://" not in where and not where.endswith(".json"):
            raise BittailorError(f"the cluster '{where}' is unknown; {_WORDS}")
        if not 0 < self.patience < float("inf"):
            raise BittailorError(f"patience is {self.patience}; expected seconds, more than 0")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise BittailorError("a TLS certificate and its key belong together; give both, or neither")
        if not where and (self.tls_ca or self.tls_cert):
            raise BittailorError("TLS files are for a cluster; add --cluster tls://HOST:PORT")


def connect(settings: ClusterSettings, say: Callable[[str], None] = lambda text: None) -> Cluster:
    """An executor on a cluster; close it, or use it as a context manager.

    say     told where the dashboard is and who works
    Raises  BittailorError where Dask is not installed, nobody answers, there is no worker within `patience`, or a
            worker runs other code than this process.
    """
    if find_spec("distributed") is None:
        raise BittailorError("a cluster needs dask.distributed, which is not installed; "
                             "pip install 'bittailor[cluster]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ports in use, of versions: what matters is compared below
        from bittailor.search.executors.cluster import Cluster

        _quiet()
        client, local = _client(settings)

    def stop() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client.close()
            if local is not None:
                local.close()

    try:
        _wait_for_worker(client, settings.patience, say)
        _same_code(client)
        # without bokeh a scheduler's page is empty; of another machine's that cannot be known
        if "dashboard" in client.scheduler_info(n_workers=0)["services"] and (local is None or find_spec("bokeh")):
            say(f"dashboard: {client.dashboard_link}")
    except BaseException:
        stop()
        raise
    return Cluster(client, settings.patience, stop, None if local is None else partial(_refill, local, settings))


def _refill(local: LocalCluster, settings: ClusterSettings) -> None:
    """Start worker processes that are missing: Dask gives up one that dies while it starts."""
    local.scale(int(settings.address.removeprefix(LOCAL)))


def _quiet() -> None:
    """Dask's own talk is not for users: what they need to know is said here, in our words."""
    for name in ("distributed", "tornado.application", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _client(settings: ClusterSettings) -> tuple[Client, LocalCluster | None]:
    from distributed import Client

    where = settings.address
    if where.startswith(LOCAL):
        local = _local(int(where.removeprefix(LOCAL)))
        return Client(local, set_as_default=False), local
    address = where if "://" in where else _address_in(Path(where))
    _check_answer(address, where)
    security = _security(settings, address)
    client = Client.__new__(Client)
    try:
        client.__init__(address, timeout=_CONNECT_S, set_as_default=False, security=security)
    except (OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        client.status = "closed"  # or it would try to say good-bye for a minute when it is deleted
        text = " ".join(str(error).split()) or type(error).__name__
        raise BittailorError(f"no scheduler answers at {where}: {text}") from None
    return client, None


def _address_in(file: Path) -> str:
    """The address that a scheduler wrote into a file."""
    try:
        found = json.loads(read_bytes(file))["address"] if file.is_file() else None
    except (ValueError, TypeError, KeyError):
        raise BittailorError(f"{file} is not what a Dask scheduler writes (--scheduler-file)") from None
    if found is None:
        raise BittailorError(f"there is no file '{file}'; {_WORDS}")
    return str(found)


def _check_answer(address: str, where: str) -> None:
    """BittailorError where nothing listens: Dask takes a minute to find that out."""
    parts = urlsplit(address)
    try:
        host, port = parts.hostname or "", parts.port or 8786
    except ValueError:
        raise BittailorError(f"the cluster '{where}' is unknown; {_WORDS}") from None
    if parts.scheme in ("tcp", "tls"):
        try:
            socket.create_connection((host, port), timeout=_CONNECT_S).close()
        except OSError as error:
            raise BittailorError(f"no scheduler answers at {address}: {error.strerror or error}") from None


def _security(settings: ClusterSettings, address: str) -> Any:
    import dask
    from distributed import Security

    if not (settings.tls_ca or settings.tls_cert):
        if address.startswith("tls:") and not dask.config.get("distributed.comm.tls.ca-file", None):
            raise BittailorError(f"{address} wants certificates: give --tls-ca, --tls-cert and --tls-key, or set "
                                 "Dask's distributed.comm.tls")
        return None  # what Dask's configuration says

    for file in (settings.tls_ca, settings.tls_cert, settings.tls_key):
        if file and not Path(file).is_file():
            raise BittailorError(f"there is no file '{file}'; expected a TLS file in PEM format")
    return Security(tls_ca_file=settings.tls_ca or None, tls_client_cert=settings.tls_cert or None,
                    tls_client_key=settings.tls_key or None, require_encryption=True)


def _local(n: int) -> LocalCluster:
    """Worker processes of this machine, which share its memory."""
    import dask
    from distributed import LocalCluster
    from distributed.system import MEMORY_LIMIT

    from bittailor.search.executors.cluster import MEMORY

    # what kills two processes is tried once more, alone
    with _worker_environment(), dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        return LocalCluster(n_workers=n, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0",
                            silence_logs=logging.CRITICAL, resources={MEMORY: MEMORY_LIMIT / n},
                            memory_limit=MEMORY_LIMIT)


@contextmanager
def _worker_environment() -> Iterator[None]:
    """Workers import what this process imports, also where it was found by its own `sys.path`."""
    import sys

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _wait_for_worker(client: Client, patience: float, say: Callable[[str], None]) -> None:
    start, told = monotonic(), False
    while not client.scheduler_info(n_workers=-1)["workers"]:
        if monotonic() - start > patience:
            raise BittailorError(f"the cluster has had no worker for {patience:.0f} s; start some, such as:  dask "
                                 f"worker {client.scheduler.address} --nworkers auto --nthreads 1")
        if not told and monotonic() - start > 2:
            told = True
            say(f"waiting for the first worker at {client.scheduler.address}")
        sleep(0.1)


def _same_code(client: Client) -> None:
    """BittailorError where a worker runs other code than this process, or none."""
    ours = code_identity()
    for worker, theirs in client.run(code_identity, on_error="return").items():
        if isinstance(theirs, BaseException):
            text = " ".join(str(theirs).split()) or type(theirs).__name__
            raise BittailorError(f"worker {worker} has no bittailor of this version ({text}); install "
                                 f"bittailor {ours['bittailor']} there")
        if differs := difference(ours, theirs):
            raise BittailorError(f"worker {worker} runs other code than this process: {differs}. Install the same on "
                                 "both")
