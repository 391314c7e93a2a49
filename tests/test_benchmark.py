"""What a recipe costs: measured in processes of their own, written once, read ever after."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY

from lmkit import benchmark, canvas, notebooks, sidebyside
from lmkit.config import InputError, make_config
from lmkit.parameters import configure

FIGURES = {"train_images_per_s", "predict_ms", "peak_mb", "shares", "label_sets", "precision"}


@pytest.mark.parametrize("model", ["unet", "cascade"])
def test_a_measurement_times_training_and_prediction_and_splits_the_step(model):
    small = {"model": model, "widths": (8, 12), "coarse_stride": 2, "crop_px": 8}
    config = make_config(TINY | small | {"augment": "affine"})
    found = benchmark.measure(config, 0.05, {"images": 7, "landmarks": 3})
    assert found.keys() >= FIGURES
    assert found["label_sets"] == 7
    assert found["train_images_per_s"] > 0
    assert found["predict_ms"] > 0
    assert found["peak_mb"] >= found["base_mb"] > 10
    assert list(found["shares"]) == list(benchmark.PARTS)
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert min(found["shares"].values()) > 0, "a part of the step is not labelled any more"


def test_a_dataset_is_measured_in_a_process_of_its_own(native):
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in TINY.items()}
    settings |= {"dataset": str(native), "side": "right", "pool_sides": True}
    found = benchmark.in_process(settings, 0.05)
    assert found["label_sets"] == 16  # 8 patients, two sides
    with pytest.raises(InputError, match=r"expected figures, got: .*dataset: expected"):
        benchmark.in_process(settings | {"dataset": str(native / "no")}, 0.05)


def test_minutes_to_a_goal_are_summed_up_to_the_first_epoch_that_reaches_it():
    history = pd.DataFrame({"seconds": [60, 30, 30, 60], "val_sdr_2mm": [0.2, 0.8, 0.7, 0.95]})
    assert benchmark.minutes_to(history, [0.1, 0.8, 0.95, 0.96]) == {
        0.1: 1.0,
        0.8: 1.5,
        0.95: 3.0,
        0.96: None,
    }
    assert benchmark.minutes_to(history, [0.8], epoch_s=120.0) == {0.8: 4.0}


def test_reading_many_images_leaves_no_memory_behind(tmp_path):
    n, path = 400, tmp_path / "canvas.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (n, 600, 1100))
    eye = torch.eye(3, dtype=torch.float64).expand(n, 3, 3)
    mapped = canvas.map_canvas(path, eye, np.tile([600, 1100], (n, 1)))
    mapped.batch(np.arange(8))
    before = benchmark._now_mb()
    for start in range(0, n, 8):
        assert mapped.batch(np.arange(start, start + 8)).shape == (8, 1, 600, 1100)
    grown = benchmark._now_mb() - before
    assert grown < 60, f"264 MB were read, {grown:.0f} MB stayed in this process"


def test_recipes_share_the_data_and_differ_in_what_their_names_say():
    config = configure({"preset": "quick", "side": "left", "phantom_patients": (9, 3, 4)})
    found = {name: configure(s) for name, s in sidebyside.recipes(config).items()}
    assert {c.side for c in found.values()} == {"left"}
    assert {c.phantom_patients for c in found.values()} == {(9, 3, 4)}
    assert found["before, float32"].precision == "float32"
    assert found["before"].widths == (64, 128, 256, 512, 1024)
    assert (found["before, batch 16"].batch_size, found["before"].batch_size) == (16, 8)
    assert found["after"].loss == "combined"
    assert found["quick"].model_dump() == config.model_dump()


def test_the_benchmark_is_written_once_and_then_read(tiny, tmp_path, monkeypatch):
    config = make_config(tiny | {"preset": "quick", "epochs": 3})
    asked = []

    def measured(settings, seconds, made_up=None):  # the old network takes minutes
        asked.append((settings["preset"], made_up))
        speed = {"before": 2.0, "after": 2.5, "quick": 50.0}[settings["preset"]]
        return {
            **{"train_images_per_s": speed, "predict_ms": 100 / speed, "peak_mb": 300.0},
            **{"batch_size": 8, "label_sets": 8, "precision": "bf16", "parameters": 1000},
            "shares": dict.fromkeys(benchmark.PARTS, 0.2),
        }

    monkeypatch.setattr(sidebyside, "in_process", measured)
    found = sidebyside.side_by_side(config, 0.05, log=lambda _line: None)
    assert (found["train_ratio"], found["inference_ratio"]) == (25.0, 25.0)
    assert found["n_train"] == 8
    assert set(found["growth"]) == {"images", "landmarks", "size"}
    assert [m["size"] for m in found["growth"]["size"]] == [16 * 32, 32 * 64, 64 * 128]
    assert set(found["minutes_to_sdr_2mm"]["quick"]) == {"0.8", "0.9", "0.95"}
    stored = sidebyside.benchmark_folder(config, 0.05) / "benchmark.json"
    assert json.loads(stored.read_text()) == json.loads(json.dumps(found))
    slow = pd.DataFrame({"seconds": [60.0] * 3, "val_sdr_2mm": [0.1, 0.8, 0.9]})
    n = len(asked)
    assert sidebyside.side_by_side(config, 0.05, log=lambda _line: None)["train_ratio"] == 25.0
    assert len(asked) == n, "measured again"
    assert sidebyside.goal_table({"a": slow}).loc["a"].tolist() == [
        2.0,
        3.0,
        pytest.approx(np.nan, nan_ok=True),
    ]
    table = sidebyside.recipe_table(found)
    assert table.loc["quick", "faster"] == 25.0
    assert table.loc["before, float32", "epoch, s"] == 4.0
    with pytest.raises(InputError, match="minutes: expected a number > 0, got 'ten'"):
        sidebyside.benchmark_folder(config, "ten")


def test_the_old_recipe_comes_from_a_run_at_hand_at_this_machines_pace(tiny):
    from lmkit import stages

    quiet = {"log": lambda _line: None}
    config = make_config(tiny | {"preset": "quick"})
    trained = stages.train_run(config, **quiet)
    measured = {sidebyside.OLD: {"train_images_per_s": 0.5}}
    assert list(sidebyside.histories(config, trained, measured)) == ["quick"]
    stages.train_run(make_config(tiny | {"preset": "before", "run": "old"}), **quiet)
    found = sidebyside.histories(config, trained, measured)
    (old,) = set(found) - {"quick"}
    assert old.startswith("before, kept run of 2")
    assert found[old]["seconds"].tolist() == [16.0, 16.0]  # 8 images at one in 2 s


def test_the_executed_benchmark_belongs_beside_its_figures(tiny):
    notebook = notebooks.project_root() / "notebooks" / "06_benchmark.ipynb"
    given = {k: tiny[k] for k in ("dataset", "outputs")} | {"minutes": 2}
    folder = notebooks._folder(notebook, given)
    assert folder.name.startswith("benchmark-recommended-")  # the notebook's own preset
    assert folder.name.endswith("-2min")
    assert notebooks._folder(notebook, given | {"run": "mine"}).name == "mine"
