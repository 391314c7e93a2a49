"""Images and points move together, to a fraction of a pixel."""

import math

import pytest
import torch
from scipy import ndimage

from lmkit import augment, exposure, geometry, heatmap

B, L, H, W = 3, 2, 61, 97


def gaussians():
    """Blurred dots whose places are known exactly: (B, L, H, W) and (B, L, 2)."""
    points = torch.tensor([[[40.3, 24.6], [58.0, 37.5]]]).repeat(B, 1, 1)
    return heatmap.render(points, (H, W), 3.0), points


def centroid(maps):
    """(B, L, 2): the exact middle of a dot, whichever way it was interpolated."""
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    weighted = torch.stack([(maps * x).sum((-2, -1)), (maps * y).sum((-2, -1))], -1)
    return weighted / maps.sum((-2, -1)).unsqueeze(-1)


def draw(seed=0, **change):
    settings = {"rotate_deg": 10.0, "scale_range": (0.9, 1.1), "translate_frac": 0.05} | change
    return settings | {"generator": torch.Generator().manual_seed(seed)}


def test_points_ride_along_with_the_image():
    images, points = gaussians()
    moved, expected = augment.affine(images, points, **draw())
    assert (expected - points).abs().max() > 1, "the augmentation should move something"
    torch.testing.assert_close(centroid(moved), expected, atol=0.03, rtol=0)


def test_nothing_asked_for_changes_nothing():
    images, points = gaussians()
    still = draw(rotate_deg=0.0, scale_range=(1.0, 1.0), translate_frac=0.0)
    moved, same = augment.affine(images, points, **still)
    torch.testing.assert_close(moved, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(same, points, atol=1e-4, rtol=0)


def test_a_shift_by_whole_pixels_is_exact_and_black_comes_in():
    images = torch.rand(1, 1, H, W) + 1
    matrix = torch.eye(3, dtype=torch.float64)[None].clone()
    matrix[0, 0, 2], matrix[0, 1, 2] = 5, -3
    moved = augment.warp(images, matrix, (H, W))
    torch.testing.assert_close(moved[..., : H - 3, 5:], images[..., 3:, : W - 5])
    assert (moved[..., :4] == 0).all()


def test_halving_averages_two_by_two_pixels():
    images = torch.rand(1, 1, 6, 8)
    matrix = geometry.resize_matrix((6, 8), (3, 4))[None]
    expected = torch.nn.functional.avg_pool2d(images, 2)
    torch.testing.assert_close(augment.warp(images, matrix, (3, 4)), expected)


def test_mirroring_by_matrix_is_a_flip():
    images = torch.rand(1, 2, 5, 7)
    moved = augment.warp(images, geometry.mirror_matrix((5, 7))[None], (5, 7))
    torch.testing.assert_close(moved, images.flip(-1))


def test_the_same_generator_state_gives_the_same_augmentation():
    images, points = gaussians()
    first, second, other = (augment.affine(images, points, **draw(seed)) for seed in (4, 4, 5))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[1], other[1])


def test_each_image_of_a_batch_is_moved_differently():
    _, moved = augment.affine(*gaussians(), **draw())
    assert len({tuple(p) for p in moved[:, 0].tolist()}) == B


def test_missing_points_stay_missing():
    images, points = gaussians()
    points[1, 0] = math.nan
    _, moved = augment.affine(images, points, **draw())
    assert moved[1, 0].isnan().all()
    assert moved.isnan().sum() == 2


def test_draws_stay_within_the_ranges_asked_for():
    generator = torch.Generator().manual_seed(0)
    matrix = augment.random_affine(
        2000,
        (H, W),
        rotate_deg=3,
        scale_range=(0.95, 1.05),
        translate_frac=0.03,
        generator=generator,
    )
    scale = torch.linalg.det(matrix[:, :2, :2]).sqrt()
    angle = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    middle = torch.tensor([(W - 1) / 2, (H - 1) / 2], dtype=torch.float64)
    shift = geometry.apply(matrix, middle.expand(2000, 1, 2))[:, 0] - middle
    for values, low, high in (
        (scale, 0.95, 1.05),
        (angle, -3, 3),
        (shift[:, 0], -0.03 * W, 0.03 * W),
        (shift[:, 1], -0.03 * H, 0.03 * H),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high


def test_shapes_that_do_not_match_are_named():
    with pytest.raises(
        ValueError, match=r"expected \(B, C, H, W\) and \(B, 3, 3\), got \(2, 1, 4, 5\)"
    ):
        augment.warp(torch.zeros(2, 1, 4, 5), torch.eye(3)[None], (4, 5))


# --- elastic, intensity, cut-out


def test_a_constant_displacement_is_a_shift_the_other_way():
    """Output pixel p shows what was at p + d, so what was at q comes to q - d."""
    maps, points = gaussians()
    field = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(len(maps), 2, H, W)
    identity = torch.eye(3, dtype=torch.float64).expand(len(maps), 3, 3)
    moved = augment.warp(maps, identity, (H, W), field)
    assert torch.allclose(moved[:, :, 6:-6, 6:-6], maps[:, :, 4:-8, 9:-3], atol=1e-5)
    expected = points - torch.tensor([3.0, -2.0])
    assert torch.allclose(augment.displaced(points, field), expected, atol=1e-5)


def test_points_ride_along_with_an_elastic_warp_and_a_rotation():
    maps, points = gaussians()
    generator = torch.Generator().manual_seed(3)
    n = len(maps)
    field = augment.random_elastic(n, (H, W), elastic_px=1.5, cells=(3, 4), generator=generator)
    matrix = augment.random_affine(
        n,
        (H, W),
        rotate_deg=8,
        scale_range=(0.95, 1.05),
        translate_frac=0.02,
        generator=generator,
    )
    warped = augment.warp(maps, matrix, (H, W), field)
    affine_only = geometry.apply(matrix, points)
    moved = augment.displaced(affine_only, field)
    assert (moved - affine_only).abs().max() > 0.5  # the field did something
    found = heatmap.decode(warped, "gaussian_fit", sigma=3.0)
    assert torch.linalg.vector_norm(found - moved, dim=-1).max() < 0.15  # stretched Gaussians
    blurred = torch.linalg.vector_norm(found - affine_only, dim=-1).max()
    assert blurred > 0.5


def test_displaced_points_solve_their_equation_and_keep_nan():
    generator = torch.Generator().manual_seed(0)
    field = augment.random_elastic(2, (H, W), elastic_px=2.0, cells=(3, 3), generator=generator)
    points = torch.tensor([[[10.2, 9.7], [31.5, 20.1]], [[float("nan")] * 2, [25.0, 12.0]]])
    found = augment.displaced(points, field)
    assert found[1, 0].isnan().all()
    for b, k in ((0, 0), (0, 1), (1, 1)):
        x, y = found[b, k].tolist()
        x0, y0 = int(x), int(y)
        u, v = x - x0, y - y0
        corners = field[b, :, y0 : y0 + 2, x0 : x0 + 2]
        weights = torch.tensor([[(1 - u) * (1 - v), u * (1 - v)], [(1 - u) * v, u * v]])
        there = found[b, k] + (corners * weights).sum((-2, -1))
        assert torch.allclose(there, points[b, k], atol=1e-3)


def test_intensity_is_gamma_then_gain_and_leaves_points_alone():
    images = torch.linspace(0, 255, 2 * H * W).view(2, 1, H, W)
    quiet = {"noise_sd": 0.0, "blur_px": 0.0, "generator": torch.Generator().manual_seed(0)}
    same = exposure.intensity(images, gain_range=(1, 1), gamma_range=(1, 1), **quiet)
    assert torch.allclose(same, images, atol=1e-3)
    squared = exposure.intensity(images, gain_range=(0.5, 0.5), gamma_range=(2, 2), **quiet)
    assert torch.allclose(squared, 0.5 * 255 * (images / 255) ** 2, atol=1e-2)


def test_noise_and_blur_are_as_strong_as_stated_and_follow_the_generator():
    flat = torch.full((64, 1, H, W), 128.0)

    def drawn(seed, **changed):
        settings = {"gain_range": (1, 1), "gamma_range": (1, 1), "noise_sd": 0.0, "blur_px": 0.0}
        generator = torch.Generator().manual_seed(seed)
        return exposure.intensity(flat, **(settings | changed), generator=generator)

    spread = drawn(0, noise_sd=10.0).std((1, 2, 3))
    assert spread.max() < 10.5
    assert spread.mean().item() == pytest.approx(5, abs=1)  # uniform in 0 to 10
    assert torch.equal(drawn(0, noise_sd=10.0), drawn(0, noise_sd=10.0))
    assert not torch.equal(drawn(0, noise_sd=10.0), drawn(1, noise_sd=10.0))
    assert torch.allclose(drawn(0, blur_px=2.0), flat, atol=1e-3)
    dot = torch.zeros(1, 1, H, W)
    dot[0, 0, H // 2, W // 2] = 255.0
    assert exposure._blur(dot, torch.tensor([1.5])).sum().item() == pytest.approx(255, rel=1e-4)
    peak = exposure._blur(dot, torch.tensor([1.5])).max().item()
    assert peak == pytest.approx(255 / (2 * 3.14159 * 1.5**2), rel=0.03)


def test_cutout_covers_rectangles_of_one_grey_level_up_to_the_stated_size():
    images = torch.rand(16, 1, H, W, generator=torch.Generator().manual_seed(1)) + 300
    generator = torch.Generator().manual_seed(2)
    holed = exposure.cutout(images, holes=1, size_frac=0.3, generator=generator)
    covered = holed != images
    for image, mask in zip(holed, covered, strict=True):
        rows, columns = mask[0].any(1).sum(), mask[0].any(0).sum()
        assert rows <= 0.3 * H + 1
        assert columns <= 0.3 * W + 1
        assert mask.sum() == rows * columns
        assert len(image[mask].unique()) <= 1
    assert covered.any()


def test_blur_is_a_gaussian_of_each_images_own_width():
    images = 255 * torch.rand(2, 1, 13, 17, generator=torch.Generator().manual_seed(0))
    blurred = exposure._blur(images, torch.tensor([0.6, 1.4]))
    for image, found, width in zip(images, blurred, (0.6, 1.4), strict=True):
        expected = ndimage.gaussian_filter(image[0].numpy(), width, mode="nearest", radius=5)
        assert found[0].numpy() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("size", [(40, 50), (1500, 1500)])
def test_images_of_a_batch_get_noise_of_their_own(size):
    flat = torch.full((2, 1, *size), 100.0)
    width = torch.tensor([2.0, 6.0]).view(2, 1, 1, 1)
    made = exposure._add_noise(flat.clone(), width, torch.Generator().manual_seed(3))
    noise = (made - 100).flatten(1)
    assert noise.std(1).tolist() == pytest.approx([2, 6], rel=0.05)
    assert abs(torch.corrcoef(noise)[0, 1].item()) < 0.1
    assert torch.equal(
        made, exposure._add_noise(flat.clone(), width, torch.Generator().manual_seed(3))
    )


def test_warp_takes_an_empty_batch_and_any_type_of_picture():
    assert augment.warp(torch.zeros(0, 1, 4, 5), torch.zeros(0, 3, 3), (6, 7)).shape == (0, 1, 6, 7)
    same = torch.eye(3).repeat(B, 1, 1)
    picture = torch.arange(B * 20).view(B, 1, 4, 5)
    for dtype in (torch.uint8, torch.bfloat16, torch.float64):
        moved = augment.warp(picture.to(dtype), same, (4, 5))
        assert torch.allclose(moved.double(), picture.double(), atol=1e-3)
