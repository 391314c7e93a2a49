"""Mending labels and reading them again: what is written, what is shown, what stays hidden."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import write_native

from lmkit import audit, data, desk_pictures, widgets_correct
from lmkit.config import InputError
from lmkit.correct_desk import CorrectionDesk
from lmkit.reading_desk import ReadingDesk
from lmkit.widgets import png
from lmkit.windows import Window, about, whole

FLAGGED = pd.DataFrame(
    [
        ("p03.png", "left", 9.0, "swap", "swap tip base"),
        ("p01.png", "right", 5.0, "unusual shape", ""),
        ("p05.png", "right", 4.0, "side", "swap sides"),
    ],
    columns=["image", "side", "score", "cause", "repair"],
)


def at(dataset, image, side, landmark):
    own = dataset.landmarks.set_index(["image", "side", "landmark"])
    key = (image, side, landmark)
    return tuple(own.loc[key, ["x", "y"]]) if key in own.index else None


@pytest.fixture
def desk(native) -> CorrectionDesk:
    dataset = data.open_dataset(native)
    model = dataset.landmarks.assign(x=dataset.landmarks.x + 3, y=dataset.landmarks.y - 2)
    return CorrectionDesk(dataset, FLAGGED, model, reader="anna")


def test_a_click_in_the_picture_moves_the_landmark_there_in_the_file(desk, native):
    desk.go(1)
    desk.look("base")
    window, before = desk.window, desk.own_points()
    x, y = window.at(0.25, 0.5)
    desk.move(x, y)
    assert desk.window == window, "the picture stays under the mouse"
    assert np.allclose(desk.points()[1], (x, y))
    assert (desk.own_points() == before).all()
    assert at(data.open_dataset(native), "p01.png", "right", "base") == pytest.approx(
        (x, y), abs=1e-3
    )
    desk.nudge(0.25, -1)
    assert np.allclose(desk.points()[1], (x + 0.25, y - 1))
    assert pd.read_csv(native / "corrections.csv")["reader"].tolist() == ["anna", "anna"]


def test_undo_goes_back_step_by_step_to_the_files_own_labels(desk, native):
    own = desk.own_points()
    desk.move(5, 6)
    desk.move(7, 8)
    desk.unclear("burn-out")
    assert np.isnan(desk.points()[0]).all()
    desk.undo()
    assert desk.points()[0].tolist() == [7, 8]
    desk.undo()
    assert desk.points()[0].tolist() == [5, 6]
    desk.undo()
    assert (desk.points() == own).all()
    with pytest.raises(InputError, match="undo: expected a decision of this session, got none"):
        desk.undo()
    opened = data.open_dataset(native)
    assert (opened.corrected, len(pd.read_csv(native / "corrections.csv"))) == (0, 6)


def test_every_decision_notes_where_the_labels_own_file_had_the_landmark(desk, native):
    own = desk.own_points()
    desk.move(5, 6)
    desk.move(7, 8)
    desk.accept()
    desk.undo()
    desk.keep()
    table = pd.read_csv(native / "corrections.csv")
    was = table[["x_was", "y_was"]].to_numpy()
    place = [own[desk.dataset.names.index(name)] for name in table["landmark"]]
    assert len(was) == 8
    assert np.allclose(was, place, atol=1e-4)


def test_what_only_looks_odd_comes_after_what_is_flagged_and_can_be_mended_too(native):
    suspects = pd.DataFrame(
        [(4, "p01.png", "right", 9.0, "shape"), (7, "p02.png", "left", 6.5, "place")],
        columns=["row", "image", "side", "score", "reason"],
    )
    looked_at = audit.to_look_at(FLAGGED, suspects)
    assert looked_at["image"].tolist() == ["p03.png", "p01.png", "p05.png", "p02.png"]
    desk = CorrectionDesk(data.open_dataset(native), looked_at, reader="anna")
    desk.go(3)
    assert desk.suspicion == ("unusual place", "")
    alone = audit.to_look_at(FLAGGED.iloc[:0], suspects)
    assert alone["cause"].tolist() == ["unusual shape", "unusual place"]


def test_another_order_of_many_names_is_not_spelt_out(native):
    names = " ".join(f"point{i} point{(i + 1) % 19}" for i in range(19))
    assert audit.told(f"rename {names}") == "rename 19 landmarks"
    assert audit.told("rename a b b c c a") == "rename a b b c c a"
    assert audit.told("scale 2.000") == "scale 2.000"
    assert audit.told("") == ""
    long = FLAGGED.assign(cause="order", repair=f"rename {names}")
    desk = CorrectionDesk(data.open_dataset(native), long, reader="anna")
    assert "order, rename 19 landmarks ·" in desk.state()


def test_exchanged_sides_are_mended_once_though_both_rows_say_so(native):
    both = pd.DataFrame(
        [("p05.png", side, 9.0, "side", "swap sides") for side in ("left", "right")],
        columns=["image", "side", "score", "cause", "repair"],
    )
    desk = CorrectionDesk(data.open_dataset(native), both, reader="anna")
    left, right = desk.points("left"), desk.points("right")
    desk.accept()
    desk.go(1)
    with pytest.raises(InputError, match=r"p05\.png right: expected labels as they were audited"):
        desk.accept()
    assert (desk.points("left") == right).all()
    assert (desk.points("right") == left).all()
    desk.undo()
    desk.accept()
    assert (desk.points("right") == left).all(), "after undo either row carries it out"


def test_accepting_carries_out_the_audits_repair_and_says_why(desk, native):
    own = desk.own_points()
    desk.accept()
    assert (desk.points() == own[::-1]).all()
    table = pd.read_csv(native / "corrections.csv")
    assert set(table["reason"]) == {"swap: swap tip base"}
    desk.undo()
    assert (desk.points() == own).all()
    desk.go(1)
    with pytest.raises(InputError, match=r"p01\.png right: expected a suggested repair, got none"):
        desk.accept()
    desk.go(1)
    here, there = desk.points("right"), desk.points("left")
    desk.accept()
    assert (desk.points("left") == here).all()
    assert (desk.points("right") == there).all()


def test_a_kept_set_is_not_shown_again_and_keeps_what_was_moved_in_it(desk, native):
    desk.move(9, 8)
    desk.keep("an odd patient")
    again = CorrectionDesk(data.open_dataset(native), FLAGGED, reader="ben")
    assert again.case == ("p01.png", "right")
    assert len(again.sets) == 2
    assert at(again.dataset, "p03.png", "left", "tip") == (9, 8)
    table = pd.read_csv(native / "corrections.csv")
    assert table["action"].tolist() == ["move", "keep", "keep"]
    assert table["x"].isna().tolist() == [False, False, True], "the other label stays its file's"
    again.keep()
    again.go(1)
    again.keep()
    with pytest.raises(InputError, match="crosses: expected label sets to look at, got none"):
        CorrectionDesk(data.open_dataset(native), FLAGGED)


def test_the_models_point_can_be_taken_and_points_outside_or_unknown_are_refused(desk):
    model = desk.model_points()
    desk.take_model()
    assert np.allclose(desk.points()[0], model[0])
    with pytest.raises(InputError, match=r"tip: expected a place in 110 x 60 pixels, got 120, 5"):
        desk.move(120, 5)
    desk.unclear()
    with pytest.raises(InputError, match="tip: expected a place to move it from, got none"):
        desk.nudge(1, 0)
    desk.reader = " "
    with pytest.raises(InputError, match="reader: expected the name of who decides"):
        desk.keep()
    alone = CorrectionDesk(desk.dataset, FLAGGED, reader="anna")
    with pytest.raises(InputError, match=r"tip: expected a prediction of p03\.png, got none"):
        alone.take_model()


def test_corrections_of_a_dataset_without_a_folder_need_one(tmp_path):
    phantom = data.open_dataset("phantom", phantom_patients=(2, 1, 1))
    desk = CorrectionDesk(phantom, reader="anna")
    assert len(desk.sets) == 8
    with pytest.raises(InputError, match="folder: expected one to save to, got none; phantom"):
        desk.keep()
    CorrectionDesk(phantom, folder=tmp_path / "practice", reader="anna").keep()
    assert (tmp_path / "practice" / "corrections.csv").exists()


def test_the_line_says_what_is_suspected_and_what_is_decided(desk):
    assert desk.state() == "1 of 3: p03.png, left · swap, swap tip base · nothing decided"
    desk.unclear()
    assert desk.state().endswith("· decided: 1 unclear")
    desk.go(9)
    assert desk.state() == "3 of 3: p05.png, right · side, swap sides · nothing decided"


def test_a_window_maps_a_click_to_the_pixel_under_it():
    window = Window(20, 10, 50, 30)
    assert window.at(0, 0) == (19.5, 9.5)  # the corner of the first pixel
    assert window.at(0.5 / 50, 29.5 / 30) == pytest.approx((20, 39))  # pixel centres
    pixels = np.arange(60 * 110).reshape(60, 110)
    assert window.cut(pixels).shape == (30, 50)
    assert window.cut(pixels)[0, 0] == pixels[10, 20]
    assert window.to_window(np.array([23.0, 14])).tolist() == [3, 4]
    points = np.array([[19.5, 9.5], [69.6, 20], [30, np.nan]])
    assert window.holds(points).tolist() == [True, False, False]
    assert about(np.array([2, 50]), 10, (60, 110)) == Window(0, 40, 20, 20)
    assert about(np.array([50, 20]), 40, (60, 110)) == Window(10, 0, 80, 60)
    assert whole((60, 110)) == Window(0, 0, 110, 60)


def test_the_three_views_show_the_set_the_landmark_and_all(desk):
    sizes = {}
    for view in ("label set", "landmark", "whole"):
        desk.look("tip", view)
        sizes[view] = desk.window.width * desk.window.height
        assert desk.window.holds(desk.points()[:1])[0]
    assert sizes["whole"] == 110 * 60
    assert sizes["landmark"] <= sizes["whole"]


def buttons(box) -> dict:
    """Every button and control below a box, by its text."""
    found, todo = {}, [box]
    while todo:
        widget = todo.pop()
        todo += list(getattr(widget, "children", ()))
        if getattr(widget, "description", ""):
            found[widget.description] = widget
    return found


def pictures(box) -> list[bytes]:
    rows = (getattr(child, "children", ()) for child in box.children)
    row = next(row for row in rows if row and hasattr(row[0], "format"))
    return [bytes(image.value) for image in row]


def test_the_widget_moves_decides_and_says_what_cannot_be_done(desk, native):
    box = widgets_correct.correction_desk(desk)
    found, seen = buttons(box), pictures(box)
    found["x, px"].value, found["y, px"].value = 20.0, 30.0
    assert desk.points()[0].tolist() != [20, 30], "typing alone moves nothing"
    found["put it there"].click()
    assert desk.points()[0].tolist() == [20, 30]
    assert pictures(box) != seen
    found["arrows, px"].value = 0.25
    found["↓"].click()
    assert desk.points()[0].tolist() == [20, 30.25]
    found["landmark"].value = "base"
    found["reason"].value = "blurred"
    found["unclear"].click()
    assert np.isnan(desk.points()[1]).all()
    found["undo"].click()
    found["keep: all right"].click()
    assert desk.case == ("p01.png", "right")
    found["accept the repair"].click()
    said = box.children[-1].value
    assert said.startswith("2 of 3: p01.png, right")
    assert "expected a suggested repair, got none" in said
    found["reader"].value = ""
    found["keep: all right"].click()
    assert "reader: expected the name" in box.children[-1].value
    assert desk.case == ("p01.png", "right"), "what is not saved is not left behind"
    table = pd.read_csv(native / "corrections.csv")
    assert table["reason"].tolist()[2] == "blurred"


def mouse(kind: str, right: float, down: float, held: bool = False) -> dict:
    """An event as ipyevents' documentation says it, on a picture of 380 x 120 on the screen."""
    shown = {"boundingRectWidth": 380, "boundingRectHeight": 120, "buttons": int(held)}
    return {"type": kind, "relativeX": right * 380, "relativeY": down * 120} | shown


@pytest.fixture
def controls(desk):
    pytest.importorskip("ipyevents", reason="the clicks extra is not installed")
    made = widgets_correct._Controls(
        desk, lambda held: desk_pictures.correction_picture(desk, held), None
    )
    made.on_place = desk.move
    return made


def test_a_click_away_from_all_landmarks_puts_the_chosen_one_there(desk, controls):
    desk.look("base", "whole")
    window = desk.window
    controls.pointer.ends._dom_handlers(mouse("mousedown", 0.5, 0.25))
    controls.pointer.ends._dom_handlers(mouse("mouseup", 0.5, 0.25))
    expected = (window.x + 0.5 * window.width - 0.5, window.y + 0.25 * window.height - 0.5)
    assert desk.points()[1].tolist() == pytest.approx(expected)
    assert desk.landmark == "base"


def test_a_landmark_under_the_mouse_is_dragged_whichever_was_chosen(desk, controls, native):
    desk.look("base", "whole")
    start, window = desk.points().copy(), desk.window
    right, down = (window.to_window(start[0]) + 0.5) / [window.width, window.height]
    controls.show()
    still = bytes(controls.picture.value)
    hear = controls.pointer.hear
    hear(mouse("mousemove", 0.9, 0.9))
    assert bytes(controls.picture.value) == still, "a mouse without a button drags nothing"
    hear(mouse("mousedown", right, down))
    assert desk.landmark == "tip"
    hear(mouse("mousemove", right + 0.1, down, held=True))
    assert bytes(controls.picture.value) != still
    assert (desk.points() == start).all(), "nothing is decided before the mouse is let go"
    assert not (native / "corrections.csv").exists()
    hear(mouse("mouseup", right + 0.1, down))
    assert desk.points()[0].tolist() == pytest.approx([start[0, 0] + 0.1 * 110, start[0, 1]])
    assert (desk.points()[1] == start[1]).all()
    assert controls.landmark.value == "tip"
    assert pd.read_csv(native / "corrections.csv")["landmark"].tolist() == ["tip"]


def test_without_ipyevents_the_widget_works_and_names_the_extra(desk, monkeypatch):
    monkeypatch.setattr(widgets_correct.Pointer, "possible", False)
    box = widgets_correct.correction_desk(desk)
    assert any("[clicks]" in getattr(child, "value", "") for child in box.children)
    buttons(box)["→"].click()
    assert desk.points()[0, 0] == desk.own_points()[0, 0] + 1


def test_the_picture_is_all_image_so_that_shares_of_it_are_shares_of_the_window(desk):
    figure = desk_pictures.correction_picture(desk)
    figure.canvas.draw()
    ax = figure.axes[0]
    box = ax.get_window_extent()
    wide, high = figure.get_size_inches() * figure.dpi
    assert (box.x0, box.y0, box.width, box.height) == pytest.approx((0, 0, wide, high))
    assert ax.transData.transform((-0.5, -0.5)) == pytest.approx((0, high), abs=1e-6)


def test_static_figures_show_the_first_flagged_sets_and_the_blank_reading(desk):
    figure = desk_pictures.static_corrections(desk.dataset, FLAGGED, n=2)
    titles = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert titles == ["p03.png, left\nswap: swap tip base", "p01.png, right\nunusual shape"]
    reading = ReadingDesk(desk.dataset, 3, seed=1)
    ax = desk_pictures.static_reading(reading).axes[0]
    assert all(np.isnan(c.get_offsets().filled(np.nan)).all() for c in ax.collections)


# --- a second reading


def test_a_second_reading_is_saved_set_by_set_and_read_by_the_dataset(native):
    desk = ReadingDesk(data.open_dataset(native), 2, seed=5, reader="ben")
    image, side = desk.case
    desk.mark(11, 12)
    desk.choose_next()
    assert (desk.landmark, desk.missing) == ("base", ["base"])
    with pytest.raises(InputError, match="expected all landmarks, got none for base"):
        desk.save()
    desk.hide()
    desk.save()
    second = data.open_dataset(native).second_reading
    assert second.to_numpy().tolist() == [[image, side, "tip", 11, 12]]
    for name in ("tip", "base"):
        desk.landmark = name
        desk.mark(20, 21)
        desk.nudge(0.5, 0)
    desk.save()
    assert desk.done
    assert desk.state().startswith("all 2 label sets read, in ")
    with pytest.raises(InputError, match="expected a label set to save, got none"):
        desk.save()
    dataset = data.open_dataset(native)
    assert len(dataset.second_reading) == 3
    with pytest.raises(InputError, match="expected label sets left to read, got none"):
        ReadingDesk(dataset, 2, seed=5)
    assert len(ReadingDesk(dataset, 4, seed=5).cases) == 2, "the first two are read"


def test_the_order_is_random_and_the_seeds(native):
    dataset = data.open_dataset(native)
    orders = [ReadingDesk(dataset, seed=seed).cases for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
    assert orders[0] != sorted(orders[0])
    assert {image for image, _ in ReadingDesk(dataset, split="val").cases} == {"p08.png", "p09.png"}


def test_nothing_that_a_second_reader_sees_depends_on_the_label(native):
    dataset = data.open_dataset(native)
    image, side = ReadingDesk(dataset, seed=2).case
    own = (dataset.landmarks["image"] == image) & (dataset.landmarks["side"] == side)
    near = dataset.landmarks.assign(
        x=dataset.landmarks["x"].where(~own, dataset.landmarks["x"] + 1)
    )
    shown = []
    for landmarks in (dataset.landmarks, near):
        desk = ReadingDesk(replace(dataset, landmarks=landmarks), seed=2)
        assert desk.case == (image, side)
        desk.view = "whole"
        shown.append(png(desk_pictures.reading_picture(desk)))
    assert shown[0] == shown[1]
    usual = ReadingDesk(dataset, seed=2)
    boxes = set()
    for _ in usual.cases:
        boxes.add((usual.case[1], usual.window))
        usual.place += 1
    assert len(boxes) == 2, "one part of the image per side, the same for all images"


def test_the_reading_widget_goes_from_landmark_to_landmark_and_to_the_next_set(native):
    desk = ReadingDesk(data.open_dataset(native), 2, reader="ben")
    box = widgets_correct.reading_desk(desk)
    found, first = buttons(box), desk.case
    found["x, px"].value, found["y, px"].value = 30.0, 31.0
    found["put it there"].click()
    assert found["landmark"].value == "base"
    found["save, next ▶"].click()
    assert "got none for base" in box.children[-1].value
    found["cannot be seen"].click()
    found["save, next ▶"].click()
    assert desk.case != first
    assert np.isnan(desk.marks).all()


def test_a_dataset_without_sides_is_read_again_without_the_column(tmp_path):
    folder = write_native(tmp_path / "one", sides=())
    desk = ReadingDesk(data.open_dataset(folder), 1, reader="ben")
    desk.mark(11, 12)
    desk.choose_next()
    desk.mark(13, 14)
    desk.save()
    assert (folder / "second_reading.csv").read_text().startswith("image,landmark,x,y,reader,time")
    dataset = data.open_dataset(folder)
    assert set(dataset.second_reading["side"]) == {"all"}
    assert len(ReadingDesk(dataset).cases) == 11
