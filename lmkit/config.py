"""Every setting of a run in one frozen, validated object.

A setting is a field of `RunConfig`: name, allowed values, unit, default, one line of help. The
names it may take are in `lmkit.choices`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lmkit.choices import (
    AUGMENTS,
    DECODERS,
    DEVICES,
    ENSEMBLE_BY,
    LOSS_UNITS,
    LOSSES,
    MODELS,
    MONITORS,
    PEAK_DECODERS,
    PRECISIONS,
    SCHEDULERS,
    SIDES,
    TARGETS,
    TTA,
)
from lmkit.fields import (
    Float,
    FloatPair,
    FloatTriple,
    InputError,
    Int,
    IntPair,
    Ints,
    IntTriple,
    Optional,
    Scales,
    Schedule,
    Spacing,
    Text,
    any_of,
    nearest,
    one_line,
    one_of,
)


def _set(default: object, help_: str, unit: str = "", **limits: Any) -> Any:
    return Field(default, description=help_, json_schema_extra={"unit": unit}, **limits)


class RunConfig(BaseModel):
    """The settings of one run. Frozen; an unknown key or a value out of range raises."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    # what, and where to
    side: Annotated[str, one_of(SIDES)] = _set("right", "patient's side to train for")
    dataset: Text = _set("phantom", "phantom, or a dataset folder")
    preset: Text = _set("quick", "a file in params/")
    run: Text = _set("", "name of the run folder; empty: preset and a hash of the settings")
    outputs: Text = _set("outputs", "where run folders go; relative to the project folder")
    # data
    phantom_patients: IntTriple = _set(
        (240, 40, 85), "phantom only: patients to train, validate and test on"
    )
    phantom_seed: Int = _set(0, "phantom only: another seed draws other patients", ge=0)
    spacing_mm: Spacing = _set(None, "x, y spacing for images that state none", "mm/px")
    split_fractions: FloatTriple = _set(
        (0.7, 0.1, 0.2), "train, val, test shares of patients where the dataset states no split"
    )
    split_seed: Int = _set(0, "seed of that split", ge=0)
    pool_sides: bool = _set(
        False, "left or right alone: train on the other side's images too, mirrored"
    )
    # input and model
    input_hw: IntPair = _set((192, 352), "network input, height and width", "px")
    keep_aspect: bool = _set(True, "pad instead of squashing the image")
    model: Annotated[str, one_of(MODELS)] = _set("unet", "architecture")
    widths: Ints = _set((16, 32, 64, 96, 128), "channels per level", min_length=1)
    stem_stride: Int = _set(2, "input pixels per heatmap pixel", "px", ge=1, le=8)
    coarse_stride: Int = _set(
        4,
        "cascade: heatmap pixels per pixel of the first network's maps",
        "heatmap px",
        ge=1,
        le=16,
    )
    crop_px: Int = _set(32, "cascade: side of the second network's window", "heatmap px", ge=4)
    fine_widths: Ints = _set(
        (32, 64, 96), "cascade: channels per level of the second network", min_length=1
    )
    dropout: Float = _set(
        0.0, "share of the deepest level's channels dropped while training; 0 = off", ge=0, lt=1
    )
    # target and loss
    target: Annotated[str, one_of(TARGETS)] = _set("peak", "how a landmark becomes a map")
    sigma_px: Float = _set(2.0, "width of the Gaussian", "heatmap px", gt=0, le=100)
    sigma_mm: Optional = _set(
        None, "width of the Gaussian by each axis' spacing; instead of sigma_px", "mm"
    )
    sigma_schedule: Schedule = _set(
        None, "sigma from the first to the last epoch, such as 3→5; constant = off", "unit of sigma"
    )
    hold_peak: bool = _set(False, "mass targets: keep the height while sigma changes")
    learn_sigma: bool = _set(False, "sigma per landmark is learned (peak targets, mse)")
    sigma_penalty: Float = _set(0.05, "learn_sigma: weight of (sigma / sigma_px) squared", ge=0)
    amplitude: Float = _set(1.0, "height of the target, see target", gt=0, le=1e6)
    loss: Annotated[str, one_of(LOSSES)] = _set("mse", "loss")
    loss_units: Annotated[str, one_of(LOSS_UNITS)] = _set("raw", "units of the loss")
    mse_weight: Float = _set(0.7, "combined: weight of the MSE", ge=0)
    peak_weight: Float = _set(0.3, "combined: weight of the distance of the peaks", ge=0)
    peak_decoder: Annotated[str, one_of(PEAK_DECODERS)] = _set("argmax", "combined: map to peak")
    soft_beta: Float = _set(25.0, "softmax of soft peaks and softargmax", "1 / peak", gt=0, le=1e4)
    pixel_weight: Float = _set(10.0, "weighted_mse: the peak counts 1 + this times", "times", ge=0)
    wing_omega: Float = _set(10.0, "wing: from here on linear", "as loss_units", gt=0)
    wing_epsilon: Float = _set(2.0, "wing: curvature at 0", "as loss_units", gt=0)
    js_weight: Float = _set(1.0, "dsnt_js: weight of the divergence", ge=0)
    star_restriction: Float = _set(1.0, "star: weight of the predicted variance", ge=0)
    decoder: Annotated[str, one_of(DECODERS)] = _set("dark", "map to point")
    # augmentation
    augment: Annotated[str, any_of(AUGMENTS)] = _set("affine", "augmentation, joined by +")
    rotate_deg: Float = _set(3.0, "rotation, uniform in ±", "degrees", ge=0, le=180)
    scale_range: FloatPair = _set((0.95, 1.05), "scale, uniform in the range", "times")
    translate_frac: Float = _set(0.03, "shift, uniform in ±", "of the input size", ge=0, le=1)
    gain_range: FloatPair = _set((0.8, 1.2), "intensity: factor, uniform in the range", "times")
    gamma_range: FloatPair = _set((0.7, 1.4), "intensity: exponent, in the range")
    noise_sd: Float = _set(8.0, "intensity: noise, up to this", "grey levels", ge=0, le=255)
    blur_px: Float = _set(1.0, "intensity: blur, up to this", "px", ge=0, le=20)
    elastic_px: Float = _set(2.0, "elastic: displacement of the knots, SD", "px", ge=0)
    elastic_cells: IntPair = _set((5, 8), "elastic: rows and columns of knots", "knots")
    cutout_holes: Int = _set(2, "cutout: rectangles per image", ge=1, le=100)
    cutout_frac: Float = _set(0.2, "cutout: largest side", "of the input size", ge=0, le=1)
    scales: Scales = _set(
        (1.0,), "input sizes to train at, one per batch; evaluated at 1", "times", min_length=1
    )
    # optimisation
    epochs: Int = _set(20, "epochs", "epochs", ge=1, le=100_000)
    max_minutes: Optional = _set(
        None, "stop, and end the schedules, within this time, each model", "minutes"
    )
    early_stop: Int = _set(
        0, "stop when the monitor has not improved for these; 0 = off", "epochs", ge=0
    )
    batch_size: Int = _set(8, "images per step", "images", ge=1, le=4096)
    lr: Float = _set(1e-3, "learning rate of Adam", gt=0, le=10)
    scheduler: Annotated[str, one_of(SCHEDULERS)] = _set("cosine", "learning rate over time")
    lr_factor: Float = _set(0.5, "plateau: multiply lr by this", gt=0, lt=1)
    lr_patience: Int = _set(5, "plateau: wait this long", "epochs", ge=0)
    monitor: Annotated[str, one_of(MONITORS)] = _set("val_mre_mm", "plateau: what to watch")
    clip_norm: Optional = _set(None, "clip the gradient to this L2 norm; none = off")
    warmup_epochs: Float = _set(0.0, "learning rate rises from 0 over these", "epochs", ge=0)
    ema_decay: Float = _set(0.0, "average of the weights over steps; 0 = off", ge=0, lt=1)
    ensemble: Int = _set(1, "models, seed and up, trained and averaged", "models", ge=1, le=100)
    ensemble_by: Annotated[str, one_of(ENSEMBLE_BY)] = _set("maps", "what is averaged")
    tta: Annotated[str, one_of(TTA)] = _set("none", "test-time augmentation")
    # machine
    seed: Int = _set(0, "weights, order and augmentation", ge=0, lt=2**31)
    device: Annotated[str, one_of(DEVICES)] = _set("auto", "device")
    precision: Annotated[str, one_of(PRECISIONS)] = _set("auto", "arithmetic of the network")

    @model_validator(mode="after")
    def _fits_together(self) -> RunConfig:
        self._check_sizes()
        self._check_windows()
        self._check_augmentation()
        self._check_training()
        if min(self.split_fractions) < 0 or not 0.999 < sum(self.split_fractions) < 1.001:
            raise ValueError(
                f"split_fractions: expected shares that add up to 1, got {self.split_fractions}"
            )
        if min(self.phantom_patients) < 0:
            raise ValueError(f"phantom_patients: expected all >= 0, got {self.phantom_patients}")
        return self

    def _check_sizes(self) -> None:
        if max(self.scales) > 16:
            raise ValueError(f"scales: expected at most 16 times, got {max(self.scales):g}")
        if max(self.input_hw) > 65_536:
            raise ValueError(f"input_hw: expected at most 65536, got {self.input_hw}")
        if min(self.widths) < 1:
            raise ValueError(f"widths: expected all >= 1, got {self.widths}")
        step = self.step_px
        if min(self.input_hw) < step or any(size % step for size in self.input_hw):
            raise ValueError(
                f"input_hw: expected multiples of {step} (stem_stride, times coarse_stride for a "
                f"cascade, times 2 per level of widths), got {self.input_hw}"
            )

    def _check_augmentation(self) -> None:
        for name in ("scale_range", "gain_range", "gamma_range"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 10:
                raise ValueError(f"{name}: expected 0 < low <= high <= 10, got {(low, high)}")
        if self.tta == "mirror" and "mirror" not in self.augment:
            raise ValueError(
                "tta: expected none, for the network has seen no mirrored image, got mirror; "
                f"add it to augment, now {self.augment}"
            )
        if min(self.elastic_cells) < 2:
            raise ValueError(f"elastic_cells: expected all >= 2, got {self.elastic_cells}")
        cell = min(n / (k - 1) for n, k in zip(self.input_hw, self.elastic_cells, strict=True))
        if "elastic" in self.augment and self.elastic_px > cell / 10:
            raise ValueError(
                f"elastic_px: expected at most {cell / 10:.1f}, a tenth of a cell, so that the "
                f"picture does not fold, got {self.elastic_px:g}"
            )

    def _check_training(self) -> None:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: expected fewer than epochs, {self.epochs}, got "
                f"{self.warmup_epochs:g}"
            )
        if self.learn_sigma and (
            self.target != "peak" or self.loss != "mse" or self.sigma_schedule or self.sigma_mm
        ):
            raise ValueError(
                "learn_sigma: expected target peak, loss mse, no sigma_schedule and no sigma_mm, "
                f"got {self.target}, {self.loss}, {self.sigma_schedule} and {self.sigma_mm}"
            )

    def _check_windows(self) -> None:
        if self.model != "cascade":
            return
        if min(self.fine_widths) < 1:
            raise ValueError(f"fine_widths: expected all >= 1, got {self.fine_widths}")
        unit = math.lcm(self.coarse_stride, 2 ** (len(self.fine_widths) - 1))
        room = min(min(self.sized(scale)) for scale in self.scales) // self.stem_stride
        if self.crop_px % unit or self.crop_px > room:
            raise ValueError(
                f"crop_px: expected a multiple of {unit} (of coarse_stride and of 2 per level of "
                f"fine_widths) up to the heatmap's {room}, got {self.crop_px}"
            )

    @property
    def step_px(self) -> int:
        """Input pixels per pixel of the network's deepest level."""
        first = self.coarse_stride if self.model == "cascade" else 1
        return self.stem_stride * first * 2 ** (len(self.widths) - 1)

    def sized(self, scale: float) -> tuple[int, int]:
        """(H, W) of the input at a scale of `scales`, rounded up to what the network can take."""
        step = self.step_px
        height, width = (step * math.ceil(round(size * scale / step, 6)) for size in self.input_hw)
        return height, width

    def sigma_at(self, epoch: int, epochs: int | None = None) -> float:
        """Sigma of targets in an epoch, counted from 0: heatmap pixels, or mm with sigma_mm.

        Args:
            epochs: in all; those of the settings when not given.
        """
        first, last = self.sigma_schedule or (self.sigma_mm or self.sigma_px,) * 2
        return first + (last - first) * min(epoch / max((epochs or self.epochs) - 1, 1), 1.0)

    @property
    def heatmap_hw(self) -> tuple[int, int]:
        """(H, W) of the heatmaps, heatmap pixels."""
        return self.input_hw[0] // self.stem_stride, self.input_hw[1] // self.stem_stride


def make_config(settings: Mapping[str, object]) -> RunConfig:
    """A RunConfig from plain values, with errors of one line.

    It does not read the preset's file; `lmkit.parameters.configure` does.

    Raises: InputError naming the key, what was expected and what came.
    """
    for key in settings:
        if key not in RunConfig.model_fields:
            known = RunConfig.model_fields
            hint = nearest(key, known) or "; the notebook's first output lists the known ones"
            raise InputError(f"unknown parameter {key}{hint}")
    try:
        return RunConfig(**settings)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = (one_line(e, RunConfig.model_fields) for e in error.errors())
        raise InputError("; ".join(wrong)) from None
