"""Faults that a reviewer found once: each has to stay mended."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_native
from PIL import Image

from lmkit import audit, data, parameters, records, runs, samples, stages
from lmkit.config import InputError, RunConfig, make_config


def quiet(_line: str) -> None:
    pass


def test_two_evaluations_at_once_cannot_double_the_test_rows(tiny):
    run = stages.train_run(make_config(tiny), log=quiet)
    with records.locked(run.folder), pytest.raises(InputError, match="another process is writing"):
        stages.open_test_split(run, log=quiet)
    assert len(stages.open_test_split(run, log=quiet)) == 4


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the statistics of such an error
@pytest.mark.parametrize("error_mm", [np.inf, 1e300])
def test_scores_that_are_not_finite_write_none_of_their_files(tmp_path, error_mm):
    columns = ["split", "image", "patient", "side", "landmark"]
    columns += ["x", "y", "x_true", "y_true", "error_mm", "peak"]
    rows = [
        ("val", f"{k}.png", f"p{k}", "all", "tip", 1.0, 2.0, 3.0, 4.0, e, 0.5)
        for k, e in enumerate((1.0, 2.0, error_mm, 3.0))
    ]
    run = runs.Run(tmp_path, RunConfig(), {})
    with pytest.raises(InputError, match=r"got an error of .* mm \(2\.png, all tip\)"):
        records.write_scores(run, pd.DataFrame(rows, columns=columns))
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_that_moved_is_evaluated_where_it_is_now(tiny):
    stages.train_run(make_config(tiny), log=quiet)
    moved = Path(tiny["dataset"]).with_name("elsewhere")
    shutil.move(tiny["dataset"], moved)
    run = stages.finished_run(make_config(tiny | {"dataset": str(moved)}), log=quiet)
    assert len(stages.open_test_split(run, log=quiet)) == 4


def test_a_parameters_cell_without_its_first_line_is_not_ignored():
    with pytest.raises(InputError, match="starts with `# Parameters:`"):
        parameters.resolve({"In": ["", "side = 'left'", "# Parameters\nsigma_pix = 3"]})
    assert parameters.resolve({"side": "left"}, quiet=True).side == "left"


def test_a_decimal_comma_is_not_read_as_two_numbers(native):
    path = native / "landmarks.csv"
    lines = path.read_text().splitlines()
    lines[4] = "p01.png,left,tip,12,5,30"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"landmarks.csv row 5: expected 5 cells, got more"):
        data.open_dataset(native)


def test_blank_lines_do_not_shift_the_row_number(native):
    path = native / "landmarks.csv"
    lines = path.read_text().splitlines()
    lines[10] = lines[10].rsplit(",", 1)[0] + ",high"
    path.write_text("\n".join([*lines[:5], "", "", "", *lines[5:]]))
    with pytest.raises(InputError, match=r"landmarks.csv row 14: y: expected a number, got 'high'"):
        data.open_dataset(native)


def test_a_misspelt_column_or_key_is_not_ignored(native):
    path = native / "images.csv"
    path.write_text(path.read_text().replace("split", "Split", 1))
    with pytest.raises(InputError, match=r"unknown column 'Split'; did you mean split\?"):
        data.open_dataset(native)
    about = native / "dataset.yaml"
    about.write_text(about.read_text().replace("sides", "sidez"))
    with pytest.raises(InputError, match=r"unknown key 'sidez'; did you mean sides\?"):
        data.open_dataset(native)


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_a_few_patients_still_fill_every_split(tmp_path, n):
    folder = write_native(tmp_path / "few", n=n)
    table = pd.read_csv(folder / "images.csv").assign(split="")
    table.to_csv(folder / "images.csv", index=False)
    assert set(data.open_dataset(folder).images["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize("name", ["metrics.json", "predictions.csv", "history.csv"])
@pytest.mark.parametrize("content", [b"", b"{", b"\x89\xff\x00", b"a,b\n1,2\n"])
def test_a_corrupt_file_of_a_run_is_named(tiny, name, content):
    run = stages.train_run(make_config(tiny), log=quiet)
    (run.folder / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        _ = run.metrics, run.predictions, run.history


def test_a_checkpoint_without_its_settings_is_not_adopted(tiny):
    run = stages.train_run(make_config(tiny), log=quiet)
    (run.folder / "config.yaml").unlink()
    (run.folder / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"checkpoint without config.yaml"):
        stages.train_run(make_config(tiny), log=quiet)


def test_an_outputs_that_cannot_be_written_is_named(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a place to write to"):
        stages.train_run(make_config(tiny | {"outputs": str(tmp_path / "file")}), log=quiet)


def test_a_batch_of_one_on_one_pixel_is_refused_before_anything_is_written(tiny):
    config = make_config(tiny | {"input_hw": (8, 8), "batch_size": 7})
    with pytest.raises(InputError, match="batch_size: expected no batch of one image"):
        stages.train_run(config, log=quiet)
    assert not Path(tiny["outputs"]).exists()


def test_suspects_of_both_sides_are_compared_in_one_frame(native):
    path = native / "landmarks.csv"
    table = pd.read_csv(path)
    rows = (table["image"] == "p03.png") & (table["side"] == "left")
    table.loc[rows, "x"] = 30.0  # the left label on the other side
    table.to_csv(path, index=False)
    ds = data.open_dataset(native)
    found = audit.shape_outliers(samples.line_up(ds, "both"), ds.sizes(), top=1)
    assert found[["image", "side"]].to_numpy().tolist() == [["p03.png", "left"]]


def test_only_the_axis_without_spacing_takes_the_given_one(native):
    table = pd.read_csv(native / "images.csv").assign(spacing_y_mm="")
    table.to_csv(native / "images.csv", index=False)
    ds = data.open_for(make_config({"dataset": str(native), "spacing_mm": 0.5}))
    assert ds.spacing_mm[0].tolist() == [0.2, 0.5]


def test_a_spacing_that_no_image_needs_is_refused_and_not_ignored(native):
    with pytest.raises(InputError, match=r"spacing_mm: expected images of .* that state no"):
        data.open_for(make_config({"dataset": str(native), "spacing_mm": 0.5}))


def test_deep_values_beyond_sixteen_bits_are_scaled_and_not_wrapped(native):
    values = np.linspace(-5, 70000, 60 * 110).reshape(60, 110).astype(np.float32)
    values[0, 0] = np.nan
    Image.fromarray(values).save(native / "images" / "deep.tif")
    from lmkit.images import read_image

    image = read_image(native / "images" / "deep.tif")
    assert (image.min(), image.max()) == (0, 65535)
    assert (np.diff(image[1].astype(int)) >= 0).all()
