"""Simulated predictions with effects that are known, as folders and as tables.

A network's errors: lognormal on the right structure, and now and then 6 to 15 mm off. Hard patients
are hard for all networks; another seed fails on partly other patients and is a little better or
worse as a whole. A strategy's effect is put into the share of landmarks within 2 mm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd
import yaml
from scipy.special import ndtr, ndtri

from lmkit.ablation import Plan

LANDMARKS = ("a", "b", "c", "d", "e")
BASE_SDR = 0.90
SEED_SD = 0.004  # of SDR, from seed to seed


def predictions(rng, hard, sdr: float, side: str, own: float = 0.3) -> pd.DataFrame:
    """A run's validation rows.

    Args:
        hard: (patients, landmarks) standard normal, what patients and landmarks share.
        sdr: true share within 2 mm.
        own: share of the variance that is this network's alone.
    """
    n, n_landmarks = hard.shape
    noise = np.sqrt(0.5) * (rng.normal(size=(n, 1)) + rng.normal(size=(n, n_landmarks)))
    rank = ndtr(np.sqrt(1 - own) * hard + np.sqrt(own) * noise)  # uniform; high = hard
    within = rank <= sdr
    # below 2 mm: a lognormal cut there; above: a share of near misses, the rest far off
    core = np.exp(-0.7 + 0.6 * ndtri(np.clip(rank / sdr, 1e-6, 1) * ndtr((np.log(2) + 0.7) / 0.6)))
    far = (rank - sdr) / (1 - sdr)
    outside = np.where(far < 0.3, 2 + 2 * far / 0.3, 6 + 9 * (far - 0.3) / 0.7)
    error = np.where(within, np.minimum(core, 2), outside)
    names = np.array([f"p{i:03d}" for i in range(n)])
    return pd.DataFrame(
        {
            "split": "val",
            "image": np.repeat(np.char.add(names, ".png"), n_landmarks),
            "patient": np.repeat(names, n_landmarks),
            "side": side,
            "landmark": np.tile(LANDMARKS, n),
            "error_mm": error.ravel(),
            "peak": 0.5,
        }
    )


def sweep(
    rng,
    effects: dict[str, float],
    n: int = 120,
    seeds: int = 3,
    seed_sd: float = SEED_SD,
    alike: tuple[str, ...] = (),
):
    """name -> tables, one per seed, both sides in each; `base` has effect 0.

    Args:
        effects: strategy -> difference of the SDR at 2 mm, a share.
        alike: strategies whose seeds share the base's luck, as where the same start is trained on.
    """
    luck = rng.normal(size=(seeds, 2))
    shared = {}
    for side in ("left", "right"):
        patient, landmark = rng.normal(size=(n, 1)), rng.normal(size=(n, len(LANDMARKS)))
        shared[side] = np.sqrt(0.6) * patient + np.sqrt(0.4) * landmark
    found = {}
    for name, effect in {"base": 0.0, **effects}.items():
        tables = []
        for k in range(seeds):
            own = luck[k] if name in ("base", *alike) else rng.normal(size=2)
            parts = [
                predictions(rng, hard, BASE_SDR + effect + seed_sd * own[i], side)
                for i, (side, hard) in enumerate(shared.items())
            ]
            tables.append(pd.concat(parts, ignore_index=True))
        found[name] = tables
    return found


def write_folders(plan: Plan, tables: Mapping[str, list[pd.DataFrame]]) -> None:
    """Run folders of a plan, as training leaves them, of simulated predictions.

    Args:
        tables: strategy -> one table per seed, both sides in each; the base as `base`.
    """
    names = {plan.base(design): "base" for design in plan.designs}
    for run in plan.runs:
        rows = tables[names.get(run.strategy, run.strategy)][run.seed]
        if run.side in ("left", "right"):
            rows = rows[rows["side"] == run.side]
        hit = float((rows["error_mm"] <= 2).mean())
        epoch = np.arange(1, 9)
        sdr = hit * (1 - np.exp(-epoch / 2))
        history = pd.DataFrame(
            {"epoch": epoch, "val_mre_mm": 5 - 4 * sdr, "val_sdr_2mm": sdr, "seconds": 4.0}
        )
        run.folder.mkdir(parents=True)
        about = {"dataset_fingerprint": run.fingerprint, "n_maps": rows["landmark"].nunique()}
        stored = {"settings": run.config.model_dump(mode="json"), "about": about}
        (run.folder / "config.yaml").write_text(yaml.safe_dump(stored))
        (run.folder / "metrics.json").write_text(json.dumps({"val": {}}))
        (run.folder / "sweep.json").write_text(
            json.dumps({"wall_s": 40.0, "threads": 1, "host": "here"})
        )
        history.to_csv(run.folder / "history.csv", index=False)
        rows.to_csv(run.folder / "predictions.csv", index=False)
