"""corrections.csv: what it changes in an opened dataset, what it never touches, and its errors."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from conftest import write_native
from PIL import Image

from lmkit import audit, convert, corrections, data
from lmkit.config import InputError

KEY = corrections.KEY


def row(image="p00.png", side="left", landmark="tip", action="move", x=np.nan, y=np.nan, **more):
    return {
        "image": image,
        "side": side,
        "landmark": landmark,
        "action": action,
        "x": x,
        "y": y,
    } | more


def write(folder, *rows, reader="anna"):
    return corrections.append(folder, pd.DataFrame(list(rows)), reader)


def at(dataset, image, side, landmark):
    """(x, y) of a label, or None."""
    own = dataset.landmarks.set_index(KEY)
    key = (image, side, landmark)
    return tuple(own.loc[key, ["x", "y"]]) if key in own.index else None


def test_a_moved_point_is_elsewhere_and_an_unclear_or_dropped_one_not_annotated(native):
    before, files = data.open_dataset(native), (native / "landmarks.csv").read_bytes()
    write(
        native,
        row(x=12.5, y=7.25),
        row("p01.png", action="unclear"),
        row("p02.png", "right", "base", "drop", reason="a copy"),
    )
    after = data.open_dataset(native)
    assert at(after, "p00.png", "left", "tip") == (12.5, 7.25)
    assert at(after, "p01.png", "left", "tip") is None
    assert at(after, "p02.png", "right", "base") is None
    assert (len(before.landmarks), len(after.landmarks), after.corrected) == (48, 46, 3)
    assert (native / "landmarks.csv").read_bytes() == files
    assert np.isnan(after.points("left")[1, 0]).all()
    back = corrections.originals(after.landmarks, after.corrections)
    both = back.merge(before.landmarks, on=KEY, suffixes=("", "_was"))
    assert len(both) == len(back) == 48
    assert (both[["x", "y"]].to_numpy() == both[["x_was", "y_was"]].to_numpy()).all()


def test_the_last_row_wins_and_undo_brings_the_files_own_label_back(native):
    first = at(data.open_dataset(native), "p00.png", "left", "tip")
    write(native, row(x=1, y=2))
    write(native, row(x=3, y=4), reader="ben")
    again = data.open_dataset(native)
    assert at(again, "p00.png", "left", "tip") == (3, 4)
    assert again.corrections["reader"].tolist() == ["ben"]
    write(native, row(action="undo"))
    undone = data.open_dataset(native)
    assert at(undone, "p00.png", "left", "tip") == first
    assert (undone.corrected, len(undone.corrections)) == (0, 0)
    assert len(pd.read_csv(native / "corrections.csv")) == 3, "the history is kept"


def test_a_point_that_nobody_had_marked_can_be_added(native):
    table = pd.read_csv(native / "landmarks.csv")
    table.drop(index=1).to_csv(native / "landmarks.csv", index=False)  # p00 left base
    assert at(data.open_dataset(native), "p00.png", "left", "base") is None
    write(native, row(landmark="base", x=5, y=6))
    dataset = data.open_dataset(native)
    assert at(dataset, "p00.png", "left", "base") == (5, 6)
    assert at(dataset, "p00.png", "left", "tip") == tuple(table.loc[0, ["x", "y"]])
    back = corrections.originals(dataset.landmarks, dataset.corrections)
    assert len(back) == len(table) - 1


def test_kept_labels_are_no_longer_flagged_and_keep_every_run_valid(native):
    before = data.open_dataset(native)
    write(native, row(action="keep"), row(landmark="base", action="keep"))
    after = data.open_dataset(native)
    pd.testing.assert_frame_equal(after.landmarks, before.landmarks)
    assert (after.fingerprint, after.corrected) == (before.fingerprint, 0)
    found = pd.DataFrame({"image": ["p00.png", "p00.png"], "side": ["left", "right"], "score": 1.0})
    assert corrections.still_flagged(found, after.corrections)["side"].tolist() == ["right"]
    assert corrections.still_flagged(found, None) is found
    write(native, row(action="keep", x=9, y=8))  # kept where it was moved to
    moved = data.open_dataset(native)
    assert at(moved, "p00.png", "left", "tip") == (9, 8)
    assert moved.corrected == 1
    assert moved.fingerprint != before.fingerprint


def exported_again(folder, *places):
    """Other places (image, side, landmark, x, y) in the labels' own file; NaN = no label."""
    table = pd.read_csv(folder / "landmarks.csv").set_index(KEY)
    for *key, x, y in places:
        table.loc[tuple(key), ["x", "y"]] = x, y
    table.dropna().reset_index().to_csv(folder / "landmarks.csv", index=False)


def with_own(folder, *rows):
    """Write rows as the correction desk does, with what the labels' own file says."""
    dataset = data.open_dataset(folder)
    own = corrections.originals(dataset.landmarks, dataset.corrections)
    return corrections.append(folder, pd.DataFrame(list(rows)), "anna", own)


def test_a_correction_of_a_label_that_changed_since_is_not_applied_and_named(native):
    exported_again(native, ("p00.png", "left", "tip", 80, 2))
    with_own(native, row(x=82, y=3), row("p01.png", x=5, y=6), row("p02.png", action="unclear"))
    stated = pd.read_csv(native / "corrections.csv")
    assert stated.loc[0, ["x_was", "y_was"]].tolist() == [80, 2]
    assert at(data.open_dataset(native), "p00.png", "left", "tip") == (82, 3)
    exported_again(native, ("p00.png", "left", "tip", 80.009, 2))
    assert at(data.open_dataset(native), "p00.png", "left", "tip") == (82, 3)
    exported_again(native, ("p00.png", "left", "tip", 30, 40), ("p02.png", "left", "tip", 7, 8))
    message = (
        r"corrections\.csv row 2: p00\.png left tip: expected the label at 80, 2 as when it was "
        r"corrected, got 30, 40; look at it again, for the correction is not applied; nor are 1 mo"
    )
    with pytest.warns(UserWarning, match=message):
        dataset = data.open_dataset(native)
    assert at(dataset, "p00.png", "left", "tip") == (30, 40)
    assert at(dataset, "p01.png", "left", "tip") == (5, 6)
    assert at(dataset, "p02.png", "left", "tip") == (7, 8)
    assert (dataset.corrected, len(dataset.corrections)) == (1, 1)
    with pytest.warns(UserWarning, match="got 30, 40"):
        notes = convert.convert(native, native.parent / "copy")
    assert "corrections.csv: 2 corrections not applied, for the labels changed since" in notes


def test_a_label_exported_as_it_was_corrected_or_taken_out_needs_no_second_look(native):
    with_own(native, row(x=12.34567, y=7), row("p01.png", action="drop"))
    places = ("p00.png", "left", "tip", 12.34567, 7), ("p01.png", "left", "tip", np.nan, np.nan)
    exported_again(native, *places)
    dataset = data.open_dataset(native)
    assert at(dataset, "p00.png", "left", "tip") == pytest.approx((12.34567, 7), abs=1e-4)
    assert at(dataset, "p01.png", "left", "tip") is None
    exported_again(native, ("p00.png", "left", "tip", np.nan, np.nan))
    with pytest.warns(UserWarning, match="p00.png left tip: expected the label at .* got no label"):
        assert at(data.open_dataset(native), "p00.png", "left", "tip") is None


def test_a_set_that_was_kept_is_flagged_again_once_one_of_its_labels_changed(native):
    with_own(native, row(action="keep"), row(landmark="base", action="keep", x=9, y=8))
    with_own(native, row("p01.png", action="keep"))
    found = pd.DataFrame({"image": ["p00.png", "p01.png"], "side": "left", "score": 1.0})
    assert corrections.still_flagged(found, data.open_dataset(native).corrections).empty
    exported_again(native, ("p00.png", "left", "tip", 30, 40))
    with pytest.warns(UserWarning, match="row 2: p00.png left tip"):
        dataset = data.open_dataset(native)
    flagged = corrections.still_flagged(found, dataset.corrections)
    assert flagged["image"].tolist() == ["p00.png"]
    assert at(dataset, "p00.png", "left", "base") == (9, 8), "its own label is what it was"


def test_rows_that_do_not_say_where_the_label_was_count_for_good(native):
    write(native, row(x=82, y=3), row("p01.png", action="keep"))
    old = pd.read_csv(native / "corrections.csv").drop(columns=["x_was", "y_was"])
    old.to_csv(native / "corrections.csv", index=False)
    exported_again(native, ("p00.png", "left", "tip", 30, 40), ("p01.png", "left", "tip", 1, 2))
    with_own(native, row("p02.png", x=5, y=6))  # adds the columns, and to its own row alone
    exported_again(native, ("p00.png", "left", "tip", 50, 60))
    dataset = data.open_dataset(native)
    assert at(dataset, "p00.png", "left", "tip") == (82, 3)
    assert dataset.corrections["action"].tolist() == ["move", "keep", "move"]
    assert pd.read_csv(native / "corrections.csv")["x_was"].isna().tolist() == [True, True, False]


def test_datasets_without_the_file_are_what_they_were(shared_data):
    phantom = data.open_dataset("phantom")
    assert phantom.fingerprint == "341407c282a80afbe561751c"
    assert (phantom.folder, phantom.corrections, phantom.corrected) == (None, None, 0)
    heads = data.open_dataset(shared_data / "us_hc18")
    assert heads.fingerprint == "9b8f1288ea0f6c7d6a57ae0d"
    assert heads.folder == shared_data / "us_hc18"


def test_a_dataset_without_sides_writes_none_and_reads_them_as_all(tmp_path):
    folder = write_native(tmp_path / "one", sides=())
    write(folder, row(side="all", x=1.5, y=2))
    assert (
        (folder / "corrections.csv").read_text().splitlines()[1].startswith("p00.png,,tip,1.5,2,")
    )
    assert at(data.open_dataset(folder), "p00.png", "all", "tip") == (1.5, 2)


def test_the_text_layout_and_every_other_format_take_corrections_and_a_second_reading(
    native, tmp_path
):
    for name in ("text", "coco", "labelme"):
        convert.convert(native, tmp_path / name, name)
        if name == "text":
            (tmp_path / name / "dataset.yaml").unlink(missing_ok=True)
        dataset = data.open_dataset(tmp_path / name)
        first = dataset.landmarks.iloc[0]
        write(tmp_path / name, row(*first[KEY], x=2, y=3))
        text = f"image,side,landmark,x,y\n{','.join(first[KEY])},7,8\n"
        (tmp_path / name / "second_reading.csv").write_text(text)
        again = data.open_dataset(tmp_path / name)
        assert at(again, *first[KEY]) == (2, 3), name
        assert again.second_reading[["x", "y"]].to_numpy().tolist() == [[7, 8]], name
        assert dataset.second_reading is None


def test_a_converted_copy_holds_the_corrected_labels_and_says_so(native, tmp_path):
    write(native, row(x=1, y=2), row("p01.png", action="drop"))
    notes = convert.convert(native, tmp_path / "copy")
    assert "corrections.csv: 2 labels are written as corrected, not as they were" in notes
    copy = data.open_dataset(tmp_path / "copy")
    assert at(copy, "p00.png", "left", "tip") == (1, 2)
    assert copy.corrections is None


def test_an_image_whose_labels_are_all_dropped_moves_no_other_image_to_another_split(native):
    table = pd.read_csv(native / "images.csv")
    table.drop(columns="split").to_csv(native / "images.csv", index=False)
    before = data.open_dataset(native).images
    own = [("left", "tip"), ("left", "base"), ("right", "tip"), ("right", "base")]
    write(native, *(row("p05.png", s, n, "drop") for s, n in own))
    after = data.open_dataset(native)
    pd.testing.assert_frame_equal(after.images, before)
    assert "p05.png" not in set(after.landmarks["image"])
    notes = convert.convert(native, native.parent / "copy")
    assert "1 images that no label names, first p05.png" in notes
    assert len(data.open_dataset(native.parent / "copy").images) == len(before) - 1


def test_repairs_of_the_audit_become_rows_that_carry_them_out(native):
    table = data.open_dataset(native).landmarks
    repairs = pd.DataFrame(
        [
            ("p00.png", "left", "scale", "scale 2.000"),
            ("p01.png", "left", "swap", "swap tip base"),
            ("p01.png", "right", "order", "rename tip base base tip"),
            ("p02.png", "left", "side", "swap sides"),
            ("p02.png", "right", "side", "swap sides"),
            ("p03.png", "left", "duplicate", "drop same-as p04.png"),
            ("p04.png", "left", "duplicate", "same-as p03.png"),
            ("p05.png", "left", "unusual shape", ""),
            ("p06.png", "right", "elsewhere", "move tip 3.5 4.0"),
        ],
        columns=["image", "side", "cause", "repair"],
    )
    rows = corrections.from_repairs(table, repairs)
    assert rows.groupby("image").size().to_dict() == {
        "p00.png": 2, "p01.png": 4, "p02.png": 4, "p03.png": 2, "p06.png": 1,
    }  # fmt: skip
    assert rows.loc[0, "reason"] == "scale: scale 2.000"
    assert set(rows.loc[rows["image"] == "p03.png", "action"]) == {"drop"}
    last = rows.loc[rows["image"] == "p06.png", [*KEY, "x", "y"]]
    assert last.to_numpy().tolist() == [["p06.png", "right", "tip", 3.5, 4.0]]
    corrections.append(native, rows, "audit")
    mended = data.open_dataset(native).landmarks.set_index(KEY).sort_index()
    expected = audit.apply_repair(table, repairs).set_index(KEY).sort_index()
    pd.testing.assert_frame_equal(mended, expected, atol=1e-4)
    assert len(corrections.from_repairs(table, repairs.iloc[:0])) == 0


def test_where_a_label_was_is_two_numbers_or_nothing(native):
    header = "image,side,landmark,x,y,action,x_was,y_was\n"
    (native / "corrections.csv").write_text(header + "p00.png,left,tip,1,2,move,3,\n")
    with pytest.raises(InputError, match=r"row 2: y_was: expected a number, got ''"):
        data.open_dataset(native)


BROKEN = [
    ("p00.png,left,tip,1,2,mov,a,,", r"row 2: action: expected move \| .*got 'mov'.*move"),
    ("p00.png,left,tip,1,,move,a,,", "row 2: x, y: expected x and y for move, got '1,'"),
    ("p00.png,left,tip,,2,keep,a,,", "row 2: x, y: expected both x and y, or neither for keep"),
    ("p00.png,left,tip,1,two,move,a,,", "row 2: y: expected a number, got 'two'"),
    ("p00.png,left,tip,nan,2,move,a,,", "row 2: x: expected a number, got 'nan'"),
    (
        "p0.png,left,tip,1,2,move,a,,",
        "row 2: image: expected an image of the dataset, got 'p0.png'",
    ),
    ("p00.png,lefd,tip,1,2,move,a,,", "row 2: side: expected left | right, got 'lefd'"),
    ("p00.png,left,top,1,2,move,a,,", "row 2: landmark: expected tip | base, got 'top'"),
    ("p00.png,left,tip,1,2,move,a,yesterday,", "row 2: time: expected such as .*'yesterday'"),
    ("", "expected rows under the header, got none"),
]


@pytest.mark.parametrize("line, message", BROKEN)
def test_a_broken_row_is_one_line_with_file_and_row(native, line, message):
    (native / "corrections.csv").write_text(",".join(corrections.COLUMNS) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message) as caught:
        data.open_dataset(native)
    assert str(native / "corrections.csv") in str(caught.value)
    assert "\n" not in str(caught.value)
    check = audit.check_dataset(native, pixels=False).problems
    assert len(check) == 1
    assert check["stops"].item()


def test_the_check_lists_a_correction_of_a_label_changed_since_and_warns_of_nothing(
    native, recwarn
):
    now = data.open_dataset(native).landmarks.iloc[0]
    was = {"x_was": now["x"] + 5, "y_was": now["y"]}
    cells = [now["image"], now["side"], now["landmark"], 7, 8, "move", was["x_was"], was["y_was"]]
    header = "image,side,landmark,x,y,action,x_was,y_was\n"
    (native / "corrections.csv").write_text(header + ",".join(map(str, cells)) + "\n")
    (problem,) = audit.check_dataset(native, pixels=False).problems.to_dict("records")
    assert problem["problem"] == "correction of a label changed since"
    assert (problem["image"], problem["row"]) == (now["image"], "2")
    assert problem["file"] == str(native / "corrections.csv")
    assert problem["to_do"] == "look at it again, for the correction is not applied"
    assert not problem["stops"]
    assert not [str(warning.message) for warning in recwarn]


def test_a_file_of_another_kind_is_refused_and_not_written_over(native):
    path = native / "corrections.csv"
    path.write_text("who,what\na,b\n")
    with pytest.raises(InputError, match=r"row 1: expected columns image, .*got who, what"):
        write(native, row(action="keep"))
    assert path.read_text() == "who,what\na,b\n"
    with pytest.raises(InputError, match="action: expected move"):
        write(native, row(action="delete"))
    with pytest.raises(InputError, match=r"p00\.png tip: expected x and y for move, got none"):
        write(native, row(x=1))


def test_rows_made_by_hand_in_a_spreadsheet_are_kept_with_their_own_columns(native):
    header = "image;side;landmark;action;x;y;ward"
    (native / "corrections.csv").write_text(f"{header}\np00.png;left;tip;move;1,5;2;T-7\n")
    assert at(data.open_dataset(native), "p00.png", "left", "tip") == (1.5, 2)
    write(native, row("p01.png", x=3, y=4, reason="of\ntwo, lines"), reader="Zoë")
    table = pd.read_csv(native / "corrections.csv", keep_default_na=False)
    assert table["ward"].tolist() == ["T-7", ""]
    assert table.loc[1, ["reader", "reason"]].tolist() == ["Zoë", "of two, lines"]
    dataset = data.open_dataset(native)
    assert at(dataset, "p00.png", "left", "tip") == (1.5, 2)
    assert at(dataset, "p01.png", "left", "tip") == (3, 4)


def test_many_who_write_at_once_lose_no_row(native):
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(write, native, row(x=i, y=i), reader=f"r{i}") for i in range(24)]
        assert all(job.result() for job in jobs)
    table = pd.read_csv(native / "corrections.csv")
    assert sorted(table["x"]) == list(range(24))
    assert not list(native.glob(".*.part"))


def test_pictures_beside_the_file_are_no_labels_of_another_format(native, tmp_path):
    """A wide table's folder holds the file too, and it is not taken for one."""
    (tmp_path / "wide").mkdir()
    Image.new("L", (20, 10)).save(tmp_path / "wide" / "a.png")
    (tmp_path / "wide" / "points.csv").write_text("image,tip_x,tip_y\na.png,3,4\n")
    corrections.append(tmp_path / "wide", pd.DataFrame([row("a.png", "all", x=5, y=6)]))
    assert at(data.open_dataset(tmp_path / "wide"), "a.png", "all", "tip") == (5, 6)
