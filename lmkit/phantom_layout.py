"""Everything drawn at random about a patient: points, teeth, shapes of bones, film."""

from dataclasses import dataclass, replace

import numpy as np

from lmkit.phantom_dentition import build_side
from lmkit.phantom_shape import HW, SIDES, jaw_x, sample_shape, to_side
from lmkit.phantom_side import Difficulty, Side
from lmkit.phantom_teeth import Tooth

SHAPE_STREAM, TEETH_STREAM, DRAW_STREAM, GHOST_STREAM = 1, 2, 3, 4


@dataclass(frozen=True)
class Film:
    """How the picture was taken."""

    gain: float
    offset: float
    gamma: float
    blur_px: float
    noise: float
    spine: float  # strength of the shadow of the cervical spine
    marker: bool


@dataclass(frozen=True)
class Anatomy:
    """One patient; see `lmkit.phantom.anatomy`."""

    seed: int
    index: int
    points: dict[str, np.ndarray]  # side -> (5, 2) xy, image px
    spacing_mm: tuple[float, float]  # x, y; nominal
    teeth: tuple[Tooth, ...]  # image px, drawn in this order
    cases: dict[str, tuple[str, ...]]  # side -> names of the confusing things about it
    midline_x: float
    midline_y: float  # of the occlusal curve
    jaw: np.ndarray  # (2, 14) standard normal, row per side: shapes of bones
    film: Film


def _film(rng: np.random.Generator, level: Difficulty) -> tuple[Film, str | None]:
    draw, z = rng.random(2), rng.standard_normal(6).clip(-2, 2)
    case = None
    gain, offset = 1.0 + 0.13 * z[0], 0.04 * z[1]
    if draw[0] < level.over_exposed:
        case, gain, offset = "over_exposed", gain * 0.92, offset - 0.13
    elif draw[0] > 1 - level.under_exposed:
        case, gain, offset = "under_exposed", gain * 1.15, offset + 0.10
    film = Film(
        float(gain), float(offset), float(np.exp(0.22 * z[2])), float(0.7 + 0.2 * z[3]),
        float(0.016 * np.exp(0.45 * z[4])), float(np.clip(0.5 + 0.25 * z[5], 0, 1)),
        bool(draw[1] < 0.7),
    )  # fmt: skip
    return film, case


def shape_and_spacing(seed: int, index: int) -> tuple[dict[str, np.ndarray], tuple[float, float]]:
    """A patient's points, side -> (5, 2) xy px in the mirrored frame, and nominal mm per px.

    The spacing scatters about the authors' own calibration, 6.11 px/mm in x and 5.0 to 6 in y.
    """
    rng = np.random.default_rng([seed, index, SHAPE_STREAM])
    points = sample_shape(seed, index, rng)
    spacing_x = 0.1637 * (1 + 0.012 * float(np.clip(rng.standard_normal(), -2.5, 2.5)))
    return points, (spacing_x, float(rng.uniform(0.17, 0.20)))


def build(seed: int, index: int, level: Difficulty) -> Anatomy:
    """See `lmkit.phantom.anatomy`."""
    points, spacing = shape_and_spacing(seed, index)
    rng = np.random.default_rng([seed, index, TEETH_STREAM])
    film, exposure = _film(rng, level)
    strong = rng.random() < level.strong_shift
    shift = rng.normal(0, 32 if strong else 9)
    axis, middle_y = _midline(points, shift, rng)
    general = tuple(case for case in (exposure, "strong_shift" * strong) if case)
    teeth, cases = [], {}
    for name in SIDES:
        side = Side(points[name], jaw_x(points[name], name), axis[name], middle_y, rng, level)
        build_side(side)
        cases[name] = tuple(side.cases) + general
        teeth += [_in_image(tooth, name) for tooth in side.teeth]
    jaw = rng.standard_normal((2, 14)).clip(-2, 2)
    xy = {name: to_side(points[name], name) for name in SIDES}
    return Anatomy(seed, index, xy, spacing, tuple(teeth), cases, axis["left"], middle_y, jaw, film)


def _midline(
    points: dict[str, np.ndarray], shift: float, rng: np.random.Generator
) -> tuple[dict[str, float], float]:
    """Midline x of each side (mirrored frame) and the occlusal curve's height there, px.

    Off-centre second molars are mostly a patient standing off centre, so the midline follows them.
    """
    half = (points["left"][:4, 0].mean() - points["right"][:4, 0].mean()) / 2
    offset, middle = 0.75 * half + shift, (HW[1] - 1) / 2
    axis = {"left": float(middle + offset), "right": float(middle - offset)}
    heights = []
    for side in SIDES:
        run, rise = points[side][1] - points[side][0]
        slope = np.clip(0.6 * rise / run - 0.1 + 0.03 * rng.standard_normal(), -0.4, -0.02)
        x, y = points[side][:2].mean(axis=0)
        heights.append(y - slope * (x - axis[side]) / 2)
    return axis, float(np.mean(heights))


def _in_image(tooth: Tooth, side: str) -> Tooth:
    """The tooth moved from the mirrored frame to the image, with its FDI number."""
    quadrant = {("left", 2): 20, ("left", 3): 30, ("right", 2): 10, ("right", 3): 40}
    number = quadrant[side, tooth.number // 10] + tooth.number % 10
    return replace(tooth, key=to_side(tooth.key, side), number=number)
