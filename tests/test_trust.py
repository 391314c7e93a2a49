"""Which predictions not to trust."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lmkit import runs, stages, trust
from lmkit.config import InputError, make_config


def table(n, rng, failing=0.1, split="val"):
    """n cases of two landmarks; a failing case is wide and low in both."""
    bad = np.repeat(rng.random(n) < failing, 2)
    error = np.where(bad, rng.uniform(6, 14, 2 * n), rng.uniform(0.1, 1.5, 2 * n))
    return pd.DataFrame(
        {
            "split": split,
            "image": np.repeat([f"{split}{i}" for i in range(n)], 2),
            "patient": np.repeat([f"{split}{i}" for i in range(n)], 2),
            "side": "right",
            "landmark": ["a", "b"] * n,
            "error_mm": error,
            "peak": np.clip(rng.normal(np.where(bad, 0.4, 0.9), 0.15), 0, 1),
            "ere_mm": rng.gamma(9, np.where(bad, 0.3, 0.1)),
        }
    )


@pytest.fixture
def rule():
    return trust.fit_trust(table(80, np.random.default_rng(0)))


def test_measures_are_turned_so_that_larger_is_less_sure():
    rows = pd.DataFrame({"peak": [0.2, 0.9], "ere_mm": [3.0, 1.0], "tta_mm": [np.nan, np.nan]})
    found = trust.measures_of(rows)
    assert list(found) == ["peak", "ere_mm"]
    assert (found.iloc[0] > found.iloc[1]).all()


def test_the_rule_keeps_the_share_it_says_and_most_failures_go(rule):
    new = trust.apply_trust(rule, table(400, np.random.default_rng(1), split="test"))
    failed = new["error_mm"] > 4
    assert new["trust"].mean() == pytest.approx(0.9, abs=0.03)
    assert failed[new["trust"]].mean() < failed.mean() / 3
    assert new.groupby("trust")["p_fail"].mean().is_monotonic_decreasing
    assert new["p_fail"].mean() == pytest.approx(failed.mean(), abs=0.04)


def test_the_stated_rates_are_those_of_the_validation_rows(rule):
    val = table(80, np.random.default_rng(0))
    again = trust.apply_trust(rule, val)
    failed = val["error_mm"] > 4
    assert rule.failure_rate == pytest.approx(failed.mean())
    assert rule.trusted_failure_rate == pytest.approx(failed[again["trust"]].mean())
    low, high = rule.trusted_interval
    assert low <= rule.trusted_failure_rate <= high


def test_the_rule_in_words_knows_what_it_has_no_figure_for(rule):
    stated = replace(rule, keep=0.9, trusted_failure_rate=0.012, trusted_interval=[0.0, 0.03])
    assert stated.said() == "90 %, of these failed 1.2 % (up to 3.0 %)"
    few = replace(stated, trusted_interval=None)
    assert few.said() == "90 %, of these failed 1.2 % (too few for an interval)"
    none = replace(few, trusted_failure_rate=None)
    assert none.said() == "90 %, none of them annotated"


def test_radii_hold_the_truth_of_new_patients_as_often_as_stated():
    rule = trust.fit_trust(table(300, np.random.default_rng(0), failing=0.02))
    new = trust.apply_trust(rule, table(2000, np.random.default_rng(2), failing=0.02, split="test"))
    inside = new["error_mm"] <= new["radius_mm"]
    assert inside.mean() == pytest.approx(0.9, abs=0.03)


def test_a_sure_point_of_an_unsure_case_is_risky_too(rule):
    rows = table(60, np.random.default_rng(3), failing=0)
    alone = trust.apply_trust(rule, rows)["risk"].iloc[0]
    rows.loc[1, ["peak", "ere_mm"]] = [0.0, 9.0]
    assert trust.apply_trust(rule, rows)["risk"].iloc[0] > alone + 0.5


def test_a_measure_that_new_images_lack_says_nothing(rule):
    rows = table(50, np.random.default_rng(4)).drop(columns=["ere_mm", "error_mm"])
    found = trust.apply_trust(rule, rows)
    assert np.isfinite(found["risk"]).all()
    assert 0.5 < found["trust"].mean() < 1


def test_few_patients_promise_no_radius():
    found = trust.fit_trust(table(5, np.random.default_rng(0)))
    assert found.radii_mm == {"a": None, "b": None}
    assert np.isnan(trust.apply_trust(found, table(5, np.random.default_rng(1)))["radius_mm"]).all()


@pytest.mark.parametrize(
    "rows, message",
    [
        (table(5, np.random.default_rng(0)).drop(columns=["peak", "ere_mm"]), "a column of peak"),
        (table(5, np.random.default_rng(0)).assign(error_mm=np.nan), "annotated landmarks"),
    ],
)
def test_a_rule_needs_measures_and_errors(rows, message):
    with pytest.raises(InputError, match=message):
        trust.fit_trust(rows)


def test_measures_are_compared_by_auc_and_by_what_the_surest_lose(rule):
    rows = trust.apply_trust(rule, table(300, np.random.default_rng(5), split="test"))
    found = trust.compare_measures(rows)
    assert list(found.index) == ["peak", "ere_mm", "risk"]
    assert (found["auc"] > 0.9).all()
    assert found.loc["risk", "auc"] >= found.loc["peak", "auc"]
    assert (found["failure_rate_90"] < found["failure_rate"]).all()


def test_a_run_writes_its_rule_and_gives_old_predictions_the_columns(learnable):
    config = make_config(learnable | {"epochs": 3})
    run = stages.train_run(config, log=lambda line: None)
    assert {"ere_mm", "second_share", "risk", "trust", "radius_mm"} <= set(run.predictions)
    stages.open_test_split(run, log=lambda line: None)
    before = run.predictions
    old = before.loc[:, "split":"error_mm"]
    old.to_csv(run.folder / "predictions.csv", index=False)
    (run.folder / "trust.json").unlink()
    stages.open_test_split(run, log=lambda line: None, draws=2)
    after = runs.load_run(run.folder).predictions
    assert after["x"].tolist() == pytest.approx(before["x"].tolist())
    assert after["risk"].notna().all()
    assert (after["tta_mm"] > 0).all()
    rule = json.loads((run.folder / "trust.json").read_text())
    assert rule["measures"] == ["peak", "ere_mm", "second_share", "tta_mm"]


def test_a_broken_rule_is_one_line(tiny):
    run = stages.train_run(make_config(tiny), log=lambda line: None)
    for text in ("{", '{"keep": 1}'):
        (run.folder / "trust.json").write_text(text)
        with pytest.raises(InputError, match=r"trust.json: expected the trust rule"):
            _ = run.trust_rule


def test_a_point_without_any_measure_is_not_trusted(rule):
    rows = table(20, np.random.default_rng(3), split="test")
    rows.loc[0, [name for name in rule.measures if name in rows]] = np.nan
    found = trust.apply_trust(rule, rows)
    assert not found.loc[0, "trust"]
    assert np.isnan(found.loc[0, "risk"])
    assert found.loc[1:, "risk"].notna().all()


def test_radii_that_cannot_be_promised_are_counted_with_what_they_would_take(rule):
    tested = pd.DataFrame({"error_mm": [1.0, 3.0, np.nan], "radius_mm": [2.0, 2.0, 2.0]})
    nothing = replace(rule, radii_mm={"a": None, "b": None})
    said = trust.radii_said(nothing, tested.assign(radius_mm=np.nan), np.full(20, np.nan))
    assert said == (
        "a 90 % radius takes 9 validation labels of its landmark: left out for 2 of 2 landmarks, "
        "which have fewer"
    )
    some = replace(rule, radii_mm={"a": 2.0, "b": 2.0})
    said = trust.radii_said(some, tested, np.array([0.8, 1.0, np.nan])).splitlines()
    assert said[0] == "90 % radii from validation patients hold 50.0 % of the test points;"
    assert said[1].endswith("2 new splits of all these patients such radii hold 90.0 % (80–100 %)")
