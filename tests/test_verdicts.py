"""Verdicts against effects that are known: by hand, and in simulated sweeps.

PLANTED_REPETITIONS=300 pytest tests/test_verdicts.py repeats the simulation as often; a few times
only by default.
"""

import math
import os
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import planted
import pytest
import yaml

from lmkit import (
    ablation,
    contrasts,
    evidence,
    findings,
    gridfile,
    plots_effects,
    plots_sweep,
    protocol,
    verdicts,
)
from lmkit.ablation_report import write_ablation_report, write_summary
from lmkit.fields import InputError
from lmkit.files import project_root
from lmkit.grid import Budget, Screen
from lmkit.verdicts import HELPS, HURTS, TOO_FEW, Family
from lmkit.widgets_ablation import effects_explorer, effects_view

REPETITIONS = int(os.environ.get("PLANTED_REPETITIONS", "6"))
EFFECTS = {"nothing": 0.0, "one": 0.01, "three": 0.03, "worse": -0.03}
MATTERS = {"sdr_2mm": 0.02, "median_mm": 0.1, "failure_rate": 0.02}
FAST = {"resamples": 300, "permutations": 400}


def tables(errors, side="right") -> list[pd.DataFrame]:
    """(seeds, patients, landmarks) mm as predictions, a table per seed."""
    found = []
    for values in np.asarray(errors, float):
        n, n_landmarks = values.shape
        names = np.array([f"p{i}" for i in range(n)]).repeat(n_landmarks)
        landmark = np.tile(list("abcdefg")[:n_landmarks], n)
        columns = {"image": names, "patient": names, "side": side, "landmark": landmark}
        found.append(pd.DataFrame(columns | {"error_mm": values.ravel(), "split": "val"}))
    return found


def row(**changed) -> dict:
    plain = {"figure": "sdr_2mm", "effect": 0.01, "low": -0.005, "high": 0.015, "p_holm": 0.4}
    return plain | {"seeds": 3, "patients": 40, "detectable": 0.03} | changed


@pytest.mark.parametrize(
    "changed, verdict",
    [
        ({"p_holm": 0.04}, HELPS),
        ({"p_holm": 0.04, "effect": -0.01}, HURTS),
        ({"p_holm": 0.04, "effect": -0.01, "figure": "failure_rate"}, HELPS),
        ({"p_holm": 0.04, "effect": 0.3, "figure": "median_mm"}, HURTS),
        ({}, "no effect"),
        ({"low": -0.03}, TOO_FEW),
        ({"p_holm": 0.001, "seeds": 1}, TOO_FEW),
        ({"p_holm": 0.001, "patients": 9}, TOO_FEW),
        ({"p_holm": math.nan}, TOO_FEW),
    ],
)
def test_the_rule(changed, verdict):
    assert verdicts._verdict(row(**changed), MATTERS, 0.05)[0] == verdict


def test_a_verdict_in_words_says_what_was_not_seen():
    said = verdicts.worded(row(verdict="no effect", bound=0.015))
    assert said == "no effect larger than 1.5 points"
    said = verdicts.worded(row(verdict=TOO_FEW, bound=0.03))
    assert said == "not enough runs; 3.0 points would have been seen"
    said = verdicts.worded(row(verdict="no effect", bound=0.0104))
    assert said == "no effect larger than 1.1 points"  # not 1: that would be smaller
    said = verdicts.worded(row(verdict=TOO_FEW, bound=0.03, detectable=0.1234))
    assert said == "not enough runs; 12.4 points would have been seen"
    said = verdicts.worded(row(verdict=TOO_FEW, bound=0.03, detectable=math.nan))
    assert said == "not enough runs"


def test_a_p_value_is_never_shown_as_nought():
    shown = [verdicts.p_text(p) for p in (0.00049, 0.001, 0.25, 1.0, math.nan)]
    assert shown == ["< 0.001", "0.001", "0.250", "1.000", "–"]


def test_seeds_that_shift_every_patient_alike_are_the_spread_of_seeds():
    # 20 patients, 2 landmarks; seed k hits 16, 18, 20 of the patients' first landmark, the same
    # patients' throughout: SDR .9 .95 1 -> variance .0025, less a share for who was drawn
    errors = np.ones((3, 20, 2))
    for k, missed in enumerate((4, 2, 0)):
        errors[k, :missed, 0] = 9.0
    spread = contrasts.seed_spread({"a": tables(errors)})
    assert spread.df == 2
    assert 0 < spread.pooled["sdr_2mm"] < 0.0025
    assert spread.own["a"]["sdr_2mm"] == pytest.approx(spread.pooled["sdr_2mm"])
    same = contrasts.seed_spread({"a": tables(np.ones((3, 20, 2)))})
    assert same.pooled["sdr_2mm"] == 0


def test_seeds_that_only_fail_on_other_patients_add_little():
    rng = np.random.default_rng(5)
    errors = np.where(rng.random((3, 400, 1)) < 0.1, 9.0, 0.5).repeat(5, axis=2)
    observed = (errors <= 2).mean((1, 2)).var(ddof=1)
    seen, chance = contrasts._over_seeds(tables(errors), 0)
    assert seen[0] == pytest.approx(observed)
    assert chance[0] == pytest.approx(0.09 / 400, rel=0.1)


def test_one_wild_recipe_does_not_widen_the_intervals_of_the_others():
    # variances over three seeds: five of 1, one of 100; the median of chi square with 2 is 1.386
    parts = [(np.full(3, v), np.zeros(3)) for v in (1.0, 1.0, 1.0, 1.0, 1.0, 100.0)]
    typical = 1 / (1.3862943611198906 / 2)
    assert contrasts._pooled(parts, [2] * 6) == pytest.approx(np.full(3, (5 + 4 * typical) / 6))
    assert contrasts._pooled([], []).tolist() == [0, 0, 0]


def test_the_spread_of_seeds_widens_the_interval_and_raises_p():
    rng = np.random.default_rng(2)
    a = rng.exponential(1.0, (3, 40, 5))
    b = 0.9 * rng.exponential(1.0, (3, 40, 5))
    none, some = dict.fromkeys(MATTERS, 0.0), dict.fromkeys(MATTERS, 0.0012)
    plain = contrasts.compare(tables(a), tables(b), (none, none), 4, **FAST)["sdr_2mm"]
    wide = contrasts.compare(tables(a), tables(b), (some, some), 4, **FAST)["sdr_2mm"]
    assert wide["seeds_sd"] == pytest.approx(math.sqrt(0.0012 * 2 / 3))
    assert wide["effect"] == plain["effect"]
    assert np.ptp(wide["interval"]) > 1.5 * np.ptp(plain["interval"])
    assert wide["p"] > plain["p"]
    many = contrasts.compare(tables(a), tables(b), (some, some), 4, tests=20, **FAST)["sdr_2mm"]
    assert many["detectable"] > wide["detectable"]


def test_an_interaction_is_what_two_give_beyond_their_sum():
    # of 5 landmarks base hits 3, first 4, second 4, both 4: 0.8 - 0.8 - 0.8 + 0.6 = -0.2
    def hits(n):
        return tables(np.tile(np.where(np.arange(5) < n, 1.0, 5.0), (2, 15, 1)))

    still = [dict.fromkeys(MATTERS, 0.0)] * 4
    found = contrasts.interaction([hits(3), hits(4), hits(4), hits(4)], still, 4)
    assert found["sdr_2mm"]["effect"] == pytest.approx(-0.2)
    assert found["failure_rate"]["effect"] == pytest.approx(0.2)
    room = 1 - 0.025 ** (1 / 15)  # nobody of 15 differs from another: what could one of them do?
    assert found["sdr_2mm"]["interval"] == pytest.approx([-0.2 - room, -0.2 + room])
    assert found["sdr_2mm"]["n_patients"] == 15


def test_interactions_looked_at_together_need_larger_ones_to_be_seen():
    rng = np.random.default_rng(2)
    recipes = [tables(rng.exponential(2.0, (2, 20, 5))) for _ in range(4)]
    some = [dict.fromkeys(MATTERS, 0.001)] * 4
    alone, many = (contrasts.interaction(recipes, some, 4, tests=k) for k in (1, 6))
    assert many["sdr_2mm"]["detectable"] > alone["sdr_2mm"]["detectable"]
    assert many["sdr_2mm"]["interval"] == alone["sdr_2mm"]["interval"]


@pytest.mark.parametrize("seeds, patients", [(1, 12), (2, 9)])
def test_pairs_of_one_seed_or_few_patients_have_no_interaction(seeds, patients):
    rng = np.random.default_rng(0)
    recipes = {n: tables(rng.exponential(2.0, (seeds, patients, 3))) for n in ("o", "a", "b", "ab")}
    family = verdicts.Family("o", recipes, [("a", "b", "ab")])
    assert verdicts.judge_pairs(family).empty


def test_one_strategy_without_predictions_on_a_side_is_left_out_there():
    both = {"base": tables(np.ones((2, 12, 3))), "other": tables(np.ones((2, 12, 3)), "left")}
    assert list(verdicts.of_side(both, "left")) == ["other"]
    assert list(verdicts.of_side(both, verdicts.TOGETHER)) == ["base", "other"]


def test_predictions_that_are_the_bases_are_no_test_and_the_same_ones_count_once():
    rng = np.random.default_rng(4)
    base, better = rng.exponential(1.0, (2, 40, 5)), rng.exponential(0.4, (2, 40, 5))
    other = rng.exponential(1.0, (2, 40, 5))
    recipes = {"better": tables(better), "base": tables(base), "nil": tables(base)}
    recipes |= {"again": tables(better), "other": tables(other)}
    family = Family("base", recipes)
    assert verdicts.alike(family) == {"nil": "base", "again": "better"}
    table = verdicts.judge(family, MATTERS, **FAST)
    assert list(dict.fromkeys(table["strategy"])) == ["better", "nil", "again", "other"]
    sdr = table[table["figure"] == "sdr_2mm"].set_index("strategy")
    assert (sdr.loc["nil", "verdict"], sdr.loc["nil", "effect"]) == (verdicts.UNCHANGED, 0)
    assert sdr.loc["nil", ["p", "p_holm", "low", "high", "detectable"]].isna().all()
    assert verdicts.worded(dict(sdr.loc["nil"]) | {"figure": "sdr_2mm"}).startswith(
        "changed nothing: "
    )
    two = verdicts.judge(
        Family("base", {n: recipes[n] for n in ("base", "better", "other")}), MATTERS, **FAST
    )
    two = two[two["figure"] == "sdr_2mm"].set_index("strategy")
    for name, same in {"better": "better", "again": "better", "other": "other"}.items():
        for column in ("p", "p_holm", "detectable", "seeds_sd"):
            assert sdr.loc[name, column] == pytest.approx(two.loc[same, column])


def test_a_strategy_over_another_is_compared_with_that_one():
    """Both gain 8 points over the base; the second adds nothing to the first, the third loses."""
    rng = np.random.default_rng(6)
    recipes = planted.sweep(rng, {"joint": 0.08, "mirror": 0.08, "worse": 0.0}, n=120)
    recipes |= {"nil": recipes["mirror"]}
    over = {"mirror": "joint", "worse": "joint", "nil": "mirror", "lost": "gone"}
    family = Family("base", recipes | {"lost": recipes["joint"]}, over=over)
    assert "lost" not in family.compared, "what it is compared with is not there"
    table = verdicts.judge(family, MATTERS, **FAST)
    sdr = table[table["figure"] == "sdr_2mm"].set_index("strategy")
    assert sdr.loc["joint", "verdict"] == HELPS
    assert sdr.loc["mirror", "verdict"] not in (HELPS, HURTS)
    assert sdr.loc["mirror", "base"] == sdr.loc["joint", "value"]
    assert sdr.loc["worse", "verdict"] == HURTS
    assert (sdr.loc["nil", "verdict"], sdr.loc["nil", "same_as"]) == (verdicts.UNCHANGED, "mirror")
    assert sdr.loc["nil", ["p", "p_holm"]].isna().all(), "no test, though mirror's is one"


def test_the_same_predictions_against_other_ones_are_another_test():
    rng = np.random.default_rng(4)
    base, one = rng.exponential(1.0, (2, 40, 5)), rng.exponential(0.6, (2, 40, 5))
    recipes = {
        "base": tables(base),
        "one": tables(one),
        "two": tables(rng.exponential(0.5, (2, 40, 5))),
    }
    recipes |= {"again": recipes["two"], "over": recipes["two"]}
    table = verdicts.judge(Family("base", recipes, over={"over": "one"}), MATTERS, **FAST)
    same = table[table["figure"] == "sdr_2mm"].set_index("strategy")["same_as"]
    assert same.to_dict() == {"one": "", "two": "", "again": "two", "over": ""}


def test_the_same_errors_on_other_images_are_not_the_same_predictions():
    errors = np.random.default_rng(4).exponential(1.0, (2, 12, 3))
    family = Family("base", {"base": tables(errors), "left": tables(errors, "left")})
    assert verdicts.alike(family) == {}


def test_nothing_is_rarely_called_something_where_seeds_differ_as_much_as_in_real_sweeps():
    """Seeds of the document's sweep differ by about 2 points on a side, five times as much as in
    the simulation below; small effects are then out of sight, and none may be made up."""
    called = 0
    for i in range(REPETITIONS):
        rng = np.random.default_rng(1000 + i)
        recipes = planted.sweep(rng, {"nothing": 0.0, "worse": -0.03}, n=200, seed_sd=0.02)
        table = verdicts.judge(Family("base", recipes), MATTERS, **FAST)
        found = table[table["figure"] == "sdr_2mm"].set_index("strategy")["verdict"]
        called += found["nothing"] in (HELPS, HURTS)
        assert found["worse"] != HELPS
    assert called <= max(1, round(0.05 * REPETITIONS))


def test_planted_truth():
    """Of 200 validation patients, both sides, 3 seeds that differ by 0.4 points: 3 points are seen,
    1 point is never denied, and nothing is rarely called something."""
    right = dict.fromkeys(EFFECTS, 0)
    helps = 0
    for i in range(REPETITIONS):
        recipes = planted.sweep(np.random.default_rng(i), EFFECTS, n=200)
        table = verdicts.judge(Family("base", recipes), MATTERS, **FAST)
        found = table[table["figure"] == "sdr_2mm"].set_index("strategy")
        for name, effect in EFFECTS.items():
            right[name] += _is_right(found.loc[name], effect)
        helps += found.loc["nothing", "verdict"] == HELPS
    print(right, helps)
    allowed = max(1, round(0.05 * REPETITIONS))
    assert all(count >= REPETITIONS - allowed for count in right.values()), right
    assert helps <= allowed


def _is_right(found: pd.Series, effect: float) -> bool:
    """Nothing: not called something. One point: not denied. Three points: called."""
    if effect == 0:
        return found["verdict"] not in (HELPS, HURTS)
    if abs(effect) < 0.02:
        denied = found["verdict"] == "no effect" and found["bound"] < abs(effect)
        return found["verdict"] != HURTS and not denied
    return found["verdict"] == (HELPS if effect > 0 else HURTS)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> ablation.Plan:
    """A whole sweep of the phantom's `quick` size, its run folders simulated."""
    outputs = tmp_path_factory.mktemp("simulated")
    plan = ablation.plan_runs("quick", given={"outputs": str(outputs)})
    names = list(dict.fromkeys(r.strategy for r in plan.runs if r.strategy != plan.base("add")))
    effects = dict.fromkeys(names, 0.0) | {"affine": 0.08, "clip": -0.08}
    planted.write_folders(plan, planted.sweep(np.random.default_rng(1), effects, n=80, seeds=2))
    return plan


def test_verdicts_are_read_from_run_folders_for_each_side_and_together(simulated):
    known = findings.families(simulated)
    assert list(known) == [("add", side) for side in ("left", "right", "together")]
    assert len(known["add", "together"].recipes["both"][0]) == 2 * 80 * 5
    assert len(known["add", "left"].recipes["both"][0]) == 80 * 5
    small = {key: family for key, family in known.items() if key[1] == "together"}
    table = findings.verdict_table(simulated, small)
    sdr = table[table["figure"] == "sdr_2mm"].set_index("strategy")["verdict"]
    assert (sdr["affine"], sdr["clip"]) == (HELPS, HURTS)
    runs = findings.run_table(simulated)
    assert set(runs["state"]) == {findings.FINISHED}
    assert runs["overhead_s"].tolist() == [40 - 32] * len(runs)

    claims = evidence.claim_table(simulated, table, runs)
    assert set(claims["claim"]) == set(range(1, 13)), "a claim of the document has no row"
    said = claims.set_index("claim")["verdict"]
    assert said[2] == HELPS
    assert said[7] == "not run: not among the strategies of quick"
    times = claims.set_index("strategy")["time"]
    assert (times["clip"], times["both"]) == ("1.00 ×", "0.50 ×")

    report = write_ablation_report(
        simulated,
        table,
        runs,
        {"Effects": plots_effects.forests(table, simulated.grid.matters)},
        findings.pair_table(simulated, small),
    )
    text = report.read_text()
    assert "stands in for" in text
    assert "gradient clipping, max_norm 1.0" in text
    stored = pd.read_csv(write_summary(simulated, table, findings.pair_table(simulated, small)))
    assert len(stored) == len(table)
    pairs = pd.read_csv(simulated.folder / "pairs.csv")
    assert set(pairs["pair"]) == {"peak_target + dark"}
    assert text.count("peak_target + dark") >= 2, "the report has no interactions"
    costs = evidence.cost_table(simulated, table, runs, "together")
    priced = costs["minutes per point"].notna()
    assert costs.loc[priced, "verdict"].eq(HELPS).all(), "a price without a gain"


def without_base(plan: ablation.Plan, tmp_path, sides: tuple[str, ...]) -> list[tuple]:
    """Take the base's runs of some sides away; returns where they went."""
    lost = [r for r in plan.runs if r.strategy == plan.base("add") and r.side in sides]
    return [(r.folder, r.folder.rename(tmp_path / f"{r.side}{r.seed}")) for r in lost]


@pytest.mark.parametrize("sides", [("left",), ("left", "right")])
def test_a_base_that_did_not_finish_costs_its_verdicts_and_not_the_report(
    simulated, tmp_path, sides
):
    moved = without_base(simulated, tmp_path, sides)
    known = findings.families(simulated)
    few = {
        key: replace(f, recipes={n: f.recipes[n] for n in ("before_small", "clip")}, pairs=[])
        for key, f in known.items()
    }
    runs, table = findings.run_table(simulated), findings.verdict_table(simulated, few)
    pairs = findings.pair_table(simulated, few)
    report = write_ablation_report(simulated, table, runs, {}, pairs).read_text()
    effects_explorer(simulated, table)
    for kept, there in moved:
        there.rename(kept)
    assert [side for _, side in known] == [side for side in ("right",) if side not in sides]
    assert "without a base to compare with" in report
    assert evidence.readable(table, "sdr_2mm", "together").empty
    assert evidence.cost_table(simulated, table, runs, "together").empty


def test_a_run_of_other_labels_or_settings_is_no_result_and_stops_the_sweep(simulated):
    run = simulated.runs[0]
    other = replace(run, fingerprint="mended labels")
    assert findings.state_of(other) == findings.FOREIGN
    with pytest.raises(InputError, match=r"with other images or landmarks \(1 of 1 runs like it\)"):
        findings.refuse_foreign([other])
    wider = replace(run, config=run.config.model_copy(update={"sigma_px": 9.0}))
    with pytest.raises(InputError, match=r"with sigma_px 2\.5, got sigma_px 9\.0"):
        findings.refuse_foreign([wider])
    findings.refuse_foreign(simulated.runs)


def test_what_was_asked_before_the_first_run_is_kept_and_later_changes_show(simulated, tmp_path):
    plan = replace(simulated, folder=tmp_path)
    assert protocol.changed_since(plan) == []
    protocol.keep_protocol(plan)
    assert protocol.changed_since(plan) == []
    laxer = plan.grid.model_copy(update={"matters": MATTERS | {"sdr_2mm": 0.05}})
    protocol.keep_protocol(replace(plan, grid=laxer))
    (line,) = protocol.changed_since(replace(plan, grid=laxer))
    assert line.endswith(": matters.sdr_2mm, was 0.02, is 0.05")


def test_any_setting_that_is_asked_otherwise_than_before_the_first_run_is_named(tmp_path):
    def asked(given=None, **changed):
        (tmp_path / "grid.yaml").unlink(missing_ok=True)
        whole = yaml.safe_load((project_root() / gridfile.GRID).read_text())
        design = whole["sizes"]["quick"]["designs"]["add"]
        for key, value in changed.items():
            {"strategies": whole["strategies"], "design": design}[key].update(value)
        if given == "reversed":
            whole["strategies"] = dict(reversed(whole["strategies"].items()))
            design["strategies"].reverse()
        (tmp_path / "grid.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
        more = given if isinstance(given, dict) else {}
        outputs = {"outputs": str(tmp_path)}
        return ablation.plan_runs("quick", tmp_path / "grid.yaml", outputs | more)

    protocol.keep_protocol(asked())
    assert protocol.changed_since(asked()) == []
    assert protocol.changed_since(asked("reversed")) == [], "the order of names asks nothing"
    gone = replace(asked(), left_out={("add", "clip"): "ruled out by a first look"})
    assert protocol.changed_since(gone) == [], "a first look is part of what was asked"
    clip = {"claim": 3, "group": "training", "says": "medium", "add": {"clip_norm": 5.0}}
    (line,) = protocol.changed_since(asked(strategies={"clip": clip}))
    assert line.endswith(": strategies.add.clip.clip_norm, was 1.0, is 5.0")
    (line,) = protocol.changed_since(asked(design={"pairs": []}))
    assert line.endswith("pairs.add, was [['peak_target', 'dark']], is []")
    (line,) = protocol.changed_since(asked({"phantom_patients": [50, 20, 0]}))
    assert line.endswith("base.add.phantom_patients, was [80, 40, 0], is [50, 20, 0]")
    (line,) = protocol.changed_since(asked({"clip_norm": 2.0}))
    assert line.endswith("base.add.clip_norm, was not there, is 2.0")


def test_curves_are_by_epoch_or_where_minutes_are_the_budget_by_minutes(simulated):
    by_epoch = evidence.curves(simulated, "add", "left")
    assert by_epoch["clip"].index.tolist() == list(range(1, 9))
    assert set(by_epoch) == {run.strategy for run in simulated.runs}
    size = simulated.grid.sizes["quick"]
    design = size.designs["add"].model_copy(update={"budget": Budget(minutes=0.6)})  # 9 epochs
    timed = simulated.grid.model_copy(
        update={"sizes": {"quick": size.model_copy(update={"designs": {"add": design}})}}
    )
    curve = evidence.curves(replace(simulated, grid=timed), "add", "left")["clip"]
    assert curve.index.name == "minutes"
    assert curve.index[[0, -1]].tolist() == pytest.approx([4 / 60, 8 * 4 / 60], abs=0.011)
    third = curve.iloc[(curve.index - 3 * 4 / 60 >= -1e-9).argmax()]
    assert third == pytest.approx(by_epoch["clip"][3])
    ax = plots_sweep.learning(plt.figure().subplots(), {"clip": curve}, "base")
    assert ax.get_xlabel() == "minutes of training"
    plt.close("all")


def test_a_seed_with_a_missing_side_does_not_count_for_both_together(simulated, tmp_path):
    (lost,) = [r for r in simulated.runs if (r.strategy, r.side, r.seed) == ("dark", "left", 1)]
    moved = lost.folder.rename(tmp_path / "moved")
    known = findings.families(simulated)
    moved.rename(lost.folder)
    assert len(known["add", "together"].recipes["dark"]) == 1
    assert len(known["add", "right"].recipes["dark"]) == 2
    assert len(known["add", "left"].recipes["dark"]) == 1


def test_a_first_look_rules_out_what_is_surely_worse_and_keeps_the_rest(tmp_path):
    plan = ablation.plan_runs("quick", given={"outputs": str(tmp_path)})
    screen = Screen(budget=Budget(epochs=2), seeds=[0], spare=0.02)
    size = plan.grid.sizes["quick"].model_copy(update={"screen": screen})
    looked = replace(
        plan,
        grid=plan.grid.model_copy(update={"sizes": {"quick": size}}),
        screening=tuple(run for run in plan.runs if run.seed == 0),
    )
    names = dict.fromkeys(run.strategy for run in plan.runs if run.strategy != plan.base("add"))
    effects = dict.fromkeys(names, 0.0) | {"clip": -0.15, "affine": 0.05}
    tables = planted.sweep(np.random.default_rng(2), effects, n=60, seeds=1)
    planted.write_folders(replace(plan, runs=looked.screening), tables)
    gone = findings.ruled_out(looked)
    assert list(gone) == [("add", "clip")]
    assert gone["add", "clip"] < -0.1
    after = findings.after_first_look(looked)
    assert "clip" not in {run.strategy for run in after.runs}
    nothing = pd.DataFrame(columns=["design", "strategy", "figure", "side"])
    claims = evidence.claim_table(after, nothing, findings.run_table(after))
    said = claims.set_index("strategy")["verdict"]
    assert said["clip"].startswith("not run: ruled out by the first look, -1")
    assert said["wing"] == "not run: not among the strategies of quick"
    assert said["affine"] == "not run to its end, or without a base to compare with"


def test_the_filter_draws_a_group_and_says_so_where_there_is_nothing(simulated):
    known = findings.families(simulated)
    small = {key: family for key, family in known.items() if key[1] == "left"}
    table = findings.verdict_table(simulated, small)
    asked = {"design": "add", "figure": "sdr_2mm", "side": "left"}
    (ax,) = effects_view(simulated, table, **asked, group="training").axes
    assert [t.get_text() for t in ax.get_yticklabels()] == plots_effects.best_first(
        table[table["figure"].eq("sdr_2mm") & table["change"].isin(["clip", "batch_16", "cosine"])]
    )
    (ax,) = effects_view(simulated, table, **asked, group="ensemble").axes
    assert "nothing of this group" in ax.texts[0].get_text()


def test_effects_many_times_the_usual_are_stated_at_the_edge_and_not_drawn_to_scale():
    rows = [("a", 0.02), ("b", -0.03), ("c", 0.01), ("d", -0.72)]
    table = pd.DataFrame(
        [
            {"figure": "sdr_2mm", "side": "together", "change": n, "effect": e, "verdict": HURTS}
            | {"low": e - 0.01, "high": e + 0.01, "p_holm": 0.5}
            for n, e in rows
        ]
    )
    ax = plots_effects.forest(plt.figure().subplots(), table, 0.02)
    low, high = ax.get_xlim()
    assert low == pytest.approx(-4 * 3.5)  # of the reaches 2, 3, 4 and 73 points the middle is 3.5
    assert 3 < high <= 14
    assert "◂ −72" in [text.get_text() for text in ax.texts]
    plt.close("all")


def test_an_effect_beyond_all_points_is_none_that_could_be_seen():
    row = {"figure": "sdr_2mm", "verdict": verdicts.TOO_FEW, "detectable": 2.163}
    assert verdicts.worded(row) == "not enough runs; no effect would have been seen"
    assert verdicts.seen_text(2.163, "sdr_2mm") == "> 100"
    assert verdicts.seen_text(2.163, "median_mm") == "2.17"
