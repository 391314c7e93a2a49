"""The phantom: same seed same picture, labels exact, shapes as in the real coordinates."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmkit import data, phantom, runs
from lmkit.phantom_draw import raster
from lmkit.phantom_faults import KINDS, READING_SD_PX, inject_faults, second_reader
from lmkit.phantom_shape import MEAN, MODES, SD_PX, depth, depth_class, to_side
from lmkit.phantom_teeth import Tooth, coverage, crown_outline, occlusal_part, tooth_frame

SQUARE = np.array([(2.0, 1.0), (6.0, 1.0), (6.0, 4.0), (2.0, 4.0)])


@pytest.fixture(scope="module")
def anatomies():
    return [phantom.anatomy(11, index) for index in range(400)]


@pytest.fixture(scope="module")
def labels():
    return phantom.table(5, 30)[1]


def mirrored(anatomies, side):
    return np.array([to_side(a.points[side], side) for a in anatomies])


def tooth(anatomy, side, number):
    quadrant = {"left": 30, "right": 40}[side]
    (found,) = [t for t in anatomy.teeth if t.number == quadrant + number]
    return found


# --- determinism and interface


def test_the_same_seed_and_index_give_the_same_picture_bit_by_bit():
    first, again = (phantom.draw(phantom.anatomy(3, 8)) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, phantom.draw(phantom.anatomy(4, 8)))


def _processors():
    """Environments in which BLAS and NumPy take this processor for an older one."""
    here = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    plain = {key: os.environ[key] for key in os.environ if key != "OPENBLAS_CORETYPE"}
    return {
        "as it is": plain,
        "Haswell": plain | {"OPENBLAS_CORETYPE": "Haswell"},
        "Prescott": plain | {"OPENBLAS_CORETYPE": "Prescott"},
        "no vector extensions": plain | {"NPY_DISABLE_CPU_FEATURES": " ".join(here)},
    }


def test_every_processor_draws_the_same_phantom():
    """The last bits of a product, a power, an exponential are the processor's; labels, pictures and
    the fingerprint that a run is known by must not be."""
    code = "from lmkit import data, phantom as p; import hashlib; "
    code += "pictures = b''.join(p.draw(p.anatomy(3, i)).tobytes() for i in range(8)); "
    code += "d = data.open_dataset('phantom'); print(d.fingerprint, "
    code += "hashlib.sha256(pictures + d.landmarks.to_csv().encode()).hexdigest())"
    command = [sys.executable, "-c", code]
    found = {
        name: subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        for name, env in _processors().items()
    }
    assert set(found.values()) == {found["as it is"]}, found
    assert len(found["as it is"].split()[0]) == 24


def test_an_index_does_not_depend_on_the_ones_before_it():
    alone = phantom.anatomy(3, 25).points
    row = phantom.table(3, 26)[1].query("image == 'phantom_00025.png'")
    for side in phantom.SIDES:
        assert np.array_equal(row[row.side == side][["x", "y"]].to_numpy(), alone[side])


def test_a_picture_is_eight_bit_grey_of_the_stated_size_and_uses_its_range():
    picture = phantom.draw(phantom.anatomy(0, 0))
    assert picture.shape == phantom.HW == (600, 1100)
    assert picture.dtype == np.uint8
    assert np.ptp(np.percentile(picture, [1, 99.9])) > 100


def test_the_tables_have_two_sides_of_five_landmarks_for_each_patient():
    images, landmarks = phantom.table(0, 3)
    assert list(images.columns) == ["image", "patient", "spacing_x_mm", "spacing_y_mm"]
    assert list(landmarks.columns) == ["image", "side", "landmark", "x", "y"]
    assert images.image.tolist() == [f"phantom_0000{k}.png" for k in range(3)]
    assert images.patient.nunique() == 3
    assert len(landmarks) == 3 * 2 * 5
    assert landmarks.landmark.tolist()[:5] == list(phantom.NAMES)
    assert landmarks[["x", "y"]].notna().all(axis=None)


def test_an_anatomy_costs_milliseconds():
    phantom.anatomy(1, 0)
    start = time.perf_counter()
    for index in range(20):
        phantom.anatomy(1, index)
    assert (time.perf_counter() - start) / 20 < 0.03  # 4 ms here; room for a busy machine


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1), (0, 1.5), ("0", 0), (True, 0)])
def test_a_bad_seed_or_index_is_named(seed, index):
    with pytest.raises(ValueError, match=r"(seed|index): expected a whole number >= 0, got"):
        phantom.anatomy(seed, index)


# --- shape


def test_all_points_lie_inside_the_picture_and_sides_on_their_halves(anatomies):
    for a in anatomies:
        points = np.stack([a.points[s] for s in phantom.SIDES])
        assert (points >= 0).all()
        assert (points <= (1099, 599)).all()
        assert a.points["left"][:, 0].min() > 549.5 > a.points["right"][:, 0].max()


@pytest.mark.parametrize("side", phantom.SIDES)
def test_points_run_from_the_midline_outwards_on_either_side(anatomies, side):
    x = mirrored(anatomies, side)[:, :, 0]
    assert (x[:, 0] < x[:, 1]).all()
    assert (x[:, 2] < x[:, 3]).all()
    assert (x[:, 4] > x[:, 1]).all()


@pytest.mark.parametrize("side", phantom.SIDES)
def test_means_spreads_modes_and_classes_are_those_of_the_real_points(anatomies, side):
    points = np.stack([a.points[side] for a in anatomies])
    table = phantom.beside_real(points, side)
    assert table.loc["mean"].allowed.eq(3).all()
    assert np.allclose(table.loc["sd"].allowed, 0.25 * np.array(SD_PX[side]))
    assert table.loc[["mode", "class"]].allowed.eq(0.10).all()
    assert table.within.all(), table[~table.within]


def test_a_shape_shifted_by_four_pixels_or_half_as_wide_is_not_within(anatomies):
    points = np.stack([a.points["left"] for a in anatomies])
    shifted = phantom.beside_real(points + np.array([4, 0]), "left")
    assert shifted.loc["mean"].within.tolist() == [False, True] * 5
    middle = points.mean(0)
    narrow = phantom.beside_real(middle + (points - middle) / 2, "left")
    assert not narrow.loc["sd"].within.any()
    assert narrow.loc["mode"].within.all()  # shares know no scale
    with pytest.raises(ValueError, match=r"expected shape \(N, 5, 2\)"):
        phantom.beside_real(points[:1], "left")


@pytest.mark.parametrize("side", phantom.SIDES)
def test_the_first_mode_points_the_same_way_as_the_real_one(anatomies, side):
    vectors = np.linalg.eigh(np.cov(mirrored(anatomies, side).reshape(-1, 10).T))[1]
    first = np.array(MODES[side][0])
    assert abs(vectors[:, -1] @ first) / np.linalg.norm(first) > 0.97


def test_points_belong_to_the_tooth_they_lie_on_and_shifted_by_a_tooth_to_its_neighbour():
    for a in [phantom.anatomy(0, index) for index in range(30)]:
        for side, second in (("left", 37), ("right", 47)):
            points = a.points[side]
            own = [second] * 4 + [second + 1]
            assert phantom.nearest_tooth(a, side, points).tolist() == own
            third = tooth(a, side, 8).key
            moved = np.vstack([third, points[4]])
            assert phantom.nearest_tooth(a, side, moved).tolist() == [second + 1] * 5
    with pytest.raises(ValueError, match="expected one of"):
        phantom.nearest_tooth(a, "up", points)


def test_jaw_heights_of_the_two_sides_go_together(anatomies):
    left, right = (mirrored(anatomies, s)[:, :4, 1].mean(axis=1) for s in phantom.SIDES)
    assert 0.75 < np.corrcoef(left, right)[0, 1] < 0.95  # real: 0.90


def test_small_data_sets_already_have_the_right_mean():
    few = [phantom.anatomy(2, index) for index in range(85)]
    for side in phantom.SIDES:
        assert np.abs(mirrored(few, side).mean(axis=0).ravel() - MEAN[side]).max() < 4.0


def test_depth_is_zero_on_the_occlusal_line_and_one_on_the_cervical_line():
    # occlusal line: y = 10 + 0.5 (x - 0); cervical line: y = 50 everywhere; at x = 40: 30 and 50
    lines = [(0, 10), (20, 20), (-5, 50), (25, 50)]
    tops = {20.0: (-0.5, "A"), 30.0: (0.0, "B"), 35.0: (0.25, "B"), 60.0: (1.5, "C")}
    for y, (expected, name) in tops.items():
        points = np.array([*lines, (40, y)], dtype=float)
        assert depth(points) == pytest.approx(expected)
        assert depth_class(points) == name


# --- exactness of the labels


def test_coverage_is_the_exact_area_of_a_polygon_in_each_pixel():
    area = coverage(SQUARE, (0, 0, 9, 7))
    assert area.shape == (7, 9)
    assert area.sum() == pytest.approx(12.0)
    assert area[1].tolist() == pytest.approx([0, 0, 0.25, 0.5, 0.5, 0.5, 0.25, 0, 0])
    assert area[2].tolist() == pytest.approx([0, 0, 0.5, 1, 1, 1, 0.5, 0, 0])


@pytest.mark.parametrize(("x", "y"), [(3.0, 4.0), (5.25, 6.5), (9.9, 4.13)])
def test_a_rendered_probe_is_found_where_it_was_put(x, y):
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    probe = np.stack([x + 2.5 * np.cos(angle), y + 2.5 * np.sin(angle)], axis=1)
    mask = coverage(probe, (0, 0, 15, 11))
    rows, columns = np.indices(mask.shape)
    found = np.array([(mask * columns).sum(), (mask * rows).sum()]) / mask.sum()
    assert found == pytest.approx([x, y], abs=0.05)


@pytest.mark.parametrize("side", phantom.SIDES)
def test_the_second_molar_is_built_from_its_four_labels(anatomies, side):
    for a in anatomies[:60]:
        molar = tooth(a, side, 7)
        assert molar.key == pytest.approx(a.points[side][:4], abs=1e-9)
        origin, axes = tooth_frame(molar.key)
        outline = crown_outline(molar)
        xy = outline @ axes + origin
        for point in a.points[side][:4]:
            assert np.hypot(*(xy - point).T).min() < 1e-9
        assert outline[:, 1].min() > -1e-9  # nothing stands above the line through the cusps
        touching = xy[outline[:, 1] < 1e-6]
        assert len(touching) == 2


@pytest.mark.parametrize("side", phantom.SIDES)
def test_the_third_molars_label_is_the_highest_point_of_its_occlusal_surface(anatomies, side):
    for a in anatomies[:60]:
        molar, top = tooth(a, side, 8), a.points[side][4]
        origin, axes = tooth_frame(molar.key)
        outline = crown_outline(molar)
        xy = outline @ axes + origin
        assert np.hypot(*(xy - top).T).min() < 1e-9
        surface = xy[occlusal_part(molar, outline)]
        assert surface[:, 1].min() == pytest.approx(top[1], abs=1e-9)
        assert 20 < len(surface) < 0.7 * len(xy)


def test_cusp_tips_measured_on_the_raster_lie_at_the_labels():
    # A level molar, cusps at half-pixel places: the mask's first row and columns must show them.
    key = np.array([(40.5, 20.25), (68.5, 20.25), (30.0, 60.0), (84.0, 60.0)])
    molar = Tooth(37, key, 80.0, 2, 0.2, 4.0, 0.09, 5.0, 8.0)
    layers = raster(molar, (200, 120))
    x0, y0, x1, _ = layers.box
    columns = np.arange(x0, x1)
    for cusp_x in (40.5, 68.5):
        near = np.abs(columns - cusp_x) < 3
        height = layers.crown[: 60 - y0, near].sum(axis=0)  # px of crown above row 59.5
        top = 59.5 - height.max()
        assert top == pytest.approx(20.25, abs=0.05)
        weight = np.clip(height - height.max() + 0.3, 0, None)  # the tip, cut 0.3 px below it
        assert (columns[near] * weight).sum() / weight.sum() == pytest.approx(cusp_x, abs=0.5)


def test_enamel_ends_at_the_cervical_labels():
    key = np.array([(40.5, 20.25), (68.5, 20.25), (30.0, 60.0), (84.0, 60.0)])
    layers = raster(Tooth(37, key, 80.0, 2, 0.2, 4.0, 0.09, 5.0, 8.0), (200, 120))
    rows = np.arange(layers.box[1], layers.box[3])
    flank = layers.enamel[:, : 45 - layers.box[0]].sum(axis=1)
    assert flank[rows == 57].item() > 0.1
    assert flank[rows >= 61].max() < 0.02


def test_a_ghost_is_a_bright_shadow_over_the_molars_of_its_side_alone():
    always, never = (replace(phantom.DIFFICULTY, ghost=share) for share in (1.0, 0.0))
    for index in range(3):
        with_it, without = (phantom.anatomy(4, index, level) for level in (always, never))
        for side in phantom.SIDES:
            assert np.array_equal(with_it.points[side], without.points[side])
            assert "ghost" in with_it.cases[side]
            assert "ghost" not in without.cases[side]
        one = replace(with_it, cases=without.cases | {"left": with_it.cases["left"]})
        added = phantom.draw(one).astype(int) - phantom.draw(without)
        assert added.min() >= 0
        assert added[:, :400].max() <= 1, "the right side is not touched"
        x, y = with_it.points["left"].mean(axis=0)
        centre = np.average(np.argwhere(added > 0), axis=0, weights=added[added > 0])
        assert np.hypot(centre[1] - x, centre[0] - y) < 130


def test_teeth_are_brighter_than_their_surroundings_at_the_labels(anatomies):
    """Inside the crown, 5 px below each cusp, against 4 px above it."""
    differences = []
    for a in anatomies[:6]:
        picture = phantom.draw(a).astype(float)
        for side in phantom.SIDES:
            for cusp in a.points[side][:2]:
                x, y = np.round(cusp).astype(int)
                differences.append(picture[y + 5, x] - picture[y - 4, x])
    assert np.mean(np.array(differences) > 15) > 0.9


def test_confusing_cases_come_at_the_stated_rates(anatomies):
    cases = pd.Series([c for a in anatomies for s in phantom.SIDES for c in a.cases[s]])
    share = cases.value_counts() / (2 * len(anatomies))
    with_third = np.mean([depth(a.points[s]) < 0.45 for a in anatomies for s in phantom.SIDES])
    usual = phantom.DIFFICULTY.look_alike_row
    assert usual * with_third - 0.03 < share["look_alike_row"] < usual + 0.5  # more when drifted
    assert share["burnt_out"] == pytest.approx(phantom.DIFFICULTY.burnt_out, abs=0.03)
    assert share["over_exposed"] == pytest.approx(phantom.DIFFICULTY.over_exposed, abs=0.05)


def test_the_difficulty_changes_the_teeth_around_but_no_label():
    shares = ("fourth_molar", "fourth_when_mesial", "look_alike_row", "look_alike_drifted")
    plain = phantom.Difficulty(**dict.fromkeys(shares, 0.0))
    for index in range(40):
        easy, usual = phantom.anatomy(1, index, plain), phantom.anatomy(1, index)
        for side in phantom.SIDES:
            assert "fourth_molar" not in easy.cases[side]
            assert np.array_equal(easy.points[side], usual.points[side])
        assert easy.spacing_mm == usual.spacing_mm


@pytest.mark.parametrize("side", phantom.SIDES)
def test_a_drifted_second_molar_stands_among_look_alikes(anatomies, side):
    """What makes the neighbour confusing: in the first one's place, with a fourth molar behind."""
    rows = [(to_side(a.points[side], side), a.cases[side]) for a in anatomies]
    usual = (MEAN[side][4] + MEAN[side][6]) / 2
    drift = np.array([xy[2:4, 0].mean() - usual for xy, _ in rows])
    erupted = np.array([depth(xy) < 0.45 for xy, _ in rows])
    fourth = np.array(["fourth_molar" in cases for _, cases in rows])
    extra = np.array(["deciduous_molar" in cases for _, cases in rows])
    assert fourth[(drift < -12) & erupted].mean() > 0.95
    assert fourth[(np.abs(drift) < 4) & erupted].mean() < 0.7
    assert extra[drift > 12].mean() > extra[drift < 0].mean() + 0.2


def test_failures_name_the_tooth_a_prediction_lies_on():
    images, landmarks = phantom.table(0, 2)
    rows = landmarks.rename(columns={"x": "x_true", "y": "y_true"}).query("side == 'left'")
    rows = rows.assign(x=rows.x_true, y=rows.y_true, error_mm=0.5)
    a = phantom.anatomy(0, 1)
    wrong = (rows.image == images.image[1]) & (rows.landmark == "m2_mesial_cusp")
    rows.loc[wrong, ["x", "y"]] = tooth(a, "left", 8).key[0]
    rows.loc[wrong, "error_mm"] = 9.0
    found = phantom.failures(rows, 0)
    assert found.to_numpy().tolist() == [[images.image[1], "left", "m2_mesial_cusp", 9.0, 38, 37]]
    assert phantom.failures(rows, 0, beyond_mm=10).empty


def test_the_real_errors_are_those_of_the_published_predictions(shared_data):
    table = pd.read_csv(shared_data / "pell_gregory" / "test_predictions.csv")
    table["mm"] = np.hypot(table.x_true - table.x_pred, table.y_true - table.y_pred) / 6
    for side, real in phantom.REAL_ERRORS.items():
        mm = table[table.side == side].mm
        got = {
            "median_mm": mm.median(),
            "failure_rate": (mm > 4).mean(),
            "sdr_2mm": (mm < 2).mean(),
        }
        assert {k: round(v, 3) for k, v in got.items()} == real


# --- label faults and the second reader


def points_of(landmarks, image, side):
    rows = landmarks[(landmarks.image == image) & (landmarks.side == side)]
    return rows.set_index("landmark").loc[list(phantom.NAMES), ["x", "y"]].to_numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_does_what_its_name_says(labels, kind):
    faulty, done = inject_faults(labels, 0.2, (kind,), seed=4)
    assert len(done) == 12  # 0.2 of 30 images x 2 sides
    for row in done.itertuples():
        true = points_of(labels, row.image, row.side)
        got = points_of(faulty, row.image, row.side)
        if kind == "scale":
            ratio = (got + 0.5) / (true + 0.5)
            assert np.ptp(ratio) < 1e-9
            assert 0.35 <= ratio.min() <= 0.60
        elif kind == "side":
            assert got == pytest.approx(np.stack([1099 - true[:, 0], true[:, 1]], axis=1))
        elif kind == "axes":
            assert np.array_equal(got, true[:, ::-1])
        elif kind == "neighbour":
            step = np.hypot(*(got - true).T)
            assert np.ptp(step) < 1e-9
            assert 50 < step[0] < 75  # px; a molar is 8 to 11 mm wide
        elif kind == "swap":
            moved = np.flatnonzero((got != true).any(axis=1))
            assert len(moved) == 2
            assert np.array_equal(got[moved], true[moved[::-1]])
        else:
            source = row.detail.removeprefix("labels of ")
            assert source != row.image
            assert np.array_equal(got, points_of(labels, source, row.side))


def test_faults_touch_the_listed_sets_only_and_repeat_with_the_seed(labels):
    faulty, done = inject_faults(labels, 0.3, seed=1)
    assert done.fault.value_counts().to_dict() == dict.fromkeys(KINDS, 3)
    assert not done.duplicated(["image", "side"]).any()
    moved = labels[(faulty[["x", "y"]] != labels[["x", "y"]]).any(axis=1)]
    listed = set(zip(done.image, done.side, strict=True))
    assert set(zip(moved.image, moved.side, strict=True)) == listed
    pd.testing.assert_frame_equal(inject_faults(labels, 0.3, seed=1)[0], faulty)
    assert not inject_faults(labels, 0.3, seed=2)[1].equals(done)


def test_bad_requests_for_faults_are_named(labels):
    with pytest.raises(ValueError, match=r"share: expected within \[0, 1\], got 1.5"):
        inject_faults(labels, 1.5)
    with pytest.raises(ValueError, match=r"kinds: expected some of .* got .*'blur'"):
        inject_faults(labels, 0.1, ("blur",))
    with pytest.raises(ValueError, match=r"landmarks: expected columns .* got none named .*'y'"):
        inject_faults(labels.drop(columns="y"), 0.1)


def test_the_second_reader_errs_by_the_stated_amount_along_and_across_the_occlusal_line(anatomies):
    rows = [
        (f"{k}.png", side, name, *xy)
        for k, a in enumerate(anatomies)
        for side in phantom.SIDES
        for name, xy in zip(phantom.NAMES, a.points[side], strict=True)
    ]
    first = pd.DataFrame(rows, columns=["image", "side", "landmark", "x", "y"])
    second = second_reader(first, seed=3)
    xy = first[["x", "y"]].to_numpy().reshape(-1, 5, 2)
    error = second[["x", "y"]].to_numpy().reshape(-1, 5, 2) - xy
    u = xy[:, 1] - xy[:, 0]
    u /= np.hypot(*u.T)[:, None]
    along = np.einsum("blc,bc->bl", error, u)
    across = np.sqrt((error**2).sum(axis=2) - along**2)
    for k, name in enumerate(phantom.NAMES):
        assert along[:, k].std() == pytest.approx(READING_SD_PX[name][0], rel=0.08)
        assert np.sqrt((across[:, k] ** 2).mean()) == pytest.approx(
            READING_SD_PX[name][1], rel=0.08
        )


def test_the_second_readers_error_of_an_image_does_not_depend_on_other_rows(labels):
    whole = second_reader(labels, seed=3)
    part = second_reader(labels[labels.image == "phantom_00007.png"], seed=3)
    pd.testing.assert_frame_equal(whole.loc[part.index], part)


EXAMPLE = Path(__file__).resolve().parent.parent / "outputs" / "example"


def test_the_kept_run_of_the_old_recipe_is_right_or_on_the_neighbouring_tooth():
    """As real models are (`phantom.REAL_ERRORS`): what the phantom's difficulty was tuned for."""
    run = runs.load_run(EXAMPLE / "before_right")
    test = run.metrics["test"]
    assert 0.35 <= test["median_mm"] <= 0.7
    assert 0.03 <= test["failure_rate"] <= 0.15
    assert 0.80 <= test["sdr"]["2"] <= 0.96
    rows = run.predictions.query("split == 'test'")
    failed = phantom.failures(rows, run.config.phantom_seed)
    assert (failed["tooth"] != failed["own"]).mean() > 0.5


@pytest.mark.parametrize(
    "folder",
    [p for p in sorted(EXAMPLE.glob("*/config.yaml")) if "dataset: phantom" in p.read_text()],
    ids=lambda p: p.parent.name,
)
def test_the_kept_runs_are_on_the_phantom_as_it_is_drawn_now(folder):
    run = runs.load_run(folder.parent)
    phantom_now = data.open_dataset("phantom")
    assert run.about["dataset_fingerprint"] == phantom_now.fingerprint
