"""The runs of one design of a grid: each strategy's settings over the base, per side and seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmkit.config import RunConfig
from lmkit.data import Dataset, open_for, place_of
from lmkit.fields import InputError
from lmkit.grid import Budget, Design, Grid, Settings
from lmkit.parameters import configure, settings_hash
from lmkit.runs import run_folder
from lmkit.samples import run_side

PLACES = ("side", "preset", "run", "outputs")  # settings that say where, not what
JOINER = " + "  # between the two strategies of a pair


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    Attributes:
        design: add or remove.
        strategy: its name, that of a pair, or the base preset's for the base itself.
        seed: of the run.
        side: left, right, both or joint; all where there are no sides.
        config: all settings.
        preset: the base.
        asked: the settings over the preset, as papermill gets them.
        folder: where the run is kept.
        fingerprint: of the dataset it is planned on.
    """

    design: str
    strategy: str
    seed: int
    side: str
    config: RunConfig
    preset: str
    asked: dict[str, Any]
    folder: Path
    fingerprint: str

    @property
    def label(self) -> str:
        """design, strategy, side and seed, to read."""
        return f"{self.design} {self.strategy}, {self.side}, seed {self.seed}"


def recipes_of(
    grid: Grid,
    size: str,
    name: str,
    dataset: Dataset,
    given: Settings,
    left_out: dict[tuple[str, str], str],
) -> dict[str, Settings]:
    """Strategy or pair -> settings over the base; what cannot be run goes into `left_out`, and so
    does what `given`, the settings asked for of every run, has put into the base already."""
    design, recipes = grid.sizes[size].designs[name], {}  # type: ignore[index]
    base = {"preset": design.base} | design.settings | _what(given)
    wholes = {each: grid.whole(size, name, each) for each in grid.names(size, name)}
    configs = {each: _configured(base | whole) for each, whole in wholes.items()}
    configs[""] = _configured(base)  # what a strategy goes over that goes over none
    for strategy, whole in wholes.items():
        asked = given.keys() & grid.settings(size, name, strategy).keys()
        config, under = configs[strategy], configs[grid.over(name, strategy)]
        in_already = config is not None and config == under
        if why := _why_not(grid, size, name, strategy, dataset):
            left_out[name, strategy] = why
        elif in_already and asked:
            own = ", ".join(grid.settings(size, name, strategy))
            left_out[name, strategy] = f"asked for of every run: {own}"
        elif not (in_already and grid.strategies[strategy].registered):
            recipes[strategy] = whole  # one that changes nothing is refused by `Maker`
    for first, second in design.pairs:
        if first in recipes and second in recipes:
            mine, other = recipes[first], recipes[second]
            clash = [key for key in mine if other.get(key, mine[key]) != mine[key]]
            if clash:
                raise InputError(
                    f"pairs: expected strategies that go together, got {first} and {second}, which "
                    f"set {clash[0]} differently"
                )
            recipes[f"{first}{JOINER}{second}"] = recipes[first] | recipes[second]
    return recipes


def _what(given: Settings) -> Settings:
    """Of settings asked for those that say what is trained, and not where."""
    return {key: value for key, value in given.items() if key not in PLACES}


def _why_not(grid: Grid, size: str, name: str, strategy: str, dataset: Dataset) -> str:
    """Why a strategy cannot be run on a dataset; empty where it can."""
    settings, under = grid.whole(size, name, strategy), grid.over(name, strategy)
    if grid.strategies[strategy].not_run:
        return grid.strategies[strategy].not_run
    if (settings.get("side") or settings.get("pool_sides") is not None) and not dataset.sides:
        return f"{dataset.name} has no sides"
    if under and _why_not(grid, size, name, under, dataset):
        return f"{under}, which it goes over, is not run"
    return ""


def _configured(settings: Settings) -> RunConfig | None:
    """What settings make of a run; None for wrong ones, of which `Maker` says whose they are."""
    try:
        return configure(settings)
    except InputError:
        return None


@dataclass(frozen=True)
class Maker:
    """Makes the planned runs of one design; `others` are datasets of strategies with their own."""

    grid: Grid
    name: str
    design: Design
    data: Settings
    given: Settings
    outputs: Path
    dataset: Dataset
    sides: tuple[str, ...]
    others: dict[str, Dataset] = field(default_factory=dict)

    def runs(
        self, recipes: Mapping[str, Settings], seeds: Sequence[int], budget: Budget
    ) -> list[Planned]:
        """Base and strategies with a budget, all seeds and sides; a seed is whole before the next,
        so that an interrupted sweep has something to compare."""
        base = Path(self.design.base).stem
        if base in recipes:
            raise InputError(f"strategies: expected other names than the base's, got {base}")
        first = self.data | self.design.settings | budget.settings
        first |= _what(self.given)
        found: list[Planned] = []
        for seed in seeds:
            for strategy, settings in {base: {}, **recipes}.items():
                found += self._of(strategy, first | settings | {"seed": seed}, budget)
        self._check(found, base)
        return found

    def _of(self, strategy: str, settings: Settings, budget: Budget) -> Iterator[Planned]:
        for side in (settings["side"],) if "side" in settings else self.sides:
            asked = settings | {"side": side, "outputs": str(self.outputs)}
            if asked.get("dataset", "phantom") != "phantom":  # a run starts in another folder
                asked["dataset"] = str(place_of(asked["dataset"]).resolve())
            try:
                config = configure({"preset": self.design.base} | asked)
            except InputError as error:
                raise InputError(f"{self.name} {strategy}: {error}") from None
            plain = strategy.replace(JOINER, "-and-")
            name = f"{self.name}-{plain}-s{config.seed}-{settings_hash(config)}"
            config = config.model_copy(update={"run": name})
            dataset = self._dataset(config)
            yield Planned(
                *(self.name, strategy, config.seed, run_side(dataset, side), config),
                self.design.base,
                asked | {"run": name},
                run_folder(config, dataset),
                dataset.fingerprint,
            )

    def _dataset(self, config: RunConfig) -> Dataset:
        """The sweep's dataset, or that of a strategy which names another, such as mended labels."""
        if not self._is_other(config):
            return self.dataset
        if config.dataset not in self.others:
            self.others[config.dataset] = open_for(config)
        return self.others[config.dataset]

    def _is_other(self, config: RunConfig) -> bool:
        """Whether the data of a run's settings are others than the sweep's."""
        folder = self.dataset.folder
        if config.dataset == "phantom" or folder is None:
            return (config.dataset == "phantom") != (folder is None)
        path = Path(config.dataset)
        return (path if path.is_dir() else path.parent) != folder.resolve()

    def _check(self, runs: Sequence[Planned], base: str) -> None:
        """Refuse a strategy that changes nothing in the base, or in what it goes over."""

        def what(run: Planned) -> tuple[str, str, str]:
            return run.side, settings_hash(run.config), run.fingerprint

        taken = {(run.strategy, what(run)) for run in runs}
        for run in runs:
            below = (
                [] if run.strategy == base else [*self.grid.below(self.name, run.strategy), base]
            )
            for other in below:
                if (other, what(run)) in taken:
                    raise InputError(
                        f"{self.name} {run.strategy}: expected settings that differ from "
                        f"{other}'s, got the same; leave it out of this design"
                    )
