"""Further modes of a map, and how far its mass is spread."""

import math

import pytest
import torch

from lmkit import heatmap, modes

B, L, H, W = 2, 3, 40, 56


def two_bumps(first, second, share, sigma=2.0):
    """(B, L, H, W): a Gaussian of height 1 and another one."""
    places = torch.tensor([first, second]).expand(1, 2, 2)
    high, low = heatmap.render(places, (H, W), sigma)[0]
    return (high + share * low).expand(B, L, H, W)


def test_modes_come_brightest_first_with_their_heights():
    maps = two_bumps((10.3, 9.8), (40.6, 30.2), 0.5)
    points, heights = modes.top_modes(maps, 2, 2.0)
    assert points.shape == (B, L, 2, 2)
    assert points[1, 2, 0].tolist() == pytest.approx([10.3, 9.8], abs=0.01)
    assert points[1, 2, 1].tolist() == pytest.approx([40.6, 30.2], abs=0.01)
    assert heights[0, 0].tolist() == pytest.approx([1, 0.5], abs=0.05)


def test_a_shoulder_of_the_same_peak_is_no_second_mode():
    points, heights = modes.top_modes(two_bumps((20.0, 20.0), (24.0, 20.0), 0.6), 2, 2.0)
    assert heights[..., 1].max() == 0
    assert points[..., 1, :].isnan().all()


def test_an_empty_map_has_no_modes():
    points, heights = modes.top_modes(torch.zeros(B, L, H, W), 3, 2.0)
    assert points.isnan().all()
    assert (heights == 0).all()


@pytest.mark.parametrize("maps, k", [(torch.zeros(3, 4, 5), 1), (torch.zeros(1, 1, 4, 5), 0)])
def test_wrong_arguments_are_named(maps, k):
    with pytest.raises(ValueError, match=r"expected \(B, L, H, W\) and >= 1"):
        modes.top_modes(maps, k, 2.0)


def test_the_expected_radius_of_a_gaussian_is_that_of_a_cut_rayleigh():
    sigma, spacing = 6.0, 0.5  # wide, so that pixels are no matter
    maps = heatmap.render(torch.tensor([[[28.0, 20.0]]]), (H, W), sigma)
    step = torch.diag(torch.tensor([spacing, spacing]))[None]
    found = modes.expected_radius_mm(maps, torch.tensor([[[28.0, 20.0]]]), step).item()
    cut = sigma * math.sqrt(2 * math.log(10))  # where the map falls below a tenth
    fine = torch.linspace(0, cut, 100_001)
    weight = fine * torch.exp(-0.5 * (fine / sigma) ** 2)
    expected = spacing * (weight * fine).sum().item() / weight.sum().item()
    assert found == pytest.approx(expected, rel=0.01)


def test_the_expected_radius_uses_each_axis_spacing():
    maps = torch.zeros(1, 2, 9, 11)
    maps[0, :, 4, 5] = 1  # half of the mass at the point, half three pixels beside it
    maps[0, 0, 4, 8] = 1
    maps[0, 1, 7, 5] = 1
    step = torch.tensor([[[0.2, 0.0], [0.0, 0.4]]])
    points = torch.tensor([[[5.0, 4.0], [5.0, 4.0]]])
    assert modes.expected_radius_mm(maps, points, step)[0].tolist() == pytest.approx([0.3, 0.6])


def test_an_empty_map_has_no_expected_radius():
    step = torch.eye(2)[None]
    assert (
        modes.expected_radius_mm(torch.zeros(1, 1, 4, 5), torch.zeros(1, 1, 2), step).isnan().all()
    )


def radius_over_all_pixels(maps, points, mm_per_px):
    """What the docstring says, with a distance for every pixel."""
    mass = torch.where(maps >= modes.LOWEST * maps.amax((-2, -1), keepdim=True), maps, 0).clamp(0)
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    away = torch.stack([x, y], -1) - points[:, :, None, None]  # (B, L, H, W, 2)
    distance = torch.einsum("bij,blhwj->blhwi", mm_per_px, away).norm(dim=-1)
    return (mass * distance).sum((-2, -1)) / mass.sum((-2, -1))


def test_the_expected_radius_is_the_mean_over_all_pixels_that_count():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(B, L, 2, generator=generator, dtype=torch.float64) * 30 + 4
    maps = heatmap.render(points, (H, W), 2.5)
    maps[0, 1] = torch.rand(H, W, generator=generator, dtype=torch.float64)  # all but background
    maps[1, 0] -= 0.5  # its lowest values lie below zero
    away = points + torch.randn(B, L, 2, generator=generator, dtype=torch.float64)
    mm_per_px = 0.1 + torch.rand(B, 2, 2, generator=generator, dtype=torch.float64)
    found = modes.expected_radius_mm(maps.float(), away, mm_per_px)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found.double(), radius_over_all_pixels(maps, away, mm_per_px), rtol=1e-5, atol=0
    )


def test_the_expected_radius_takes_no_distance_of_the_background(monkeypatch):
    maps = heatmap.render(torch.tensor([[[28.0, 20.0]]]), (400, 600), 2.0)
    taken, real = [], torch.Tensor.norm
    monkeypatch.setattr(
        torch.Tensor, "norm", lambda t, *a, **k: (taken.append(len(t)), real(t, *a, **k))[1]
    )
    modes.expected_radius_mm(maps, torch.tensor([[[28.0, 20.0]]]), torch.eye(2)[None])
    assert taken == [int((maps >= 0.1).sum())], "240 000 distances would be taken one by one"
