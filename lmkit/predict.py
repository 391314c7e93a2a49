"""Landmarks of new images from a finished run: one image, a list, or a folder.

python -m lmkit.predict outputs/phantom/right/quick-ded8621b new_images/ -o landmarks.csv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

import pandas as pd

from lmkit.choices import DEVICES
from lmkit.evaluate import predict
from lmkit.fields import InputError, escaped
from lmkit.files import atomic_path, path_of, writing
from lmkit.images import READ, SUFFIXES
from lmkit.metrics import FAILURE_MM
from lmkit.runs import load_run
from lmkit.trust import TrustRule

LIKELY = 0.5  # p_fail above which a point is rather wrong than right


def image_files(path: str | Path) -> list[Path]:
    """The images of a folder by name, or the one file. Raises: InputError when there are none."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{path}: expected images ({READ}), found none")
    return found


def place_for(output: str) -> Path:
    """Where the table will be written, tried before hours are spent on it. Raises: InputError."""
    path = path_of(output, "output")
    if path.is_dir():
        raise InputError(f"{path}: expected a file to write to, got a folder; name a file in it")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path.parent).close()
    return path


def about_trust(rule: TrustRule, table: pd.DataFrame) -> tuple[str, str]:
    """What the column trust is worth here, and a warning, '' where none is due.

    Args:
        table: of `lmkit.evaluate.predict`, with trust and p_fail.
    """
    said = (
        f"trusted on validation: {rule.said()}; trust sets the riskiest apart, p_fail is the "
        f"probability of an error over {FAILURE_MM:g} mm"
    )
    trusted = table.loc[table["trust"], "p_fail"]
    likely = int((trusted > LIKELY).sum())
    if 2 * likely <= len(trusted):
        return said, ""
    return said, (
        f"{likely} of {len(trusted)} trusted points have p_fail over {LIKELY:g}: the run fails on "
        "most points, and trust only says which are no riskier than usual; go by p_fail, or train "
        "a better run"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lmkit.predict", description=__doc__)
    parser.add_argument("run", help="a run folder")
    parser.add_argument("images", nargs="+", help="image files, or folders of them")
    parser.add_argument("-o", "--output", default="landmarks.csv", help="CSV to write")
    parser.add_argument(
        "--device", choices=DEVICES, help="the run's own when not given, auto where that is missing"
    )
    given = parser.parse_args(arguments)
    try:
        files = [file for path in given.images for file in image_files(path)]
        target = place_for(given.output)
        table = predict(given.run, files, given.device)
        with atomic_path(target) as part:
            table.to_csv(part, index=False, errors="backslashreplace")  # a name may be no text
        rule = load_run(given.run).trust_rule
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(escaped(f"{len(files)} images, {len(table)} landmarks: {given.output}"))
    if rule is not None:
        said, warning = about_trust(rule, table)
        print(said)
        if warning:
            print(f"warning: {warning}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
