"""One side of a mouth under construction: scales, occlusal curve, tooth templates, restorations.

`DIFFICULTY` sets how often a case is one that makes teeth easy to mistake for their neighbours.
Everything is in the mirrored frame of `phantom_shape`, px: x grows distally.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lmkit.phantom_teeth import Tooth, local_key


@dataclass(frozen=True)
class Difficulty:
    """Shares of confusing cases, per side unless said otherwise; all in [0, 1]."""

    missing_first_molar: float = 0.25
    missing_when_mesial: float = 0.35  # added to it where the second molar sits far forward
    gap_closed: float = 0.6  # of missing teeth: the gap was closed by drifted neighbours
    missing_premolar: float = 0.22
    missing_other: float = 0.04  # per remaining tooth, upper teeth included
    twin_third_molar: float = 0.75  # of erupted third molars: as large and upright as the second
    fourth_molar: float = 0.45
    look_alike_row: float = 0.15  # no first molar and a fourth: looks like first to third
    look_alike_drifted: float = 0.5  # added to it for a second molar in the first one's place
    fourth_when_mesial: float = 1.0  # added to fourth_molar there
    extra_when_distal: float = 0.4  # a molar-like tooth in front, for one in the third one's place
    tooth_germ: float = 0.30  # of unerupted third molars: a crown with hardly any root
    burnt_out: float = 0.28  # air of the throat wipes out what lies behind the second molar
    faint_third_molar: float = 0.35  # hardly any contrast, so that the second looks like the last
    ghost: float = (
        0.15  # a bright shadow, such as an earring's from the other side, over the molars
    )
    deciduous_molar: float = 0.30  # a molar where the second premolar should be
    filling: float = 0.30  # per molar; premolars half of it
    metal_crown: float = 0.05  # per molar
    root_filling: float = 0.08  # per molar and premolar
    over_exposed: float = 0.22  # per patient
    under_exposed: float = 0.16  # per patient
    strong_shift: float = 0.5  # per patient: badly positioned, off centre


DIFFICULTY = Difficulty()
LOWER_MM = {6: 11.2, 5: 7.2, 4: 7.0, 3: 6.9, 2: 5.9, 1: 5.3}  # crown widths, Ash & Nelson 2003
UPPER_MM = {8: 8.8, 7: 9.6, 6: 10.4, 5: 6.8, 4: 7.1, 3: 7.6, 2: 6.6, 1: 8.5}
CROWN_MM = {8: 6.8, 7: 7.0, 6: 7.5, 5: 8.2, 4: 8.5, 3: 10.5, 2: 9.3, 1: 9.6}
ROOT_MM = {8: 10.5, 7: 12.5, 6: 13.5, 5: 14.0, 4: 13.8, 3: 16.5, 2: 13.5, 1: 12.8}
SECOND_CERVIX_MM, SECOND_HEIGHT_MM = 9.0, 6.8  # lower second molar, to scale the others


DRIFT_MM = 2.0  # along the jaw; from here on the cases of a drifted second molar are in full


@dataclass
class Side:
    """A side under construction, mirrored frame (x grows distally)."""

    points: np.ndarray
    jaw_x: float  # where the jaw takes the second molar to be
    midline_x: float
    midline_y: float
    rng: np.random.Generator
    level: Difficulty

    def __post_init__(self) -> None:
        m2 = _second_molar(self.points)
        self.scale_x = np.hypot(*(self.points[3] - self.points[2])) / SECOND_CERVIX_MM
        self.scale_y = (local_key(m2)[2:, 1]).mean() / SECOND_HEIGHT_MM
        self.m2 = m2
        self.cases: list[str] = []
        self.teeth: list[Tooth] = []
        x2, y2 = self.points[:2].mean(axis=0)
        self.slope = 2 * (y2 - self.midline_y) / (x2 - self.midline_x)  # of the curve, there
        drift = (self.points[2:4, 0].mean() - self.jaw_x) / (DRIFT_MM * self.scale_x)
        self.forward, self.backward = np.clip([-drift, drift], 0, 1)  # shares of a full drift
        look_alike = self.level.look_alike_row + self.level.look_alike_drifted * self.forward
        self.look_alike = self.rng.random() < look_alike
        fourth = self.level.fourth_molar + self.level.fourth_when_mesial * self.forward
        self.fourth = self.look_alike or self.rng.random() < fourth

    def curve(self, x: float) -> tuple[float, float]:
        """Height (px) and slope of the lower occlusal curve: flat at the midline."""
        x2 = self.points[:2, 0].mean()
        bow = self.slope / (2 * (x2 - self.midline_x))
        return (
            self.midline_y + bow * (x - self.midline_x) ** 2,
            2 * bow * np.clip(x - self.midline_x, 0, None),
        )


def _second_molar(points: np.ndarray) -> Tooth:
    key = points[:4]
    height = np.hypot(*(key[2:].mean(axis=0) - key[:2].mean(axis=0)))
    return Tooth(37, key.copy(), 2.05 * height, 2, 0.20, 5.0, 0.09, 0.12 * height, 0.2 * height)


def template(width: float, height: float, kind: int) -> np.ndarray:
    """(4, 2) key points about the middle of the cusps, u distal and v to the roots, px."""
    cusps = {1: 0.40, 2: 0.36, 3: 0.07, 4: 0.12, 5: 0.16}.get(kind, 0.235) * width
    neck = {1: 0.34, 2: 0.34, 3: 0.37, 4: 0.37, 5: 0.38}.get(kind, 0.42) * width
    return np.array([(-cusps, 0.0), (cusps, 0.0), (-neck, height), (neck, height)])


def placed(template: np.ndarray, origin: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return template @ np.array([[c, s], [-s, c]]) + origin


def restored(side: Side, tooth: Tooth, kind: int) -> Tooth:
    """The same tooth with the fillings, crown or root filling that chance gives it."""
    level, draw = side.level, side.rng.random(5)
    if kind < 4 or kind > 8:
        return tooth
    share = 1.0 if kind >= 6 else 0.5
    changes: dict[str, Any] = {}
    if draw[0] < level.filling * share:
        changes |= {"filling": 0.1 + 0.9 * draw[3] ** 1.5, "filling_density": 0.45 + 0.55 * draw[4]}
    if draw[1] < level.metal_crown * share:
        changes |= {"capped": True}
    if draw[2] < level.root_filling * (4.0 if "capped" in changes else 1.0):
        changes |= {"root_filled": True}
    return replace(tooth, **changes) if changes else tooth
