"""Carrying out the repairs that the label audit suggests."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd

SPELT = 9  # words of a repair that are read out


def apply_repair(landmarks: pd.DataFrame, repair: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """The table with suggested repairs carried out; the given table stays as it is.

    Rows without a repair, or with `same-as` alone, change nothing; `drop` removes the set's rows.
    `swap sides` exchanges the names of both sides of the image, once, whether one or both of its
    rows are given. `move NAME X Y` puts one landmark at X, Y, px.

    Args:
        landmarks: as given to `audit_labels`.
        repair: one row, or some or all rows, of its result or of `audit_with_predictions`.
    Returns: the same columns and row order.
    Raises: ValueError for an unknown repair, or a set or landmark that is not in the table.
    """
    table = landmarks.copy()
    table[["x", "y"]] = table[["x", "y"]].astype(float)
    rows = repair.to_frame().T if isinstance(repair, pd.Series) else repair
    renamed: set[str] = set()
    for image, side, text in zip(rows["image"], rows["side"], rows["repair"], strict=True):
        words = shlex.split(str(text))
        if not words or words[0] == "same-as":
            continue
        here = (table["image"] == image).to_numpy()
        own = here if "side" not in table.columns else here & (table["side"] == side).to_numpy()
        if not own.any() and image not in renamed:
            raise ValueError(f"repair: expected a set of the table, got {image} {side}; check it")
        if words == ["swap", "sides"]:
            if image not in renamed:
                other = table.loc[here, "side"].map({"left": "right", "right": "left"})
                table.loc[here, "side"] = other
            renamed.add(image)
        elif words[0] == "drop":
            table = table[~own]
        else:
            _move(table, own, words, f"{image} {side}")
    return table


def told(repair: str) -> str:
    """A repair to read beside others: another order of many names is not spelt out."""
    words = shlex.split(repair)
    if words[:1] == ["rename"] and len(words) > SPELT:
        return f"rename {len(words) // 2} landmarks"
    return repair


def _move(table: pd.DataFrame, own: np.ndarray, words: list[str], where: str) -> None:
    """Carry out one repair on the rows `own` of a table, in place."""
    xy = table.loc[own, ["x", "y"]].to_numpy()
    match words:
        case ["scale", factor]:
            xy = (xy + 0.5) * float(factor) - 0.5
        case ["scale", along_x, along_y]:
            xy = (xy + 0.5) * np.array([float(along_x), float(along_y)]) - 0.5
        case ["mirror", middle]:
            xy[:, 0] = 2 * float(middle) - xy[:, 0]
        case ["swap", "x", "y"]:
            xy = xy[:, ::-1]
        case ["shift", dx, dy]:
            xy = xy + np.array([float(dx), float(dy)])
        case ["move", name, x, y]:
            moved = (table.loc[own, "landmark"].astype(str) == name).to_numpy()
            if not moved.any():
                raise ValueError(f"repair: expected a landmark of {where}, got {name}; correct it")
            xy[moved] = float(x), float(y)
        case ["swap", a, b]:
            _rename(table, own, {a: b, b: a})
        case ["rename", *names] if names and len(names) % 2 == 0:
            _rename(table, own, dict(zip(names[::2], names[1::2], strict=True)))
        case _:
            raise ValueError(
                f"repair: expected scale, mirror, swap, rename, shift, move, drop or same-as, got "
                f"{' '.join(words)!r} for {where}; correct it"
            )
    table.loc[own, ["x", "y"]] = xy


def _rename(table: pd.DataFrame, own: np.ndarray, new: dict[str, str]) -> None:
    """Give landmarks of the rows `own` other names, old -> new, in place; they may be numbers."""
    named = {str(name): name for name in table["landmark"].unique()}
    known = {named.get(old, old): named.get(name, name) for old, name in new.items()}
    table.loc[own, "landmark"] = [known.get(name, name) for name in table.loc[own, "landmark"]]
