"""Finished runs joined into one: their maps or their points averaged, kept as a run of its own.

An ensemble of one set of settings over several seeds is trained by `ensemble` in 03; this joins
runs that are there already, also of different settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from torch import nn

from lmkit.batches import canvas_for
from lmkit.choices import ENSEMBLE_BY
from lmkit.config import RunConfig
from lmkit.data import Dataset, open_for
from lmkit.evaluate import predict_samples
from lmkit.fields import InputError, nearest
from lmkit.files import write_text
from lmkit.inference import members_of
from lmkit.measures import spacing_of
from lmkit.metrics import radial_error_mm, summarise
from lmkit.records import locked, write_scores
from lmkit.runs import Run, here, load_run, run_folder
from lmkit.samples import line_up
from lmkit.stages import open_test_split

SAME_MAPS = [  # settings that two runs must share for their maps to be averaged pixel by pixel
    *("model", "input_hw", "keep_aspect", "stem_stride", "coarse_stride"),
    *("target", "sigma_px", "sigma_mm", "sigma_schedule"),
    *("amplitude", "learn_sigma", "hold_peak", "loss", "decoder", "soft_beta", "tta"),
]
KEYS = ["split", "image", "patient", "side", "landmark"]


def join_runs(
    config: RunConfig,
    members: str,
    by: str = "maps",
    log: Callable[[str], None] = print,
) -> Run:
    """The run that some finished runs make together; joined before, it is opened.

    Args:
        config: names the dataset, the side and outputs; its own run is not used.
        members: names of run folders of that dataset and side, with commas; two or more.
        by: maps (averaged, then decoded), mean or median (of the members' points).
    Raises: InputError for an unknown or unfinished member, one of other data, or, by maps, of
        settings whose maps do not lie over each other.
    """
    dataset, folder = open_for(config), joined_folder(config, members, by)
    runs, name = _members(config, members, dataset), folder.name
    first = runs[0]
    about = first.about | {"members": [run.folder.name for run in runs], "joined_by": by}
    settings = first.config.model_copy(
        update={"run": name, "ensemble": len(runs), "ensemble_by": by}
    )
    joined = Run(folder, settings, about)
    if joined.finished:
        log(f"{name}: joined before")
        return load_run(folder)
    predictions = (_by_maps if by == "maps" else _by_points)(runs, dataset, by, log)
    stored = {"settings": settings.model_dump(mode="json"), "about": about}
    with locked(folder):
        write_text(folder / "config.yaml", yaml.safe_dump(stored, sort_keys=False))
        write_scores(joined, predictions)
    return joined


def joined_folder(config: RunConfig, members: str, by: str = "maps") -> Path:
    """Where `join_runs` keeps what these members make together. Raises: InputError for `by`."""
    if by not in ENSEMBLE_BY:
        raise InputError(f"by: expected {' | '.join(ENSEMBLE_BY)}, got {by!r}")
    what = repr((by, sorted(set(_names(members))))).encode()
    name = f"ensemble-{hashlib.blake2b(what, digest_size=4).hexdigest()}"
    return run_folder(config.model_copy(update={"run": name}), open_for(config))


def _names(members: str) -> list[str]:
    return [name.strip() for name in members.split(",") if name.strip()]


def _members(config: RunConfig, members: str, dataset: Dataset) -> list[Run]:
    """The runs of these names, beside each other. Raises: InputError."""
    side = run_folder(config.model_copy(update={"run": "x"}), dataset).parent
    wanted = _names(members)
    have = sorted(path.parent.name for path in side.glob("*/metrics.json"))
    for name in wanted:
        if name not in have:
            raise InputError(
                f"members: expected finished runs in {side}, got {name!r}{nearest(name, have)}; "
                f"there are: {', '.join(have) or 'none'}"
            )
    if len(set(wanted)) < 2:
        raise InputError(f"members: expected two runs or more, with commas, got {members!r}")
    runs = [here(load_run(side / name), config, dataset) for name in dict.fromkeys(wanted)]
    for run in runs:
        if not run.finished:
            raise InputError(
                f"members: expected finished runs, got {run.folder.name}, which is not"
            )
    return runs


def _by_maps(
    runs: Sequence[Run], dataset: Dataset, by: str, log: Callable[[str], None]
) -> pd.DataFrame:
    first = runs[0].config
    unused = {"coarse_stride"} if first.model != "cascade" else set()
    for run in runs[1:]:
        for key in SAME_MAPS:
            if key not in unused and getattr(run.config, key) != getattr(first, key):
                raise InputError(
                    f"by: expected maps of the same kind, got {runs[0].folder.name} with {key} "
                    f"{getattr(first, key)} and {run.folder.name} with "
                    f"{getattr(run.config, key)}; join by mean or median"
                )
    networks = nn.ModuleList([net for run in runs for net in members_of(run.model())])
    config = first.model_copy(update={"ensemble_by": by})
    samples, canvas, tables = line_up(dataset, first.side), canvas_for(dataset, first), []
    for split in ("val", "test"):
        part = samples.split(split)
        log(f"{split}: {len(part)} label sets, {len(networks)} networks")
        tables.append(predict_samples(networks, config, part, canvas))
    return pd.concat(tables, ignore_index=True)


def _by_points(
    runs: Sequence[Run], dataset: Dataset, by: str, log: Callable[[str], None]
) -> pd.DataFrame:
    for run in runs:
        open_test_split(run, log)
    tables = [run.predictions.set_index(KEYS) for run in runs]
    first = tables[0]
    tables = [table.reindex(first.index) for table in tables]
    points = np.stack([table[["x", "y"]].to_numpy(float) for table in tables])
    if np.isnan(points).any():
        raise InputError("members: expected predictions of the same landmarks, got different ones")
    middle = np.median(points, 0) if by == "median" else points.mean(0)
    joined = first[["x_true", "y_true"]].assign(x=middle[:, 0], y=middle[:, 1]).reset_index()
    spacing = spacing_of(joined["image"], dataset.images)
    true = joined[["x_true", "y_true"]].to_numpy(float)
    away = (points - points.mean(0)) * spacing
    shared = [c for c in ("peak", "ere_mm", "second_share") if all(c in table for table in tables)]
    means = {c: np.mean([table[c].to_numpy(float) for table in tables], 0) for c in shared}
    return joined[[*KEYS, "x", "y", "x_true", "y_true"]].assign(
        error_mm=radial_error_mm(middle, true, spacing),
        **means,
        ensemble_mm=np.sqrt((away**2).sum(-1).mean(0)),
    )


def gain_table(joined: Run, split: str = "test") -> pd.DataFrame:
    """What joining gives and what it costs, a row per member and one for the ensemble.

    Returns: MRE and median (mm), failures, SDR at 2 mm (shares), networks (passes per image: the
        cost of a prediction) and minutes (of training).
    """
    rows = {}
    members = [load_run(joined.folder.parent / name) for name in joined.about["members"]]
    for run in (*members, joined):
        errors = run.predictions.query("split == @split")["error_mm"].to_numpy()
        summary = summarise(errors[:, None])
        own = members if run is joined else [run]
        rows[run.folder.name] = {
            "MRE, mm": summary["mre_mm"],
            "median, mm": summary["median_mm"],
            "failures": summary["failure_rate"],
            "SDR 2 mm": summary["sdr"]["2"],
            "networks": sum(member.config.ensemble for member in own),
            "minutes": sum(member.history["seconds"].sum() for member in own) / 60,
        }
    return pd.DataFrame.from_dict(rows, orient="index")
