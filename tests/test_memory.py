"""Batches that do not fit, and places that cannot be written to."""

import os
import resource
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch

from lmkit import (
    batches,
    canvas,
    checkpoints,
    data,
    files,
    inference,
    memory,
    notebooks,
    runs,
    stages,
    train,
)
from lmkit.config import make_config
from lmkit.fields import InputError
from lmkit.records import locked
from lmkit.samples import line_up


def quiet(_line: str) -> None:
    pass


def room_for(most: int, monkeypatch) -> list[int]:
    """Lets the network see `most` images at once and run out of memory above; returns what came."""
    seen: list[int] = []
    real = inference.levels_of

    def levels_of(model, images, config):
        seen.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("tried to allocate 9.00 GiB")
        return real(model, images, config)

    monkeypatch.setattr(inference, "levels_of", levels_of)
    monkeypatch.setattr(train, "levels_of", levels_of)
    return seen


@pytest.mark.parametrize(
    ("n", "at_once", "sizes"),
    [
        (7, None, [7]),
        (7, 8, [7]),
        (7, 4, [4, 3]),
        (7, 3, [2, 3, 2]),
        (2, 1, [1, 1]),
        (5, 3, [2, 3]),
    ],
)
def test_a_batch_is_cut_into_parts_as_equal_as_can_be(n, at_once, sizes):
    parts = memory.Room(at_once).parts(n)
    assert [part.stop - part.start for part in parts] == sizes
    assert [i for part in parts for i in range(n)[part]] == list(range(n))


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_shortage_of_memory_is_told_from_other_errors(error, is_one):
    assert memory.is_shortage(error) is is_one


def test_another_error_is_not_tried_again():
    calls = []

    def work(parts):
        calls.append(parts)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        memory.Room(log=quiet).fit(4, work)
    assert len(calls) == 1


def test_a_batch_in_parts_has_the_gradients_of_the_whole(tiny):
    """In evaluation mode, where batch norm does not look at the batch; one point is missing, so
    that parts count by their landmarks and not by their images."""
    config = make_config(tiny | {"precision": "float32"})
    ds = data.open_dataset(tiny["dataset"])
    samples = line_up(ds, config.side)
    feed = batches.Feed(samples, batches.canvas_for(ds, config), config, torch.device("cpu"))
    feed.points[0, 0] = torch.nan
    batch, state = (
        feed.batch(np.arange(5)),
        train.start(config, len(samples.landmarks), feed.device),
    )
    state.model.eval()
    found = {}
    for at_once in (None, 2, 1):
        parts = memory.Room(at_once).parts(5)
        loss = train.gradients(state, batch, config, train.losses.build(config), parts)
        weights = [p.grad.clone() for p in state.model.parameters() if p.grad is not None]
        found[at_once] = (loss, torch.cat([g.flatten() for g in weights]))
    for at_once in (2, 1):
        for whole, parts in zip(found[None], found[at_once], strict=True):
            torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


def test_where_memory_is_short_a_batch_is_halved_said_and_remembered(tiny, monkeypatch):
    seen, said = room_for(2, monkeypatch), []
    run = stages.train_run(make_config(tiny | {"batch_size": 8}), log=said.append)
    assert run.finished
    short = [line for line in said if line.startswith("memory: ")]
    assert short[0].endswith("at once, 4 from now on") or short[0].endswith(
        "at once, 3 from now on"
    )
    assert len(short) <= 3, "said once for each halving, not for each batch"
    assert max(seen[6:]) <= 2, "what did not fit is not tried for every batch"
    saved = torch.load(run.folder / "checkpoint.pt", weights_only=True)
    assert saved["at_once"] in (1, 2)


def test_a_resumed_run_knows_what_fits(tiny, monkeypatch):
    def stop(_history):
        raise KeyboardInterrupt

    config = make_config(tiny | {"batch_size": 8})
    with monkeypatch.context() as patch:
        room_for(2, patch)
        with pytest.raises(KeyboardInterrupt):
            stages.train_run(config, on_epoch=stop, log=quiet)
    seen = room_for(2, monkeypatch)
    stages.train_run(config, log=quiet)
    assert seen[0] <= 2


def test_a_prediction_in_parts_is_the_prediction(tiny, monkeypatch):
    run = stages.train_run(make_config(tiny | {"precision": "float32"}), log=quiet)
    ds = data.open_dataset(tiny["dataset"])
    samples = line_up(ds, run.config.side)
    feed = batches.Feed(
        samples, batches.canvas_for(ds, run.config), run.config, torch.device("cpu")
    )
    whole = inference.infer(run.model(), feed, detail=True)
    room_for(3, monkeypatch)
    parts = inference.infer(run.model(), feed, detail=True, room=memory.Room(log=quiet))
    np.testing.assert_allclose(parts.points, whole.points, atol=1e-3)
    np.testing.assert_allclose(parts.ere_mm, whole.ere_mm, rtol=1e-3)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-4)


def test_no_room_for_one_image_is_one_line(tiny, monkeypatch):
    room_for(0, monkeypatch)
    with pytest.raises(
        InputError, match=r"memory: expected room for 1 image at once.*lower input_"
    ):
        stages.train_run(make_config(tiny), log=quiet)


def test_weights_that_are_lost_are_not_kept(tiny, monkeypatch):
    """The loss of the last step is finite, what it makes of the weights is not."""
    config, real = make_config(tiny), train.gradients

    def spoil_the_second_epoch(state, *rest):
        loss = real(state, *rest)
        if state.epoch == 1:
            next(p for p in state.model.parameters() if p.grad is not None).grad.fill_(torch.nan)
        return loss

    monkeypatch.setattr(train, "gradients", spoil_the_second_epoch)
    with pytest.raises(InputError, match=r"_loss: expected a finite number, got nan in epoch 2"):
        stages.train_run(config, log=quiet)
    folder = runs.run_folder(config, data.open_dataset(tiny["dataset"]))
    assert not (folder / "metrics.json").exists()
    kept = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert kept["epoch"] == 1
    assert all(weight.isfinite().all() for weight in kept["model"].values())
    monkeypatch.undo()
    assert stages.train_run(config, log=quiet).finished, "the fault gone, the run goes on"


@contextmanager
def files_up_to(n_bytes: int):
    """No file may grow beyond: what a full disk does, without being root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("n_bytes", [1, 2_000, 100_000])
def test_a_full_disk_stops_a_run_in_one_line_and_the_run_goes_on_later(tiny, n_bytes):
    config = make_config(tiny)
    ds = data.open_dataset(tiny["dataset"])
    batches.canvas_for(ds, config)  # the images are prepared: it is the run that finds no room
    with files_up_to(n_bytes), pytest.raises(InputError, match="expected a place to write to, got"):
        stages.train_run(config, log=quiet)
    folder = runs.run_folder(config, ds)
    assert not (folder / "metrics.json").exists()
    assert not list(folder.glob(".*.part")), "nothing half-written is left"
    assert stages.train_run(config, log=quiet).finished


def test_a_full_disk_in_mid_run_keeps_the_epochs_before(tiny):
    config, epochs = make_config(tiny), []

    def fill(history):
        epochs.append(len(history))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    with files_up_to(resource.RLIM_INFINITY), pytest.raises(InputError, match="place to write to"):
        stages.train_run(config, on_epoch=fill, log=quiet)
    said = []
    assert stages.train_run(config, log=said.append).finished
    assert epochs == [1]
    assert said[0].startswith("resumed after epoch 1 ")


def test_no_room_for_the_prepared_images_is_one_line(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "cache"))
    config = make_config(tiny)
    with (
        files_up_to(5_000),
        pytest.raises(InputError, match=r"\.npy: expected a place to write to"),
    ):
        stages.train_run(config, log=quiet)
    assert not list((tmp_path / "cache").iterdir()), "nothing half-written is left"


def test_images_that_are_prepared_when_needed_say_when_the_disk_is_full(
    tiny, tmp_path, monkeypatch
):
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(canvas, "LAZY_FROM", 1)
    with (
        files_up_to(5_000),
        pytest.raises(InputError, match=r"place to write to, got: File too lar"),
    ):
        stages.train_run(make_config(tiny), log=quiet)


def test_a_folder_of_somebody_else_is_one_line():
    """In a process of its own that is nobody, for root may write everywhere."""
    become_nobody = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    code = (
        "import os, sys; from lmkit import files, fields; from pathlib import Path\n"
        f"{become_nobody if os.geteuid() == 0 else ''}\n"
        "try:\n    files.write_text(Path(sys.argv[1]) / 'run' / 'config.yaml', 'text')\n"
        "except fields.InputError as error:\n    print(error)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        asked = [sys.executable, "-c", code, folder]
        said = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert "config.yaml: expected a place to write to, got: Permission denied" in said.stdout, said


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in place of a folder")
    (tmp_path / "run" / ".lock").mkdir(parents=True)
    for folder, named in (("file", "file"), ("run", r"\.lock")):
        with (
            pytest.raises(InputError, match=rf"{named}: expected a place to write to"),
            locked(tmp_path / folder),
        ):
            pass


def test_a_checkpoint_is_written_whole_or_not_at_all(tiny):
    config = make_config(tiny)
    run = stages.train_run(config, log=quiet)
    path = run.folder / "checkpoint.pt"
    before = path.read_bytes()
    state = train.start(config, run.about["n_maps"], torch.device("cpu"))
    state.history = pd.read_csv(run.folder / "history.csv").to_dict("records")
    state.best = {"epoch": 0, "val_mre_mm": 1.0, "weights": {}}
    with (
        files_up_to(len(before) // 5),
        pytest.raises(InputError, match=r"checkpoint\.pt: expected"),
    ):
        checkpoints.save_state(state, run.folder, "settings")
    assert path.read_bytes() == before


def test_writing_names_the_place_the_reason_and_what_to_do(tmp_path):
    message = r"/x: expected a cache, got: No space left on device; make room"
    with (
        pytest.raises(InputError, match=message),
        files.writing(tmp_path / "x", "a cache", "; make room"),
    ):
        raise OSError(28, "No space left on device")


def test_a_failed_notebook_that_cannot_be_kept_does_not_hide_why_it_failed(tmp_path):
    source = tmp_path / "03_train.ipynb"
    source.write_text("{}")
    assert notebooks._keep(source, tmp_path / "kept.ipynb") == f"see {tmp_path / 'kept.ipynb'}"
    (tmp_path / "file").write_text("in the way")
    said = notebooks._keep(source, tmp_path / "file" / "kept.ipynb")
    assert said.startswith("its notebook is lost: ")
    assert said.endswith("kept.ipynb: expected a place to write to, got: File exists")


def test_what_a_step_frees_is_kept_for_the_next():
    """Pages of a 60 MB tensor that is taken and freed again and again, as faults of the process.

    The middle step of many counts: now and then the system takes idle pages away by itself.
    """
    code = (
        "import resource, statistics, sys, torch\n"
        "from lmkit.memory import keep_freed\n"
        "kept = keep_freed() if sys.argv[1] == 'keep' else True\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def step():\n"
        "    before = faults()\n"
        "    torch.ones(60 << 18).sum().item()\n"
        "    return faults() - before\n"
        "print(kept, statistics.median(step() for _ in range(41)))\n"
    )

    def middle(how: str) -> float:
        command = [sys.executable, "-c", code, how]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        if told[0] == "False":
            pytest.skip("the C library is not glibc")
        return float(told[1])

    assert middle("as it is") > 60 * 2**20 / 2**22  # pages are 2 MB at most
    assert middle("keep") < 10
