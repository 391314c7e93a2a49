"""The house rules that a machine can check."""

import ast
import importlib
import json
import math
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import browser
import nbformat
import pandas as pd
import pytest
import yaml

import lmkit
from lmkit import choices, commands, notebooks, parameters, phantom, runs
from lmkit.config import RunConfig
from lmkit.files import shown_path
from lmkit.gridfile import read_grid
from lmkit.notebooks import notebook_names
from lmkit.verdicts import p_text

ROOT = Path(__file__).resolve().parent.parent
ORDER = [  # each file imports only from files above it
    "__init__ choices pixels fields limits config locks files faults geometry",
    "lines measures declare tables",
    "phantom_* phantom",
    "dicom images canvas jsonfiles native places sources textfolders textlines textfiles",
    "audit_repair appending outdated corrections",
    "coco labelme widecsv cvat labelstudio formats",
    "writers lookalikes check_rows check_faults check leftover convert commands data",
    "samples report",
    "augment exposure decoders modes heatmap unet cascade model",
    "loss_common loss_maps loss_spatial losses metrics resampling pairing stats uncertainty",
    "audit_sets audit_shape audit_model audit_causes audit_others audit parameters",
    "grid gridfile contrasts verdicts",
    "trust error_parts shape_prior audit_views audit_slips audit_hypotheses audit_predictions",
    "memory spans batches targets inference redraws rationale checkpoints schedule train runs",
    "unlabelled evaluate records predict export stages folds ensembles cases",
    "agreement_figures agreement observer comparisons",
    "benchmark sidebyside planning ablation protocol sweep_task machines sweep_cost findings",
    "evidence advice",
    "plots plots_errors plots_check plots_speed plots_agreement plots_trust plots_cases",
    "case_desk views widgets widgets_cases notebooks",
    "windows pointing plots_correct correct_desk reading_desk desk_pictures widgets_correct",
    "plots_effects plots_sweep widgets_ablation ablation_report run_server sweep",
]

OWN_PARAMETERS = {
    "05_ablation": {
        **{"side": "", "preset": "tiny", "grid": "params/ablation.yaml"},
        **{"scheduler": "", "workers": 0, "train": True, "write_recommended": False},
    },
    "04_evaluate": {"members": "", "by": "maps", "draws": 4, "against": ""},
    "06_benchmark": {"preset": "recommended", "minutes": 1.0},
}


def layer_of(module: str) -> int:
    names = [
        ("phantom_*" if module.startswith("phantom_") else module) in row.split() for row in ORDER
    ]
    assert any(names), f"lmkit/{module}.py is in no layer: add it to ORDER"
    return names.index(True)


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "lmkit":
            found |= {
                alias.name for alias in node.names if (ROOT / f"lmkit/{alias.name}.py").exists()
            }
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lmkit."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("lmkit.")}
    return found


def test_imports_go_one_way():
    graph = {path.stem: imports_of(path) for path in (ROOT / "lmkit").glob("*.py")}
    for module, used in graph.items():
        for other in used:
            assert layer_of(other) <= layer_of(module), f"lmkit.{module} imports lmkit.{other}"
    done: set[str] = set()
    while len(done) < len(graph):
        free = {m for m, used in graph.items() if m not in done and used <= done}
        assert free, f"modules import each other: {sorted(set(graph) - done)}"
        done |= free


def test_the_conda_environment_is_that_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    stated = {line.replace("pytorch", "torch") for line in conda if isinstance(line, str)}
    assert stated - {"pip", "make"} == {
        *project["dependencies"],
        f"python{project['requires-python']}",
    }
    assert {"pip": ["-e ."]} in conda


def test_every_dependency_is_pinned_for_the_tests():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(x for g in project["optional-dependencies"].values() for x in g),
    ]
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    for requirement in wanted:
        name, least = re.split(r">=", requirement)
        exact = {key.lower(): value for key, value in pinned.items()}[name.lower()]
        assert tuple(map(int, exact.split(".")[:2])) >= tuple(map(int, least.split(".")[:2])), name
    assert pinned["torch"] == "2.13.0"


@pytest.mark.parametrize("name", notebook_names())
def test_a_notebook_offers_the_same_five_parameters_with_their_defaults(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert tagged[0].source.startswith("# Parameters:")
    values = parameters._assignments(tagged[0].source, {})
    own = OWN_PARAMETERS.get(name, {})
    defaults = {k: RunConfig.model_fields[k].default for k in values if k not in own}
    assert values == defaults | own
    assert list(values)[:5] == ["side", "dataset", "preset", "run", "outputs"]
    following = notebook.cells[notebook.cells.index(tagged[0]) + 1]
    assert "resolve(globals()" in following.source


@pytest.mark.parametrize("name", notebook_names())
def test_a_committed_notebook_holds_only_the_outputs_that_are_meant(name):
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text()
    notebook = nbformat.reads(text, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    for cell in code:
        tags = cell.metadata.get("tags", [])
        assert bool(cell.outputs) == ("keep_output" in tags), cell.source[:80]
        assert "keep_output" in tags or "nbval-check-output" not in tags, cell.source[:80]
    assert sum("nbval-check-output" in c.metadata.get("tags", []) for c in code) >= 2
    assert len(text) < 2_000_000
    assert len(code) <= 30


@pytest.mark.parametrize("name", notebook_names())
def test_a_notebook_does_not_use_a_settings_name_for_something_else(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type != "code" or "parameters" in cell.metadata.get("tags", []):
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                assert node.id not in RunConfig.model_fields, f"{node.id} in: {cell.source[:60]}"


def test_papermills_help_lists_the_parameters_with_types_and_comments():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            "--help-notebook",
            str(ROOT / "notebooks/03_train.ipynb"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in (
        'side: str (default "right")',
        "left | right | both",
        "preset: str",
        "outputs: str",
    ):
        assert line in done.stdout


def test_a_command_names_its_arguments_as_the_readme_does_and_says_what_it_does(capsys):
    for command, arguments in (("check", "FOLDER"), ("convert", "SRC DST"), ("predictions", "DST")):
        with pytest.raises(SystemExit):
            commands.main([command, "--help"])
        usage, said = capsys.readouterr().out.split("\n\n")[:2]
        assert usage.endswith(arguments)
        assert said.endswith(".")
        assert f"python -m lmkit.data {command}" in (commands.__doc__ or "")


def _of_decoders(line):
    name, _, means = line.strip().partition(" ")
    return choices.DECODERS.get(name) == means.strip()


def test_our_own_help_says_the_range_of_a_number():
    said = notebooks.help_notebook("03_train")
    assert "  sigma_px (default 2.0; heatmap px; > 0, at most 100): width" in said
    assert "  dropout (default 0.0; at least 0, < 1): " in said
    assert "  clip_norm (default none; > 0): " in said
    assert "  sigma_schedule (default none; unit of sigma; > 0): " in said
    assert "  scales (default 1; a factor; > 0): " in said


def test_our_own_help_lists_every_setting_with_what_it_may_be(capsys):
    assert notebooks.main(["04_evaluate", "--help-notebook"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("  members (default") for line in said), "the notebook's own"
    for key, field in RunConfig.model_fields.items():
        (line,) = [line for line in said if line.startswith(f"  {key} (default")]  # once
        own = key in ("side", "dataset", "preset", "run", "outputs")
        assert own or line.endswith(field.description)
    names = [line.split()[0] for line in said if line.startswith("      ")]
    assert set(names) >= {*choices.LOSSES, *choices.DECODERS}
    means = [line.index(choices.DECODERS[line.split()[0]]) for line in said if _of_decoders(line)]
    assert len(means) == len(choices.DECODERS)
    assert len(set(means)) == 1, "one column, however long a name is"
    assert notebooks.main(["3_train", "--help-notebook"]) == 1


def test_a_path_that_is_printed_can_be_opened(tmp_path, monkeypatch):
    """The leading folder was cut off from outputs that lie outside of the project."""
    inside = ROOT / "outputs" / "phantom" / "right" / "quick"
    assert shown_path(inside) == str(Path("outputs", "phantom", "right", "quick"))
    assert shown_path(tmp_path / "nc_out" / "a") == str(tmp_path / "nc_out" / "a")
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "nc_out" / "a") == str(Path("nc_out", "a"))


def test_importing_lmkit_is_light():
    code = (
        "import sys, lmkit; print(json.dumps([m for m in ('torch', 'pandas') if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import json;" + code], capture_output=True, text=True
    )
    assert json.loads(done.stdout) == []


def test_the_types_hold(tmp_path):
    pytest.importorskip("mypy", reason="of the dev extra")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path)],
        cwd=ROOT,  # for its settings
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_seeds_or_sets_defaults_at_import():
    for path in (ROOT / "lmkit").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            calls = [n for n in ast.walk(node) if isinstance(n, ast.Call)]
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            for call in calls:
                text = ast.unparse(call.func)
                assert not re.search(r"seed|set_default|set_num_threads", text), (
                    f"{path.name}: {text}"
                )


def test_where_the_browser_is_required_its_tests_fail_rather_than_skip(monkeypatch):
    assert "\nexport LMKIT_BROWSER=required\n" in (ROOT / ".ci" / "run").read_text()
    monkeypatch.setenv("LMKIT_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="required: no Chromium"):
        browser.do_without("no Chromium")
    monkeypatch.delenv("LMKIT_BROWSER")
    with pytest.raises(pytest.skip.Exception, match="no Chromium"):
        browser.do_without("no Chromium")


EXAMPLES = ROOT / "outputs" / "example"


@pytest.mark.parametrize(
    "folder", sorted(path.parent.name for path in EXAMPLES.glob("*/metrics.json"))
)
def test_the_readme_states_what_the_example_runs_hold(folder):
    run = runs.load_run(EXAMPLES / folder)
    test, minutes = run.metrics["test"], run.history["seconds"].sum() / 60
    low, high = test["intervals"]["sdr"]["2"]
    row = (
        f"| [{folder}](outputs/example/{folder}) | {minutes:.0f} | {test['median_mm']:.2f} | "
        f"{test['mre_mm']:.2f} | {100 * test['failure_rate']:.1f} | "
        f"{100 * test['sdr']['2']:.1f} ({100 * low:.1f}–{100 * high:.1f}) |"
    )
    assert row in (ROOT / "README.md").read_text().splitlines()


def test_the_readme_tells_of_the_quick_run_what_04_shows():
    notebook = nbformat.read(ROOT / "notebooks" / "04_evaluate.ipynb", as_version=4)
    tables = [
        o["data"]["text/html"]
        for c in notebook.cells
        for o in c.get("outputs", [])
        if "SDR 2 mm" in o.get("data", {}).get("text/html", "")
    ]
    ((sdr,),) = [
        re.findall(r"<th>right</th>(?:\s*<td>.*</td>){3}\s*<td>([\d.]+) %</td>", tables[0])
    ]
    told = f"expect about {round(float(sdr) / 5) * 5} % SDR at 2 mm"
    assert told in " ".join((ROOT / "README.md").read_text().split())


def test_the_readmes_python_runs_as_far_as_its_names_go():
    """Every module and name that a Python block of the README imports from lmkit is there."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    imports = [n for b in blocks for n in ast.walk(ast.parse(b)) if isinstance(n, ast.ImportFrom)]
    ours = [n for n in imports if (n.module or "").startswith("lmkit")]
    assert ours
    for node in ours:
        module = importlib.import_module(str(node.module))
        assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("side", ["left", "right"])
def test_ten_minutes_of_the_recommended_recipe_are_ahead_of_the_old_one_on_each_side(side):
    old, new = (runs.load_run(EXAMPLES / f"{name}_{side}") for name in ("before", "recommended"))
    before, after = old.metrics["test"], new.metrics["test"]
    assert new.history["seconds"].sum() <= 10 * 60
    assert after["median_mm"] <= 0.6 * before["median_mm"]
    assert after["failure_rate"] <= before["failure_rate"] / 3
    assert after["sdr"]["2"] >= 0.97
    assert old.about["dataset_fingerprint"] == new.about["dataset_fingerprint"]


def test_the_kept_benchmark_shows_the_speed_that_was_asked_and_the_readme_says_it():
    """Two CPU cores, the measurements of one run of 06 after each other."""
    found = json.loads((EXAMPLES / "benchmark" / "benchmark.json").read_text())["recipes"]
    new, old = found["recommended"], found["before, float32"]
    trains = new["train_images_per_s"] / old["train_images_per_s"]
    predicts = old["predict_ms"] / new["predict_ms"]
    feeding = new["shares"]["images and points"]
    assert trains >= 60
    assert predicts >= 40
    assert feeding < 0.15
    assert new["grown_mb"] < 200  # over 100 steps of 8 images
    told = f"{trains:.0f} times as many images a second as `before` did in float32"
    told += (
        f" and predicts {predicts:.0f} times as many; {100 * feeding:.0f} % of a step is loading"
    )
    assert told in " ".join((ROOT / "README.md").read_text().split())


def test_fifteen_minutes_on_real_ultrasound_reach_what_was_asked():
    run = runs.load_run(EXAMPLES / "us_hc18")
    test = run.metrics["test"]
    assert run.history["seconds"].sum() <= 15 * 60
    assert test["mre_mm"] < 2.0
    assert test["median_mm"] < 1.3
    assert test["sdr"]["2"] > 0.72
    assert test["sdr"]["4"] > 0.94


def test_the_readme_states_what_the_example_ablation_found():
    found = pd.read_csv(EXAMPLES / "ablation_document" / "summary.csv")
    found = found[(found["side"] == "together") & (found["figure"] == "sdr_2mm")]
    grid = read_grid(ROOT / "params" / "ablation.yaml")
    assert set(grid.names("document", "add")) <= set(found["strategy"])
    lines = (ROOT / "README.md").read_text().splitlines()
    for row in found.itertuples():
        claim = getattr(grid.strategies.get(row.strategy), "claim", None) or "–"
        effect = "0" if math.isnan(row.low) else effect_told(row._asdict(), 100, 1)
        told = f"{effect} | {p_text(row.p_holm)} | {row.said}"
        assert f"| {row.strategy} | {claim} | {told} |" in lines


def test_the_readme_says_what_half_the_epochs_would_have_concluded():
    shorter, longer = (
        pd.read_csv(EXAMPLES / "ablation_document" / f"{name}.csv")
        .query("side == 'together' and figure == 'sdr_2mm'")
        .set_index("strategy")
        for name in ("summary_14_epochs", "summary")
    )
    assert "helps" not in set(shorter["verdict"])
    text = " ".join((ROOT / "README.md").read_text().split())
    for table, said in (
        (shorter, "said that the five at once cost {} points"),
        (longer, "five changes at once gain {} points"),
    ):
        assert said.format(f"{abs(100 * table.loc['all_five', 'effect']):.1f}") in text
    assert f"loses {-100 * longer.loc['batch_16', 'effect']:.1f}" in text


def test_the_readme_states_what_each_ingredient_gave():
    found = pd.read_csv(EXAMPLES / "ablation_ingredients" / "summary.csv")
    grid = read_grid(ROOT / "params" / "ablation.yaml")
    assert set(grid.names("ingredients", "remove")) == set(found["strategy"])
    lines = (ROOT / "README.md").read_text().splitlines()
    for change, rows in found.groupby("change"):
        by = rows.set_index("figure")
        sdr, failures = (effect_told(by.loc[name], 100, 1) for name in ("sdr_2mm", "failure_rate"))
        median, verdict = effect_told(by.loc["median_mm"], 1, 2), by.loc["sdr_2mm", "said"]
        assert f"| {change} | {sdr} | {verdict} | {median} | {failures} |" in lines


def effect_told(row: Mapping[str, Any], times: int, digits: int) -> str:
    low, effect, high = (f"{times * row[k]:+.{digits}f}" for k in ("low", "effect", "high"))
    return f"{effect} ({low} to {high})"


@pytest.mark.parametrize("name", [n for n in notebook_names() if n < "05"])
def test_a_notebooks_parameters_name_the_presets_that_there_are(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    (line,) = (row for row in cell.source.splitlines() if row.startswith("preset: "))
    for preset in ("quick", "before", "after", "recommended"):
        assert preset in line
        assert (ROOT / "params" / f"{preset}.yaml").exists()


def test_version_stands_in_the_package_the_citation_and_the_changes():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == lmkit.__version__
    assert f"\n## {lmkit.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"Phantom {phantom.VERSION}" in (ROOT / "CHANGELOG.md").read_text()
