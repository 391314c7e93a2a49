"""Landmarks of new images from a finished run: one image, a list, or a folder.

python -m lmkit.predict outputs/phantom/right/quick-ded8621b new_images/ -o landmarks.csv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from lmkit.batches import Feed, canvas_frame
from lmkit.config import InputError
from lmkit.evaluate import infer, pick_device
from lmkit.files import atomic_path
from lmkit.geometry import fit_matrix
from lmkit.images import SUFFIXES, Canvas, fit_image, read_image, to_uint8
from lmkit.runs import Run, load_run
from lmkit.samples import Samples

CHUNK = 32  # images in memory at a time


def predict_files(run: Run, files: Sequence[str | Path]) -> pd.DataFrame:
    """Where a run's model sees its landmarks in image files.

    Args:
        run: finished.
        files: readable images, of any size; memory does not grow with their number.
    Returns: image (the path as given), side, landmark, x, y (pixels of the stored image), peak
        (confidence in [0, 1]); a row per landmark, for `both` and `joint` of both sides.
    Raises: InputError for an unfinished run, no files, or a file that is no image.
    """
    if not run.finished:
        raise InputError(f"{run.folder}: expected a finished run, got one without metrics.json")
    if not files:
        raise InputError("images: expected at least one image file, got none")
    model, landmarks = run.model(), _landmarks(run)
    tables = [
        _predict_chunk(model, run, landmarks, [str(f) for f in files[i : i + CHUNK]])
        for i in range(0, len(files), CHUNK)
    ]
    return pd.concat(tables, ignore_index=True)


def image_files(path: str | Path) -> list[Path]:
    """The images of a folder by name, or the one file. Raises: InputError when there are none."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not found:
        known = " ".join(suffix[1:] for suffix in SUFFIXES)
        raise InputError(f"{path}: expected images ({known}), found none")
    return found


def _landmarks(run: Run) -> list[tuple[str, str]]:
    """(side, landmark) of each map of the run, from its predictions."""
    rows = run.predictions
    rows = rows[rows["image"] == rows["image"].iloc[0]]
    if run.config.side == "both" and set(rows["side"]) <= {"left", "right"}:
        rows = rows[rows["side"] == rows["side"].iloc[0]].assign(side="right")
    return list(zip(rows["side"], rows["landmark"], strict=True))


def _predict_chunk(
    model: nn.Module, run: Run, landmarks: list[tuple[str, str]], files: list[str]
) -> pd.DataFrame:
    config, partner = run.config, run.about.get("partner")
    pixels = [to_uint8(read_image(Path(file))) for file in files]
    frame = canvas_frame({image.shape for image in pixels}, config)
    canvas = Canvas(
        np.stack([fit_image(image, frame, config.keep_aspect) for image in pixels]),
        torch.stack([fit_matrix(image.shape, frame, config.keep_aspect) for image in pixels]),
        np.array([image.shape for image in pixels]),
    )
    mirrored = [False, True] if config.side == "both" else [False]
    index = np.repeat(np.arange(len(files)), len(mirrored))
    flip = np.tile(mirrored, len(files))
    n, n_maps = len(index), len(landmarks)
    side = np.array([[name for name, _ in landmarks]] * n, dtype=object)
    side[flip] = "left"
    samples = Samples(
        index=index,
        mirrored=flip,
        points=np.full((n, n_maps, 2), np.nan),
        sides=side,
        landmarks=tuple(name for _, name in landmarks),
        splits=np.full(n, ""),
        patients=np.full(n, ""),
        images=np.array(files, dtype=object)[index],
        spacing_mm=np.ones((n, 2)),
        partner=None if partner is None else np.array(partner),
    )
    points, peaks, _ = infer(model, Feed(samples, canvas, config, pick_device(config)))
    return pd.DataFrame(
        {
            "image": np.repeat(samples.images, n_maps),
            "side": side.ravel(),
            "landmark": np.tile(samples.landmarks, n),
            "x": points[..., 0].ravel(),
            "y": points[..., 1].ravel(),
            "peak": peaks.ravel().astype(float),
        }
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lmkit.predict", description=__doc__)
    parser.add_argument("run", help="a run folder")
    parser.add_argument("images", nargs="+", help="image files, or folders of them")
    parser.add_argument("-o", "--output", default="landmarks.csv", help="CSV to write")
    given = parser.parse_args(arguments)
    try:
        files = [file for path in given.images for file in image_files(path)]
        table = predict_files(load_run(given.run), files)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with atomic_path(Path(given.output)) as part:
        table.to_csv(part, index=False)
    print(f"{len(files)} images, {len(table)} landmarks: {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
