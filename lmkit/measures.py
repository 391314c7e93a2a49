"""What landmarks are for: distances, angles, heights, places between lines, classes.

A dataset declares its measurements (`lmkit.declare` reads them); here they are computed, from
points in source pixels and the image's own spacing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmkit import lines
from lmkit.fields import InputError

UNITS = {"distance": "mm", "angle": "°", "line_height": "mm", "between": "", "class": ""}
CASE = ["image", "patient", "side"]
COLUMNS = [*CASE, "measurement", "true", "predicted", "unit", "class_true", "class_predicted"]


@dataclass(frozen=True)
class Measurement:
    """One measurement.

    Attributes:
        kind: a key of UNITS.
        points: landmark names. distance: two; angle: three (at the second) or two lines of two;
            line_height: the point, then the line's two; between: the point, then both lines.
        perpendicular: a line_height is the shortest distance and not the one along y.
        of: the measurement that a class divides.
        borders, classes: k rising values of `of`, and k + 1 names, the first for below the first.
    """

    name: str
    kind: str
    points: tuple[str, ...] = ()
    perpendicular: bool = False
    of: Measurement | None = None
    borders: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """Of its numbers: mm, degrees, or nothing."""
        return UNITS[self.kind]

    @property
    def landmarks(self) -> tuple[str, ...]:
        """All that it takes."""
        return self.of.landmarks if self.of else tuple(dict.fromkeys(self.points))

    @property
    def margin_unit(self) -> str:
        """Of the distance to a border: mm, degrees for an angle."""
        kind = self.of.kind if self.of else self.kind
        return UNITS[kind] or "mm"


def values(
    measurement: Measurement, points: np.ndarray, names: Sequence[str], spacing_mm: np.ndarray
) -> np.ndarray:
    """The number of each case; for a class, that of the measurement it divides.

    Args:
        points: (..., L, 2) xy, source pixels; NaN = not annotated.
        names: the L landmarks.
        spacing_mm: mm per pixel: a number, (2,) x and y, or (..., 2) for each case.
    Returns: (...) in `measurement.unit`; NaN where a landmark is missing.
    Raises: ValueError for shapes that do not match, a spacing not > 0, a landmark not in `names`.
    """
    return _number_and_step(measurement, points, names, spacing_mm)[0]


def margins(
    measurement: Measurement, points: np.ndarray, names: Sequence[str], spacing_mm: np.ndarray
) -> np.ndarray:
    """How far each case is beyond each border of a class.

    Args: as `values`.
    Returns: (..., K) in `measurement.margin_unit`, negative before the border. For a class of a
        place between lines: mm along y at the point's x, positive below the border's line.
    """
    number, step = _number_and_step(measurement, points, names, spacing_mm)
    return (number[..., None] - np.array(measurement.borders)) * step[..., None]


def class_index(margin: np.ndarray) -> np.ndarray:
    """The class of each case: that of the first border it lies before, else the last.

    In this order, a point above both of two lines that cross is above the first of them. A case on
    a border is beyond it.

    Args:
        margin: (..., K) of `margins`.
    Returns: (...) integers from 0 to K; -1 where a landmark is missing.
    """
    before = margin < 0
    index = np.where(before.any(-1), before.argmax(-1), margin.shape[-1])
    return np.where(np.isnan(margin).any(-1), -1, index)


def classes(
    measurement: Measurement, points: np.ndarray, names: Sequence[str], spacing_mm: np.ndarray
) -> np.ndarray:
    """(...) the class of each case as text; '' where a landmark is missing. Args: as `values`."""
    index = class_index(margins(measurement, points, names, spacing_mm))
    return np.array([*measurement.classes, ""], dtype=object)[index]


def measure(
    table: pd.DataFrame, measurements: Sequence[Measurement], spacing_mm: object
) -> pd.DataFrame:
    """Every measurement of every case, from the true and from the predicted points.

    Args:
        table: rows of predictions.csv: image, patient, side, landmark, x, y, x_true, y_true.
        spacing_mm: mm per source pixel: a number, x and y, or a table of images (image,
            spacing_x_mm, spacing_y_mm), such as that of the dataset.
    Returns: image, patient, side, measurement, true, predicted, unit, class_true, class_predicted;
        a row per case and measurement. A class has the numbers of the measurement it divides, and
        its classes as text ('' for other kinds). NaN, or '', where a landmark is missing.
    Raises: InputError for a table without these columns, repeats, a landmark that the table lacks,
        or an image without a spacing.
    """
    if not measurements:
        return pd.DataFrame(columns=COLUMNS)
    names = tuple(dict.fromkeys(name for m in measurements for name in m.landmarks))
    keys, true, predicted = cases(table, names)
    spacing = spacing_of(keys["image"], spacing_mm)
    parts = []
    for m in measurements:
        columns: dict[str, object] = {"measurement": m.name}
        for column, points in (("true", true), ("predicted", predicted)):
            columns[column] = values(m, points, names, spacing)
        columns["unit"] = m.of.unit if m.of else m.unit
        for column, points in (("class_true", true), ("class_predicted", predicted)):
            columns[column] = classes(m, points, names, spacing) if m.of else ""
        parts.append(keys.assign(**columns))
    return pd.concat(parts, ignore_index=True)


def cases(table: pd.DataFrame, names: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Rows of predictions.csv, one landmark each, as points of cases.

    Returns: N rows of image, patient, side; (N, L, 2) true and predicted xy, source pixels, in the
        order of `names`; NaN = not there.
    Raises: InputError for missing columns, repeats, or a landmark that no row has.
    """
    wanted = [*CASE, "landmark", "x", "y", "x_true", "y_true"]
    missing = [column for column in wanted if column not in table]
    if missing:
        raise InputError(
            f"predictions: expected the columns of predictions.csv, got none named "
            f"{', '.join(missing)}; give a run's predictions.csv"
        )
    known = table["landmark"].astype(str)
    for name in names:
        if len(table) and name not in set(known):
            raise InputError(
                f"predictions: expected rows of landmark {name}, which a measurement takes, got "
                f"{', '.join(dict.fromkeys(known))}"
            )
    table = table.assign(landmark=known)
    if table.duplicated([*CASE, "landmark"]).any():
        raise InputError("predictions: expected each image, side and landmark once, got repeats")
    keys = table[CASE].drop_duplicates(ignore_index=True)
    rows = pd.MultiIndex.from_frame(keys.loc[keys.index.repeat(len(names))])
    where = pd.MultiIndex.from_arrays(
        [*(rows.get_level_values(level) for level in CASE), np.tile(names, len(keys))]
    )
    xy = table.set_index([*CASE, "landmark"])[["x_true", "y_true", "x", "y"]].reindex(where)
    points = xy.to_numpy(float).reshape(len(keys), len(names), 2, 2)
    return keys, points[:, :, 0], points[:, :, 1]


def put_back(
    table: pd.DataFrame, keys: pd.DataFrame, names: Sequence[str], **values: np.ndarray
) -> pd.DataFrame:
    """The rows that `cases` was given, with a column for each of some (N, L) arrays."""
    columns = pd.DataFrame({name: array.ravel() for name, array in values.items()})
    columns[CASE] = keys.loc[keys.index.repeat(len(names))].to_numpy()
    columns["landmark"] = np.tile(names, len(keys))
    return table.merge(columns, on=[*CASE, "landmark"], how="left", validate="1:1")


def spacing_of(images: pd.Series, spacing_mm: object) -> np.ndarray:
    """(N, 2) x, y, mm per pixel of N images, from what `measure` takes. Raises: InputError."""
    if not isinstance(spacing_mm, pd.DataFrame):
        pair = np.broadcast_to(np.asarray(spacing_mm, float), 2)
        return np.broadcast_to(pair, (len(images), 2))
    stated = spacing_mm.drop_duplicates("image").set_index("image")
    found = stated[["spacing_x_mm", "spacing_y_mm"]].reindex(images).to_numpy(float)
    unknown = np.isnan(found).any(1)
    if unknown.any():
        raise InputError(
            f"spacing_mm: expected a spacing for every image, got none for {unknown.sum()}, first "
            f"{images.to_numpy()[unknown.argmax()]}; state it in the dataset, or pass spacing_mm"
        )
    return found


def _number_and_step(
    m: Measurement, points: np.ndarray, names: Sequence[str], spacing_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(...) the number of each case, and (...) how many `margin_unit` one unit of it is."""
    if m.of is not None:
        return _number_and_step(m.of, points, names, spacing_mm)
    points, spacing = np.asarray(points, float), np.asarray(spacing_mm, float)
    if points.shape[-2:] != (len(names), 2):
        raise ValueError(f"points: expected (..., {len(names)}, 2), got {points.shape}")
    if not (spacing > 0).all():
        raise ValueError(f"spacing_mm: expected > 0, got {spacing[~(spacing > 0)].flat[0]}")
    spacing = np.broadcast_to(spacing, (*points.shape[:-2], 2))
    px = points[..., [list(names).index(name) for name in m.points], :]
    mm = np.moveaxis(px * spacing[..., None, :], -2, 0)  # (K, ..., 2)
    if m.kind == "between":
        place, gap_px = lines.between(px[..., 0, :], px[..., 1:3, :], px[..., 3:5, :])
        return place, gap_px * spacing[..., 1]
    if m.kind == "distance":
        number = np.hypot(*np.moveaxis(mm[1] - mm[0], -1, 0))
    elif m.kind == "line_height":
        number = lines.height_over(mm[0], mm[1], mm[2], m.perpendicular)
    elif len(m.points) == 3:
        number = lines.angle_deg(mm[0] - mm[1], mm[2] - mm[1])
    else:
        number = lines.angle_deg(mm[1] - mm[0], mm[3] - mm[2])
    return number, np.ones_like(number)
