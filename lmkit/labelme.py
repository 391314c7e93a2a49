"""LabelMe: a JSON file per image with a point shape per landmark.

A label `left_tip` is landmark tip of the left side (see `lmkit.sources`). LabelMe measures from the
image's edge: a click on the middle of the first pixel is 0.5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmkit.faults import Faults
from lmkit.fields import InputError
from lmkit.jsonfiles import entries, finite, read_json
from lmkit.sources import EDGE_PX, Collector
from lmkit.tables import Tables, shown

ROW = ("patient", "split", "spacing_x_mm", "spacing_y_mm", "spacing_source")  # kept by LabelMe


def is_labelme(value: object) -> bool:
    """Whether what a JSON file holds is LabelMe's."""
    return isinstance(value, dict) and {"shapes", "imagePath"} <= set(value)


def read_labelme(folder: Path, files: list[Path], faults: Faults) -> Tables:
    """The point shapes of LabelMe files. Other shapes, flags and texts are left out, and noted."""
    collector = Collector(folder, faults, edge=True)
    for path in files:
        with faults.of(path.stem):
            value = read_json(path)
            if not is_labelme(value):
                got = ", ".join(map(str, value)) if isinstance(value, dict) else shown(value)
                raise InputError(f"{path}: expected LabelMe's shapes and imagePath, got {got[:80]}")
            size = value.get("imageWidth"), value.get("imageHeight")
            row = {key: value.get(key) for key in ROW}
            name = value.get("imagePath")
            image = collector.image(name, str(path), base=path.parent, size=size, **row)
            for i, shape in enumerate(entries(value, "shapes", str(path)), 1):
                with faults.of(image):
                    _take(collector, shape, image, f"{path} shape {i}")
    return collector.tables()


def _take(collector: Collector, shape: dict[str, Any], image: str, where: str) -> None:
    kind = shape.get("shape_type", "point")
    if kind != "point":
        collector.lost[f"shapes of type {shown(kind)}"] += 1
        return
    points = shape.get("points")
    if not isinstance(points, list) or len(points) != 1 or not isinstance(points[0], list):
        raise InputError(f"{where}: points: expected one [x, y], got {shown(points)}")
    if len(points[0]) != 2:
        raise InputError(f"{where}: points: expected one [x, y], got {shown(points)}")
    x, y = finite(points[0][0], "x", where), finite(points[0][1], "y", where)
    collector.point(image, shape.get("label"), (x, y), where)
    for what in ("flags", "description", "group_id"):
        collector.lost[f"shapes' {what}"] += shape.get(what) not in (None, "", {})


def labelme_of(
    tables: Tables, image: str, size: tuple[int, int] | None, beside: str
) -> dict[str, Any]:
    """The labels of one image as LabelMe keeps them.

    Args:
        size: (H, W), pixels; None = unknown.
        beside: path of the image file from the JSON file.
    Returns: what the JSON file is to hold; LabelMe keeps patient, split and spacing when it saves.
    """
    rows = tables.landmarks[tables.landmarks["image"] == image]
    about = tables.images[tables.images["image"] == image].iloc[0].to_dict()
    shapes: list[dict[str, Any]] = [
        {
            "label": f"{row.side}_{row.landmark}" if tables.sides else row.landmark,
            "points": [[row.x + EDGE_PX, row.y + EDGE_PX]],
            **{"group_id": None, "description": "", "shape_type": "point", "flags": {}},
        }
        for row in rows.itertuples()
    ]
    height, width = size or (None, None)
    return {
        **{"version": "5.5.0", "flags": {}, "shapes": shapes},
        **{"imagePath": beside, "imageData": None, "imageHeight": height, "imageWidth": width},
        **{key: v for key, v in about.items() if key in ROW and v not in ("", None) and v == v},
    }
