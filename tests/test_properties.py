"""Properties that hold for any input: of geometry, decoders, metrics, settings and parsers.

`make test` tries the same examples each time, for a minute. A longer search, with other examples
each time, from the project folder:

    LMKIT_FUZZ=1 .venv/bin/python -m pytest tests/test_properties.py -k parser

LMKIT_FUZZ=1 is 20 times as many examples as usual, half an hour; 2 is 40 times. What was tried,
refused and accepted is added up in the file that LMKIT_FUZZ_LOG names, a line of JSON a run.
"""

import csv
import io
import json
import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
import yaml
from conftest import TINY
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_ablation import SMALL
from test_formats import CVAT, RAMP, coco, keypoint, shape, write_dicom

from lmkit import checkpoints, convert, data, geometry, gridfile, heatmap, metrics, parameters, runs
from lmkit.check import check_dataset
from lmkit.config import InputError, RunConfig, make_config
from lmkit.files import read_yaml
from lmkit.images import image_size, read_image
from lmkit.model import build
from lmkit.notebooks import value_of

H, W = 60, 110
FUZZ = 20 * int(os.environ.get("LMKIT_FUZZ") or 0)
TALLY: Counter[str] = Counter()  # what the parsers did


@pytest.fixture(autouse=True, scope="module")
def _log(tmp_path_factory):
    hypothesis.configuration.set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))
    yield
    hypothesis.configuration.set_hypothesis_home_dir(None)
    if os.environ.get("LMKIT_FUZZ_LOG"):
        with Path(os.environ["LMKIT_FUZZ_LOG"]).open("a") as file:
            file.write(json.dumps(dict(sorted(TALLY.items()))) + "\n")


def tries(n: int) -> settings:
    """So many examples, always the same ones; LMKIT_FUZZ tries more, and others each time."""
    return settings(
        max_examples=n * max(FUZZ, 1),
        derandomize=not FUZZ,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


# geometry: pixels, float64; 1e-6 px is a billionth of the frames tried here

PX = 1e-6
SIZES = st.tuples(st.integers(1, 4000), st.integers(1, 4000))
SHARES = st.lists(st.tuples(numbers(0, 1), numbers(0, 1)), min_size=1, max_size=5)


def inside(size: tuple[int, int], shares: list[tuple[float, float]]) -> torch.Tensor:
    """Points in an image, at shares of its width and height from the outer edge."""
    span = torch.tensor([size[1], size[0]], dtype=torch.float64)
    return torch.tensor(shares, dtype=torch.float64) * span - 0.5


@given(SIZES, SIZES, SHARES)
@tries(60)
def test_resizing_there_and_back_brings_every_point_home(size, other, shares):
    points = inside(size, shares)
    there = geometry.apply(geometry.resize_matrix(size, other), points)
    back = geometry.apply(geometry.resize_matrix(other, size), there)
    torch.testing.assert_close(back, points, rtol=0, atol=PX)
    torch.testing.assert_close(there, inside(other, shares), rtol=0, atol=PX)


@given(SIZES, SIZES, st.booleans(), SHARES)
@tries(60)
def test_an_image_fitted_into_a_frame_lies_within_it_and_comes_back(size, frame, keep, shares):
    matrix, points = geometry.fit_matrix(size, frame, keep), inside(size, shares)
    there = geometry.apply(matrix, points)
    fitted = geometry.fitted_size(size, frame, keep)
    limit = torch.tensor([frame[1], frame[0]], dtype=torch.float64) - 0.5
    assert (there >= -0.5 - PX).all()
    assert (there <= limit + PX).all()
    assert fitted[0] <= frame[0]
    assert fitted[1] <= frame[1]
    back = geometry.apply(torch.linalg.inv(matrix), there)
    torch.testing.assert_close(back, points, rtol=0, atol=1e-4)  # a 4000th part of a pixel, x 4000


@given(SIZES, numbers(-360, 360), numbers(0.1, 10), st.tuples(numbers(-1, 1), numbers(-1, 1)),
       SHARES)  # fmt: skip
@tries(60)
def test_an_affine_map_has_an_inverse_and_scales_all_distances_alike(
    size, rotate_deg, scale, shift, shares
):
    given_ = torch.tensor([rotate_deg]), torch.tensor([scale]), torch.tensor([shift])
    (matrix,) = geometry.affine_matrix(size, *given_)
    points = torch.cat([inside(size, shares), inside(size, [(0, 0), (1, 1)])])
    there = geometry.apply(matrix, points)
    back = geometry.apply(torch.linalg.inv(matrix), there)
    torch.testing.assert_close(back, points, rtol=0, atol=PX)
    before, after = torch.pdist(points), torch.pdist(there)
    torch.testing.assert_close(after, before * float(given_[1]), rtol=1e-9, atol=PX)


@given(SIZES, numbers(-180, 180), numbers(0.5, 2), SHARES)
@tries(60)
def test_a_composed_map_does_one_after_the_other(size, rotate_deg, scale, shares):
    points, mirror = inside(size, shares), geometry.mirror_matrix(size)
    turn = geometry.affine_matrix(
        size, torch.tensor([rotate_deg]), torch.tensor([scale]), torch.zeros(1, 2)
    )[0]
    one_by_one = geometry.apply(turn, geometry.apply(mirror, points))
    torch.testing.assert_close(geometry.apply(turn @ mirror, points), one_by_one, rtol=0, atol=PX)
    twice = geometry.apply(mirror, geometry.apply(mirror, points))
    torch.testing.assert_close(twice, points, rtol=0, atol=PX)
    # mirrored, a turn is one the other way about the same middle
    other = geometry.affine_matrix(
        size, torch.tensor([-rotate_deg]), torch.tensor([scale]), torch.zeros(1, 2)
    )[0]
    torch.testing.assert_close(mirror @ turn @ mirror, other, rtol=0, atol=PX)


# decoders: a rendered Gaussian is found at any sub-pixel place

FRAME = (30, 44)  # H, W
EDGE = 8  # px from the border, so that no decoder's window is cut
OFF_PX = {
    "argmax": 0.5,
    "quarter": 0.25,
    "dark": 1e-5,
    "gaussian_fit": 1e-5,
    "local_softargmax": 0.02,
}


@pytest.mark.parametrize("method", OFF_PX)
@given(data=st.data())
@tries(25)
def test_a_decoder_finds_a_gaussian_to_within_what_it_promises(method, data):
    place = st.tuples(numbers(EDGE, FRAME[1] - 1 - EDGE), numbers(EDGE, FRAME[0] - 1 - EDGE))
    xy = data.draw(st.tuples(place, place, place))
    sigma, amplitude = data.draw(numbers(1.5, 3)), data.draw(numbers(0.01, 1000))
    points = torch.tensor([xy], dtype=torch.float64)
    maps = heatmap.render(points, FRAME, sigma, amplitude)
    found = heatmap.decode(maps, method, sigma=sigma, top=amplitude)
    assert (found - points).abs().max() <= OFF_PX[method] + 1e-9
    moved = heatmap.render(points + torch.tensor([1.0, -2.0]), FRAME, sigma, amplitude)
    shifted = heatmap.decode(moved, method, sigma=sigma, top=amplitude)
    assert (shifted - found - torch.tensor([1.0, -2.0])).abs().max() < (
        1e-6 if OFF_PX[method] < 0.1 else 1.0 + 1e-9  # a tie may fall to the next pixel
    )


# metrics

ERRORS = st.integers(1, 5).flatmap(
    lambda n: st.lists(
        st.lists(st.one_of(numbers(0, 50), st.just(math.nan)), min_size=n, max_size=n),
        min_size=1,
        max_size=7,
    )
)


@given(ERRORS, st.lists(numbers(0.01, 60), min_size=2, max_size=6), st.randoms())
@tries(80)
def test_sdr_rises_with_its_threshold_and_the_order_of_patients_says_nothing(errors, at, random):
    table, at = np.array(errors), sorted(at)
    whole = metrics.summarise(table, thresholds_mm=at)
    rates = [metrics.success_rate(table, t) for t in at]
    if whole["n_landmarks"]:
        assert rates == sorted(rates)
        assert all(
            metrics.success_rate(table, t, strict=True) <= r for t, r in zip(at, rates, strict=True)
        )
    rows = list(range(len(table)))
    random.shuffle(rows)
    mixed = metrics.summarise(table[rows], thresholds_mm=at)
    assert mixed["sdr"] == whole["sdr"]
    assert mixed["median_mm"] == whole["median_mm"]
    if whole["n_landmarks"]:
        assert mixed["mre_mm"] == pytest.approx(whole["mre_mm"], rel=1e-12)
    missing = metrics.summarise(np.vstack([table, table[:1] * math.nan]), thresholds_mm=at)
    assert missing["sdr"] == whole["sdr"]
    assert missing["n_missing"] == whole["n_missing"] + table.shape[1]


@given(st.lists(st.tuples(*[numbers(-2000, 2000)] * 4), min_size=1, max_size=6),
       numbers(0.01, 2), numbers(0.01, 2), numbers(0.1, 10))  # fmt: skip
@tries(80)
def test_errors_grow_with_the_spacing_and_are_the_same_both_ways(rows, sx, sy, times):
    pred, true = np.array(rows)[:, :2], np.array(rows)[:, 2:]
    error = metrics.radial_error_mm(pred, true, np.array([sx, sy]))
    assert np.array_equal(error, metrics.radial_error_mm(true, pred, np.array([sx, sy])))
    larger = metrics.radial_error_mm(pred, true, times * np.array([sx, sy]))
    np.testing.assert_allclose(larger, times * error, rtol=1e-9, atol=1e-9)
    mre = metrics.summarise(error[None])["mre_mm"]
    assert metrics.summarise(larger[None])["mre_mm"] == pytest.approx(times * mre, rel=1e-9)
    flat = np.hypot(*(pred - true).T)
    assert (error <= max(sx, sy) * flat * (1 + 1e-9)).all()
    assert (error >= min(sx, sy) * flat * (1 - 1e-9)).all()


# settings

WORDS = (
    *(
        "",
        " ",
        "none",
        "off",
        "nan",
        "inf",
        "-1",
        "0",
        "1",
        "1e999",
        "1_0",
        "3→5",
        "5 3",
        "x",
        "~x",
    ),
    *("256x512", "affine+intensity", "phantom", "../x", "/", "\0", "a\nb", "<b>", "=cmd()", "９"),
    *(
        "9" * 400,
        "9" * 5000,
        "a" * 5000,
        "\u202e",
        "true",
        "[",
        "{",
        "'",
        "1,5",
        "\ud800",
        "\x1b[2J",
    ),
)
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 300), st.floats(), numbers(0, 10),
    st.sampled_from(WORDS), st.text(max_size=12), st.binary(max_size=4), st.dates(),
    st.integers(309, 4000).map(lambda n: 10**n),
)  # fmt: skip
VALUES = st.recursive(
    PLAIN, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=4), v, max_size=3),
    max_leaves=6,
)  # fmt: skip
FIELDS = sorted(RunConfig.model_fields)


def message(do: Callable[[], object]) -> str:
    """What is said of a refused input, '' of a good one. Any other exception is a bug."""
    start = time.process_time()
    try:
        do()
    except InputError as error:
        said = str(error)
        assert said
        assert time.process_time() - start < 5, "a refusal should not take seconds"
        assert said.splitlines() == [said], "more than a line, or a control character"
        assert said.isprintable() or not any(c in said for c in "\x1b\x00\x7f")
        assert len(said) <= 2100
        said.encode()  # a terminal and a log can take it
        return said
    return ""


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=3))
@example({"augment": []})
@example({"input_hw": [32, 32 * 10**400]})
@example({"model": "cascade", "scales": 1e308})
@example({"widths": [8] * 3000})
@tries(700)
def test_any_values_of_settings_are_taken_or_refused_in_a_line_that_names_one(values):
    said = message(lambda: make_config(values))
    if said:
        assert any(name in said for name in FIELDS), said
        return
    config = make_config(values)
    again = make_config(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))))
    assert again == config, "config.yaml does not bring the settings back"
    assert parameters.settings_hash(again) == parameters.settings_hash(config)
    message(lambda: parameters.run_name(config))


@given(st.sampled_from(FIELDS), VALUES)
@tries(400)
def test_any_value_of_any_setting_is_taken_or_refused_in_a_line_that_names_it(field, value):
    said = message(lambda: make_config({field: value}))
    assert not said or any(name in said for name in FIELDS), said


@pytest.mark.parametrize("field", ["dataset", "preset", "outputs", "run"])
@given(value=st.sampled_from(WORDS) | st.text(max_size=12))
@example(value="~nobody/x.yaml")
@example(value="a" * 5000 + ".yaml")
@tries(40)
def test_any_text_for_a_place_is_found_or_refused_in_a_line(field, value):
    def look() -> None:
        config = parameters.configure({"preset": "quick"} | {field: value})
        data.place_of(config.dataset)
        runs.run_folder(config, _NAMED)

    message(look)


class _NAMED:  # as much of a dataset as a folder's name needs
    name, sides = "crosses", ("left", "right")


SOME = {"sigma_px": 3.0, "loss": "wing", "epochs": 7, "augment": "mirror", "batch_size": 4}


@given(st.permutations(list(SOME)))
@tries(30)
def test_the_hash_of_settings_does_not_know_their_order(keys):
    shuffled = make_config({key: SOME[key] for key in keys})
    assert parameters.settings_hash(shuffled) == parameters.settings_hash(make_config(SOME))


@given(st.text(max_size=30) | st.sampled_from(WORDS))
@example("!!python/object/apply:os.system ['true']")
@example("!!bool x")
@example("[" * 3000)
@tries(60)
def test_any_text_after_p_is_a_value_or_refused_in_a_line(text):
    message(lambda: value_of("lr", text))


# parsers: a good file of each format, changed

Files = dict[str, bytes]


def as_json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


DISTANCE = {"kind": "distance", "points": ["tip", "base"]}


def native_files() -> Files:
    rule = {"kind": "class", "of": "m", "below": {"A": 1}, "else": "B"}
    about = {"name": "n", "landmarks": ["tip", "base"], "sides": [], "spacing_mm": [0.2, 0.3],
             "mirror_pairs": [["tip", "base"]], "citation": "c", "licence": "l",
             "measurements": {"m": DISTANCE, "c": rule}}  # fmt: skip
    rows = "image,landmark,x,y\na.png,tip,1,2\na.png,base,3.5,4\nb.png,tip,5,6\n"
    return {
        "dataset.yaml": yaml.safe_dump(about).encode(),
        "images.csv": b"image,patient,split,spacing_x_mm,spacing_y_mm,spacing_source\n"
        b"a.png,1,train,0.1,0.2,rule\nb.png,2,,,,\n",
        "landmarks.csv": rows.encode(),
        "second_reading.csv": rows.encode(),
        "corrections.csv": b"image,landmark,x,y,action,reader,time,reason\n"
        b"a.png,tip,3,4,move,ann,2024-05-31T14:02:00+00:00,why\n",
    }


def made(kind: str) -> Files:
    """The label files of a small good dataset; a.png and b.png are beside them, in images/."""
    if kind == "native":
        return native_files()
    if kind == "text":
        return {
            "annotations/a.txt": b"1,2\n3.5,4\n",
            "annotations/b.txt": b"5,6\n,\n",
            "dataset.yaml": b"landmarks: [tip, base]\nspacing_mm: 0.25\n",
        }
    if kind == "readers":
        both = {f"annotations_{r}/{i}.txt": b"1,2\n3.5,4\n" for r in ("ann", "bob") for i in "ab"}
        return both | {"dataset.yaml": b"landmarks: [tip, base]\nreaders: [ann, bob]\n"}
    if kind == "csv":
        return {
            "labels.csv": b"image,side,patient,split,spacing_mm,tip_x,tip_y,base_x,base_y,note\n"
            b"a.png,left,1,train,0.2,1,2,3,4,x\na.png,right,1,train,0.2,5,6,,,\n"
        }
    if kind == "semicolons":
        return {"labels.csv": b"file;x1;y1;x2;y2\na.png;1,5;2;3;4\nimages/b.png;5;6;;\n"}
    if kind == "cvat":
        return {"labels.xml": CVAT.encode()}
    if kind == "labelme":
        return {
            f"images/{name}.json": as_json(
                {"version": "5", "flags": {}, "shapes": [shape("left_tip", 1, 2, flags={})],
                 "imagePath": f"../images/{name}.png", "imageData": None, "imageHeight": H,
                 "imageWidth": W, "patient": 7, "split": "train", "spacing_x_mm": 0.1}
            )
            for name in "ab"
        }  # fmt: skip
    if kind == "coco":
        points = {"id": 1, "image_id": 7, "category_id": 3, "keypoints": [1, 2, 2, 3, 4, 1]}
        points |= {"bbox": [1, 2, 2, 2], "attributes": {"side": "left"}}
        value = coco(
            points, info={"description": "d", "contributor": "c"}, licenses=[{"name": "l"}]
        )
        value["images"][0] |= {"patient": 1, "split": "val", "spacing_x_mm": 0.1}
        return {"labels.json": as_json(value)}
    regions = [keypoint("tip", 10, 20, id="r"), {"id": "r", "value": {"choices": ["left"]}}]
    short = regions[0]["value"] | {"original_width": W, "original_height": H, "id": "s"}
    side = {"id": "s", "choices": ["left"]}
    tasks = [
        {"id": 1, "data": {"img": "/data/local-files/?d=images/a.png"},
         "annotations": [{"result": regions, "was_cancelled": False, "ground_truth": True}],
         "predictions": []},
        {"id": 2, "img": "s3://bucket/0a1b2c3d-b.png", "kp": [short, side]},
    ]  # fmt: skip
    return {"labels.json": as_json(tasks)}


KINDS = ("native", "text", "readers", "csv", "semicolons", "cvat", "labelme", "coco", "labelstudio")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("parsers") / "set"
    (place / "images").mkdir(parents=True)
    for i, name in enumerate("ab"):
        noise = np.random.default_rng(i).integers(0, 255, (H, W), dtype=np.uint8)
        Image.fromarray(noise).save(place / "images" / f"{name}.png")
    return place


def write(folder: Path, files: Files) -> None:
    """These label files and no others."""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            path.unlink()
    for kind in ("", "_ann", "_bob"):
        if (folder / f"annotations{kind}").is_dir():
            (folder / f"annotations{kind}").rmdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def opened(folder: Path, files: Files, kind: str) -> None:
    """Open a dataset and check it: each of them works, or says in a line why it does not."""
    write(folder, files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # images left out
        said = message(lambda: data.open_dataset(folder))
        check = check_dataset(folder, pixels=False)
        assert said == "" or check.problems["stops"].any()
    count(kind, said)


def count(kind: str, said: str) -> None:
    TALLY[f"{kind}: tried"] += 1
    TALLY[f"{kind}: {'refused' if said else 'accepted'}"] += 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_parser_reads_the_good_files_that_the_others_are_made_of(folder, kind):
    write(folder, made(kind))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert len(data.open_dataset(folder).landmarks) >= 2


PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([w.encode("utf-8", "replace") for w in WORDS if len(w) < 1000]),
    st.sampled_from([b"\xff", b"\0", b'"', b"\r", b"\n", b",", b"&", b"*a", b"<", b"{", b"- "]),
)


@st.composite
def bytes_changed(draw, content: bytes) -> bytes:
    """Some places of a file overwritten, cut out, doubled or added to, or the file cut short."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        n = draw(st.integers(0, 12))
        what = draw(st.sampled_from(("over", "out", "twice", "in", "short", "flip")))
        if what == "over":
            piece = draw(PIECES)
            changed[at : at + len(piece)] = piece
        elif what == "out":
            del changed[at : at + n]
        elif what == "twice":
            changed[at:at] = changed[at : at + 20 * n]
        elif what == "in":
            changed[at:at] = draw(PIECES)
        elif what == "short":
            del changed[at:]
        elif changed:
            changed[min(at, len(changed) - 1)] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
@given(draws=st.data())
@tries(25)
def test_a_parser_refuses_changed_bytes_in_a_line_or_reads_them(folder, kind, draws):
    files = made(kind)
    name = draws.draw(st.sampled_from(sorted(files)))
    files[name] = draws.draw(bytes_changed(files[name]))
    opened(folder, files, kind)


CELLS = st.sampled_from([w for w in WORDS if "\ud800" not in w]) | st.text(max_size=8)


@pytest.mark.parametrize("kind", ["native", "csv", "semicolons"])
@given(draws=st.data())
@tries(40)
def test_a_parser_refuses_changed_cells_in_a_line_or_reads_them(folder, kind, draws):
    files = made(kind)
    name = draws.draw(st.sampled_from([name for name in sorted(files) if name.endswith(".csv")]))
    separator = ";" if kind == "semicolons" else ","
    rows = list(csv.reader(io.StringIO(files[name].decode()), delimiter=separator))
    for _ in range(draws.draw(st.integers(1, 3))):
        row = rows[draws.draw(st.integers(0, len(rows) - 1))]
        cell = draws.draw(CELLS)
        row[draws.draw(st.integers(0, len(row) - 1))] = cell.encode("utf-8", "replace").decode()
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows(rows)
    files[name] = text.getvalue().encode()
    opened(folder, files, kind)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The places in a value of JSON or YAML."""
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [path] + [p for k, v in inner for p in places(v, (*path, k))]


def replaced(value: object, path: tuple, new: object) -> object:
    """The value with another one at a place; `del` takes the place out, `twice` doubles it."""
    if not path:
        return new
    part = value
    for key in path[:-1]:
        part = part[key]
    if new == "del":
        del part[path[-1]]
    elif new == "twice" and isinstance(part, list):
        part.append(part[path[-1]])
    else:
        part[path[-1]] = new
    return value


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.floats() | st.sampled_from(WORDS)
    | st.text(max_size=8) | st.sampled_from(["del", "twice", 10**400, "left", "../a.png"]),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=2),
    max_leaves=4,
)  # fmt: skip


@pytest.mark.parametrize("kind", ["coco", "labelme", "labelstudio"])
@given(draws=st.data())
@tries(80)
def test_a_parser_refuses_changed_json_in_a_line_or_reads_it(folder, kind, draws):
    files = made(kind)
    name = draws.draw(st.sampled_from(sorted(files)))
    value = json.loads(files[name])
    for _ in range(draws.draw(st.integers(1, 3))):
        path = draws.draw(st.sampled_from(places(value)))
        value = replaced(value, path, draws.draw(JSONS))
    files[name] = as_json(value)
    opened(folder, files, kind)


YAMLS = JSONS | st.dates() | st.binary(max_size=3)


@pytest.mark.parametrize("kind", ["native", "text", "readers"])
@given(draws=st.data())
@tries(30)
def test_a_parser_refuses_a_changed_dataset_yaml_in_a_line_or_reads_it(folder, kind, draws):
    files = made(kind)
    value = yaml.safe_load(files["dataset.yaml"])
    for _ in range(draws.draw(st.integers(1, 3))):
        path = draws.draw(st.sampled_from(places(value)))
        value = replaced(value, path, draws.draw(YAMLS))
    files["dataset.yaml"] = yaml.safe_dump(value).encode("utf-8", "replace")
    opened(folder, files, kind)


@given(draws=st.data())
@tries(60)
def test_a_parser_refuses_a_changed_dataset_yaml_beside_labels_in_a_line(folder, draws):
    kind = draws.draw(st.sampled_from(["csv", "coco", "labelme", "cvat", "labelstudio"]))
    about = yaml.safe_load(native_files()["dataset.yaml"])
    for _ in range(draws.draw(st.integers(0, 3))):
        path = draws.draw(st.sampled_from(places(about)))
        about = replaced(about, path, draws.draw(YAMLS))
    text = yaml.safe_dump(about).encode("utf-8", "replace")
    opened(folder, made(kind) | {"dataset.yaml": text}, kind)


@given(draws=st.data())
@tries(60)
def test_a_parser_refuses_changed_attributes_of_cvat_in_a_line_or_reads_them(folder, draws):
    from xml.etree import ElementTree

    root = ElementTree.fromstring(CVAT)
    every = [(element, key) for element in root.iter() for key in element.attrib]
    legal = [w for w in WORDS if not any(ord(c) < 32 or "\ud7ff" < c < "\ue000" for c in w)]
    texts = st.sampled_from(legal) | st.sampled_from(["1,2", "1,2;3", "-1,1e9", "left", "b.png"])
    for _ in range(draws.draw(st.integers(1, 3))):
        element, key = draws.draw(st.sampled_from(every))
        element.set(key, draws.draw(texts))
    opened(folder, {"labels.xml": ElementTree.tostring(root)}, "cvat")


# pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("pictures")
    grey = np.random.default_rng(3).integers(0, 255, (17, 23), dtype=np.uint8)
    for suffix in ("png", "jpg", "bmp", "tif"):
        Image.fromarray(grey).save(place / f"a.{suffix}")
    Image.fromarray(grey.astype(np.uint16) * 200).save(place / "deep.png")
    Image.fromarray(grey.astype(np.float32) * 1.5).save(place / "float.tif")
    Image.fromarray(grey).save(place / "packed.tif", compression="tiff_adobe_deflate")
    Image.fromarray(np.stack([grey] * 3, -1)).save(
        place / "colour.jpg", exif=b"Exif\0\0" + b"\0" * 9
    )
    write_dicom(place / "plain.dcm", RAMP, PixelSpacing=[0.2, 0.3], PatientID="p")
    write_dicom(place / "window.dcm", RAMP, "MONOCHROME1", WindowCenter=900, WindowWidth=800)
    return {path.name: path.read_bytes() for path in place.iterdir()}


@given(draws=st.data())
@tries(250)
def test_a_parser_refuses_a_changed_picture_in_a_line_or_reads_it(folder, pictures, draws):
    name = draws.draw(st.sampled_from(sorted(pictures)))
    path = folder / f"changed-{name}"
    path.write_bytes(draws.draw(bytes_changed(pictures[name])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow and pydicom complain of much
        sized = message(lambda: image_size(path))
        said = message(lambda: read_image(path))
        if not said and not sized:
            assert read_image(path).ndim == 2
    path.unlink()
    count("picture", said)


# what a run leaves


@pytest.fixture(scope="module")
def run_files(tmp_path_factory) -> tuple[Path, Files]:
    """A run folder as training leaves it, small."""
    from safetensors.torch import save

    place = tmp_path_factory.mktemp("run")
    config = make_config(TINY | {"widths": (4, 6), "input_hw": (8, 16)})
    model = build(config, 2)
    about = {"dataset_fingerprint": "f", "n_maps": 2, "partner": None}
    stored = {"settings": config.model_dump(mode="json"), "about": about}
    (place / "config.yaml").write_text(yaml.safe_dump(stored, sort_keys=False))
    (place / "model.safetensors").write_bytes(save(model.state_dict()))
    (place / "metrics.json").write_text(json.dumps({"val": {"mre_mm": 1.5, "sdr": {"2": 0.5}}}))
    (place / "history.csv").write_text("epoch,val_mre_mm\n1,2.5\n2,1.5\n")
    header = "split,image,patient,side,landmark,x,y,error_mm,peak\n"
    (place / "predictions.csv").write_text(header + "val,a.png,1,left,tip,3,4,0.5,0.9\n" * 2)
    torch.save({"model": model.state_dict(), "epoch": 1, "best": {}}, place / "checkpoint.pt")
    return place, {path.name: path.read_bytes() for path in place.iterdir()}


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "metrics.json", "history.csv", "predictions.csv", "model.safetensors",
     "checkpoint.pt"],
)  # fmt: skip
@given(draws=st.data())
@tries(40)
def test_a_parser_refuses_a_changed_file_of_a_run_in_a_line_or_reads_it(run_files, name, draws):
    place, files = run_files
    for other, content in files.items():
        (place / other).write_bytes(content)
    (place / name).write_bytes(draws.draw(bytes_changed(files[name])))

    def read() -> None:
        run = runs.load_run(place)
        _ = run.metrics, run.history, run.predictions, run.finished
        if name == "model.safetensors":
            run.model()
        if name == "checkpoint.pt":
            checkpoints._load(place / name, torch.device("cpu"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        count(f"run's {name}", message(read))


@given(draws=st.data())
@tries(80)
def test_a_parser_refuses_a_changed_preset_in_a_line_or_reads_it(folder, draws):
    text = yaml.safe_dump({"preset": "quick", "sigma_px": 3, "input_hw": [64, 96], "loss": "wing"})
    path = folder.parent / "mine.yaml"
    path.write_bytes(draws.draw(bytes_changed(text.encode())))
    said = message(lambda: parameters.read_preset(str(path)))
    count("preset", said)
    assert (str(path) in said) == bool(said)


@given(draws=st.data())
@tries(80)
def test_a_parser_refuses_a_changed_grid_in_a_line_or_reads_it(folder, draws):
    value = yaml.safe_load(yaml.safe_dump(SMALL))
    path = folder.parent / "grid.yaml"
    if draws.draw(st.booleans()):
        path.write_bytes(draws.draw(bytes_changed(yaml.safe_dump(value).encode())))
    else:
        place = draws.draw(st.sampled_from(places(value)))
        changed = replaced(value, place, draws.draw(YAMLS))
        path.write_bytes(yaml.safe_dump(changed).encode("utf-8", "replace"))
    count("grid", message(lambda: gridfile.read_grid(path)))


PREDICTED = (
    "image,side,landmark,x,y,peak,split\na.png,left,tip,1,2,0.5,val\nb.png,right,tip,3,4,,val\n"
)


@given(draws=st.data())
@tries(80)
def test_a_parser_refuses_changed_predictions_in_a_line_or_converts_them(folder, draws):
    import shutil

    from lmkit import commands

    path, target = folder.parent / "predictions.csv", folder.parent / "out"
    path.write_bytes(draws.draw(bytes_changed(PREDICTED.encode())))
    to = draws.draw(st.sampled_from(sorted(convert.OUT)))
    shutil.rmtree(target, ignore_errors=True)
    said = commands.main(["predictions", str(path), str(target), "--to", to])
    count("predictions", "refused" * said)
    assert {p.name for p in folder.parent.iterdir()} <= {
        *("set", "out", "predictions.csv", "mine.yaml", "grid.yaml"),
    }


def test_no_parser_of_a_yaml_file_takes_more_values_than_it_can_say(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for one, two in zip("abcdefghij", "bcdefghijk", strict=True):
        lines.append(f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]")
    (tmp_path / "laughs.yaml").write_text("\n".join(lines))
    assert "got more by aliases" in message(lambda: read_yaml(tmp_path / "laughs.yaml"))
    (tmp_path / "some.yaml").write_text("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n")
    assert read_yaml(tmp_path / "some.yaml")["c"] == {"x": 1, "y": 2}
