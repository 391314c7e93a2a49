"""Finished runs joined into one."""

import numpy as np
import pytest
from conftest import TINY, write_native

from lmkit import ensembles, runs, stages
from lmkit.config import InputError, make_config


def quiet(line):
    pass


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = write_native(tmp_path_factory.mktemp("joined") / "crosses", n=12)
    return TINY | {"dataset": str(folder), "outputs": str(folder.parent / "outputs")}


@pytest.fixture(scope="module")
def two(settings):
    """Two finished runs of different seeds, called a and b."""
    made = {}
    for seed, name in enumerate("ab"):
        config = make_config(settings | {"run": name, "seed": seed})
        made[name] = stages.train_run(config, log=quiet)
    return make_config(settings), made


@pytest.mark.parametrize("by", ["maps", "mean", "median"])
def test_an_ensemble_is_a_run_with_all_columns(two, by):
    config, _ = two
    joined = ensembles.join_runs(config, "a, b", by, log=quiet)
    again = ensembles.join_runs(config, "b,a", by, log=quiet)
    assert joined.folder == again.folder
    loaded = runs.load_run(joined.folder)
    assert set(loaded.metrics) == {"val", "test"}
    rows = loaded.predictions
    assert set(rows["split"]) == {"val", "test"}
    assert (rows["ensemble_mm"] > 0).all()
    assert {"trust", "risk", "radius_mm"} <= set(rows)
    table = ensembles.gain_table(loaded)
    assert list(table.index) == ["a", "b", joined.folder.name]
    assert table["networks"].tolist() == [1, 1, 2]
    assert table["minutes"].iloc[2] == pytest.approx(table["minutes"].iloc[:2].sum())


def test_the_mean_point_lies_between_the_members(two):
    config, made = two
    joined = ensembles.join_runs(config, "a,b", "mean", log=quiet)
    a, b = (runs.load_run(made[name].folder).predictions for name in "ab")
    assert joined.predictions["x"].to_numpy() == pytest.approx((a["x"] + b["x"]).to_numpy() / 2)
    spacing = np.array([0.2, 0.3])  # of conftest's images
    apart = np.hypot(*((a[["x", "y"]] - b[["x", "y"]]).to_numpy() * spacing).T)
    assert joined.predictions["ensemble_mm"].to_numpy() == pytest.approx(apart / 2)


def test_the_test_split_of_joined_runs_is_not_predicted_again(two):
    config, _ = two
    joined = ensembles.join_runs(config, "a,b", "maps", log=quiet)
    tested = stages.open_test_split(runs.load_run(joined.folder), log=quiet)
    assert len(tested) == 2 * 2  # two test patients, two landmarks


@pytest.mark.parametrize(
    "members, message",
    [("a", "two runs or more"), ("a,a", "two runs or more"), ("a,bb", "got 'bb'.*there are: a, b")],
)
def test_wrong_members_are_named(two, members, message):
    with pytest.raises(InputError, match=message):
        ensembles.join_runs(two[0], members, log=quiet)


def test_maps_of_another_kind_are_not_averaged(two, settings):
    other = make_config(settings | {"run": "c", "epochs": 1, "sigma_px": 2.5})
    stages.train_run(other, log=quiet)
    with pytest.raises(InputError, match=r"sigma_px 1.5 and c with 2.5; join by mean or median"):
        ensembles.join_runs(two[0], "a,c", "maps", log=quiet)
    assert ensembles.join_runs(two[0], "a,c", "median", log=quiet).finished


CASCADE = {"model": "cascade", "widths": (8, 12), "fine_widths": (8,), "epochs": 1}


def test_maps_of_different_networks_are_not_averaged(two, settings):
    small = {"coarse_stride": 2, "crop_px": 8}
    other = {"coarse_stride": 4, "crop_px": 8}
    for name, change in (("d", small), ("e", other)):
        stages.train_run(make_config(settings | CASCADE | change | {"run": name}), log=quiet)
    with pytest.raises(InputError, match=r"got a with model unet and d with cascade; join by mean"):
        ensembles.join_runs(two[0], "a,d", "maps", log=quiet)
    with pytest.raises(InputError, match=r"got d with coarse_stride 2 and e with 4; join by mean"):
        ensembles.join_runs(two[0], "d,e", "maps", log=quiet)
    assert ensembles.join_runs(two[0], "a,d", "mean", log=quiet).finished


def test_a_setting_that_no_cascade_reads_keeps_no_maps_apart(two, settings):
    other = make_config(settings | {"run": "f", "epochs": 1, "coarse_stride": 2})
    stages.train_run(other, log=quiet)
    assert ensembles.join_runs(two[0], "a,f", "maps", log=quiet).finished


def test_an_unknown_way_to_join_is_named(two):
    with pytest.raises(InputError, match=r"by: expected maps \| mean \| median, got 'vote'"):
        ensembles.join_runs(two[0], "a,b", "vote", log=quiet)
