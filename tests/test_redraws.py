"""Predicting the same image several times."""

import numpy as np
import pytest
import torch

from lmkit import batches, data, inference, model, redraws, samples
from lmkit.config import make_config


def feed_of(settings):
    config = make_config(settings)
    dataset = data.open_for(config)
    lined = samples.line_up(dataset, "right")
    canvas = batches.canvas_for(dataset, config)
    return batches.Feed(lined, canvas, config, torch.device("cpu")), len(lined)


def test_spread_is_the_root_mean_square_distance_from_the_mean_in_mm():
    points = torch.tensor([[[[0.0, 0.0]]], [[[6.0, 8.0]]]])  # 2 draws, 1 sample, 1 landmark
    spacing = torch.tensor([[0.5, 0.25]])  # from the middle: 3 * 0.5 and 4 * 0.25
    assert inference.spread_mm(points, spacing).item() == pytest.approx(np.hypot(1.5, 1.0))


def test_jittered_images_give_points_in_the_source_frame(tiny):
    feed, n = feed_of(tiny)
    network = model.build(feed.config, 2)
    means, spreads = redraws.redraw(network, feed, 3, "tta")
    again, _ = redraws.redraw(network, feed, 3, "tta")
    assert means.shape == (n, 2, 2)
    assert spreads.shape == (n, 2)
    assert (spreads > 0).all()
    assert (means == again).all(), "the same seed draws the same"


def test_a_network_that_follows_the_image_comes_back_to_the_same_point(tiny):
    class Bright(torch.nn.Module):
        """Its point is the middle of the broad bright blob in the picture's left half."""

        sigma = torch.ones(2)

        def levels(self, images):
            smooth = torch.nn.functional.avg_pool2d(images + 2, 5, 1, 2)
            smooth[..., smooth.shape[-1] // 2 :] = 0
            small = torch.nn.functional.avg_pool2d(smooth, feed.config.stem_stride)
            return [(small.expand(-1, 2, -1, -1), feed.config.stem_stride)]

    feed, _ = feed_of(tiny)
    means, spreads = redraws.redraw(Bright(), feed, 4, "tta")
    still = inference.infer(Bright(), feed).points
    away = np.hypot(*(means - still)[:, 0].T)
    assert np.median(away) < 1, "not turned back, it would be off by the shift: several pixels"
    assert np.median(spreads) < 0.5


def test_dropout_spreads_only_where_it_was_trained_with(tiny):
    feed, _ = feed_of(tiny | {"dropout": 0.5})
    network = model.build(feed.config, 2)
    assert (redraws.redraw(network, feed, 3, "dropout")[1] > 0).any()
    assert not network.training
    assert not any(layer.training for layer in network.modules())
    still, _ = feed_of(tiny)
    with pytest.raises(ValueError, match=r"expected >= 2 and tta \(dropout where it was trained"):
        redraws.redraw(network, still, 3, "dropout")


def test_one_draw_is_no_spread(tiny):
    feed, _ = feed_of(tiny)
    with pytest.raises(ValueError, match="draws, kind: expected >= 2"):
        redraws.redraw(model.build(feed.config, 2), feed, 1, "tta")
