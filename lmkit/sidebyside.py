"""Recipes side by side on one machine, for notebook 06: benchmark.json of a run folder.

Before, after and the recipe of the settings are measured one after the other, each in a process of
its own; then the recipe is trained for some minutes, to see what they buy.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lmkit import __version__
from lmkit.benchmark import in_process, minutes_to
from lmkit.config import RunConfig
from lmkit.data import open_for
from lmkit.fields import InputError
from lmkit.files import project_root, write_json
from lmkit.jsonfiles import read_json
from lmkit.parameters import WHERE_NOT_WHAT, run_name
from lmkit.records import git_commit
from lmkit.runs import Run, load_run, run_folder
from lmkit.samples import line_up
from lmkit.stages import train_run
from lmkit.tables import shown

DATA = (
    *("side", "dataset", "phantom_patients", "phantom_seed", "spacing_mm"),
    *("split_fractions", "split_seed", "device"),
)
GOALS = (0.8, 0.9, 0.95)  # SDR at 2 mm
OLD = "before, float32"  # as the old scripts ran; what ratios refer to
SHARE = 0.1  # of `minutes` that a measurement may take, beyond its first step
GROWTH = {  # what grows -> its values; the others stay at the first one
    "images": (100, 1000, 10_000),
    "landmarks": (5, 20, 80),
    "size": (1.0, 0.5, 2.0),
}


def label(config: RunConfig) -> str:
    """What the recipe of the settings is called in tables: its preset's name."""
    return Path(config.preset).stem


def at_batch(config: RunConfig, size: int) -> str:
    """What the recipe is called at a batch size: by no other name where that is its own."""
    return label(config) if size == config.batch_size else f"{label(config)}, batch {size}"


def recipes(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Name -> settings of what is compared, all on the data of `config`."""
    data = config.model_dump(mode="json", include=set(DATA))
    own = config.model_dump(mode="json") | {"run": "", "max_minutes": None}
    return {
        OLD: data | {"preset": "before", "precision": "float32"},
        "before": data | {"preset": "before"},
        "before, batch 16": data | {"preset": "before", "batch_size": 16},
        "after": data | {"preset": "after"},
        label(config): own,
        **{at_batch(config, size): own | {"batch_size": size} for size in (8, 16)},
    }


def benchmark_folder(config: RunConfig, minutes: float) -> Path:
    """outputs/<dataset>/<side>/<run>, the run named as given or after recipe and minutes."""
    if not isinstance(minutes, int | float) or not minutes > 0:
        raise InputError(f"minutes: expected a number > 0, got {minutes!r}")
    name = config.run or f"benchmark-{run_name(config)}-{minutes:g}min"
    return run_folder(config.model_copy(update={"run": name}), open_for(config))


def side_by_side(
    config: RunConfig, minutes: float, log: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measure all recipes, how the cost of this one grows, and what training it for a while gives.

    Args:
        config: the recipe that is compared with before and after, and its data.
        minutes: to train it for; measurements take about as long together, and the float32
            network of `before` a minute or two more.
        log: takes one line at a time.
    Returns: what benchmark.json holds; read from there when it was measured before. Each figure is
        written as soon as it is known, and what is there is not measured again.
    Raises: InputError when a measurement fails.
    """
    folder = benchmark_folder(config, minutes)
    stored = folder / "benchmark.json"
    found = _begun(stored, config, minutes)
    if "train_ratio" in found:
        log(f"measured before, read from {folder.name}")
        return found
    for name, settings in recipes(config).items():
        if name not in found["recipes"]:
            log(f"measuring {name}")
            found["recipes"][name] = in_process(settings, 60 * SHARE * minutes)
            write_json(stored, found)
    log(f"measuring how {label(config)} grows")
    for _ in grow(config, 60 * SHARE * minutes / 2, found["growth"]):
        write_json(stored, found)
    trained = train_run(timed(config, minutes), log=log)
    found |= _bought(config, trained, found["recipes"])
    write_json(stored, found)
    return found


def _begun(stored: Path, config: RunConfig, minutes: float) -> dict[str, Any]:
    """What a benchmark.json holds; of one that was interrupted, what was measured on this machine
    and with this code, and else nothing yet."""
    about = _about(config)
    if stored.exists():
        found = _read(stored)
        same = found["about"] | {"date": about["date"]} == about and found["minutes"] == minutes
        if same:
            return found
        if "train_ratio" in found:
            _check_asked(stored, found, config, minutes)
            return found
    growth: dict[str, list[dict[str, Any]]] = {what: [] for what in GROWTH}
    return {"recipes": {}, "growth": growth, "minutes": minutes, "about": about}


def _read(stored: Path) -> dict[str, Any]:
    """A benchmark.json. Raises: InputError naming it where it holds something else."""
    found = read_json(stored)
    if not isinstance(found, dict) or not {"recipes", "growth", "minutes", "about"} <= found.keys():
        raise InputError(
            f"{stored}: expected what a benchmark has measured, got {shown(found)}; delete it, or "
            "name another run"
        )
    return found


def _check_asked(stored: Path, found: Mapping[str, Any], config: RunConfig, minutes: float) -> None:
    """Raises: InputError where a finished benchmark is of other settings or minutes than asked."""
    asked = config.model_dump(mode="json", exclude=WHERE_NOT_WHAT) | {"minutes": minutes}
    kept = found["about"]["settings"] | {"minutes": found["minutes"]}
    for key, value in asked.items():
        if kept.get(key, value) != value:
            raise InputError(
                f"{stored}: holds a benchmark with {key} {kept[key]}, expected {value}; name "
                "another run"
            )


def _bought(
    config: RunConfig, trained: Run, measured: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """What benchmark.json says of all measurements and of the run."""
    curves = histories(config, trained, measured)
    return {
        "train_ratio": ratio(measured, label(config), "train_images_per_s"),
        "inference_ratio": 1 / ratio(measured, label(config), "predict_ms"),
        "n_train": len(line_up(open_for(config), config.side).split("train")),
        "run": trained.folder.name,
        "minutes_to_sdr_2mm": {
            name: {f"{goal:g}": when for goal, when in minutes_to(history, GOALS).items()}
            for name, history in curves.items()
        },
    }


def timed(config: RunConfig, minutes: float) -> RunConfig:
    """The recipe with a time budget, as a run of its own name."""
    return config.model_copy(update={"max_minutes": float(minutes), "run": ""})


def ratio(measured: Mapping[str, Mapping[str, float]], name: str, what: str) -> float:
    """How many times a recipe's figure is that of the old scripts."""
    return measured[name][what] / measured[OLD][what]


def grow(
    config: RunConfig, seconds: float, found: dict[str, list[dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """Cost of a recipe on made-up data, one measurement after the other.

    Args:
        found: what grows -> measurements, smallest first; those that are missing are added.
    """
    settings = recipes(config)[label(config)]
    start = {what: int(GROWTH[what][0]) for what in ("images", "landmarks")}
    for what, values in GROWTH.items():
        for value in sorted(values)[len(found[what]) :]:
            changed, made_up = settings, start
            if what == "size":
                changed = settings | {"input_hw": list(config.sized(value))}
            else:
                made_up = start | {what: int(value)}
            height, width = changed["input_hw"]
            grown = {what: height * width if what == "size" else value}
            found[what].append(in_process(changed, seconds, made_up) | grown)
            yield found[what][-1]


def histories(
    config: RunConfig, trained: Run, measured: Mapping[str, Mapping[str, float]]
) -> dict[str, pd.DataFrame]:
    """Name -> epochs of training, with their `seconds`.

    Beside the recipe's own run stand those at hand on the same data, as they were; but an epoch of
    `before` takes as long as it was measured here, in float32, for nobody waits for it.
    """
    found = {label(config): trained.history}
    for old in _kept(config):
        name = f"{old.config.preset}, kept run of {old.about['started']}"
        found[name] = old.history
        if old.config.preset == "before":
            n = len(line_up(open_for(config), config.side).split("train"))
            pace = n / measured[OLD]["train_images_per_s"]
            found[name] = old.history.assign(seconds=pace)
    return found


def _kept(config: RunConfig) -> list[Run]:
    """Runs to compare with: the user's own `before` on these data, and the project's examples."""
    dataset = open_for(config)
    own = run_folder(config, dataset).parent.glob("*/history.csv")
    examples = (project_root() / "outputs" / "example").glob(f"*_{config.side}/history.csv")
    runs = [load_run(p.parent) for p in sorted(own) if (p.parent / "config.yaml").exists()]
    runs = [run for run in runs if run.config.preset == "before"]
    runs += [load_run(path.parent) for path in sorted(examples)]
    return [run for run in runs if run.about["dataset_fingerprint"] == dataset.fingerprint]


def _about(config: RunConfig) -> dict[str, Any]:
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "lmkit": __version__,
        "git_commit": git_commit(),
        "torch": str(torch.__version__),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": cuda,
        "settings": config.model_dump(mode="json"),
    }


def recipe_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """benchmark.json's recipes to read, a row each; ratios are to the old scripts."""
    rows, measured = {}, found["recipes"]
    for name, m in measured.items():
        rows[name] = {
            "arithmetic": m["precision"],
            "batch": m["batch_size"],
            "parameters, million": m["parameters"] / 1e6,
            "trained images/s": m["train_images_per_s"],
            "label sets": m["label_sets"],
            "epoch, s": m["label_sets"] / m["train_images_per_s"],
            "faster": ratio(measured, name, "train_images_per_s"),
            "prediction, ms/image": m["predict_ms"],
            "prediction faster": 1 / ratio(measured, name, "predict_ms"),
            "steps timed": m.get("steps", math.nan),  # files of before have fewer figures
            "predictions timed": m.get("predict_steps", math.nan),
            "peak memory, MB": m["peak_mb"],
            "grown while timed, MB": m.get("grown_mb", math.nan),
            "GPU peak, MB": m.get("gpu_peak_mb", math.nan),
        }
    return pd.DataFrame.from_dict(rows, orient="index").round(2)


def goal_table(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Minutes to each SDR at 2 mm on validation patients; NaN = not within the run.

    Args:
        curves: of `histories`.
    """
    reached = {name: minutes_to(history, GOALS) for name, history in curves.items()}
    return pd.DataFrame.from_dict(reached, orient="index").astype(float).round(1)
