"""Intervals, paired tests and corrections against values by hand, scipy, and simulated truth."""

import itertools
import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from lmkit import pairing, resampling, stats
from lmkit.config import InputError
from lmkit.metrics import radial_error_mm, summarise

FIGURES = ["mre_mm", "median_mm", "failure_rate"]


def table(errors, patients=None, sides=None, split="test") -> pd.DataFrame:
    """(N, L) errors as predictions.csv; an image and a patient each, when no patients are given."""
    n, n_landmarks = np.shape(errors)
    images = np.array([f"i{i}.png" for i in range(n)])
    return pd.DataFrame(
        {
            "split": split,
            "image": images.repeat(n_landmarks),
            "patient": (images if patients is None else np.asarray(patients)).repeat(n_landmarks),
            "side": np.repeat(["right"] * n if sides is None else sides, n_landmarks),
            "landmark": np.tile([f"l{j}" for j in range(n_landmarks)], n),
            "error_mm": np.ravel(errors),
        }
    )


def flat(result: dict) -> dict:
    """The figures of a result, the success rates beside the others."""
    return {name: result[name] for name in FIGURES} | result["sdr"]


def clustered(rng, n, n_landmarks=5, scale=0.6, failing=0.08) -> np.ndarray:
    """(n, L) mm: lognormal, larger in hard images, and all of some images 8-15 mm off."""
    core = scale * rng.lognormal(0, 0.7, (n, n_landmarks)) * rng.lognormal(0, 0.4, (n, 1))
    return core + np.where(rng.random((n, 1)) < failing, rng.uniform(8, 15, (n, 1)), 0)


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 -> x4 x3 x2 x1 = .04 .06 .06 .04 -> the last may not fall below .06
    p = {"sigma": 0.03, "loss": 0.01, "augment": 0.04, "decoder": 0.02}
    assert stats.holm(p) == pytest.approx(
        {"sigma": 0.06, "loss": 0.04, "augment": 0.06, "decoder": 0.06}
    )
    assert list(stats.holm(p)) == list(p)


def test_holm_stops_at_one_keeps_ties_and_takes_none_at_all():
    assert stats.holm(np.array([0.9, 0.02, 0.6, 0.02])).tolist() == [1, 0.08, 1, 0.08]
    assert stats.holm(np.array([])).tolist() == []
    assert stats.holm({}) == {}


@pytest.mark.parametrize("wrong", [[0.1, math.nan], [0.1, 1.2], [[0.1]]])
def test_holm_refuses_what_is_no_p_value(wrong):
    with pytest.raises(ValueError, match=r"p_values: expected \(m,\) in \[0, 1\], got"):
        stats.holm(np.array(wrong))


def test_medians_of_draws_are_those_of_the_values_written_out():
    rng = np.random.default_rng(3)
    owner = np.repeat(np.arange(7), [1, 4, 2, 3, 5, 1, 3])
    values = rng.exponential(2, owner.size).round(1)  # with ties
    weight = rng.integers(1, 4, owner.size)
    times = np.concatenate(list(resampling.drawn(7, 50, rng, owner.size)))
    written_out = [np.median(values.repeat(t[owner] * weight)) for t in times]
    np.testing.assert_allclose(resampling.medians(values, owner, times, weight), written_out)


def test_every_draw_has_as_many_patients_as_there_are_and_pieces_change_nothing(monkeypatch):
    whole = np.concatenate(list(resampling.drawn(9, 40, np.random.default_rng(0), 9)))
    monkeypatch.setattr(resampling, "CHUNK", 9 * 7)
    pieces = list(resampling.drawn(9, 40, np.random.default_rng(0), 9))
    assert [len(p) for p in pieces] == [7, 7, 7, 7, 7, 5]
    assert (np.concatenate(pieces) == whole).all()
    assert (whole.sum(1) == 9).all()
    left_out = np.concatenate(list(resampling.left_out(9, 9)))
    assert (left_out == 1 - np.eye(9)).all()


def test_all_flips_of_three_patients_come_once_each():
    flips = np.concatenate(list(resampling.flipped(3, 8, np.random.default_rng(0), 5)))
    assert sorted(map(tuple, flips.tolist())) == list(itertools.product([False, True], repeat=3))
    assert len(np.concatenate(list(resampling.flipped(3, 7, np.random.default_rng(0), 5)))) == 7


@pytest.mark.parametrize(
    "name, figure",
    [
        ("mre_mm", np.mean),
        ("failure_rate", lambda x, axis: (x > 4).mean(axis)),
        ("median_mm", np.median),
    ],
)
def test_bca_is_that_of_scipy_where_every_error_is_a_patient_of_its_own(name, figure):
    errors = np.random.default_rng(5).exponential(2, 60)
    expected = scipy.stats.bootstrap(
        (errors,), figure, method="BCa", n_resamples=9999, rng=np.random.default_rng(1)
    ).confidence_interval
    got = stats.bootstrap_intervals(errors[:, None], np.arange(60), resamples=9999)
    assert got["method"] == "bca"
    width = expected.high - expected.low
    assert got[name] == pytest.approx(list(expected), abs=0.08 * width)


def test_percentiles_of_the_old_systems_images_are_the_published_interval(shared_data):
    rows = pd.read_csv(shared_data / "pell_gregory" / "test_predictions.csv")
    published = {"left": [0.72, 1.68], "right": [1.17, 4.17]}
    for side, part in rows.groupby("side"):
        error = radial_error_mm(
            part[["x_pred", "y_pred"]].to_numpy(), part[["x_true", "y_true"]].to_numpy(), 1 / 6
        ).reshape(-1, 5)
        images = part["image"].to_numpy()[::5]
        plain = stats.bootstrap_intervals(error, images, resamples=10_000, method="percentile")
        assert plain["mre_mm"] == pytest.approx(published[side], rel=0.03)
        per_image = scipy.stats.bootstrap(
            (error.mean(1),), np.mean, n_resamples=9999, rng=np.random.default_rng(0)
        ).confidence_interval
        skewed = stats.bootstrap_intervals(error, images, resamples=10_000)
        assert skewed["mre_mm"] == pytest.approx(list(per_image), rel=0.05)
        assert skewed["mre_mm"][0] > plain["mre_mm"][0]  # a long upper tail moves both ends up
        assert skewed["mre_mm"][1] > plain["mre_mm"][1]


def test_both_sides_of_a_patient_are_drawn_together():
    rng = np.random.default_rng(2)
    one_side = clustered(rng, 60, failing=0)
    both, patients = np.concatenate([one_side, one_side]), np.tile(np.arange(60), 2)
    alone = stats.bootstrap_intervals(one_side, np.arange(60))
    together = stats.bootstrap_intervals(both, patients)
    apart = stats.bootstrap_intervals(both, np.arange(120))
    assert together["mre_mm"] == pytest.approx(alone["mre_mm"])  # a copy tells nothing new
    assert together["sdr"]["2"] == pytest.approx(alone["sdr"]["2"])
    assert np.ptp(apart["mre_mm"]) < 0.8 * np.ptp(together["mre_mm"])


def test_equal_errors_have_a_mean_without_width_and_rates_with_room():
    result = stats.bootstrap_intervals(np.full((20, 3), 1.1), np.arange(20))
    assert result["mre_mm"] == pytest.approx([1.1, 1.1])
    assert result["median_mm"] == pytest.approx([1.1, 1.1])
    exact = scipy.stats.binomtest(0, 20).proportion_ci().high  # Clopper and Pearson
    assert result["failure_rate"] == pytest.approx([0, exact])
    assert result["sdr"]["2"] == pytest.approx([1 - exact, 1])


def test_a_single_failure_and_a_missing_landmark_are_no_trouble():
    errors = np.full((12, 3), 0.5)
    errors[4, 1], errors[5], errors[6, 2] = 9, math.nan, math.nan
    for name, span in flat(stats.bootstrap_intervals(errors, np.arange(12))).items():
        assert np.isfinite(span).all()
        assert span[0] <= span[1], name


@pytest.mark.parametrize(
    "errors, patients",
    [
        (np.full((4, 3), math.nan), np.arange(4)),
        (np.zeros((0, 3)), np.array([])),
        (np.ones((2, 3)), np.array(["a", "a"])),
        (np.array([[1.0, 2.0], [math.nan, math.nan]]), np.array(["a", "b"])),
    ],
)
def test_fewer_than_two_patients_give_no_interval(errors, patients):
    result = stats.bootstrap_intervals(errors, patients)
    assert set(flat(result).values()) == {None}


@pytest.mark.parametrize("n, spans", [(2, False), (4, False), (5, True)])
def test_a_mean_of_fewer_than_five_patients_has_no_interval_but_a_rate_has_its_room(n, spans):
    """Of two patients it was their two values, at 95 %."""
    result = stats.bootstrap_intervals(np.arange(1.0, n + 1)[:, None], np.arange(n))
    assert result["patients"] == n
    assert [result[name] is not None for name in ("mre_mm", "median_mm")] == [spans, spans]
    low, high = result["sdr"]["4"]
    assert high - low > 0.4


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"level": 95}, r"level: expected in \(0, 1\), got 95"),
        ({"resamples": 1}, "resamples: expected >= 2, got 1"),
        ({"method": "basic"}, "method: expected bca or percentile, got basic"),
        ({"patients": np.arange(3)}, r"expected \(N, L\) and \(N,\), got \(4, 2\), \(3,\)"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    settings = {"error_mm": np.ones((4, 2)), "patients": np.arange(4)} | settings
    with pytest.raises(ValueError, match=message):
        stats.bootstrap_intervals(**settings)


def test_ten_thousand_points_stay_below_50_mb():
    errors = np.random.default_rng(0).exponential(2, (1000, 10))
    tracemalloc.start()
    stats.bootstrap_intervals(errors, np.arange(1000), resamples=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_a_comparison_of_three_patients_by_hand():
    a = [[1.0, 3.0], [2.5, 6.0], [1.5, 2.5]]
    b = [[1.0, 1.0], [1.0, 3.0], [2.5, 2.5]]
    result = stats.compare_paired(table(a), table(b))
    # sums differ by -2, -4.5, +1: of 8 swaps, |sum| >= 5.5 for -2-4.5+1, -2-4.5-1 and mirrored
    assert result["mre_mm"]["a"] == pytest.approx(16.5 / 6)
    assert result["mre_mm"]["effect"] == pytest.approx(-5.5 / 6)
    assert (result["mre_mm"]["p"], result["exact"], result["permutations"]) == (4 / 8, True, 8)
    # hits within 2 mm differ by +1, +1, -1: no swap brings the sum nearer to 0 than +-1
    assert result["sdr"]["2"]["effect"] == pytest.approx(1 / 6)
    assert result["sdr"]["2"]["p"] == 1
    assert result["failure_rate"]["effect"] == pytest.approx(-1 / 6)
    assert result["failure_rate"]["p"] == 1  # one patient differs: +1 or -1
    assert result["median_mm"]["effect"] == pytest.approx(1.75 - 2.5)
    assert [result[k] for k in ("n_patients", "n_images", "n_landmarks")] == [3, 3, 6]


def test_the_p_value_of_the_median_is_that_of_swapping_whole_patients():
    rng = np.random.default_rng(8)
    a, b = rng.exponential(2, (5, 3)), rng.exponential(1.2, (5, 3))

    def effect(swap) -> float:
        swap = np.array(swap)[:, None]
        return float(np.median(np.where(swap, a, b)) - np.median(np.where(swap, b, a)))

    seen = abs(effect([False] * 5))
    ways = [abs(effect(s)) >= seen - 1e-9 for s in itertools.product([False, True], repeat=5)]
    assert stats.compare_paired(table(a), table(b))["median_mm"]["p"] == np.mean(ways)


def test_random_swaps_come_close_to_all_of_them_and_are_never_zero():
    rng = np.random.default_rng(4)
    a, b = table(clustered(rng, 12)), table(clustered(rng, 12, scale=0.5))
    exact = stats.compare_paired(a, b, permutations=4096)
    random = stats.compare_paired(a, b, permutations=4000)
    assert (exact["exact"], random["exact"]) == (True, False)
    assert random["mre_mm"]["p"] == pytest.approx(exact["mre_mm"]["p"], abs=0.03)
    sure = stats.compare_paired(
        table(np.full((40, 2), 3.0)), table(np.ones((40, 2))), permutations=99
    )
    assert sure["mre_mm"]["p"] == 1 / 100


def test_both_sides_of_a_patient_change_hands_together():
    a, b = np.full((8, 3), 2.0), np.full((8, 3), 1.0)
    patients, sides = np.repeat(["p", "q", "r", "s"], 2), ["left", "right"] * 4
    result = stats.compare_paired(table(a, patients, sides), table(b, patients, sides))
    assert result["mre_mm"]["p"] == 2 / 2**4
    assert (result["n_patients"], result["n_images"]) == (4, 8)


def test_an_effect_is_the_difference_of_the_summaries_averaged_over_seeds():
    rng = np.random.default_rng(6)
    a, b = ([clustered(rng, 20, failing=0.2) for _ in range(n)] for n in (3, 2))
    a[0][4, 2] = a[1][4, 2] = a[2][4, 2] = b[0][4, 2] = b[1][4, 2] = math.nan
    result = stats.compare_paired([table(e) for e in a], [table(e) for e in b])
    of_a, of_b = ([summarise(e) for e in errors] for errors in (a, b))
    for name in ("mre_mm", "failure_rate"):
        before, after = (np.mean([s[name] for s in of]) for of in (of_a, of_b))
        assert result[name]["a"] == pytest.approx(before)
        assert result[name]["effect"] == pytest.approx(after - before)
    assert result["sdr"]["2"]["b"] == pytest.approx(np.mean([s["sdr"]["2"] for s in of_b]))
    assert result["median_mm"]["a"] == pytest.approx(np.nanmedian(a))
    assert result["n_seeds"] == [3, 2]
    assert result["n_landmarks"] == 99


def test_seeds_in_a_column_are_seeds_in_a_list_and_the_order_of_rows_is_nothing():
    rng = np.random.default_rng(7)
    seeds = [table(clustered(rng, 15)).assign(seed=s) for s in (1, 2)]
    other = table(clustered(rng, 15))
    listed = stats.compare_paired(seeds, other)
    shuffled = pd.concat(seeds).sample(frac=1, random_state=0)
    again = stats.compare_paired(shuffled, other.sample(frac=1, random_state=1))
    for name, figure in flat(listed).items():
        assert flat(again)[name]["effect"] == pytest.approx(figure["effect"]), name


def test_per_image_differences_by_hand():
    a, b = table([[1.0, 3.0], [2.0, math.nan]]), table([[1.0, 1.0], [5.0, math.nan]])
    rows = pairing.per_image(pairing.pair(a, b))
    assert rows["n_landmarks"].tolist() == [2, 1]
    assert rows["mre_mm"].tolist() == [-1, 3]
    assert rows["sdr"].tolist() == [0.5, -1]
    assert rows["failure_rate"].tolist() == [0, 1]


def test_a_landmark_with_an_error_on_one_side_only_is_left_out_and_counted():
    a, b = np.ones((6, 2)), np.ones((6, 2))
    a[0, 0] = a[1, 0] = b[1, 0] = math.nan
    result = stats.compare_paired(table(a), table(b))
    assert (result["n_landmarks"], result["n_unpaired"]) == (10, 1)


def test_a_run_against_itself_shows_no_difference():
    a = table(clustered(np.random.default_rng(0), 30))
    result = stats.compare_paired(a, a)
    for name, figure in flat(result).items():
        assert (figure["effect"], figure["p"], figure["detectable"]) == (0, 1, None), name
    assert result["mre_mm"]["interval"] == [0, 0]
    room = resampling.unseen_share(30, 0.95)
    assert result["sdr"]["2"]["interval"] == pytest.approx([-room, room])


def test_one_patient_has_an_effect_but_no_interval_and_nobody_has_neither():
    one = stats.compare_paired(table([[1.0, 2.0]]), table([[2.0, 2.0]]))
    assert one["mre_mm"] == {
        "a": 1.5, "b": 2, "effect": 0.5, "p": 1, "interval": None, "detectable": None
    }  # fmt: skip
    nobody = table(np.full((3, 2), math.nan))
    assert set(stats.compare_paired(nobody, nobody)["median_mm"].values()) == {None}


A = table(np.ones((4, 3)))


@pytest.mark.parametrize(
    "b, message",
    [
        (
            A[A["image"] != "i2.png"],
            r"^b: expected the 4 image × side of a, got 3 without 1 of them "
            r"\(image i2.png, side right, …\); predict the same images with both$",
        ),
        (table(np.ones((5, 3))), "^a: expected the 5 image × side of b, got 4"),
        (A[A["landmark"] != "l1"], "landmark of a, got 8 without 4 of them .*landmark l1"),
        (A.assign(patient="x"), "patient i0.png"),
        (pd.concat([A, A]), "^b: expected each image, side and landmark once per seed, got a rep"),
        (A.drop(columns="error_mm"), "^b: expected the columns .* got none named error_mm; give"),
        ([A, A.iloc[:6]], "^another: expected the 4 image × side of the first seed of b, got 2"),
        ([], "^b: expected predictions of at least one run, got none"),
        (A[:0], "^b: expected rows, got none"),
        (
            pd.concat([A, A.assign(split="val", image="v")]),
            "^b: expected rows of one split, got test, val; name it with split=",
        ),
    ],
)
def test_tables_that_cannot_be_paired_are_refused_in_one_line(b, message):
    with pytest.raises(InputError, match=message) as caught:
        stats.compare_paired(A, b)
    assert "\n" not in str(caught.value)


def test_a_split_can_be_chosen():
    both = pd.concat([A, table(np.full((3, 3), 5.0), split="val")])
    assert stats.compare_paired(both, both, split="val")["mre_mm"]["a"] == 5
    with pytest.raises(InputError, match=r"rows of the split train, got none \(splits: test, val"):
        stats.compare_paired(both, both, split="train")


def test_intervals_cover_and_tests_err_as_often_as_they_say():
    """Clustered, heavy-tailed errors of 60 patients; bounds are what 100 repetitions can tell."""
    rng, repetitions = np.random.default_rng(11), 100
    large = [clustered(rng, 200_000, scale=s) for s in (0.6, 0.5)]
    truth = [summarise(e) for e in large]
    names = ["mre_mm", "median_mm", "failure_rate"]
    covered, single, wrong = (dict.fromkeys(names, 0) for _ in range(3))
    for seed in range(repetitions):
        a, b = clustered(rng, 60), clustered(rng, 60)
        settings = {"resamples": 200, "permutations": 200, "seed": seed}
        null = stats.compare_paired(table(a), table(b), **settings)
        shift = stats.compare_paired(table(a), table(clustered(rng, 60, scale=0.5)), **settings)
        alone = stats.bootstrap_intervals(a, np.arange(60), resamples=200, seed=seed)
        for name in names:
            wrong[name] += null[name]["p"] <= 0.05
            low, high = shift[name]["interval"]
            covered[name] += low <= truth[1][name] - truth[0][name] <= high
            single[name] += alone[name][0] <= truth[0][name] <= alone[name][1]
    for name in names:  # 3 standard errors of 100 repetitions are 6.5 %
        assert wrong[name] / repetitions <= 0.115, name
        assert covered[name] / repetitions > 0.885, name
        assert single[name] / repetitions > 0.865, name


@pytest.mark.parametrize("df, alpha, power", [(4, 0.05, 0.8), (14, 0.003, 0.8), (84, 0.05, 0.9)])
def test_the_detectable_effect_is_found_as_often_as_stated(df, alpha, power):
    size = stats.detectable(0.5, df, alpha, power)
    critical = scipy.stats.t.ppf(1 - alpha / 2, df)
    assert scipy.stats.nct.sf(critical, df, size / 0.5) == pytest.approx(power, abs=1e-6)
    assert size > 0.5 * (critical + scipy.stats.norm.ppf(power)) or df > 50


def test_one_failure_never_looks_safer_than_none():
    clean = np.ones((40, 5))
    patients = np.arange(40)
    one = clean.copy()
    one[3, 2] = 9.0
    none = stats.bootstrap_intervals(clean, patients)
    some = stats.bootstrap_intervals(one, patients)
    assert none["failure_rate"] == pytest.approx([0, 1 - 0.025 ** (1 / 40)])
    assert some["failure_rate"][1] >= none["failure_rate"][1]
    assert some["sdr"]["2"][0] <= none["sdr"]["2"][0]
    assert some["failure_rate"][0] < 1 / 200 < some["failure_rate"][1]
