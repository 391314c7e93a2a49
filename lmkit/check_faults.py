"""What readers say of a dataset's faults, as rows of the table of problems."""

from __future__ import annotations

import re
from typing import Any

from lmkit.faults import Fault

FEW = 3  # rows of a file with the same fault that are listed each
MESSAGE = re.compile(
    r"(?P<file>.*?)(?: (?:row|line) (?P<row>\d+))?: (?:(?P<what>[^:]{1,60}): )?"
    r"expected (?P<expected>.*?),? (?:got:?|found) (?P<got>.*?)(?:; (?P<to_do>.*))?"
)
ITEM = re.compile(r" [a-z]+ \d+$")  # behind a file's name, such as ` task 12`
KINDS = (  # what a reader's message says, and what to call it
    (r"expected the label at .* as when it was corrected", "correction of a label changed since"),
    (r"expected left and right, got a folder of labels", "folder that is not read"),
    (r"expected a readable image|expected DICOM|expected a DICOM", "unreadable image"),
    (r"expected an image of images.csv|expected an image of that name", "labels without an image"),
    (r"which is missing|expected a file |an image file, found none", "missing image"),
    (r"expected landmarks of|expected its landmarks", "image without labels"),
    (r"\bonce, got", "given twice"),
    (r"one split per patient", "patient in two splits"),
    (r"expected labels for", "labels of an image of another size"),
    (r"expected up to .* px", "point outside the image"),
    (r"spacing", "spacing"),
    (r": (landmark|side): ", "unknown name"),
    (r"a number, got", "not a number"),
)


def fault_rows(faults: list[Fault], stops: bool = True) -> list[dict[str, Any]]:
    """The readers' messages as rows of the table, the same one for many rows of a file once."""
    bad = {fault.image for fault in faults if "images.csv row" in fault.message}
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for fault in dict.fromkeys(faults):
        kind = next((k for text, k in KINDS if re.search(text, fault.message)), "not as expected")
        if kind == "labels without an image" and fault.image in bad:
            continue  # the image's own row is at fault, and listed
        match = MESSAGE.fullmatch(fault.message)
        cells = match.groupdict("") if match else {"expected": fault.message}
        what = cells.pop("what", "")
        if what and what not in ("image", "x", "y"):
            cells["expected"] = f"{what}: {cells['expected']}"
        key = (kind, fault.image, cells.get("file", ""), cells["expected"], cells.get("got", ""))
        if key in rows:
            rows[key]["row"] += f", {cells.get('row', '')}"
        else:
            rows[key] = {"problem": kind, "image": fault.image, **cells, "stops": stops}
    return _joined(list(rows.values()))


def _joined(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, those of more than FEW images with the same fault in a file as one, the first.

    Such as `rechts` in a column of sides: a hundred lines would hide what else is wrong.
    """
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        file = ITEM.sub("", row.get("file", ""))
        key = (row["problem"], file, row["expected"], row.get("got", ""))
        alike.setdefault(key if row.get("got") else (*key, row["image"]), []).append(row)
    joined = []
    for same in alike.values():
        if len({row["image"] for row in same}) <= FEW:
            joined += same
            continue
        first = same[0]
        times = sum(row.get("row", "").count(",") + 1 for row in same)
        where = first.get("row", "").split(",")[0]
        joined.append(first | {"row": where, "got": f"{first['got']}, {times} times, here first"})
    return joined
