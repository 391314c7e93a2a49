"""An ONNX file gives torch's points; what no single graph can hold is refused."""

import json

import numpy as np
import pytest

from lmkit import export, runs, stages
from lmkit.config import InputError, make_config

onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
pytest.importorskip("onnxscript", reason="the onnx extra is not installed")

CASCADE = {"model": "cascade", "widths": (8, 12), "coarse_stride": 2, "crop_px": 8}


def quiet(_line: str) -> None:
    pass


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "wing", "decoder": "softargmax"},
        {"target": "mass", "amplitude": 1000, "ensemble": 2, "epochs": 1},
        {"side": "joint", "augment": "mirror", "tta": "mirror"},
        CASCADE | {"fine_widths": (8, 12)},
    ],
)
def test_the_file_gives_the_points_that_torch_gives(tiny, tmp_path, settings):
    run = stages.train_run(make_config(tiny | settings), log=quiet)
    path = tmp_path / "model.onnx"
    found = export.export_onnx(run, path)
    assert found["images"] == 2
    assert found["point_difference_px"] < export.TOLERANCE_PX
    held = {p.key: p.value for p in onnx.load(path).metadata_props}
    about = json.loads(held["lmkit"])
    assert about["input_hw"] == [32, 64]
    assert about["landmarks"][:2] == ["tip", "base"]
    session = onnxruntime.InferenceSession(str(path))
    for n in (1, 3):  # any number of images
        (maps,) = session.run(None, {"grey": np.zeros((n, 1, 32, 64), np.float32)})
        assert maps.shape == (n, run.about["n_maps"], 16, 32)


def test_a_run_made_on_a_gpu_is_written_where_there_is_none(tiny, tmp_path):
    run = stages.train_run(make_config(tiny), log=quiet)
    path = run.folder / "config.yaml"
    path.write_text(path.read_text().replace("device: cpu", "device: cuda", 1))
    made = runs.load_run(run.folder)
    assert made.config.device == "cuda"
    assert export.export_onnx(made, tmp_path / "model.onnx")["images"] == 2


def test_a_file_that_gives_other_points_is_not_left_behind(tiny, tmp_path, monkeypatch):
    run = stages.train_run(make_config(tiny), log=quiet)
    monkeypatch.setattr(export, "TOLERANCE_PX", -1.0)
    with pytest.raises(InputError, match="ONNX: expected torch's points"):
        export.export_onnx(run, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*.onnx*"))


def test_the_command_line_says_how_close_and_what_is_missing(tiny, tmp_path, capsys, monkeypatch):
    run = stages.train_run(make_config(tiny), log=quiet)
    assert export.main([str(run.folder), "-o", str(tmp_path / "m.onnx")]) == 0
    assert "same points as torch on 2 images" in capsys.readouterr().out
    monkeypatch.setattr(export, "NEEDED", ("onnx", "nothing_like_it"))
    assert export.main([str(run.folder), "-o", str(tmp_path / "m.onnx")]) == 1
    assert "found no nothing_like_it; pip install 'lmkit[onnx]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"ensemble": 2, "ensemble_by": "mean", "epochs": 1}, "ensemble_by: expected maps"),
        ({"sigma_mm": 0.5, "target": "mass", "epochs": 1}, "target: expected peak with sigma_mm"),
    ],
)
def test_what_one_graph_cannot_hold_is_refused(tiny, tmp_path, settings, said):
    run = stages.train_run(make_config(tiny | settings), log=quiet)
    with pytest.raises(InputError, match=said):
        export.export_onnx(run, tmp_path / "model.onnx")
    (run.folder / "metrics.json").unlink()
    with pytest.raises(InputError, match="expected a finished run"):
        export.export_onnx(runs.load_run(run.folder), tmp_path / "model.onnx")
