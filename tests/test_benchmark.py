"""What a recipe costs: measured in processes of their own, written once, read ever after."""

import json
import time

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY

from lmkit import benchmark, canvas, files, notebooks, sidebyside, spans
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
    assert min(found["steps"], found["predict_steps"]) >= 3
    assert list(found["shares"]) == list(benchmark.PARTS)
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert min(found["shares"].values()) > 0, "a part of the step is not labelled any more"


def test_what_is_timed_has_the_batch_and_the_detail_of_the_real_thing(monkeypatch):
    trained, predicted = [], []
    train_epoch, infer = benchmark.train_epoch, benchmark.infer

    def train(state, feed, config):
        trained.append(len(feed))
        return train_epoch(state, feed, config)

    def guess(model, feed, detail=False):
        predicted.append((len(feed), detail))
        return infer(model, feed, detail)

    monkeypatch.setattr(benchmark, "train_epoch", train)
    monkeypatch.setattr(benchmark, "infer", guess)
    found = benchmark.measure(make_config(TINY), 1e-9, {"images": 7, "landmarks": 3})
    assert trained == [3, 3, 3, 3], "a step to warm up, and three that count"
    assert predicted == [(8, True)] * 4
    assert (found["steps"], found["predict_steps"]) == (3, 3)


def test_a_recipe_that_mirrors_is_measured_on_made_up_images():
    mirrored = {"side": "joint", "augment": "mirror+affine", "tta": "mirror"}
    found = benchmark.measure(make_config(TINY | mirrored), 1e-9, {"images": 7, "landmarks": 4})
    assert found["train_images_per_s"] > 0


def test_memory_of_a_gpu_is_told_beside_that_of_the_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *_: 2**50)
    assert benchmark._peak_mb() < 2**20


def test_the_parts_of_a_step_are_timed_by_the_clock_and_only_where_watched(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def work(name, seconds):
        with spans.span(name):
            now[0] += seconds

    work("forward", 5.0)
    with spans.watching(torch.device("cpu")) as watch:
        for _ in range(3):
            work("forward", 1.0)
            work("backward", 2.0)
            now[0] += 7.0  # between the parts
    work("forward", 5.0)
    assert watch.seconds == {"forward": 3.0, "backward": 6.0}
    assert watch.shares() == {"forward": pytest.approx(1 / 3), "backward": pytest.approx(2 / 3)}


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
    named = config.model_copy(update={"run": "bench"})
    sidebyside.side_by_side(named, 0.05, log=lambda _line: None)
    with pytest.raises(InputError, match=r"a benchmark with minutes 0\.05, expected 0\.1; name an"):
        sidebyside.side_by_side(named, 0.1, log=lambda _line: None)
    slower = named.model_copy(update={"batch_size": 4})
    with pytest.raises(InputError, match=r"bench.*holds a benchmark with batch_size 3, expected 4"):
        sidebyside.side_by_side(slower, 0.05, log=lambda _line: None)
    damaged = sidebyside.benchmark_folder(named, 0.05) / "benchmark.json"
    for text in ("", "{}", "[]"):
        damaged.write_text(text)
        with pytest.raises(InputError, match=r"benchmark\.json: expected"):
            sidebyside.side_by_side(named, 0.05, log=lambda _line: None)
    table = sidebyside.recipe_table(found)
    assert table.loc["quick", "faster"] == 25.0
    assert table.loc["before, float32", "epoch, s"] == 4.0
    with pytest.raises(InputError, match="minutes: expected a number > 0, got 'ten'"):
        sidebyside.benchmark_folder(config, "ten")


def test_a_recipe_is_measured_once_at_its_own_batch_size():
    names = {size: list(sidebyside.recipes(configure({"batch_size": size}))) for size in (8, 16, 4)}
    old = ["before, float32", "before", "before, batch 16", "after", "quick"]
    assert names[8] == [*old, "quick, batch 16"]
    assert names[16] == [*old, "quick, batch 8"]
    assert names[4] == [*old, "quick, batch 8", "quick, batch 16"]
    assert sidebyside.at_batch(configure({"batch_size": 8}), 8) == "quick"


def test_a_benchmark_that_failed_keeps_what_it_measured(tiny, monkeypatch):
    config = make_config(tiny | {"preset": "quick", "epochs": 1})
    asked, quiet = [], {"log": lambda _line: None}

    def measured(settings, seconds, made_up=None):
        asked.append(settings)
        if len(asked) in (3, 9):  # among the recipes, and among what grows
            raise InputError("benchmark: expected figures, got: Killed")
        return {
            **{"train_images_per_s": float(len(asked)), "predict_ms": 1.0, "peak_mb": 300.0},
            **{"batch_size": 8, "label_sets": 8, "precision": "bf16", "parameters": 1000},
        }

    monkeypatch.setattr(sidebyside, "in_process", measured)
    for n in (3, 9):
        with pytest.raises(InputError, match="Killed"):
            sidebyside.side_by_side(config, 0.05, **quiet)
        assert len(asked) == n
    found = sidebyside.side_by_side(config, 0.05, **quiet)
    recipes, grown = len(sidebyside.recipes(config)), sum(map(len, sidebyside.GROWTH.values()))
    assert len(asked) == recipes + grown + 2, "measured again what was known"
    assert found["recipes"]["before"]["train_images_per_s"] == 2.0
    assert {what: len(many) for what, many in found["growth"].items()} == {
        what: len(values) for what, values in sidebyside.GROWTH.items()
    }
    assert found["train_ratio"] > 0


def test_what_another_machine_measured_is_not_mixed_in(tiny, monkeypatch):
    config = make_config(tiny | {"preset": "quick", "epochs": 1})
    stored = sidebyside.benchmark_folder(config, 0.05) / "benchmark.json"
    begun = sidebyside._begun(stored, config, 0.05)
    begun["recipes"] = {"before": {"train_images_per_s": 1.0}}
    files.write_json(stored, begun)
    assert sidebyside._begun(stored, config, 0.05)["recipes"]
    files.write_json(stored, begun | {"about": begun["about"] | {"cpus": 512}})
    assert sidebyside._begun(stored, config, 0.05)["recipes"] == {}


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
