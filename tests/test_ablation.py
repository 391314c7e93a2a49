"""The grid: what it may say, and the runs that it becomes."""

import pandas as pd
import pytest
import torch
import yaml
from conftest import write_native

from lmkit import (
    ablation,
    advice,
    choices,
    findings,
    gridfile,
    loss_common,
    loss_maps,
    losses,
    notebooks,
)
from lmkit.config import InputError, make_config
from lmkit.data import open_dataset
from lmkit.files import project_root
from lmkit.parameters import configure, read_preset

SMALL = {
    "claims": {1: "a claim"},
    "matters": {"sdr_2mm": 0.02, "median_mm": 0.1, "failure_rate": 0.02},
    "strategies": {
        "dark": {"group": "decoder", "says": "finer", "add": {"decoder": "quarter"}},
        "both": {"group": "sides", "says": "one model", "add": {"side": "both"}},
        "big": {"claim": 1, "group": "training", "says": "faster", "add": {"batch_size": 16}},
    },
    "sizes": {
        "two": {
            "about": "a test",
            "seeds": [3, 4],
            "data": {"phantom_patients": [8, 4, 0]},
            "designs": {
                "add": {"base": "quick", "budget": {"epochs": 5}, "pairs": [["dark", "big"]]}
            },
        }
    },
}


def written(tmp_path, **changed):
    """A grid file; `a__b=value` changes the value at a: b:."""
    whole = yaml.safe_load(yaml.safe_dump(SMALL))
    for place, value in changed.items():
        *path, last = place.split("__")
        part = whole
        for key in path:
            part = part[key]
        part[last] = value
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(whole))
    return file


@pytest.mark.parametrize("size", ["tiny", "quick", "ingredients", "document", "full"])
def test_every_size_of_the_grid_becomes_runs_of_valid_settings_in_folders_of_their_own(size):
    plan = ablation.plan_runs(size)
    assert len({run.folder for run in plan.runs}) == len(plan.runs)
    assert all(run.config.run == run.folder.name for run in plan.runs)
    assert plan.left_out.keys() <= {("add", "audit_repairs")}
    bases = [run for run in plan.runs if run.strategy == plan.base(run.design)]
    assert len(bases) == len(plan.designs) * len(plan.sides) * len(plan.grid.sizes[size].seeds)


def test_a_loss_that_is_registered_is_a_setting_and_a_strategy_at_once(tmp_path, monkeypatch):
    def huber(maps, target, annotated):
        per_pixel = torch.nn.functional.huber_loss(maps, target, reduction="none")
        return loss_common.mean_over(per_pixel.mean((-2, -1)), annotated)

    monkeypatch.setattr(loss_maps, "huber", huber, raising=False)
    monkeypatch.setitem(choices.LOSSES, "huber", "Huber's, of the maps")
    config = make_config({"loss": "huber", "amplitude": 1})
    assert "huber           Huber's, of the maps" in notebooks.help_notebook("03_train")
    maps = torch.tensor([0.5, 3.0]).view(1, 2, 1, 1).expand(1, 2, 2, 3)
    one = torch.ones(1, 2)
    goal = losses.Target(0 * maps, torch.zeros(1, 2, 2), torch.ones(1, 2, 2), one, one, one)
    assert losses.build(config)(maps, goal).item() == (0.5**2 / 2 + 3 - 0.5) / 2
    file = written(tmp_path, every=["loss", "decoder"])
    strategies = gridfile.read_grid(file).strategies
    assert strategies["huber"].says == "Huber's, of the maps"
    assert strategies["quarter"].add is None, "the strategy dark sets it"
    assert strategies["decoder_dark"].remove == {"decoder": "dark"}, "the name dark is taken"
    twice = {"group": "decoder", "says": "", "add": {"decoder": "dark"}}
    twice["remove"] = {"decoder": "argmax"}  # what takes it out says nothing of what puts it in
    file = written(tmp_path, every=["decoder"], strategies__dark=twice)
    assert gridfile.read_grid(file).strategies["decoder_dark"].add is None, "trained twice"
    file = written(tmp_path, every=["loss", "decoder"])
    plan = ablation.plan_runs("two", file, {"outputs": str(tmp_path)})
    tried = {run.strategy: run.config for run in plan.runs}
    assert tried["huber"].loss == "huber"
    assert "mse" not in tried, "the base has it"


def test_all_of_the_documents_claims_are_in_the_grid_and_tried_or_explained():
    whole = gridfile.read_grid()
    assert list(whole.claims) == list(range(1, 13))
    assert {s.claim for s in whole.strategies.values()} - {None} == set(range(1, 13))
    document = whole.names("document", "add")
    claimed = [name for name, strategy in whole.strategies.items() if strategy.claim]
    assert document == claimed, "size document leaves out one of the document's strategies"


def test_quick_is_six_strategies_two_sides_and_two_seeds_at_least():
    plan = ablation.plan_runs("quick")
    strategies = {run.strategy for run in plan.runs} - {plan.base("add")}
    assert len(strategies) >= 6
    assert plan.sides == ("left", "right")
    assert len({run.seed for run in plan.runs}) >= 2


def test_a_design_becomes_base_strategies_and_pairs_per_side_and_seed(tmp_path):
    plan = ablation.plan_runs("two", written(tmp_path), {"outputs": str(tmp_path)})
    found = {(r.strategy, r.side, r.seed) for r in plan.runs}
    for seed in (3, 4):
        for side in ("left", "right"):
            for strategy in ("quick", "dark", "big", "dark + big"):
                assert (strategy, side, seed) in found
        assert ("both", "both", seed) in found
    assert len(plan.runs) == 2 * (2 * 4 + 1)
    (pair,) = [r for r in plan.runs if (r.strategy, r.side, r.seed) == ("dark + big", "left", 4)]
    assert (pair.config.decoder, pair.config.batch_size) == ("quarter", 16)
    assert (pair.config.epochs, pair.config.phantom_patients) == (5, (8, 4, 0))
    assert pair.folder.parent == tmp_path / "ablation" / "phantom-two" / "phantom" / "left"
    assert pair.folder.name.startswith("add-dark-and-big-s4-")


def test_a_design_may_state_the_same_thing_in_its_own_units(tmp_path):
    file = written(tmp_path, sizes__two__designs__add__instead={"dark": {"decoder": "argmax"}})
    plan = ablation.plan_runs("two", file, {"outputs": str(tmp_path)})
    decoders = {run.config.decoder for run in plan.runs if "dark" in run.strategy}
    assert decoders == {"argmax"}
    assert ablation.changes(plan, "dark + big", "add") == "decoder argmax, batch_size 16"


def test_other_settings_are_other_folders_and_the_same_ones_the_same(tmp_path):
    given = {"outputs": str(tmp_path)}
    first = ablation.plan_runs("two", written(tmp_path), given)
    again = ablation.plan_runs("two", written(tmp_path), given)
    longer = ablation.plan_runs("two", written(tmp_path), given | {"epochs": 6})
    assert [r.folder for r in first.runs] == [r.folder for r in again.runs]
    assert not {r.folder for r in first.runs} & {r.folder for r in longer.runs}


def test_one_side_leaves_out_the_other_and_keeps_models_of_both(tmp_path):
    given = {"outputs": str(tmp_path), "side": "left"}
    plan = ablation.plan_runs("two", written(tmp_path), given)
    assert {run.side for run in plan.runs} == {"left", "both"}
    assert plan.sides == ("left",)


def test_without_sides_strategies_about_sides_are_left_out_with_the_reason(tmp_path):
    folder = write_native(tmp_path / "plain", sides=())
    given = {"outputs": str(tmp_path), "dataset": str(folder)}
    plan = ablation.plan_runs("two", written(tmp_path), given)
    assert plan.sides == ("all",)
    assert plan.left_out == {("add", "both"): "crosses has no sides"}
    assert len(plan.runs) == 2 * 4


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({"strategies__dark__ad": {}}, "strategies.dark: unknown key ad; did you mean add?"),
        (
            {"strategies__dark__add": {"decoda": 1}},
            "unknown parameter decoda; did you mean decoder?",
        ),
        ({"strategies__dark__add": None}, "expected settings under add: or remove:"),
        ({"strategies__big__claim": 7}, "claim: expected one of claims:, got 7"),
        ({"claims__2": "more"}, "claims: expected a strategy for each, got none for 2"),
        ({"matters": {"sdr_2mm": 0.02}}, "expected a number > 0 for median_mm, failure_rate"),
        ({"sizes__two__seeds": []}, "sizes.two.seeds: "),
        ({"sizes__two__designs__add__budget": {}}, "expected either epochs or minutes"),
        ({"sizes__two__designs__add__strategies": ["drak"]}, "'drak'; did you mean dark?"),
        ({"sizes__two__designs__remove": SMALL["sizes"]["two"]["designs"]["add"]}, "under remove:"),
        ({"strategies__dark__add": {"decoder": "drak"}}, "add dark: decoder: expected argmax"),
        ({"strategies__dark__add": {"epochs": 5}}, "add dark: expected settings that differ"),
        ({"sizes__two__designs__add__base": "quik"}, "did you mean quick?"),
        ({"strategies__big__add": {"decoder": "dark"}}, "got dark and big, which set decoder"),
        ({"strategies__a b": SMALL["strategies"]["dark"]}, "letters, digits and _, got 'a b'"),
        ({"strategies__both__over": "drak"}, "both.over: expected a strategy that has add:, got"),
        ({"strategies__both__over": "drak"}, "got 'drak'; did you mean dark?"),
        ({"strategies__dark__over": "dark"}, "dark.over: expected no circle, got dark over dark"),
        (
            {
                "strategies__big": SMALL["strategies"]["big"] | {"over": "dark"},
                "strategies__big__add": {"decoder": "quarter"},
                "sizes__two__designs__add__pairs": [],
            },
            "add big: expected settings that differ from dark's, got the same",
        ),
        (
            {"strategies__dark__over": "both", "strategies__both__over": "dark"},
            "strategies.both.over: expected no circle, got both over dark over both",
        ),
        ({"strategies__big__over": "both"}, "pairs: expected strategies over the base itself, got"),
        (
            {"strategies__both": {"group": "a", "says": "b", "remove": {"lr": 1}, "over": "dark"}},
            "over: expected settings under add: to put over dark, got none",
        ),
        (
            {
                "strategies__both__over": "dark",
                "sizes__two__designs__add": {
                    **{"base": "quick", "budget": {"epochs": 5}},
                    "strategies": ["both"],
                },
            },
            "strategy both goes over dark, which is not among the strategies; name it, too",
        ),
    ],
)
def test_a_wrong_grid_stops_with_one_line(tmp_path, changed, expected):
    with pytest.raises(InputError) as error:
        ablation.plan_runs("two", written(tmp_path, **changed), {"outputs": str(tmp_path)})
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"preset": "quik"}, "preset: expected full | document | ingredients | quick | tiny"),
        ({"sigma_pix": 3}, "unknown parameter sigma_pix; did you mean sigma_px?"),
        ({"side": "both"}, "side: expected left, right or nothing"),
        ({"epochs": "ten"}, "epochs: expected a valid integer"),
        ({"run": "../else"}, "run: expected up to 100 letters"),
        ({"workers": "two"}, "workers: expected a valid integer"),
        ({"workers": -2}, "workers: expected greater than or equal to 0, got -2"),
        ({"train": "maybe"}, "train: expected true or false, got 'maybe'"),
        ({"grid": "no/such.yaml"}, "no/such.yaml: expected a YAML file, found none"),
    ],
)
def test_a_wrong_parameter_of_05_stops_with_one_line(given, expected):
    cell = {"preset": "tiny", "grid": gridfile.GRID, "side": "", "scheduler": "", "workers": 0}
    with pytest.raises(InputError) as error:
        ablation.plan_of(cell | {"train": True, "write_recommended": False}, given)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_false_as_papermill_passes_it_is_false():
    cell = {"preset": "tiny", "grid": gridfile.GRID, "side": "", "scheduler": "", "workers": 0}
    cell |= {"train": True, "write_recommended": True}
    own = ablation.own_of(cell, {"train": "false", "write_recommended": "False", "workers": "2"})
    assert (own.train, own.write_recommended, own.workers) == (False, False, 2)
    assert ablation.own_of(cell, {}).train is True


def test_what_is_asked_for_of_every_run_leaves_out_the_strategy_that_would_add_it(tmp_path):
    asked = {"outputs": str(tmp_path), "batch_size": 16}
    plan = ablation.plan_runs("two", written(tmp_path), asked)
    assert {run.strategy for run in plan.runs} == {"quick", "dark", "both"}
    assert plan.left_out == {("add", "big"): "asked for of every run: batch_size"}


def test_a_side_edited_by_hand_counts():
    cell = {"preset": "tiny", "grid": gridfile.GRID, "scheduler": "", "workers": 0}
    plan = ablation.plan_of(cell | {"train": True, "write_recommended": False, "side": "left"}, {})
    assert plan.sides == ("left",)


def test_what_a_first_look_rules_out_leaves_with_its_pairs(tmp_path):
    plan = ablation.plan_runs("two", written(tmp_path), {"outputs": str(tmp_path)})
    left = ablation.promoted(plan, [("add", "big")])
    assert {run.strategy for run in left.runs} == {"quick", "dark", "both"}


@pytest.fixture
def stacked(tmp_path):
    """A grid of one strategy over another over a third."""
    strategies = SMALL["strategies"] | {
        "mirror": {"group": "data", "says": "", "over": "both", "add": {"ema_decay": 0.5}},
        "twice": {"group": "data", "says": "", "over": "mirror", "add": {"clip_norm": 1.0}},
    }
    return written(tmp_path, strategies=strategies, sizes__two__designs__add__pairs=[])


def test_a_strategy_over_another_has_its_settings_and_is_compared_with_it(tmp_path, stacked):
    plan = ablation.plan_runs("two", stacked, {"outputs": str(tmp_path)})
    configs = {run.strategy: run.config for run in plan.runs}
    assert (configs["twice"].side, configs["twice"].ema_decay) == ("both", 0.5)
    assert configs["twice"].clip_norm == 1.0 != configs["mirror"].clip_norm
    bases = {name: plan.base_of("add", name) for name in ("dark", "both", "mirror", "twice")}
    assert bases == {"dark": "quick", "both": "quick", "mirror": "both", "twice": "mirror"}
    assert plan.called("add", "twice") == "twice over mirror"
    assert ablation.plan_table(plan).loc[("add", "mirror"), "settings"] == (
        "over both: ema_decay 0.5"
    )
    assert {run.side for run in plan.runs if run.strategy == "twice"} == {"both"}


def test_what_the_base_has_already_is_passed_over_and_what_is_not_run_takes_others_with_it(
    tmp_path, stacked
):
    given = {"outputs": str(tmp_path), "ema_decay": 0.5}
    plan = ablation.plan_runs("two", stacked, given)
    assert plan.left_out == {("add", "mirror"): "asked for of every run: ema_decay"}
    assert plan.base_of("add", "twice") == "both", "mirror is in the base, both is not"
    folder = write_native(tmp_path / "plain", sides=())
    given = {"outputs": str(tmp_path), "dataset": str(folder)}
    plan = ablation.plan_runs("two", stacked, given)
    assert {run.strategy for run in plan.runs} == {"quick", "dark", "big"}
    assert set(plan.left_out.values()) == {"crosses has no sides"}
    whole = yaml.safe_load(stacked.read_text())
    whole["strategies"]["dark"] |= {"not_run": "no time"}
    whole["strategies"]["big"] |= {"over": "dark"}
    stacked.write_text(yaml.safe_dump(whole))
    plan = ablation.plan_runs("two", stacked, {"outputs": str(tmp_path)})
    assert plan.left_out["add", "big"] == "dark, which it goes over, is not run"


def test_what_goes_over_a_strategy_that_a_first_look_rules_out_leaves_with_it(tmp_path, stacked):
    plan = ablation.plan_runs("two", stacked, {"outputs": str(tmp_path)})
    left = ablation.promoted(plan, [("add", "both")])
    assert {run.strategy for run in left.runs} == {"quick", "dark", "big"}
    gone = ablation.fallen(plan, [("add", "both")])
    assert gone == {("add", "mirror"): "both", ("add", "twice"): "mirror"}


def test_every_row_of_the_grid_beyond_the_document_changes_one_thing(tmp_path):
    """What belongs together is named: a target has its height, a canvas its shape."""
    plan = ablation.plan_runs("full", given={"outputs": str(tmp_path)})
    together = {"moved_far": 3, "aspect": 2, "peak_target": 2}
    for name, strategy in plan.grid.strategies.items():
        if strategy.claim is None and strategy.add:
            assert len(strategy.add) == together.get(name, 1), name


def test_a_first_look_is_short_and_has_folders_of_its_own(tmp_path):
    screen = {"budget": {"epochs": 2}, "seeds": [3]}
    file = written(tmp_path, sizes__two__screen=screen)
    plan = ablation.plan_runs("two", file, {"outputs": str(tmp_path)})
    assert {run.config.epochs for run in plan.screening} == {2}
    assert len(plan.screening) == len(plan.runs) / 2
    assert not {r.folder for r in plan.screening} & {r.folder for r in plan.runs}
    assert findings.ruled_out(plan) == {}, "nothing has run"


def test_recommended_is_changed_by_the_best_of_what_helped_in_it_and_stays_valid(tmp_path):
    plan = ablation.plan_runs("full", given={"outputs": str(tmp_path)})
    chosen = advice.to_change(plan, helped(plan, batch_16=0.025, wing=0.03), "together")
    assert chosen["strategy"].tolist() == ["wing", "batch_16"]
    before = (project_root() / "params" / "recommended.yaml").read_text()
    target = advice.write_recommended(plan, chosen, tmp_path / "new.yaml")
    assert read_preset(str(target)) == read_preset("recommended") | {"loss": "wing"}
    assert "# with wing, SDR at 2 mm +3.0 (+2.0 to +4.0) points, the best of" in target.read_text()
    assert (project_root() / "params" / "recommended.yaml").read_text() == before
    with pytest.raises(InputError, match="found none; leave the switch off"):
        advice.write_recommended(plan, chosen.iloc[:0], tmp_path / "new.yaml")


def helped(plan, **effects) -> pd.DataFrame:
    """Verdicts of design remove, together: strategies that helped SDR at 2 mm by so much; ema hurt
    there, and dark helped in design add."""
    row = {"design": "remove", "figure": "sdr_2mm", "side": "together", "verdict": "helps"}
    rows = [row | {"strategy": name, "effect": effect} for name, effect in effects.items()]
    rows.append(row | {"strategy": "ema", "effect": -0.2, "verdict": "hurts"})
    rows.append(row | {"strategy": "dark", "effect": 0.2, "design": "add"})
    table = pd.DataFrame(rows)
    table["change"] = [plan.called(d, s) for d, s in table[["design", "strategy"]].to_numpy()]
    return table.assign(low=table["effect"] - 0.01, high=table["effect"] + 0.01)


def test_a_small_gain_or_one_that_hurts_elsewhere_changes_no_recipe(tmp_path):
    plan = ablation.plan_runs("full", given={"outputs": str(tmp_path)})
    table = helped(plan, batch_16=0.015, wing=0.03, clip=0.025)
    worse = table[table["strategy"] == "wing"].assign(figure="median_mm", verdict="hurts")
    chosen = advice.to_change(plan, pd.concat([table, worse]), "together")
    assert chosen["strategy"].tolist() == ["clip"]


def test_another_side_is_no_change_of_a_recipe(tmp_path):
    plan = ablation.plan_runs("full", given={"outputs": str(tmp_path)})
    chosen = advice.to_change(plan, helped(plan, both=0.05), "together")
    with pytest.raises(InputError, match="is another side; leave the switch off, and train with"):
        advice.write_recommended(plan, chosen, tmp_path / "new.yaml")
    assert not (tmp_path / "new.yaml").exists()


@pytest.mark.parametrize(
    "strategy, said",
    [
        *(("affine", "without affine"), ("cascade", "without cascade"), ("ema", "without ema")),
        *(("batch_16", "with batch_16"), ("both", "with both"), ("wing", "with wing")),
        *(("recommended", "recommended"), ("affine + clip", "without affine + with clip")),
    ],
)
def test_what_is_taken_out_is_called_without_it_and_what_is_put_in_with_it(
    tmp_path, strategy, said
):
    plan = ablation.plan_runs("full", given={"outputs": str(tmp_path)})
    assert plan.called("remove", strategy) == said
    assert plan.called("add", strategy) == strategy


def test_runs_find_a_dataset_and_a_base_that_were_named_from_another_folder(tmp_path, monkeypatch):
    write_native(tmp_path / "crosses", n=12)
    (tmp_path / "mine.yaml").write_text("preset: quick\nlr: 0.002\n")
    path = written(tmp_path, sizes__two__designs__add__base="mine.yaml")
    monkeypatch.chdir(tmp_path)
    plan = ablation.plan_runs("two", path, {"outputs": str(tmp_path), "dataset": "crosses"})
    run = plan.runs[0]
    assert run.asked["dataset"] == str(tmp_path / "crosses")
    assert (run.preset, run.strategy) == (str(tmp_path / "mine.yaml"), "mine")
    monkeypatch.chdir("/")
    assert configure({"preset": run.preset} | run.asked).lr == 0.002


def test_a_strategy_with_labels_of_its_own_is_planned_on_them(tmp_path):
    write_native(tmp_path / "crosses", n=12)
    write_native(tmp_path / "mended", n=13)
    there = str(tmp_path / "mended")
    mend = {"group": "data", "says": "mended", "add": {"dataset": there}}
    path = written(tmp_path, strategies=SMALL["strategies"] | {"mend": mend})
    given = {"outputs": str(tmp_path), "dataset": str(tmp_path / "crosses")}
    plan = ablation.plan_runs("two", path, given)
    prints = {run.strategy: run.fingerprint for run in plan.runs}
    assert prints["mend"] == open_dataset(there).fingerprint
    assert prints["quick"] == prints["big"] == open_dataset(tmp_path / "crosses").fingerprint


def test_full_looks_first_only_where_a_short_look_can_tell(tmp_path):
    plan = ablation.plan_runs("full", given={"outputs": str(tmp_path)})
    assert {run.design for run in plan.screening} == {"add"}
