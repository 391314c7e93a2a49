"""Coarse to fine: windows where the coarse maps are brightest, both networks trained at once."""

import pytest
import torch
from conftest import TINY

from lmkit import batches, data, inference, model, runs, samples, stages, targets
from lmkit.cascade import Cascade
from lmkit.config import InputError, make_config

SMALL = {
    "model": "cascade",
    "widths": (8, 12),
    "coarse_stride": 2,
    "crop_px": 8,
    "fine_widths": (8, 12),
}
B, L, H, W = 2, 3, 32, 48  # input pixels; heatmaps 16 x 24, coarse maps 8 x 12


def network() -> Cascade:
    torch.manual_seed(0)
    return Cascade(L, (4, 6), (5, 7), stem_stride=2, coarse_stride=2, crop_px=8).eval()


@pytest.mark.parametrize(
    "row, column, top, left",
    [(4, 5, 4, 6), (0, 0, 0, 0), (7, 11, 8, 16), (2, 10, 0, 16)],
)
def test_a_window_surrounds_the_brightest_coarse_pixel_and_stays_inside(row, column, top, left):
    coarse = torch.zeros(B, L, 8, 12)
    coarse[1, 2, row, column] = 1.0
    rows, columns = network().windows(coarse)
    assert (rows[1, 2].item(), columns[1, 2].item()) == (top, left)
    assert (rows[0, 0].item(), columns[0, 0].item()) == (0, 0)  # all equal: the first one


def test_the_map_is_what_the_second_network_draws_in_its_window_and_zero_elsewhere():
    net, images = network(), torch.randn(B, 1, H, W)
    (coarse, coarse_px), (fine, fine_px) = net.levels(images)
    assert (coarse_px, fine_px) == (4, 2)
    assert coarse.shape == (B, L, 8, 12)
    assert fine.shape == (B, L, 16, 24)
    assert torch.equal(net(images), fine)
    rows, columns = net.windows(coarse)
    outside = fine.clone()
    for i in range(B):
        for k in range(L):
            top, left = rows[i, k], columns[i, k]
            outside[i, k, top : top + 8, left : left + 8] = 0
            window = images[i, 0, 2 * top : 2 * top + 16, 2 * left : 2 * left + 16]
            pixels = net.fold(window[None, None])
            features = net.coarse.features(torch.nn.functional.avg_pool2d(images[i : i + 1], 2))
            near = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
            near = near[:, :, top : top + 8, left : left + 8]
            alone = net.fine(torch.cat([pixels, near], 1))[0, k]
            assert torch.allclose(fine[i, k, top : top + 8, left : left + 8], alone, atol=1e-5)
    assert (outside == 0).all()


def test_each_network_has_targets_on_its_own_grid(native):
    config = make_config(TINY | SMALL | {"dataset": str(native), "augment": "none"})
    ds = data.open_for(config)
    shown = samples.line_up(ds, "right")
    feed = batches.Feed(shown, batches.canvas_for(ds, config), config, torch.device("cpu"))
    batch, net = next(feed.in_order(2)), model.build(config, 2)
    levels = inference.levels_of(net, batch.images, config)
    coarse, fine = targets.targets_of(batch, config, net.sigma, levels)
    assert coarse.maps.shape == (2, 2, 8, 16)
    assert fine.maps.shape == (2, 2, 16, 32)
    # the same place, pixel centres at integers: (x + 0.5) / stride - 0.5
    assert torch.allclose((coarse.points + 0.5) * 4, (fine.points + 0.5) * 2, atol=1e-4)
    assert (coarse.sigma == fine.sigma).all()  # in pixels of each grid


def test_it_learns_and_its_second_look_is_finer_than_its_first(learnable):
    settings = learnable | SMALL | {"epochs": 25, "augment": "none"}
    run = stages.train_run(make_config(settings), log=lambda _line: None)
    median = run.predictions["error_mm"].median()
    assert median < 1.0, f"the pictures are 22 x 18 mm and the blobs 0.7 mm wide, got {median}"
    ds = data.open_for(run.config)
    shown = samples.line_up(ds, "right").split("val")
    canvas = batches.canvas_for(ds, run.config)
    batch = next(batches.Feed(shown, canvas, run.config, torch.device("cpu")).in_order(8))
    with torch.no_grad():
        (coarse, _), (fine, _) = inference.levels_of(run.model(), batch.images, run.config)
    first = run.config.model_copy(update={"stem_stride": 4, "decoder": "argmax"})
    second = run.config.model_copy(update={"decoder": "argmax"})
    far = {
        name: (inference.points_of(maps, batch.to_input, c, 1.5).numpy() - shown.points)
        for name, maps, c in (("first", coarse, first), ("second", fine, second))
    }
    assert abs(far["second"]).mean() < abs(far["first"]).mean()


def test_an_interrupted_cascade_goes_on_to_the_same_weights(tiny):
    settings = tiny | SMALL | {"ema_decay": 0.9, "epochs": 3}
    whole = stages.train_run(make_config(settings | {"run": "whole"}), log=lambda _line: None)

    def stop(history):
        if len(history) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.train_run(make_config(settings | {"run": "cut"}), stop, log=lambda _line: None)
    cut = stages.train_run(make_config(settings | {"run": "cut"}), log=lambda _line: None)
    files = [runs.load_run(run.folder).folder / "model.safetensors" for run in (whole, cut)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"crop_px": 6, "coarse_stride": 4, "widths": (8,)}, "crop_px: expected a multiple of 4"),
        ({"crop_px": 32}, "up to the heatmap's 16, got 32"),
        ({"input_hw": (36, 64)}, "input_hw: expected multiples of 8"),
        ({"fine_widths": (8, 0)}, "fine_widths: expected all >= 1"),
    ],
)
def test_windows_that_cannot_be_are_refused(settings, said):
    with pytest.raises(InputError, match=said):
        make_config(TINY | SMALL | settings)
