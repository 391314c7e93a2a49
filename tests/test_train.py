"""Training, run folders and evaluation, on crosses that train in seconds."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import TINY, write_native
from safetensors.torch import load_file

from lmkit import batches, data, evaluate, heatmap, model, runs, samples, stages, targets, train
from lmkit.config import InputError, make_config

FILES = {"config.yaml", "history.csv", "checkpoint.pt", "model.safetensors"}
FILES |= {"predictions.csv", "trust.json"}


def quiet(_line: str) -> None:
    pass


def same_weights(a: Path, b: Path) -> bool:
    one, two = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_the_network_is_what_the_settings_say():
    big = model.UNet(5, (64, 128, 256, 512, 1024))
    assert 31_000_000 < sum(p.numel() for p in big.parameters()) < 31_100_000
    small = model.UNet(3, (4, 6, 8), stem_stride=2)
    assert small(torch.zeros(2, 1, 24, 40)).shape == (2, 3, 12, 20)


def test_weights_come_from_the_seed_alone():
    config = make_config(TINY)
    first = model.build(config, 3).state_dict()
    torch.rand(5)
    again, other = model.build(config, 3), model.build(config.model_copy(update={"seed": 1}), 3)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in first.items())
    assert not torch.equal(first["head.weight"], other.state_dict()["head.weight"])


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_heatmap_pixel_covers_stride_input_pixels(stride):
    from lmkit.geometry import apply

    corner = torch.tensor([[-0.5, 2 * stride - 0.5]], dtype=torch.float64)
    assert apply(model.heatmap_matrix(stride), corner).tolist() == [[-0.5, 1.5]]


@pytest.mark.parametrize("side", ["left", "right", "both", "joint"])
@pytest.mark.parametrize("augment", ["none", "affine"])
def test_points_sit_on_their_bright_dots_in_the_network_input(native, side, augment):
    config = make_config(TINY | {"input_hw": (64, 128), "augment": augment, "rotate_deg": 20})
    ds = data.open_dataset(native)
    feed = batches.Feed(
        samples.line_up(ds, side), batches.canvas_for(ds, config), config, torch.device("cpu")
    )
    batch = next(feed.epoch(12, torch.Generator().manual_seed(0)))
    x, y = batch.points.round().long().unbind(-1)
    rows = torch.arange(len(x))[:, None]
    dots = batch.images[rows, 0, y, x]
    assert dots.min() > batch.images.mean() + 1.5
    centre = torch.tensor([63.5, 31.5])
    opposite = (2 * centre - batch.points).round().long()
    elsewhere = batch.images[rows, 0, opposite[..., 1], opposite[..., 0]]
    assert dots.mean() > elsewhere.mean() + 1


@pytest.mark.parametrize("side", ["left", "both", "joint"])
@pytest.mark.parametrize("change", [{}, {"keep_aspect": False}, {"stem_stride": 1}])
def test_perfect_maps_decode_to_the_labels_in_the_source_image(native, side, change):
    config = make_config(TINY | change)
    ds = data.open_dataset(native)
    cost = evaluate.decoding_cost_mm(samples.line_up(ds, side), ds.sizes(), config)
    assert cost.max() < 2e-3


def test_integer_decoding_costs_what_rounding_costs(native):
    config = make_config(TINY | {"decoder": "argmax", "keep_aspect": False, "stem_stride": 1})
    ds = data.open_dataset(native)
    cost = evaluate.decoding_cost_mm(samples.line_up(ds, "joint"), ds.sizes(), config)
    a, b = 0.2 * 110 / 64, 0.3 * 60 / 32  # one heatmap pixel, mm
    assert cost.max() <= math.hypot(a, b) / 2
    assert cost.mean() == pytest.approx(0.38 * math.sqrt(a * b), rel=0.15)


def test_a_point_moved_out_of_the_input_does_not_count(native):
    config = make_config(TINY | {"translate_frac": 0.9, "augment": "affine"})
    ds = data.open_dataset(native)
    feed = batches.Feed(
        samples.line_up(ds, "joint"), batches.canvas_for(ds, config), config, torch.device("cpu")
    )
    batch = next(feed.epoch(12, torch.Generator().manual_seed(0)))
    target = targets.target_of(batch, config)
    counted, target = target.annotated, target.maps
    assert 0 < counted.float().mean() < 1
    assert (target.amax((-2, -1)) > 0).equal(counted)
    inside = batch.points[counted]
    assert ((inside > -0.5) & (inside < torch.tensor([63.5, 31.5]))).all()


def test_a_run_leaves_a_complete_folder_and_learns(learnable):
    lines = []
    run = stages.train_run(make_config(learnable), log=lines.append)
    assert {p.name for p in run.folder.iterdir()} - {".lock"} == FILES | {"metrics.json"}
    assert run.folder.parts[-3:-1] == ("crosses", "right")
    history = run.history
    assert list(history.columns) == train.HISTORY
    assert history["epoch"].tolist() == list(range(1, 13))
    assert sum(line.startswith("epoch") for line in lines) == 12
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] / 3
    assert history["val_mre_mm"].min() < 1
    best = history["val_mre_mm"].min()
    assert run.metrics["val"]["mre_mm"] == pytest.approx(best, rel=1e-4)
    stored = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert stored["settings"]["epochs"] == 12
    assert {"lmkit", "git_commit", "torch", "dataset_fingerprint"} <= stored["about"].keys()


def test_the_checkpoint_loads_without_pickled_code(tiny):
    run = stages.train_run(make_config(tiny), log=quiet)
    saved = torch.load(run.folder / "checkpoint.pt", weights_only=True)
    assert {"model", "optimiser", "scheduler", "rng", "epoch", "best", "history"} <= saved.keys()


def test_a_finished_run_is_opened_and_not_run_again(tiny):
    first = stages.train_run(make_config(tiny), log=quiet)
    before = {p.name: p.stat().st_mtime_ns for p in first.folder.iterdir()}
    lines = []
    again = stages.train_run(make_config(tiny), log=lines.append)
    assert lines == ["finished before, not run again"]
    assert {p.name: p.stat().st_mtime_ns for p in again.folder.iterdir()} == before


MIXES = [
    {"scheduler": "plateau"},
    {"scheduler": "cosine"},
    {"scheduler": "constant"},
    {
        "scheduler": "plateau",
        "warmup_epochs": 3,
        "ema_decay": 0.8,
        "sigma_schedule": (3, 1.5),
    },
    {
        "scheduler": "onecycle",
        "learn_sigma": True,
        "scales": (0.75, 1.0),
        "augment": "affine+intensity+elastic+cutout",
        "elastic_px": 1.0,
        "elastic_cells": (3, 4),
    },
]


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: " ".join(map(str, mix.values())))
def test_resuming_gives_the_weights_of_a_run_never_stopped(tiny, mix, tmp_path):
    settings = tiny | {"epochs": 5, "lr_patience": 0, "lr": 5e-3} | mix
    whole = stages.train_run(make_config(settings), log=quiet)

    def stop(history):
        if len(history) == 2:
            raise KeyboardInterrupt

    stopped = make_config(settings | {"outputs": str(tmp_path / "other")})
    with pytest.raises(KeyboardInterrupt):
        stages.train_run(stopped, on_epoch=stop, log=quiet)
    lines = []
    resumed = stages.train_run(stopped, log=lines.append)
    assert lines[0] == "resumed after epoch 2 of 5"
    assert same_weights(whole.folder, resumed.folder)
    columns = [c for c in train.HISTORY if c not in ("images_per_s", "seconds")]
    pd.testing.assert_frame_equal(whole.history[columns], resumed.history[columns])
    timeless = [json.loads((r.folder / "metrics.json").read_text()) for r in (whole, resumed)]
    assert timeless[0] == timeless[1]


def test_one_seed_gives_one_run_in_bf16_with_windows_and_augmentation_too(tiny, tmp_path):
    cascade = {"model": "cascade", "widths": (8, 12), "fine_widths": (8,), "coarse_stride": 2}
    settings = tiny | cascade | {"crop_px": 8, "precision": "bf16", "ema_decay": 0.5}
    settings |= {"augment": "affine+intensity", "epochs": 3}
    first, again = (
        stages.train_run(make_config(settings | {"outputs": str(tmp_path / name)}), log=quiet)
        for name in ("first", "again")
    )
    columns = [c for c in train.HISTORY if c not in ("images_per_s", "seconds")]
    pd.testing.assert_frame_equal(first.history[columns], again.history[columns], check_exact=True)
    assert same_weights(first.folder, again.folder)


def test_killed_in_mid_epoch_no_epoch_is_run_twice_and_the_weights_are_the_same(tiny, tmp_path):
    settings = tiny | {"epochs": 30, "lr": 5e-3}
    whole = stages.train_run(make_config(settings), log=quiet)
    killed = settings | {"outputs": str(tmp_path / "killed")}
    code = (
        "import sys, yaml; from lmkit import stages; from lmkit.config import make_config\n"
        "stages.train_run(make_config(yaml.safe_load(sys.argv[1])))"
    )
    text = yaml.safe_dump({k: list(v) if isinstance(v, tuple) else v for k, v in killed.items()})
    command = [sys.executable, "-u", "-c", code, text]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(torch.get_num_threads())
    }  # sums in one order
    for kills in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        seen = 0
        while seen < 3 + kills and process.poll() is None:
            seen += process.stdout.readline().startswith("epoch")
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "finished before it could be killed"
    folder = runs.run_folder(make_config(killed), data.open_dataset(killed["dataset"]))
    rows = pd.read_csv(folder / "history.csv")
    assert rows["epoch"].tolist() == list(range(1, len(rows) + 1))
    assert not (folder / "metrics.json").exists(), "an unfinished run must not look finished"
    resumed = stages.train_run(make_config(killed), log=quiet)
    assert resumed.history["epoch"].tolist() == list(range(1, 31))
    assert same_weights(whole.folder, resumed.folder)


def test_an_interrupted_ensemble_goes_on_with_the_member_it_was_at(tiny, tmp_path):
    settings = tiny | {"epochs": 3, "ensemble": 2, "ema_decay": 0.5}
    whole = stages.train_run(make_config(settings), log=quiet)
    calls = []

    def stop(history):
        calls.append(len(history))
        if len(calls) == 5:  # in the second member
            raise KeyboardInterrupt

    stopped = make_config(settings | {"outputs": str(tmp_path / "other")})
    with pytest.raises(KeyboardInterrupt):
        stages.train_run(stopped, on_epoch=stop, log=quiet)
    lines = []
    resumed = stages.train_run(stopped, log=lines.append)
    assert sum(line.startswith("epoch") for line in lines) == 1
    assert same_weights(whole.folder, resumed.folder)


def test_each_change_of_the_learning_rate_is_printed_and_recorded(tiny):
    lines = []
    settings = {
        "scheduler": "plateau",
        "lr_patience": 0,
        "lr_factor": 0.5,
        "epochs": 15,
        "lr": 0.05,
    }
    run = stages.train_run(make_config(tiny | settings | {"monitor": "val_loss"}), log=lines.append)
    drops = int((run.history["lr"].diff() < 0).sum())
    printed = sum("learning rate" in line for line in lines)
    assert printed - drops in (0, 1)  # one after the last epoch is printed and never used
    assert drops >= 1
    assert run.history["lr"].iloc[-1] == pytest.approx(0.05 * 0.5**drops)


def test_clipping_is_logged_and_limits_the_step(tiny):
    free = stages.train_run(make_config(tiny), log=quiet).history
    tight = stages.train_run(make_config(tiny | {"clip_norm": 1e-3}), log=quiet).history
    loose = stages.train_run(make_config(tiny | {"clip_norm": 1e6}), log=quiet).history
    assert (free["clipped_fraction"] == 0).all()
    assert (tight["clipped_fraction"] == 1).all()
    assert loose["train_loss"].tolist() == free["train_loss"].tolist()
    assert tight["train_loss"].tolist() != free["train_loss"].tolist()


@pytest.mark.parametrize("side", ["both", "joint"])
def test_both_and_joint_find_the_points_of_each_side_in_its_own_frame(learnable, side):
    run = stages.train_run(make_config(learnable | {"side": side, "epochs": 20}), log=quiet)
    tested = stages.open_test_split(run, log=quiet)
    assert len(tested) == 2 * 2 * 2
    assert set(tested["side"]) == {"left", "right"}
    assert tested["error_mm"].max() < 2
    assert set(run.metrics["test"]["per_side"]) == {"left", "right"}


def test_the_test_split_is_opened_once(tiny):
    run = stages.train_run(make_config(tiny), log=quiet)
    assert set(run.predictions["split"]) == {"val"}
    lines = []
    first = stages.open_test_split(run, log=lines.append)
    (run.folder / "model.safetensors").unlink()  # never needed again
    again = stages.open_test_split(runs.load_run(run.folder), log=lines.append)
    assert lines == ["test split opened: 2 label sets, once"]
    pd.testing.assert_frame_equal(first, again)
    assert set(run.metrics) == {"val", "test"}
    assert run.metrics["test"]["n_landmarks"] == 4


def test_errors_are_measured_in_the_source_image_with_its_own_spacing(tiny):
    table = stages.open_test_split(stages.train_run(make_config(tiny), log=quiet), log=quiet)
    expected = np.hypot((table.x - table.x_true) * 0.2, (table.y - table.y_true) * 0.3)
    assert table["error_mm"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-9)
    assert table["peak"].between(0, 1).all()


def test_a_dataset_without_sides_runs_under_all_and_says_so(tiny, tmp_path):
    folder = write_native(tmp_path / "plain", sides=())
    lines = []
    run = stages.train_run(make_config(tiny | {"dataset": str(folder)}), log=lines.append)
    assert run.folder.parts[-2] == "all"
    assert "has no sides: side is ignored" in lines[0]
    again = stages.train_run(
        make_config(tiny | {"dataset": str(folder), "side": "left"}), log=quiet
    )
    assert again.folder == run.folder


def test_a_run_name_in_use_by_other_settings_is_refused(tiny):
    stages.train_run(make_config(tiny | {"run": "mine"}), log=quiet)
    with pytest.raises(
        InputError, match=r"holds a run with lr 0.001, got lr 0.5; name another run"
    ):
        stages.train_run(make_config(tiny | {"run": "mine", "lr": 0.5}), log=quiet)


def test_a_run_on_changed_labels_is_refused(tiny):
    stages.train_run(make_config(tiny), log=quiet)
    path = Path(tiny["dataset"]) / "landmarks.csv"
    path.write_text(path.read_text().replace(",tip,", ",tip,1", 1))
    with pytest.raises(InputError, match="other images or landmarks"):
        stages.train_run(make_config(tiny), log=quiet)


def test_nothing_is_left_behind_when_the_data_is_no_good(tiny):
    path = Path(tiny["dataset"]) / "images" / "p05.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"p05.png: expected a readable image"):
        stages.train_run(make_config(tiny), log=quiet)
    assert not Path(tiny["outputs"]).exists()
    cache = Path(os.environ["LMKIT_CACHE"])
    assert not list(cache.glob(".*.part"))


def test_a_checkpoint_of_another_network_is_named(tiny):
    def stop(_history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.train_run(make_config(tiny), on_epoch=stop, log=quiet)
    ds = data.open_dataset(tiny["dataset"])
    path = runs.run_folder(make_config(tiny), ds) / "checkpoint.pt"
    for content in (b"", b"not a checkpoint", path.read_bytes()[:900]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"checkpoint.pt: expected a whole checkpoint"):
            stages.train_run(make_config(tiny), log=quiet)


def test_two_processes_cannot_write_one_run(tiny):
    def second(_history):
        with pytest.raises(InputError, match="another process is writing this run"):
            stages.train_run(make_config(tiny), log=quiet)

    stages.train_run(make_config(tiny), on_epoch=second, log=quiet)


def test_a_loss_that_is_not_finite_stops_the_run(tiny, monkeypatch):
    monkeypatch.setattr(
        train.losses, "build", lambda _config: lambda maps, *_: maps.sum() * math.inf
    )
    with pytest.raises(InputError, match=r"train_loss: expected a finite number.*lower lr"):
        stages.train_run(make_config(tiny), log=quiet)


def test_a_mean_shape_knows_the_average_place_and_mirrors(native):
    ds = data.open_dataset(native)
    for side in ("left", "both"):
        lined_up = samples.line_up(ds, side)
        train_part, test_part = lined_up.split("train"), lined_up.split("test")
        guess = evaluate.mean_shape(train_part, test_part, ds.sizes())
        assert np.abs(guess - test_part.points).max() < 15
    alone = samples.line_up(ds, "left").split("train")
    expected = alone.points.mean(0)
    assert evaluate.mean_shape(alone, alone, ds.sizes())[0] == pytest.approx(expected)


def test_an_unfinished_run_is_not_evaluated(tiny):
    with pytest.raises(InputError, match="run 03_train with the same parameters"):
        stages.finished_run(make_config(tiny | {"preset": "before"}), log=quiet)
    lines = []
    run = stages.finished_run(make_config(tiny), log=lines.append)
    assert "training it first" in lines[0]
    assert stages.finished_run(make_config(tiny), log=quiet).folder == run.folder


def test_a_run_is_found_by_its_name_alone(tiny):
    named = stages.train_run(make_config(tiny | {"run": "mine", "sigma_px": 2.5}), log=quiet)
    found = stages.finished_run(make_config(tiny | {"run": "mine"}), log=quiet)
    assert found.folder == named.folder
    assert found.config.sigma_px == 2.5


def test_confidence_is_comparable_between_targets():
    point = torch.tensor([[[20.0, 20.0]]])
    for target, amplitude in (("peak", 1.0), ("peak", 1000.0), ("mass", 1000.0)):
        maps = heatmap.render(point, (41, 41), 5.0, amplitude, target)
        top = heatmap.true_peak(5.0, amplitude, target)
        assert heatmap.peak(maps, top).item() == pytest.approx(1, abs=1e-5)


def test_cuda_is_asked_for_only_where_there_is_one(tiny):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="device: expected auto or cpu, got cuda"):
        stages.train_run(make_config(tiny | {"device": "cuda"}), log=quiet)
