"""The same images predicted again and again, each time a little differently: how far the answers
lie apart says how sure a model is."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lmkit import losses
from lmkit.batches import Batch, Feed
from lmkit.config import RunConfig
from lmkit.inference import levels_of, members_of, points_of, spread_mm, window_sigma
from lmkit.memory import Room
from lmkit.targets import targets_of

JITTER = {
    "augment": "affine",
    "rotate_deg": 3.0,
    "scale_range": (0.97, 1.03),
    "translate_frac": 0.02,
}


@torch.inference_mode()
def redraw(model: nn.Module, feed: Feed, draws: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Predict all samples several times, each time a little differently.

    Args:
        draws: K >= 2, how many times.
        kind: tta: the image turned by up to 3 degrees, scaled by 3 % and moved by 2 %, its points
            turned back; dropout: channels dropped as in training, `config.dropout`.
    Returns: (N, L, 2) the mean of the K points, source pixels; (N, L) mm, their spread.
    Raises: ValueError for fewer than two draws, another kind, or dropout that was not trained with.
    Source: tta: Wang et al. 2019, Neurocomputing 338:34; dropout: Gal and Ghahramani 2016, ICML.
    """
    kinds = ("tta", "dropout") if feed.config.dropout else ("tta",)
    if draws < 2 or kind not in kinds:
        raise ValueError(
            f"draws, kind: expected >= 2 and {' | '.join(kinds)} (dropout where it was trained "
            f"with), got {draws}, {kind}"
        )
    if kind == "tta":
        changed = feed.config.model_copy(update=JITTER)
        feed = Feed(feed.samples, feed.canvas, changed, feed.device)
    sigma_px = window_sigma(model.eval(), feed.config)
    switched = [m for m in model.modules() if isinstance(m, nn.Dropout2d) and kind == "dropout"]
    generator, means, spreads = torch.Generator().manual_seed(feed.config.seed), [], []
    room = Room()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(feed.config.seed)
        for layer in switched:
            layer.train()
        for start in range(0, len(feed), 8):
            rows = np.arange(start, min(start + 8, len(feed)))
            seen = (feed.batch(rows, generator if kind == "tta" else None) for _ in range(draws))
            points = torch.stack([_guesses(model, feed.config, b, sigma_px, room) for b in seen])
            spacing = torch.from_numpy(feed.samples.spacing_mm[rows])
            means.append(points.mean(0).numpy())
            spreads.append(spread_mm(points, spacing).numpy())
    model.eval()
    return np.concatenate(means), np.concatenate(spreads)


def _guesses(
    model: nn.Module, config: RunConfig, batch: Batch, sigma_px: float, room: Room
) -> Tensor:
    """`_guess` of a batch, as many at once as memory has room for."""

    def guess(parts: list[slice]) -> list[Tensor]:
        return [_guess(model, config, batch.part(rows), sigma_px) for rows in parts]

    return torch.cat(room.fit(len(batch), guess))


def _guess(model: nn.Module, config: RunConfig, batch: Batch, sigma_px: float) -> Tensor:
    """(B, L, 2) xy, source pixels, of a batch as it is; of an ensemble the mean map's."""
    active = []
    for member in members_of(model):
        levels = levels_of(member, batch.images, config)
        height = targets_of(batch, config, member.sigma, levels)[-1].height
        active.append(losses.activate(levels[-1][0], config.loss, height))
    return points_of(torch.stack(active).mean(0), batch.to_input, config, sigma_px)
