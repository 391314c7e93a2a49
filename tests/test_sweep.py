"""Sweeps that are interrupted in every way, on a dataset that trains in a second."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import dask.system
import distributed
import psutil
import pytest
import torch
import yaml
from conftest import TINY, write_native

from lmkit import ablation, findings, notebooks, runs, sweep, sweep_cost, sweep_task, widgets
from lmkit.config import InputError
from lmkit.machines import Machines, connect, how_many

GRID = {
    "claims": {1: "a claim"},
    "matters": {"sdr_2mm": 0.02, "median_mm": 0.1, "failure_rate": 0.02},
    "strategies": {
        "wider": {"claim": 1, "group": "target", "says": "something", "add": {"sigma_px": 2.0}},
        # a mirrored image of one side is the other side: training refuses it
        "crash": {"group": "data", "says": "fails", "add": {"augment": "mirror"}},
    },
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    write_native(folder / "crosses", n=12)
    return folder


def grid(place: Path, name: str, epochs: int, strategies: list[str], seeds=(0,)) -> Path:
    """A grid file with one size, `small`: one side, some epochs."""
    data = {key: list(v) if isinstance(v, tuple) else v for key, v in TINY.items()}
    data |= {"dataset": str(place / "crosses"), "augment": "none"}
    design = {"base": "quick", "budget": {"epochs": epochs}, "strategies": strategies}
    size = {"about": "a test", "sides": ["right"], "seeds": list(seeds), "designs": {"add": design}}
    del data["epochs"]
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(GRID | {"sizes": {"small": size | {"data": data}}}))
    return path


def test_the_estimate_of_a_sweep_is_a_sentence_to_its_end():
    said = sweep.told(sweep_cost.Cost(runs=3, wall_s=65, measured=False), 1, 2)
    assert said == (
        "3 runs to do, 1 finished before; 2 workers; about 1 min by a short look at the base on "
        "this machine"
    )


def planned(place: Path, name: str, **how) -> ablation.Plan:
    return ablation.plan_runs(
        "small", grid(place, name, **how), {"outputs": str(place / name)}, "sweep"
    )


def command(plan_of: Path, place: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "lmkit.sweep", "--grid", str(plan_of), "--preset", "small"),
        *("--run", "sweep", "-p", "outputs", str(place / plan_of.stem), *more),
    ]


def wait_for(condition, longest_s: float = 90):
    until = time.monotonic() + longest_s
    while not (found := condition()):
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.1)
    return found


def epochs_of(run: ablation.Planned) -> list[int]:
    return runs.load_run(run.folder).history["epoch"].tolist()


def epochs_logged(run: ablation.Planned) -> list[int]:
    """The epochs that the run's last process trained."""
    lines = sweep_task.log_path(run.folder).read_text()
    return [int(n) for n in re.findall(r"^epoch +(\d+)/", lines, re.MULTILINE)]


def test_a_crash_is_told_while_the_rest_completes_and_a_second_call_trains_nothing(place):
    plan = planned(place, "crash", epochs=2, strategies=["wider", "crash"])
    said: list[str] = []
    failed = sweep.run_sweep(plan, log=said.append)
    (label,) = failed
    assert label == "add crash, right, seed 0"
    assert "mirror" in failed[label]
    table = findings.run_table(plan).set_index("strategy")
    assert table["state"].to_dict() == {
        "quick": "finished",
        "wider": "finished",
        "crash": "failed",
    }
    assert "mirror" in table.loc["crash", "reason"]
    assert table.loc["wider", "epochs"] == 2
    assert table.loc["wider", "wall_min"] > table.loc["wider", "train_min"]
    kept = next(run for run in plan.runs if run.strategy == "crash").folder
    assert "mirror" in sweep_task.failed_notebook(kept).read_text()
    assert any(re.search(r"3/3 .*about 0 min left", line) for line in said)

    done = planned(place, "crash", epochs=2, strategies=["wider"])
    before, said = time.perf_counter(), []
    assert sweep.run_sweep(done, log=said.append) == {}
    assert time.perf_counter() - before < 2
    changed, last = said
    assert changed.startswith("changed since 2")
    assert "strategies.add.crash, was {'augment': 'mirror'}, is not there" in changed
    assert last == "2 runs, all finished before: nothing is trained"


def test_killing_a_worker_and_then_the_whole_sweep_loses_and_repeats_nothing(place):
    many = 150  # a killed worker's run has some seconds left, and must not come to its end in them
    path = grid(place, "killed", epochs=many, strategies=["wider"])
    plan = planned(place, "killed", epochs=many, strategies=["wider"])
    first = plan.runs[0]
    out = (place / "killed.txt").open("w")
    process = subprocess.Popen(command(path, place, "--workers", "1"), stdout=out, stderr=out)
    wait_for((first.folder / "checkpoint.pt").exists)
    server = _server_of(process.pid)
    server.parent().send_signal(signal.SIGKILL)  # the worker; its nanny starts another
    wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
    wait_for(lambda: len(epochs_logged(first)) and epochs_logged(first)[0] > 1)  # it went on
    process.kill()
    process.wait()
    out.close()
    wait_for(lambda: not _writing(first.folder))
    assert findings.state_of(plan.runs[-1]) != "finished", "killed too late to show anything"

    assert sweep.main(command(path, place)[3:]) == 0
    for run in plan.runs:
        assert findings.state_of(run) == "finished"
        assert epochs_of(run) == list(range(1, many + 1))
    again = epochs_logged(first)
    assert not again or again[0] > 1, "trained from the start again"


def _server_of(pid: int) -> psutil.Process:
    """The run server below a sweep's process."""
    return wait_for(
        lambda: next(
            (
                child
                for child in psutil.Process(pid).children(recursive=True)
                if "lmkit.run_server" in child.cmdline()
            ),
            None,
        )
    )


def _writing(folder: Path) -> bool:
    """Whether a process holds the lock of a run folder."""
    import fcntl

    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def test_a_kernel_killed_for_memory_is_told_and_its_notebook_kept(place):
    plan = planned(place, "kernel", epochs=500, strategies=["wider"])
    run = plan.runs[0]
    asked = {"preset": run.preset, **run.asked}
    given = [word for key, value in asked.items() for word in ("-p", key, json.dumps(value))]
    process = subprocess.Popen(
        [sys.executable, "-m", "lmkit.notebooks", "03_train", *given],
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True},
    )
    wait_for((run.folder / "checkpoint.pt").exists)
    for child in psutil.Process(process.pid).children(recursive=True):
        if any("ipykernel" in word for word in child.cmdline()):
            child.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the kernel died; was it killed for lack of memory?" in said
    assert sweep_task.failed_notebook(run.folder).exists()
    assert findings.state_of(run) == "failed"


def test_a_scheduler_and_two_workers_started_by_hand_take_the_runs(place):
    plan = planned(place, "cluster", epochs=1, strategies=["wider"])
    dask = [sys.executable, "-m", "dask"]
    address = place / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(address)],
            **quiet,
        )
    ]
    try:
        wait_for(address.exists)
        tcp = json.loads(address.read_text())["address"].replace("0.0.0.0", "127.0.0.1")
        for _ in range(2):
            worker = [*dask, "worker", tcp, "--nthreads", "1", "--no-dashboard"]
            worker += ["--local-directory", str(place)]
            started.append(subprocess.Popen(worker, env=environment, **quiet))
        with distributed.Client(tcp) as client:
            client.wait_for_workers(2, timeout=60)
        said: list[str] = []
        assert sweep.run_sweep(plan, sweep.Machines(scheduler=tcp), said.append) == {}
        assert any("2 workers" in line for line in said)
        assert all(findings.state_of(run) == "finished" for run in plan.runs)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(20)


def test_a_scheduler_that_is_lost_ends_in_sentences_not_in_dasks_error():
    def lost():
        raise distributed.comm.core.CommClosedError("ConnectionPool closing.")

    assert sweep._at_once(SimpleNamespace(nthreads=lost), 3) == 3
    two = SimpleNamespace(nthreads=lambda: {"a": 2, "b": 1})
    assert sweep._at_once(two, 3) == 3


def test_a_finished_run_stays_finished_whatever_its_times_say(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")  # legal: a number for each level
    for text in ("", "[]", "{}", '{"wall_s": 3.0}'):
        (tmp_path / sweep_task.TIMES).write_text(text)
        assert sweep_task.times_of(tmp_path) == {}
        sweep_task._write_times(tmp_path, 5.0)
        assert sweep_task.times_of(tmp_path)["wall_s"] == 5.0
    sweep_task._write_times(tmp_path, 2.0)
    found = sweep_task.times_of(tmp_path)
    assert (found["wall_s"], found["threads"]) == (7.0, 2)


def test_workers_are_a_number():
    for wrong in ("2", -2, 1.5):
        with pytest.raises(InputError, match="workers: expected a whole number >= 0, got"):
            sweep.Machines(workers=wrong)


def test_no_scheduler_at_an_address_is_one_line(place):
    plan = planned(place, "nobody", epochs=1, strategies=["wider"])
    with pytest.raises(InputError, match=r"expected a dask scheduler at tcp://127\.0\.0\.1:9, got"):
        sweep.run_sweep(plan, sweep.Machines(scheduler="tcp://127.0.0.1:9"), lambda _line: None)


def test_workers_share_the_cores_and_memory_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(dask.system, "cpu_count", lambda: 8)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: _Memory(13 * 2**30))
    monkeypatch.setattr(distributed.system, "memory_limit", lambda: 64 * 2**30)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert how_many(pending=100)[:2] == (4, 2)  # 3 GB a run
    assert how_many(pending=3)[:2] == (3, 2)
    assert how_many(pending=100, asked=8)[:2] == (8, 1)
    monkeypatch.setattr(distributed.system, "memory_limit", lambda: 7 * 2**30)  # a container's
    assert how_many(pending=100)[:2] == (2, 4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert how_many(pending=100) == (3, 2, 3)
    assert how_many(pending=100, gpus=0) == (2, 4, 0)


@pytest.mark.parametrize(
    "listed, worker, mine",
    [("", 1, "1"), ("2,3", 0, "2"), ("2,3", 1, "3"), ("2,3", 2, "2"), ("MIG-a,MIG-b", 1, "MIG-b")],
)
def test_a_worker_gets_one_of_the_gpus_that_its_process_may_use(monkeypatch, listed, worker, mine):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    monkeypatch.setattr(distributed, "get_worker", lambda: SimpleNamespace(name=worker))
    assert sweep_task._environment(gpus=2)["CUDA_VISIBLE_DEVICES"] == mine
    assert sweep_task._environment(gpus=0)["CUDA_VISIBLE_DEVICES"] == listed


def test_a_worker_that_does_not_see_the_sweeps_folder_trains_nothing(place, monkeypatch):
    plan = planned(place, "apart", epochs=1, strategies=["wider"])
    monkeypatch.setattr(sweep_task, "SIGHT_S", 0.3)
    run = plan.runs[0]
    found = sweep_task.run_one(run.preset, run.asked, str(run.folder))
    assert not found["ok"]
    assert "expected to see the sweep's folder, for results come through it" in found["reason"]
    assert not run.folder.exists()


def test_a_run_that_a_worker_calls_finished_but_nobody_can_read_here_has_failed(place, monkeypatch):
    plan = planned(place, "unseen", epochs=1, strategies=["wider"])
    monkeypatch.setattr(sweep_task, "SIGHT_S", 0.3)
    found = sweep._seen(plan.runs[0], {"ok": True, "reason": "", "wall_s": 9.0})
    assert found["ok"] is False
    assert f"in {plan.runs[0].folder} it is not run; is that folder shared?" in found["reason"]


def test_runs_of_labels_that_were_mended_since_stop_a_sweep_before_anything_is_trained(place):
    plan = planned(place, "mended", epochs=1, strategies=["wider"])
    run = plan.runs[0]
    notebooks.execute("03_train", {"preset": run.preset, **run.asked})
    labels = place / "crosses" / "landmarks.csv"
    kept = labels.read_text()
    try:
        first, row, *rest = kept.splitlines()
        labels.write_text("\n".join([first, re.sub(r"[\d.]+$", "9.5", row), *rest]) + "\n")
        again = planned(place, "mended", epochs=1, strategies=["wider"])
        assert findings.state_of(again.runs[0]) == findings.FOREIGN
        with pytest.raises(InputError, match="expected a run of these data and settings, got one"):
            sweep.run_sweep(again, log=lambda _line: None)
    finally:
        labels.write_text(kept)
    assert findings.state_of(plan.runs[0]) == findings.FINISHED


class _Memory:
    def __init__(self, available: int) -> None:
        self.available = available


def test_an_estimate_learns_from_finished_runs_and_counts_what_costs_more(place, monkeypatch):
    plan = planned(place, "estimate", epochs=10, strategies=["wider"], seeds=(0, 1))
    look = {"label_sets": 30, "train_images_per_s": 10.0, "predict_ms": 500.0}  # 2 to validate on
    monkeypatch.setattr(sweep_cost, "in_process", lambda *_, **__: look)
    found = sweep_cost.estimate(plan.runs, [], workers=2)
    overhead = 4 * sweep_cost.OVERHEAD_S / 2
    assert found.wall_s == pytest.approx(4 * 10 * (3 + 1) / 2 + overhead)
    assert not found.measured
    monkeypatch.setattr(sweep_cost, "_epoch_s", lambda _design, _finished: 5.0)
    found = sweep_cost.estimate(plan.runs, plan.runs[:1], workers=2)
    assert found.wall_s == pytest.approx(4 * 10 * 5 / 2 + overhead)
    assert found.measured


def test_the_live_figure_of_a_run_costs_no_more_than_a_tenth_of_its_time(monkeypatch):
    drawn: list[float] = []

    def draw(_figure, _table, _epochs):
        time.sleep(0.02)
        drawn.append(time.perf_counter())

    monkeypatch.setattr(widgets.plots, "history", draw)
    monkeypatch.setattr(widgets, "png", lambda _figure: b"")
    monkeypatch.setattr(widgets, "display", lambda *_, **__: SimpleNamespace(update=draw_nothing))
    update, until = widgets.live_history(100), time.perf_counter() + 1
    while time.perf_counter() < until:
        update(None)
        time.sleep(0.005)
    assert 2 <= len(drawn) <= 6
    monkeypatch.setenv(widgets.UNWATCHED, "1")
    n = len(drawn)
    widgets.live_history(100)(None)
    assert len(drawn) == n


def draw_nothing(*_arguments, **_settings) -> None:
    """What a display handle does where nobody looks."""


def test_a_cluster_leaves_the_environment_as_it_was(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with connect(tmp_path, Machines("", 1), 1, lambda line: None):
        pass
    assert dict(os.environ) == before, "later processes would train with dask's number of threads"
