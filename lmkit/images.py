"""Image files to grey arrays, and a memory-mapped cache of all images of a dataset at one size."""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lmkit.config import InputError
from lmkit.dicom import DICOM_SUFFIXES, dicom_size, is_dicom, read_dicom
from lmkit.faults import one_line
from lmkit.files import atomic_path, cache_dir, remove_stale_parts
from lmkit.geometry import Size, fit_matrix, fitted_offset, fitted_size

UNREADABLE = (  # Pillow raises any of them for a broken file
    *(OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, MemoryError),
    *(EOFError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
    Warning,  # where the caller has made warnings errors
)
CHUNK = 64  # images read between two looks at whether one failed
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", *DICOM_SUFFIXES)
ORIENTATION = 0x0112  # the EXIF tag
UPRIGHT = {  # what shows an image the right way up, by its orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path) -> np.ndarray:
    """One image as grey values, the way up that viewers and labelling tools show it.

    Those turn an image as its EXIF orientation says, so that is the frame of points, sizes and
    spacings; `image_size` agrees. Of several pages the first is read.

    Returns: (H, W) uint8, or uint16 where the file has more than 8 bits.
    Raises: InputError naming the file when it is missing, unreadable, or not an image.
    """
    if is_dicom(path):
        return read_dicom(path)
    try:
        # A stream and not a path: Pillow 13 maps an uncompressed, turned TIFF at the wrong width.
        with path.open("rb") as stream, Image.open(stream) as file:
            turn = UPRIGHT.get(orientation(file))
            image = file if turn is None else file.transpose(turn)
            image.load()
            if not image.mode.startswith(("I", "F")):
                return np.asarray(image.convert("L"))
            values = np.asarray(image)
            if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
                low, high = np.nanmin(values), np.nanmax(values)  # no fixed range: the file's own
                values = np.interp(np.nan_to_num(values, nan=low), (low, high), (0, 65535))
            return values.astype(np.uint16)
    except FileNotFoundError:
        raise InputError(f"{path}: expected an image file, found none") from None
    except UNREADABLE as error:
        known = " ".join(suffix[1:] for suffix in SUFFIXES)
        got = one_line(error)
        raise InputError(f"{path}: expected a readable image ({known}), got: {got}") from None


def image_size(path: Path) -> Size:
    """(H, W) of an image file from its header, pixels, the way up that `read_image` returns it.

    Raises: InputError naming the file.
    """
    if is_dicom(path):
        return dicom_size(path)
    try:
        with Image.open(path) as image:
            turned = orientation(image) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except FileNotFoundError:
        raise InputError(f"{path}: expected an image file, found none") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: expected a readable image, got: {one_line(error)}") from None


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an open image that is still to be undone, 1 to 8; 1 = upright."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1  # Pillow turns a TIFF itself; in a PNG only what precedes the pixels is looked at
    return int(image.getexif().get(ORIENTATION) or 1)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8; deeper images are stretched from their 0.5 to their 99.5 percentile."""
    if image.dtype == np.uint8:
        return image
    low, high = np.percentile(image, [0.5, 99.5])
    scaled = (image.astype(np.float32) - low) * (255 / max(high - low, 1))
    return scaled.clip(0, 255).round().astype(np.uint8)


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
    """

    pixels: np.ndarray
    matrix: Tensor
    source_hw: np.ndarray
    mapped: mmap.mmap | None = None

    def batch(self, index: np.ndarray) -> Tensor:
        """(B, 1, H, W) uint8, a copy, for B image numbers."""
        pixels = torch.from_numpy(self.pixels[index]).unsqueeze(1)
        if self.mapped is not None:  # the system's cache keeps the file, this process need not
            self.mapped.madvise(mmap.MADV_DONTNEED)
        return pixels


def open_canvas(
    names: Sequence[str],
    read: Callable[[str], np.ndarray],
    fingerprint: str,
    frame: Size,
    keep_aspect: bool,
    progress: Callable[[str], None] = print,
) -> Canvas:
    """The images of a dataset at canvas size; decoded once, then mapped from the cache folder.

    Args:
        names: image names.
        read: name -> (H, W) array.
        fingerprint: changes when any image does.
        frame: (H, W) of the canvas, pixels.
    Raises: InputError from `read` for an image that cannot be read; nothing is left behind then.
    """
    what = repr((1, fingerprint, tuple(frame), bool(keep_aspect), list(names))).encode()
    key = hashlib.blake2b(what, digest_size=12).hexdigest()
    pixels, sizes = cache_dir() / f"{key}.npy", cache_dir() / f"{key}.sizes.npy"
    remove_stale_parts(cache_dir(), older_than_s=24 * 3600)
    if not _is_whole(pixels, sizes, (len(names), *frame)):
        progress(f"preparing {len(names)} images, once")
        with atomic_path(sizes) as sizes_part, atomic_path(pixels) as pixels_part:
            source_hw = _fill(pixels_part, names, read, frame, keep_aspect)
            with sizes_part.open("wb") as file:
                np.save(file, source_hw)
    source_hw = np.load(sizes)
    known = {tuple(hw): fit_matrix(tuple(hw), frame, keep_aspect) for hw in source_hw.tolist()}
    matrix = torch.stack([known[tuple(hw)] for hw in source_hw.tolist()])
    return map_canvas(pixels, matrix, source_hw)


def map_canvas(path: Path, matrix: Tensor, source_hw: np.ndarray) -> Canvas:
    """A canvas whose pixels, (N, H, W) uint8, are an .npy file."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start, mapped = file.tell(), mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    pixels = np.frombuffer(mapped, dtype, offset=start).reshape(shape)
    return Canvas(pixels, matrix, source_hw, mapped)


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
