"""Frames and matrices against values computed by hand."""

import math

import pytest
import torch

from lmkit import geometry as g


def points(*xy):
    return torch.tensor(xy, dtype=torch.float64)


def test_resizing_by_half_maps_pixel_edges_to_pixel_edges():
    matrix = g.resize_matrix((6, 10), (3, 5))
    # the left edge -0.5 stays, the right edge 9.5 becomes 4.5, the middle of two pixels a centre
    moved = g.apply(matrix, points([-0.5, -0.5], [9.5, 5.5], [0.5, 0.5], [3, 2]))
    assert moved.tolist() == [[-0.5, -0.5], [4.5, 2.5], [0, 0], [1.25, 0.75]]


@pytest.mark.parametrize("x, expected", [(0, 10), (10, 0), (2.5, 7.5)])
def test_mirroring_takes_x_to_width_minus_one_minus_x(x, expected):
    assert g.apply(g.mirror_matrix((7, 11)), points([x, 3])).tolist() == [[expected, 3]]


def test_letterbox_keeps_the_aspect_and_centres_the_image():
    # 20 x 10 (W x H) into 8 x 8: scale 0.4, drawn as 8 x 4, two rows of padding above
    assert g.fitted_size((10, 20), (8, 8), keep_aspect=True) == (4, 8)
    matrix = g.fit_matrix((10, 20), (8, 8), keep_aspect=True)
    corners = g.apply(matrix, points([-0.5, -0.5], [19.5, 9.5]))
    torch.testing.assert_close(corners, points([-0.5, 1.5], [7.5, 5.5]))


def test_squashing_fills_the_frame():
    matrix = g.fit_matrix((10, 20), (8, 4), keep_aspect=False)
    corners = g.apply(matrix, points([-0.5, -0.5], [19.5, 9.5]))
    torch.testing.assert_close(corners, points([-0.5, -0.5], [3.5, 7.5]))


def test_positive_rotation_is_clockwise_on_the_screen_about_the_middle():
    matrix = g.affine_matrix(
        (5, 7), torch.tensor([90.0]), torch.tensor([2.0]), torch.tensor([[0.0, 0.0]])
    )
    # the middle (3, 2) stays; one pixel to its right goes two pixels below
    moved = g.apply(matrix, points([3, 2], [4, 2])[None])
    torch.testing.assert_close(moved, points([3, 2], [3, 4])[None])


def test_shift_is_a_share_of_width_and_height():
    matrix = g.affine_matrix(
        (50, 100), torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([[0.1, -0.2]])
    )
    torch.testing.assert_close(g.apply(matrix, points([7, 9])[None]), points([17, -1])[None])


def test_rotation_of_three_degrees_moves_a_point_by_three_degrees_and_not_radians():
    matrix = g.affine_matrix(
        (101, 101), torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([[0.0, 0.0]])
    )
    moved = g.apply(matrix, points([90, 50])[None])[0, 0] - 50
    assert math.degrees(math.atan2(moved[1], moved[0])) == pytest.approx(3)


def test_missing_points_stay_missing_and_leave_the_others_alone():
    moved = g.apply(g.resize_matrix((4, 4), (8, 8)), points([math.nan, math.nan], [0, 0]))
    assert moved[0].isnan().all()
    assert moved[1].tolist() == [0.5, 0.5]


def test_matrices_broadcast_over_a_batch():
    B, L = 3, 4
    matrix = torch.stack([g.mirror_matrix((5, w)) for w in (6, 7, 8)])
    moved = g.apply(matrix, torch.zeros(B, L, 2))
    assert moved.shape == (B, L, 2)
    assert moved[:, 0, 0].tolist() == [5, 6, 7]
