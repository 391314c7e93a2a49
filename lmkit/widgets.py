"""Sliders and live figures around `lmkit.plots`; each has a static figure that says the same."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Mapping
from functools import partial

import ipywidgets as w
import pandas as pd
from IPython.display import display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmkit import plots
from lmkit.case_desk import Pictures
from lmkit.choices import TARGETS
from lmkit.config import RunConfig
from lmkit.data import Dataset
from lmkit.samples import Samples
from lmkit.views import augmented_view, soft_peak_view, target_view

UNWATCHED = "LMKIT_UNWATCHED"
WIDE = {"description_width": "110px"}


def png(figure: Figure) -> bytes:
    """The figure as PNG, without pyplot."""
    buffer = io.BytesIO()
    # hardly larger than at the default level, and ready sooner under a slider
    FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def live_history(epochs: int | None) -> Callable[[pd.DataFrame], None]:
    """A figure of loss, error, SDR and learning rate that grows while training goes on.

    Drawing takes half a second, which short epochs cannot spare: it waits until it has cost no
    more than a tenth of the time, so the last epochs may be missing. Where $LMKIT_UNWATCHED is set,
    as in a sweep, nothing is drawn.

    Args:
        epochs: how many there will be; None = nobody knows, as where minutes are set: the axis
            follows those that are done.
    Returns: the function to give to `fit` as `on_epoch`.
    """
    if os.environ.get(UNWATCHED):
        return lambda _table: None
    figure = Figure(figsize=(14, 3), dpi=80)
    handle, next_s = None, 0.0

    def update(table: pd.DataFrame) -> None:
        nonlocal handle, next_s
        began_s = time.perf_counter()
        if began_s < next_s:
            return
        plots.history(figure, table, epochs)
        picture = {"image/png": png(figure)}
        if handle is None:
            handle = display(picture, raw=True, display_id=True)
        else:
            handle.update(picture, raw=True)
        now_s = time.perf_counter()
        next_s = now_s + 9 * (now_s - began_s)

    return update


def slider(low: float, high: float, step: float, value: float, text: str) -> w.FloatSlider:
    """A slider with room for its name."""
    return w.FloatSlider(value, min=low, max=high, step=step, description=text, style=WIDE)


def explorer(
    draw: Callable[..., Figure],
    controls: Mapping[str, w.Widget],
    afterwards: Callable[..., None] | None = None,
) -> w.VBox:
    """Controls in two columns over a picture that `draw` makes of their values.

    Args:
        afterwards: called with the same values once the picture is on its way.
    """
    picture = w.Image(format="png", layout=w.Layout(max_width="100%"))

    def redraw(_change: object = None) -> None:
        values = {name: control.value for name, control in controls.items()}
        picture.value = png(draw(**values))
        if afterwards is not None:
            afterwards(**values)

    for control in controls.values():
        control.observe(redraw, names="value")
    redraw()
    rows = list(controls.values())
    half = (len(rows) + 1) // 2
    return w.VBox([w.HBox([w.VBox(rows[:half]), w.VBox(rows[half:])]), picture])


def augmentation_explorer(dataset: Dataset, samples: Samples, config: RunConfig) -> w.VBox:
    """Sliders for image, rotation, scale, shift, sigma and amplitude over one picture."""
    height = config.amplitude
    controls = {
        "row": w.IntSlider(0, min=0, max=len(samples) - 1, description="image", style=WIDE),
        "rotate_deg": slider(-30, 30, 0.5, 0, "rotation, °"),
        "scale": slider(0.7, 1.4, 0.01, 1, "scale, times"),
        "shift_x": slider(-0.3, 0.3, 0.01, 0, "shift x, of W"),
        "shift_y": slider(-0.3, 0.3, 0.01, 0, "shift y, of H"),
        "sigma_px": slider(0.5, 12, 0.25, config.sigma_px, "σ, heatmap px"),
        "amplitude": slider(height / 4, height * 2, height / 20, height, "amplitude"),
    }
    pictures = Pictures(dataset)

    def read_ahead(row: int, **_others: object) -> None:
        around = [r for r in (row + 1, row - 1, row + 2) if 0 <= r < len(samples)]
        here, *near = (str(samples.images[r]) for r in (row, *around))
        pictures.get(here, near)

    view = partial(augmented_view, dataset, samples, config, pictures=pictures)
    return explorer(view, controls, read_ahead)


def target_explorer(config: RunConfig) -> w.VBox:
    """Sliders for sigma, amplitude, kind of target and sub-pixel place of one landmark."""
    controls = {
        "sigma_px": slider(0.5, 10, 0.25, config.sigma_px, "σ, heatmap px"),
        "amplitude": w.FloatLogSlider(
            config.amplitude, base=10, min=0, max=3.3, description="amplitude", style=WIDE
        ),
        "target": w.ToggleButtons(options=list(TARGETS), value=config.target, description="target"),
        "offset_px": slider(-0.5, 0.5, 0.05, 0, "offset, px"),
    }
    return explorer(partial(target_view, config.heatmap_hw), controls)


def soft_peak_explorer(config: RunConfig) -> w.VBox:
    """Sliders for temperature, amplitude and a second mode of the soft peak."""
    controls = {
        "beta": w.FloatLogSlider(
            config.soft_beta, base=10, min=-1, max=3, description="β", style=WIDE
        ),
        "divide": w.Checkbox(True, description="divide by the amplitude first", indent=False),
        "amplitude": w.FloatLogSlider(
            1, base=10, min=0, max=3, description="amplitude", style=WIDE
        ),
        "share": slider(0, 1, 0.05, 0, "second mode"),
    }
    return explorer(partial(soft_peak_view, config.heatmap_hw, config.sigma_px), controls)
