"""The ablation's grid, params/ablation.yaml: what is asked, of which recipes, at what size.

A grid holds the claims to test, the strategies that test them, and sizes: which strategies, seeds,
sides and budget. `lmkit.ablation` makes runs of it.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lmkit.fields import nearest

Effect = Literal["sdr_2mm", "median_mm", "failure_rate"]
EFFECTS: tuple[Effect, ...] = ("sdr_2mm", "median_mm", "failure_rate")  # what is compared
HIGHER_IS_BETTER = {"sdr_2mm": True, "median_mm": False, "failure_rate": False}
Settings = dict[str, Any]
DESIGNS = ("add", "remove")  # one thing more than the base has, one thing less


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Strategy(_Strict):
    """One thing to try.

    Attributes:
        says: what its author promises, as text.
        claim: number of the document's claim that it tests, or none.
        group: for reading: loss, target, data, ...
        add: settings that switch it on, over `before`; none = not tried that way.
        over: another strategy that `add` comes on top of, and that it is compared with, so that one
            thing is changed at a time; empty = the base itself.
        remove: settings that take it out of `recommended`, or that put it in place there, which
            is what settings that are those of `add` do; none = not tried that way.
        not_run: why it cannot be run here; the report then says so.
        registered: from a table of `lmkit.choices`, see `Grid.every`, not from the file; left out
            where the base has it.
    """

    says: str
    group: str
    claim: int | None = None
    add: Settings | None = None
    over: str = ""
    remove: Settings | None = None
    not_run: str = ""
    registered: bool = False

    @model_validator(mode="after")
    def _does_something(self) -> Strategy:
        if not (self.add or self.remove or self.not_run):
            raise ValueError("expected settings under add: or remove:, or a reason under not_run:")
        if self.over and not self.add:
            raise ValueError(
                f"over: expected settings under add: to put over {self.over}, got none"
            )
        return self


class Budget(_Strict):
    """How long each run trains: epochs, or minutes of training by the clock."""

    epochs: int | None = Field(None, ge=1)
    minutes: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _one_of_them(self) -> Budget:
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("expected either epochs or minutes")
        return self

    @property
    def settings(self) -> Settings:
        """As settings of a run."""
        if self.minutes is None:
            return {"epochs": self.epochs, "max_minutes": None}
        return {"epochs": 1000, "max_minutes": self.minutes}


class Design(_Strict):
    """One base recipe and what is changed in it.

    Attributes:
        base: a preset.
        stands_for: what the base is a cheaper stand-in for; said wherever its figures are.
        settings: over the preset, for base and strategies alike.
        strategies: names, or all that have settings for this design.
        pairs: of strategies, tried together, for interactions.
        instead: strategy -> settings over its own, where this base needs others for the same thing.
    """

    base: str
    budget: Budget
    stands_for: str = ""
    settings: Settings = {}
    strategies: list[str] | Literal["all"] = "all"
    pairs: list[tuple[str, str]] = []
    instead: dict[str, Settings] = {}


class Screen(_Strict):
    """A cheap first look: every strategy with few epochs and seeds, then those that can still win.

    Attributes:
        seeds: of the first look.
        spare: a strategy is dropped when even the upper end of its interval on SDR at 2 mm lies
            this far below the base, a share.
        designs: that are looked at first; a base that has hardly begun after the first look's
            budget cannot be judged by it.
    """

    budget: Budget
    designs: list[Literal["add", "remove"]] = ["add", "remove"]
    seeds: list[int] = Field([0], min_length=1)
    spare: float = Field(0.02, ge=0, le=1)


class Size(_Strict):
    """How much is run: designs add (one thing more) and remove (one thing less)."""

    about: str
    designs: dict[Literal["add", "remove"], Design] = Field(min_length=1)
    sides: list[Literal["left", "right"]] = Field(["left", "right"], min_length=1)
    seeds: list[int] = Field([0, 1, 2], min_length=1)
    data: Settings = {}
    screen: Screen | None = None


class Grid(_Strict):
    """All of params/ablation.yaml.

    Attributes:
        claims: number -> the document's words.
        matters: figure -> smallest difference worth knowing of (share or mm), fixed beforehand.
        every: settings of which every registered value that no strategy names is one of its own, so
            that a new loss is tried as soon as it is there.
    """

    claims: dict[int, str]
    strategies: dict[str, Strategy]
    matters: dict[Effect, float]
    sizes: dict[str, Size]
    every: list[Literal["loss", "decoder"]] = []

    @model_validator(mode="after")
    def _names_match(self) -> Grid:
        missing = [name for name in EFFECTS if not self.matters.get(name, 0) > 0]
        if missing:
            raise ValueError(f"matters: expected a number > 0 for {', '.join(missing)}, got none")
        for name, strategy in self.strategies.items():
            if not re.fullmatch(r"[A-Za-z]\w{0,39}", name):
                raise ValueError(f"strategies: expected letters, digits and _, got {name!r}")
            if strategy.claim is not None and strategy.claim not in self.claims:
                raise ValueError(
                    f"strategies.{name}.claim: expected one of claims:, got {strategy.claim}"
                )
            self._check_below(name)
        for size, given in self.sizes.items():
            for which, design in given.designs.items():
                self._check_names(f"sizes.{size}.designs.{which}", which, design)
        untested = self.claims.keys() - {s.claim for s in self.strategies.values()}
        if untested:
            raise ValueError(f"claims: expected a strategy for each, got none for {min(untested)}")
        return self

    def _check_below(self, name: str) -> None:
        """What a strategy goes over can be switched on itself, and is not over it in turn."""
        seen, known = [name], [key for key, one in self.strategies.items() if one.add]
        while under := self.strategies[seen[-1]].over:
            if under not in known:
                raise ValueError(
                    f"strategies.{seen[-1]}.over: expected a strategy that has add:, got {under!r}"
                    f"{nearest(under, known)}"
                )
            if under in seen:
                raise ValueError(
                    f"strategies.{name}.over: expected no circle, got {' over '.join(seen)} over "
                    f"{under}"
                )
            seen.append(under)

    def _check_names(self, where: str, which: str, design: Design) -> None:
        named = [] if design.strategies == "all" else design.strategies
        paired = (name for pair in design.pairs for name in pair)
        for name in [*named, *paired, *design.instead]:
            if name not in self.strategies:
                raise ValueError(
                    f"{where}: unknown strategy {name!r}{nearest(name, self.strategies)}"
                )
            if not getattr(self.strategies[name], which):
                raise ValueError(
                    f"{where}: strategy {name} has no settings under {which}:; add them or leave "
                    "it out"
                )
            under = self.over(which, name)
            if under and named and under not in named:
                raise ValueError(
                    f"{where}: strategy {name} goes over {under}, which is not among the "
                    "strategies; name it, too"
                )
            if under and any(name in pair for pair in design.pairs):
                raise ValueError(
                    f"{where}.pairs: expected strategies over the base itself, got {name}, which "
                    f"goes over {under}"
                )

    def names(self, size: str, which: str) -> list[str]:
        """The strategies of a size's design, in the order of the grid."""
        asked = self.sizes[size].designs[which].strategies  # type: ignore[index]
        return [
            name
            for name, strategy in self.strategies.items()
            if getattr(strategy, which) and (asked == "all" or name in asked)
        ]

    def settings(self, size: str, which: str, name: str) -> Settings:
        """What a strategy sets in a size's design; {} where it sets nothing there."""
        instead = self.sizes[size].designs[which].instead.get(name, {})  # type: ignore[index]
        strategy = self.strategies.get(name)
        return ((getattr(strategy, which) if strategy else None) or {}) | instead

    def over(self, which: str, name: str) -> str:
        """The strategy that one goes over in a design, or nothing."""
        strategy = self.strategies.get(name)
        return strategy.over if strategy and which == "add" else ""

    def below(self, which: str, name: str) -> list[str]:
        """All that a strategy goes over in a design, the next first."""
        under = self.over(which, name)
        return [under, *self.below(which, under)] if under else []

    def whole(self, size: str, which: str, name: str) -> Settings:
        """All that a strategy sets over the base: what it goes over, and its own."""
        found: Settings = {}
        for part in reversed([name, *self.below(which, name)]):
            found |= self.settings(size, which, part)
        return found

    def called(self, which: str, name: str) -> str:
        """What a strategy is in a design, to read: in `remove`, `without` or `with` its name."""
        strategy = self.strategies.get(name)
        if which != "remove" or strategy is None:
            return name
        put_in = strategy.add or {}
        taken = strategy.remove or {}
        same = any(key in put_in and put_in[key] == value for key, value in taken.items())
        return f"{'with' if same else 'without'} {name}"
