"""The label audit with predictions of real models, out of fold, on labels with planted faults.

python tests/real_folds.py --patients 300 --share 0.04 --minutes 10 --folds 2 --outputs somewhere

By hand: it trains `folds` models of `minutes` each, once; a second call only judges. A few faults
of a kind tell little, so the same predictions are also judged against other faults planted in the
same labels (`--plantings`): no model has seen the labels that it is held against, and each was
trained on as many faults. `make test` holds the same bars with simulated predictions
(`test_audit_predictions.py`).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from lmkit import data, phantom
from lmkit.audit_predictions import audit_dataset
from lmkit.folds import out_of_fold
from lmkit.metrics import radial_error_mm
from lmkit.parameters import configure
from lmkit.phantom_faults import KINDS, inject_faults

KEY = ["image", "side"]


def write_faulty(
    folder: Path, patients: int, share: float, kinds: tuple[str, ...], seed: int
) -> None:
    """A native folder of phantom patients with faulty labels."""
    images, labels = phantom.table(seed, patients)
    bad, _ = inject_faults(labels, share, kinds, seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(images["image"]):
        if not (folder / "images" / name).exists():
            Image.fromarray(phantom.draw(phantom.anatomy(seed, index))).save(
                folder / "images" / name
            )
    images.assign(split="train").to_csv(folder / "images.csv", index=False)
    bad.to_csv(folder / "landmarks.csv", index=False)
    about = {"name": "faulty", "landmarks": list(phantom.NAMES), "sides": list(phantom.SIDES)}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(about))


def outcome(found: pd.DataFrame, faults: pd.DataFrame, n_sets: int) -> pd.DataFrame:
    """A row per kind of fault: planted, found, named right; of right labels: all, flagged, 0."""
    both = faults.merge(found, on=KEY, how="left")
    both["found"] = both["cause"].notna()
    both["named"] = both["cause"] == both["fault"]
    table = both.groupby("fault")[["found", "named"]].sum().astype(int)
    table.insert(0, "planted", both.groupby("fault").size())
    alarms = found.merge(faults[KEY], on=KEY, how="left", indicator=True)
    false = int((alarms["_merge"] == "left_only").sum())
    table.loc["false alarms"] = [n_sets - len(faults), false, 0]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.04)
    parser.add_argument("--kinds", nargs="+", default=[k for k in KINDS if k != "duplicate"])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--plantings", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--outputs", type=Path, required=True)
    given = parser.parse_args()
    folder = given.outputs / "faulty"
    write_faulty(folder, given.patients, given.share, tuple(given.kinds), given.seed)
    config = configure(
        {
            **{"preset": "recommended", "dataset": str(folder), "side": "both"},
            **{"max_minutes": given.minutes, "outputs": str(given.outputs), "run": "recommended"},
        }
    )
    seen = out_of_fold(config, given.folds)
    clean = data.open_dataset(folder)
    truth = phantom.table(given.seed, given.patients)[1].rename(columns={"x": "x0", "y": "y0"})
    far = seen.merge(truth, on=[*KEY, "landmark"]).merge(clean.images, on="image")
    error = radial_error_mm(
        far[["x", "y"]].to_numpy(),
        far[["x0", "y0"]].to_numpy(),
        far[["spacing_x_mm", "spacing_y_mm"]].to_numpy(),
    )
    print(f"models: median {np.median(error):.2f} mm, {100 * (error > 4).mean():.1f} % beyond 4 mm")
    labels = phantom.table(given.seed, given.patients)[1]
    n_sets, table = labels.groupby(KEY).ngroups, None
    for planting in range(given.plantings):
        seed = given.seed + planting
        bad, faults = inject_faults(labels, given.share, tuple(given.kinds), seed)
        found = audit_dataset(replace(clean, landmarks=bad), seen)
        own = outcome(found, faults, n_sets)
        table = own if table is None else table.add(own, fill_value=0).astype(int)
        if planting in (0, given.plantings - 1):
            shares = table.assign(recall=table["found"] / table["planted"])
            shares["named right"] = table["named"] / table["found"]
            print(f"{planting + 1} planting(s)\n{shares.round(3).to_string()}")


if __name__ == "__main__":
    main()
