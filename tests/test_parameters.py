"""What a user may type, and what the answer is."""

import itertools

import pytest
import yaml

from lmkit import parameters
from lmkit.config import InputError, RunConfig, make_config

MAIN = (
    "# Parameters: edit here\nside: str = 'right'  # left | right\npreset: str = 'quick'\n"
    "run: str = ''\noutputs: str = 'outputs'\ndataset: str = 'phantom'"
)


def resolve(*cells, quiet=True, **namespace):
    return parameters.resolve({"In": ["", *cells], **namespace}, quiet=quiet)


def injected(**values):
    return "# Parameters\n" + "\n".join(f"{key} = {value!r}" for key, value in values.items())


def test_without_a_cell_history_as_in_nbval_the_parameters_cell_still_counts():
    config = parameters.resolve({"In": [""], "side": "left", "preset": "quick", "x": 1}, quiet=True)
    assert (config.side, config.preset) == ("left", "quick")


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"sigma_pix": 3}, "unknown parameter sigma_pix; did you mean sigma_px?"),
        ({"epochs": "ten"}, "epochs: expected a valid integer, got 'ten'"),
        ({"epochs": 2.5}, "epochs: expected a valid integer"),
        ({"epochs": 0}, "epochs: expected greater than or equal to 1, got 0"),
        ({"epochs": True}, "epochs: expected a number, got True"),
        ({"augment": True}, "augment: expected none | mirror | affine | intensity"),
        ({"augment": "afine"}, "did you mean affine?"),
        (
            {"side": "rigth"},
            "expected left | right | both | joint, got 'rigth'; did you mean right?",
        ),
        ({"keep_aspect": "maybe"}, "keep_aspect: expected true or false, got 'maybe'"),
        ({"input_hw": "256"}, "input_hw: expected two numbers"),
        ({"input_hw": [250, 256]}, "input_hw: expected multiples of 32"),
        ({"sigma_px": float("nan")}, "sigma_px: expected"),
        ({"lr": "fast"}, "lr: expected a valid number"),
        ({"clip_norm": -1}, "clip_norm: expected greater than 0, got -1"),
        ({"scale_range": [1.1, 0.9]}, "scale_range: expected 0 < low <= high"),
        ({"spacing_mm": "0.1 -0.1"}, "spacing_mm[1]: expected greater than 0"),
        ({"spacing_mm": "1e-9 0.1"}, "spacing_mm[0]: expected 0.0001 to 100, got 1e-09"),
        ({"spacing_mm": "0,17"}, "got '0,17'; write 0.17 with a decimal point, or x and y with a"),
        ({"spacing_mm": "1,25"}, "got '1,25'; write 1.25 with a decimal point"),
        ({"spacing_mm": "1,1"}, "got '1,1'; write 1.1 with a decimal point"),
        ({"spacing_mm": "1 25"}, "spacing_mm: expected x and y that differ up to 3 times, got 1"),
        ({"spacing_mm": [0.4, 0.1]}, "got 0.4 and 0.1; write decimals with a point, as in 0.17"),
        ({"split_fractions": [0.5, 0.1, 0.1]}, "split_fractions: expected shares that add up to 1"),
        ({"preset": "quik"}, "got 'quik'; did you mean quick?"),
        ({"run": "../else"}, "run: expected up to 100 letters"),
    ],
)
def test_a_wrong_parameter_stops_with_one_line(given, expected):
    with pytest.raises(InputError) as error:
        parameters.run_name(resolve(MAIN, injected(**given), **given))  # nan is no literal
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value._render_traceback_() == [f"InputError: {error.value}"]


@pytest.mark.parametrize(
    "given, field, meant",
    [
        ({"augment": "false"}, "augment", "none"),
        ({"augment": False}, "augment", "none"),
        ({"keep_aspect": "false"}, "keep_aspect", False),
        ({"keep_aspect": "False"}, "keep_aspect", False),
        ({"lr": "1e-4"}, "lr", 1e-4),
        ({"epochs": "7"}, "epochs", 7),
        ({"input_hw": "256x512"}, "input_hw", (256, 512)),
        ({"input_hw": "[256, 512]"}, "input_hw", (256, 512)),
        ({"clip_norm": "off"}, "clip_norm", None),
        ({"clip_norm": 1}, "clip_norm", 1.0),
        ({"spacing_mm": 0.25}, "spacing_mm", (0.25, 0.25)),
        ({"spacing_mm": 1}, "spacing_mm", (1.0, 1.0)),
        ({"spacing_mm": "1 1"}, "spacing_mm", (1.0, 1.0)),
        ({"spacing_mm": "0.1,0.12"}, "spacing_mm", (0.1, 0.12)),
        ({"spacing_mm": "0.1, 0.3"}, "spacing_mm", (0.1, 0.3)),
    ],
)
def test_text_as_papermill_and_yaml_pass_it_is_read_as_meant(given, field, meant):
    value = getattr(resolve(MAIN, injected(**given)), field)
    assert value == meant
    assert type(value) is type(meant)


def test_a_parameter_beats_the_preset_which_beats_the_default():
    config = resolve(MAIN, injected(preset="before", sigma_px=3))
    assert (config.sigma_px, config.amplitude, config.seed) == (3, 1000, 0)
    assert RunConfig().amplitude == 1


def test_the_side_of_a_preset_holds_unless_a_side_is_asked_for():
    assert resolve(MAIN, injected(preset="left")).side == "left"
    assert resolve(MAIN, injected(preset="left", side="right")).side == "right"


def test_a_value_edited_in_the_parameters_cell_counts_as_asked_for():
    assert resolve(MAIN.replace("'right'", "'left'")).side == "left"


def test_running_the_cells_again_reads_the_latest_ones_only():
    wrong, right = MAIN + "\nsigma_pix = 9", MAIN + "\nsigma_px = 4.0"
    assert resolve(wrong, right, "cfg = resolve(globals())").sigma_px == 4
    assert resolve(MAIN, injected(sigma_pix=3), MAIN, injected(epochs=3)).epochs == 3


def test_variables_of_the_notebook_are_not_parameters():
    config = resolve(MAIN, "import torch", "seed = 5\nloss = torch.zeros(1)", seed=5, epochs="x")
    assert config.seed == 0


def test_an_expression_in_the_parameters_cell_takes_its_value():
    cell = MAIN + "\nepochs = 2 * half"
    assert resolve(cell, epochs=12).epochs == 12


def test_every_preset_is_valid_and_quick_is_what_a_notebook_opens_with():
    for name in parameters.preset_names():
        parameters.configure({"preset": name})
    assert RunConfig().preset == "quick"


def test_presets_that_name_each_other_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"preset": str(tmp_path / "b.yaml")}))
    (tmp_path / "b.yaml").write_text(yaml.safe_dump({"preset": str(tmp_path / "a.yaml")}))
    with pytest.raises(InputError, match="expected no circle"):
        parameters.configure({"preset": str(tmp_path / "a.yaml")})


@pytest.mark.parametrize(
    "text, expected",
    [
        ("sigma_pix: 3", "unknown parameter sigma_pix; did you mean sigma_px?"),
        ("- 3", "expected lines of `key: value`, got list"),
        ("a: [1", "line 2: expected YAML"),
        ("a: !!python/object:os.system x", "expected YAML"),
    ],
)
def test_a_broken_preset_file_is_named(tmp_path, text, expected):
    path = tmp_path / "mine.yaml"
    path.write_text(text + "\n")
    with pytest.raises(InputError) as error:
        parameters.configure({"preset": str(path)})
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_the_printed_table_says_where_each_value_came_from(capsys):
    resolve(MAIN, injected(sigma_px=3), quiet=False)
    table, rest = capsys.readouterr().out.strip().split("\n\n")
    lines = {line.split()[0]: line for line in table.splitlines()}
    others = dict(pair.split(" ", 1) for pair in " ".join(rest.splitlines()[1:]).split(" · "))
    assert set(lines) | set(others) == set(RunConfig.model_fields)
    assert not set(lines) & set(others)
    assert lines["sigma_px"].split()[1:5] == ["3.0", "heatmap", "px", "parameter"]
    assert "quick" in lines["widths"]
    assert "default" in lines["dataset"]
    assert others["seed"] == "0"
    assert others["scale_range"] == "0.95 1.05"
    assert max(map(len, rest.splitlines())) <= 100


def test_every_setting_has_help():
    for name, field in RunConfig.model_fields.items():
        assert field.description, name
        assert len(field.description) < 70, name


def test_the_hash_follows_what_is_computed_and_not_where():
    here = parameters.settings_hash(make_config({}))
    same = {"side": "left", "outputs": "/tmp/x", "run": "a", "device": "cpu", "dataset": "x"}
    assert parameters.settings_hash(make_config(same)) == here
    other = [{"lr": 0.1}, {"seed": 1}, {"phantom_seed": 1}, {"sigma_px": 3}, {"precision": "bf16"}]
    hashes = [parameters.settings_hash(make_config(change)) for change in other]
    assert len({here, *hashes}) == len(other) + 1


def test_a_frozen_config_cannot_be_changed():
    with pytest.raises(Exception, match="frozen"):
        make_config({}).epochs = 3


def test_the_sides_of_all_choices_have_help_or_speak_for_themselves():
    from lmkit import config

    tables = (config.SIDES, config.LOSSES, config.DECODERS, config.TARGETS, config.AUGMENTS)
    assert all(itertools.chain.from_iterable(table.values() for table in tables))


@pytest.mark.parametrize(
    "given",
    [{"scales": True}, {"scales": [True]}, {"widths": [True, 2]}, {"scale_range": [True, 1.2]}],
)
def test_a_switch_in_place_of_a_number_is_refused(given):
    (key,) = given
    with pytest.raises(InputError, match=f"{key}: expected a number, got True"):
        make_config(given)
