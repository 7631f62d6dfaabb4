"""Agreement with tea-tasting and statsmodels, and with published tables, to the last digits that they give."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.special import ndtri

from segue.experiments import looking, power, spending
from segue.experiments.clustered import Sample, compare
from segue.experiments.sequences import half_widths, tuned_rho


@pytest.fixture(scope="module")
def arms() -> tuple[Sample, Sample]:
    rng = np.random.default_rng(71)
    samples = []
    for arm, n in ((0, 900), (1, 1100)):
        taste, rate = rng.beta(3 + arm * 0.2, 2, n), rng.gamma(1.0, 20.0, n) + 2
        now, before = rng.poisson(rate) + 1.0, rng.poisson(rate) + 1.0
        user = np.arange(n, dtype=np.int64) + 5000 * arm
        samples.append(Sample(user, rng.binomial(now.astype(int), taste).astype(float), now,
                              rng.binomial(before.astype(int), taste).astype(float), before))  # fmt: skip
    return samples[0], samples[1]


@pytest.mark.parametrize("cuped", [False, True])
def test_ratio_of_sums_and_cuped_agree_with_tea_tasting(arms: tuple[Sample, Sample], cuped: bool) -> None:
    tt = pytest.importorskip("tea_tasting", reason="tea-tasting is not installed")
    pa = pytest.importorskip("pyarrow")
    old, new = arms
    both = {name: np.concatenate([getattr(old, name), getattr(new, name)]) for name in ("num", "den", "pre_num", "pre_den")}
    table = pa.table({**both, "variant": np.repeat([0, 1], [len(old), len(new)])})
    more = {"numer_covariate": "pre_num", "denom_covariate": "pre_den"} if cuped else {}
    metric = tt.RatioOfMeans("num", "den", use_t=False, equal_var=False, **more)
    said = tt.Experiment({"m": metric}).analyze(table, control=0)["m"]
    e = compare(old, new, cuped=cuped)
    ours = (e.old, e.new, e.diff, e.diff / e.se, e.lift, *e.lift_interval(float(ndtri(0.975))))
    theirs = (said.control, said.treatment, said.effect_size, said.statistic, said.rel_effect_size,
              said.rel_effect_size_ci_lower, said.rel_effect_size_ci_upper)  # fmt: skip
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_a_split_by_request_agrees_with_clustered_least_squares() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sm = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")
    rng = np.random.default_rng(72)
    user = np.repeat(np.arange(300), rng.geometric(0.1, 300))
    arm = rng.integers(0, 2, len(user))
    y = (rng.random(len(user)) < rng.beta(2, 2, 300)[user] * (1 + 0.1 * arm)).astype(float)
    samples = []
    for a in (0, 1):
        mine, inverse = np.unique(user[arm == a], return_inverse=True)
        samples.append(Sample(mine, np.bincount(inverse, y[arm == a]), np.bincount(inverse).astype(float)))
    fit = sm.OLS(y, sm.add_constant(arm)).fit(cov_type="cluster", cov_kwds={"groups": user, "use_correction": False})
    e = compare(*samples)
    assert e.diff == pytest.approx(fit.params[1], rel=1e-9)
    # statsmodels' sandwich has no n / (n - 1); ours has it, arm by arm: undone here by hand
    psi = [(s.num - s.num.sum() / s.den.sum() * s.den) / s.den.sum() for s in samples]
    common = np.intersect1d(samples[0].user, samples[1].user)
    cross = psi[0][np.isin(samples[0].user, common)] @ psi[1][np.isin(samples[1].user, common)]
    assert psi[0] @ psi[0] + psi[1] @ psi[1] - 2 * cross == pytest.approx(fit.bse[1] ** 2, rel=1e-9)
    n = [len(s) for s in samples]
    expected = sum(p @ p * k / (k - 1) for p, k in zip(psi, n, strict=True)) - 2 * cross * np.sqrt(
        n[0] * n[1] / (n[0] - 1) / (n[1] - 1)
    )
    assert e.se**2 == pytest.approx(expected, rel=1e-9)


def test_power_and_holm_agree_with_statsmodels() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = pytest.importorskip("statsmodels.stats.power", reason="statsmodels is not installed")
        multitest = pytest.importorskip("statsmodels.stats.multitest")
    for users, effect, ratio in ((500, 0.1, 1.0), (3000, 0.05, 0.25)):
        theirs = weights.NormalIndPower().power(effect, users / ratio, 0.05, ratio=ratio, alternative="two-sided")
        assert power.fixed_power(1.0, effect, users, 0.05, ratio) == pytest.approx(theirs, rel=1e-9)
        wanted = power.fixed_users(1.0, effect, 0.05, 0.8, ratio)
        assert power.fixed_power(1.0, effect, wanted, 0.05, ratio) == pytest.approx(0.8, abs=2e-6)
    p = [0.011, 0.02, 0.5, 0.004, 0.04]
    z = np.array([ndtri(1 - np.array(p) / 2)]) * [[1, -1, 1, -1, 1]]
    bounds = [np.array([ndtri(1 - 0.05 / (len(p) - k) / 2)]) for k in range(len(p))]
    np.testing.assert_array_equal(looking.holm(z, bounds), multitest.multipletests(p, 0.05, method="holm")[0] * np.sign(z[0]))


def test_boundaries_are_those_of_the_published_table() -> None:
    # Lan-DeMets O'Brien-Fleming-type spending, two-sided .05, five equal looks (Jennison & Turnbull; gsDesign)
    np.testing.assert_allclose(
        spending.boundaries([0.2, 0.4, 0.6, 0.8, 1.0], 0.05), [4.8769, 3.3569, 2.6803, 2.2898, 2.0310], atol=2e-4
    )
    assert spending.boundaries([1.0], 0.05)[0] == pytest.approx(ndtri(0.975), abs=1e-9)
    daily = [k / 28 for k in range(1, 29)]
    bounds = spending.boundaries(daily, 0.05)
    assert spending.crossing_chance(daily, bounds, 0.0) == pytest.approx(0.05, abs=1e-6)
    assert 1.0 < power.group_sequential_inflation(14, 0.05, 0.8) < 1.10
    assert power.group_sequential_inflation(1, 0.05, 0.8) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("fractions", [[], [0.5, 0.4], [0.0, 1.0], [0.5, 1.2]])
def test_looks_that_do_not_ascend_are_refused(fractions: list[float]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        spending.boundaries(fractions, 0.05)


def test_the_sequence_is_narrowest_where_it_was_tuned_and_one_sided_is_narrower() -> None:
    widths = {n: half_widths(5000.0, 0.05, rho=tuned_rho(n, 0.05)) for n in (1000, 5000, 25_000)}
    assert min(widths, key=lambda n: float(widths[n])) == 5000
    assert half_widths(5000.0, 0.05, rho=0.05, one_sided=True) < half_widths(5000.0, 0.05, rho=0.05)
    assert np.isinf(half_widths(99.0, 0.05, rho=0.05))
