"""Predicting new images gives what the run predicted for the same images."""

import errno
import json
import os

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import draw_cross, write_native
from PIL import Image

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


def test_the_command_says_what_trust_is_worth_and_warns_of_a_run_that_fails(tiny, tmp_path, capsys):
    run = stages.train_run(make_config(tiny), log=quiet)
    image = str(next((tmp_path / "crosses" / "images").iterdir()))
    rule = run.trust_rule
    for offset, warned in ((20.0, True), (-20.0, False)):  # logit of p_fail at no risk
        changed = rule.to_dict() | {"slope": 0.0, "offset": offset, "threshold": 1e9}
        (run.folder / "trust.json").write_text(json.dumps(changed))
        assert predict.main([str(run.folder), image, "-o", str(tmp_path / "found.csv")]) == 0
        said = capsys.readouterr()
        assert f"trusted on validation: {rule.said()}; " in said.out
        assert ("warning: 2 of 2 trusted points have p_fail over 0.5" in said.err) == warned
    (run.folder / "trust.json").unlink()
    assert predict.main([str(run.folder), image, "-o", str(tmp_path / "found.csv")]) == 0
    assert "trust" not in capsys.readouterr().out


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


def test_an_image_is_predicted_alike_alone_and_beside_a_larger_one(tiny, tmp_path):
    run = stages.train_run(make_config(tiny), log=quiet)
    folder = tmp_path / "others"
    folder.mkdir()
    sizes = {"small.png": (20, 40), "large.png": (150, 260), "wide.png": (40, 140)}
    for seed, (name, size) in enumerate(sizes.items()):
        middle = np.array([[size[1] / 2, size[0] / 2]])
        Image.fromarray(draw_cross(size, middle, seed)).save(folder / name)
    files = [folder / name for name in sizes]
    together = evaluate.predict(run, files)
    assert together["image"].tolist() == [str(file) for file in files for _ in range(2)]
    for file in files:
        alone = evaluate.predict(run, [file])
        beside = together[together["image"] == str(file)].reset_index(drop=True)
        same = ["image", "side", "landmark", "x", "y", "peak"]
        pd.testing.assert_frame_equal(alone[same], beside[same], rtol=0, atol=1e-4)  # of a batch
    small = together[together["image"] == str(files[0])]
    assert evaluate.predict(run, files[:1])["x"].tolist() == small["x"].tolist()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_run_made_on_a_gpu_predicts_where_there_is_none(tiny, tmp_path, capsys):
    run = stages.train_run(make_config(tiny), log=quiet)
    files = [str(path) for path in sorted((tmp_path / "crosses" / "images").iterdir())[:2]]
    here = evaluate.predict(run, files)
    path = run.folder / "config.yaml"
    path.write_text(path.read_text().replace("device: cpu", "device: cuda", 1))
    assert runs.load_run(run.folder).config.device == "cuda"
    target = str(tmp_path / "found.csv")
    for given in ([], ["--device", "cpu"], ["--device", "auto"]):
        assert predict.main([str(run.folder), *files, "-o", target, *given]) == 0
        pd.testing.assert_frame_equal(evaluate.predict(run.folder, files), here)
    assert predict.main([str(run.folder), *files, "-o", target, "--device", "cuda"]) == 1
    assert "device: expected auto or cpu, got cuda" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"device: expected auto \| cpu \| cuda, got 'gpu'"):
        evaluate.predict(run.folder, files, "gpu")


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
