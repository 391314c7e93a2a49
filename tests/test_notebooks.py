"""The notebooks as users run them: papermill, from here and from notebooks/, with wrong input."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import TINY, write_native
from PIL import Image, ImageColor

from lmkit import notebooks, runs, stages
from lmkit.config import InputError, make_config

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    *("config.yaml", "history.csv", "checkpoint.pt", "model.safetensors"),
    *("predictions.csv", "metrics.json", "trust.json", "figures"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks")
    write_native(folder / "crosses", n=14)
    return folder


def papermill(notebook: str, place: Path, *more: str, cwd: Path = ROOT, output: bool = True):
    """Run papermill as a user would; the settings of a tiny run, and whatever else is asked for."""
    settings = TINY | {"dataset": str(place / "crosses"), "outputs": str(place / "outputs")}
    given = []
    for key, value in settings.items():
        text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        given += ["-p", key, text]
    target = [str(place / f"{Path(notebook).stem}.out.ipynb")] if output else []
    command = [sys.executable, "-m", "papermill", notebook, *target, *given, *more]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=dict(os.environ))


def test_a_kept_picture_keeps_the_colours_of_its_marks():
    """A few pixels of each on an image of all greys and tints: a plain reduction blurs them."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (120, 160, 1))
    pixels = np.clip(grey + rng.integers(-20, 21, (120, 160, 3)), 0, 255).astype(np.uint8)
    for i, mark in enumerate(notebooks.MARKS):
        pixels[5 + 9 * i, 10:16] = ImageColor.getrgb(mark)
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG")
    output = {"data": {"image/png": base64.b64encode(stored.getvalue()).decode()}}
    notebooks._shrink(output)
    kept = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"])))
    assert kept.mode == "P"
    shown = np.asarray(kept.convert("RGB")).astype(int)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= notebooks.COLOURS
    for i, mark in enumerate(notebooks.MARKS):
        assert (shown[5 + 9 * i, 10:16] == ImageColor.getrgb(mark)).all(), mark


@pytest.mark.parametrize("side", ["left", "right", "both", "joint"])
def test_03_and_04_run_for_every_side(place, side):
    for notebook in ("notebooks/03_train.ipynb", "notebooks/04_evaluate.ipynb"):
        done = papermill(notebook, place, "-p", "side", side)
        assert done.returncode == 0, done.stderr[-2000:]
    (folder,) = (place / "outputs" / "crosses" / side).iterdir()
    assert {path.name for path in folder.iterdir()} >= FILES | {"report.html", "tables"}
    assert {path.name for path in (folder / "figures").iterdir()} >= {"history.png", "gallery.png"}
    run = runs.load_run(folder)
    assert set(run.metrics) == {"val", "test"}
    sides = {"left", "right"} if side in ("both", "joint") else {side}
    assert set(run.predictions["side"]) == sides


def test_04_joins_runs_sets_them_against_another_and_writes_a_report(place):
    settings = TINY | {"dataset": str(place / "crosses"), "outputs": str(place / "outputs")}
    for seed, name in enumerate(("first", "second")):
        made = make_config(settings | {"run": name, "seed": seed})
        stages.train_run(made, log=lambda line: None)
    given = ("-p", "members", "first,second", "-p", "by", "mean", "-p", "against", "first")
    done = papermill("notebooks/04_evaluate.ipynb", place, *given)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder,) = (place / "outputs" / "crosses" / "right").glob("ensemble-*")
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert page.count("data:image/png") >= 7
    assert "Left against right" not in page, "of one side alone there is nothing to set against"
    assert "Against first" in page
    table = pd.read_csv(folder / "tables" / "against.csv", index_col=0)
    assert table.loc["MRE, mm", "95 % from"] <= table.loc["MRE, mm", "95 % to"]


def test_inside_notebooks_without_an_output_path_the_notebook_comes_out_of_the_pipe(place):
    done = papermill(
        "03_train.ipynb", place, "-p", "side", "right", cwd=ROOT / "notebooks", output=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert nbformat.reads(done.stdout, as_version=4).cells


def test_01_runs_on_a_folder_without_sides(place):
    write_native(place / "plain", sides=())
    done = papermill(
        "notebooks/01_data_augmentation.ipynb", place, "-p", "dataset", str(place / "plain")
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_04_without_a_finished_run_trains_the_quick_one_first_and_says_so(place):
    outputs = str(place / "fresh")
    done = papermill("notebooks/04_evaluate.ipynb", place, "-p", "outputs", outputs)
    assert done.returncode == 0, done.stderr[-2000:]
    text = (place / "04_evaluate.out.ipynb").read_text()
    assert "training it first" in text
    assert "test split opened" in text


@pytest.mark.parametrize(
    "given, expected",
    [
        (("sigma_pix", "3"), "unknown parameter sigma_pix; did you mean sigma_px?"),
        (("epochs", "ten"), "epochs: expected a valid integer, got 'ten'"),
        (("dataset", "no/such/folder"), "got 'no/such/folder', which is missing"),
        (("preset", "befor"), "did you mean before?"),
    ],
)
def test_wrong_input_stops_with_one_line_and_leaves_nothing(place, given, expected):
    outputs = place / "nothing"
    done = papermill("notebooks/03_train.ipynb", place, "-p", "outputs", str(outputs), "-p", *given)
    assert done.returncode != 0
    assert f"InputError: {expected}" in done.stderr or expected in done.stderr
    assert "lmkit/" not in done.stderr, "our own code should not show up as a traceback"
    assert not outputs.exists()


def test_augment_false_means_none(place):
    done = papermill(
        "notebooks/03_train.ipynb", place, "-p", "augment", "false", "-p", "run", "plain"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert runs.load_run(place / "outputs" / "crosses" / "right" / "plain").config.augment == "none"


def test_the_command_line_keeps_the_executed_notebook_in_the_run_folder(place, capsys):
    settings = TINY | {"dataset": str(place / "crosses"), "outputs": str(place / "cli")}
    given = [
        word
        for key, value in settings.items()
        for word in ("-p", key, json.dumps(value) if isinstance(value, tuple) else str(value))
    ]
    assert notebooks.main(["03_train", "04_evaluate", *given]) == 0
    (folder,) = (place / "cli" / "crosses" / "right").iterdir()
    assert FILES | {"03_train.ipynb", "04_evaluate.ipynb"} <= {
        path.name for path in folder.iterdir()
    }
    assert "SDR 2 mm" in capsys.readouterr().out
    assert notebooks.main(["03_train", *given, "-p", "lr", "fast"]) == 1
    assert "error: lr: expected a valid number, got 'fast'" in capsys.readouterr().err
    assert notebooks.main(["03_tran"]) == 1
    assert "did you mean 03_train?" in capsys.readouterr().err


def test_a_failing_cell_keeps_its_notebook_beside_the_runs(place):
    broken = write_native(place / "broken")
    (broken / "images" / "p02.png").write_bytes(b"no image")
    settings = TINY | {"dataset": str(broken), "outputs": str(place / "failed"), "run": "mine"}
    with pytest.raises(InputError, match=r"p02.png: expected a readable image") as error:
        notebooks.execute("03_train", settings)
    kept = place / "failed" / "crosses" / "right" / "mine.03_train.failed.ipynb"
    assert str(kept) in str(error.value)
    assert "p02.png" in kept.read_text()
    assert not kept.with_name("mine").exists()


def test_real_ultrasound_images_train_and_evaluate(place, shared_data):
    given = ("-p", "dataset", str(shared_data / "us_hc18"), "-p", "epochs", "1")
    more = ("-p", "input_hw", "64x96", "-p", "run", "us")
    for notebook in ("notebooks/03_train.ipynb", "notebooks/04_evaluate.ipynb"):
        done = papermill(notebook, place, *given, *more)
        assert done.returncode == 0, done.stderr[-2000:]
    folder = place / "outputs" / "us_hc18" / "all" / "us"
    tested = runs.load_run(folder).predictions.query("split == 'test'")
    assert tested["image"].nunique() == 126
    images = pd.read_csv(shared_data / "us_hc18" / "images.csv").set_index("image")
    row = tested.iloc[0]
    spacing = images.loc[row["image"], "spacing_x_mm"]
    pixels = ((row["x"] - row["x_true"]) ** 2 + (row["y"] - row["y_true"]) ** 2) ** 0.5
    assert row["error_mm"] == pytest.approx(pixels * spacing)
    shutil.rmtree(folder)
