"""What a sweep's tables and figures say: numbers by hand, on planned runs without training."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import write_native
from matplotlib.text import Text
from test_ablation import SMALL, helped, written

from lmkit import (
    ablation,
    ablation_report,
    advice,
    evidence,
    findings,
    plots_effects,
    plots_sweep,
    verdicts,
)
from lmkit.files import project_root
from lmkit.grid import Grid
from lmkit.verdicts import HURTS, Family


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def two(tmp_path) -> ablation.Plan:
    return ablation.plan_runs("two", written(tmp_path), {"outputs": str(tmp_path)})


def timed(two: ablation.Plan, minutes: float) -> ablation.Plan:
    """The plan with a budget of minutes in its design."""
    size = two.grid.sizes["two"]
    budget = {"epochs": None, "minutes": minutes}
    design = size.designs["add"].model_copy(
        update={"budget": size.designs["add"].budget.model_copy(update=budget)}
    )
    sizes = {"two": size.model_copy(update={"designs": {"add": design}})}
    return replace(two, grid=two.grid.model_copy(update={"sizes": sizes}))


def curve_of(monkeypatch, seconds, values, minutes, ensemble=1) -> pd.Series:
    """The curve of a run of such a history, by minutes."""
    epochs = range(1, len(seconds) + 1)
    history = pd.DataFrame({"epoch": epochs, "seconds": seconds, "val_sdr_2mm": values})
    monkeypatch.setattr(evidence, "load_run", lambda folder: SimpleNamespace(history=history))
    run = SimpleNamespace(folder=None, config=SimpleNamespace(ensemble=ensemble))
    return evidence._curve(run, "val_sdr_2mm", minutes)


def test_an_only_epoch_that_ends_after_the_minutes_stands_at_their_end(monkeypatch):
    curve = curve_of(monkeypatch, [70.0], [0.4], 1.0).dropna()
    assert curve.to_dict() == {1.0: 0.4}
    ax = plots_sweep.learning(plt.figure().subplots(), {"a": curve}, "base")
    assert ax.lines[0].get_marker() == "o", "a single point draws no line"


def test_a_curve_by_minutes_shows_only_values_that_an_epoch_had(monkeypatch):
    curve = curve_of(monkeypatch, [20.0, 20.0, 20.0], [0.2, 0.6, 0.8], 1.0).dropna()
    assert set(curve) == {0.2, 0.6, 0.8}
    assert curve.index[0] == pytest.approx(20 / 60)
    assert curve.iloc[np.searchsorted(curve.index, 39.5 / 60) - 1] == 0.2


def test_an_ensembles_curve_ends_at_one_members_minutes(monkeypatch):
    curve = curve_of(monkeypatch, [90.0, 90.0], [0.2, 0.6], 1.0, ensemble=3).dropna()
    assert curve.index[0] == pytest.approx(0.5)
    assert curve.iloc[-1] == 0.6


def test_a_curve_whose_seeds_share_no_time_is_left_out_and_an_empty_one_not_drawn(two, monkeypatch):
    monkeypatch.setattr(evidence, "state_of", lambda run: findings.FINISHED)
    nothing = pd.Series([np.nan], pd.Index([1.0], name="minutes"))
    something = pd.Series([0.5], pd.Index([1.0], name="minutes"))
    monkeypatch.setattr(
        evidence,
        "_curve",
        lambda run, column, minutes: nothing if run.strategy == "dark" else something,
    )
    curves = evidence.curves(timed(two, 1.0), "add", "left")
    assert "dark" not in curves
    assert "big" in curves
    ax = plt.figure().subplots()
    plots_sweep.learning(ax, curves | {"dark": nothing.dropna()}, "quick")
    assert "dark" not in [line.get_label() for line in ax.lines]


def test_a_dataset_without_sides_has_learning_curves_too(tmp_path, monkeypatch):
    folder = write_native(tmp_path / "plain", sides=())
    given = {"outputs": str(tmp_path), "dataset": str(folder)}
    plan = ablation.plan_runs("two", written(tmp_path), given)
    assert {run.label for run in plan.runs if run.seed == 3} == {
        f"add {name}, all, seed 3" for name in ("quick", "dark", "big", "dark + big")
    }
    monkeypatch.setattr(evidence, "state_of", lambda run: findings.FINISHED)
    monkeypatch.setattr(
        evidence, "_curve", lambda *_: pd.Series([0.5], pd.Index([1], name="epoch"))
    )
    assert evidence.curves(plan, "add", plan.sides[0]).keys() == {
        "quick", "dark", "big", "dark + big"
    }  # fmt: skip


def verdict_rows(strategy: str, *sides: str) -> pd.DataFrame:
    row = {"design": "add", "strategy": strategy, "figure": "sdr_2mm", "effect": 0.031}
    row |= {"low": 0.01, "high": 0.05, "p_holm": 0.01, "detectable": 0.02601, "verdict": "helps"}
    return pd.DataFrame([row | {"side": side, "said": f"helps {side}"} for side in sides])


def test_one_sides_verdict_does_not_stand_for_both_together(two):
    runs = findings.run_table(two)
    rows = verdict_rows("big", "left", "right")
    row = evidence.claim_table(two, rows, runs).set_index("strategy").loc["big"]
    assert row[["left", "right"]].tolist() == ["helps", "helps"]
    assert row["verdict"] == "not run to its end, or without a base to compare with"
    rows = verdict_rows("big", "left", "right", "together")
    row = evidence.claim_table(two, rows, runs).set_index("strategy").loc["big"]
    assert (row["left"], row["verdict"]) == ("helps", "helps together")
    assert row["would have seen"] == "2.7", "rounded up, as in a verdict's words"


def test_claims_and_costs_of_a_strategy_over_another_refer_to_that_one(tmp_path):
    file = written(tmp_path, strategies__big__over="dark", sizes__two__designs__add__pairs=[])
    plan = ablation.plan_runs("two", file, {"outputs": str(tmp_path)})
    runs = findings.run_table(plan).assign(state=findings.FINISHED)
    runs["train_min"] = runs["strategy"].map({"quick": 1.0, "dark": 4.0, "both": 2.0, "big": 6.0})
    rows = verdict_rows("big", "together").assign(change="big over dark")
    claims = evidence.claim_table(plan, rows, runs).set_index("strategy").loc["big"]
    assert (claims["tried"], claims["time"]) == ("dark with batch_size 16", "1.50 ×")
    costs = evidence.cost_table(plan, rows, runs, "together").loc[("add", "big over dark")]
    assert (costs["minutes"], costs["times"]) == (12.0, 1.5)
    assert costs["minutes per point"] == pytest.approx((12 - 8) / 3.1, abs=0.01)


def effects(figure: str, *values: float, sides=("together",), margin: float = 0.01):
    rows = [
        {"figure": figure, "side": side, "change": f"c{i}", "effect": value, "verdict": HURTS}
        | {"low": value - margin, "high": value + margin, "p_holm": 0.5}
        for side in sides
        for i, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def drawn(table: pd.DataFrame, matters: float):
    ax = plots_effects.forest(plt.figure().subplots(), table, matters)
    return ax, [text.get_text() for text in ax.texts]


def test_an_effect_in_millimetres_beyond_the_edge_is_told_to_two_digits():
    _, words = drawn(effects("median_mm", 0.01, -0.01, 0.02, -0.45), 0.02)
    assert "◂ −0.45" in words
    _, words = drawn(effects("sdr_2mm", 0.002, -0.003, 0.002, 0.091, margin=0.001), 0.001)
    assert "+9.1 ▸" in words


def test_a_sides_effect_beyond_the_edge_leaves_a_mark_there():
    sides = ("left", "right", "together")
    _, words = drawn(effects("sdr_2mm", 0.01, -0.02, 0.01, -0.7, sides=sides), 0.02)
    assert words.count("◂") == 2
    assert words.count("◂ −70") == 1


def test_the_main_mark_is_the_legends_also_where_there_is_one_side():
    ax, _ = drawn(effects("sdr_2mm", 0.01, 0.02, sides=("right",)), 0.02)
    assert {line.get_marker() for line in ax.lines if len(line.get_xdata()) == 1} == {"o"}


def test_the_legend_says_what_the_rule_says():
    sheet = plots_effects.forests(
        pd.concat([effects(name, 0.01, 0.02) for name in plots_effects.EFFECTS]),
        dict.fromkeys(plots_effects.EFFECTS, 0.02),
        "a title",
    )
    words = [text.get_text() for text in sheet.legends[0].get_texts()]
    assert "no effect larger than x" in words
    assert "none that matters" not in words


def test_a_seed_stands_under_its_own_number_where_an_earlier_one_is_missing(two):
    def table(seed, *errors):
        return pd.DataFrame({"error_mm": errors, "seed": seed})

    recipes = {"quick": [table(3, 1, 1), table(4, 1, 3)], "dark": [table(4, 1, 1, 1, 3)]}
    shown = evidence.seed_table(two, "add", Family("quick", recipes))
    assert list(shown.columns[:2]) == [3, 4]
    assert np.isnan(shown.loc["dark", 3])
    assert shown.loc["dark", 4] == 75
    assert shown.loc["quick", [3, 4]].tolist() == [100, 50]


def test_a_setting_taken_out_that_was_never_put_in_is_without_it():
    whole = yaml.safe_load(yaml.safe_dump(SMALL))
    whole["strategies"]["no_clip"] = {"group": "g", "says": "s", "remove": {"clip_norm": None}}
    grid = Grid.model_validate(whole)
    assert grid.called("remove", "no_clip") == "without no_clip"


def test_another_file_called_recommended_is_not_the_projects_recipe(tmp_path):
    path = tmp_path / "recommended.yaml"
    path.write_text("preset: quick\n")
    plan = ablation.plan_runs("full", given={"outputs": str(tmp_path)})
    table = helped(plan, wing=0.03)
    own = project_root() / "params" / "recommended.yaml"
    for base, changed in {"recommended": 1, str(own): 1, str(path): 0}.items():
        size = plan.grid.sizes["full"]
        remove = size.designs["remove"].model_copy(update={"base": base})
        size = size.model_copy(update={"designs": size.designs | {"remove": remove}})
        sizes = plan.grid.sizes | {"full": size}
        other = replace(plan, grid=plan.grid.model_copy(update={"sizes": sizes}))
        assert len(advice.to_change(other, table, "together")) == changed, base


def test_a_table_to_read_has_one_digit_for_points_two_for_millimetres_and_no_negative_nought():
    row = {"design": "add", "change": "a", "side": "right", "p_holm": 0.5, "patients": 9}
    row |= {"seeds": 2, "verdict": "no effect", "said": "no effect larger than 1.6 points"}
    sdr = {"base": 0.952, "value": 0.9516, "effect": -0.0004, "low": -0.02, "high": 0.013}
    mm = {"base": 0.2, "value": 0.18, "effect": -0.02, "low": -0.0349, "high": -0.004}
    table = pd.DataFrame(
        [
            row | sdr | {"figure": "sdr_2mm", "detectable": 0.02601},
            row | mm | {"figure": "median_mm", "detectable": np.nan},
        ]
    )
    shown = ["base", "value", "effect", "from", "to", "would have seen"]
    points = evidence.readable(table, "sdr_2mm", "right").loc[("add", "a"), shown]
    assert points.tolist() == ["95.2", "95.2", "0.0", "-2.0", "+1.3", "2.7"]
    lengths = evidence.readable(table, "median_mm", "right").loc[("add", "a"), shown]
    assert lengths.tolist() == ["0.20", "0.18", "-0.02", "-0.03", "0.00", "–"]


def test_what_would_have_been_seen_is_rounded_once_in_words_and_in_numbers():
    row = {"figure": "sdr_2mm", "verdict": verdicts.TOO_FEW, "detectable": 0.02601}
    assert verdicts.worded(row) == "not enough runs; 2.7 points would have been seen"
    assert verdicts.seen_text(0.02601, "sdr_2mm") == "2.7"
    assert verdicts.seen_text(0.0124, "median_mm") == "0.02"


def costs(times, given, gains) -> pd.DataFrame:
    rows = {"times": times, "given": given, "SDR gained, points": gains}
    table = pd.DataFrame(rows).assign(verdict="helps", minutes=3.955)
    table["minutes per point"] = np.nan
    table.index = pd.MultiIndex.from_tuples(
        [("add", f"c{i}") for i in range(len(table))], names=["design", "change"]
    )
    return table


@pytest.mark.parametrize("times, given", [([0.79, 1.02], 1.0), ([0.98, 1.02], np.nan)])
def test_where_all_runs_cost_the_same_the_cost_figure_is_left_out(times, given):
    figure, ax = plt.subplots()
    assert plots_sweep.price(ax, costs(times, given, [1.0, 2.0])) is None
    assert not ablation_report._shows(figure)
    figure, ax = plt.subplots()
    assert plots_sweep.price(ax, costs([0.5, 1.02], np.nan, [1.0, 2.0])) is ax
    assert ablation_report._shows(figure)


def test_no_name_in_the_cost_figure_lies_on_another_and_an_outlier_does_not_squeeze_the_rest():
    figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
    gains = [*np.linspace(-0.2, 0.4, 17), -72.0]
    plots_sweep.price(ax, costs([*np.linspace(0.5, 3, 17), 1.0], np.nan, gains))
    figure.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without the line to its point
    boxes = sorted((box.y0, box.y1) for box in boxes)
    assert len(boxes) == 18
    assert all(low[1] <= high[0] + 0.5 for low, high in itertools.pairwise(boxes))
    assert ax.get_ylim()[0] > -3
    assert any("(−72.0)" in text.get_text() for text in ax.texts)


def test_the_cost_table_to_read_rounds_a_number_once():
    shown = ablation_report.readable_costs(costs([0.9951], np.nan, [-0.04]))
    row = shown.iloc[0]
    assert (row["times"], row["SDR gained, points"]) == ("1.00", "0.0")
    assert (row["minutes"], row["minutes per point"]) == ("3.96", "–")


def test_claims_that_a_size_does_not_ask_for_are_a_sentence_below_the_table(two):
    said = f"{evidence.NOT_AMONG} two"
    claims = pd.DataFrame(
        {
            "claim": [1, 2, 3],
            "strategy": ["big", "wing", "clip"],
            "tried": ["quick with big", "–", "–"],
            "verdict": ["helps", said, "not run: the labels are exact"],
            "time": ["–", "–", "–"],
        }
    )
    table, sentence = ablation_report.claims_told(two, claims)
    assert table["strategy"].tolist() == ["big", "clip"]
    assert "time" not in table
    assert sentence.endswith("not among the strategies of two: wing (claim 2).")
    (only,) = ablation_report.claims_told(two, claims[claims["verdict"] == said])
    assert isinstance(only, str)


def test_a_strategy_has_one_colour_in_all_panels_and_the_grey_lines_are_named():
    def curves(*ends):
        return {f"c{i}": pd.Series([0.1, end]) for i, end in enumerate(ends)}

    left = curves(0.9, 0.8, 0.7, 0.2) | {"base": pd.Series([0.1, 0.5])}
    right = curves(0.6, 0.9, 0.7, 0.1) | {"base": pd.Series([0.1, 0.5])}
    sheet = plots_sweep.learnings({"left": left, "right": right}, "base", shown=3)
    found = [{line.get_label(): line.get_color() for line in ax.lines} for ax in sheet.axes]
    assert all(found[0][name] == found[1][name] for name in ("c0", "c1", "c2"))
    assert len({found[0][name] for name in ("c0", "c1", "c2")}) == 3
    for ax in sheet.axes:
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert labels[-1] == "others (1)"


def test_a_heading_names_the_base_and_what_was_done_to_it(two):
    assert evidence.heading(two, "add") == "quick, one thing added"


def test_seeds_of_a_ruined_strategy_do_not_squeeze_the_others():
    rows = {"base": [88.0, 88.4], "better": [92.0, 92.6], "worse": [84.0, 84.2]}
    table = pd.DataFrame.from_dict(rows | {"ruined": [0.0, 41.0]}, orient="index", columns=[0, 1])
    spread = (table.max(axis=1) - table.min(axis=1)).to_numpy()
    table = table.assign(mean=table.mean(axis=1), range=spread)
    ax = plots_sweep.seeds(plt.figure().subplots(), table, "base")
    low, high = ax.get_xlim()
    assert 60 < low < 84
    assert 92.6 < high < 95
    (told,) = ax.texts
    assert (told.get_text(), told.get_position()[1]) == ("◂ 20 %", 3)
    ax = plots_sweep.seeds(plt.figure().subplots(), table.drop(index="ruined"), "base")
    assert not ax.texts
