"""CVAT for images 1.1: an XML file with the points, or skeletons of points, of each image.

The side is an attribute `side` of the points or the skeleton, or the skeleton is called left or
right, or it leads the label (`left_tip`). A point's name that several skeletons have is led by the
skeleton's (`molar_tip`), as these are different landmarks. An image's subset is its split where it
is called train, val or test. CVAT measures from the image's edge, as LabelMe does.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from lmkit.faults import Faults, one_line
from lmkit.fields import InputError
from lmkit.sources import Collector, split_in
from lmkit.tables import LEFT_RIGHT, Tables, name_of, number, shown


def read_cvat(folder: Path, files: list[Path], faults: Faults) -> Tables:
    """The points of CVAT files. Boxes, outlines, masks and tags are left out, and noted."""
    collector, roots = Collector(folder, faults, edge=True), {}
    for path in files:
        with faults.of():
            roots[path] = _root(path)
    leads = _leads(list(roots.values()))
    for path, root in roots.items():
        for element in root.iter("image"):
            name = element.get("name") or ""
            with faults.of(name):
                _take(collector, element, path, leads)
    return collector.tables()


def _leads(roots: list[ElementTree.Element]) -> set[str]:
    """The names of points that are in several skeletons."""
    owners: dict[str, set[str]] = defaultdict(set)
    for child in (child for root in roots for image in root.iter("image") for child in image):
        if child.tag == "skeleton":
            owner = child.get("label") or ""
            for point in child.iter("points"):
                owners[point.get("label") or ""].add("" if _is_side(owner) else owner)
    return {label for label, found in owners.items() if len(found) > 1}


def is_cvat(path: Path) -> bool:
    """Whether an XML file is CVAT's. Raises: InputError for one that cannot be read."""
    return _root(path).tag == "annotations"


def _root(path: Path) -> ElementTree.Element:
    try:
        text = path.read_bytes()
        scan = expat.ParserCreate()
        scan.StartDoctypeDeclHandler = partial(_refuse, path)
        scan.Parse(text, True)
        return ElementTree.fromstring(text)
    except (OSError, expat.ExpatError, ValueError, LookupError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected readable XML, got: {one_line(error)}") from None


def _refuse(path: Path, *_: object) -> None:
    """CVAT writes no DOCTYPE; what it declares can stand for gigabytes. Raises: InputError."""
    raise InputError(f"{path}: expected XML without DOCTYPE and entities, got them")


def _take(collector: Collector, element: ElementTree.Element, path: Path, leads: set[str]) -> None:
    """An image and its points. Raises: InputError."""
    where = f"{path} image {shown(element.get('name'))}"
    width, height = (_whole(element.get(key), key, where) for key in ("width", "height"))
    split = split_in(element.get("subset") or "")
    image = collector.image(
        element.get("name"), where, base=path.parent, size=(width, height), split=split
    )
    for child in element:
        if child.tag == "points":
            _points(collector, child, image, where, "")
        elif child.tag == "skeleton":
            owner = child.get("label") or ""
            side = _side(child) or (owner if _is_side(owner) else "")
            for point in child.iter("points"):
                if point.get("label") in leads and owner and not _is_side(owner):
                    point.set("label", f"{owner}_{point.get('label')}")
                _points(collector, point, image, where, side)
        else:
            collector.lost[f"{child.tag} elements"] += 1


def _points(
    collector: Collector, element: ElementTree.Element, image: str, where: str, side: str
) -> None:
    """The points of one element: its label, or label_1, label_2, ... where it has several."""
    with collector.faults.of(image):
        if element.get("outside") == "1":
            return  # a skeleton's point that is not annotated
        label, side = element.get("label") or "", _side(element) or side
        name_of(label, "landmark", where)
        pairs = [pair.split(",") for pair in (element.get("points") or "").split(";")]
        if any(len(pair) != 2 for pair in pairs):
            got = shown(element.get("points"))
            raise InputError(f"{where}: {label}: expected points x,y;x,y;..., got {got}")
        for i, (x, y) in enumerate(pairs, 1):
            name = label if len(pairs) == 1 else f"{label}_{i}"
            xy = number(x, f"{name}: x", where), number(y, f"{name}: y", where)
            collector.point(image, name, xy, where, side)
        collector.lost["points marked occluded, now as others"] += element.get("occluded") == "1"
        others = [a for a in element.iter("attribute") if not _says_side(a)]
        collector.lost["attributes of points"] += len(others)


def _side(element: ElementTree.Element) -> str:
    """What the element's own attribute `side` says."""
    found = (a for a in element.findall("attribute") if _says_side(a))
    return next(((a.text or "").strip() for a in found), "")


def _says_side(attribute: ElementTree.Element) -> bool:
    return (attribute.get("name") or "").lower() == "side"


def _is_side(label: str) -> bool:
    return label.lower() in LEFT_RIGHT


def _whole(text: str | None, what: str, where: str) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InputError(f"{where}: {what}: expected a number of pixels, got {shown(text)}")
    return int(text)
