"""Label Studio: a JSON list of tasks, as exported by JSON or JSON-MIN, with keypoint labels.

Points are percent of the image from its edge. The side leads the label (`left_tip`), or is a choice
`left` or `right` made for the same region or for the whole image, or `side` in the task's data. Of
several people's annotations of a task the one marked as ground truth counts, else the first; the
others are left out, and noted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lmkit.faults import Faults
from lmkit.fields import InputError
from lmkit.images import SUFFIXES
from lmkit.jsonfiles import entries, finite, read_json
from lmkit.sources import SIDE, Collector
from lmkit.tables import LEFT_RIGHT, Tables, name_of, shown


def is_labelstudio(value: object) -> bool:
    """Whether what a JSON file holds is a list of Label Studio's tasks."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and bool(_image_of(first)) and "id" in first


def read_labelstudio(folder: Path, files: list[Path], faults: Faults) -> Tables:
    """The keypoints of exported tasks. Other regions and predictions are left out, and noted."""
    collector = Collector(folder, faults, edge=True)
    for path in files:
        with faults.of():
            value = read_json(path)
            if not is_labelstudio(value):
                raise InputError(f"{path}: expected a list of tasks, got {shown(value)}")
            for i, task in enumerate(value, 1):
                where = f"{path} task {i}"
                with faults.of():
                    if not isinstance(task, dict):
                        raise InputError(f"{where}: expected an object, got {shown(task)}")
                    _take(collector, task, where, path.parent)
    return collector.tables()


def _image_of(task: dict[str, Any]) -> str:
    """The address of a task's image: the first value that ends like one."""
    data = task.get("data")
    for value in (data if isinstance(data, dict) else task).values():
        if isinstance(value, str) and _file_name(value).lower().endswith(SUFFIXES):
            return value
    return ""


def _file_name(address: str) -> str:
    """The path in an address such as /data/local-files/?d=images/a%20b.png or s3://bucket/a.png."""
    try:
        parts = urlsplit(address)
    except ValueError:  # brackets that are no IPv6 address
        return address
    local = parse_qs(parts.query).get("d", [""])[0]
    return local or unquote(parts.path)


def _take(collector: Collector, task: dict[str, Any], where: str, base: Path) -> None:
    """A task's image and points. Raises: InputError."""
    regions = _regions(collector, task, where)
    points = [r for r in regions if isinstance(r.get("value"), dict) and _labels(r["value"])]
    turned = [r for r in points if r.get("image_rotation") not in (None, 0)]
    if turned:
        got = shown(turned[0]["image_rotation"])
        raise InputError(f"{where}: image_rotation: expected 0, got {got}; turn the image back")
    sizes = [(r.get("original_width"), r.get("original_height")) for r in points] or [(None, None)]
    name = _file_name(_image_of(task))
    image = collector.image(name, where, base=base, size=sizes[0])
    side, whole = _sides(task, regions, where)
    for region, size in zip(points, sizes, strict=False):
        with collector.faults.of(image):
            value, label = region["value"], _labels(region["value"])[0]
            said = name_of(label, "landmark", where) if isinstance(label, str) else shown(label)
            full = [finite(s, "original_width, original_height", where) for s in size]
            x, y = (
                finite(value.get(axis), f"{said}: {axis}", where) / 100 * px
                for axis, px in zip("xy", full, strict=True)
            )
            known = "" if SIDE.fullmatch(said) else whole
            known = side.get(str(region.get("id")), known)
            collector.point(image, label, (x, y), where, known)
    choices = sum(bool(_choice(region)) for region in regions)
    collector.lost["regions that are no keypoints"] += len(regions) - len(points) - choices


def _regions(collector: Collector, task: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The regions of the annotation that counts."""
    if not isinstance(task.get("data"), dict):  # JSON-MIN: lists of regions under their tag's name
        return [
            region | {"value": region}
            for regions in task.values()
            if isinstance(regions, list)
            for region in regions
            if isinstance(region, dict)
        ]
    made = [a for a in entries(task, "annotations", where) if not a.get("was_cancelled")]
    made.sort(key=lambda annotation: not annotation.get("ground_truth"))
    collector.lost["further annotations of a task"] += max(len(made) - 1, 0)
    collector.lost["tasks' predictions"] += len(entries(task, "predictions", where))
    return entries(made[0], "result", where) if made else []


def _sides(
    task: dict[str, Any], regions: list[dict[str, Any]], where: str
) -> tuple[dict[str, str], str]:
    """The side chosen for each region by its id, and that of the whole image or ''.

    Raises: InputError where the image has two.
    """
    others = {str(r["id"]) for r in regions if "id" in r and not _choice(r)}
    chosen = [(str(r.get("id")), _choice(r)) for r in regions if _choice(r)]
    data = task.get("data")
    if isinstance(data, dict):
        stated = [value for key, value in data.items() if str(key).lower() == "side"]
    else:  # JSON-MIN: the choice under its tag's name
        stated = [_one(value) for key, value in task.items() if key != "id"]
    found = [str(value).strip().lower() for value in stated]
    whole = {side for i, side in chosen if i not in others} | ({*found} & {*LEFT_RIGHT})
    if len(whole) > 1:
        raise InputError(f"{where}: side: expected left | right for the image, got both")
    return {i: side for i, side in chosen if i in others}, "".join(whole)


def _one(value: Any) -> object:
    """The choice in JSON-MIN's text or {"choices": [text]}; else what is there."""
    chosen = value.get("choices") if isinstance(value, dict) else None
    return chosen[0] if isinstance(chosen, list) and len(chosen) == 1 else value


def _labels(value: dict[str, Any]) -> list[str]:
    """The labels of a keypoint; [] for another region."""
    labels = value.get("keypointlabels")
    return labels if isinstance(labels, list) and labels else []


def _choice(region: dict[str, Any]) -> str:
    """The side that a region's choice says, or ''."""
    value = region.get("value")
    chosen = value.get("choices") if isinstance(value, dict) else None
    side = str(chosen[0]).lower() if isinstance(chosen, list) and len(chosen) == 1 else ""
    return side if side in LEFT_RIGHT else ""
