"""How fast a recipe trains and predicts on this machine, what it needs, and how that grows.

Every measurement is one call of `measure` in a process of its own (`in_process`), so that peak
memory is the recipe's and nothing is warm from the one before. What is timed is the code that runs:
`train.train_epoch` for training, `inference.infer` for prediction, in the detail that
`evaluate.predict` wants. Times drift on shared machines; compare ratios of one run.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lmkit.batches import Feed, canvas_for, canvas_frame
from lmkit.canvas import Canvas, map_canvas
from lmkit.config import RunConfig
from lmkit.data import open_for
from lmkit.fields import InputError
from lmkit.geometry import fit_matrix
from lmkit.inference import infer, pick_device, pick_precision
from lmkit.parameters import configure
from lmkit.samples import Samples, line_up
from lmkit.spans import watching
from lmkit.sweep_task import THREADS
from lmkit.train import start, train_epoch

PARTS = ("images and points", "forward", "targets and loss", "backward", "optimiser")
LEAST_STEPS, MOST_STEPS = 3, 100
SOURCE_HW = (600, 1100)  # of made-up images


def measure(
    config: RunConfig, seconds: float, made_up: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Training and prediction with these settings, timed.

    Args:
        config: the settings; its dataset gives the images.
        seconds: for training steps, and half of it for prediction; at least LEAST_STEPS of each.
        made_up: images and landmarks of a made-up dataset instead, for how cost grows.
    Returns: train_images_per_s and predict_ms (an image), medians; steps and predict_steps, how
        many were timed, after one that is not; batch_size; label_sets, in an epoch; parameters;
        precision; base_mb and peak_mb, resident memory before and at most; grown_mb, over the timed
        training steps; gpu_peak_mb, torch's on a GPU, 0 without one; shares of a step by part.
    """
    with tempfile.TemporaryDirectory() as folder:
        if made_up is None:
            dataset = open_for(config)
            samples = line_up(dataset, config.side, config.pool_sides).split("train")
            canvas = canvas_for(dataset, config)
        else:
            samples, canvas = _made_up(config, Path(folder), **made_up)
        return _measure(config, samples, canvas, seconds)


def _measure(config: RunConfig, samples: Samples, canvas: Canvas, seconds: float) -> dict[str, Any]:
    device, base_mb = pick_device(config), _peak_mb()
    state = start(config, len(samples.landmarks), device)
    turns = np.random.default_rng(0).permutation(len(samples))

    def feed(step: int, size: int) -> Feed:
        rows = np.take(turns, np.arange(step * size, (step + 1) * size), mode="wrap")
        return Feed(samples.take(rows), canvas, config, device)

    def step(i: int) -> None:
        train_epoch(state, feed(i, config.batch_size), config)

    step(0)  # the first one also compiles and allocates, for batches of this size
    start_mb = _now_mb()
    took, shares = _timed(step, seconds, device)
    grown_mb = _now_mb() - start_mb
    shown = feed(0, max(8, config.batch_size))
    infer(state.model, shown, detail=True)
    guessed = _repeat(lambda _: infer(state.model, shown, detail=True), seconds / 2)
    return {
        "train_images_per_s": config.batch_size / float(np.median(took)),
        "predict_ms": 1000 * float(np.median(guessed)) / len(shown),
        "steps": len(took),
        "predict_steps": len(guessed),
        "batch_size": config.batch_size,
        "label_sets": len(samples),
        "parameters": sum(w.numel() for w in state.model.parameters()),
        "precision": pick_precision(config, device),
        "base_mb": base_mb,
        "peak_mb": _peak_mb(),
        "grown_mb": grown_mb,
        "gpu_peak_mb": torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0,
        "shares": {part: shares.get(part, 0.0) for part in PARTS},
    }


def _timed(
    step: Callable[[int], None], seconds: float, device: torch.device
) -> tuple[list[float], dict[str, float]]:
    """Times of training steps, s, and the share of each of their parts, in [0, 1].

    On a CPU of the same steps; on a GPU of others, for there watching takes time.
    """
    if device.type == "cpu":
        with watching(device) as watch:
            return _repeat(step, seconds), watch.shares()
    took = _repeat(step, seconds)
    with watching(device) as watch:
        _repeat(step, seconds / 2)
    return took, watch.shares()


def _repeat(call: Callable[[int], object], seconds: float) -> list[float]:
    """Times of calls, s, until the seconds are over; LEAST_STEPS to MOST_STEPS of them."""
    took: list[float] = []
    while len(took) < LEAST_STEPS or (sum(took) < seconds and len(took) < MOST_STEPS):
        began = time.perf_counter()
        call(len(took))
        took.append(time.perf_counter() - began)
    return took


def _peak_mb() -> float:
    """Most memory that this process has held, MB; a GPU's is not among it."""
    kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kb / (1024**2 if sys.platform == "darwin" else 1024)


def _now_mb() -> float:
    """Memory that this process holds now, MB; the peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return _peak_mb()
    return pages * resource.getpagesize() / 2**20


def _made_up(
    config: RunConfig, folder: Path, images: int, landmarks: int
) -> tuple[Samples, Canvas]:
    """Empty images on disk, which cost what real ones do, with points all over them."""
    frame = canvas_frame({SOURCE_HW}, config)
    path = folder / "canvas.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (images, *frame))  # takes no room while empty
    matrix = fit_matrix(SOURCE_HW, frame, config.keep_aspect).expand(images, 3, 3)
    canvas = map_canvas(path, matrix, np.tile(SOURCE_HW, (images, 1)))
    rng, names = np.random.default_rng(0), np.array([f"{i}" for i in range(images)])
    samples = Samples(
        index=np.arange(images),
        mirrored=np.zeros(images, bool),
        points=rng.random((images, landmarks, 2)) * np.array(SOURCE_HW[::-1]),
        sides=np.full((images, landmarks), "right"),
        landmarks=tuple(f"landmark {i}" for i in range(landmarks)),
        splits=np.full(images, "train"),
        patients=names,
        images=names,
        spacing_mm=np.ones((images, 2)),
        partner=np.arange(landmarks),  # for a recipe that mirrors: any map will do
    )
    return samples, canvas


def in_process(
    settings: Mapping[str, Any],
    seconds: float,
    made_up: Mapping[str, int] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """`measure` of settings, as for papermill -p, in a fresh Python process.

    Args:
        threads: of the process; as many as it would take by itself when not given.
    Raises: InputError with the process's last line when it fails.
    """
    asked = {"settings": dict(settings), "seconds": seconds, "made_up": made_up}
    limits = {} if threads is None else dict.fromkeys(THREADS, str(threads))
    done = subprocess.run(
        [sys.executable, "-m", "lmkit.benchmark"],
        env=os.environ | limits,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise InputError(f"benchmark of {dict(settings)}: expected figures, got: {said}")
    return json.loads(lines[-1])


def minutes_to(
    history: pd.DataFrame, sdr_2mm: Sequence[float], epoch_s: float | None = None
) -> dict[float, float | None]:
    """Minutes of training until the validation SDR at 2 mm first reached a value.

    Args:
        history: of a run.
        sdr_2mm: values in [0, 1].
        epoch_s: seconds an epoch takes; those of the history when not given.
    Returns: value -> minutes, None where it never did.
    """
    seconds = history["seconds"] if epoch_s is None else pd.Series(epoch_s, history.index)
    spent = seconds.cumsum() / 60
    reached = {value: history["val_sdr_2mm"] >= value for value in sdr_2mm}
    return {v: float(spent[hit].iloc[0]) if hit.any() else None for v, hit in reached.items()}


if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    found = measure(configure(asked["settings"]), asked["seconds"], asked["made_up"])
    print(json.dumps(found))
