"""Runs notebooks one after the other for one worker, so that only their kernels start anew.

Jobs come as lines of JSON on standard input, {"log": file, "parameters": {...}}; each is an
execution of 03_train, whose kernel is a process of its own. The answer is a line {"ok", "reason"}.
When the pipe closes, however that came about, the notebook is stopped and this process ends: a
killed worker leaves no training behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from lmkit import notebooks
from lmkit.fields import InputError

GRACE_S = 5.0  # for the notebook's kernel to be shut down


def serve() -> None:
    """Answer jobs until standard input closes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what kernels print by themselves must not come between the answers
    jobs: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    while True:
        job = json.loads(jobs.get())
        print(json.dumps(_done(Path(job["log"]), job["parameters"])), file=answers, flush=True)


def _done(log: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run 03 with its output in a log; a failure is written there and returned."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w", buffering=1) as out,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        try:
            notebooks.execute("03_train", parameters)
        except InputError as error:
            print(f"error: {error}")
            return {"ok": False, "reason": str(error)}
        except Exception as error:  # whatever it was, the next job must have its turn
            traceback.print_exc()
            said = " ".join(str(error).split()) or type(error).__name__
            print(f"error: {said}")
            return {"ok": False, "reason": said}
    return {"ok": True, "reason": ""}


def _listen(jobs: queue.Queue[bytes]) -> None:
    """Put lines into the queue; at the end of them stop this process."""
    rest = b""
    while piece := os.read(0, 65536):  # not sys.stdin: its lock outlives the program
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            jobs.put(line)
    signal.raise_signal(signal.SIGINT)  # papermill stops its kernel
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    try:
        serve()
    except KeyboardInterrupt:
        sys.exit(1)
