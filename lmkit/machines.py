"""Where the runs of a sweep go: dask workers of this machine, or those of a scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from lmkit import sweep_task
from lmkit.fields import InputError
from lmkit.files import write_text

MEMORY_GB = 3.0  # of a run's process; the 64–1024 network takes 2.7 in training
LOST = 5  # a run whose worker was lost more often than this counts as failed

Log = Callable[[str], None]


@dataclass(frozen=True)
class Machines:
    """Where runs go.

    Attributes:
        scheduler: address such as tcp://host:8786; empty = workers of this machine, started here.
        workers: how many on this machine; 0 = as many as cores or GPUs and memory allow.
    """

    scheduler: str = ""
    workers: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.workers, int) or self.workers < 0:
            raise InputError(f"workers: expected a whole number >= 0, got {self.workers!r}")


def how_many(pending: int, asked: int = 0, gpus: int | None = None) -> tuple[int, int, int]:
    """Workers, threads of each, and GPUs to deal out, for some runs on this machine.

    Cores and memory are those that this process may use: dask reads the limits of containers and
    of batch systems (cgroups, affinity).

    Args:
        pending: runs to come.
        asked: workers; 0 = as many as fit.
        gpus: to use; None = all that torch sees.
    Raises: InputError without dask.
    """
    dask, distributed = _dask()
    cores = dask.system.cpu_count()
    gpus = torch.cuda.device_count() if gpus is None else gpus
    room = min(psutil.virtual_memory().available, distributed.system.memory_limit())
    by_memory = int(room / 2**30 / MEMORY_GB)
    most = gpus or min(cores, by_memory)
    n = min(asked or max(1, most), pending)
    return n, max(1, cores // n), gpus


@contextmanager
def connect(
    folder: Path, machines: Machines, pending: int, log: Log, gpus: int | None = None
) -> Iterator[tuple[Any, int, int, int]]:
    """A connected client, how many runs go at once, the threads of each, and GPUs to deal out.

    Args:
        folder: of the sweep; the workers of a scheduler must see it.
        machines: where to.
        pending: how many runs there are.
        log: takes one line at a time.
        gpus: of this machine to use; None = all of them.
    Raises: InputError for a scheduler that does not answer, has no workers, or whose workers do
        not see the folder.
    """
    dask, distributed = _dask()
    write_text(folder / sweep_task.HERE, "whoever trains looks for this file\n")
    if machines.scheduler:
        with _connected(distributed, machines.scheduler) as client:
            _check_folder(client, folder)
            log(f"scheduler {machines.scheduler}, dashboard {client.dashboard_link}")
            yield client, sum(client.nthreads().values()), 1, 0  # dask runs one in each thread
        return
    n, threads, gpus = how_many(pending, machines.workers, gpus)
    quiet = {"distributed.scheduler.allowed-failures": LOST}
    with (
        _environment_kept(),
        dask.config.set(quiet),
        distributed.LocalCluster(
            n_workers=n,
            threads_per_worker=1,  # one run at a time each
            processes=True,
            memory_limit=0,  # the runs are processes of their own
            dashboard_address=None,
            silence_logs="CRITICAL",
            env={"OMP_NUM_THREADS": str(threads)},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        log(f"{n} workers here, {threads} threads each" + (f", {gpus} GPUs" if gpus else ""))
        yield client, n, threads, gpus


@contextmanager
def _environment_kept() -> Iterator[None]:
    """The environment as it was: dask leaves in it what it sets for its workers, such as one
    thread, and every process started later would train with that and to other weights."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def _dask() -> tuple[Any, Any]:
    try:
        import dask
        import dask.system
        import distributed
    except ImportError:
        raise InputError(
            "sweep: expected dask and distributed, found none; pip install -e '.[sweep]'"
        ) from None
    return dask, distributed


@contextmanager
def _connected(distributed: Any, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=20)
    except (OSError, ValueError) as error:
        raise InputError(
            f"scheduler: expected a dask scheduler at {address}, got: "
            f"{str(error).splitlines()[0]}; start one with: dask scheduler"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=60)
        except TimeoutError:
            raise InputError(
                f"scheduler: expected a worker at {address} within a minute, got none; start one "
                f"with: dask worker {address} --nthreads 1"
            ) from None
        yield client


def _check_folder(client: Any, folder: Path) -> None:
    """Raises: InputError naming a worker that does not see the sweep's folder."""
    for worker, found in client.run(sweep_task.sees, str(folder), sweep_task.SIGHT_S).items():
        if not found:
            raise InputError(
                f"{worker}: {folder}: {sweep_task.UNSEEN}; name a shared folder: "
                "-p outputs /shared/outputs"
            )
