"""The runs of an ablation, by dask: on this machine, or on the workers of a scheduler.

python -m lmkit.sweep --preset quick; --scheduler tcp://host:8786 for a cluster. Every run is 03 in
a process and a folder of its own (`lmkit.sweep_task`), and results come through the folders alone.
Finished runs are skipped and interrupted ones go on, so whatever is killed, call it again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from tqdm.auto import tqdm

from lmkit import sweep_task
from lmkit.ablation import Plan, describe, plan_runs, plan_table
from lmkit.batches import canvas_for
from lmkit.data import open_for
from lmkit.fields import InputError
from lmkit.findings import FINISHED, after_first_look, refuse_foreign, state_of
from lmkit.gridfile import GRID
from lmkit.machines import Log, Machines, connect, how_many
from lmkit.notebooks import value_of
from lmkit.planning import Planned
from lmkit.protocol import changed_since, keep_protocol
from lmkit.sweep_cost import Cost, estimate


def run_sweep(plan: Plan, machines: Machines | None = None, log: Log = print) -> dict[str, str]:
    """Run what is not finished yet; call it again after any interruption.

    Args:
        plan: see `lmkit.ablation.plan_runs`; one with a first look is screened before.
        machines: where to.
        log: takes one line at a time.
    Returns: label -> reason of the runs that failed; the others are finished.
    Raises: InputError where no run could start: data, scheduler, folder.
    """
    machines = machines or Machines()
    failed: dict[str, str] = {}
    refuse_foreign((*plan.screening, *plan.runs))
    keep_protocol(plan)
    for line in changed_since(plan):
        log(line)
    if plan.screening:
        failed |= _run_all(plan, plan.screening, machines, log, plan.runs)
        plan = after_first_look(plan)
        for (design, strategy), why in plan.left_out.items():
            log(f"left out: {design} {strategy}: {why}")
    return failed | _run_all(plan, plan.runs, machines, log)


def _run_all(
    plan: Plan,
    runs: Sequence[Planned],
    machines: Machines,
    log: Log,
    later: Sequence[Planned] = (),
) -> dict[str, str]:
    """Run what is not finished of some runs; told with the cost of those that come `later`."""
    done = [run for run in runs if state_of(run) == FINISHED]
    pending = [run for run in runs if run not in done]
    if not pending:
        log(f"{len(done)} runs, all finished before: nothing is trained")
        return {}
    prepare(pending)
    with connect(plan.folder, machines, len(pending), log, _gpus(pending)) as found:
        client, n, threads, gpus = found
        cost = estimate(pending, done, n, threads)
        log(told(cost, len(done), n))
        if later:
            whole = estimate([*pending, *later], done, n, threads)
            log(f"with the runs after this first look, if it leaves none out: {told(whole, 0, n)}")
        return _followed(client, pending, gpus, cost, n, log)


def _gpus(pending: Sequence[Planned]) -> int | None:
    """How many GPUs to deal out: none where no run wants one, else all there are (None)."""
    return 0 if all(run.config.device == "cpu" for run in pending) else None


def told(cost: Cost, done: int, workers: int) -> str:
    """The estimate, in a line."""
    source = (
        "this sweep's finished runs"
        if cost.measured
        else "a short look at the base on this machine"
    )
    return (
        f"{cost.runs} runs to do, {done} finished before; {workers} workers; about "
        f"{cost.wall_s / 60:.0f} min by {source}"
    )


def prepare(runs: Sequence[Planned]) -> None:
    """Decode the images of all runs into the cache once, so that workers need not each do it.

    Raises: InputError for data that cannot be used, before anything runs.
    """
    seen = set()
    for run in runs:
        config = run.config
        key = (config.dataset, config.phantom_patients, config.input_hw, config.keep_aspect)
        if key not in seen:
            seen.add(key)
            canvas_for(open_for(config), config)


def _followed(
    client: Any, pending: Sequence[Planned], gpus: int, cost: Cost, at_once: int, log: Log
) -> dict[str, str]:
    """Submit runs and tell how they get on, `at_once` at the start; returns label -> reason of
    those that failed."""
    from distributed import as_completed

    futures = {
        client.submit(
            sweep_task.run_one,
            *(run.preset, run.asked, str(run.folder), gpus),
            key=str(run.folder),
            pure=False,
            priority=-place,  # in the plan's order
        ): run
        for place, run in enumerate(pending)
    }
    failed: dict[str, str] = {}
    board = _Board(len(pending), cost, log)
    try:
        for future in as_completed(futures):
            run, found = futures[future], _seen(futures[future], _result(future))
            if not found["ok"]:
                failed[run.label] = found["reason"]
            at_once = _at_once(client, at_once)
            board.tell(run, found, len(failed), at_once)
    except KeyboardInterrupt:
        client.cancel(list(futures))
        log("stopped; the same call goes on from here")
        raise
    finally:
        board.close()
    return failed


def _at_once(client: Any, before: int) -> int:
    """How many runs go at once now; as many as before where the scheduler does not answer."""
    try:
        return sum(client.nthreads().values())
    except (OSError, TimeoutError):  # dask's CommClosedError is an OSError
        return before


def _seen(run: Planned, found: dict[str, Any]) -> dict[str, Any]:
    """What a worker said, if its run is here to be read; results come through the folder alone."""
    within, longest_s = sweep_task.within, sweep_task.SIGHT_S
    if not found["ok"] or within(longest_s, lambda: state_of(run) == FINISHED):
        return found
    why = f"said to be finished, but in {run.folder} it is {state_of(run)}; is that folder shared?"
    return found | {"ok": False, "reason": why}


def _result(future: Any) -> dict[str, Any]:
    """What `run_one` returned, or why it could not."""
    if future.cancelled():
        why = "the scheduler was lost or stopped; the same call goes on from here"
        return {"ok": False, "wall_s": 0.0, "reason": why}
    error = future.exception()
    if error is None:
        return future.result()
    said = (str(error).splitlines() or [type(error).__name__])[0]
    if type(error).__name__ == "KilledWorker":
        said = "its workers were lost again and again; out of memory?"
    return {"ok": False, "wall_s": 0.0, "reason": said}


class _Board:
    """Progress: a bar where a person looks, a line for each run in a log."""

    def __init__(self, total: int, cost: Cost, log: Log) -> None:
        self.total, self.cost, self.log = total, cost, log
        self.done, self.walls = 0, 0.0
        watched = sys.stderr.isatty()
        self.bar = tqdm(total=total, disable=not watched, desc="runs", unit="run")

    def tell(self, run: Planned, found: dict[str, Any], failed: int, at_once: int) -> None:
        """One run is over; so many run at once now, for workers come and go."""
        self.done += 1
        self.walls += found["wall_s"]
        left, at_once = self.total - self.done, max(at_once, 1)
        pace = self.walls / self.done or self.cost.wall_s * at_once / self.total
        minutes = pace * max(left / at_once, left > 0) / 60
        state = (
            f"{self.done - failed} finished, {min(at_once, left)} running, {failed} failed, "
            f"about {minutes:.0f} min left"
        )
        self.bar.set_postfix_str(state)
        self.bar.update()
        what = "" if found["ok"] else f": failed, {found['reason']}"
        if self.bar.disable or not found["ok"]:
            line = f"{self.done}/{self.total} {run.label}, {found['wall_s']:.0f} s{what}; {state}"
            self.bar.write(line) if not self.bar.disable else self.log(line)

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()


def _price(plan: Plan, workers: int) -> str:
    """What all runs of a plan would cost on this machine, by a short look, in a line."""
    done = [run for run in plan.runs if state_of(run) == FINISHED]
    pending = [run for run in (*plan.screening, *plan.runs) if run not in done]
    if not pending:
        return f"{len(done)} runs, all finished before"
    n, threads, _ = how_many(len(pending), workers, _gpus(pending))
    return told(estimate(pending, done, n, threads), len(done), n)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 for wrong input, or when every run failed."""
    parser = argparse.ArgumentParser(prog="python -m lmkit.sweep", description=__doc__)
    parser.add_argument("--preset", default="quick", help="a size in the grid")
    parser.add_argument("--grid", default=GRID, help="the grid's file")
    parser.add_argument("--run", default="", help="name of the sweep's folder")
    parser.add_argument("--scheduler", default="", help="address of a dask scheduler")
    parser.add_argument("--workers", type=int, default=0, help="on this machine; 0: as fit")
    parser.add_argument(
        "--plan", action="store_true", help="only say what would be run, and how long it takes"
    )
    parser.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="a setting of every run, such as dataset or device",
    )
    asked = parser.parse_args(arguments)
    try:
        given = {key: value_of(key, text) for key, text in asked.p}
        plan = plan_runs(asked.preset, asked.grid, given, asked.run)
        print(describe(plan))
        if asked.plan:
            print(plan_table(plan).to_string())
            print(_price(plan, asked.workers))
            return 0
        failed = run_sweep(plan, Machines(asked.scheduler, asked.workers))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for label, why in failed.items():
        print(f"failed: {label}: {why}")
    print(f"runs: {plan.folder}")
    return int(len(failed) == len(plan.runs))


if __name__ == "__main__":
    sys.exit(main())
