"""Image files without labels as what a network is shown: canvases, and samples without points."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lmkit.batches import canvas_frame
from lmkit.canvas import Canvas, fit_image
from lmkit.config import RunConfig
from lmkit.geometry import Size, fit_matrix
from lmkit.images import read_image, to_uint8
from lmkit.samples import Samples


def canvases(files: Sequence[str], config: RunConfig) -> list[tuple[np.ndarray, Canvas]]:
    """The images of some files, those together whose canvases are of one size.

    A canvas is as large as the image alone would have it, not as the largest of its neighbours
    would, so that a prediction does not depend on what else is predicted.

    Args:
        files: readable images, of any size, in memory at once.
        config: input size and aspect.
    Returns: (n,) which of the files, in order, and their canvas; a pair per size.
    Raises: InputError naming the first file that is no image.
    """

    def read(file: str) -> tuple[np.ndarray, Tensor, Size]:
        image = to_uint8(read_image(Path(file)))
        size: Size = image.shape
        frame = canvas_frame({size}, config)
        matrix = fit_matrix(size, frame, config.keep_aspect)
        return fit_image(image, frame, config.keep_aspect), matrix, size

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as threads:  # decoders release the lock
        fitted = list(threads.map(read, files))
    groups: dict[Size, list[int]] = {}
    for i, (pixels, _, _) in enumerate(fitted):
        groups.setdefault(pixels.shape, []).append(i)
    found = []
    for numbers in groups.values():
        pixels, matrices, sizes = zip(*(fitted[i] for i in numbers), strict=True)
        canvas = Canvas(np.stack(pixels), torch.stack(matrices), np.array(sizes))
        found.append((np.array(numbers), canvas))
    return found


def unlabelled(
    files: Sequence[str],
    landmarks: Sequence[tuple[str, str]],
    both: bool,
    partner: Sequence[int] | None,
) -> Samples:
    """Samples that show these files, the points of which nobody knows.

    Args:
        files: of a canvas, in its order.
        landmarks: (side, landmark) of each map, L.
        both: show every image a second time, mirrored, for the left landmarks.
        partner: (L,) see `Samples`.
    """
    mirrored = [False, True] if both else [False]
    index = np.repeat(np.arange(len(files)), len(mirrored))
    flip = np.tile(mirrored, len(files))
    n, n_maps = len(index), len(landmarks)
    side = np.array([[name for name, _ in landmarks]] * n, dtype=object)
    side[flip] = "left"
    return Samples(
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
