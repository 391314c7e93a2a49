"""All images of a dataset at one size, in one file of the cache folder, mapped into memory."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lmkit.fields import InputError
from lmkit.files import atomic_path, cache_dir, remove_stale_parts, writing
from lmkit.geometry import Size, fit_matrix, fitted_offset, fitted_size
from lmkit.images import to_uint8

CHUNK = 64  # images read between two looks at whether one failed
ELSEWHERE = "; make room, or name another cache folder in LMKIT_CACHE"
LAZY_FROM = 2000  # images; more are not all decoded before the first step, but each when needed


def fit_image(image: np.ndarray, frame: Size, keep_aspect: bool) -> np.ndarray:
    """Draw an image into a frame where `geometry.fit_matrix` says, averaging when it shrinks.

    Args:
        image: (H, W) uint8.
        frame: (H, W), pixels.
    Returns: (*frame) uint8, black around the image.
    """
    fitted = fitted_size(image.shape, frame, keep_aspect)
    top, left = fitted_offset(fitted, frame)
    out = np.zeros(frame, np.uint8)
    small = Image.fromarray(image).resize((fitted[1], fitted[0]), Image.Resampling.HAMMING)
    out[top : top + fitted[0], left : left + fitted[1]] = np.asarray(small)
    return out


@dataclass(frozen=True)
class Canvas:
    """All images of a dataset at one size, on disk, mapped into memory.

    Attributes:
        pixels: (N, H, W) uint8, one per image, in the dataset's order.
        matrix: (N, 3, 3) float64, from source pixels to canvas pixels.
        source_hw: (N, 2), H and W of the source images.
        mapped: the file behind `pixels`, where there is one.
        fetch: puts images that are not in the file yet there, given their numbers.
    """

    pixels: np.ndarray
    matrix: Tensor
    source_hw: np.ndarray
    mapped: mmap.mmap | None = None
    fetch: Callable[[np.ndarray], None] | None = None

    def batch(self, index: np.ndarray) -> Tensor:
        """(B, 1, H, W) uint8, a copy, for B image numbers.

        Raises: InputError for an image that is decoded only now and cannot be read.
        """
        if self.fetch is not None:
            self.fetch(index)
        pixels = torch.from_numpy(self.pixels[index]).unsqueeze(1)
        if self.mapped is not None:  # the system's cache keeps the file, this process need not
            self.mapped.madvise(mmap.MADV_DONTNEED)
        return pixels


def open_canvas(
    names: Sequence[str],
    read: Callable[[str], np.ndarray],
    size: Callable[[str], Size],
    fingerprint: str,
    frame: Size,
    keep_aspect: bool,
    progress: Callable[[str], None] = print,
) -> Canvas:
    """The images of a dataset at canvas size; decoded once, then mapped from the cache folder.

    Up to LAZY_FROM images are all decoded here; of more, each when a batch first needs it.

    Args:
        names: image names.
        read: name -> (H, W) array.
        size: name -> (H, W), pixels, without decoding.
        fingerprint: changes when any image does.
        frame: (H, W) of the canvas, pixels.
    Raises: InputError from `read` for an image that cannot be read; nothing is left behind then.
    """
    what = repr((1, fingerprint, tuple(frame), bool(keep_aspect), list(names))).encode()
    key = hashlib.blake2b(what, digest_size=12).hexdigest()
    pixels, sizes = cache_dir() / f"{key}.npy", cache_dir() / f"{key}.sizes.npy"
    remove_stale_parts(cache_dir(), older_than_s=24 * 3600)
    if not _is_whole(pixels, sizes, (len(names), *frame)):
        if len(names) > LAZY_FROM:
            return _open_lazily(cache_dir() / f"{key}.lazy", names, read, size, frame, keep_aspect)
        progress(f"preparing {len(names)} images, once")
        with (
            atomic_path(sizes, ELSEWHERE) as sizes_part,
            atomic_path(pixels, ELSEWHERE) as pixels_part,
        ):
            source_hw = _fill(pixels_part, names, read, frame, keep_aspect)
            with sizes_part.open("wb") as file:
                np.save(file, source_hw)
    source_hw = np.load(sizes)
    return map_canvas(pixels, _matrices(source_hw, frame, keep_aspect), source_hw)


def _matrices(source_hw: np.ndarray, frame: Size, keep_aspect: bool) -> Tensor:
    """(N, 3, 3) float64, from source to canvas pixels, of (N, 2) H and W."""
    known = {tuple(hw): fit_matrix(tuple(hw), frame, keep_aspect) for hw in source_hw.tolist()}
    return torch.stack([known[tuple(hw)] for hw in source_hw.tolist()])


def _open_lazily(
    folder: Path,
    names: Sequence[str],
    read: Callable[[str], np.ndarray],
    size: Callable[[str], Size],
    frame: Size,
    keep_aspect: bool,
) -> Canvas:
    """A canvas whose images are decoded when a batch first asks for them.

    A byte of `have` per image is set after its pixels are written, so a process that is killed, or
    another one that fills the same files, loses nothing and reads nothing unwritten.
    """
    pixels, have = folder / "pixels.npy", folder / "have"
    shape = (len(names), *frame)
    if not pixels.exists() or not have.exists():
        with writing(folder, advice=ELSEWHERE):
            folder.mkdir(exist_ok=True)
            have.write_bytes(bytes(len(names)))
        with atomic_path(pixels, ELSEWHERE) as part:
            np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    source_hw = np.array([size(name) for name in names])
    canvas = map_canvas(pixels, _matrices(source_hw, frame, keep_aspect), source_hw)
    start = pixels.stat().st_size - int(np.prod(shape))
    there = np.memmap(have, np.uint8, mode="r+", shape=(len(names),))
    file = os.open(pixels, os.O_WRONLY)

    def write(i: int) -> None:
        image = to_uint8(read(names[i]))
        stated = tuple(source_hw[i].tolist())
        if image.shape != stated:
            raise InputError(
                f"{names[i]}: expected (H, W) {stated} as its header says, got {image.shape}"
            )
        drawn = fit_image(image, frame, keep_aspect)
        with writing(pixels, advice=ELSEWHERE):
            os.pwrite(file, drawn.tobytes(), start + i * drawn.nbytes)
        there[i] = 1

    def fetch(index: np.ndarray) -> None:
        missing = np.unique(index[there[index] == 0])
        if len(missing):
            with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as threads:
                list(threads.map(write, missing.tolist()))

    return replace(canvas, fetch=fetch)


def map_canvas(path: Path, matrix: Tensor, source_hw: np.ndarray) -> Canvas:
    """A canvas whose pixels, (N, H, W) uint8, are an .npy file."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start, mapped = file.tell(), mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    pixels = np.frombuffer(mapped, dtype, offset=start).reshape(shape)
    return Canvas(pixels, matrix, source_hw, mapped)


def _take_room(path: Path) -> None:
    """Have the disk's blocks of a mapped file at once: writing to a page that then finds the disk
    full kills a process without a word. Raises: OSError."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _is_whole(pixels: Path, sizes: Path, shape: tuple[int, int, int]) -> bool:
    """Whether both cache files are there and hold what they should."""
    try:
        stored, table = np.load(pixels, mmap_mode="r"), np.load(sizes)
    except (OSError, ValueError, EOFError):
        return False
    return stored.shape == shape and table.shape == (shape[0], 2)


def _fill(
    path: Path,
    names: Sequence[str],
    read: Callable[[str], np.ndarray],
    frame: Size,
    keep_aspect: bool,
) -> np.ndarray:
    """Write the canvas file; returns (N, 2) source sizes."""
    shape = (len(names), *frame)
    canvas = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    _take_room(path)
    source_hw = np.zeros((len(names), 2), np.int64)

    def fill(i: int) -> None:
        image = to_uint8(read(names[i]))
        source_hw[i] = image.shape
        canvas[i] = fit_image(image, frame, keep_aspect)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as threads:  # decoders release the lock
        for start in range(0, len(names), CHUNK):  # so that a broken image stops it soon
            list(threads.map(fill, range(start, min(start + CHUNK, len(names)))))
    canvas.flush()
    return source_hw
