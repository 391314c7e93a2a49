"""DICOM radiographs through pydicom (`pip install -e '.[dicom]'`): grey values, size, spacing."""

from __future__ import annotations

import hashlib
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.faults import one_line
from lmkit.fields import InputError
from lmkit.limits import check_spacing

DICOM_SUFFIXES = (".dcm", ".dicom")
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")  # best first
MOST_PIXELS = 2 * 89_478_485  # where Pillow, too, takes an image for an attack
MOST_BYTES = 4 * MOST_PIXELS
META_START = 128 + 4 + 12  # preamble, DICM, and the element that holds the rest's length
OPTIONAL = ("WindowCenter", "WindowWidth", "VOILUTSequence", "RescaleSlope", "RescaleIntercept")
LAYOUT = [
    *("Rows", "Columns", "NumberOfFrames", "PatientID", "PixelSpacingCalibrationType"),
    *SPACINGS,
]


def is_dicom(path: Path) -> bool:
    """Whether a file's name says that it is DICOM."""
    return path.suffix.lower() in DICOM_SUFFIXES


def read_dicom(path: Path) -> np.ndarray:
    """Grey values as a viewer shows them: rescaled, through the file's first VOI LUT or window, and
    with MONOCHROME1 inverted, so that dense is bright.

    Returns: (H, W) uint8 where the file has 8 bits and no window, else uint16. Without a window or
        a fractional rescale the values are those stored, moved to start at 0 where any is negative.
        Colour becomes its luminance.
    Raises: InputError for a missing or unreadable file, more than one frame, pixels that are not
        those of Rows and Columns, or a compression that none of pydicom's installed plugins reads.
    """
    data = _open(path)
    height, width = _size(data, path)
    if height * width > MOST_PIXELS:
        raise InputError(
            f"{path}: expected up to {MOST_PIXELS} pixels, got {width} x {height}; scale it down"
        )
    if data.get("NumberOfFrames") not in (None, "", 0, 1):
        raise InputError(f"{path}: expected one frame, got {data.NumberOfFrames}; split the file")
    try:
        return _grey(data, (height, width))
    # pydicom and its plugins raise nearly anything for a broken file or a missing plugin
    except Exception as error:
        syntax = getattr(data.file_meta, "TransferSyntaxUID", None)
        name = getattr(syntax, "name", "an unknown syntax")
        raise InputError(
            f"{path}: expected DICOM pixels that can be decoded ({name}), got: {one_line(error)}"
        ) from None


def dicom_size(path: Path) -> tuple[int, int]:
    """(H, W) from the header, pixels. Raises: InputError naming the file."""
    return _size(_open(path, LAYOUT), path)


def _size(data: Any, path: Path) -> tuple[int, int]:
    try:
        height, width = int(data.Rows), int(data.Columns)
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"{path}: expected Rows and Columns in the header, got none") from None
    if min(height, width) < 1:
        raise InputError(f"{path}: expected Rows and Columns > 0, got {height} and {width}")
    return height, width


def dicom_spacing(path: Path) -> tuple[float, float, str]:
    """x and y spacing, mm per pixel, and the attribute they come from; NaN, NaN, '' without one.

    DICOM states the distance of the rows first, which is y. PixelSpacing is calibrated or as at the
    detector; ImagerPixelSpacing is at the detector, so a patient's bones are smaller by the
    magnification; NominalScannedPixelSpacing is that of a scanned film.

    Raises: InputError for an unreadable file, or a spacing that is not two numbers > 0.
    Source: DICOM PS3.3, 10.7.1.3 and C.8.11.4.
    """
    data = _open(path, LAYOUT)
    for name in SPACINGS:
        value = data.get(name)
        if not value:
            continue
        try:
            y, x = (float(v) for v in value)
        except (TypeError, ValueError):
            x = y = math.nan
        if not (0 < x < math.inf and 0 < y < math.inf):
            raise InputError(f"{path}: {name}: expected two numbers > 0, got {value}")
        x, y = (check_spacing(v, name, str(path)) for v in (x, y))
        how = data.get("PixelSpacingCalibrationType") if name == "PixelSpacing" else None
        return x, y, f"{name} {how}" if how else name
    return math.nan, math.nan, ""


def dicom_patient(path: Path) -> str:
    """A short digest of the patient's ID, the same for all of a patient's images; '' without an ID.

    Raises: InputError for an unreadable file.
    """
    number = str(_open(path, LAYOUT).get("PatientID") or "").strip()
    digest = hashlib.blake2b(number.encode(errors="backslashreplace"), digest_size=5)
    return f"dcm{digest.hexdigest()}" if number else ""


def _open(path: Path, tags: list[str] | None = None) -> Any:
    """The file's data set, all of it or some attributes."""
    try:
        import pydicom
    except ImportError:
        raise InputError(
            f"{path}: expected pydicom for DICOM images, which is not installed; "
            "pip install -e '.[dicom]'"
        ) from None
    if not path.is_file():
        raise InputError(f"{path}: expected an image file, found none")
    try:
        _check_deflated(path)
        data = pydicom.dcmread(path, stop_before_pixels=tags is not None, specific_tags=tags)
        for tag in LAYOUT:
            data.get(tag)  # pydicom decodes, and complains, only when asked
        return data
    except Exception as error:  # as in read_dicom
        raise InputError(f"{path}: expected a DICOM file, got: {one_line(error)}") from None


def _check_deflated(path: Path) -> None:
    """A whole file may be deflated, and a small one stand for gigabytes. Raises: ValueError."""
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(META_START + int(meta.FileMetaInformationGroupLength))
        while piece := file.read(1 << 16):
            size += len(inflate.decompress(piece))
            if size > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES} bytes when inflated")


def _grey(data: Any, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 or uint16, as `size` says. Raises: ValueError for pixels of another size."""
    from pydicom import pixels

    for tag in OPTIONAL:  # there and empty, as anonymisers leave them, is not there
        if tag in data and not _stated(data, tag):
            del data[tag]
    values = _pixels(data, size)
    if data.PhotometricInterpretation == "PALETTE COLOR":
        values = pixels.apply_color_lut(values, data)
    if values.ndim == 3:
        values = values[..., :3] @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow
        return np.rint(values * 255 / (2 ** int(data.BitsStored) - 1)).astype(np.uint8)
    stored = values.dtype
    values = np.asarray(pixels.apply_modality_lut(values, data), float)
    windowed = "VOILUTSequence" in data or all(tag in data for tag in OPTIONAL[:2])
    if windowed:
        values = np.asarray(pixels.apply_voi_lut(values, data), float)
    if data.PhotometricInterpretation == "MONOCHROME1":
        values = _inverted(values, data, windowed)
    whole = not windowed and np.array_equal(values, np.rint(values))
    low, high = values.min(), values.max()
    if whole and high - min(low, 0) <= 65535:
        narrow = stored == np.uint8 and high <= 255 and low >= 0
        return (values - min(low, 0)).astype(np.uint8 if narrow else np.uint16)
    return np.rint(np.interp(values, (low, high), (0, 65535))).astype(np.uint16)


def _pixels(data: Any, size: tuple[int, int]) -> np.ndarray:
    """(H, W) or (H, W, 3) stored values, YBR as RGB. Raises: ValueError.

    pydicom takes what Rows and Columns claim, be it a part of the pixels or several pictures.
    """
    from pydicom import pixels

    samples = int(data.get("SamplesPerPixel") or 1)
    if not data.file_meta.TransferSyntaxUID.is_compressed:
        pixel = int(data.BitsAllocated) / 8 * samples
        over = len(data.get("PixelData") or b"") - size[0] * size[1] * pixel
        if over >= min(size) * pixel:  # a byte or two are padding
            raise ValueError(f"pixels for more than {size[1]} x {size[0]}, as Columns and Rows say")
    values: np.ndarray = pixels.pixel_array(data)
    if values.shape != (size if samples == 1 else (*size, 3)):
        shape = " x ".join(map(str, values.shape))
        raise ValueError(f"{shape} values of {samples} a pixel, not {size[1]} x {size[0]} pixels")
    return values


def _stated(data: Any, tag: str) -> bool:
    """Whether an attribute has a value; 0 is one."""
    value = data.get(tag)
    return value is not None and (isinstance(value, int | float) or len(value) > 0)


def _inverted(values: np.ndarray, data: Any, windowed: bool) -> np.ndarray:
    """Bright for dark: in the range of the stored bits, or in the values' own."""
    top = 2.0 ** int(data.BitsStored) - 1
    plain = not windowed and values.min() >= 0 and values.max() <= top
    return top - values if plain else values.min() + values.max() - values
