"""corrections.csv in a dataset's folder: what readers changed after a second look, and why.

Rows are only ever added; the last one for an image, side and landmark counts. The labels' own files
stay as they are, and without this file a dataset is what it was. A row may state where the
label was when it was corrected, x_was and y_was. Once the labels' own file says another place the
row no longer counts, and the set is looked at again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from lmkit.appending import append_rows
from lmkit.audit_repair import apply_repair
from lmkit.faults import STRICT, Faults
from lmkit.fields import InputError, nearest
from lmkit.limits import check_coordinate
from lmkit.native import key_of
from lmkit.outdated import KEY, WAS, outdated, outdated_line, places, without
from lmkit.tables import NO_SIDE, Tables, number, rows_of

FILE = "corrections.csv"
ACTIONS = {
    "move": "the landmark is at x, y",
    "unclear": "nobody can tell where it is: not annotated",
    "keep": "looked at and right (at x, y where given): no longer flagged",
    "drop": "no label of this image, such as a copy of another one's: not annotated",
    "undo": "as the labels' own file says, flagged or not",
}
COLUMNS = [*KEY, "x", "y", "action", "reader", "time", "reason"]
REQUIRED = ("image", "landmark", "action")
PLACED = ("move", "keep")  # actions that may state a place


def read(
    path: Path,
    names: tuple[str, ...],
    sides: tuple[str, ...],
    images: Mapping[str, object],
    faults: Faults = STRICT,
) -> pd.DataFrame:
    """All rows of a corrections file, checked, in the order they were written.

    Args:
        names, sides: of the dataset; () = without sides, the column is then empty or 'all'.
        images: its images, by name.
    Returns: `COLUMNS` and `WAS`, px of the stored image, NaN = not stated; index: row of the file.
    Raises: InputError naming the file and the row.
    """
    required = (*REQUIRED, "side") if sides else REQUIRED
    rows, lines, table = [], [], []
    with faults.of():
        table = rows_of(path, required, ("side", "x", "y", "reader", "time", "reason"))
    for row, cells in table:
        with faults.of(cells["image"]):
            rows.append(_row(cells, f"{path} row {row}", names, sides, images))
            lines.append(row)
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *WAS], index=lines)
    return frame.astype(dict.fromkeys(["x", "y", *WAS], float))


def _row(
    cells: dict[str, str],
    where: str,
    names: tuple[str, ...],
    sides: tuple[str, ...],
    images: Mapping[str, object],
) -> tuple[object, ...]:
    """A row, checked. Raises: InputError."""
    if not sides and cells.get("side") == NO_SIDE:
        cells = cells | {"side": ""}
    key = key_of(cells, where, names, sides, images, "the dataset")
    action, place = cells["action"], (cells.get("x", ""), cells.get("y", ""))
    if action not in ACTIONS:
        raise InputError(
            f"{where}: action: expected {' | '.join(ACTIONS)}, got {action!r}"
            f"{nearest(action, tuple(ACTIONS))}"
        )
    if (action == "move" and not all(place)) or bool(place[0]) != bool(place[1]):
        needed = "x and y" if action == "move" else "both x and y, or neither"
        raise InputError(f"{where}: x, y: expected {needed} for {action}, got {','.join(place)!r}")
    stated = action in PLACED and all(place)
    said = (action, cells.get("reader", ""), _time(cells, where), cells.get("reason", ""))
    xy = _place(cells if stated else {}, ["x", "y"], where)
    return (*key, *xy, *said, *_place(cells, WAS, where))


def _place(cells: dict[str, str], axes: list[str], where: str) -> list[float]:
    """Two cells as px, NaN where nothing stands in both. Raises: InputError."""
    filled = any(cells.get(axis) for axis in axes)
    if not filled:
        return [math.nan] * len(axes)
    numbers = ((axis, number(cells.get(axis, ""), axis, where)) for axis in axes)
    return [check_coordinate(value, axis, where) for axis, value in numbers]


def _time(cells: dict[str, str], where: str) -> str:
    """The time as it stands. Raises: InputError unless ISO 8601 or nothing."""
    text = cells.get("time", "")
    try:
        if text:
            datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{where}: time: expected such as 2024-05-31T14:02:00+00:00, got {text!r}"
        ) from None
    return text


def in_force(rows: pd.DataFrame) -> pd.DataFrame:
    """The last row for each image, side and landmark, those that undo left out."""
    last = rows.drop_duplicates(KEY, keep="last")
    return last[last["action"] != "undo"].reset_index(drop=True)


def apply(landmarks: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The labels with corrections; the given table stays as it is.

    Args:
        landmarks: image, side, landmark, x, y (px).
        rows: of `in_force`.
    Returns: the same columns and order; a landmark that had no label and got a place comes last.
    """
    if rows.empty:
        return landmarks
    given = pd.MultiIndex.from_frame(landmarks[KEY])
    placed = rows[rows["x"].notna()]
    at = given.get_indexer(pd.MultiIndex.from_frame(placed[KEY]))
    xy = landmarks[["x", "y"]].to_numpy(float).copy()
    xy[at[at >= 0]] = placed.loc[at >= 0, ["x", "y"]].to_numpy()
    new = placed.loc[at < 0, [*KEY, "x", "y"]]
    out = rows[rows["action"].isin(("unclear", "drop"))]
    kept = ~given.isin(pd.MultiIndex.from_frame(out[KEY]))
    moved = landmarks.assign(x=xy[:, 0], y=xy[:, 1])[kept]
    return pd.concat([moved, new], ignore_index=True) if len(new) else moved.reset_index(drop=True)


def corrected(folder: Path, tables: Tables, faults: Faults = STRICT) -> Tables:
    """The tables of a dataset with its corrections.csv applied, where there is one.

    Returns: the tables; `corrections` are the rows in force with x_was, y_was, what the labels' own
        file says (px; NaN = not annotated). Rows whose label has changed since are not among them:
        a warning, or a remark of `faults`, names the first.
    Raises: InputError naming the file and the row.
    """
    path = folder / FILE
    if not path.exists():
        return tables
    rows = read(path, tables.names, tables.sides, tables.paths, faults)
    rows = rows.drop_duplicates(KEY, keep="last")
    now, notes = places(tables.landmarks, rows), tables.notes
    old = outdated(rows, now)
    if old.any():
        faults.remark(outdated_line(path, rows[old], now[old]), rows[old].iloc[0]["image"])
        notes += (f"{FILE}: {old.sum()} corrections not applied, for the labels changed since",)
    rows = in_force(without(rows.assign(x_was=now[:, 0], y_was=now[:, 1]), old))
    if count(rows):
        notes += (f"{FILE}: {count(rows)} labels are written as corrected, not as they were",)
    landmarks = apply(tables.landmarks, rows)
    return replace(tables, landmarks=landmarks, corrections=rows, notes=notes)


def originals(landmarks: pd.DataFrame, rows: pd.DataFrame | None) -> pd.DataFrame:
    """The labels as their own file says, from corrected ones.

    Args:
        rows: a dataset's `corrections`.
    """
    if rows is None or rows.empty:
        return landmarks
    was = rows[[*KEY, "x_was", "y_was"]].rename(columns={"x_was": "x", "y_was": "y"})
    back = was.assign(action=np.where(was["x"].notna(), "move", "drop"))
    return apply(landmarks, back)


def count(rows: pd.DataFrame | None) -> int:
    """How many labels rows in force change: moved, added or taken out; kept ones are none."""
    return 0 if rows is None else int(((rows["action"] != "keep") | rows["x"].notna()).sum())


def still_flagged(found: pd.DataFrame, rows: pd.DataFrame | None) -> pd.DataFrame:
    """The rows of an audit without the label sets that a reader looked at and kept.

    Args:
        found: image, side, ... as of `lmkit.audit.audit_labels`.
        rows: a dataset's `corrections`. A set is kept when one of its landmarks is.
    """
    if rows is None or rows.empty or found.empty:
        return found
    kept = rows[rows["action"] == "keep"]
    settled = pd.MultiIndex.from_frame(kept[KEY[:2]])
    return found[~pd.MultiIndex.from_frame(found[KEY[:2]]).isin(settled)].reset_index(drop=True)


def from_repairs(landmarks: pd.DataFrame, repairs: pd.DataFrame) -> pd.DataFrame:
    """The corrections that carry out repairs which the label audit suggests, for `append`.

    Args:
        landmarks: image, side, landmark, x, y (px), as audited.
        repairs: rows of `audit_labels` or `audit_with_predictions`; those without a repair, or with
            a mere hint, give nothing.
    Returns: image, side, landmark, x, y, action (move or drop), reason (cause and repair).
    Raises: ValueError for an unknown repair or a set that is not in the table.
    """
    parts = []
    for _, repair in repairs.iterrows():
        after = apply_repair(landmarks, repair)
        both = landmarks.merge(after, on=KEY, how="outer", suffixes=("_was", ""))
        both = both[(both["x"] != both["x_was"]) | (both["y"] != both["y_was"])]
        action = np.where(both["x"].isna(), "drop", "move")
        reason = f"{repair.get('cause', 'audit')}: {repair['repair']}"
        parts.append(both[[*KEY, "x", "y"]].assign(action=action, reason=reason))
    columns = [*KEY, "x", "y", "action", "reason"]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return rows.drop_duplicates(KEY, ignore_index=True)  # both rows of exchanged sides say the same


def append(
    folder: str | Path, rows: pd.DataFrame, reader: str = "", own: pd.DataFrame | None = None
) -> Path:
    """Add rows to a folder's corrections file, all or none of them; the file's own rows stay.

    Args:
        folder: of the dataset.
        rows: image, side ('all' without sides), landmark, action, and x, y, reason where there are.
        reader: who says so.
        own: all labels as their own file says (see `originals`), to be noted as x_was, y_was, so
            that the rows no longer count once it says otherwise; None = they count for good.
    Returns: the file.
    Raises: InputError for an unknown action, a move without a place, a file that is not one of
        corrections, or a folder that cannot be written to.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    new = rows.reindex(columns=[*COLUMNS, *WAS]).assign(reader=reader, time=now)
    if own is not None:
        new[WAS] = places(own, new)
    new = new.assign(side=new["side"].replace(NO_SIDE, ""), reason=new["reason"].fillna(""))
    for row in new.itertuples():
        if row.action not in ACTIONS:
            raise InputError(f"action: expected {' | '.join(ACTIONS)}, got {row.action!r}")
        if row.action == "move" and not (math.isfinite(row.x) and math.isfinite(row.y)):
            raise InputError(f"{row.image} {row.landmark}: expected x and y for move, got none")
    return append_rows(Path(folder) / FILE, new, REQUIRED)
