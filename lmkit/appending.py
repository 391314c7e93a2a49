"""Adding rows to a CSV file that several people may write to at once."""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from lmkit.files import write_text, writing
from lmkit.tables import rows_of

PLACES = ("x", "y", "x_was", "y_was")  # columns of pixels


def append_rows(path: Path, rows: pd.DataFrame, required: tuple[str, ...]) -> Path:
    """Add rows to a CSV file, made where it is not there; one process at a time, in one step.

    Args:
        rows: a column that the file lacks is added to it; those of `PLACES` are px, NaN = empty.
        required: columns that a file which is there has to have.
    Raises: InputError for a file that cannot be read, or a folder that cannot be written to.
    """
    with _alone(path.parent):
        old = [cells for _, cells in rows_of(path, required)] if path.exists() else []
        places = [column for column in PLACES if column in rows]
        text = rows.assign(**{column: _decimal(rows[column]) for column in places}).astype(str)
        text = text.map(lambda cell: " ".join(cell.split()))
        columns = list(dict.fromkeys([*(old[0] if old else ()), *text.columns]))
        whole = pd.concat([pd.DataFrame(old, columns=columns), text])[columns].fillna("")
        write_text(path, whole.to_csv(index=False))
    return path


def _decimal(values: pd.Series) -> list[str]:
    """Pixels as text, to a ten thousandth; nothing for NaN."""
    return [
        "" if math.isnan(v) else f"{v:.4f}".rstrip("0").rstrip(".") for v in values.astype(float)
    ]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time adds to a file of this folder; the others wait."""
    with writing(folder, "a folder to write to"):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which gives the lock back
