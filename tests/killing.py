"""SIGKILL at random moments, over and over, and what is left after each.

python tests/killing.py --training 25 --evaluation 15 --sweep 10

A fresh process forks one child per attempt, which trains or evaluates a small run and is killed;
the next attempt finds what it left. After each kill nothing may call itself finished that is not,
and no epoch that was kept may be gone; in the end everything must be, to the last bit, what a run
that was never killed leaves.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from conftest import TINY, write_native
from test_sweep import command, grid, planned

from lmkit import data, findings, runs, stages
from lmkit.config import RunConfig, make_config

EPOCHS = 60  # of a run of the sweep
TIMES = ["seconds", "images_per_s"]  # columns of history.csv that differ from run to run


def quiet(_line: str) -> None:
    pass


def in_child(work: Callable[[], object], kill_after_s: float | None = None) -> bool:
    """Do something in a forked process, killed after a while; True when it came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(f"child: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    until = time.monotonic() + (kill_after_s if kill_after_s is not None else 600)
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, f"the child failed with status {status}"
            return True
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert kill_after_s is not None, "a child that was not to be killed took ten minutes"
    return False


def epochs_kept(folder: Path) -> int:
    """Epochs in the checkpoint, which must be whole."""
    path = folder / "checkpoint.pt"
    return int(torch.load(path, weights_only=True)["epoch"]) if path.exists() else 0


def left_by(folder: Path) -> dict[str, object]:
    """All that a run says, without what the clock said."""
    run = runs.load_run(folder)
    history = run.history.drop(columns=TIMES, errors="ignore")
    return {
        "history": history.to_csv(index=False),
        "predictions": run.predictions.to_csv(index=False),
        "metrics": json.dumps(run.metrics, sort_keys=True),
        "weights": (folder / "model.safetensors").read_bytes(),
    }


def kill_training(config: RunConfig, reference: Path, kills: int, rng: np.random.Generator) -> int:
    """Kill training until `kills` are done, each run ending in one equal to the reference."""
    done, rounds = 0, 0
    took = pd.read_csv(reference / "history.csv")["seconds"].sum()
    while done < kills:
        asked = config.model_copy(update={"run": f"killed{rounds}"})
        folder, rounds, kept = runs.run_folder(asked, data.open_for(asked)), rounds + 1, 0
        while True:
            after = rng.uniform(0, 0.6 * took + 0.3) if done < kills else None
            if in_child(partial(stages.train_run, asked, log=quiet), after):
                break
            done += 1
            now = epochs_kept(folder) if folder.exists() else 0
            assert now >= kept, f"kill {done}: {kept} epochs were kept, {now} are left"
            kept = now
            finished = (folder / "metrics.json").exists() and runs.load_run(folder).finished
            assert not finished or now == config.epochs, f"kill {done}: finished after {now} epochs"
        assert left_by(folder) == left_by(reference), f"run {rounds}: not what was never killed"
        assert not list(folder.glob(".*.part"))
        shutil.rmtree(folder)
    return done


def _open(folder: Path) -> None:
    stages.open_test_split(runs.load_run(folder), quiet, draws=2)


def kill_evaluation(
    config: RunConfig, trained: Path, reference: Path, kills: int, rng: np.random.Generator
) -> int:
    """Kill the opening of the test split, then let it come to its end: as never killed."""
    done, rounds = 0, 0
    while done < kills:
        folder, rounds = trained.with_name(f"opened{rounds}"), rounds + 1
        shutil.copytree(trained, folder)
        begun = time.perf_counter()
        open_it = partial(_open, folder)
        in_child(open_it)
        took = time.perf_counter() - begun
        shutil.rmtree(folder)
        shutil.copytree(trained, folder)
        while True:
            after = rng.uniform(0, 1.2 * took) if done < kills else None
            if in_child(open_it, after):
                break
            done += 1
            run = runs.load_run(folder)
            assert run.finished, "what was trained is still there"
            if "test" in run.metrics:
                rows = run.predictions.query("split == 'test'")
                assert len(rows) == run.metrics["test"]["n_landmarks"]
        assert left_by(folder) == left_by(reference), f"evaluation {rounds}: not as never killed"
        shutil.rmtree(folder)
    return done


def kill_sweep(place: Path, kills: int, rng: np.random.Generator) -> int:
    """Kill whole sweeps, workers and run servers with them, until one comes to its end."""
    what = {"epochs": EPOCHS, "strategies": ["wider"], "seeds": (0, 1)}
    plan = planned(place, "swept", **what)
    swept = command(grid(place, "swept", **what), place, "--workers", "2")
    done, took, kept = 0, math.inf, dict.fromkeys((run.folder for run in plan.runs), 0)
    while True:
        begun, last = time.perf_counter(), done >= kills
        first = math.isinf(took)  # is left alone, to know how long it takes
        with (place / "sweep.txt").open("w") as out:
            sweep = subprocess.Popen(swept, stdout=out, stderr=out, start_new_session=True)
            try:
                code = sweep.wait(900 if first or last else rng.uniform(0.3, 0.9) * took)
            except subprocess.TimeoutExpired:
                code = None
        if code is not None:
            assert code == 0, (place / "sweep.txt").read_text()[-2000:]
            if last:
                break
            took = time.perf_counter() - begun if first else took
            shutil.rmtree(place / "swept")  # all was done: the next kills need work to interrupt
            kept = dict.fromkeys(kept, 0)
            continue
        _kill_below(sweep)
        done += 1
        for folder in kept:
            now = epochs_kept(folder)
            assert now >= kept[folder], f"sweep kill {done}: {folder.name} lost epochs"
            kept[folder] = now
            finished = (folder / "metrics.json").exists() and runs.load_run(folder).finished
            assert not finished or now == EPOCHS
    for run in plan.runs:
        assert findings.state_of(run) == "finished"
        assert runs.load_run(run.folder).history["epoch"].tolist() == list(range(1, EPOCHS + 1))
    return done


def _kill_below(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for a process and all that came of it, whatever session they are in."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in family:
        one.kill()
    psutil.wait_procs(family)
    process.wait()


def campaign(place: Path, training: int, evaluation: int, sweep: int, seed: int) -> pd.DataFrame:
    """All kills; a row per kind: injected, recovered, lost."""
    torch.set_num_threads(1)  # a process that has run threads cannot be forked
    rng = np.random.default_rng(seed)
    write_native(place / "crosses", n=12)
    settings = TINY | {"dataset": str(place / "crosses"), "outputs": str(place / "outputs")}
    config = make_config(settings | {"side": "right", "epochs": 12, "run": "never"})
    reference = runs.run_folder(config, data.open_for(config))
    in_child(partial(stages.train_run, config, log=quiet))
    rows = {}
    if training:
        rows["training"] = kill_training(config, reference, training, rng)
    trained = reference.with_name("trained")
    shutil.copytree(reference, trained)
    in_child(partial(_open, reference))
    if evaluation:
        rows["evaluation"] = kill_evaluation(config, trained, reference, evaluation, rng)
    if sweep:
        rows["sweep"] = kill_sweep(place, sweep, rng)
    table = pd.DataFrame({"killed": pd.Series(rows)})
    return table.assign(recovered=table["killed"], lost=0)  # anything else has raised by now


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("training", "evaluation", "sweep", "seed"):
        parser.add_argument(f"--{name}", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LMKIT_CACHE"] = str(Path(folder) / "cache")
        started = time.perf_counter()
        print(campaign(Path(folder), **vars(given)).to_string())
        print(f"{time.perf_counter() - started:.0f} s")
