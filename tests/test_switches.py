"""Every sentence of the strategy document is a switch that runs; so is what goes beyond it."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY, write_native

from lmkit import (
    batches,
    canvas,
    data,
    ensembles,
    inference,
    losses,
    model,
    runs,
    samples,
    schedule,
    stages,
    targets,
    train,
    unlabelled,
)
from lmkit.choices import DECODERS, LOSSES
from lmkit.config import InputError, make_config
from lmkit.parameters import configure

ROOT = Path(__file__).resolve().parent.parent
CLAIMS = {  # row of the document's table -> the switches that turn it on
    "1 combined loss, literal": {"loss": "combined", "mse_weight": 0.7, "peak_weight": 0.3},
    "1 combined loss, soft peak": {"loss": "combined", "peak_decoder": "soft"},
    "2 affine augmentation": {
        "augment": "affine",
        "rotate_deg": 3,
        "scale_range": "0.95 1.05",
        "translate_frac": 0.03,
    },
    "3 gradient clipping": {"clip_norm": 1.0},
    "4 ReduceLROnPlateau": {"scheduler": "plateau", "lr_factor": 0.5, "lr_patience": 0},
    "5 batch 16": {"batch_size": 16},
    "6 Wing loss": {"loss": "wing", "decoder": "softargmax"},
    "7 multi-scale": {"scales": "0.75 1 1.25"},
    "8 ensemble": {"ensemble": 2},
    "9 sigma 3 to 5, as written": {
        "sigma_schedule": "3→5",
        "target": "mass",
        "amplitude": 1000,
    },
    "9 sigma 3 to 5, peak held": {
        "sigma_schedule": "3 5",
        "target": "mass",
        "amplitude": 1000,
        "hold_peak": True,
    },
    "9 sigma 5 to 3": {"sigma_schedule": "5-3"},
    "10 peak weight 0.2": {"loss": "combined", "peak_weight": 0.2},
    "10 weighted heatmaps": {"loss": "weighted_mse"},
    "10 amplitude 1500": {"amplitude": 1500, "target": "mass"},
    "10 amplitude 2000": {"amplitude": 2000, "target": "mass"},
    "11 the left side": {"side": "left"},
    "12 what to watch": {"epochs": 3},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("switches")
    write_native(folder / "crosses", n=10)
    return folder


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_row_of_the_claims_table_runs_through_notebook_03(place, claim):
    settings = TINY | {"dataset": place / "crosses", "outputs": place / "outputs"}
    settings |= {"input_hw": "32 64", "widths": "8 12 16", "epochs": 2}
    settings |= CLAIMS[claim] | {"run": "r" + "".join(c for c in claim if c.isalnum())}
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks/03_train.ipynb")]
    command += [str(place / "out.ipynb"), "--no-progress-bar"]
    for key, value in settings.items():
        command += ["-p", key, str(value)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    side = settings.get("side", "right")
    run = runs.load_run(place / "outputs" / "crosses" / side / settings["run"])
    assert run.finished
    for key, value in CLAIMS[claim].items():
        assert getattr(run.config, key) == getattr(make_config({key: value}), key)
    watched = {"train_loss", "val_loss", "val_sdr_2mm", "val_sdr_4mm", "lr", "clipped_fraction"}
    assert watched <= set(run.history.columns)
    assert len(run.history) == settings["epochs"]


def quiet(_line: str) -> None:
    pass


def trained(settings):
    return stages.train_run(make_config(settings), log=quiet)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_to_find_the_crosses(learnable, loss):
    better = {"peak_decoder": "soft", "loss_units": "relative", "lr": 5e-3}
    if loss in ("wing", "dsnt_js", "star"):
        better["decoder"] = "softargmax"  # the mean, which is what they train
    run = trained(learnable | better | {"loss": loss, "wing_omega": 4.0, "wing_epsilon": 0.5})
    first, best = run.history["val_mre_mm"].iloc[0], run.history["val_mre_mm"].min()
    assert best < 0.5 * first, (first, best)
    assert 0 < run.predictions["peak"].mean() < 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_reads_a_trained_run(tiny, decoder):
    run = trained(tiny | {"decoder": decoder})
    assert run.predictions[["x", "y"]].notna().all(axis=None)


@pytest.mark.parametrize(
    "switch",
    [
        {"sigma_mm": 1.0},
        {"sigma_mm": 1.0, "sigma_schedule": "1.5 0.8"},
        {"target": "mass", "amplitude": 1000, "sigma_schedule": "3 5", "hold_peak": True},
        {"learn_sigma": True},
        {"learn_sigma": True, "loss_units": "relative"},
        {"scheduler": "onecycle", "warmup_epochs": 0.5},
        {"scheduler": "plateau", "warmup_epochs": 1},
        {"ema_decay": 0.9},
        {"augment": "affine+intensity+elastic+cutout", "elastic_px": 0.5},
        {"augment": "elastic", "elastic_px": 0.5, "scales": "0.5 1"},
        {"loss": "kl", "target": "mass", "amplitude": 1000},
    ],
    ids=lambda switch: " ".join(f"{k} {v}" for k, v in switch.items()),
)
def test_switches_beyond_the_document_run(tiny, switch):
    run = trained(tiny | switch)
    assert run.finished
    assert run.history.notna().all(axis=None)


# --- sigma


def a_batch(settings, dataset, scale=1.0, seed=None):
    config = make_config(settings)
    feed = batches.Feed(
        samples.line_up(dataset, "right"),
        batches.canvas_for(dataset, config),
        config,
        torch.device("cpu"),
    )
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return feed.batch(samples.line_up(dataset, "right").index[:4], generator, scale), config


def test_a_sigma_in_millimetres_follows_the_spacing_of_each_axis(native):
    """60 x 110 pixels of 0.2 x 0.3 mm, squashed to 32 x 64, stride 2."""
    settings = TINY | {"sigma_mm": 1.2, "keep_aspect": False, "augment": "none"}
    batch, config = a_batch(settings, data.open_dataset(native))
    sigma = targets.target_of(batch, config).sigma[0, 0]
    assert sigma[0].item() == pytest.approx(1.2 / 0.2 * 64 / 110 / 2)
    assert sigma[1].item() == pytest.approx(1.2 / 0.3 * 32 / 60 / 2)


def test_the_same_millimetres_after_a_rotation_by_ninety_degrees_swap_the_axes(native):
    settings = TINY | {"sigma_mm": 1.2, "input_hw": (64, 64), "keep_aspect": False}
    batch, config = a_batch(settings | {"augment": "none"}, data.open_dataset(native))
    upright = targets.target_of(batch, config).sigma[0, 0]
    turn = torch.tensor([[0, -1, 63], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    turned = batches.Batch(batch.images, batch.points, turn @ batch.to_input, batch.spacing_mm)
    assert targets.target_of(turned, config).sigma[0, 0].tolist() == pytest.approx(
        upright.flip(0).tolist()
    )


def test_a_schedule_moves_sigma_from_the_first_to_the_last_epoch():
    config = make_config({"sigma_schedule": "3→5", "epochs": 5})
    assert [config.sigma_at(epoch) for epoch in range(5)] == [3, 3.5, 4, 4.5, 5]
    assert make_config({"sigma_schedule": "constant", "sigma_px": 3}).sigma_at(9) == 3
    assert make_config({"sigma_schedule": "3 5", "epochs": 1}).sigma_at(0) == 3


def test_the_weights_keep_the_sigma_of_their_epoch(tiny):
    run = trained(tiny | {"sigma_schedule": "3 1.5", "epochs": 3})
    best = int(run.history["val_mre_mm"].argmin())
    assert run.model().sigma.tolist() == pytest.approx([[3, 2.25, 1.5][best]] * 2)


@pytest.mark.parametrize("hold, ratio", [(True, 1.0), (False, 30.71 / 11.964)])
def test_a_held_peak_keeps_the_height_of_mass_targets_while_sigma_grows(native, hold, ratio):
    settings = TINY | {"target": "mass", "amplitude": 1000, "sigma_schedule": "3 5"}
    settings |= {"input_hw": (64, 128), "augment": "none", "hold_peak": hold}
    batch, config = a_batch(settings, data.open_dataset(native))
    heights = []
    for sigma in (3.0, 5.0):
        target = targets.target_of(batch, config, torch.full((2,), sigma))
        assert target.maps.amax((-2, -1)).max().item() == pytest.approx(
            target.height.max().item(), rel=1e-4
        )
        heights.append(target.height.max().item())
    assert heights[0] == pytest.approx(30.71, rel=1e-3)
    assert heights[0] / heights[1] == pytest.approx(ratio, rel=1e-3)


def two_points():
    """A batch of one picture of 32 x 64 with two landmarks."""
    points = torch.tensor([[[31.0, 15.0], [20.0, 11.0]]])
    return batches.Batch(
        torch.zeros(1, 1, 32, 64), points, torch.eye(3).double()[None], torch.ones(1, 2).double()
    )


@pytest.mark.parametrize("units", ["raw", "relative"])
def test_the_gradient_of_a_learned_sigma_is_that_of_finite_differences(units):
    """The data term alone: maps half as high as the target want a wider, lower one."""
    config = make_config(TINY | {"learn_sigma": True, "sigma_penalty": 0, "loss_units": units})
    batch, loss = two_points(), losses.build(config)
    maps = 0.5 * targets.target_of(batch, config).maps

    def value(log_sigma):
        return loss(maps, targets.target_of(batch, config, log_sigma.exp()))

    log_sigma = torch.full((2,), 1.5).log().requires_grad_()
    (gradient,) = torch.autograd.grad(value(log_sigma), log_sigma)
    step = torch.tensor([1e-2, 0.0])
    expected = (value(log_sigma + step) - value(log_sigma - step)).item() / 2e-2
    assert gradient[0].item() == pytest.approx(expected, rel=0.02)
    assert gradient[0] < 0


def test_a_learned_sigma_is_trained_and_keeps_the_mass(tiny):
    run = trained(tiny | {"learn_sigma": True, "epochs": 4, "lr": 1e-2})
    assert (run.model().sigma - 1.5).abs().max() > 1e-3
    config, batch = run.config, two_points()
    for widths in (torch.tensor([1.5, 1.5]), torch.tensor([1.0, 2.0])):
        target = targets.target_of(batch, config, widths)
        assert target.maps.sum((-2, -1))[0].tolist() == pytest.approx(
            [2 * 3.14159 * 1.5**2] * 2, rel=0.01
        )
        assert target.maps.amax((-2, -1))[0].tolist() == pytest.approx(
            target.height[0].tolist(), rel=0.1
        )


# --- scales, schedules, averages, ensembles


def test_scales_change_the_input_and_points_alike(native):
    dataset = data.open_dataset(native)
    settings = TINY | {"augment": "none", "keep_aspect": False}
    whole, config = a_batch(settings, dataset)
    half, _ = a_batch(settings, dataset, scale=0.5)
    assert (whole.images.shape[-2:], half.images.shape[-2:]) == ((32, 64), (16, 32))
    assert torch.allclose(half.points, (whole.points + 0.5) / 2 - 0.5, atol=1e-5, equal_nan=True)
    odd, _ = a_batch(settings, dataset, scale=0.6)  # 19.2 x 38.4 in the middle of 24 x 40
    assert odd.images.shape[-2:] == (24, 40)
    apart = [(b.points[:, 1] - b.points[:, 0]) for b in (whole, odd)]
    assert torch.allclose(apart[1], 0.6 * apart[0], atol=1e-4)  # the same on both axes
    expected = (whole.points + 0.5) * 0.6 - 0.5 + torch.tensor([0.8, 2.4])
    assert torch.allclose(odd.points, expected, atol=1e-4, equal_nan=True)
    assert [config.sized(s) for s in (0.6, 1.0, 0.01)] == [(24, 40), (32, 64), (8, 8)]


def stripes(axis):
    """A feed of one picture, twice the input's size: lines of two pixels, as far apart."""
    frame = (64, 128)
    at = np.arange(frame[axis]) % 4
    lines = np.where((at == 0) | (at == 3), 255, 0).astype(np.uint8)
    pixels = np.broadcast_to(lines[:, None] if axis == 0 else lines, frame)[None].copy()
    config = make_config(TINY | {"scales": (0.5, 1.0), "augment": "none"})
    matrix = torch.eye(3, dtype=torch.float64)[None]
    shown = unlabelled.unlabelled(["a"], [("right", "tip")], False, None)
    where = canvas.Canvas(pixels, matrix, np.array([frame]))
    return batches.Feed(shown, where, config, torch.device("cpu"))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("scale", [0.5, 0.4, 0.25])
def test_lines_finer_than_a_small_scales_pixels_become_grey(axis, scale):
    (image,) = stripes(axis).batch(np.array([0]), scale=scale).images[:, 0]
    inside = image[3:-3, 5:-5]  # at 0.4 there is black around
    assert inside.abs().max() < 1.1, "from -2, black, to 2, white: the lines have become others"
    assert inside.mean().abs() < 0.3


def test_pictures_at_their_own_size_are_not_averaged_first():
    feed = stripes(1)
    assert [feed._block(scale) for scale in (1.0, 1.5, 0.75, 0.5, 0.25)] == [1, 1, 2, 2, 4]
    small = dataclasses.replace(feed.canvas, pixels=feed.canvas.pixels[:, ::2, ::2])
    feed = batches.Feed(feed.samples, small, feed.config, feed.device)
    assert [feed._block(scale) for scale in (1.0, 0.5, 0.4)] == [1, 1, 2]


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"scheduler": "cosine"}, {0: 1, 5: 0.505, 10: 0.01}),
        ({"scheduler": "constant"}, {0: 1, 10: 1}),
        ({"scheduler": "constant", "warmup_epochs": 4}, {1: 0.25, 4: 1, 10: 1}),
        ({"scheduler": "onecycle"}, {0: 0.04, 1.5: 0.52, 3: 1, 6.5: 0.50005, 10: 1e-4}),
    ],
)
def test_the_learning_rate_over_the_epochs(settings, expected):
    config = make_config({"epochs": 10} | settings)
    for epoch, factor in expected.items():
        assert schedule.lr_factor(config, epoch) == pytest.approx(factor)


def test_a_time_budget_plans_the_epochs_that_fit():
    config = make_config({"epochs": 100, "max_minutes": 10})
    assert schedule.planned_epochs(config, []) == 100
    rows = [{"seconds": 90.0}, {"seconds": 60.0}, {"seconds": 60.0}]
    assert schedule.planned_epochs(config, rows) == 3 + (600 - 210) // 60
    assert schedule.planned_epochs(config, [{"seconds": 700.0}]) == 1
    assert schedule.planned_epochs(make_config({"epochs": 5, "max_minutes": 10}), rows) == 5
    assert schedule.lr_factor(config, 5, 10) == pytest.approx(0.505)  # cosine ends with the time


def test_a_run_with_a_time_budget_stops_in_time_and_anneals(tiny):
    run = trained(tiny | {"epochs": 5000, "max_minutes": 0.1})
    assert 2 < len(run.history) < 5000
    assert run.history["seconds"].sum() < 6 + run.history["seconds"].max()
    assert run.history["lr"].iloc[-1] < 0.2 * run.history["lr"].iloc[0]


def test_few_epochs_in_a_time_budget_are_planned_to_the_end_of_it():
    config = make_config({"epochs": 100, "max_minutes": 10})
    assert schedule.planned_epochs(config, [{"seconds": 400.0}]) == 2  # half of one more
    assert schedule.planned_epochs(config, [{"seconds": 250.0}]) == 3
    assert schedule.planned_epochs(config, [{"seconds": 590.0}]) == 1  # what is left is no epoch
    assert schedule.planned_epochs(config, [{"seconds": 100.0}]) == 6  # as it always was
    assert schedule.planned_epochs(config, [{"seconds": 110.0}]) == 5


@pytest.fixture
def at(monkeypatch):
    """Sets the clock, seconds."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def test_a_schedule_follows_the_clock_where_an_epoch_fills_the_time_budget(at):
    config = make_config({"epochs": 100, "max_minutes": 1, "scheduler": "cosine"})
    course = schedule.Course(config, [], steps=100)
    assert course.factor(0) == pytest.approx(1, abs=1e-3)
    at(30)
    assert course.factor(10) == pytest.approx(schedule.lr_factor(config, 0, done=0.55))
    assert not course.over()
    at(57)
    assert course.factor(19) == pytest.approx(0.01)  # the step that ends with the time
    at(60)
    assert course.over()
    assert schedule.Course(config, [{"seconds": 59.0}], steps=100).deadline == 61


def test_a_schedule_follows_the_epochs_where_many_fit_into_the_time_budget(at):
    config = make_config({"epochs": 100, "max_minutes": 1, "scheduler": "cosine"})
    course = schedule.Course(config, [], steps=10)
    at(1.0)
    assert course.factor(4) == schedule.lr_factor(config, 0.5)  # 2.5 s an epoch
    course = schedule.Course(config, [{"seconds": 2.0}] * 3, steps=10)
    at(3.0)
    assert course.factor(9) == schedule.lr_factor(config, 4, 30)
    untimed = schedule.Course(make_config({"epochs": 4}), [{"seconds": 9e9}], steps=10)
    at(9e9)
    assert untimed.factor(9) == schedule.lr_factor(make_config({"epochs": 4}), 2)
    assert not untimed.over()


@pytest.fixture
def tenths(at, monkeypatch):
    """A step of training takes a tenth of a second, all else no time."""
    real, steps = train.gradients, []

    def gradients(*arguments):
        steps.append(arguments)
        at(len(steps) / 10)
        return real(*arguments)

    monkeypatch.setattr(train, "gradients", gradients)


def test_an_epoch_ends_with_the_time_budget_and_so_does_the_schedule(tiny, tenths):
    asked = {"batch_size": 1, "epochs": 1000, "max_minutes": 0.29 / 60, "lr": 1e-2}
    run = trained(tiny | asked)  # 3 of 8 steps
    (row,) = run.history.to_dict("records")
    assert row["seconds"] == pytest.approx(0.3)
    assert row["images_per_s"] == pytest.approx(3 / 0.3)
    assert row["lr"] == pytest.approx(1e-4)
    assert run.finished


def test_at_least_one_step_is_made_however_short_the_time(tiny, tenths):
    run = trained(tiny | {"epochs": 1000, "max_minutes": 1e-9})
    assert run.history["seconds"].tolist() == pytest.approx([0.1])
    assert run.history["images_per_s"].tolist() == pytest.approx([3 / 0.1])


def test_the_time_budget_is_that_of_each_member_of_an_ensemble(tiny, tenths):
    run = trained(tiny | {"epochs": 1000, "max_minutes": 0.19 / 60, "ensemble": 2})
    assert run.history["seconds"].tolist() == pytest.approx([0.4])


def test_a_run_stopped_within_its_time_budget_goes_on_to_the_end_of_it(tiny, tenths, tmp_path):
    settings = tiny | {"epochs": 1000, "max_minutes": 0.75 / 60}
    whole = trained(settings).history
    assert whole["seconds"].tolist() == pytest.approx([0.3, 0.3, 0.2])

    def stop(_history):
        raise KeyboardInterrupt

    config = make_config(settings | {"outputs": str(tmp_path / "other")})
    with pytest.raises(KeyboardInterrupt):
        stages.train_run(config, on_epoch=stop, log=quiet)
    resumed = stages.train_run(config, log=quiet)
    assert resumed.finished
    pd.testing.assert_frame_equal(resumed.history, whole)


def test_early_stopping_waits_for_the_stated_epochs():
    config = make_config({"early_stop": 2, "monitor": "val_median_mm"})

    def rows(*values):
        return [{"val_median_mm": value} for value in values]

    assert not schedule.stalled(config, [])
    assert not schedule.stalled(config, rows(3, 2, 4))
    assert schedule.stalled(config, rows(3, 2, 4, 5))
    assert not schedule.stalled(make_config({"monitor": "val_median_mm"}), rows(3, 2, 4, 5))


def test_the_average_of_the_weights_is_what_is_kept(tiny):
    """With decay d, after the first step: w1; after the second: d w1 + (1 - d) w2; ..."""
    config = make_config(tiny | {"ema_decay": 0.6, "epochs": 1, "batch_size": 3})
    dataset = data.open_for(config)
    lined = samples.line_up(dataset, "right")
    canvas = batches.canvas_for(dataset, config)
    feed = batches.Feed(lined.split("train"), canvas, config, torch.device("cpu"))
    state = train.start(config, 2, torch.device("cpu"))
    seen = []
    step = state.optimiser.step

    def recorded():
        step()
        seen.append(state.model.head.weight.detach().clone())

    state.optimiser.step = recorded
    train.train_epoch(state, feed, config)
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.6 * expected + 0.4 * weight
    assert len(seen) == 3
    assert torch.allclose(state.judged.head.weight, expected, atol=1e-6)


def test_an_ensemble_is_the_mean_of_its_members(tiny):
    run = trained(tiny | {"ensemble": 3, "ensemble_by": "mean"})
    together = run.predictions[["x", "y"]].to_numpy()
    alone = [
        trained(tiny | {"seed": seed}).predictions[["x", "y"]].to_numpy() for seed in (0, 1, 2)
    ]
    assert together == pytest.approx(sum(alone) / 3, abs=1e-3)
    assert sorted(path.name for path in (run.folder / "members").iterdir()) == ["0", "1", "2"]
    assert isinstance(run.model(), torch.nn.ModuleList)
    tested = stages.open_test_split(run, log=quiet)
    assert len(tested) > 0


@pytest.mark.parametrize("by", ["maps", "mean", "median"])
def test_an_ensemble_of_equal_members_predicts_what_one_does(tiny, by):
    config = make_config(tiny | {"ensemble": 3, "ensemble_by": by})
    dataset = data.open_for(config)
    lined = samples.line_up(dataset, "right")
    feed = batches.Feed(lined, batches.canvas_for(dataset, config), config, torch.device("cpu"))
    one = model.build(config, 2)
    alone = inference.infer(one, feed, detail=True)
    three = inference.infer(torch.nn.ModuleList([one, one, one]), feed, detail=True)
    assert three.points == pytest.approx(alone.points, abs=1e-3)
    assert three.peak == pytest.approx(alone.peak, abs=1e-4)
    assert three.loss == pytest.approx(alone.loss, rel=1e-5)
    assert three.ere_mm == pytest.approx(alone.ere_mm, abs=1e-3)
    assert alone.members_mm is None
    assert three.members_mm == pytest.approx(np.zeros_like(alone.peak), abs=1e-3)


# --- the literal combined loss is mse


def test_the_literal_combined_loss_trains_the_same_weights_as_mse(native):
    """50 steps from one seed; 0.7 of the loss is no more than a factor, which Adam divides out."""
    settings = TINY | {"batch_size": 2, "dataset": str(native)}
    weights = {}
    for loss in ("mse", "combined"):
        config = make_config(settings | {"loss": loss, "mse_weight": 1.0, "peak_weight": 0.3})
        dataset = data.open_for(config)
        feed = batches.Feed(
            samples.line_up(dataset, "right"),
            batches.canvas_for(dataset, config),
            config,
            torch.device("cpu"),
        )
        torch.manual_seed(0)
        net = model.build(config, 2).train()
        optimiser, loss_of = torch.optim.Adam(net.parameters(), 1e-3), losses.build(config)
        steps, values = 0, []
        while steps < 50:
            for batch in feed.epoch(2, torch.Generator().manual_seed(steps)):
                maps = inference.maps_of(net, batch.images, config)
                value = loss_of(maps, targets.target_of(batch, config))
                optimiser.zero_grad()
                value.backward()
                optimiser.step()
                values.append(value.item())
                steps += 1
        weights[loss] = (net.state_dict(), values)
    (one, low), (two, high) = weights["mse"], weights["combined"]
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert max(h - v for h, v in zip(high, low, strict=True)) > 0.1  # the loss itself did change


# --- parameters


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"augment": "affine+blur"}, "augment: expected none | mirror | affine | intensity"),
        ({"augment": "intensity+affine"}, None),
        ({"scales": 0.5}, None),
        ({"sigma_schedule": "3"}, "sigma_schedule: expected two numbers"),
        ({"sigma_schedule": "3 -> 0"}, "expected greater than 0"),
        ({"learn_sigma": True, "loss": "wing"}, "learn_sigma: expected target peak, loss mse"),
        ({"augment": "elastic", "elastic_px": 30}, "elastic_px: expected at most"),
        ({"elastic_cells": "1 5"}, "elastic_cells: expected all >= 2"),
        ({"gamma_range": "2 1"}, "gamma_range: expected 0 < low <= high"),
        ({"loss": "adaptive wing"}, "did you mean adaptive_wing?"),
        ({"tta": "mirror"}, "tta: expected none, for the network has seen no mirrored image"),
        ({"tta": "mirror", "augment": "mirror"}, None),
        ({"ensemble": 0}, "ensemble: expected greater than or equal to 1"),
        ({"early_stop": -1}, "early_stop: expected greater than or equal to 0"),
        ({"warmup_epochs": 20}, "warmup_epochs: expected fewer than epochs"),
    ],
)
def test_settings_of_the_switches_are_checked(given, expected):
    if expected is None:
        make_config(given)
        return
    with pytest.raises(InputError) as error:
        make_config(given)
    assert expected in str(error.value)


def test_after_is_before_with_the_five_changes_and_nothing_else():
    before, after = (configure({"preset": name}) for name in ("before", "after"))
    changed = {
        key for key in type(after).model_fields if getattr(before, key) != getattr(after, key)
    }
    assert changed == {"preset", "loss", "augment", "clip_norm", "lr_factor", "batch_size"}


def test_history_of_an_ensemble_is_the_members_mean(tiny):
    run = trained(tiny | {"ensemble": 2})
    parts = [pd.read_csv(run.folder / "members" / k / "history.csv") for k in "01"]
    expected = (parts[0]["val_mre_mm"] + parts[1]["val_mre_mm"]) / 2
    assert run.history["val_mre_mm"].tolist() == pytest.approx(expected.tolist())


def test_the_minutes_of_an_ensemble_are_those_of_all_its_members(tiny):
    run = trained(tiny | {"ensemble": 2, "run": "two"})
    parts = [pd.read_csv(run.folder / "members" / k / "history.csv") for k in "01"]
    took = parts[0]["seconds"] + parts[1]["seconds"]
    assert run.history["seconds"].tolist() == pytest.approx(took.tolist())
    assert list(run.history.columns) == train.HISTORY
    trained(tiny | {"run": "one"})
    joined = ensembles.join_runs(make_config(tiny), "one,two", "mean", log=quiet)
    table = ensembles.gain_table(joined)
    assert table.loc["two", "networks"] == 2
    assert table.loc["two", "minutes"] == pytest.approx(took.sum() / 60)
