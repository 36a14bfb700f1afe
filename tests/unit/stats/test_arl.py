"""Run lengths: closed forms, simulation, and laws that hold for every chart."""

from math import inf, isfinite

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta as beta_law
from scipy.stats import binom, ncx2, norm, poisson

from mlg.stats.arl import (
    Spec,
    arl,
    cusum_arl,
    design,
    designed,
    ewma_arl,
    law,
    mewma_arl,
    shewhart_arl,
    t2_arl,
)
from mlg.stats.arl_counts import Counts, count_limits, counts_arl, probability_limits
from mlg.stats.arl_cusum import cusum_law
from mlg.stats.arl_normal import ewma_law
from mlg.stats.arl_rules import WESTERN_ELECTRIC, Rule, rules_arl, rules_from
from mlg.stats.arl_t2 import t2_limit
from mlg.stats.arl_vector import mewma_law
from mlg.stats.run_length import geometric

CHARTS = (
    Spec(chart="ewma", lam=0.2, limit=2.5),
    Spec(chart="ewma", lam=0.2, limit=2.5, two_sided=True),
    Spec(chart="ewma", lam=0.2, limit=2.5, two_sided=True, limits="exact"),
    Spec(chart="ewma", lam=0.2, limit=2.5, two_sided=True, head_start=1.0),
    Spec(chart="cusum", k=0.4, h=3.0),
    Spec(chart="cusum", k=0.4, h=3.0, two_sided=True),
    Spec(chart="cusum", k=0.4, h=3.0, two_sided=True, head_start=1.5),
    Spec(chart="mewma", lam=0.3, limit=8.0, dims=3),
    Spec(chart="t2", limit=9.0, dims=3),
    Spec(chart="runs", two_sided=True),
    Spec(chart="shewhart", limit=2.5),
)  # fmt: skip
STATES = ("zero", "steady", "cyclical")


def simulate(step, shift: float, dims: int = 1, *, runs: int, seed: int, start=0.0):
    """Return run lengths of charts stepped point by point: an engine of its own kind."""
    rng = np.random.default_rng(seed)
    state = np.full((runs, dims), start)
    length, alive, n = np.zeros(runs), np.arange(runs), 0
    while len(alive):
        n += 1
        x = rng.standard_normal((len(alive), dims))
        x[:, 0] += shift
        state, out = step(state, x, n)
        length[alive[out]] = n
        state, alive = state[~out], alive[~out]
    return length


def close(found: float, runs: np.ndarray) -> bool:
    return abs(found - runs.mean()) < 3 * runs.std(ddof=1) / len(runs) ** 0.5


def test_shewhart_is_the_closed_form() -> None:
    assert shewhart_arl(3.0, two_sided=True) == pytest.approx(1 / (2 * norm.sf(3)), rel=1e-12)
    assert shewhart_arl(3.0, shift=1.0) == pytest.approx(1 / norm.sf(2), rel=1e-12)
    assert shewhart_arl(50.0) == inf


@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0, 9.0])
def test_t_squared_is_noncentral_chi_squared(shift: float) -> None:
    tail = ncx2.sf(14.0, 4, shift**2) if shift else ncx2.sf(14.0, 4, 1e-300)
    assert t2_arl(14.0, dims=4, shift=shift) == pytest.approx(1 / tail, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.7, -0.7, 3.0])
@pytest.mark.parametrize("state", STATES)
def test_an_mewma_of_one_variable_is_a_two_sided_ewma(shift: float, state) -> None:
    one = mewma_arl(0.2, 7.3, dims=1, shift=shift, state=state)
    assert one == pytest.approx(
        ewma_arl(0.2, 7.3**0.5, shift=shift, two_sided=True, state=state), rel=1e-9
    )


def test_an_mewma_without_memory_is_t_squared() -> None:
    assert mewma_arl(1.0, 11.0, dims=5, shift=1.3) == t2_arl(11.0, dims=5, shift=1.3)
    nearly = mewma_arl(1 - 1e-7, 11.0, dims=5, shift=1.3)
    assert nearly == pytest.approx(t2_arl(11.0, dims=5, shift=1.3), rel=1e-4)


@pytest.mark.parametrize(
    ("dims", "lam", "limit"),
    [(2, 0.1, 8.64), (3, 0.5, 12.0), (10, 0.05, 20.0), (30, 0.1, 50.0), (4, 0.02, 12.0),
     (10, 0.01, 16.0)],
)  # fmt: skip
def test_the_plane_of_an_mewma_and_its_radius_agree_where_there_is_no_shift(
    dims: int, lam: float, limit: float
) -> None:
    plane = mewma_arl(lam, limit, dims=dims, shift=1e-9)
    assert plane == pytest.approx(mewma_arl(lam, limit, dims=dims), rel=1e-6)


@pytest.mark.parametrize(
    ("lam", "limit", "dims", "shift"),
    [(0.1, 8.64, 2, 1.0), (0.8, 10.58, 2, 0.5), (0.05, 20.0, 10, 1.0), (0.3, 9.0, 3, 0.0)],
)
def test_an_mewma_is_as_simulated(lam: float, limit: float, dims: int, shift: float) -> None:
    def step(z, x, _):
        z = (1 - lam) * z + lam * x
        return z, (z * z).sum(axis=1) * (2 - lam) / lam > limit

    runs = simulate(step, shift, dims, runs=20_000, seed=dims)
    found = mewma_law(lam, limit, dims=dims, shift=shift)
    assert close(found.mean, runs)
    assert found.median == pytest.approx(np.median(runs), abs=2)


@pytest.mark.parametrize(("head", "exact", "shift"), [(1.0, False, 0.4), (0.0, True, 0.0),
                                                      (0.5, True, 1.0)])  # fmt: skip
def test_moving_limits_of_an_ewma_are_as_simulated(
    head: float, exact: bool, shift: float
) -> None:
    lam, limit = 0.15, 2.2
    unit = (lam / (2 - lam)) ** 0.5

    def step(z, x, n):
        z = (1 - lam) * z + lam * x
        wide = limit * (1 - (1 - lam) ** (2 * n)) ** 0.5 if exact else limit
        return z, np.abs(z[:, 0]) > unit * (wide - head * (1 - lam) ** n)

    runs = simulate(step, shift, runs=40_000, seed=4)
    found = ewma_law(
        lam, limit, shift=shift, two_sided=True, head_start=head,
        limits="exact" if exact else "fixed",
    )  # fmt: skip
    assert close(found.mean, runs)
    assert found.median == pytest.approx(np.median(runs), abs=1)


@pytest.mark.parametrize("state", ["steady", "cyclical"])
def test_a_two_sided_cusum_that_has_run_for_long_is_as_simulated(state: str) -> None:
    k, h, shift, rng = 0.5, 3.0, 0.6, np.random.default_rng(9)
    arms = np.zeros((60_000, 2))
    for _ in range(300):
        x = rng.standard_normal(len(arms))
        arms = np.maximum(arms + np.column_stack([x, -x]) - k, 0)
        out = (arms > h).any(axis=1)
        if state == "cyclical":
            arms[out] = 0
        else:  # begun anew as one of those that are silent
            arms[out] = arms[~out][rng.integers(0, (~out).sum(), out.sum())]

    def step(state, x, _):
        state = np.maximum(state + np.column_stack([x[:, 0], -x[:, 0]]) - k, 0)
        return state, (state > h).any(axis=1)

    runs, alive, n = np.zeros(len(arms)), np.arange(len(arms)), 0
    while len(alive):
        n += 1
        arms, out = step(arms, rng.standard_normal((len(alive), 1)) + shift, n)
        runs[alive[out]], arms, alive = n, arms[~out], alive[~out]
    found = cusum_law(k, h, shift=shift, two_sided=True, state=state)
    assert close(found.mean, runs)
    assert found.median == np.median(runs)


@pytest.mark.parametrize("spec", CHARTS, ids=lambda spec: f"{spec.chart} {spec.head_start}")
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_the_law_and_its_mean_are_of_one_run_length(spec: Spec, shift: float) -> None:
    for state in STATES:
        found = law(spec, shift=shift, state=state)
        chances = np.array([found.exceeds(n) for n in range(int(40 * found.mean))])
        assert chances[0] == 1
        assert np.all(np.diff(chances) <= 1e-12)
        assert chances.sum() == pytest.approx(found.mean, rel=1e-5)
        median = int(found.median)
        assert found.within(median) >= 0.5 > found.within(median - 1)
        assert found.quantile(0.05) <= median <= found.quantile(0.95)


@pytest.mark.parametrize("spec", CHARTS, ids=lambda spec: f"{spec.chart} {spec.head_start}")
def test_a_greater_shift_is_found_sooner(spec: Spec) -> None:
    found = [law(spec, shift=shift).mean for shift in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 60.0)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(1.0)
    if spec.two_sided or spec.dims:
        assert law(spec, shift=-1.0).mean == pytest.approx(found[3], rel=1e-9)


def test_a_chart_that_has_run_for_long_is_a_little_sooner_than_one_that_starts() -> None:
    for spec in (CHARTS[1], CHARTS[5], CHARTS[7], CHARTS[9]):
        zero, steady = (law(spec, shift=1.0, state=state).mean for state in ("zero", "steady"))
        assert 0.7 * zero < steady < zero


@settings(deadline=None, max_examples=25)
@given(st.floats(0.02, 1.0), st.floats(0.5, 4.5), st.floats(0.0, 3.0))
def test_an_ewma_with_a_wider_limit_stays_quiet_longer(
    lam: float, limit: float, shift: float
) -> None:
    narrow = ewma_arl(lam, limit, shift=shift, two_sided=True)
    wide = ewma_arl(lam, limit + 0.1, shift=shift, two_sided=True)
    assert 1 <= narrow < wide
    assert ewma_arl(lam, limit, shift=-shift, two_sided=True) == pytest.approx(narrow, rel=1e-8)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.0, 1.5), st.floats(0.2, 12.0), st.floats(-1.0, 2.0))
def test_the_arms_of_a_cusum_add_up(k: float, h: float, shift: float) -> None:
    up, down = cusum_arl(k, h, shift=shift), cusum_arl(k, h, shift=-shift)
    both = cusum_arl(k, h, shift=shift, two_sided=True)
    if isfinite(up) and isfinite(down):
        assert 1 / both == pytest.approx(1 / up + 1 / down, rel=1e-9)
    assert cusum_arl(k, h, shift=shift, head_start=h / 2) <= up


@pytest.mark.parametrize(
    ("spec", "arl0"),
    [
        (Spec(chart="ewma", lam=0.1, two_sided=True), 500.0),
        (Spec(chart="ewma", lam=0.1), 1e8),
        (Spec(chart="ewma", lam=0.1, two_sided=True, head_start=1.0), 370.0),
        (Spec(chart="cusum", two_sided=True), 1e5),
        (Spec(chart="cusum", k=0.5, head_start=2.0), 500.0),
        (Spec(chart="shewhart"), 1e4),
        (Spec(chart="mewma", dims=10), 1_000.0),
        (Spec(chart="t2", dims=7), 200.0),
        (
            Spec(chart="runs", rules=(Rule(hits=1, span=1, above=3.0), WESTERN_ELECTRIC[1])),
            900.0,
        ),
    ],
    ids=lambda value: getattr(value, "chart", ""),
)
def test_design_is_the_inverse(spec: Spec, arl0: float) -> None:
    assert law(designed(spec, arl0)).mean == pytest.approx(arl0, rel=1e-6)


def test_designs_meet_known_limits() -> None:
    assert design("ewma", 500.0, lam=0.1, two_sided=True) == pytest.approx(2.814, abs=1e-3)
    assert design("cusum", 500.0, k=0.5, two_sided=True) == pytest.approx(5.071, abs=2e-3)
    # Hawkins (1993), as in Montgomery's table of h for an ARL of 370
    for k, h in {0.25: 8.01, 0.5: 4.77, 0.75: 3.34, 1.0: 2.52, 1.25: 1.99, 1.5: 1.61}.items():
        assert design("cusum", 370.0, k=k, two_sided=True) == pytest.approx(h, abs=0.011)
    # Crowder (1989): 250 points
    for lam, limit in {0.05: 2.32, 0.1: 2.55, 0.15: 2.65, 0.2: 2.72, 0.25: 2.76}.items():
        found = design("ewma", 250.0, lam=lam, two_sided=True)
        assert found == pytest.approx(limit, abs=0.006)


def test_half_of_the_half_sigma_shifts_are_found_within_32_points_at_500() -> None:
    for spec in (Spec(chart="ewma", two_sided=True), Spec(chart="cusum", two_sided=True)):
        assert law(designed(spec, 500.0), shift=0.5).median <= 32


def test_a_run_of_eight_on_one_side_has_the_coins_closed_form() -> None:
    rule = (Rule(hits=8, span=8, above=0.0),)
    assert rules_arl(rule) == pytest.approx(2**9 - 2)  # eight heads in a row
    assert rules_arl(rule, two_sided=True) == pytest.approx(2**8 - 1)


def test_runs_rules_are_as_simulated() -> None:
    rules = rules_from("1/1:2.5, 3/4:1..2.2")

    def step(past, x, n):
        past = np.column_stack([past[:, 1:], x])
        inside = ((past > 1) & (past < 2.2)).sum(axis=1) >= 3
        mirrored = ((past < -1) & (past > -2.2)).sum(axis=1) >= 3
        return past, inside | mirrored | (np.abs(x[:, 0]) > 2.5)

    rng = np.random.default_rng(2)
    past, length = np.zeros((20_000, 4)), np.zeros(20_000)
    alive, n = np.arange(20_000), 0
    while len(alive):
        n += 1
        past, out = step(past, rng.standard_normal((len(alive), 1)) + 0.3, n)
        length[alive[out]], past, alive = n, past[~out], alive[~out]
    assert close(rules_arl(rules, shift=0.3, two_sided=True), length)


def test_counts_are_exact_at_given_limits() -> None:
    chart = Counts(chart="p", rate=0.02, size=1_000.0)
    low, high = count_limits(chart, two_sided=True)
    assert low is not None
    chance = binom.sf(np.floor(1_000 * high), 1_000, 0.03) + binom.cdf(
        np.ceil(1_000 * low) - 1, 1_000, 0.03
    )
    assert counts_arl(chart, lower=low, upper=high, shift=0.01) == pytest.approx(1 / chance)
    u = Counts(chart="u", rate=2.0, size=50.0)
    assert counts_arl(u, upper=2.5) == pytest.approx(1 / poisson.sf(125, 100.0))
    assert counts_arl(Counts(chart="np", rate=0.1, size=10.0), upper=10) == inf


@pytest.mark.parametrize("chart", ["p", "np", "c", "u"])
@pytest.mark.parametrize("two_sided", [False, True])
def test_probability_limits_are_the_nearest_that_hold(chart, two_sided: bool) -> None:
    counts = Counts(chart=chart, rate=0.3 if chart in "np" else 12.0,
                    size=1.0 if chart == "c" else 60.0)  # fmt: skip
    low, high = probability_limits(counts, 370.0, two_sided=two_sided)
    assert counts_arl(counts, lower=low, upper=high) >= 370
    half = 1 / 370 / (2 if two_sided else 1)
    step = 1 / counts.unit
    assert counts_arl(counts, upper=high) >= 1 / half > counts_arl(counts, upper=high - step)
    if low is not None:
        nearer = counts_arl(counts, lower=low + step)
        assert counts_arl(counts, lower=low) >= 1 / half > nearer


def test_overdispersed_counts_are_as_simulated() -> None:
    rng, n = np.random.default_rng(6), 200_000
    p = Counts(chart="p", rate=0.1, size=400.0, dispersion=2.0)
    together = (2.0**2 - 1) / 399
    rates = beta_law.rvs(
        0.1 * (1 / together - 1), 0.9 * (1 / together - 1), size=n, random_state=rng
    )
    shares = rng.binomial(400, rates) / 400
    assert shares.std() == pytest.approx(p.sigma, rel=0.01)
    _, high = count_limits(p)
    chance = (shares > high).mean()
    assert counts_arl(p, upper=high) == pytest.approx(1 / chance, rel=0.15)
    u = Counts(chart="u", rate=3.0, size=20.0, dispersion=1.5)
    events = rng.poisson(rng.gamma(60 / 1.25, 1.25, size=n)) / 20
    assert events.std() == pytest.approx(u.sigma, rel=0.01)
    _, high = count_limits(u)
    assert counts_arl(u, upper=high) == pytest.approx(1 / (events > high).mean(), rel=0.15)
    plain = Counts(chart="p", rate=0.1, size=400.0)
    nearly = Counts(chart="p", rate=0.1, size=400.0, dispersion=1 + 1e-9)
    assert counts_arl(nearly, upper=0.14) == pytest.approx(
        counts_arl(plain, upper=0.14), rel=1e-3
    )


def test_limits_of_an_estimated_covariance_hold_on_average_over_baselines() -> None:
    rng, m, p = np.random.default_rng(8), 25, 3
    baselines = rng.standard_normal((20_000, m, p))
    mean = baselines.mean(axis=1)
    spread = np.einsum("bmi,bmj->bij", baselines - mean[:, None], baselines - mean[:, None])
    gap = rng.standard_normal((20_000, p)) - mean
    t2 = np.einsum("bi,bij,bj->b", gap, np.linalg.inv(spread / (m - 1)), gap)
    assert (t2 > t2_limit(0.05, dims=p, baseline=m)).mean() == pytest.approx(0.05, abs=0.005)
    own = baselines[:, 0] - mean
    first = np.einsum("bi,bij,bj->b", own, np.linalg.inv(spread / (m - 1)), own)
    inside = t2_limit(0.05, dims=p, baseline=m, phase=1)
    assert (first > inside).mean() == pytest.approx(0.05, abs=0.005)
    assert t2_limit(0.01, dims=2, baseline=10**7) == pytest.approx(
        t2_limit(0.01, dims=2), rel=1e-4
    )


@pytest.mark.parametrize(
    ("chart", "words"),
    [("ewma", {"limit": 1e6}), ("cusum", {"h": 60.0}), ("mewma", {"limit": 1e5, "dims": 3}),
     ("ewma", {"limit": 50.0, "two_sided": True}), ("cusum", {"h": 1.0, "k": 100.0})],
)  # fmt: skip
def test_what_never_signals_is_infinite(chart, words) -> None:
    found = law(Spec(chart=chart, **words))
    assert found.mean == found.median == inf
    assert found.exceeds(1e9) == 1


@pytest.mark.parametrize("lam", [1e-4, 1e-3, 0.999999])
def test_extreme_weights_still_give_the_truth(lam: float) -> None:
    found = ewma_arl(lam, 2.0, two_sided=True)
    if lam > 0.9:
        assert found == pytest.approx(shewhart_arl(2.0, two_sided=True), rel=1e-5)
    else:  # nearly an Ornstein-Uhlenbeck process: the time scales with 1 / lam
        assert found * lam == pytest.approx(
            ewma_arl(lam / 3, 2.0, two_sided=True) * lam / 3, rel=0.05
        )


def test_a_shift_far_beyond_the_limit_of_a_wide_mewma_is_not_infinite() -> None:
    # the shift settles at T squared 19 on average: the limit of 45 is passed by luck
    found = mewma_arl(0.1, 45.0, dims=3, shift=1.0)
    assert 150 < found < 350
    # more states than are solved directly, and a run length of thousands of points
    small = mewma_arl(0.01, 13.0, dims=2, shift=0.001)
    assert 0.99 < small / mewma_arl(0.01, 13.0, dims=2) < 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ewma_arl(0.0, 3.0), "lam"),
        (lambda: ewma_arl(0.1, -1.0), "limit"),
        (lambda: ewma_arl(0.1, float("nan")), "finite"),
        (lambda: ewma_arl(0.1, 3.0, reflect=0.5), "border"),
        (lambda: ewma_arl(0.1, 3.0, two_sided=True, head_start=3.0), "head_start"),
        (lambda: ewma_arl(1e-7, 3.0, two_sided=True), "nodes"),
        (lambda: cusum_arl(-1.0, 3.0), "k >= 0"),
        (lambda: cusum_arl(0.5, 4.0, head_start=5.0), "head_start"),
        (lambda: cusum_arl(0.5, 4.0, head_start=3.5, two_sided=True), "h / 2"),
        (lambda: cusum_arl(0.0, 4.0, two_sided=True, state="steady"), "no steady state"),
        (lambda: mewma_arl(0.1, 8.0, dims=0), "variables"),
        (lambda: mewma_arl(1e-5, 8.0, dims=2, shift=1.0), "larger lam"),
        (lambda: arl("ewma", limit=3.0, k=0.5), "has no k"),
        (lambda: arl("cusum", k=0.5), "needs h"),
        (lambda: arl("shewhart", limit=3.0, state="odd"), "state"),
        (lambda: arl("bogus", limit=3.0), "expected a chart"),
        (lambda: design("cusum", 1.2, k=0.0), "the least"),
        (lambda: designed(Spec(chart="runs", two_sided=True), 300.0), "no limit"),
        (lambda: designed(Spec(chart="ewma", limit=3.0), 300.0), "leave out"),
        (lambda: Counts(chart="p", rate=1.5, size=10.0), "rate"),
        (lambda: Counts(chart="p", rate=0.1, size=10.0, dispersion=0.5), "dispersion"),
        (lambda: counts_arl(Counts(chart="c", rate=1.0), upper=3.0, shift=-2.0), "none can be"),
        (lambda: rules_from("two of three"), "rules like"),
        (lambda: rules_arl(rules_from("20/40:1")), "states"),
        (lambda: t2_limit(0.01, dims=5, baseline=5), "too few"),
    ],
)
def test_what_cannot_be_is_refused_in_words(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_a_geometric_run_length_knows_its_tail() -> None:
    found = geometric(1e-9)
    assert found.exceeds(10**9) == pytest.approx(np.exp(-1), rel=1e-6)
    assert found.median == pytest.approx(np.log(2) * 1e9, rel=1e-6)
    assert geometric(1.0).median == 1
