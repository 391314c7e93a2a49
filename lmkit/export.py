"""A finished run's network as an ONNX file, checked against torch.

python -m lmkit.export outputs/phantom/right/quick-ded8621b -o model.onnx

The graph takes `grey`, (B, 1, H, W) float32: grey levels 0 to 255 of images fitted to the run's
input, as `images.fit_image` does. It gives `maps`, (B, L, h, w), for `heatmap.decode`. What belongs
around it is in the file's metadata as JSON: input_hw, keep_aspect, stem_stride, decoder, sigma_px,
landmarks.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmkit.batches import Batch, Feed, canvas_for, grey_levels, normalised
from lmkit.data import open_for
from lmkit.evaluate import maps_drawn
from lmkit.fields import InputError
from lmkit.files import atomic_path
from lmkit.inference import activated, maps_of, members_of, points_of, window_sigma
from lmkit.runs import Run, load_run, on_device
from lmkit.samples import line_up
from lmkit.targets import target_of

NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE_PX = 0.01  # of a decoded point, source pixels, ONNX runtime against torch


class Graph(nn.Module):
    """From grey levels (B, 1, H, W) to the maps that are decoded (B, L, h, w), all float32."""

    heights: Tensor

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.config = run.config.model_copy(update={"precision": "float32", "device": "cpu"})
        # an ONNX file knows no device: a run made on a GPU is written where there is none
        self.members = nn.ModuleList(members_of(on_device(run, "cpu").model()))
        self.partner = run.about.get("partner")
        nowhere = Batch(
            torch.zeros(1, 1, *self.config.input_hw),
            torch.full((1, run.about["n_maps"], 2), torch.nan),
            torch.eye(3, dtype=torch.float64)[None],
            torch.ones(1, 2, dtype=torch.float64),
        )
        with torch.no_grad():
            sigmas = [member.sigma for member in members_of(self.members)]
            heights = [target_of(nowhere, self.config, sigma).height for sigma in sigmas]
        self.register_buffer("heights", torch.stack(heights))

    def forward(self, grey: Tensor) -> Tensor:
        images = normalised(grey)
        seen = [
            activated(
                maps_of(member, images, self.config),
                *(member, images, self.config, height, self.partner),
            )
            for member, height in zip(members_of(self.members), self.heights, strict=True)
        ]
        return torch.stack(seen).mean(0)


def export_onnx(run: Run, path: str | Path) -> dict[str, float]:
    """Write a run's network as ONNX and compare it with torch on the validation split.

    Args:
        run: finished; its dataset has to be at hand for the comparison.
        path: of the file to write; it appears once it has passed.
    Returns: images compared, map_difference (largest, shares of a target's height) and
        point_difference_px (largest, source pixels).
    Raises: InputError for an unfinished run, settings that no single graph can hold, missing
        packages, or a file that gives other points than torch.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX export: expected {', '.join(NEEDED)}, found no {missing[0]}; "
                         "pip install 'lmkit[onnx]'")  # fmt: skip
    if not run.finished:
        raise InputError(f"{run.folder}: expected a finished run, got one without metrics.json")
    config = run.config
    if config.ensemble > 1 and config.ensemble_by != "maps":
        raise InputError(
            f"ensemble_by: expected maps, for one graph gives one map per landmark, got "
            f"{config.ensemble_by}"
        )
    if config.target == "mass" and config.sigma_mm is not None:
        raise InputError("target: expected peak with sigma_mm, for a mass target's height depends "
                         "on each image's spacing, got mass")  # fmt: skip
    graph = Graph(run).eval()
    with atomic_path(Path(path)) as part:
        _write(graph, part, _metadata(run, graph))
        return _compare(graph, part, run)


def _metadata(run: Run, graph: Graph) -> dict[str, Any]:
    keys = ("input_hw", "keep_aspect", "stem_stride", "decoder", "soft_beta", "side")
    sides, landmarks = zip(*maps_drawn(run), strict=True)
    return {
        **run.config.model_dump(mode="json", include=set(keys)),
        "sigma_px": window_sigma(graph.members, run.config),
        "landmarks": landmarks,
        "sides": sides,
    }


def _write(graph: Graph, path: Path, metadata: dict[str, Any]) -> None:
    grey = torch.zeros(2, 1, *graph.config.input_hw)
    noisy = logging.getLogger("torch.onnx")  # says at length that torchvision is not there
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch about its own tree functions
            program = torch.onnx.export(
                graph,
                (grey,),
                dynamo=True,
                input_names=["grey"],
                output_names=["maps"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
                verbose=False,
            )
    finally:
        noisy.setLevel(level)
    if program is None:
        raise RuntimeError("torch.onnx: expected a program to write, got none")
    program.model.metadata_props["lmkit"] = json.dumps(metadata)
    program.save(str(path))


def _compare(graph: Graph, path: Path, run: Run) -> dict[str, float]:
    """Torch beside ONNX runtime on validation images. Raises: InputError beyond TOLERANCE_PX."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    config, dataset = graph.config, open_for(run.config)
    samples = line_up(dataset, config.side).split("val")
    feed = Feed(samples, canvas_for(dataset, config), config, torch.device("cpu"))
    sigma_px, worst = window_sigma(graph.members, config), {"map": 0.0, "point": 0.0}
    for batch in feed.in_order(8):
        grey = grey_levels(batch.images)
        with torch.inference_mode():
            here = graph(grey)
        there = torch.from_numpy(session.run(None, {"grey": grey.numpy()})[0])
        points = [points_of(maps, batch.to_input, config, sigma_px) for maps in (here, there)]
        worst["map"] = max(worst["map"], (here - there).abs().max().item())
        worst["point"] = max(worst["point"], (points[0] - points[1]).abs().max().item())
    if not worst["point"] <= TOLERANCE_PX:
        raise InputError(
            f"ONNX: expected torch's points to {TOLERANCE_PX} source px, got up to "
            f"{worst['point']:.3g} px apart"
        )
    return {
        "images": len(samples),
        "map_difference": worst["map"],
        "point_difference_px": worst["point"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lmkit.export", description=__doc__)
    parser.add_argument("run", help="a run folder")
    parser.add_argument("-o", "--output", default="model.onnx", help="file to write")
    given = parser.parse_args(arguments)
    try:
        found = export_onnx(load_run(given.run), given.output)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"{given.output}: same points as torch on {found['images']} images, to "
        f"{found['point_difference_px']:.1g} px (maps to {found['map_difference']:.1g})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
