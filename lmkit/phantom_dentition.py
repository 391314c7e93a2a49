"""The teeth of one side, laid out around its five points.

The second molar is the points themselves, the third hangs from its highest point, and the others
stand along an occlusal curve through both second molars, level at the midline. Everything is in
the mirrored frame of `phantom_shape`, px: x grows distally.
"""

from dataclasses import replace

import numpy as np

from lmkit.phantom_shape import depth
from lmkit.phantom_side import (
    CROWN_MM,
    LOWER_MM,
    ROOT_MM,
    UPPER_MM,
    Side,
    placed,
    restored,
    template,
)
from lmkit.phantom_teeth import Tooth, crown_outline, local_key, occlusal_part, tooth_frame


def _third_molar(side: Side) -> Tooth:
    """A third molar whose highest occlusal point is the fifth point, clear of the second molar."""
    rng, deep = side.rng, float(depth(side.points))
    twin = deep < 0.35 and (rng.random() < side.level.twin_third_molar or side.look_alike)
    mean = 4.0 if twin else 6 + 38 * np.clip(deep, 0, 1.3)
    sd = 4.0 if twin else 7 + 16 * np.clip(deep, 0, 1)
    tilt = np.deg2rad(mean + sd * np.clip(rng.standard_normal(), -2, 2))
    model = replace(_third_molar_shape(side, twin), erupted=deep < 0.45)
    if twin:
        side.cases.append("twin_third_molar")
    elif deep > 0.3 and rng.random() < side.level.tooth_germ:
        model = replace(model, root_px=0.28 * model.root_px, density=0.85, roots=2)
        side.cases.append("tooth_germ")
    if rng.random() < side.level.faint_third_molar and not side.look_alike:
        model = replace(model, density=0.35)
        side.cases.append("faint_third_molar")
    return _fit_third_molar(side, model, np.arctan(side.slope) - tilt)


def _third_molar_shape(side: Side, twin: bool) -> Tooth:
    """A molar like the second, upright at the origin, level cusps; smaller unless it is a twin."""
    rng, own = side.rng, local_key(side.m2)
    shape = own - own[:2].mean(axis=0)
    shape[2:] = shape[2:] - (shape[2:, 0].mean(), 0.0)
    shape[2:, 1] = shape[2:, 1].mean()
    shape *= 1 + (0.02 if twin else 0.06) * rng.standard_normal((4, 2)).clip(-1.5, 1.5)
    shape *= 1.0 if twin else rng.uniform(0.86, 1.02)
    shape[:2, 1] = 0.0
    return replace(
        side.m2,
        number=38,
        key=shape,
        roots=2 if twin or rng.random() < 0.8 else 1,
        spread=0.18 if twin else rng.uniform(0.05, 0.2),
        root_px=side.m2.root_px * (0.97 if twin else rng.uniform(0.55, 0.95)),
        bend_px=rng.normal(8, 6),
    )


def _fit_third_molar(side: Side, model: Tooth, angle: float) -> Tooth:
    """Turn and scale the tooth a little until it clears the second molar; its top stays put."""
    top = side.points[4]
    limit = side.m2.key[3, 0] + side.m2.bulge * np.ptp(side.m2.key[2:, 0])
    turns = np.deg2rad([0, -8, 8, -18, 18, -30, 30, 45])
    c, s = np.cos(angle + turns)[:, None], np.sin(angle + turns)[:, None]
    tried: list[tuple[float, Tooth]] = []
    for scale in (1.0, 0.92, 0.85):
        scaled = replace(model, key=model.key * scale)
        outline = crown_outline(scaled)
        u, v = (outline + scaled.key[0]).T
        x, y = c * u - s * v, s * u + c * v  # (turns, n)
        highest = np.where(occlusal_part(scaled, outline), y, np.inf).argmin(axis=1)[:, None]
        shift_x = top[0] - np.take_along_axis(x, highest, 1)
        shift_y = top[1] - np.take_along_axis(y, highest, 1)
        clear = (x + shift_x).min(axis=1) - limit
        cost = np.clip(0.5 - clear, 0, None) ** 2 + 0.4 * np.clip(clear - 8, 0, None)
        cost += (np.rad2deg(turns) / 6) ** 2 + (1 - scale) * 60
        k = int(cost.argmin())
        shift = np.array([shift_x[k, 0], shift_y[k, 0]])
        turned = replace(scaled, key=placed(scaled.key, shift, angle + turns[k]))
        tried.append((cost[k], turned))
    return min(tried, key=lambda one: one[0])[1]


def _fourth_molar(side: Side, third: Tooth) -> Tooth:
    """A supernumerary molar behind the third, upright or lying."""
    rng, own = side.rng, local_key(third)
    alike = side.look_alike or side.forward > 0.5
    lying = rng.random() < 0.4 and not alike
    tilt = np.deg2rad(rng.uniform(30, 75) if lying else rng.uniform(-5, 15))
    size = rng.uniform(0.88, 1.0) if alike else rng.uniform(0.7, 0.95)
    shape = (own - own.mean(axis=0)) * size
    height = third.key[:, 1].mean() - rng.uniform(0, 14) + 18 * lying
    key = placed(shape, np.array([0.0, height]), np.arctan(side.slope) - tilt)
    root_px = 0.9 * third.root_px
    tooth = replace(third, number=39, key=key, root_px=root_px, density=1.0, erupted=not lying)
    shift = _reach(third)[1] - _reach(tooth)[0] + rng.uniform(-2, 6)
    side.cases.append("fourth_molar")
    return replace(tooth, key=key + np.array((shift, 0.0)))


def _reach(tooth: Tooth) -> tuple[float, float]:
    """Smallest and largest x (px) of the crown."""
    origin, axes = tooth_frame(tooth.key)
    x = (crown_outline(tooth) @ axes + origin)[:, 0]
    return float(x.min()), float(x.max())


def _missing_lower(side: Side, room: float) -> set[int]:
    """Lower teeth of the cheek that are gone; more often where the second molar sits forward."""
    rng, level = side.rng, side.level
    forward = np.clip((0.72 - room) / 0.12, 0, 1)
    missing = level.missing_first_molar + level.missing_when_mesial * forward
    if rng.random() < missing or side.look_alike:
        side.cases.append("missing_first_molar")
        return {6}
    if rng.random() < level.missing_premolar + 0.5 * forward:
        side.cases.append("missing_premolar")
        return {int(rng.choice([4, 5]))}
    return set()


def _lower_slots(side: Side) -> dict[int, tuple[float, float]]:
    """Centre x and crown width (px, mirrored frame) of the lower teeth in front of the second."""
    rng, level = side.rng, side.level
    contact = _reach(side.m2)[0] - 0.5
    first = np.ptp(side.points[2:4, 0]) * (1 + 2 * side.m2.bulge) * rng.uniform(0.98, 1.08)
    widths = {n: (first if n == 6 else mm * side.scale_x) for n, mm in LOWER_MM.items()}
    length = contact - side.midline_x
    if rng.random() < level.deciduous_molar + level.extra_when_distal * side.backward:
        side.cases.append("deciduous_molar")
        widths[5] *= 1.4
    gone = _missing_lower(side, (length - first) / (sum(widths.values()) - first))
    shut = rng.random() < level.gap_closed + side.forward or side.look_alike
    closed = rng.uniform(0.7, 1.0) if shut else rng.uniform(0.0, 0.3)
    taken = {n: w * (1 - closed if n in gone else 1.0) for n, w in widths.items()}
    fixed = 0.0 if 6 in gone else first  # a first molar keeps its size, the rest share what is left
    squeeze = (length - fixed) / (sum(taken.values()) - fixed)
    slots, x = {}, contact
    for n, w in taken.items():
        kept = 1.0 if n == 6 and fixed else squeeze
        if n not in gone and not (n < 6 and rng.random() < level.missing_other):
            slots[n] = (
                x - w * kept / 2,
                widths[n] * (1.0 if n == 6 else np.clip(kept, 0.72, 1.06)),
            )
        x -= w * kept
    if gone:
        side.cases.append("gap_closed" if shut else "gap_open")
    return slots


def _lower_teeth(side: Side) -> None:
    rng = side.rng
    own = local_key(side.m2) - local_key(side.m2)[:2].mean(axis=0)
    for n, (x, width) in _lower_slots(side).items():
        y, slope = side.curve(x)
        jitter = rng.standard_normal(5).clip(-2, 2)
        molar = n == 6 or (n == 5 and "deciduous_molar" in side.cases)
        if molar:  # a neighbour that looks like the second molar
            shape = own * (width / np.ptp(own[2:, 0]) / 1.18, 1 + 0.03 * jitter[3])
            shape[:, 0] -= shape[2:, 0].mean()
        else:
            shape = template(width, CROWN_MM[n] * side.scale_y * (1 + 0.04 * jitter[3]), n)
        angle = np.arctan(slope) * 0.9 + np.deg2rad(3.0 * jitter[0])
        key = placed(shape, np.array([x, y + 1.8 * jitter[1]]), angle)
        root = ROOT_MM[n] * side.scale_y * (1 + 0.06 * jitter[4])
        root = min(root, side.midline_y + 172 - key[2:, 1].mean())  # inside the chin
        tooth = Tooth(
            30 + n, key, root * (0.85 if molar and n == 5 else 1.0), 2 if molar else 1,
            0.24 if molar else 0.0, 4.0 + 3.0 * jitter[2], 0.09 if molar else 0.14,
            (0.12 if molar else 0.06 if n > 3 else 0.0) * shape[2:, 1].mean(),
            (0.2 if n > 3 else 0.09) * shape[2:, 1].mean(), density=1.0 if n > 2 else 0.9,
        )  # fmt: skip
        if n == 6:  # crowns touch, they do not pass through each other
            far = _reach(tooth)[1] - (x + width / 2)
            tooth = replace(tooth, key=tooth.key - (far + rng.uniform(-1.5, 2.0), 0.0))
        side.teeth.append(restored(side, tooth, n))


def _upper_teeth(side: Side) -> None:
    """Upper teeth, half a cusp behind their opponents, a little above the lower occlusal curve."""
    rng = side.rng
    half = (0.5 + side.m2.bulge) * np.ptp(side.points[2:4, 0])
    back = side.jaw_x - half + 1.6 * side.scale_x
    back += 10.0 * np.clip(rng.standard_normal(), -2, 2)  # no two bites close alike
    squeeze = (back - side.midline_x) / (sum(UPPER_MM[n] for n in range(1, 7)) * side.scale_x)
    open_back, open_front = 3 + rng.gamma(3.0, 1.6), rng.gamma(3.0, 3.5)
    x = side.midline_x
    for n in range(1, 9):
        width = UPPER_MM[n] * side.scale_x * (squeeze if n < 7 else 1.0)
        x, centre = x + width, x + width / 2
        absent = 0.35 if n == 8 else side.level.missing_other
        jitter = rng.standard_normal(5).clip(-2, 2)
        if rng.random() < absent:
            continue
        y, slope = side.curve(centre)
        far = (centre - side.midline_x) / (side.points[0, 0] - side.midline_x)
        y -= open_back + open_front * np.clip(1 - far**2, 0, 1) + (n == 8) * rng.gamma(1.5, 9)
        drawn = UPPER_MM[n] * side.scale_x * np.clip(squeeze if n < 7 else 1, 0.75, 1.06)
        shape = template(drawn, CROWN_MM[n] * side.scale_y * (1 + 0.04 * jitter[3]), n) * (1, -1)
        angle = np.arctan(slope) * (1.3 if n < 7 else 1.0) + np.deg2rad(3.0 * jitter[0])
        angle += np.deg2rad(8 + 8 * jitter[2]) if n == 8 else 0.0
        tooth = Tooth(
            20 + n, placed(shape, np.array([centre, y + 1.8 * jitter[1]]), angle),
            ROOT_MM[n] * side.scale_y * (1 + 0.06 * jitter[4]), 3 if n > 5 else 1,
            0.3 if n in (6, 7) else 0.15, 2.0 + 3.0 * jitter[2], 0.08 if n > 5 else 0.13,
            (0.12 if n > 5 else 0.07 if n > 3 else 0.0) * abs(shape[2, 1]),
            (0.2 if n > 3 else 0.09) * abs(shape[2, 1]), density=0.92,
        )  # fmt: skip
        side.teeth.append(restored(side, tooth, n))


def build_side(side: Side) -> None:
    """Fill `side.teeth` and `side.cases`."""
    _upper_teeth(side)
    _lower_teeth(side)
    third = _third_molar(side)
    if side.fourth and third.erupted:  # none crosses the roots of a lying one
        side.teeth.append(_fourth_molar(side, third))
    sound = (
        third.density < 0.5
        or not third.erupted
        or "tooth_germ" in side.cases
        or depth(side.points) > 0.25
    )
    side.teeth.append(third if sound else restored(side, third, 8))
    side.teeth.append(restored(side, side.m2, 7))
    if side.rng.random() < side.level.burnt_out:
        side.cases.append("burnt_out")
    if side.rng.random() < side.level.ghost:
        side.cases.append("ghost")
    if side.look_alike and third.erupted:
        side.cases.append("look_alike_row")
