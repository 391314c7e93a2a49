"""Predicting new images gives what the run predicted for the same images."""

import errno
import os

import pandas as pd
import pytest
from conftest import write_native

from lmkit import evaluate, predict, runs, stages
from lmkit.config import InputError, make_config


def quiet(_line: str) -> None:
    pass


@pytest.mark.parametrize("side", ["right", "left", "both", "joint"])
def test_files_are_predicted_as_in_the_run(tiny, side, tmp_path):
    run = stages.train_run(make_config(tiny | {"side": side}), log=quiet)
    stored = run.predictions
    folder = tmp_path / "crosses" / "images"
    files = [folder / name for name in stored["image"].unique()]
    got = evaluate.predict(run, files)
    got["image"] = [path.rsplit("/", 1)[1] for path in got["image"]]
    keys = ["image", "side", "landmark"]
    both = stored.merge(got, on=keys, suffixes=("_run", ""))
    assert len(both) == len(stored) == len(got)
    assert both["x"].to_numpy() == pytest.approx(both["x_run"].to_numpy(), abs=1e-3)
    assert both["y"].to_numpy() == pytest.approx(both["y_run"].to_numpy(), abs=1e-3)
    assert both["peak"].to_numpy() == pytest.approx(both["peak_run"].to_numpy(), abs=1e-5)


def test_a_dataset_without_sides_and_the_command_line(tiny, tmp_path, capsys):
    folder = write_native(tmp_path / "plain" / "crosses", sides=())
    run = stages.train_run(make_config(tiny | {"dataset": str(folder)}), log=quiet)
    target = tmp_path / "found.csv"
    code = predict.main([str(run.folder), str(folder / "images"), "-o", str(target)])
    assert code == 0
    assert "12 images, 24 landmarks" in capsys.readouterr().out
    table = pd.read_csv(target)
    assert list(table.columns)[:6] == ["image", "side", "landmark", "x", "y", "peak"]
    assert table["trust"].dtype == bool
    assert ((table["p_fail"] > 0) & (table["p_fail"] < 1)).all()
    assert set(table["side"]) == {"all"}


def test_wrong_input_is_named(tiny, tmp_path, capsys):
    run = stages.train_run(make_config(tiny), log=quiet)
    text = tmp_path / "no.png"
    text.write_text("not an image")
    with pytest.raises(InputError, match=r"no.png: expected a readable image"):
        evaluate.predict(run, [text])
    with pytest.raises(InputError, match="expected at least one image file"):
        evaluate.predict(run, [])
    (tmp_path / "empty").mkdir()
    assert predict.main([str(run.folder), str(tmp_path / "empty")]) == 1
    assert "expected images (png" in capsys.readouterr().err
    (run.folder / "metrics.json").unlink()
    with pytest.raises(InputError, match="expected a finished run"):
        evaluate.predict(runs.load_run(run.folder), [text])


def test_a_place_that_cannot_be_written_is_told_before_anything_is_predicted(
    tmp_path, monkeypatch, capsys
):
    asked = []
    monkeypatch.setattr(predict, "predict", lambda *given: asked.append(given))
    image = tmp_path / "a.png"
    image.touch()
    (tmp_path / "file").touch()
    for place, said in (
        (tmp_path / "file" / "x.csv", "x.csv: expected a place to write to, got: "),
        (tmp_path, "expected a file to write to, got a folder"),
    ):
        assert predict.main(["run", str(image), "-o", str(place)]) == 1
        assert said in capsys.readouterr().err
    assert not asked


def test_a_disk_that_fills_up_while_the_table_is_written_is_one_line(tmp_path, monkeypatch, capsys):
    class Full:
        def to_csv(self, *_given, **_named):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(predict, "predict", lambda *_: Full())
    (tmp_path / "a.png").touch()
    target = tmp_path / "found.csv"
    assert predict.main(["run", str(tmp_path / "a.png"), "-o", str(target)]) == 1
    assert "found.csv: expected a place to write to, got: No space left" in capsys.readouterr().err
    assert not target.exists()
