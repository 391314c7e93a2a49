"""The command line of `python -m lmkit.data`.

python -m lmkit.data check FOLDER
python -m lmkit.data convert SRC DST [--to native | coco | labelme | text]
python -m lmkit.data predictions CSV DST [--to native | coco | labelme | pg]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lmkit.check import check_dataset
from lmkit.convert import OUT, convert, write_predictions
from lmkit.dicom import is_dicom
from lmkit.fields import InputError, escaped, nearest
from lmkit.formats import read_dataset
from lmkit.writers import WRITERS

NO_NUMBER = ["", "nan", "NaN", "NA", "N/A", "None", "null", "NULL"]  # which may be names elsewhere


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, 1 where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m lmkit.data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    look = _command(commands, "check", "what is wrong or odd with a dataset")
    look.add_argument("source", metavar="FOLDER", help="of a dataset, or a label file in it")
    one = _command(commands, "convert", "a dataset from one format to another, images included")
    one.add_argument("source", metavar="SRC", help="folder of a dataset, or a label file in it")
    one.add_argument("target", metavar="DST", help="a new folder, outside SRC")
    one.add_argument("--to", choices=WRITERS, default="native", help="format; native unless given")
    two = _command(commands, "predictions", "predictions to a format of other programs")
    two.add_argument("source", metavar="CSV", help="predictions.csv, or a table of lmkit.predict")
    two.add_argument("target", metavar="DST", help="a new folder")
    two.add_argument("--to", choices=OUT, default="native", help="format; native unless given")
    two.add_argument("--images", metavar="FOLDER", help="the images' folder, for their sizes")
    two.add_argument("--split", help="of predictions.csv: this one only")
    given = parser.parse_args(arguments)
    try:
        lines = COMMANDS[given.command](given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(map(printable, lines)))
    return 0


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, does: str
) -> argparse.ArgumentParser:
    """A command of its own, which says what it does in its own help too."""
    return commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")


def printable(line: str) -> str:
    """A line that this terminal can show, whatever the names in it."""
    encoding = sys.stdout.encoding or "utf-8"
    return escaped(line).encode(encoding, "backslashreplace").decode(encoding)


def _convert(given: argparse.Namespace) -> list[str]:
    lost = convert(given.source, given.target, given.to)
    tables = read_dataset(Path(given.target).expanduser())
    counts = f"{len(tables.images)} images, {len(tables.landmarks)} points, "
    counts += f"{len(tables.names)} landmarks, sides: {', '.join(tables.sides) or 'none'}"
    lines = [f"{given.target}: {counts}", *(f"not carried over: {line}" for line in lost)]
    if any(is_dicom(path) for path in tables.paths.values()):
        lines.append("the DICOM files are copied whole, with what their headers say of the patient")
    return lines


def _predictions(given: argparse.Namespace) -> list[str]:
    none = dict.fromkeys(("x", "y", "peak"), NO_NUMBER)
    texts = dict.fromkeys(("image", "side", "landmark", "split"), str)
    try:
        table = pd.read_csv(given.source, keep_default_na=False, na_values=none, dtype=texts)
    except (OSError, ValueError) as error:
        raise InputError(f"{given.source}: expected a CSV table, got: {error}") from None
    if given.split:
        table = _of_split(table, given.split, given.source)
    return [str(path) for path in write_predictions(table, given.target, given.to, given.images)]


def _of_split(table: pd.DataFrame, split: str, source: str) -> pd.DataFrame:
    """The rows of one split. Raises: InputError for a split, or a column of them, that is none."""
    if "split" not in table:
        got = ", ".join(map(str, table.columns))
        raise InputError(f"{source}: expected a column split for --split {split}, got {got}")
    there = [name for name in dict.fromkeys(table["split"]) if name]
    if split not in there:
        names = " | ".join(there) or "a split in some row"
        raise InputError(f"{source}: --split: expected {names}, got {split}{nearest(split, there)}")
    return table[table["split"] == split]


def _check(given: argparse.Namespace) -> list[str]:
    check = check_dataset(given.source)
    lines = [f"{row.what}: {row.value}" for row in check.counts.itertuples()]
    for row in check.problems.itertuples():
        place = f"{row.file} row {row.row}" if row.row else row.file
        where = ", ".join(text for text in (row.image, place) if text)
        does = f"; {row.to_do}" if row.to_do else ""
        got = f", got {row.got}" if row.got else ""
        said = f"expected {row.expected}{got}{does}"
        lines.append(": ".join(part for part in (row.problem, where, said) if part))
    n, n_stops = len(check.problems), int(check.problems["stops"].astype(bool).sum())
    return [*lines, f"{n} problem{'s' * (n != 1)}, {n_stops} of them to be mended before training"]


COMMANDS = {"check": _check, "convert": _convert, "predictions": _predictions}
