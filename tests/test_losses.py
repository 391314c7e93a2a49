"""Losses against values worked out by hand and gradients checked in double precision."""

import math

import pytest
import torch
from torch import tensor

from lmkit import heatmap, loss_maps, loss_spatial, losses
from lmkit.choices import LOSSES
from lmkit.config import make_config
from lmkit.decoders import expectation, spatial_softmax

B, L, H, W = 2, 3, 19, 23
ALL = torch.ones(1, 1, dtype=torch.bool)


def one(*rows):
    """(1, 1, H, W) map of the given rows."""
    return tensor([[list(rows)]], dtype=torch.float32)


def a_target(config, dtype=torch.float32, missing=True):
    """Targets of random points, one of them not annotated."""
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(B, L, 2, generator=generator, dtype=dtype) * tensor([W - 9, H - 9]) + 4
    if missing:
        points[0, 1] = math.nan
    sigma = torch.full((1, L, 2), config.sigma_px, dtype=dtype)
    top = heatmap.true_peak(sigma, config.amplitude, config.target)
    maps = heatmap.render(points, (H, W), sigma, config.amplitude, config.target)
    return losses.Target(maps, points, sigma, top, top, math.pi * sigma.prod(-1))


# --- by hand


def test_mse_is_the_mean_over_pixels_and_annotated_landmarks():
    maps = torch.zeros(1, 2, 2, 3)
    target = torch.tensor([2.0, 5.0]).view(1, 2, 1, 1).expand(1, 2, 2, 3)
    assert losses.mse(maps, target, tensor([[True, True]])).item() == (4 + 25) / 2
    assert losses.mse(maps, target, tensor([[True, False]])).item() == 4
    assert losses.mse(maps, target, tensor([[False, False]])).item() == 0


def test_weighted_mse_counts_the_peak_one_plus_weight_times():
    maps, target = one((0, 0), (0, 0)), one((0, 1), (2, 4))
    # squares 0 1 4 16, weights 1 + 10 * target / 4 = 1 3.5 6 11
    expected = (0 + 3.5 + 24 + 176) / 4
    assert losses.weighted_mse(maps, target, ALL, 10, 4).item() == pytest.approx(expected)
    assert losses.weighted_mse(maps, target, ALL, 0, 4) == losses.mse(maps, target, ALL)


def test_combined_is_the_documents_formula():
    maps, target = one((0, 3, 0), (0, 0, 0)), one((0, 0, 0), (0, 0, 1))
    squared, distance = (9 + 1) / 6, math.sqrt(2)  # peaks at (1, 0) and (2, 1)
    got = losses.combined(maps, target, ALL, 0.7, 0.3, "argmax")
    assert got.item() == pytest.approx(0.7 * squared + 0.3 * distance)
    soft = losses.combined(maps, target, ALL, 0.7, 0.3, "soft", beta=500.0)
    assert soft.item() == pytest.approx(got.item(), rel=1e-4)


def test_wing_is_logarithmic_up_to_omega_and_linear_beyond():
    constant = 10 - 10 * math.log(6)
    for off, expected in ((0, 0), (4, 10 * math.log(3)), (10, 10 - constant), (25, 25 - constant)):
        got = losses.wing(tensor([[[5.0 + off, 7.0]]]), tensor([[[5.0, 7.0]]]), ALL)
        assert got.item() == pytest.approx(expected)


def test_adaptive_wing_by_the_published_formula():
    def by_hand(y, p, alpha=2.1, omega=14.0, eps=1.0, theta=0.5):
        power, off = alpha - y, abs(y - p)
        slope = omega / (1 + (theta / eps) ** power) * power * (theta / eps) ** (power - 1) / eps
        constant = theta * slope - omega * math.log(1 + (theta / eps) ** power)
        near = omega * math.log(1 + (off / eps) ** power)
        return near if off < theta else slope * off - constant

    target, maps = one((0.0, 0.1, 0.9, 0.0, 0.0)), one((0.2, 0.1, 0.3, 0.9, 0.7))
    # dilated by one pixel, 0.9 reaches columns 1 to 3: they count 11 times
    pairs = zip(target.flatten().tolist(), maps.flatten().tolist(), strict=True)
    values = [by_hand(y, p) for y, p in pairs]
    expected = sum(v * w for v, w in zip(values, (1, 11, 11, 11, 1), strict=True)) / 5
    assert losses.adaptive_wing(maps, target, ALL).item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_and_kl_of_a_two_pixel_map():
    logits, target = one((0.0, math.log(3))), one((2.0, 2.0))  # (1/4, 3/4) against (1/2, 1/2)
    expected = -0.5 * math.log(1 / 4) - 0.5 * math.log(3 / 4)
    assert losses.cross_entropy(logits, target, ALL).item() == pytest.approx(expected)
    assert losses.kl(logits, target, ALL).item() == pytest.approx(expected - math.log(2))


def test_kl_is_zero_where_the_softmax_is_the_target():
    target = heatmap.render(tensor([[[6.3, 8.1]]]), (H, W), 2.0)
    logits = target.clamp(min=1e-30).log()
    assert losses.kl(logits, target, ALL).item() == pytest.approx(0, abs=1e-5)


def test_dsnt_js_is_the_distance_in_half_widths_plus_the_divergence():
    point, sigma = tensor([[[8.0, 7.0]]]), tensor(1.5)
    moved = heatmap.render(point + tensor([3.0, 4.0]), (H, W), 1.5).clamp(min=1e-30).log()
    got = losses.dsnt_js(moved, point, ALL, sigma, js_weight=0.0)
    assert got.item() == pytest.approx(math.hypot(3 / (W / 2), 4 / (H / 2)), rel=1e-4)
    same = heatmap.render(point, (H, W), 1.5).clamp(min=1e-30).log()
    assert losses.dsnt_js(same, point, ALL, sigma).item() == pytest.approx(0, abs=1e-4)
    far = heatmap.render(tensor([[[20.0, 2.0]]]), (H, W), 0.5).clamp(min=1e-30).log()
    only_js = losses.dsnt_js(far, point, ALL, sigma) - losses.dsnt_js(far, point, ALL, sigma, 0.0)
    assert only_js.item() == pytest.approx(math.log(2), rel=1e-3)  # disjoint: the largest value


def test_star_weighs_an_error_less_along_the_wide_axis():
    """In half widths: smooth L1 with knee 0.01 of an error e is e - 0.005 beyond the knee."""
    centre, half = tensor([[[11.0, 9.0]]]), (W / 2, H / 2)
    wide = heatmap.render(centre, (H, W), tensor([3.0, 1.0])).clamp(min=1e-30).log()
    along = losses.star(wide, centre + tensor([2.0, 0.0]), ALL, restriction=0.0).item()
    across = losses.star(wide, centre + tensor([0.0, 2.0]), ALL, restriction=0.0).item()
    assert along == pytest.approx((2 / half[0] - 0.005) / (3 / half[0]), rel=0.02)
    assert across == pytest.approx((2 / half[1] - 0.005) / (1 / half[1]), rel=0.02)
    held = losses.star(wide, centre, ALL, restriction=2.0).item()
    assert held == pytest.approx(2.0 * (9 / half[0] ** 2 + 1 / half[1] ** 2), rel=0.02)


def test_every_registered_loss_is_defined_once_and_found_in_losses():
    """Where it is defined decides whether its maps are logits, so once only."""
    for name in LOSSES:
        found = [m for m in (loss_maps, loss_spatial) if hasattr(m, name)]
        assert len(found) == 1, f"{name}: in loss_maps or in loss_spatial, got {found}"
        assert getattr(losses, name) is getattr(found[0], name)
    with pytest.raises(AttributeError, match="no attribute 'no_such_loss'"):
        _ = losses.no_such_loss


def test_a_loss_registered_later_is_found_in_losses_too(monkeypatch):
    monkeypatch.setitem(LOSSES, "trial", "a trial")
    monkeypatch.setattr(loss_maps, "trial", loss_maps.mse, raising=False)
    assert losses.trial is loss_maps.mse


# --- gradients, missing points, precision, range


@pytest.mark.parametrize("units", ["raw", "relative"])
@pytest.mark.parametrize("name", [n for n in LOSSES if n != "star"])  # whose axes are constants
def test_gradients_agree_with_finite_differences_in_double(name, units):
    config = make_config(
        {"loss": name, "loss_units": units, "sigma_px": 1.5, "peak_decoder": "soft"}
    )
    target = a_target(config, torch.float64)
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(B, L, H, W, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = losses.build(config)
    assert torch.autograd.gradcheck(
        lambda m: loss(torch.cat([m, maps[:, :, 4:].detach()], 2), target),
        (maps.detach()[:, :, :4].clone().requires_grad_(),),
    )


def test_stars_gradient_is_that_of_fixed_axes():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.rand(1, 2, 5, 6, generator=generator, dtype=torch.float64)
    points = torch.tensor([[[2.3, 1.6], [3.2, 2.9]]], dtype=torch.float64)
    axes = []

    def fixed(z):
        probability = spatial_softmax(z)
        mean = expectation(probability)
        a, b, c = loss_spatial._covariance(probability, mean)
        a, b, c = a / 9, b / 7.5, c / 6.25  # half widths of 5 x 6 maps: 3 and 2.5
        axes[:] = axes or [0.5 * torch.atan2(2 * b, a - c).detach()]
        off = (points - mean) / torch.tensor([3.0, 2.5], dtype=torch.float64)
        return loss_spatial._along_axes(off, (a, b, c), axes[0], 1.0).mean()

    logits.requires_grad_()
    assert torch.autograd.gradcheck(fixed, (logits,))
    expected = torch.autograd.grad(fixed(logits), logits)[0]
    got = torch.autograd.grad(losses.star(logits, points, torch.ones(1, 2) > 0), logits)[0]
    assert torch.allclose(got, expected)


@pytest.mark.parametrize("units", ["raw", "relative"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_missing_landmark_changes_neither_loss_nor_gradient(name, units):
    config = make_config({"loss": name, "loss_units": units, "peak_decoder": "soft"})
    target, loss = a_target(config), losses.build(config)
    maps = torch.randn(B, L, H, W, generator=torch.Generator().manual_seed(1), requires_grad=True)
    value = loss(maps, target)
    gradient = torch.autograd.grad(value, maps)[0]
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    assert (gradient[0, 1] == 0).all()
    assert (gradient[1, 1] != 0).any()
    changed = maps.detach().clone()
    changed[0, 1] = 99.0
    assert loss(changed, target).item() == value.item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("amplitude", [1.0, 1000.0])
@pytest.mark.parametrize("units", ["raw", "relative"])
@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_overflows_in_range(name, units, amplitude, dtype):
    settings = {"loss": name, "loss_units": units, "amplitude": amplitude, "peak_decoder": "soft"}
    config = make_config(settings)
    target, loss = a_target(config), losses.build(config)
    for scale in (0.0, 1.0, amplitude, 10 * amplitude):
        maps = scale * torch.randn(B, L, H, W, generator=torch.Generator().manual_seed(1))
        maps = maps.to(dtype).requires_grad_()
        value = loss(maps, target)
        assert torch.isfinite(value), scale
        assert torch.isfinite(torch.autograd.grad(value, maps)[0]).all(), scale


def test_without_any_annotated_landmark_every_loss_is_zero():
    for name in LOSSES:
        config = make_config({"loss": name})
        target = a_target(config)
        nothing = losses.Target(
            target.maps * 0,
            target.points * math.nan,
            target.sigma,
            target.top,
            target.height,
            target.energy,
        )
        maps = torch.randn(B, L, H, W, requires_grad=True)
        value = losses.build(config)(maps, nothing)
        assert value.item() == 0, name
        assert (torch.autograd.grad(value, maps)[0] == 0).all()


# --- what the document's peak term can do


def test_the_literal_peak_term_has_exactly_no_gradient_and_the_soft_one_has():
    config = make_config({"loss": "combined", "mse_weight": 0.0, "peak_weight": 1.0})
    target = a_target(config)
    maps = torch.randn(B, L, H, W, generator=torch.Generator().manual_seed(1), requires_grad=True)
    value = losses.build(config)(maps, target)
    assert value > 1
    assert (torch.autograd.grad(value, maps)[0] == 0).all()
    alone = losses.peak_distance(maps, target.maps, "argmax")
    assert alone.grad_fn is None
    soft = losses.build(config.model_copy(update={"peak_decoder": "soft"}))(maps, target)
    assert (torch.autograd.grad(soft, maps)[0] != 0).any()


# --- units


@pytest.mark.parametrize("name", ["mse", "combined", "weighted_mse"])
def test_relative_units_do_not_depend_on_the_amplitude(name):
    values = []
    for amplitude in (1.0, 1000.0):
        settings = {"loss": name, "loss_units": "relative", "peak_decoder": "soft"}
        config = make_config(settings | {"amplitude": amplitude})
        target = a_target(config)
        maps = amplitude * torch.rand(B, L, H, W, generator=torch.Generator().manual_seed(1))
        values.append(losses.build(config)(maps, target).item())
    assert values[0] == pytest.approx(values[1], rel=1e-4)


@pytest.mark.parametrize("size, sigma", [((40, 60), 2.0), ((80, 120), 2.0), ((80, 120), 5.0)])
def test_an_empty_map_costs_one_in_relative_units(size, sigma):
    config = make_config({"loss_units": "relative", "sigma_px": sigma})
    points = tensor([[[size[1] / 2, size[0] / 2]]])
    widths, top = torch.full((1, 1, 2), sigma), torch.ones(1, 1)
    energy = heatmap.profile_sums(widths)[1]
    target = losses.Target(heatmap.render(points, size, widths), points, widths, top, top, energy)
    empty = torch.zeros(1, 1, *size)
    assert losses.build(config)(empty, target).item() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 5.0])
def test_confidence_of_a_softmax_is_the_probability_near_its_peak(sigma):
    size, point = (64, 80), tensor([[[41.0, 30.0]]])
    logits = heatmap.render(point, size, sigma).clamp(min=1e-30).log()
    active = losses.activate(logits, "kl", torch.ones(1, 1))
    assert heatmap.mass_near_peak(active, sigma).item() == pytest.approx(1, abs=0.01)
    other = heatmap.render(point + 20, size, sigma).clamp(min=1e-30).log()
    half = losses.activate(torch.logaddexp(logits, other), "kl", torch.ones(1, 1))
    assert heatmap.mass_near_peak(half, sigma).item() == pytest.approx(0.5, abs=0.01)
    flat = losses.activate(torch.zeros(1, 1, *size), "kl", torch.ones(1, 1))
    assert heatmap.mass_near_peak(flat, sigma).item() < 0.1


@pytest.mark.parametrize("name", ["adaptive_wing", "weighted_mse"])
@pytest.mark.parametrize("where", [(0.0, 0.0), (0.0, 9.0), (W - 1.0, H - 1.0)])
def test_mass_targets_folded_back_at_a_border_stay_in_range(name, where):
    """Reflection lifts a target to nearly twice its height at an edge, four times in a corner."""
    config = make_config({"loss": name, "target": "mass", "amplitude": 1000, "sigma_px": 5.0})
    points, sigma = tensor([[where]]), torch.full((1, 1, 2), 5.0)
    top = heatmap.true_peak(sigma, 1000, "mass")
    maps = heatmap.render(points, (H, W), sigma, 1000, "mass")
    assert maps.max() > 1.8 * top.item()
    target = losses.Target(maps, points, sigma, top, top, torch.ones(1, 1))
    for guess in (maps.clone(), torch.zeros_like(maps), 3 * maps):
        guess.requires_grad_()
        value = losses.build(config)(guess, target)
        assert torch.isfinite(value)
        assert value >= 0
        assert torch.isfinite(torch.autograd.grad(value, guess)[0]).all()


@pytest.mark.parametrize("name", ["star", "dsnt_js"])
def test_losses_in_half_widths_are_the_same_at_twice_the_resolution(name):
    values = []
    for factor in (1, 2):
        point = (tensor([[[11.0, 9.0]]]) + 0.5) * factor - 0.5
        size = (factor * H, factor * W)
        guess = heatmap.render(point + factor * tensor([1.5, -2.0]), size, 2.0 * factor)
        logits, sigma = guess.clamp(min=1e-30).log(), torch.full((1, 1, 2), 2.0 * factor)
        target = losses.Target(guess, point, sigma, *[torch.ones(1, 1)] * 3)
        values.append(losses.build(make_config({"loss": name}))(logits, target).item())
    assert values[0] == pytest.approx(values[1], rel=0.02)


def test_wrong_shapes_and_names_are_named():
    with pytest.raises(ValueError, match=r"expected \(B, L, H, W\) twice and \(B, L\)"):
        losses.mse(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 5), torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"expected \(B, L, 2\) twice"):
        losses.wing(torch.zeros(1, 2, 2), torch.zeros(1, 3, 2), torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"peak_decoder: expected argmax \| soft"):
        losses.combined(one((0, 1)), one((0, 1)), ALL, peak_decoder="hard")
