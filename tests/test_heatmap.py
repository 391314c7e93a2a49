"""Maps and decoders against closed forms, scipy and brute force; all axes of different sizes."""

import math

import pytest
import scipy.ndimage
import torch

from lmkit import heatmap

B, L, H, W = 2, 3, 19, 23


def some_points(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    inner = torch.tensor([W - 9, H - 9], dtype=dtype)
    return torch.rand(B, L, 2, generator=generator, dtype=dtype) * inner + 4


def test_a_rendered_map_has_the_gaussian_at_every_pixel():
    points = some_points()
    maps = heatmap.render(points, (H, W), sigma=2.0, amplitude=7.0)
    assert maps.shape == (B, L, H, W)
    x, y = points[1, 2]
    for row, column in ((0, 0), (5, 7), (18, 22)):
        squared = (column - x) ** 2 + (row - y) ** 2
        assert maps[1, 2, row, column].item() == pytest.approx(7 * math.exp(-squared / 8))


def test_the_value_at_the_landmark_is_the_amplitude():
    maps = heatmap.render(torch.tensor([[[4.0, 6.0]]]), (H, W), sigma=3.0, amplitude=1000.0)
    assert maps[0, 0, 6, 4].item() == 1000
    assert maps.max().item() == 1000


def test_a_missing_point_gives_a_zero_map_and_no_nan():
    points = some_points()
    points[0, 1] = math.nan
    for target in ("peak", "mass"):
        maps = heatmap.render(points, (H, W), sigma=2.0, target=target)
        assert not maps.isnan().any()
        assert (maps[0, 1] == 0).all()
        assert maps[0, 0].max() > 0


@pytest.mark.parametrize("sigma", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("x, y", [(11.3, 8.8), (0, 0), (22, 18), (1.6, 17.2)])
def test_mass_is_scipys_blur_of_a_delta_cut_at_one_sigma(sigma, x, y):
    delta = torch.zeros(H, W, dtype=torch.float64)
    delta[round(y), round(x)] = 1000
    expected = scipy.ndimage.gaussian_filter(delta.numpy(), sigma, truncate=1.0)
    maps = heatmap.render(torch.tensor([[[x, y]]]).double(), (H, W), sigma, 1000, "mass")
    assert maps[0, 0].numpy() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("sigma, top", [(3, 30.7), (5, 12.0), (8, 4.9)])
def test_the_documents_amplitude_of_1000_is_a_far_lower_true_peak(sigma, top):
    assert heatmap.true_peak(sigma, 1000, "mass") == pytest.approx(top, abs=0.05)
    assert heatmap.true_peak(sigma, 1000, "peak") == 1000


def test_argmax_finds_the_brightest_pixel_as_x_y():
    maps = torch.rand(B, L, H, W, generator=torch.Generator().manual_seed(3))
    maps[1, 2, 5, 17] = 2
    points = heatmap.decode(maps, "argmax")
    assert points.shape == (B, L, 2)
    assert points[1, 2].tolist() == [17, 5]
    for b in range(B):
        for j in range(L):
            x, y = points[b, j].int().tolist()
            assert maps[b, j, y, x] == maps[b, j].max()


@pytest.mark.parametrize("amplitude", [1.0, 1000.0])
@pytest.mark.parametrize("sigma", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dark_recovers_a_rendered_gaussian_away_from_borders(amplitude, sigma, dtype):
    points = some_points(dtype)
    found = heatmap.decode(heatmap.render(points, (H, W), sigma, amplitude), "dark")
    torch.testing.assert_close(found, points, atol=2e-3, rtol=0)


def test_dark_survives_bfloat16_maps():
    points = some_points(torch.float32)
    maps = heatmap.render(points, (H, W), 2.0).bfloat16()
    torch.testing.assert_close(heatmap.decode(maps, "dark"), points, atol=0.06, rtol=0)


@pytest.mark.parametrize("x, y", [(0, 0), (W - 1, 0), (0, H - 1), (W - 1, H - 1), (6, 0)])
def test_dark_keeps_whole_pixels_at_the_border(x, y):
    maps = heatmap.render(torch.tensor([[[float(x), float(y)]]]), (H, W), 1.5)
    assert heatmap.decode(maps, "dark")[0, 0].tolist() == pytest.approx([x, y], abs=1e-3)


def test_empty_and_negative_maps_decode_to_finite_points_with_no_confidence():
    for maps in (torch.zeros(B, L, H, W), -torch.rand(B, L, H, W)):
        for method in ("argmax", "dark"):
            assert heatmap.decode(maps, method).isfinite().all()
        assert (heatmap.peak(maps) == 0).all()


@pytest.mark.parametrize("amplitude", [1.0, 1000.0])
def test_confidence_is_a_share_of_the_targets_height(amplitude):
    maps = heatmap.render(torch.tensor([[[5.0, 4.0]]]), (H, W), 2.0, amplitude) / 4
    assert heatmap.peak(maps, amplitude).tolist() == [[0.25]]


def test_errors_say_what_was_expected_and_what_came():
    with pytest.raises(ValueError, match=r"points: expected shape \(B, L, 2\), got \(2, 3\)"):
        heatmap.render(torch.zeros(2, 3), (H, W), 1.0)
    with pytest.raises(ValueError, match=r"sigma: expected > 0, got -1.0"):
        heatmap.render(torch.zeros(1, 1, 2), (H, W), -1.0)
    with pytest.raises(ValueError, match=r"got 'pek'; did you mean peak\?"):
        heatmap.render(torch.zeros(1, 1, 2), (H, W), 1.0, target="pek")
    with pytest.raises(ValueError, match=r"maps: expected shape \(B, L, H, W\), got \(3, 4\)"):
        heatmap.decode(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="method: expected argmax"):
        heatmap.decode(torch.zeros(1, 1, 3, 4), "drak")
