"""A dataset small enough to train on in seconds: bright blobs on noise, two sides, two points."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

SPACING = (0.2, 0.3)
TINY = {
    "input_hw": (32, 64),
    "widths": (8, 12, 16),
    "stem_stride": 2,
    "sigma_px": 1.5,
    "epochs": 2,
    "batch_size": 3,
    "precision": "float32",
    "device": "cpu",
}


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Decoded images of the tests stay out of the user's cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("LMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    torch.set_num_threads(2)
    yield
    patch.undo()


def draw_cross(size: tuple[int, int], points: np.ndarray, seed: int) -> np.ndarray:
    """(H, W) uint8: noise, a soft bright blob at each point; NaN points are not drawn."""
    y, x = np.mgrid[: size[0], : size[1]]
    picture = np.random.default_rng(seed).normal(60, 6, size)
    for i, (px, py) in enumerate(points):
        if not math.isnan(px):
            width = 3 + 3 * (i % 2)
            picture += 150 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * width**2))
    return picture.clip(0, 255).astype(np.uint8)


def write_native(folder: Path, n: int = 12, sides: tuple[str, ...] = ("left", "right")) -> Path:
    """A native dataset folder of n patients with landmarks `tip` and `base` on each side."""
    (folder / "images").mkdir(parents=True)
    rng, size, images, landmarks = np.random.default_rng(7), (60, 110), [], []
    splits = ["train"] * (n - 4) + ["val"] * 2 + ["test"] * 2
    for i in range(n):
        name, drawn = f"p{i:02d}.png", []
        for side in sides or ("all",):
            middle = {"left": 80.0, "right": 30.0, "all": 55.0}[side]
            points = rng.normal([[middle, 22], [middle + 4, 40]], 3)
            drawn.append(points)
            for landmark, (x, y) in zip(("tip", "base"), points, strict=True):
                row = {"image": name, "side": side, "landmark": landmark, "x": x, "y": y}
                landmarks.append(row if sides else {k: v for k, v in row.items() if k != "side"})
        Image.fromarray(draw_cross(size, np.concatenate(drawn), i)).save(folder / "images" / name)
        images.append((name, f"p{i}", splits[i], *SPACING))
    columns = ["image", "patient", "split", "spacing_x_mm", "spacing_y_mm"]
    pd.DataFrame(images, columns=columns).to_csv(folder / "images.csv", index=False)
    pd.DataFrame(landmarks).to_csv(folder / "landmarks.csv", index=False)
    about = {"name": "crosses", "landmarks": ["tip", "base"], "sides": list(sides)}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(about))
    return folder


@pytest.fixture
def native(tmp_path: Path) -> Path:
    return write_native(tmp_path / "crosses")


@pytest.fixture
def tiny(native: Path, tmp_path: Path):
    """Settings of a run that takes a second."""
    return TINY | {"dataset": str(native), "outputs": str(tmp_path / "outputs"), "side": "right"}


@pytest.fixture
def learnable(tiny, tmp_path: Path):
    """Settings of a run that takes a few seconds and finds its points."""
    folder = write_native(tmp_path / "many" / "crosses", n=36)
    return tiny | {"dataset": str(folder), "epochs": 12, "batch_size": 4, "lr": 3e-3}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data, where there is one; tests that need it are skipped without."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not at {folder}")
    return folder
