"""COCO keypoints: one JSON file of images, categories and annotations.

Visibility 0 is not annotated; 1 (hidden) and 2 are, and count alike. A category called left or
right, or an annotation's side or attributes.side, is the side. Points are at pixel centres.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.faults import Faults
from lmkit.fields import InputError
from lmkit.jsonfiles import entries, finite, read_json
from lmkit.sources import Collector, split_in
from lmkit.tables import LEFT_RIGHT, NO_SIDE, Tables, name_of, shown

ROW = ("patient", "split", "spacing_x_mm", "spacing_y_mm", "spacing_source")  # beyond COCO
ABOUT = ("sides", "landmarks", "mirror_pairs")  # of `info`, beyond COCO


def is_coco(value: object) -> bool:
    """Whether what a JSON file holds is COCO."""
    return isinstance(value, dict) and {"images", "annotations", "categories"} <= set(value)


def read_coco(folder: Path, files: list[Path], faults: Faults) -> Tables:
    """The keypoints of COCO files; a file's name may say its split, as instances_train.json does.

    Boxes, masks and the difference between hidden and visible points are left out, and noted.
    """
    collector = Collector(folder, faults)
    more: dict[str, Any] = {}
    for path in files:
        with faults.of():
            value = read_json(path)
            images = _images(collector, value, path)
            names = _categories(collector, value, path)
            for annotation in entries(value, "annotations", str(path)):
                where = f"{path} annotation {shown(annotation.get('id'))}"
                known = images.get(_id(annotation.get("image_id")), "")
                with faults.of(known or ""):
                    _take(collector, annotation, known, names, where)
            more |= _about(value)
    return collector.tables(**more)


def _images(collector: Collector, value: Any, path: Path) -> dict[str, str | None]:
    """The dataset's name of each image by its id; None = at fault, and named already."""
    found: dict[str, str | None] = {}
    for entry in entries(value, "images", str(path)):
        number = _id(entry.get("id"))
        where = f"{path} image {shown(entry.get('id'))}"
        found.setdefault(number, None)
        with collector.faults.of(str(entry.get("file_name", ""))):
            if found[number]:
                raise InputError(f"{where}: expected each id once, got it again")
            row = {key: entry.get(key) for key in ROW}
            row["split"] = row["split"] or split_in(path.stem)
            size = entry.get("width"), entry.get("height")
            name = entry.get("file_name")
            found[number] = collector.image(name, where, base=path.parent, size=size, **row)
    return found


def _categories(collector: Collector, value: Any, path: Path) -> dict[str, tuple[str, list[str]]]:
    """Side and landmark names of each category by its id; names that differ are led by its own."""
    table = entries(value, "categories", str(path))
    points = [entry for entry in table if entry.get("keypoints")]
    found = {}
    for entry in points:
        where, names = f"{path} category {shown(entry.get('id'))}", entry["keypoints"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{where}: keypoints: expected a list of names, got {shown(names)}")
        names = [name_of(name, "keypoints", where) for name in names]
        side = str(entry.get("name", "")).lower()
        side = side if side in LEFT_RIGHT else ""
        if len(points) > 1 and not side:
            lead = name_of(entry.get("name"), "name", where)
            names = [f"{lead}_{name}" for name in names]
        found[_id(entry.get("id"))] = side, names
        for name in names:
            collector.order.setdefault(name)
    if not found:
        raise InputError(f"{path}: categories: expected one with keypoints, got {shown(table)}")
    return found


def _take(
    collector: Collector,
    annotation: dict[str, Any],
    image: str | None,
    names: dict[str, tuple[str, list[str]]],
    where: str,
) -> None:
    """The points of one annotation. Raises: InputError."""
    flat = annotation.get("keypoints")
    if not flat:
        collector.lost["annotations without keypoints"] += 1
        return
    if image == "":
        got = shown(annotation.get("image_id"))
        raise InputError(f"{where}: image_id: expected the id of an image, got {got}")
    if image is None:
        return  # its image is at fault, and named already
    known = names.get(_id(annotation.get("category_id")))
    if known is None:
        got = shown(annotation.get("category_id"))
        raise InputError(f"{where}: category_id: expected one with keypoints, got {got}")
    more = annotation.get("attributes")
    stated = _side(annotation) or (isinstance(more, dict) and _side(more)) or known[0]
    if not isinstance(flat, list) or len(flat) != 3 * len(known[1]):
        got = f"{len(flat)} numbers" if isinstance(flat, list) else shown(flat)
        wanted = f"x, y, visibility of {len(known[1])} landmarks"
        raise InputError(f"{where}: keypoints: expected {wanted}, got {got}")
    points = []
    for i, landmark in enumerate(known[1]):
        with collector.faults.of(image):
            x, y, visible = flat[3 * i : 3 * i + 3]
            if visible not in (0, 1, 2):
                got = f"{landmark}: visibility: expected 0 | 1 | 2, got {shown(visible)}"
                raise InputError(f"{where}: {got}")
            if visible:
                xy = finite(x, f"{landmark}: x", where), finite(y, f"{landmark}: y", where)
                collector.point(image, landmark, xy, where, str(stated))
                points.append(xy)
                collector.lost["points marked hidden (visibility 1), now as others"] += visible == 1
    box = annotation.get("bbox")
    collector.lost["annotations' boxes"] += bool(box and points and box != _box(points))
    collector.lost["annotations' outlines"] += bool(annotation.get("segmentation"))


def _side(keys: dict[str, Any]) -> object:
    """What stands under `side`, whatever the case."""
    return next((v for key, v in keys.items() if key.lower() == "side" and v), None)


def _about(value: dict[str, Any]) -> dict[str, Any]:
    """Name, citation, licence and what lmkit itself wrote beyond COCO."""
    stated = value.get("info")
    info = stated if isinstance(stated, dict) else {}
    licences = value.get("licenses")
    first = licences[0] if isinstance(licences, list) and licences else {}
    found = {
        "name": info.get("description"),
        "citation": info.get("contributor"),
        "licence": first.get("name") if isinstance(first, dict) else None,
    } | {key: info[key] for key in ABOUT if key in info}
    return {key: text for key, text in found.items() if text not in (None, "")}


def _id(value: object) -> str:
    """An id as text: some tools write 7, some '7'."""
    return str(value) if isinstance(value, int | str) else ""


def coco_of(tables: Tables, sizes: Mapping[str, tuple[int, int] | None]) -> dict[str, Any]:
    """Tables as COCO keypoints: a category per side, an annotation per image and side.

    Args:
        sizes: (H, W) of each image, pixels; None = unknown, and left out.
    Returns: what the JSON file is to hold; patient, split and spacing are kept beside COCO's keys.
    """
    number = {image: i for i, image in enumerate(tables.images["image"], 1)}
    sides = tables.sides or (NO_SIDE,)
    images = []
    for row in tables.images.to_dict("records"):
        size, image = sizes.get(row["image"]), row["image"]
        known = {"height": size[0], "width": size[1]} if size else {}
        row = {k: v for k, v in row.items() if k in ROW and v not in ("", None) and v == v}
        images.append({"id": number[image], "file_name": f"images/{image}"} | known | row)
    annotations: list[dict[str, Any]] = []
    for (image, side), rows in tables.landmarks.groupby(["image", "side"], sort=False):
        points = {row.landmark: (row.x, row.y) for row in rows.itertuples()}
        flat = [v for n in tables.names for v in ((*points[n], 2) if n in points else (0, 0, 0))]
        box = _box(list(points.values()))
        annotations.append(
            {"id": len(annotations) + 1, "image_id": number[image]}
            | {"category_id": sides.index(side) + 1, "iscrowd": 0}
            | {"keypoints": flat, "num_keypoints": len(points)}
            | {"bbox": box, "area": box[2] * box[3]}
        )
    categories = [
        {"id": i, "name": side if tables.sides else tables.name, "keypoints": list(tables.names)}
        | {"skeleton": [], "supercategory": tables.name}
        for i, side in enumerate(sides, 1)
    ]
    info: dict[str, Any] = {"description": tables.name, "contributor": tables.citation}
    info |= {"sides": list(tables.sides), "landmarks": list(tables.names)}
    info |= {"mirror_pairs": [list(pair) for pair in tables.mirror_pairs]}
    whole = {"info": info, "licenses": [{"id": 1, "name": tables.licence, "url": ""}]}
    return whole | {"images": images, "categories": categories, "annotations": annotations}


def _box(points: list[tuple[float, float]]) -> list[float]:
    """x, y, width and height of the points' box, pixels."""
    x, y = zip(*points, strict=True)
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]
