"""Image files to grey arrays."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from lmkit.dicom import DICOM_SUFFIXES, dicom_size, is_dicom, read_dicom
from lmkit.faults import one_line
from lmkit.fields import InputError
from lmkit.geometry import Size

UNREADABLE = (  # Pillow raises any of them for a broken file
    *(OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, MemoryError),
    *(EOFError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
    Warning,  # where the caller has made warnings errors
)
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", *DICOM_SUFFIXES)
READ = " ".join(suffix[1:] for suffix in SUFFIXES)
# what is tried, whatever a file is called: an EPS called .png would start Ghostscript on it; JPEG
# reads MPO as well, which has no entry of its own
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF")
PHOTOMETRIC, BITS = 262, 258  # TIFF tags
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
        with path.open("rb") as stream, Image.open(stream, formats=FORMATS) as file:
            turn = UPRIGHT.get(orientation(file))
            image = file if turn is None else file.transpose(turn)
            image.load()
            if not image.mode.startswith(("I", "F")):
                return np.asarray(image.convert("L"))
            values = np.asarray(image)
            if values.dtype == np.uint16 and _is_inverted(file):
                values = _most(file) - values
            return _sixteen_bits(values)
    except FileNotFoundError:
        raise InputError(f"{path}: expected an image file, found none") from None
    except UNREADABLE as error:
        got = one_line(error)
        raise InputError(f"{path}: expected a readable image ({READ}), got: {got}") from None


def _sixteen_bits(values: np.ndarray) -> np.ndarray:
    """(H, W) uint16; numbers without a fixed range are stretched over that of the finite ones.

    Pixels beyond all numbers become the brightest or darkest, those that are none the darkest.

    Raises: ValueError where no pixel is a finite number.
    """
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        finite = values[np.isfinite(values)]
        if finite.size == 0:
            raise ValueError("no pixel that is a finite number")
        low, high = float(finite.min()), float(finite.max())
        values = np.nan_to_num(values.astype(float), nan=low, posinf=high, neginf=low)
        values = np.interp(values, (low, high), (0, 65535))
    return values.astype(np.uint16)


def image_size(path: Path) -> Size:
    """(H, W) of an image file from its header, pixels, the way up that `read_image` returns it.

    Raises: InputError naming the file.
    """
    if is_dicom(path):
        return dicom_size(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            turned = orientation(image) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except FileNotFoundError:
        raise InputError(f"{path}: expected an image file, found none") from None
    except UNREADABLE as error:
        got = one_line(error)
        raise InputError(f"{path}: expected a readable image ({READ}), got: {got}") from None


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an open image that is still to be undone, 1 to 8; 1 = upright."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1  # Pillow turns a TIFF itself; in a PNG only what precedes the pixels is looked at
    return int(image.getexif().get(ORIENTATION) or 1)


def _is_inverted(file: Image.Image) -> bool:
    """Whether it is a TIFF whose 0 is white, which Pillow undoes up to 8 bits only."""
    return file.format == "TIFF" and getattr(file, "tag_v2", {}).get(PHOTOMETRIC) == 0


def _most(file: Image.Image) -> np.uint16:
    """The largest value that a TIFF's bits hold."""
    bits = getattr(file, "tag_v2", {}).get(BITS, (16,))
    return np.uint16(2 ** min(int(bits[0]), 16) - 1)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8; deeper images are stretched from their 0.5 to their 99.5 percentile."""
    if image.dtype == np.uint8:
        return image
    low, high = np.percentile(image, [0.5, 99.5])
    scaled = (image.astype(np.float32) - low) * (255 / max(high - low, 1))
    return scaled.clip(0, 255).round().astype(np.uint8)
