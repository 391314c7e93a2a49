"""Hostile input: nothing of it is run, leaves its folder, takes the memory, or becomes HTML."""

import ast
import json
import os
import pickle
import re
import struct
import time
import warnings
import zlib
from html.parser import HTMLParser
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import TINY, write_native
from matplotlib.figure import Figure
from PIL import Image
from test_ablation import SMALL
from test_formats import RAMP, coco, keypoint, shape, write_dicom

from lmkit import (
    ablation,
    ablation_report,
    canvas,
    checkpoints,
    commands,
    convert,
    data,
    dicom,
    findings,
    gridfile,
    parameters,
    plots,
    plots_errors,
    report,
    runs,
    stages,
    widgets_cases,
)
from lmkit.check import check_dataset
from lmkit.config import InputError, RunConfig, make_config
from lmkit.files import plain_yaml, project_root, read_yaml
from lmkit.images import image_size, read_image
from lmkit.notebooks import main, value_of
from lmkit.tables import plain_name
from lmkit.widgets import png

H, W = 60, 110
ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "lmkit").glob("*.py"))


def refused(do) -> str:
    """What is said of a refused input: one line, quickly."""
    start = time.process_time()
    with pytest.raises(InputError) as error:
        do()
    assert time.process_time() - start < 5, "a refusal should not take seconds"
    said = str(error.value)
    assert said.splitlines() == [said]
    assert len(said) < 2100
    return said


# the source: nothing that runs what a file says


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """(dotted name, call) of every call in a module."""
    return [(ast.unparse(n.func), n) for n in ast.walk(tree) if isinstance(n, ast.Call)]


def given(call: ast.Call, name: str) -> object:
    return next((ast.unparse(k.value) for k in call.keywords if k.arg == name), None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_source_runs_nothing_that_a_file_says(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code"}
    assert not imported & unsafe
    for name, call in calls(tree):
        last = name.split(".")[-1]
        assert name not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"), name
        assert last not in ("read_pickle", "to_pickle", "unsafe_load", "full_load"), name
        if name == "torch.load":
            assert given(call, "weights_only") == "True", "torch.load without weights_only=True"
        if name.startswith("torch.hub") or name in ("torch.jit.load", "torch.package"):
            pytest.fail(f"{name} runs code of the file")
        if last in ("load", "save") and name.split(".")[0] == "np":
            assert given(call, "allow_pickle") in (None, "False"), "NumPy would unpickle"
        if name == "Image.open":
            assert given(call, "formats"), "of all its formats Pillow starts Ghostscript for one"
        if name == "yaml.load":
            assert ast.unparse(call.args[1]) in ("_Bounded if aliases else _NoAliases",)
        if name.startswith(("subprocess.", "os.exec", "os.spawn")):
            assert given(call, "shell") in (None, "False"), "no shell"
            assert not isinstance(call.args[0], ast.Constant | ast.JoinedStr), "a list of words"


def test_the_scan_of_the_source_sees_the_calls_that_it_is_about():
    found = {name for path in MODULES for name, _ in calls(ast.parse(path.read_text()))}
    assert {"torch.load", "np.load", "yaml.load", "subprocess.run", "ast.literal_eval"} <= found
    assert "Image.open" in found


# YAML


def runs_code(sentinel: Path) -> list[str]:
    """YAML values that would touch a file, in a loader that is not safe."""
    touch = f"touch {sentinel}"
    return [
        f"!!python/object/apply:os.system ['{touch}']",
        f"!!python/object/new:os.system ['{touch}']",
        f"!!python/object/apply:subprocess.getoutput ['{touch}']",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
        "!!bool maybe",
        "!!int ''",
        "!!timestamp never",
    ]


LAUGHS = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x]"]
    + [
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]"
        for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    ]
)
MERGES = "\n".join(
    ["a: &a {x: 1, y: 2, z: 3}"]
    + [
        f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}"
        for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    ]
)
CIRCLE = "a: &a [*a]"


def yaml_readers(folder: Path) -> dict:
    """Place -> a function that reads a YAML text there."""
    file, grid_file, run = folder / "mine.yaml", folder / "grid.yaml", folder / "run"
    native = write_native(folder / "crosses", n=5)
    run.mkdir()
    return {
        "dataset.yaml": (native / "dataset.yaml", lambda: data.open_dataset(native)),
        "preset": (file, lambda: parameters.read_preset(str(file))),
        "grid": (grid_file, lambda: gridfile.read_grid(grid_file)),
        "config.yaml": (run / "config.yaml", lambda: runs.load_run(run)),
        "-f": (file, lambda: read_yaml(file)),
    }


@pytest.mark.parametrize("place", ["dataset.yaml", "preset", "grid", "config.yaml", "-f"])
def test_yaml_tags_run_nothing_and_are_refused_in_a_line(tmp_path, place):
    file, read = yaml_readers(tmp_path)[place]
    for value in runs_code(tmp_path / "ran"):
        file.write_text(f"name: {value}\nloss: {value}\n")
        assert "expected YAML" in refused(read)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["dataset.yaml", "preset", "grid", "config.yaml", "-f"])
@pytest.mark.parametrize("bomb", [LAUGHS, MERGES, CIRCLE], ids=["laughs", "merges", "circle"])
def test_a_few_lines_of_yaml_cannot_stand_for_gigabytes(tmp_path, place, bomb):
    file, read = yaml_readers(tmp_path)[place]
    file.write_text(f"{bomb}\nwidths: *a\nlandmarks: *a\n")
    assert "alias" in refused(read)


def test_a_value_on_the_command_line_runs_nothing_and_takes_no_gigabytes(tmp_path, capsys):
    for value in (*runs_code(tmp_path / "ran"), "[" * 5000, "&a [*a]"):
        assert refused(lambda text=value: value_of("lr", text)).startswith("lr: expected a YAML")
    (tmp_path / "f.yaml").write_text(f"lr: {runs_code(tmp_path / 'ran')[0]}\n")
    assert main(["03_train", "-f", str(tmp_path / "f.yaml")]) == 1
    assert "could not determine a constructor for the tag" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_aliases_of_a_preset_still_work_where_they_stand_for_little():
    assert plain_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\n", "here")["b"] == {"x": 1, "y": 2}


def test_presets_in_a_circle_through_the_folder_above_are_refused(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.yaml").write_text("preset: ../d/a.yaml\n")
    assert "no circle" in refused(lambda: parameters.read_preset(str(tmp_path / "d" / "a.yaml")))


# pickles in disguise


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return os.system, (f"touch {self.sentinel}",)


def pickles(sentinel: Path, folder: Path) -> list[bytes]:
    touch, found = Touch(sentinel), [pickle.dumps(Touch(sentinel))]
    for new in (True, False):
        torch.save(
            {"model": touch, "settings": ""}, folder / "x", _use_new_zipfile_serialization=new
        )
        found.append((folder / "x").read_bytes())
    return found


def test_a_pickle_called_checkpoint_is_one_line_and_runs_nothing(native, tmp_path):
    settings = make_config(
        TINY | {"dataset": str(native), "outputs": str(tmp_path / "out"), "epochs": 1}
    )
    run = stages.train_run(settings, log=lambda _line: None)
    (run.folder / "metrics.json").unlink()
    for content in pickles(tmp_path / "ran", tmp_path):
        (run.folder / "checkpoint.pt").write_bytes(content)
        said = refused(lambda: stages.train_run(settings, log=lambda _line: None))
        assert "checkpoint.pt: expected a whole checkpoint of this run" in said
        (run.folder / "model.safetensors").write_bytes(content)
        assert "model.safetensors: expected this run's weights" in refused(run.model)
    assert not (tmp_path / "ran").exists()
    pickle.loads(content if content[:2] == b"\x80\x04" else pickles(tmp_path / "ran", tmp_path)[0])
    assert (tmp_path / "ran").exists(), "the pickles are harmless, so this test shows nothing"


@pytest.mark.parametrize("best", [{}, {"weights": 3}, {"weights": {"w": 3}}, None, []])
def test_a_checkpoint_with_an_odd_part_is_one_line(tmp_path, best):
    layer = torch.nn.Linear(2, 3)
    optimiser = torch.optim.Adam(layer.parameters())
    state = checkpoints.State(layer, optimiser, None)
    path = tmp_path / "checkpoint.pt"
    saved = {"model": layer.state_dict(), "optimiser": optimiser.state_dict(), "settings": "s"}
    torch.save(saved | {"rng": torch.get_rng_state(), "history": [], "best": best}, path)
    said = refused(lambda: checkpoints.restore_state(state, path, torch.device("cpu"), "s"))
    assert "checkpoint.pt: expected a whole checkpoint" in said
    assert not (tmp_path / "model.safetensors").exists()


def test_a_pickle_in_the_cache_of_images_is_not_read(tmp_path):
    objects = np.empty(2, object)
    objects[0] = Touch(tmp_path / "ran")
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    assert not canvas._is_whole(tmp_path / "a.npy", tmp_path / "a.npy", (2, 3, 5))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("maps", [0, -1, 10**9, "2", None, True, 2.5])
def test_a_run_of_a_strange_number_of_maps_is_one_line(tmp_path, maps):
    about = {"dataset_fingerprint": "f", "n_maps": maps}
    text = yaml.safe_dump({"settings": {}, "about": about})
    (tmp_path / "config.yaml").write_text(text)
    assert "n_maps: expected 1 to" in refused(lambda: runs.load_run(tmp_path))


def test_a_deep_metrics_json_is_one_line(tmp_path):
    about = {"dataset_fingerprint": "f", "n_maps": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"settings": {}, "about": about}))
    for name in ("metrics.json", "trust.json"):
        (tmp_path / name).write_text("[" * 100_000)
    run = runs.load_run(tmp_path)
    assert "metrics.json: expected the JSON" in refused(lambda: run.metrics)
    assert "trust.json: expected the trust rule" in refused(lambda: run.trust_rule)


# paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """set/images/a.png and b.png; secret.png outside, and a link to it inside."""
    (tmp_path / "set" / "images").mkdir(parents=True)
    for i, name in enumerate(("set/images/a.png", "set/images/b.png", "secret.png")):
        noise = np.random.default_rng(i).integers(0, 255, (H, W), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    (tmp_path / "set" / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    return tmp_path / "set"


def in_native(folder: Path, image: str) -> None:
    (folder / "dataset.yaml").write_text("landmarks: [tip]\nsides: []\n")
    table = pd.DataFrame({"image": ["b.png", image], "patient": [1, 2]})
    table.to_csv(folder / "images.csv", index=False)
    table = pd.DataFrame({"image": ["b.png", image], "landmark": "tip", "x": 1, "y": 2})
    table.to_csv(folder / "landmarks.csv", index=False)


def in_wide(folder: Path, image: str) -> None:
    table = pd.DataFrame({"image": ["b.png", image], "x1": [1, 2], "y1": [3, 4]})
    table.to_csv(folder / "labels.csv", index=False)


def in_coco(folder: Path, image: str) -> None:
    points = {"id": 1, "image_id": 7, "category_id": 3, "keypoints": [1, 2, 2, 3, 4, 2]}
    value = coco(points)
    value["images"][0]["file_name"] = image
    (folder / "labels.json").write_text(json.dumps(value))


def in_labelme(folder: Path, image: str) -> None:
    value = {"shapes": [shape("tip", 1, 2)], "imagePath": image}
    (folder / "images" / "x.json").write_text(json.dumps(value))


def in_cvat(folder: Path, image: str) -> None:
    name = image.replace("&", "&amp;").replace('"', "&quot;").replace("\0", "&#x1;")
    points = '<points label="tip" points="1,2"/>'
    text = f'<annotations><image name="{name}">{points}</image></annotations>'
    (folder / "labels.xml").write_text(text)


def in_labelstudio(folder: Path, image: str) -> None:
    task = {"id": 1, "data": {"img": image}, "annotations": [{"result": [keypoint("tip", 1, 2)]}]}
    (folder / "labels.json").write_text(json.dumps([task]))


def in_local_files(folder: Path, image: str) -> None:
    in_labelstudio(folder, f"/data/local-files/?d={image}")


def in_encoded_local_files(folder: Path, image: str) -> None:
    in_labelstudio(folder, "/data/local-files/?d=" + image.replace(".", "%2e").replace("/", "%2f"))


WRITTEN = [
    *(in_native, in_wide, in_coco, in_labelme, in_cvat, in_labelstudio, in_local_files),
    in_encoded_local_files,
]
OUT = {
    "above": "../secret.png",
    "far above": "../../../../../../../../etc/passwd.png",
    "absolute": "{out}/secret.png",
    "file": "file://{out}/secret.png",
    "down and up": "images/../../secret.png",
    "link": "link.png",
    "link by its path": "images/link.png",
    "backslashes": "..\\secret.png",
    "drive": "C:\\secret.png",
    "zero byte": "../secret\0.png",
    "long": "a" * 5000 + ".png",
    "many steps": "../" * 5000 + "secret.png",
    "dots": "..",
    "folder": "images",
    "home": "~/secret.png",
}


@pytest.mark.parametrize("write", WRITTEN, ids=lambda write: write.__name__)
@pytest.mark.parametrize("kind", OUT)
def test_no_label_file_reaches_an_image_outside_its_folder(folder, write, kind):
    write(folder, OUT[kind].replace("{out}", str(folder.parent)))
    said = refused(lambda: data.open_dataset(folder))
    assert "expected" in said
    assert check_dataset(folder, pixels=False).problems["stops"].any()


@pytest.mark.parametrize("write", WRITTEN[:-1], ids=lambda write: write.__name__)
def test_the_label_files_of_these_tests_are_read_with_an_image_that_is_there(folder, write):
    write(folder, "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # b.png without a point
        assert "a.png" in data.open_dataset(folder).images["image"].tolist()


def test_a_text_file_does_not_make_a_link_out_of_the_folder_an_image(folder):
    (folder / "annotations").mkdir()
    for name in ("a", "b", "link"):
        (folder / "annotations" / f"{name}.txt").write_text("1,2\n")
    assert "image: expected a file in" in refused(lambda: data.open_dataset(folder))
    (folder / "images" / "link.png").unlink()
    (folder / "annotations" / "link.txt").unlink()
    assert len(data.open_dataset(folder).images) == 2


@pytest.mark.parametrize("name", ["second_reading.csv", "corrections.csv", "landmarks.csv"])
@pytest.mark.parametrize("image", ["../secret.png", "/etc/passwd", "link.png", "images/a.png"])
def test_rows_beside_the_labels_name_only_images_of_the_dataset(folder, name, image):
    in_native(folder, "a.png")
    table = pd.DataFrame({"image": [image], "landmark": "tip", "x": 1, "y": 2, "action": "move"})
    table = table if name == "corrections.csv" else table.drop(columns="action")
    table.to_csv(folder / name, index=False)
    said = refused(lambda: data.open_dataset(folder))
    assert re.search(rf"{name} row 2: image: expected an image of", said)


@pytest.mark.parametrize("image", ["../../set/images/a.png", "{in}/a.png", "sub/../a.png"])
def test_a_native_image_name_leads_down_only_so_that_no_copy_lands_elsewhere(folder, image):
    """`../../set/images/a.png` is inside, but its copy in another folder's images/ is not."""
    (folder / "images" / "sub").mkdir()
    in_native(folder, image.replace("{in}", str(folder / "images")))
    before = (folder / "images" / "a.png").read_bytes()
    for to in ("native", "coco", "labelme", "text"):
        target = folder.parent / "new" / to
        said = refused(lambda to=to, target=target: convert.convert(folder, target, to))
        assert "images.csv row 3: image: expected a file in images/, without .." in said
        assert not target.exists()
    assert (folder / "images" / "a.png").read_bytes() == before


PREDICTED = {"image": ["a.png"], "side": ["all"], "landmark": ["tip"], "x": [1.0], "y": [2.0]}


@pytest.mark.parametrize("to", sorted(convert.OUT))
@pytest.mark.parametrize(
    "column, value",
    [("side", "../../x"), ("side", "/etc/x"), ("side", None), ("side", "x\ny"), ("image", None),
     ("image", "a\nb.png"), ("image", "a\0.png"), ("landmark", None), ("x", "one"),
     ("peak", "high")],
)  # fmt: skip
def test_predictions_with_odd_cells_are_one_line_and_write_nothing(tmp_path, to, column, value):
    table = pd.DataFrame(PREDICTED | {column: [value]})
    refused(lambda: convert.write_predictions(table, tmp_path / "in" / "out", to))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("to", sorted(convert.OUT))
@pytest.mark.parametrize(
    "image", ["../secret.png", "/etc/passwd", "../../x/y.png", ".", "..", "a/"]
)
def test_predictions_are_written_inside_their_folder_whatever_the_image_is_called(
    folder, to, image
):
    target = folder.parent / "out"
    try:
        convert.write_predictions(pd.DataFrame(PREDICTED | {"image": [image]}), target, to, folder)
    except InputError:
        assert not target.exists()
    found = {path for path in folder.parent.rglob("*") if path.is_file()}
    known = {folder / "images" / n for n in ("a.png", "b.png", "link.png")}
    outside = found - known - {folder.parent / "secret.png"}
    assert all(target in path.parents for path in outside)
    if to == "coco" and target.exists():  # the size of a file outside is nobody's business
        (entry,) = json.loads((target / "predictions.json").read_text())["images"]
        assert "width" not in entry


@pytest.mark.parametrize("field", ["dataset", "outputs", "preset"])
@pytest.mark.parametrize("value", ["~nobody-here/x.yaml", "a" * 5000 + ".yaml", "a\0.yaml"])
def test_a_place_that_can_be_none_is_one_line(field, value):
    def look() -> None:
        config = parameters.configure({field: value})
        data.open_dataset(data.place_of(config.dataset))
        runs.run_folder(config, data.open_dataset("phantom", phantom_patients=(1, 1, 1)))

    assert field in refused(look)


# sizes


def peak_growth_mb(do) -> float:
    """How much more memory than now `do` takes at its peak, MB."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        pytest.skip("needs Linux's /proc")

    def read(key: str) -> int:
        return int(re.search(rf"{key}:\s+(\d+) kB", status.read_text())[1])

    clear.write_text("5")  # the high-water mark starts again
    before = read("VmRSS")
    do()
    return (read("VmHWM") - before) / 1024


def chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png_of(width: int, height: int, *more: bytes) -> bytes:
    """A PNG that says it has so many pixels, and has none."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bmp_of(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024, 0, 0, 54 + 1024) + header + b"\0" * 1024


BOMBS = {
    "a.png": png_of(60_000, 60_000),
    "wide.png": png_of(2**31 - 1, 1),
    "text.png": png_of(7, 5, chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * (1 << 28), 9))),
    "a.bmp": bmp_of(60_000, 60_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_cannot_claim_the_memory_of_a_huge_picture(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BOMBS[name])
    assert path.stat().st_size < 1 << 19
    grown = peak_growth_mb(lambda: refused(lambda: read_image(path)))
    assert grown < 150, f"{grown:.0f} MB for a refusal"


def test_postscript_called_png_starts_no_ghostscript(tmp_path, monkeypatch):
    """A Ghostscript that notes that it ran: Pillow looks for it on the path, once."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    (tmp_path / "bin" / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    box = "%%BoundingBox: 0 0 110 60\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.png").write_text(f"%!PS-Adobe-3.0 EPSF-3.0\n{box}")
    for read in (read_image, image_size):
        said = refused(lambda read=read: read(tmp_path / "a.png"))
        assert "expected a readable image" in said
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "RLELossless"])
def test_a_dicom_header_cannot_claim_the_memory_of_a_huge_picture(tmp_path, syntax):
    pydicom = pytest.importorskip("pydicom")
    path = tmp_path / "a.dcm"
    ds = write_dicom(path, RAMP, Rows=60_000, Columns=50_000)
    ds.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    if syntax == "RLELossless":
        ds.PixelData = pydicom.encaps.encapsulate(
            [struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0"]
        )
        ds["PixelData"].is_undefined_length = True
    ds.save_as(path, enforce_file_format=True)
    assert image_size(path) == (60_000, 50_000)
    grown = peak_growth_mb(lambda: refused(lambda: read_image(path)))
    assert grown < 100, f"{grown:.0f} MB for a refusal"
    assert "pixels, got 50000 x 60000; scale it down" in refused(lambda: read_image(path))


def test_a_deflated_dicom_file_is_read_up_to_a_size(tmp_path, monkeypatch):
    pydicom = pytest.importorskip("pydicom")
    path = tmp_path / "a.dcm"
    ds = write_dicom(path, RAMP)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    assert np.array_equal(read_image(path), RAMP - 0)
    monkeypatch.setattr(dicom, "MOST_BYTES", 100)
    assert "got: more than 100 bytes when inflated" in refused(lambda: read_image(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp037"])
def test_xml_entities_are_refused_in_any_encoding(folder, encoding):
    lines = "".join(
        f'<!ENTITY {b} "{f"&{a};" * 9}">' for a, b in zip("abcde", "bcdef", strict=True)
    )
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    body = f'<!DOCTYPE x [<!ENTITY a "ha">{lines}]><annotations>&f;</annotations>'
    text = head.encode() + body.encode(encoding) if encoding == "cp037" else None
    (folder / "labels.xml").write_bytes(text or (head + body).encode(encoding))
    said = refused(lambda: data.open_dataset(folder))
    assert "expected XML without DOCTYPE" in said or "expected readable XML" in said


# names


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"quotes' onmouseover='alert(1)",
    "--><b>",
    "</title><h1>",
    "&lt;b&gt;",
    "=cmd()",
    "$\\frac{$",
    "$x$",
    "javascript:alert(1)",
    "../up",
    "%s{0}",
)
BROKEN_NAMES = ("two\nlines", "a\tb", "\x1b[31mred", "nul\0", "a\u2028b", "half\ud800", "a" * 600)
SAFE = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "nav", "ol", "li", "a"),
    *("main", "section", "div", "pre", "table", "thead", "tbody", "tr", "th", "td", "details"),
    *("summary", "footer", "time", "figure", "img", "br", "b"),
}


class Tags(HTMLParser):
    """The tags of a page, each with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data


def assert_inert(text: str, tags: set[str] = SAFE) -> Tags:
    """No tag but these, no handler, no address but figures inside the page."""
    page = Tags(text)
    assert {tag for tag, _ in page.found} <= tags
    for tag, attributes in page.found:
        assert not [key for key in attributes if key.startswith("on")], tag
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/png;base64,")), key
    return page


@pytest.mark.parametrize("name", HOSTILE)
def test_a_report_shows_any_name_as_text_wherever_it_stands(tmp_path, name):
    figure = Figure(figsize=(2, 1))
    figure.subplots().set(title=plots.plain(name), xlabel=plots.plain(name))
    table = pd.DataFrame(
        {name: [name, 1.5], "n": [name, [name]]}, index=pd.Index([name, "b"], name=name)
    )
    pairs = pd.DataFrame({(name, name): [name]}, index=pd.MultiIndex.from_tuples([(name, name)]))
    section = report.Section(
        name, f"{name}\n\n{name}", [figure, table, pairs, name, f"{name}\n{name}"]
    )
    path = report.write_report(
        tmp_path / "r.html", name, [section], {name: name, "b": [name]}, name
    )
    page = assert_inert(path.read_text(encoding="utf-8"))
    assert page.words.count(name) >= 15, "the name is to be read, not swallowed"


@pytest.mark.parametrize("name", [n for n in HOSTILE if n.startswith("<") or "'" in n])
def test_the_report_of_a_sweep_shows_any_text_of_its_grid_as_text(tmp_path, name):
    whole = yaml.safe_load(yaml.safe_dump(SMALL))
    whole["claims"] = {1: name}
    for strategy in whole["strategies"].values():
        strategy.update({"says": name, "group": name})
    whole["strategies"]["idle"] = {"says": name, "group": name, "not_run": name}
    whole["sizes"]["two"]["about"] = name
    whole["sizes"]["two"]["designs"]["add"] |= {"stands_for": name}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(whole))
    plan = ablation.plan_runs("two", tmp_path / "grid.yaml", {"outputs": str(tmp_path)}, "mine")
    table, rows = findings.verdict_table(plan), findings.run_table(plan)
    rows.loc[rows.index[:1], ["state", "reason"]] = (findings.FAILED, name)
    path = ablation_report.write_ablation_report(
        plan, table, rows, {name: Figure(figsize=(2, 1))}, pd.DataFrame()
    )
    page = assert_inert(path.read_text(encoding="utf-8"))
    assert page.words.count(name) >= 5


@pytest.mark.parametrize("name", [*HOSTILE, *BROKEN_NAMES])
def test_a_strategy_a_size_and_a_run_name_no_folder_but_their_own(tmp_path, name):
    whole = yaml.safe_load(yaml.safe_dump(SMALL))
    whole["strategies"][name] = {"says": "s", "group": "g", "add": {"lr": 0.01}}
    (tmp_path / "grid.yaml").write_bytes(yaml.safe_dump(whole).encode("utf-8", "replace"))
    refused(lambda: gridfile.read_grid(tmp_path / "grid.yaml"))
    whole = yaml.safe_load(yaml.safe_dump(SMALL))
    whole["sizes"] = {name: whole["sizes"]["two"]}
    (tmp_path / "grid.yaml").write_bytes(yaml.safe_dump(whole).encode("utf-8", "replace"))
    given_ = {"outputs": str(tmp_path)}
    refused(lambda: ablation.plan_runs(name, tmp_path / "grid.yaml", given_))
    refused(lambda: parameters.run_name(make_config({"run": name})))


@pytest.mark.parametrize("name", [*HOSTILE, *BROKEN_NAMES, "..", "...", "/", ""])
def test_a_dataset_and_a_table_become_one_plain_file_name(tmp_path, name):
    plain = plain_name(name)
    assert re.fullmatch(r"[\w-][\w.-]*", plain)
    assert Path(plain).name == plain
    if len(name) < 200:
        (path,) = report.tables_to_csv(tmp_path, {name: pd.DataFrame({"v": [1]})})
        assert path.parent == tmp_path


# a dataset full of such names, from its files to the notebook


def hostile_dataset(folder: Path) -> data.Dataset:
    """Hostile landmarks, patients and images; two cases per landmark."""
    legal = [name for name in HOSTILE if "/" not in name]
    (folder / "images").mkdir(parents=True)
    rows, points = [], []
    for i, name in enumerate(legal):
        image = f"{name}.png"
        grey = np.random.default_rng(i).integers(0, 255, (H, W), dtype=np.uint8)
        Image.fromarray(grey).save(folder / "images" / image)
        rows.append((image, f"{name} {i}", "test", 0.2, 0.3))
        points += [(image, mark, 20 + i, 30 + k) for k, mark in enumerate(HOSTILE)]
    columns = ["image", "patient", "split", "spacing_x_mm", "spacing_y_mm"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "images.csv", index=False)
    table = pd.DataFrame(points, columns=["image", "landmark", "x", "y"])
    table.to_csv(folder / "landmarks.csv", index=False)
    about = {"landmarks": list(HOSTILE), "name": HOSTILE[1], "citation": HOSTILE[0]}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(about))
    return data.open_dataset(folder)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> data.Dataset:
    return hostile_dataset(tmp_path_factory.mktemp("hostile") / "set")


def predictions_of(dataset: data.Dataset) -> pd.DataFrame:
    table = dataset.landmarks.merge(dataset.images[["image", "patient", "split"]], on="image")
    table = table.assign(x_true=table.x, y_true=table.y, x=table.x + 2, error_mm=0.4, peak=0.5)
    return table.assign(second_share=0.1, second_x=5.0, second_y=6.0, ere_mm=1.0)


def html_of(widget: object) -> list[str]:
    """The texts of the HTML widgets in a box."""
    own = [widget.value] if isinstance(widget, ipywidgets.HTML | ipywidgets.HTMLMath) else []
    return own + [text for child in getattr(widget, "children", ()) for text in html_of(child)]


def test_a_dataset_of_hostile_names_is_read_and_its_folder_is_plain(hostile):
    assert hostile.names == HOSTILE
    assert hostile.name == "_img_src_x_onerror_alert_1__"
    config = make_config({"outputs": "out", "run": "r"})
    assert runs.run_folder(config, hostile) == project_root() / "out" / hostile.name / "all" / "r"


def test_tables_in_a_notebook_show_names_as_text(hostile):
    rows = predictions_of(hostile)
    for table in (hostile.images, rows, rows.set_index(["landmark", "patient"])):
        assert_inert(table._repr_html_(), SAFE)


def test_the_explorer_of_cases_shows_names_as_text_and_draws_them(hostile, tmp_path):
    place = tmp_path / HOSTILE[1]
    place.mkdir()
    run = runs.Run(place, RunConfig(), {"n_maps": len(HOSTILE), "dataset_fingerprint": ""})
    rows = predictions_of(hostile)
    box = widgets_cases.case_explorer(run, hostile, rows)
    texts = html_of(box)
    assert any("model.safetensors" in text for text in texts)
    for text in texts:
        page = assert_inert(text, {"b", "br"})
    assert HOSTILE[1] in page.words
    assert box.children[1].value[:4] == b"\x89PNG"
    assert png(widgets_cases.static_cases(run, hostile, rows, n=2))[:4] == b"\x89PNG"


def test_figures_draw_any_name_as_it_is(hostile):
    points, figure = hostile.points("all"), Figure(figsize=(5, 4))
    axes = figure.subplots(2, 2).ravel()
    plots.cloud(axes[0], points + np.arange(len(points))[:, None, None], HOSTILE, HOSTILE[7])
    plots.bars(axes[1], dict.fromkeys(HOSTILE, 1.0), "mm", HOSTILE[7])
    plots_errors.cumulative_error(axes[2], dict.fromkeys(HOSTILE, np.array([1.0, 2.0])))
    plots.image(axes[3], np.zeros((3, 5)), title=HOSTILE[7])
    assert png(figure)[:4] == b"\x89PNG"
    assert HOSTILE[7] in axes[3].get_title().replace(r"\$", "$")
    plt.close("all")


@pytest.mark.parametrize("name", BROKEN_NAMES)
def test_a_name_of_several_lines_or_control_characters_is_refused_in_one_line(folder, name):
    yaml_name = json.dumps(name)
    (folder / "images" / "link.png").unlink()
    in_native(folder, "a.png")
    (folder / "dataset.yaml").write_text(f"landmarks: [tip, {yaml_name}]\n")
    refused(lambda: data.open_dataset(folder))
    in_native(folder, "a.png")
    table = pd.read_csv(folder / "images.csv").assign(patient=["1", name.replace("\ud800", "\0")])
    table.to_csv(folder / "images.csv", index=False)
    assert "patient: expected a name on one line" in refused(lambda: data.open_dataset(folder))
    for path in folder.glob("*.*"):
        path.unlink()
    in_coco(folder, "a.png")
    value = json.loads((folder / "labels.json").read_text())
    value["categories"][0]["keypoints"][0] = name
    (folder / "labels.json").write_text(json.dumps(value))
    assert "keypoints: expected a name on one line" in refused(lambda: data.open_dataset(folder))
    in_labelstudio(folder, "a.png")
    text = (folder / "labels.json").read_text().replace('"tip"', yaml_name)
    (folder / "labels.json").write_text(text)
    assert "landmark: expected a name on one line" in refused(lambda: data.open_dataset(folder))
    (folder / "labels.json").unlink()
    (folder / "images" / "a.json").write_text(
        json.dumps({"shapes": [shape(name, 1, 2)], "imagePath": "a.png"})
    )
    assert "landmark: expected a name on one line" in refused(lambda: data.open_dataset(folder))


def test_an_image_file_whose_name_is_no_text_is_one_line(folder):
    (folder / "annotations").mkdir()
    (folder / "images" / "link.png").unlink()
    for name in ("a", "b"):
        (folder / "annotations" / f"{name}.txt").write_text("1,2\n")
    odd = os.fsencode(folder / "images") + b"/\xff.png"
    with open(odd, "wb") as file:
        file.write((folder / "images" / "a.png").read_bytes())
    with open(os.fsencode(folder / "annotations") + b"/\xff.txt", "w") as file:
        file.write("1,2\n")
    assert "expected a name on one line" in refused(lambda: data.open_dataset(folder))


def test_the_command_line_shows_any_file_name_as_a_terminal_can(folder, capsys):
    in_native(folder, "a.png")
    (folder / "images" / "link.png").unlink()
    for name in (b"/\xff.png", b"/\x1b[31mred\n.png"):
        with open(os.fsencode(folder / "images") + name, "wb") as file:
            file.write((folder / "images" / "a.png").read_bytes())
    commands.main(["check", str(folder)])
    commands.main(["convert", str(folder), str(folder.parent / "new")])
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert r"\udcff.png" in said.out
    assert r"\x1b[31mred\n.png" in said.out


@pytest.mark.parametrize("sign", ["\u200b", "\u200e", "\u200f", "\u202e", "\u2066", "\u2069"])
def test_a_name_with_a_sign_that_hides_or_turns_it_is_refused(folder, sign):
    in_native(folder, "a.png")
    table = pd.read_csv(folder / "images.csv").assign(patient=["12", f"1{sign}2"])
    table.to_csv(folder / "images.csv", index=False)
    said = refused(lambda: data.open_dataset(folder))
    assert "patient: expected a name on one line" in said
    assert sign not in said


@pytest.mark.parametrize(
    "name",
    ["مريض", "חולה", "患者", "Müller-Lüdenscheidt", "می\u200cخواهم", "क्\u200dष", "O'Neill, J."],
)
def test_names_in_any_script_are_names(folder, name):
    (folder / "images" / "link.png").unlink()
    in_native(folder, "a.png")
    table = pd.read_csv(folder / "images.csv").assign(patient=[name, "2"])
    table.to_csv(folder / "images.csv", index=False)
    assert data.open_dataset(folder).images["patient"].tolist() == [name, "2"]


def test_a_message_is_one_line_that_a_terminal_may_show_whatever_it_quotes():
    said = str(InputError("a\nb\x1b[31m\u2028\ud800 <b>"))
    assert said == "a\\nb\\x1b[31m\\u2028\\ud800 <b>"
    flood = str(InputError("start " + "x" * 10_000 + " end"))
    assert len(flood) < 2000
    assert flood.startswith("start x")
    assert flood.endswith("x end")


# numbers


@pytest.mark.parametrize(
    "text, expected",
    [
        ("spacing_mm: 1" + "0" * 400, "spacing_mm: expected one or two numbers > 0"),
        ("spacing_mm: yes", "spacing_mm: expected one or two numbers > 0"),
        ("measurements: {m: {kind: distance, points: [a, b]}, "
         "c: {kind: class, of: m, below: {A: 1" + "0" * 400 + "}, else: B}}",
         "below: A: expected a number"),
    ],
)  # fmt: skip
def test_numbers_beyond_all_numbers_in_dataset_yaml_are_one_line(folder, text, expected):
    in_native(folder, "a.png")
    (folder / "dataset.yaml").write_text(f"landmarks: [tip, a, b]\n{text}\n")
    assert expected in refused(lambda: data.open_dataset(folder))


@pytest.mark.parametrize("value", [10**400, True, -1, 0, "0.1"])
def test_a_spacing_in_json_that_is_no_number_is_one_line(folder, value):
    in_coco(folder, "a.png")
    whole = json.loads((folder / "labels.json").read_text())
    whole["images"][0]["spacing_x_mm"] = value
    (folder / "labels.json").write_text(json.dumps(whole))
    assert "spacing_x_mm: expected > 0" in refused(lambda: data.open_dataset(folder))


def test_an_underscore_in_a_number_is_not_skipped(folder):
    in_wide(folder, "a.png")
    (folder / "labels.csv").write_text("image,x1,y1\na.png,1_5,2\nb.png,3,4\n")
    assert "x: expected a number, got '1_5'" in refused(lambda: data.open_dataset(folder))


def test_a_column_twice_is_one_line_and_not_the_last_of_them(folder):
    (folder / "labels.csv").write_text("image,x1,y1,x1\na.png,1,2,9\nb.png,3,4,9\n")
    said = refused(lambda: data.open_dataset(folder))
    assert "labels.csv row 1: expected each column once, got 'x1' again" in said


def test_many_names_take_no_time_and_too_many_are_refused(folder):
    def cvat(count: int) -> None:
        points = ";".join(["1,2"] * count)
        (folder / "labels.xml").write_text(
            f'<annotations><image name="a.png"><points label="tip" points="{points}"/></image>'
            "</annotations>"
        )

    cvat(10_001)
    assert "landmarks: expected up to 10000 of them, got 10001" in refused(
        lambda: data.open_dataset(folder)
    )
    cvat(9_000)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # b.png without a point
        assert len(data.open_dataset(folder).names) == 9_000
    assert time.process_time() - start < 3


def test_readers_that_are_no_names_are_one_line(folder):
    for reader in ("ann", "bob"):
        (folder / f"annotations_{reader}").mkdir()
        (folder / f"annotations_{reader}" / "a.txt").write_text("1,2\n")
    (folder / "dataset.yaml").write_text("readers: [[ann], bob]\n")
    assert "readers: expected average, or two of ann, bob" in refused(
        lambda: data.open_dataset(folder)
    )


@pytest.mark.parametrize("value", [[], {}, [["affine"]], 3.5, b"affine"])
def test_a_list_for_an_augmentation_is_one_line(value):
    assert refused(lambda: make_config({"augment": value})).startswith("augment: expected none |")


def test_a_peak_that_no_map_has_is_left_out_of_the_json(tmp_path):
    table = pd.DataFrame(PREDICTED | {"peak": [np.nan]})
    convert.write_predictions(table, tmp_path / "out", "coco")
    (entry,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["annotations"]
    assert "score" not in entry
