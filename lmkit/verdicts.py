"""The verdict on each strategy, by a rule that was fixed before anything was run."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from lmkit.contrasts import Spread, compare, interaction, seed_spread
from lmkit.grid import EFFECTS, HIGHER_IS_BETTER
from lmkit.stats import holm
from lmkit.tables import NOTHING

TOGETHER = "together"
MIN_SEEDS, MIN_PATIENTS = 2, 10
HELPS, HURTS, TOO_FEW = "helps", "hurts", "not enough runs"
UNCHANGED = "changed nothing"
UNITS = {"sdr_2mm": "points", "median_mm": "mm", "failure_rate": "points"}
TITLES = {"sdr_2mm": "SDR at 2 mm", "median_mm": "median error", "failure_rate": "failures > 4 mm"}

RULE = """\
1. A strategy is compared with its base on the same validation patients, seeds averaged, for SDR at
   2 mm, the median error and the failure rate; for the left, the right, and both together.
2. The interval (95 %) and the p value count patients and seeds: patients are resampled whole, and
   the spread from seed to seed is added. It is taken as about equal in all recipes: where the
   base's is three times the others', about twice as many verdicts are false. The p values of one
   design, one side and one figure are adjusted for all strategies looked at (Holm).
3. changed nothing: all predictions are the base's, to the last digit. That is no test and counts in
   no adjustment; strategies whose predictions are each other's count once.
4. helps, hurts: the adjusted p is at most 0.05.
5. no effect larger than x: not so, and no end of the interval is further from 0 than what matters
   (fixed in the grid); x is the end further away. Intervals are of one strategy each, not adjusted.
6. not enough runs: everything else; also fewer than two seeds or ten patients. Beside it stands the
   smallest effect that such a sweep would have seen four times in five.
Strategies, seeds and what matters are chosen before the first run. Seeds that are added because a
p value is nearly small enough make it mean nothing: a larger sweep is a new one, under a new name.
A verdict is on the change that was made: where an ingredient was taken out and that hurts, the
ingredient helps."""

Recipes = Mapping[str, Sequence[pd.DataFrame]]
COLUMNS = (  # of `judge`, beside strategy and figure
    *("effect", "low", "high", "p", "p_holm", "detectable", "verdict", "bound", "base", "value"),
    *("patients", "seeds", "patients_sd", "seeds_sd", "same_as"),
)


@dataclass(frozen=True)
class Family:
    """What is compared together: one base, one side.

    Attributes:
        base: name of the base among `recipes`.
        recipes: name -> predictions of the split compared on, a table per seed.
        pairs: (first, second, both) names, for interactions.
        over: name -> what it is compared with where that is another recipe than the base.
    """

    base: str
    recipes: Recipes
    pairs: Sequence[tuple[str, str, str]] = field(default_factory=list)
    over: Mapping[str, str] = field(default_factory=dict)

    @property
    def compared(self) -> dict[str, str]:
        """Recipe -> what it is compared with, of those where both are there."""
        named = {n: self.over.get(n, self.base) for n in self.recipes if n != self.base}
        return {name: under for name, under in named.items() if under in self.recipes}


def of_side(recipes: Recipes, side: str) -> dict[str, list[pd.DataFrame]]:
    """The rows of one side, or all of them for `together`; recipes without any are left out."""
    if side == TOGETHER:
        return {name: list(tables) for name, tables in recipes.items()}
    kept = {n: [t[t["side"] == side] for t in tables] for n, tables in recipes.items()}
    return {name: tables for name, tables in kept.items() if all(len(t) for t in tables)}


def judge(
    family: Family, matters: Mapping[str, float], level: float = 0.95, **settings: Any
) -> pd.DataFrame:
    """Verdicts on all strategies of a family.

    Args:
        family: base and strategies, on one side or together; one without what it is compared with
            is left out.
        matters: figure -> smallest difference worth knowing of, a share or mm.
        level: of intervals; the adjusted p is held against 1 - level.
        settings: of `compare_paired`, such as resamples and permutations.
    Returns: a row per strategy and figure: strategy, figure, base, value, effect, low, high, p,
        p_holm, detectable, verdict, bound (x of `no effect larger than x`), patients, seeds,
        patients_sd, seeds_sd, same_as (what has the very same predictions: what it is compared
        with, or a strategy that is compared with the same; or empty); shares as shares, mm as mm.
        NaN where nothing can be said.
    """
    first_of = alike(family)
    compared, same_as = family.compared, _same_tests(family, first_of)
    tests = max(len(compared.keys() - same_as.keys()), 1)
    spread = _spread(family, first_of)
    rows = []
    for name, under in compared.items():
        variances = (spread.own[under], spread.own[name])
        a, b = family.recipes[under], family.recipes[name]
        found = compare(a, b, variances, spread.df, tests, level=level, **settings)
        about = {"strategy": name, "same_as": same_as.get(name, "")}
        rows += [about | {"figure": f} | _row(found[f]) for f in EFFECTS]
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    untested = table["same_as"] == table["strategy"].map(compared)
    table.loc[untested, ["low", "high", "p", "detectable"]] = math.nan
    for _, part in table.groupby("figure"):
        _adjust(table, part)
    verdicts = [_verdict(row, matters, 1 - level) for row in table.to_dict("records")]
    table["verdict"], table["bound"] = zip(*verdicts, strict=True)
    table.loc[untested, "verdict"] = UNCHANGED
    return table


def _same_tests(family: Family, first_of: Mapping[str, str]) -> dict[str, str]:
    """Recipe -> what it is compared with, where that has its predictions; or an earlier one whose
    comparison is of the same two sets of predictions.

    Args:
        first_of: of `alike`.
    """
    seen: dict[tuple[str, str], str] = {}
    found = {}
    for name, under in family.compared.items():
        two = first_of.get(under, under), first_of.get(name, name)
        first = under if two[0] == two[1] else seen.setdefault(two, name)
        if first != name:
            found[name] = first
    return found


def _spread(family: Family, same_as: Mapping[str, str]) -> Spread:
    """The spread of seeds, from each set of predictions once; for all recipes of a family."""
    once = {name: tables for name, tables in family.recipes.items() if name not in same_as}
    spread = seed_spread(once)
    own = {name: spread.own[same_as.get(name, name)] for name in family.recipes}
    return replace(spread, own=own)


def _adjust(table: pd.DataFrame, part: pd.DataFrame) -> None:
    """Put Holm's p into the rows of one figure; predictions that are alike count once."""
    tested = part.index[part["p"].notna() & (part["same_as"] == "")]
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy())
    known = table.loc[tested].set_index("strategy")["p_holm"]
    again = part.index[part["p"].notna() & (part["same_as"] != "")]
    table.loc[again, "p_holm"] = part.loc[again, "same_as"].map(known)


def alike(family: Family) -> dict[str, str]:
    """Recipe -> an earlier one, the base first, whose predictions it has to the last digit."""
    seen: dict[bytes, str] = {}
    found = {}
    for name in sorted(family.recipes, key=lambda name: name != family.base):
        digest = hashlib.blake2b()
        for table in family.recipes[name]:
            keys = table[["image", "side", "landmark"]]
            digest.update(pd.util.hash_pandas_object(keys, index=False).to_numpy().tobytes())
            digest.update(table["error_mm"].to_numpy(float).tobytes())
            digest.update(b"next seed")
        first = seen.setdefault(digest.digest(), name)
        if first != name:
            found[name] = first
    return found


def judge_pairs(family: Family, spread: Spread | None = None) -> pd.DataFrame:
    """What pairs give beyond the sum of their parts.

    Returns: a row per pair and figure: pair, figure, effect, low, high, p, p_holm, detectable; a
        pair of fewer than two seeds or ten patients is left out.
    """
    spread = spread or _spread(family, alike(family))
    rows = []
    for first, second, both in family.pairs:
        names = (family.base, first, second, both)
        recipes = [family.recipes.get(name, []) for name in names]
        if min(len(tables) for tables in recipes) >= MIN_SEEDS:
            variances = [spread.own[name] for name in names]
            found = interaction(recipes, variances, spread.df, max(len(family.pairs), 1))
            if found[EFFECTS[0]]["n_patients"] < MIN_PATIENTS:
                continue
            for figure in EFFECTS:
                low, high = found[figure]["interval"]
                row = {k: found[figure][k] for k in ("effect", "p", "detectable")}
                rows.append({"pair": both, "figure": figure, "low": low, "high": high} | row)
    table = pd.DataFrame(rows)
    for _, part in table.groupby("figure") if len(table) else ():
        table.loc[part.index, "p_holm"] = holm(part["p"].to_numpy())
    return table


def worded(row: Mapping[str, Any]) -> str:
    """A verdict to read: with x and what could have been seen."""
    unit = UNITS[row["figure"]]
    if row["verdict"] == UNCHANGED:
        return f"{UNCHANGED}: the base's predictions, to the last digit"
    if row["verdict"] == "no effect":
        return f"no effect larger than {seen_text(row['bound'], row['figure'])} {unit}"
    if row["verdict"] == TOO_FEW and row["detectable"] == row["detectable"]:
        if unit == "points" and row["detectable"] > 1:
            return f"{TOO_FEW}; no effect would have been seen"
        seen = seen_text(row["detectable"], row["figure"])
        return f"{TOO_FEW}; {seen} {unit} would have been seen"
    return str(row["verdict"])


def scale(figure: str) -> tuple[int, int]:
    """(factor, digits) with which a figure is told: points to one digit, mm to two."""
    return (1, 2) if UNITS[figure] == "mm" else (100, 1)


def number(value: float, digits: int, signed: bool = False) -> str:
    """A number to read, with its sign where `signed`; nought has none, and NaN is –."""
    if math.isnan(value):
        return NOTHING
    told = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return told if float(told) else f"{0:.{digits}f}"


def seen_text(size: float, figure: str) -> str:
    """A bound or smallest visible effect, points or mm, rounded up as the figure is told: it must
    not be stated smaller than it is.

    Args:
        size: a share or mm.
    """
    times, digits = scale(figure)
    if math.isnan(size):
        return NOTHING
    if UNITS[figure] == "points" and size > 1:
        return "> 100"  # there is no larger one
    return number(math.ceil(round(times * size * 10**digits, 6)) / 10**digits, digits)


def p_text(p: float) -> str:
    """A p value to read: three digits, < 0.001, or – where there is none."""
    if math.isnan(p):
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    low, high = found["interval"] or (None, None)
    row = {key: found[key] for key in ("effect", "p", "detectable", "patients_sd", "seeds_sd")}
    numbers = row | {"base": found["a"], "value": found["b"], "low": low, "high": high}
    row = {key: float("nan") if value is None else float(value) for key, value in numbers.items()}
    return (
        row
        | {"p_holm": float("nan")}
        | {
            "patients": found["n_patients"],
            "seeds": min(found["n_seeds"]),
        }
    )


def _verdict(
    row: Mapping[str, Any], matters: Mapping[str, float], alpha: float
) -> tuple[str, float]:
    """(verdict, bound) of one row, by RULE."""
    figure, bound = str(row["figure"]), max(abs(row["low"]), abs(row["high"]))
    enough = row["seeds"] >= MIN_SEEDS and row["patients"] >= MIN_PATIENTS
    if not enough or row["p_holm"] != row["p_holm"]:
        return TOO_FEW, float("nan")
    if row["p_holm"] <= alpha and row["effect"] != 0:
        return (HELPS if (row["effect"] > 0) == HIGHER_IS_BETTER[figure] else HURTS), bound
    return ("no effect" if bound <= matters[figure] else TOO_FEW), bound
