"""What an error consists of: imprecise, on another structure, or a label that is itself in doubt.

The medicine differs: finer maps for the first, context for the second, a second look for the third.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lmkit.audit_model import most_rigid_pair
from lmkit.audit_others import PITCH
from lmkit.audit_shape import as_complex
from lmkit.measures import cases, put_back, spacing_of
from lmkit.metrics import FAILURE_MM
from lmkit.tables import LEFT_RIGHT

KINDS = {
    "located": f"within {FAILURE_MM:g} mm of its label",
    "label": "the audit doubts the label",
    "other side": "nearer to the other side's landmarks than to its own side's",
    "landmark": f"within {FAILURE_MM:g} mm of another landmark of its side",
    "neighbour": "half a step to two and a half along the row",
    "elsewhere": "none of these",
}
IDENTITY = ("other side", "landmark", "neighbour")


def explain_errors(
    predictions: pd.DataFrame,
    images: pd.DataFrame,
    landmarks: pd.DataFrame | None = None,
    flagged: pd.DataFrame | None = None,
    row: tuple[str, str] | None = None,
) -> pd.DataFrame:
    """The kind of each error, and its parts along and across the row of structures.

    The row's direction and step are those of two landmarks of each case that span one structure (a
    tooth, a vertebra), in mm. For `along` and `across` the row's positive direction is from the
    first of the two to the second, across is a quarter turn clockwise on the screen from it.

    Args:
        predictions: rows of predictions.csv.
        images: image, spacing_x_mm, spacing_y_mm.
        landmarks: image, side, landmark, x, y (source pixels) of both sides; without it no point
            is on the other side.
        flagged: image, side of label sets in doubt, as `audit.audit_labels` gives them.
        row: those two landmarks; None = those whose joining vector varies least for its length.
    Returns: the predictions with along_mm, across_mm (NaN = not annotated) and kind, a key of
        KINDS ('' = not annotated); the first kind in the order of KINDS that fits. Its attrs have
        `row`: side -> the two landmarks, or none for a single landmark.
    Raises: InputError for missing columns or spacing; ValueError for an unknown row.
    """
    names = tuple(dict.fromkeys(predictions["landmark"].astype(str)))
    if row is not None and not set(row) <= set(names):
        raise ValueError(f"row: expected two of {list(names)}, got {row}")
    keys, true, found = cases(predictions, names)
    spacing = spacing_of(keys["image"], images)[:, None]
    true_mm, found_mm = true * spacing, found * spacing
    rows = _rows(true_mm, keys["side"].to_numpy(str), names, row)
    step = _steps(true_mm, keys["side"].to_numpy(str), names, rows)
    unit = step / np.maximum(np.linalg.norm(step, axis=-1, keepdims=True), 1e-9)
    across = np.stack([-unit[..., 1], unit[..., 0]], -1)
    error = found_mm - true_mm
    along_mm, across_mm = (error * unit[:, None]).sum(-1), (error * across[:, None]).sum(-1)
    tooth = np.linalg.norm(step, axis=-1)[:, None]
    tests = {
        "located": np.linalg.norm(error, axis=-1) <= FAILURE_MM,
        "label": np.broadcast_to(in_doubt(keys, flagged)[:, None], along_mm.shape),
        "other side": _on_other_side(keys, true_mm, found_mm, landmarks, images),
        "landmark": _on_another(true_mm, found_mm),
        "neighbour": (np.abs(np.abs(along_mm) / tooth - 1.5) <= 1)
        & (np.abs(across_mm) < tooth / 2),
    }
    kind = np.select(list(tests.values()), list(tests), "elsewhere").astype(object)
    kind[np.isnan(error).any(-1)] = ""
    parts = {"along_mm": along_mm, "across_mm": across_mm, "kind": kind}
    explained = put_back(predictions, keys, names, **parts)
    explained.attrs["row"] = rows
    return explained


def repaired_rates(explained: pd.DataFrame, threshold_mm: float = 2.0) -> pd.DataFrame:
    """The SDR that a model would have, were one kind of error mended.

    Args:
        explained: of `explain_errors`.
        threshold_mm: a hit is an error of at most this.
    Returns: a row per mending: sdr, gain (shares) and landmarks (how many it concerns). `as it is`;
        `precision`: all located points are hits; `identity`: points on another structure hit as
        often as located ones; `labels`: sets in doubt are left out; `elsewhere`: as identity.
    """
    known = explained[explained["kind"] != ""]
    error, kind = known["error_mm"].to_numpy(), known["kind"].to_numpy(str)
    hit = (error <= threshold_mm).astype(float)
    located = kind == "located"
    usual = hit[located].mean() if located.any() else np.nan
    sets = {
        "as it is": np.zeros(len(kind), bool),
        "precision": located & (hit == 0),
        "identity": np.isin(kind, IDENTITY),
        "labels": kind == "label",
        "elsewhere": kind == "elsewhere",
    }
    rows = {}
    for name, chosen in sets.items():
        if name == "labels":
            sdr = hit[~chosen].mean() if (~chosen).any() else np.nan
        else:
            sdr = np.where(chosen, 1.0 if name == "precision" else usual, hit).mean()
        rows[name] = {"sdr": sdr, "gain": sdr - hit.mean(), "landmarks": int(chosen.sum())}
    return pd.DataFrame.from_dict(rows, orient="index")


def kind_counts(explained: pd.DataFrame) -> pd.DataFrame:
    """How many points each kind of error concerns, and what share of the summed error it makes.

    Returns: a row per kind that occurs, in the order of KINDS: landmarks, share, images (label
        sets with at least one), share_of_error, what.
    """
    known = explained[explained["kind"] != ""]
    rows = []
    for kind, what in KINDS.items():
        part = known[known["kind"] == kind]
        if len(part):
            sets = len(part[["image", "side"]].drop_duplicates())
            of_error = part["error_mm"].sum() / known["error_mm"].sum()
            rows.append((kind, len(part), len(part) / len(known), sets, of_error, what))
    columns = ["kind", "landmarks", "share", "images", "share_of_error", "what"]
    return pd.DataFrame(rows, columns=columns).set_index("kind")


def directional(explained: pd.DataFrame) -> pd.DataFrame:
    """Bias and spread of located points along and across the row, mm, a row per landmark."""
    part = explained[explained["kind"] == "located"]
    grouped = part.groupby("landmark", sort=False)[["along_mm", "across_mm"]]
    table = grouped.agg(["mean", "std"])
    table.columns = [f"{axis.removesuffix('_mm')} {figure}, mm" for axis, figure in table.columns]
    return table.assign(landmarks=grouped.size())


def in_doubt(rows: pd.DataFrame, flagged: pd.DataFrame | None) -> np.ndarray:
    """(N,) bool: whether a row's image and side are among the flagged label sets; None = none."""
    if flagged is None or not len(flagged):
        return np.zeros(len(rows), bool)
    listed = pd.MultiIndex.from_frame(flagged[["image", "side"]].astype(str))
    return pd.MultiIndex.from_frame(rows[["image", "side"]].astype(str)).isin(listed)


def _rows(
    true_mm: np.ndarray, sides: np.ndarray, names: tuple[str, ...], row: tuple[str, str] | None
) -> dict[str, tuple[str, str]]:
    """Each side's two landmarks that span one structure; a single landmark has no row."""
    if len(names) == 1:
        return {}
    rows = {}
    for side in np.unique(sides):
        z = as_complex(true_mm[sides == side])
        a, b = (0, 0) if row else most_rigid_pair(z[~np.isnan(z).any(1)])
        rows[str(side)] = row or (names[a], names[b])
    return rows


def _steps(
    true_mm: np.ndarray,
    sides: np.ndarray,
    names: tuple[str, ...],
    rows: dict[str, tuple[str, str]],
) -> np.ndarray:
    """(N, 2) mm: from a structure to the next along the row, each side's own direction; where a
    case lacks one of the two landmarks, its side's median."""
    step = np.tile([1.0, 0.0], (len(true_mm), 1))
    for side, pair in rows.items():
        own = sides == side
        a, b = (names.index(n) for n in pair)
        vector = PITCH * (true_mm[own, b] - true_mm[own, a])
        step[own] = np.where(np.isnan(vector), np.nanmedian(vector, 0), vector)
    return step


def _on_another(true_mm: np.ndarray, found_mm: np.ndarray) -> np.ndarray:
    """(N, L): within 4 mm of another landmark of the same case."""
    away = np.linalg.norm(found_mm[:, :, None] - true_mm[:, None], axis=-1)
    away[:, np.arange(away.shape[1]), np.arange(away.shape[1])] = np.inf
    return np.where(np.isnan(away), np.inf, away).min(-1) <= FAILURE_MM


def _on_other_side(
    keys: pd.DataFrame,
    true_mm: np.ndarray,
    found_mm: np.ndarray,
    landmarks: pd.DataFrame | None,
    images: pd.DataFrame,
) -> np.ndarray:
    """(N, L): nearer to some landmark of the image's other side than to any of its own."""
    outside = np.zeros(found_mm.shape[:2], bool)
    if landmarks is None:
        return outside
    spacing = images.set_index("image")[["spacing_x_mm", "spacing_y_mm"]]
    by_set = {key: part[["x", "y"]].to_numpy(float) for key, part in
              landmarks.groupby(["image", "side"])}  # fmt: skip
    for i, (image, side) in enumerate(keys[["image", "side"]].itertuples(index=False)):
        for other in {*LEFT_RIGHT} - {side}:
            there = by_set.get((image, other))
            if there is None or side not in LEFT_RIGHT:
                continue
            there = there * spacing.loc[image].to_numpy(float)
            to_other = np.linalg.norm(found_mm[i][:, None] - there, axis=-1).min(-1)
            to_own = np.linalg.norm(found_mm[i][:, None] - true_mm[i], axis=-1)
            to_own = np.where(np.isnan(to_own), np.inf, to_own).min(-1)
            outside[i] = to_other < to_own
    return outside
