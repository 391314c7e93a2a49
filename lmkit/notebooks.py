"""Run a numbered notebook by papermill and keep the executed copy in its run folder.

python -m lmkit.notebooks 03_train -p side left -f my.yaml
"""

from __future__ import annotations

import argparse
import ast
import base64
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from PIL import Image, ImageColor

from lmkit import ablation
from lmkit.config import RunConfig
from lmkit.data import open_for
from lmkit.ensembles import joined_folder
from lmkit.evaluate import summary_table
from lmkit.fields import InputError, nearest
from lmkit.files import atomic_path, plain_yaml, project_root, read_yaml, writing
from lmkit.parameters import configure, help_text
from lmkit.plots import PREDICTION, SERIES, TRUTH
from lmkit.runs import run_folder
from lmkit.sidebyside import benchmark_folder
from lmkit.stages import report_run

ABLATION = "05_ablation"
KEPT = "keep_output"  # cells with this tag keep their output in the committed notebook
COLOURS = 128  # of a kept picture
MARKS = ("#ffffff", TRUTH, PREDICTION, *SERIES)  # among them as they are


def notebook_names() -> list[str]:
    """The numbered notebooks of the project, without suffix."""
    return sorted(path.stem for path in (project_root() / "notebooks").glob("[0-9]*.ipynb"))


def execute(name: str, parameters: dict[str, Any]) -> Path:
    """Run a notebook; its log goes to standard output, the executed copy into the run folder.

    Args:
        name: without suffix, such as 03_train.
        parameters: as for papermill -p.
    Returns: the executed notebook.
    Raises: InputError for wrong parameters, before anything runs, or when a cell fails; the
        notebook with the failing cell is then kept beside the runs as <name>.failed.ipynb.
    """
    source = _source(name)
    folder = _folder(source, parameters)
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / source.name
        try:
            with writing(output):
                papermill.execute_notebook(
                    source,
                    output,
                    parameters,
                    progress_bar=False,
                    stdout_file=sys.stdout,
                    shutdown_kernel="immediate",  # all is written; one with torch leaves slowly
                )
        except (PapermillExecutionError, DeadKernelError) as error:
            kept = folder.parent / f"{folder.name}.{name}.failed.ipynb"
            raise InputError(f"{name}: {_said(error)}; {_keep(output, kept)}") from None
        _move(output, folder / source.name)
    (folder.parent / f"{folder.name}.{name}.failed.ipynb").unlink(missing_ok=True)
    return folder / source.name


def help_notebook(name: str) -> str:
    """The parameters of a notebook, as `papermill --help-notebook` lists them, and then every
    setting of a run that is not among them, all of which any notebook takes.

    Raises: InputError for a name that is no notebook's.
    """
    own = papermill.inspect_notebook(str(_source(name)))
    lines = [f"{name}: its own parameters"]
    lines += [
        f"  {key} (default {about['default']}): {about['help']}" for key, about in own.items()
    ]
    lines.append(
        "and the settings of a run, each by -p too (default: where the preset has no value)"
    )
    return "\n".join([*lines, help_text(own)])


def _source(name: str) -> Path:
    if name not in notebook_names():
        known = notebook_names()
        raise InputError(
            f"notebook: expected {' | '.join(known)}, got {name!r}{nearest(name, known)}"
        )
    return project_root() / "notebooks" / f"{name}.ipynb"


def _said(error: PapermillExecutionError | DeadKernelError) -> str:
    if isinstance(error, PapermillExecutionError):
        return f"{error.ename}: {error.evalue}"
    return "the kernel died; was it killed for lack of memory?"


def _folder(source: Path, parameters: dict[str, Any]) -> Path:
    """Where a notebook's executed copy belongs: the folder that it writes into."""
    cell = papermill.inspect_notebook(str(source))
    values = {name: ast.literal_eval(found["default"]) for name, found in cell.items()} | parameters
    if source.stem == ABLATION:
        return ablation.plan_of(values, parameters).folder
    own = {k: values.pop(k) for k in cell if k not in RunConfig.model_fields}
    asked = {k: v for k, v in values.items() if k in parameters or k == "preset"}
    config = configure(asked)
    if source.stem == "06_benchmark":
        return benchmark_folder(config, **own)
    if own.get("members"):
        return joined_folder(config, own["members"], own["by"])
    return run_folder(config, open_for(config))


def _move(source: Path, target: Path) -> None:
    """Move a file into place in one step, also from another file system."""
    with atomic_path(target) as part:
        part.write_bytes(source.read_bytes())


def _keep(source: Path, target: Path) -> str:
    """Keep a notebook that failed, and where it is; or why not, where that is why it failed."""
    try:
        _move(source, target)
    except InputError as error:
        return f"its notebook is lost: {error}"
    return f"see {target}"


def refresh(name: str) -> None:
    """Run a committed notebook with its defaults and keep only the outputs that are to be kept.

    Kept are the outputs of cells tagged `keep_output`, pictures reduced to COLOURS colours.
    """
    path = project_root() / "notebooks" / f"{name}.ipynb"
    with tempfile.TemporaryDirectory() as scratch:
        executed = Path(scratch) / path.name
        papermill.execute_notebook(path, executed, progress_bar=False, cwd=path.parent)
        done = nbformat.read(executed, as_version=4)
    notebook = nbformat.read(path, as_version=4)
    count = 0
    for cell, ran in zip(notebook.cells, done.cells, strict=True):
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = ran.outputs if KEPT in cell.metadata.get("tags", []) else []
            for output in cell.outputs:
                output.pop("metadata", None) if output.output_type == "stream" else None
                _shrink(output)
    nbformat.write(notebook, path)


def _shrink(output: Any) -> None:
    picture = output.get("data", {}).get("image/png")
    if picture is not None:
        small, stored = io.BytesIO(), io.BytesIO(base64.b64decode(picture))
        image = Image.open(stored, formats=("PNG",)).convert("RGB")
        _fewer_colours(image).save(small, "PNG", optimize=True)
        output["data"]["image/png"] = base64.b64encode(small.getvalue()).decode()
    if output.get("execution_count") is not None:
        output["execution_count"] = None


def _fewer_colours(image: Image.Image) -> Image.Image:
    """The picture in COLOURS colours: those of the marks, which are few pixels and would be lost
    among greys, and the rest chosen by Pillow.
    """
    marks = [ImageColor.getrgb(mark) for mark in MARKS]
    others = image.quantize(COLOURS - len(marks)).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for mark in marks for channel in mark] + others)
    pixels = np.asarray(image)
    nearest_to = image.quantize(palette=palette, dither=Image.Dither.NONE)
    index = np.array(nearest_to)
    for i, mark in enumerate(marks):  # Pillow's nearest is off by a few levels
        index[(pixels == mark).all(-1)] = i
    nearest_to.putdata(index.ravel())
    return nearest_to


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lmkit.notebooks", description=__doc__)
    parser.add_argument("notebook", nargs="*", help="such as 03_train; several run one by one")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"))
    parser.add_argument("-f", action="append", default=[], metavar="FILE", help="YAML parameters")
    parser.add_argument(
        "--help-notebook", action="store_true", help="what a notebook's parameters may be"
    )
    parser.add_argument("--refresh", action="store_true", help="rewrite the committed outputs")
    given = parser.parse_args(arguments)
    if not given.notebook and not given.refresh:
        parser.error(f"name a notebook: {', '.join(notebook_names())}")
    try:
        if given.help_notebook:
            print(*(help_notebook(name) for name in given.notebook), sep="\n\n")
            return 0
        if given.refresh:
            for name in given.notebook or notebook_names():
                refresh(name)
            return 0
        parameters: dict[str, Any] = {}
        for file in given.f:
            parameters |= read_yaml(Path(file))
        parameters |= {key: value_of(key, text) for key, text in given.p}
        for name in given.notebook:
            executed = execute(name, parameters)
        if ABLATION not in given.notebook:  # its preset is a size of a sweep
            _report(parameters)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"executed notebook: {executed}")
    return 0


def value_of(key: str, text: str) -> Any:
    """A parameter's value from the command line, read as YAML. Raises: InputError."""
    try:
        return plain_yaml(text, key)
    except InputError:
        raise InputError(f"{key}: expected a YAML value, got {text!r}") from None


def _report(parameters: dict[str, Any]) -> None:
    """Print the table of the run's splits, if it is finished."""
    settings = {k: v for k, v in parameters.items() if k in RunConfig.model_fields}
    run = report_run(configure(settings))
    if run is not None and run.finished:
        for split, rows in run.predictions.groupby("split", sort=False):
            print(f"\n{split}, {run.folder}")
            print(summary_table(rows).to_string())


if __name__ == "__main__":
    sys.exit(main())
