"""Label faults on request, to test an audit, and a second reader, to know an observer's limit.

The kinds of fault are those met in real landmark tables: the three impossible rows of the published
coordinates (see `phantom_shape`) are a change of scale of 0.35 to 0.55.
"""

import zlib

import numpy as np
import pandas as pd

from lmkit.phantom import HW, NAMES, SIDES
from lmkit.tables import LABELS

KINDS = ("scale", "side", "axes", "neighbour", "swap", "duplicate")
SCALE_RANGE = (0.35, 0.60)
TOOTH_PITCH = 1.18  # from a molar to its neighbour, in cervical widths of the second molar

# Standard deviation of a reading, px: along the occlusal line, and across it. A flat cusp is hard
# to place along the line, a cervical end (burn-out) across it; 6 px are about 1 mm. Assumed, not
# measured: chosen within the 0.3 to 0.6 mm that repeated clicks on panoramics usually show.
READING_SD_PX = {
    "m2_mesial_cusp": (2.9, 1.8),
    "m2_distal_cusp": (3.1, 1.8),
    "m2_mesial_cej": (1.9, 2.8),
    "m2_distal_cej": (2.1, 3.1),
    "m3_top": (3.6, 2.0),
}
READING_CLIP_SD = 3.0


def _check(landmarks: pd.DataFrame) -> None:
    missing = [c for c in LABELS if c not in landmarks.columns]
    if missing:
        raise ValueError(f"landmarks: expected columns {LABELS}, got none named {missing}")
    unknown = sorted(set(landmarks["landmark"]) - set(NAMES))
    if unknown:
        raise ValueError(f"landmarks: expected names among {NAMES}, got {unknown}")
    unknown = sorted(set(map(str, landmarks["side"])) - set(SIDES))
    if unknown:
        raise ValueError(f"landmarks: expected sides among {SIDES}, got {unknown}")


def _sets(landmarks: pd.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """(image, side) -> (5,) row positions in the order of NAMES; complete sets only, sorted."""
    order = {name: k for k, name in enumerate(NAMES)}
    found: dict[tuple[str, str], np.ndarray] = {}
    finite = np.isfinite(landmarks[["x", "y"]].to_numpy(dtype=float)).all(axis=1)
    groups = landmarks.groupby(["image", "side"], sort=True, observed=True).indices
    for key, rows in groups.items():
        names = landmarks["landmark"].to_numpy()[rows]
        if len(rows) == len(NAMES) == len(set(names)) and finite[rows].all():
            found[key] = np.asarray(rows)[np.argsort([order[n] for n in names])]
    return found


def _faulty(kind: str, xy: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """One set's points (5, 2) px with a fault, and what was done in words."""
    if kind == "scale":
        factor = float(rng.uniform(*SCALE_RANGE))
        return (xy + 0.5) * factor - 0.5, f"scaled by {factor:.3f}"
    if kind == "side":
        return np.stack([HW[1] - 1 - xy[:, 0], xy[:, 1]], axis=1), "mirrored"
    if kind == "axes":
        return xy[:, ::-1].copy(), "x and y swapped"
    if kind == "neighbour":
        way = int(rng.choice([-1, 1]))
        step = way * TOOTH_PITCH * (xy[3] - xy[2])
        return xy + step, f"one tooth {'distal' if way > 0 else 'mesial'}"
    i, k = sorted(rng.choice(len(NAMES), size=2, replace=False))
    swapped = xy.copy()
    swapped[[i, k]] = xy[[k, i]]
    return swapped, f"{NAMES[i]} and {NAMES[k]} swapped"


def inject_faults(
    landmarks: pd.DataFrame, share: float, kinds: tuple[str, ...] = KINDS, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Spoil a share of the (image, side) sets, one fault each, kinds in turn.

    Args:
        landmarks: image, side, landmark, x, y (px); incomplete sets are left alone.
        share: of the complete sets, in [0, 1].
        kinds: among KINDS. scale: another image size; side: mirrored onto the other side; axes: x
            and y swapped; neighbour: one tooth mesial or distal; swap: two landmarks swapped;
            duplicate: this image carries the label rows of another image, same side, as when a file
            was entered twice.
        seed: the same seed gives the same faults.
    Returns: the table with the same rows, and what was done: image, side, fault, detail.
    Raises: ValueError for a bad share, kind or table.
    """
    _check(landmarks)
    if not 0 <= share <= 1:
        raise ValueError(f"share: expected within [0, 1], got {share}")
    wrong = [k for k in kinds if k not in KINDS]
    if wrong or not kinds:
        raise ValueError(f"kinds: expected some of {KINDS}, got {wrong or kinds}")
    rng = np.random.default_rng([seed, 1])
    sets = _sets(landmarks)
    keys = list(sets)
    chosen = rng.permutation(len(keys))[: round(share * len(keys))]
    true = landmarks[["x", "y"]].to_numpy(dtype=float)
    xy, done = true.copy(), []
    for turn, position in enumerate(chosen):
        key, kind = keys[position], kinds[turn % len(kinds)]
        if kind == "duplicate":
            others = [k for k in keys if k[1] == key[1] and k != key]
            if not others:
                raise ValueError(f"kinds: duplicate expected a second {key[1]} set, got one")
            source = others[rng.integers(len(others))]
            xy[sets[key]], detail = true[sets[source]], f"labels of {source[0]}"
        else:
            xy[sets[key]], detail = _faulty(kind, true[sets[key]], rng)
        done.append((*key, kind, detail))
    faults = pd.DataFrame(done, columns=["image", "side", "fault", "detail"])
    faults = faults.sort_values(["image", "side"], ignore_index=True)
    return landmarks.assign(x=xy[:, 0], y=xy[:, 1]), faults


def second_reader(landmarks: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The same table as another person would have clicked it.

    Each point moves by a normal error (READING_SD_PX, cut off at 3 SD) along and across the line
    through the second molar's cusps; incomplete sets use the image's axes. An image's errors depend
    on seed, image, side and landmark only, not on which other rows are in the table.

    Raises: ValueError for a bad table.
    """
    _check(landmarks)
    xy = landmarks[["x", "y"]].to_numpy(dtype=float).copy()
    names = landmarks["landmark"].to_numpy()
    complete = _sets(landmarks)
    sd = np.array([READING_SD_PX[n] for n in NAMES])
    groups = landmarks.groupby(["image", "side"], sort=True, observed=True).indices
    for key, rows in groups.items():
        u = np.array([1.0, 0.0])
        if key in complete:
            a, b = xy[complete[key][:2]]
            u = (b - a) / max(np.hypot(*(b - a)), 1e-9)
        stream = [seed, 2, zlib.crc32(str(key[0]).encode()), SIDES.index(key[1])]
        z = np.random.default_rng(stream).standard_normal((len(NAMES), 2))
        error = np.clip(z, -READING_CLIP_SD, READING_CLIP_SD) * sd
        moved = error[:, :1] * u + error[:, 1:] * np.array([-u[1], u[0]])
        xy[rows] += moved[[NAMES.index(n) for n in names[rows]]]
    return landmarks.assign(x=xy[:, 0], y=xy[:, 1])
