"""Effects of strategies when both patients and seeds count.

`lmkit.stats.compare_paired` resamples patients: what it says holds for these trained networks. A
strategy is a recipe, and the next seed gives another network. With three seeds and patients as the
only unit, a recipe that does nothing is called better whenever its three draws were lucky. Here the
spread from seed to seed enters the interval and the p value as well.

The variance of an effect is that over draws of patients plus s² (1 / K_a + 1 / K_b) over seeds. s²
is what seeds of one recipe differ by beyond what the same patients would give by chance. Few seeds
say little about it, so it is pooled over the recipes of a sweep, a wild one counting no more than
CAP times the typical one; a recipe whose own seeds differ more keeps a part of its own (moderation
as in Smyth 2004).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit
from scipy.stats import chi2

from lmkit import resampling
from lmkit.pairing import KEY, Pairs, pair
from lmkit.resampling import NAMES, figures_of
from lmkit.stats import compare_paired, detectable

SEEN = {"sdr_2mm": "2", "median_mm": "median_mm", "failure_rate": "failure_rate"}  # names in NAMES
PRIOR_DF = 4  # how many seeds' worth the pooled spread counts for against a recipe's own
CAP = 4.0  # under 5 % of variances from two or three seeds exceed the true one by so much
ALONE = 4  # recipes share seeds, and with them luck: no more of them count as independent
DRAWS = 500  # of patients, to tell the spread of seeds from that of patients


@dataclass(frozen=True)
class Spread:
    """How much seeds of one recipe differ, for each of SEEN.

    Attributes:
        pooled: figure -> variance over the recipes, units of the figure squared.
        own: recipe -> figure -> variance that its comparisons use, at least the pooled one.
        df: degrees of freedom of the pooled variance, ALONE recipes at most; 0 when no recipe has
            two seeds.
    """

    pooled: dict[str, float]
    own: dict[str, dict[str, float]]
    df: int


def seed_spread(recipes: Mapping[str, Sequence[pd.DataFrame]], seed: int = 0) -> Spread:
    """The spread from seed to seed, patients' share taken out.

    Args:
        recipes: name -> predictions, a table per seed, all on the same images.
        seed: of the draws of patients.
    Source: Smyth 2004, SAGMB 3:3, for a variance that leans on those of others; Bouthillier et al.
        2021, arXiv:2103.03098, for why seeds have to count.
    """
    seeds = {name: len(tables) - 1 for name, tables in recipes.items() if len(tables) > 1}
    parts = {name: _over_seeds(recipes[name], seed) for name in seeds}
    raw = {name: seen - chance for name, (seen, chance) in parts.items()}
    df = min(sum(seeds.values()), ALONE * max(seeds.values(), default=0))
    pooled = _pooled(list(parts.values()), list(seeds.values()))
    own = {}
    for name in recipes:
        n = seeds.get(name, 0)
        leant = (PRIOR_DF * pooled + n * np.maximum(raw.get(name, 0), 0)) / (PRIOR_DF + n)
        own[name] = _named(np.maximum(pooled, leant))
    return Spread(_named(pooled), own, df)


def _pooled(parts: Sequence[tuple[np.ndarray, np.ndarray]], df: Sequence[int]) -> np.ndarray:
    """(figures,) variance over seeds beyond chance, over recipes; a wild recipe is capped."""
    if not parts:
        return np.zeros(len(SEEN))
    seen, chance = (np.array(values) for values in zip(*parts, strict=True))  # (recipes, figures)
    shares = np.array(df)[:, None] / sum(df)
    middle = chi2.median(np.array(df)[:, None]) / np.array(df)[:, None]  # of a variance, true 1
    typical = np.median(seen / middle, axis=0)
    return np.maximum((shares * (np.minimum(seen, CAP * typical) - chance)).sum(0), 0)


def _over_seeds(tables: Sequence[pd.DataFrame], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the figures over seeds, and what patients alone would make of it.

    Two networks that are equally good still err on different patients. That part, divided by the
    number of patients, is in the variance over seeds and in that over draws of patients; it is
    counted once, there.
    """
    pairs = pair(tables, tables)
    patients, owner = np.unique(pairs.keys["patient"].to_numpy(str), return_inverse=True)
    n, figures = len(patients), [figures_of(errors, owner) for errors in pairs.a_mm.T]
    once = np.ones((1, n), np.int32)
    observed = np.array([of(once)[0] for of in figures])  # (K, figures)
    pieces = list(resampling.drawn(n, DRAWS, np.random.default_rng(seed), len(owner)))
    draws = np.stack([resampling.replicate(of, iter(pieces)) for of in figures])  # (K, R, figures)
    by_chance = (draws - draws.mean(1, keepdims=True)).var(0, ddof=1).mean(0) * n / max(n - 1, 1)
    return observed.var(0, ddof=1)[_places()], by_chance[_places()]


def compare(
    a: Sequence[pd.DataFrame],
    b: Sequence[pd.DataFrame],
    variances: tuple[Mapping[str, float], Mapping[str, float]],
    df: int,
    tests: int = 1,
    **settings: Any,
) -> dict[str, dict[str, Any]]:
    """Recipe b against recipe a, for each figure of SEEN, patients and seeds counted.

    Args:
        a, b: predictions, a table per seed, on the same images.
        variances: over seeds of a and of b, as in `Spread.own`.
        df: of these, `Spread.df`.
        tests: how many comparisons are looked at together; `detectable` allows for them.
        settings: of `compare_paired`, such as resamples, permutations, level, power.
    Returns: figure -> a, b, effect (b - a), interval [low, high], p (two-sided, not adjusted),
        detectable (the smallest true effect that would be called, with the given power),
        n_patients, n_seeds [a, b], patients_sd and seeds_sd (what each adds to the uncertainty).
        None where nothing can be said.
    """
    found = compare_paired(a, b, **settings)
    flat = {name: found[name] for name in ("median_mm", "failure_rate")}
    flat["sdr_2mm"] = found["sdr"]["2"]
    share = {name: variances[0][name] / len(a) + variances[1][name] / len(b) for name in SEEN}
    return {
        name: _with_seeds(flat[name], share[name], df, tests, found)
        | {"n_patients": found["n_patients"], "n_seeds": found["n_seeds"]}
        for name in SEEN
    }


def _with_seeds(
    figure: Mapping[str, Any], seeds: float, df: int, tests: int, found: Mapping[str, Any]
) -> dict[str, Any]:
    """A figure of `compare_paired` with the variance over seeds added to that over patients."""
    plain = {key: figure[key] for key in ("a", "b", "effect")}
    nothing = plain | dict.fromkeys(("interval", "p", "detectable", "patients_sd", "seeds_sd"))
    if figure["interval"] is None:
        return nothing
    level, n = found["level"], found["n_patients"]
    low, high = figure["interval"]
    patients = ((high - low) / 2 / stdtrit(n - 1, (1 + level) / 2)) ** 2
    return (
        plain
        | _judged(figure["effect"], patients, n - 1, seeds, df, tests, found)
        | {"p": _larger_p(figure, patients, n - 1, seeds, df)}
    )


def _judged(
    effect: float,
    patients: float,
    df_patients: int,
    seeds: float,
    df_seeds: int,
    tests: int,
    found: Mapping[str, Any],
) -> dict[str, Any]:
    """Interval and detectable effect from two variances."""
    error, df = _combined(patients, df_patients, seeds, df_seeds)
    reach = error * stdtrit(df, (1 + found["level"]) / 2)
    alpha = (1 - found["level"]) / tests
    return {
        "interval": [effect - reach, effect + reach],
        "detectable": detectable(error, df, alpha, found["power"]),
        "patients_sd": float(np.sqrt(patients)),
        "seeds_sd": float(np.sqrt(seeds)),
    }


def _larger_p(
    figure: Mapping[str, Any], patients: float, df_patients: int, seeds: float, df_seeds: int
) -> float:
    """The larger of the swaps' p, which is exact over patients, and Student's, which has both."""
    error, df = _combined(patients, df_patients, seeds, df_seeds)
    if error == 0:
        return float(figure["p"])
    return max(float(figure["p"]), student_p(figure["effect"], error, df))


def student_p(effect: float, error: float, df: float) -> float:
    """Two-sided p value of effect / error under Student's t."""
    return float(2 * stdtr(df, -abs(effect) / error))


def _combined(
    patients: float, df_patients: int, seeds: float, df_seeds: int
) -> tuple[float, float]:
    """Standard error and its degrees of freedom. Source: Satterthwaite 1946, Biometrics 2:110."""
    total = patients + seeds
    if total == 0:
        return 0.0, float(df_patients)
    parts = patients**2 / df_patients + (seeds**2 / df_seeds if seeds else 0)
    return float(np.sqrt(total)), total**2 / parts


def interaction(
    recipes: Sequence[Sequence[pd.DataFrame]],
    variances: Sequence[Mapping[str, float]],
    df: int,
    tests: int = 1,
    level: float = 0.95,
    power: float = 0.8,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """What two strategies give together beyond the sum of what each gives alone.

    Args:
        recipes: predictions of base, first, second and both, a table per seed, on the same images.
        variances: over seeds, of each.
        df: of these.
        tests: how many pairs are looked at together.
    Returns: figure -> effect (both - first - second + base), interval, p, detectable, patients_sd,
        seeds_sd, n_patients, as `compare` has them.
    """
    signs = np.array([1, -1, -1, 1])
    groups = _four(recipes)
    names, owner = np.unique(groups[0].index.get_level_values("patient"), return_inverse=True)
    n = len(names)
    figures = [figures_of(g.to_numpy().ravel(), owner.repeat(g.shape[1])) for g in groups]
    most = max(g.size for g in groups)
    pieces = list(resampling.drawn(n, resamples, np.random.default_rng(seed), most))
    once = np.ones((1, n), np.int32)
    effect = sum(sign * of(once)[0] for sign, of in zip(signs, figures, strict=True))
    draws = sum(
        sign * resampling.replicate(of, iter(pieces))
        for sign, of in zip(signs, figures, strict=True)
    )
    patients = draws.var(0, ddof=1) * n / max(n - 1, 1)
    fixed = resampling.agree(draws) & resampling.IS_RATE
    found: dict[str, dict[str, Any]] = {}
    for name, place in zip(SEEN, _places(), strict=True):
        seeds = sum(v[name] / g.shape[1] for v, g in zip(variances, groups, strict=True))
        value, spread = float(effect[place]), float(patients[place])
        error, freedom = _combined(spread, n - 1, seeds, df)
        asked = {"level": level, "power": power}
        found[name] = {"effect": value, "p": student_p(value, error, freedom) if error else 1.0}
        found[name] |= _judged(value, spread, n - 1, seeds, df, tests, asked) | {"n_patients": n}
        if fixed[place]:  # what nobody showed, some still may
            room = resampling.unseen_share(n, level)
            low, high = found[name]["interval"]
            found[name]["interval"] = [low - room, high + room]
    return found


def _four(recipes: Sequence[Sequence[pd.DataFrame]]) -> list[pd.DataFrame]:
    """Errors of four recipes on the landmarks that all of them have, a column per seed, mm."""

    def errors(pairs: Pairs, values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, index=pd.MultiIndex.from_frame(pairs.keys[KEY]))

    base, first, second, both = recipes
    outer, inner = pair(base, both), pair(first, second)
    tables = [
        errors(outer, outer.a_mm),
        errors(inner, inner.a_mm),
        errors(inner, inner.b_mm),
        errors(outer, outer.b_mm),
    ]
    shared = tables[0].index.intersection(tables[1].index)
    return [table.loc[shared] for table in tables]


def _places() -> list[int]:
    """Where SEEN's figures are in NAMES."""
    return [NAMES.index(name) for name in SEEN.values()]


def _named(values: np.ndarray) -> dict[str, float]:
    return dict(zip(SEEN, map(float, values), strict=True))
