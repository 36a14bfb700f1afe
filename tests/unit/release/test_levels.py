"""CPU and cache hits after a swap: limits of ratios, and when they reverse."""

import numpy as np
import pytest
from scipy import stats

from mlg.manifest.specs_services import CacheObjective, CpuObjective, RollbackSpec
from mlg.release.levels import (
    LEAST_EVENTS,
    STANDS_S,
    Level,
    LevelFacts,
    Ratio,
    Slice,
    judge_level,
    levels,
    ratio,
)

CPU = Level(name="cpu", bound=0.5)
HITS = Level(name="cache_hits", bound=0.3)


def slices(rng: np.random.Generator, cost: float, n: int = 12) -> tuple[Slice, ...]:
    """Return a minute of spans whose requests cost about so many seconds."""
    counts = rng.poisson(500, n)
    return tuple(
        Slice(amount=float(rng.gamma(50.0, cost * k / 50.0)), events=float(k)) for k in counts
    )


def test_the_limits_are_those_of_a_mean_where_all_spans_are_equally_long() -> None:
    amounts = np.array([1.0, 1.2, 0.9, 1.1, 1.3, 0.8, 1.05])
    found = ratio([Slice(amount=float(a), events=100.0) for a in amounts])
    low, high = stats.t.interval(
        0.998, len(amounts) - 1, loc=amounts.mean(), scale=stats.sem(amounts)
    )
    assert (found.value, found.low, found.high) == pytest.approx(
        (amounts.mean() / 100, low / 100, high / 100)
    )
    assert found.known


@pytest.mark.parametrize(
    "spans",
    [(), (Slice(amount=1.0, events=1e6),) * 5, (Slice(amount=0.1, events=1.0),) * 12],
    ids=["nothing", "too few spans", "too few requests"],
)
def test_what_says_too_little_is_not_compared(spans: tuple[Slice, ...]) -> None:
    assert not ratio(spans).known
    former = Ratio(value=0.1, low=0.1, high=0.1, events=1e6, slices=12)
    for level in (CPU, HITS):
        said, since_s = judge_level(
            level, LevelFacts(now_s=1e6, warm=True, slices=spans, former=former), 0.0
        )
        assert (said.verdict, since_s) == ("INCONCLUSIVE", None)


def test_a_version_that_costs_the_same_is_never_reversed_and_three_times_as_dear_soon() -> None:
    rng = np.random.default_rng(5)
    for cost, ends in ((0.002, None), (0.006, STANDS_S)):
        for _ in range(50):
            former = ratio(slices(rng, 0.002))
            since_s: float | None = None
            failed_s = None
            for now_s in np.arange(0.0, 600.0, 2.0):
                facts = LevelFacts(
                    now_s=float(now_s), warm=True, slices=slices(rng, cost), former=former
                )
                said, since_s = judge_level(CPU, facts, since_s)
                if said.verdict == "FAIL":
                    failed_s = now_s
                    break
            assert failed_s == ends, said.reason


def test_it_fails_only_when_it_stood_beyond_for_a_minute_without_a_break() -> None:
    low = tuple(Slice(amount=10.0 + n % 2, events=100.0) for n in range(12))
    well = tuple(Slice(amount=50.0, events=100.0) for _ in range(12))
    assert sum(s.events for s in low) >= LEAST_EVENTS

    def look(now_s: float, spans: tuple[Slice, ...], since_s: float | None) -> tuple:
        said, since_s = judge_level(
            HITS, LevelFacts(now_s=now_s, warm=True, slices=spans), since_s
        )
        return said.verdict, since_s

    assert look(100.0, low, None) == ("INCONCLUSIVE", 100.0)
    assert look(159.9, low, 100.0) == ("INCONCLUSIVE", 100.0)
    assert look(160.0, low, 100.0) == ("FAIL", 100.0)
    assert look(130.0, well, 100.0) == ("PASS", None)
    assert look(50.0, low, 100.0) == ("INCONCLUSIVE", 50.0), "a clock begun anew"


def test_cold_caches_are_not_judged_and_missing_figures_hold() -> None:
    low = tuple(Slice(amount=0.0, events=100.0) for _ in range(12))
    said, _ = judge_level(HITS, LevelFacts(now_s=1e6, warm=False, slices=low), 0.0)
    assert said.verdict == "INCONCLUSIVE"
    said, _ = judge_level(HITS, LevelFacts(now_s=1e6, warm=True, slices=None), 0.0)
    assert said.verdict == "ERROR"
    said, _ = judge_level(CPU, LevelFacts(now_s=1e6, warm=True, slices=low, former=None), 0.0)
    assert (said.verdict, "not known" in said.reason) == ("INCONCLUSIVE", True)


def test_the_manifest_names_the_levels() -> None:
    assert levels(RollbackSpec()) == ()
    asked = RollbackSpec(
        cpu=CpuObjective(max_increase_bp=5_000), cache_hits=CacheObjective(min_bp=3_000)
    )
    assert levels(asked) == (CPU, HITS)
