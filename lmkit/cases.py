"""Cases of a finished run, one per image and side, to look at: in which order, and their maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lmkit import losses
from lmkit.augment import warp
from lmkit.batches import Batch, Feed, canvas_size
from lmkit.canvas import Canvas, fit_image
from lmkit.config import RunConfig
from lmkit.data import Dataset
from lmkit.fields import InputError
from lmkit.geometry import Size, fit_matrix
from lmkit.images import to_uint8
from lmkit.inference import activated, levels_of, members_of, pick_device
from lmkit.metrics import radial_error_mm
from lmkit.model import heatmap_matrix
from lmkit.runs import Run
from lmkit.samples import Samples, line_up
from lmkit.targets import targets_of

CASE = ["image", "side"]


@dataclass(frozen=True)
class Order:
    """A way to sort cases: by the largest, smallest or mean value of a column of predictions.csv.

    Attributes:
        label: what comes first, to read.
        column: of the predictions, or of `beside`.
        how: max, min or mean over a case's landmarks.
        low_first: the smallest value comes first.
    """

    label: str
    column: str
    how: str
    low_first: bool = False


ORDERS = {
    "error": Order("largest error", "error_mm", "max"),
    "mean": Order("largest mean error", "error_mm", "mean"),
    "peak": Order("lowest peak", "peak", "min", low_first=True),
    "spread": Order("widest map", "ere_mm", "max"),
    "second": Order("strongest second mode", "second_share", "max"),
    "tta": Order("unsteady when moved", "tta_mm", "max"),
    "ensemble": Order("members apart", "ensemble_mm", "max"),
    "trust": Order("least trusted", "risk", "max"),
    "disagreement": Order("runs apart", "apart_mm", "max"),
    "worse": Order("worse than the other run", "worse_mm", "mean"),
    "better": Order("better than the other run", "worse_mm", "mean", low_first=True),
}


def case_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """A row per case with the value of each order that the predictions allow.

    Args:
        predictions: rows of predictions.csv, of one split, or of `beside`.
    Returns: indexed by image and side, in the order of the rows; columns are keys of `ORDERS`, and
        one is missing where the predictions lack its column or it is empty.
    Raises: InputError for no rows.
    """
    if predictions.empty:
        raise InputError("predictions: expected at least one row, got none; has 04 been run?")
    keys = [predictions[name] for name in CASE]
    found = {}
    for name, order in ORDERS.items():
        if order.column in predictions and predictions[order.column].notna().any():
            values = predictions[order.column].astype(float)
            found[name] = values.groupby(keys, sort=False).agg(order.how)
    return pd.DataFrame(found)


def in_order(cases: pd.DataFrame, by: str) -> list[tuple[str, str]]:
    """(image, side) of the cases of `case_table`, sorted; those without a value come last.

    Raises: InputError for an order that these predictions do not allow.
    """
    if by not in cases:
        column = f", which needs a column {ORDERS[by].column}" if by in ORDERS else ""
        raise InputError(f"by: expected one of {', '.join(cases)}, got {by!r}{column}")
    low_first = ORDERS[by].low_first
    return list(cases.sort_values(by, ascending=low_first, kind="stable").index)


def not_said(cases: pd.DataFrame) -> str:
    """A sentence on the orders that the predictions do not allow; '' where they allow all.

    Args:
        cases: of `case_table`. Orders between two runs are not spoken of.
    """
    between = ("apart_mm", "worse_mm")
    orders = [o for k, o in ORDERS.items() if k not in cases and o.column not in between]
    listed = ", ".join(f"{order.label} ({order.column})" for order in orders)
    return f"Not in these predictions, so no order by: {listed}." if orders else ""


def beside(predictions: pd.DataFrame, other: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """The rows of predictions that another run has as well, with what that one says.

    Args:
        predictions, other: rows of predictions.csv of two runs on the same images.
        dataset: of the images, for their spacing.
    Returns: the rows with other_x, other_y (source pixels), other_error_mm, apart_mm (distance of
        the two predictions) and worse_mm (error less the other run's).
    Raises: InputError when they have no landmark in common or one has a landmark twice.
    """
    key = [*CASE, "landmark"]
    for name, rows in (("predictions", predictions), ("other", other)):
        if rows.duplicated(key).any():
            twice = " ".join(rows.loc[rows.duplicated(key), key].iloc[0])
            raise InputError(f"{name}: expected each landmark once, got {twice} twice")
    new = {"x": "other_x", "y": "other_y", "error_mm": "other_error_mm"}
    both = predictions.merge(other[[*key, *new]].rename(columns=new), on=key)
    if both.empty:
        raise InputError("other: expected predictions of the same images and side, got none")
    spacing_mm = dataset.images.set_index("image")[["spacing_x_mm", "spacing_y_mm"]]
    here, there = both[["x", "y"]].to_numpy(), both[["other_x", "other_y"]].to_numpy()
    apart_mm = radial_error_mm(here, there, spacing_mm.loc[both["image"]].to_numpy())
    return both.assign(apart_mm=apart_mm, worse_mm=both["error_mm"] - both["other_error_mm"])


class CaseMaps:
    """The maps that a run draws of one image, when they are asked for.

    Raises: InputError for a run without weights.
    """

    def __init__(self, run: Run, dataset: Dataset) -> None:
        self.config, self.dataset, self.model = run.config, dataset, run.model()
        self.samples = line_up(dataset, run.config.side)
        self._maps = lru_cache(maxsize=16)(self._draw)

    def levels(self) -> tuple[str, ...]:
        """What there is to show, last what the points are read from."""
        return ("coarse maps", "fine maps") if self.config.model == "cascade" else ("heatmaps",)

    def near(
        self, image: str, side: str, offset: np.ndarray, size: Size, level: int = -1
    ) -> np.ndarray:
        """(L, H, W) activated maps in a window of the source image, one per landmark of the side.

        Args:
            offset: (2,) x, y of the window's first pixel, source pixels. size: (H, W) of it.
            level: which of `levels`.
        """
        here = (self.samples.images == image) & (self.samples.sides == side).any(1)
        row = int(np.flatnonzero(here)[0])
        levels, to_input = self._maps(row)
        maps, stride = levels[level]
        move = torch.eye(3, dtype=torch.float64)
        move[:2, 2] = -torch.from_numpy(np.asarray(offset, float))
        to_window = move @ torch.linalg.inv(heatmap_matrix(stride) @ to_input)
        own = torch.from_numpy(self.samples.sides[row] == side)
        return warp(maps[own][None], to_window[None], size)[0].numpy()

    def _draw(self, row: int) -> tuple[list[tuple[Tensor, int]], Tensor]:
        device = pick_device(self.config)
        feed = feed_of_one(self.dataset, self.samples, self.config, row, device)
        batch = feed.batch(np.zeros(1, int))
        levels = seen_levels(self.model, batch, self.config, self.samples.partner)
        return [(maps[0].cpu(), stride) for maps, stride in levels], batch.to_input[0]


def feed_of_one(
    dataset: Dataset, samples: Samples, config: RunConfig, row: int, device: torch.device
) -> Feed:
    """A feed of one sample, straight from its file."""
    pixels, frame = to_uint8(dataset.read(str(samples.images[row]))), canvas_size(dataset, config)
    matrix = fit_matrix(pixels.shape, frame, config.keep_aspect)
    drawn = fit_image(pixels, frame, config.keep_aspect)[None]
    canvas = Canvas(drawn, matrix[None], np.array([pixels.shape]))
    alone = replace(samples.take(np.array([row])), index=np.zeros(1, int))
    return Feed(alone, canvas, config, device)


@torch.inference_mode()
def seen_levels(
    model: nn.Module, batch: Batch, config: RunConfig, partner: np.ndarray | None
) -> list[tuple[Tensor, int]]:
    """The activated maps of a batch, coarse ones first, of an ensemble the members' mean, each
    (B, L, h, w) with its input pixels per heatmap pixel; partner as in `Samples`."""
    drawn = []
    for member in members_of(model):
        levels = levels_of(member, batch.images, config)
        heights = [target.height for target in targets_of(batch, config, member.sigma, levels)]
        coarse = [
            losses.activate(maps, config.loss, height)
            for (maps, _), height in zip(levels[:-1], heights[:-1], strict=True)
        ]
        last = activated(levels[-1][0], member, batch.images, config, heights[-1], partner)
        drawn.append([*coarse, last])
    means = (torch.stack(level).mean(0) for level in zip(*drawn, strict=True))
    return [(maps, stride) for maps, (_, stride) in zip(means, levels, strict=True)]
