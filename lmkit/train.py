"""The training loop: one function, the same for every notebook, script and sweep."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from lmkit import losses
from lmkit.batches import Batch, Feed
from lmkit.canvas import Canvas
from lmkit.checkpoints import State, restore_state, save_state
from lmkit.config import RunConfig
from lmkit.fields import InputError
from lmkit.inference import infer, levels_of, pick_device, true_float32
from lmkit.memory import Room, keep_freed
from lmkit.metrics import radial_error_mm, summarise
from lmkit.model import build, plain_weights
from lmkit.parameters import settings_hash
from lmkit.samples import Samples
from lmkit.schedule import Course, planned_epochs, stalled
from lmkit.spans import span
from lmkit.targets import loss_over, targets_of


def fit(
    config: RunConfig,
    samples: Samples,
    canvas: Canvas,
    folder: Path | None = None,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
    log: Callable[[str], None] = print,
) -> tuple[nn.Module, pd.DataFrame]:
    """Train on the train split, validate every epoch, keep the weights of the best one.

    Args:
        config: the settings.
        samples: with splits train and val.
        canvas: of the samples' dataset.
        folder: a run folder; after every epoch it holds checkpoint.pt, history.csv and, of the
            best epoch by validation MRE, model.safetensors. Where a checkpoint is found, training
            goes on from it, to the same weights as if never stopped (CPU; not with max_minutes,
            whose schedule follows the clock).
        on_epoch: called with the history after every epoch.
        log: one line an epoch: training and validation loss; validation MRE, median and SDR at 2,
            2.5, 3 and 4 mm; learning rate; images per second.
    Returns: the model with the best epoch's weights, and the history, a row per epoch.
    Raises: InputError without training or validation images, or when the loss is not finite.
    """
    device = pick_device(config)
    train, val = (Feed(samples.split(name), canvas, config, device) for name in ("train", "val"))
    state = start(config, len(samples.landmarks), device)
    state.room = Room(least=3 if one_pixel_deep(config) else 1, log=log)
    if folder is not None and (folder / "checkpoint.pt").exists():
        restore_state(state, folder / "checkpoint.pt", device, settings_hash(config))
        log(f"resumed after epoch {state.epoch} of {config.epochs}")
    while state.epoch < planned_epochs(config, state.history):
        if stalled(config, state.history):
            log(f"stopped early: {config.monitor} has not improved for {config.early_stop} epochs")
            break
        row = train_epoch(state, train, config) | _validate(state, val)
        check_finite(row, "val_loss", config)
        check_finite(row, "val_mre_mm", config)
        line = _finish_epoch(state, row, config)
        if folder is not None:
            save_state(state, folder, settings_hash(config))
        if on_epoch is not None:
            on_epoch(pd.DataFrame(state.history))
        log(line)
    state.model.load_state_dict(state.best["weights"])
    return state.model.eval(), pd.DataFrame(state.history)


def check_batches(config: RunConfig, n: int) -> None:
    """Refuse what batch norm cannot take: one value per channel. Raises: InputError.

    Args:
        n: training samples.
    """
    if one_pixel_deep(config) and (config.batch_size == 1 or n % config.batch_size == 1):
        raise InputError(
            f"batch_size: expected no batch of one image, for the deepest level of the network is "
            f"one pixel, got {config.batch_size} with {n} training images; enlarge input_hw or "
            "scales"
        )


def one_pixel_deep(config: RunConfig) -> bool:
    """Whether the deepest level of the network is a single pixel, at one of the scales."""
    deepest = (config.step_px, config.step_px)
    return any(config.sized(scale) == deepest for scale in config.scales)


def start(config: RunConfig, n_maps: int, device: torch.device) -> State:
    """Weights from the seed, Adam, the plateau's watch and the average of the weights."""
    keep_freed()
    model = build(config, n_maps).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=config.lr, fused=True)
    scheduler = average = None
    if config.scheduler == "plateau":
        scheduler = ReduceLROnPlateau(
            optimiser, mode="min", factor=config.lr_factor, patience=config.lr_patience
        )
    if config.ema_decay:
        average = AveragedModel(
            model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True
        )
    return State(model, optimiser, scheduler, average)


def train_epoch(state: State, feed: Feed, config: RunConfig) -> dict[str, float]:
    """One pass over the training samples, or as far as `max_minutes` let it. Order and augmentation
    follow from the epoch's number and the seed alone, so a resumed epoch is what it would have
    been."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.epoch)
    if config.dropout:  # its masks come from the device's own generator
        torch.manual_seed(config.seed * 1_000_003 + state.epoch)
    loss_of, start = losses.build(config), time.perf_counter()
    norms, seen, total = [], 0, torch.zeros((), device=feed.device)
    model, (group,) = state.model.train(), state.optimiser.param_groups
    steps, lr = math.ceil(len(feed) / config.batch_size), group["lr"]
    cut = lr if state.scheduler is not None else config.lr  # what a plateau has made of lr
    course = Course(config, state.history, steps)
    if config.sigma_schedule:
        for each in {model, state.judged}:
            each.log_sigma.data.fill_(math.log(config.sigma_at(state.epoch, course.epochs)))
    batches = tqdm(
        feed.epoch(config.batch_size, generator),
        total=steps,
        desc=f"epoch {state.epoch + 1}",
        leave=False,
        disable=not sys.stderr.isatty(),  # a bar where a person watches, silence in a log
    )
    for step, batch in enumerate(batches):
        lr = group["lr"] = cut * course.factor(step)
        loss = state.room.fit(len(batch), partial(gradients, state, batch, config, loss_of))
        with span("optimiser"):
            norms.append(_norm(model, config.clip_norm))
            state.optimiser.step()
            if state.average is not None:
                state.average.update_parameters(model)
        total += loss * len(batch)
        seen += len(batch)
        if course.over():
            break
    group["lr"] = cut
    norm = torch.stack(norms).cpu()
    seconds = time.perf_counter() - start
    row = {
        "epoch": state.epoch + 1,
        "lr": lr,
        "train_loss": total.item() / seen,
        "grad_norm": norm.mean().item(),
        "clipped_fraction": (norm > (config.clip_norm or math.inf)).float().mean().item(),
        "images_per_s": seen / seconds,
        "seconds": seconds,
    }
    check_finite(row, "train_loss", config)
    return row


def _norm(model: nn.Module, limit: float | None) -> Tensor:
    """L2 norm of the gradients, before they are clipped to the limit; None = left as they are."""
    if limit is not None:
        return nn.utils.clip_grad_norm_(model.parameters(), limit).detach()
    found = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return nn.utils.get_total_norm(found)


def check_finite(row: dict[str, float], key: str, config: RunConfig) -> None:
    """Refuse to go on from weights that are lost. Raises: InputError."""
    if not math.isfinite(row[key]):
        raise InputError(
            f"{key}: expected a finite number, got {row[key]} in epoch {row['epoch']}; what was "
            f"kept is that of the epoch before; lower lr (now {config.lr:g}) or set clip_norm, "
            "under another run name"
        )


def gradients(
    state: State, batch: Batch, config: RunConfig, loss_of: losses.Loss, parts: list[slice]
) -> Tensor:
    """Put the gradients of a batch's loss into the weights.

    Args:
        parts: samples computed at once. Of several the loss is that of the whole batch, but batch
            norm sees each part alone.
    Returns: the loss, detached.
    """
    state.optimiser.zero_grad(set_to_none=True)
    total = torch.zeros((), device=batch.images.device)
    for rows in parts:
        some = batch.part(rows)
        with span("forward"):
            levels = levels_of(state.model, some.images, config)
        with span("targets and loss"):
            targets = targets_of(some, config, state.model.sigma, levels)
            loss = loss_over(levels, targets, loss_of)
            if len(parts) > 1:
                loss = loss * _share(batch, rows)
        with span("backward"), true_float32(config, loss.device):
            loss.backward()
        total += loss.detach()
    return total


def _share(batch: Batch, rows: slice) -> Tensor:
    """Share of a batch's annotated landmarks that some of its samples have."""
    counts = (~batch.points.isnan().any(-1)).sum(-1)  # (B,)
    return counts[rows].sum() / counts.sum().clamp(min=1)


def _validate(state: State, feed: Feed) -> dict[str, float]:
    start = time.perf_counter()
    found = infer(state.judged, feed, room=state.room)
    errors = radial_error_mm(found.points, feed.samples.points, feed.samples.spacing_mm[:, None])
    summary = summarise(errors)
    return {
        "val_loss": found.loss,
        "val_mre_mm": summary["mre_mm"],
        "val_median_mm": summary["median_mm"],
        **{f"val_sdr_{t.replace('.', '_')}mm": rate for t, rate in summary["sdr"].items()},
        "val_seconds": time.perf_counter() - start,
    }


HISTORY = [
    *("epoch", "lr", "train_loss", "val_loss", "val_mre_mm", "val_median_mm"),
    *("val_sdr_2mm", "val_sdr_2_5mm", "val_sdr_3mm", "val_sdr_4mm"),
    *("grad_norm", "clipped_fraction", "images_per_s", "seconds"),
]


def _finish_epoch(state: State, row: dict[str, float], config: RunConfig) -> str:
    """Record the epoch, keep the best weights, move the learning rate; returns the log line."""
    row["seconds"] += row["val_seconds"]
    state.history.append({key: row[key] for key in HISTORY})
    if row["val_mre_mm"] < state.best.get("val_mre_mm", math.inf):
        state.best = {
            "epoch": row["epoch"],
            "val_mre_mm": row["val_mre_mm"],
            "weights": plain_weights(state.judged),
        }
    before = state.optimiser.param_groups[0]["lr"]
    if state.scheduler is not None and state.epoch > config.warmup_epochs:
        state.scheduler.step(row[config.monitor])
    sdr = " ".join(f"{row[f'val_sdr_{t}mm']:.3f}" for t in ("2", "2_5", "3", "4"))
    clipped = f"  clipped {100 * row['clipped_fraction']:.0f} %" if config.clip_norm else ""
    line = (
        f"epoch {row['epoch']:2d}/{config.epochs}  "
        f"loss {row['train_loss']:.1e} {row['val_loss']:.1e}  "
        f"MRE {row['val_mre_mm']:5.2f} median {row['val_median_mm']:5.2f} mm  SDR {sdr}  "
        f"lr {row['lr']:.0e}{clipped}  {row['images_per_s']:.0f}/s"
    )
    lr = state.optimiser.param_groups[0]["lr"]
    if lr != before:
        line += f"\n  learning rate {before:g} -> {lr:g}: {config.monitor} has stalled for more "
        line += f"than {config.lr_patience} epochs"
    return line
