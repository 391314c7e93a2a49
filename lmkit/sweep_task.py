"""What a worker of a sweep does: one run, in a process of its own, its result left in the folder.

Workers import only this, so it stays light: no torch here.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmkit.fields import InputError
from lmkit.files import project_root, write_json
from lmkit.locks import take

LOCK_S = 120.0  # how long to wait for a killed worker's process to let go of a run folder
SIGHT_S = 30.0  # how long to wait for a file that another machine has written
POLL_S = 0.2
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_OWN = threading.local()  # a run server for each thread of a worker
TIMES = "sweep.json"  # in the run folder: what the sweep measured from outside


def log_path(folder: Path) -> Path:
    """Where the log of a run is: logs/<side>-<run>.log in the sweep's folder."""
    return folder.parents[2] / "logs" / f"{folder.parent.name}-{folder.name}.log"


def failed_notebook(folder: Path) -> Path:
    """The executed notebook of a run that failed."""
    return folder.parent / f"{folder.name}.03_train.failed.ipynb"


HERE = ".here"  # file in the sweep's folder that whoever trains must see
UNSEEN = "expected to see the sweep's folder, for results come through it, got nothing there"


def run_one(preset: str, asked: Mapping[str, Any], folder: str, gpus: int = 0) -> dict[str, Any]:
    """Train one run by 03_train in a process of its own; a finished one is only opened.

    Threads per run are those of OMP_NUM_THREADS in the worker's environment; dask sets 1 where the
    worker was started without it.

    Args:
        preset, asked: the base and the settings over it.
        folder: of the run.
        gpus: on this machine, to be dealt out among its workers; 0: leave that to the environment.
    Returns: ok, reason (of a failure, one line), wall_s.
    """
    begun, path = time.perf_counter(), Path(folder)
    if not sees(str(path.parents[2]), SIGHT_S):  # a worker that came late, on another machine
        return {"ok": False, "reason": f"{socket.gethostname()}: {UNSEEN}", "wall_s": 0.0}
    wait_until_free(path)
    parameters = {"preset": preset, **asked}
    answer = _answer({"log": str(log_path(path)), "parameters": parameters}, gpus)
    wall_s = time.perf_counter() - begun
    if answer["ok"]:
        _write_times(path, wall_s)
    return answer | {"wall_s": wall_s}


def wait_until_free(folder: Path, longest_s: float = LOCK_S) -> None:
    """Wait for whoever writes a run folder; after `longest_s` the run itself says who is in it."""
    within(longest_s, lambda: not folder.is_dir() or _is_free(folder))


def _is_free(folder: Path) -> bool:
    with (folder / ".lock").open("w") as file:
        try:
            return take(file, folder)
        except InputError:  # no locks on this file system; the run itself says so
            return True


def reason(folder: Path) -> str:
    """Why a run failed, in one line, from its log; empty where the log does not say."""
    try:
        lines = log_path(folder).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else ""


def sees(folder: str, longest_s: float) -> bool:
    """Whether a worker sees the file that the sweep has written into its folder.

    Args:
        longest_s: how long to wait for it; a network's file system may show it late.
    """
    return within(longest_s, (Path(folder) / HERE).exists)


def within(longest_s: float, condition: Callable[[], bool]) -> bool:
    """Whether a condition comes true within some seconds; asked at once, and again and again."""
    until = time.monotonic() + longest_s
    while not condition():
        if time.monotonic() >= until:
            return False
        time.sleep(POLL_S)
    return True


def _answer(job: dict[str, Any], gpus: int) -> dict[str, Any]:
    """What the thread's run server says to a job; a server that ends has failed it."""
    server, cancelled = _server(Path(job["log"]).parent, gpus), _cancelled()
    to, back = server.stdin, server.stdout
    if to is None or back is None:
        raise RuntimeError("run server: expected pipes to and from it, got none")
    try:
        to.write(json.dumps(job).encode() + b"\n")
        to.flush()
    except OSError:
        return {"ok": False, "reason": _ended(server)}
    while True:
        ready, _, _ = select.select([back], [], [], POLL_S)
        if ready:
            line = back.readline()
            return json.loads(line) if line else {"ok": False, "reason": _ended(server)}
        if cancelled() and not to.closed:
            to.close()  # it stops its notebook and ends


def _server(logs: Path, gpus: int) -> subprocess.Popen[bytes]:
    """The run server of this thread, started where there is none; see `lmkit.run_server`.

    It lasts from run to run, for starting Python, torch and papermill takes seconds. What it and
    its kernels say by themselves goes to logs/server-<host>-<process>.log.
    """
    server = getattr(_OWN, "server", None)
    if server is None or server.poll() is not None or server.stdin.closed:
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / f"server-{socket.gethostname()}-{os.getpid()}.log").open("ab") as log:
            _OWN.server = server = subprocess.Popen(
                [sys.executable, "-m", "lmkit.run_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(gpus),
                cwd=project_root(),
                start_new_session=True,  # Ctrl-C reaches the sweep, which then tells its workers
            )
    return server


def _ended(server: subprocess.Popen[bytes]) -> str:
    code = server.wait()
    return f"killed by signal {-code}; out of memory?" if code < 0 else f"ended with code {code}"


def _environment(gpus: int) -> dict[str, str]:
    found = dict(os.environ)
    threads = found.get("OMP_NUM_THREADS", "1")
    found |= dict.fromkeys(THREADS, threads) | {"LMKIT_UNWATCHED": "1"}  # no live figures
    if gpus:
        from distributed import get_worker  # present wherever this runs; the parent may lack it

        listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # those that this process may use
        names = listed.split(",")[:gpus] if listed else [str(k) for k in range(gpus)]
        found["CUDA_VISIBLE_DEVICES"] = names[int(get_worker().name) % len(names)]
    return found


def _cancelled() -> Callable[[], bool]:
    """Tells whether dask has given up the task that asks; never outside a worker."""
    from distributed import get_worker  # present wherever this runs; the parent may lack it

    try:
        worker = get_worker()
    except ValueError:
        return lambda: False
    key = worker.get_current_task()

    def given_up() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    return given_up


def _write_times(folder: Path, wall_s: float) -> None:
    """Add an attempt to the run's sweep.json."""
    found = {
        "wall_s": times_of(folder).get("wall_s", 0.0) + wall_s,
        "threads": int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0]),  # one per level
        "host": socket.gethostname(),
    }
    write_json(folder / TIMES, found)


def times_of(folder: Path) -> dict[str, Any]:
    """What the sweep measured of a run: wall_s, threads, host; {} where that cannot be read."""
    try:
        found = json.loads((folder / TIMES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and {"wall_s", "threads"} <= found.keys() else {}
