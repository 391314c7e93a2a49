"""Decoders against brute force, and against the Gaussians they should find."""

import math

import pytest
import torch

from lmkit import decoders, heatmap
from lmkit.choices import DECODERS

B, L, H, W = 2, 3, 29, 37
SUBPIXEL = ("dark", "local_softargmax", "gaussian_fit")


def inner_points(seed=0, margin=11):
    generator = torch.Generator().manual_seed(seed)
    room = torch.tensor([W - 1 - 2 * margin, H - 1 - 2 * margin])
    return torch.rand(B, L, 2, generator=generator) * room + margin


def noisy(dtype=torch.float32):
    maps = torch.rand(B, L, H, W, generator=torch.Generator().manual_seed(5))
    return (maps + 2 * heatmap.render(inner_points(), (H, W), 2.0)).to(dtype)


def brute(maps, method, sigma=2.0, beta=25.0):
    """One map at a time, in plain Python and floats."""
    out = torch.zeros(*maps.shape[:2], 2, dtype=torch.float64)
    for b in range(maps.shape[0]):
        for k in range(maps.shape[1]):
            out[b, k] = torch.tensor(_one(maps[b, k].double().tolist(), method, sigma, beta))
    return out


def _one(m, method, sigma, beta):
    height, width = len(m), len(m[0])
    y, x = max(
        ((r, c) for r in range(height) for c in range(width)), key=lambda rc: m[rc[0]][rc[1]]
    )
    if method == "argmax":
        return x, y
    if method == "softargmax":
        weights = [
            [math.exp(beta * (m[r][c] - m[y][x])) for c in range(width)] for r in range(height)
        ]
    elif method == "local_softargmax":
        reach = max(2, math.ceil(2 * sigma))
        weights = [
            [
                math.exp(8 * (max(-1, m[r][c] / m[y][x]) - 1))
                if abs(r - y) <= reach and abs(c - x) <= reach
                else 0
                for c in range(width)
            ]
            for r in range(height)
        ]
    elif method == "dark":
        return _dark(m, x, y)
    else:
        assert method == "quarter"
        sign = lambda v: (v > 0) - (v < 0)  # noqa: E731
        dx = 0.25 * sign(m[y][x + 1] - m[y][x - 1]) if 0 < x < width - 1 else 0
        dy = 0.25 * sign(m[y + 1][x] - m[y - 1][x]) if 0 < y < height - 1 else 0
        return x + dx, y + dy
    total = sum(map(sum, weights))
    mean_x = sum(w * c for row in weights for c, w in enumerate(row)) / total
    mean_y = sum(w * r for r, row in enumerate(weights) for w in row) / total
    return mean_x, mean_y


def _dark(m, x, y):
    """One Newton step on the log: solve H step = -g, both from central differences."""
    if not (0 < x < len(m[0]) - 1 and 0 < y < len(m) - 1):
        pytest.skip("at a border dark keeps the whole pixel, tested below")
    v = [[math.log(max(m[y + j][x + i], 1e-12)) for i in (-1, 0, 1)] for j in (-1, 0, 1)]
    gx, gy = (v[1][2] - v[1][0]) / 2, (v[2][1] - v[0][1]) / 2
    xx, yy = v[1][2] - 2 * v[1][1] + v[1][0], v[2][1] - 2 * v[1][1] + v[0][1]
    xy = (v[2][2] - v[0][2] - v[2][0] + v[0][0]) / 4
    if not (xx < 0 and yy < 0 and xx * yy - xy**2 > 0):
        return x, y
    step = torch.linalg.solve(torch.tensor([[xx, xy], [xy, yy]]), torch.tensor([-gx, -gy]))
    return x + min(0.5, max(-0.5, step[0].item())), y + min(0.5, max(-0.5, step[1].item()))


@pytest.mark.parametrize("method", ["argmax", "quarter", "dark", "local_softargmax", "softargmax"])
@pytest.mark.parametrize("where", ["inside", "corner"])
def test_a_decoder_is_what_a_loop_over_pixels_gives(method, where):
    maps = noisy()
    if where == "corner":
        maps[:, 0, 0, 0], maps[:, 1, H - 1, W - 1], maps[:, 2, 0, 5] = 9, 9, 9
    got = heatmap.decode(maps, method, sigma=2.0, beta=25.0)
    assert got.shape == (B, L, 2)
    assert torch.allclose(got.double(), brute(maps, method), atol=1e-4)


@pytest.mark.parametrize("where", ["inside", "corner"])
def test_the_gaussian_fit_is_the_weighted_least_squares_fit_of_the_log(where):
    import numpy as np

    maps = heatmap.render(inner_points(), (H, W), 2.0)
    maps = maps * (1 + 0.1 * torch.rand(B, L, H, W, generator=torch.Generator().manual_seed(2)))
    if where == "corner":
        maps = maps[:, :, 11:, 12:]
    got = heatmap.decode(maps, "gaussian_fit", sigma=2.0)
    for b in range(B):
        for k in range(L):
            m = maps[b, k].double().numpy()
            y, x = np.unravel_index(m.argmax(), m.shape)
            rows = [(r, c) for r in range(y - 3, y + 4) for c in range(x - 3, x + 4)]
            rows = [(r, c) for r, c in rows if 0 <= r < m.shape[0] and 0 <= c < m.shape[1]]
            dy, dx = np.array(rows).T - np.array([[y], [x]])
            v = np.array([m[r, c] for r, c in rows]) / m.max()
            design = np.stack([dx**0, dx, dy, dx * dx, dx * dy, dy * dy], 1) * v[:, None]
            _, gx, gy, xx, xy, yy = np.linalg.lstsq(design, v * np.log(v), rcond=None)[0]
            step = np.linalg.solve([[2 * xx, xy], [xy, 2 * yy]], [-gx, -gy])
            if np.abs(step).max() <= 2:
                assert got[b, k].numpy() == pytest.approx(np.array([x, y]) + step, abs=1e-3)


@pytest.mark.parametrize("amplitude", [1.0, 1000.0])
@pytest.mark.parametrize("sigma", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("method", SUBPIXEL)
def test_subpixel_decoders_find_a_gaussian_to_two_hundredths(method, sigma, amplitude):
    points = inner_points(seed=3)
    maps = heatmap.render(points, (H, W), sigma, amplitude)
    off = heatmap.decode(maps, method, sigma=sigma) - points
    assert off.abs().max() < 0.02


@pytest.mark.parametrize("method", ["dark", "gaussian_fit"])
def test_a_tilted_gaussian_is_found_too(method):
    """exp(-(3 u^2 + 2 u v + v^2) / 8): the mixed derivative matters."""
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    u, v = x - 17.2, y - 13.2
    maps = torch.exp(-(3 * u**2 + 2 * u * v + v**2) / 8)[None, None]
    found = heatmap.decode(maps, method, sigma=1.5)[0, 0]
    assert found.tolist() == pytest.approx([17.2, 13.2], abs=1e-3)


def test_the_global_mean_is_right_where_beta_and_sigma_allow():
    points = inner_points(seed=3)
    for amplitude in (1.0, 1000.0):
        maps = heatmap.render(points, (H, W), 3.0, amplitude)
        off = heatmap.decode(maps, "softargmax", top=amplitude) - points
        assert off.abs().max() < 0.02
    soft = heatmap.decode(maps, "softargmax", top=amplitude, beta=2.0)  # lands mid-image
    middle = torch.tensor([(W - 1) / 2, (H - 1) / 2])
    assert ((soft - middle).abs() < 0.5 * (points - middle).abs() + 0.1).all()


@pytest.mark.parametrize("method", DECODERS)
@pytest.mark.parametrize("amplitude", [1.0, 1000.0])
def test_bfloat16_maps_decode_near_their_float32_selves(method, amplitude):
    maps = amplitude * noisy()
    exact = heatmap.decode(maps.bfloat16().float(), method, top=amplitude)
    got = heatmap.decode(maps.bfloat16(), method, top=amplitude)
    assert got.dtype == torch.float32
    assert torch.equal(exact, got)
    assert torch.isfinite(got).all()


@pytest.mark.parametrize("method", DECODERS)
@pytest.mark.parametrize("fill", [0.0, -3.0, 1e30])
def test_flat_maps_give_a_finite_point(method, fill):
    got = heatmap.decode(torch.full((B, L, H, W), fill), method)
    assert torch.isfinite(got).all()


@pytest.mark.parametrize("method", DECODERS)
def test_bias_at_the_border_is_what_the_docstrings_say(method):
    """Centres within a pixel of the left edge, sigma 2."""
    x = torch.linspace(0, 1, 21)
    points = torch.stack([x, torch.full_like(x, 14.3)], -1).unsqueeze(1)
    maps = heatmap.render(points, (H, W), 2.0)
    off = (heatmap.decode(maps, method, sigma=2.0) - points)[:, 0, 0]
    other = {"local_softargmax": 0.8, "softargmax": 0.4, "gaussian_fit": 1e-3}
    assert off.abs().max() <= other.get(method, 0.5) + 1e-6  # else no worse than whole pixels
    if method == "local_softargmax":
        assert off[0] > 0.3  # leans inward


def test_a_softmax_sums_to_one_and_its_mean_is_the_centre_of_a_flat_map():
    flat = decoders.spatial_softmax(torch.full((1, 1, 4, 7), 500.0))
    assert flat.sum().item() == pytest.approx(1)
    assert decoders.expectation(flat)[0, 0].tolist() == pytest.approx([3.0, 1.5])
