"""How long a rollout will take, and what it will find, before it begins.

Each question is simulated with the gates' own tests: how many requests of the candidate until
a healthy version passes a step, and until a fault is found. Requests become time by the
traffic that is expected.
"""

from dataclasses import dataclass
from math import ceil, log
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, gamma, norm

from mlg.core.measure import BLOCK_S
from mlg.core.traffic import FULL_BP
from mlg.release.gates import FAR_BELOW, QUANTILES, SLOWER_SHARE
from mlg.release.rollout_types import GatePlan, RolloutPlan
from mlg.release.visible import PASS_ALPHA, smallest_visible, viewers_needed
from mlg.stats.sequential import DROPS, FALLS, RISEN, RISES, SLOWER, mixed, rise_terms

Latency = Literal["lognormal", "gamma", "pareto"]
RUNS: Final = 1_000
"""Simulated rollouts behind each figure."""
_GROWTH: Final = 1.04
"""Between two looks of a simulation; a verdict is told late by at most so much."""
_LOOKS: Final = 600
_BLOCKS: Final = 250
"""Blocks that are simulated at once."""
_NOT_ABOVE: Final = (0.25, 0.5, 0.75, 0.9)
_PARETO: Final = 2.5
_GAMMA: Final = 2.0
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the service is expected to see while the rollout lasts."""

    rate_hz: float = 100.0
    """Requests a second, of the whole service."""
    requests_per_unit: float = 1.0
    """Requests of one sticky unit within a step, on average; at least 1."""
    error_rate: float = 0.0
    """Share of requests that fail already."""
    abstention_rate: float = 0.0
    """Share of answers for which the model steps back already."""
    latency: Latency = "lognormal"
    """Its shape: log-normal with `tail`, gamma of shape 2, or Pareto of index 2.5."""
    tail: float = 3.2
    """p99 of a log-normal latency over its median."""
    ctr: float = 0.05
    """Share of what a viewer is shown that he takes."""
    seed: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that a candidate might do."""

    name: str
    gate: str
    """The gate that must see it."""
    size: float
    """Error rate or share afterwards, factor of the latency, or relative drop."""


FAULTS: Final = (
    Fault(name="errors 1 %", gate="errors", size=0.01),
    Fault(name="errors 20 %", gate="errors", size=0.2),
    Fault(name="errors 100 %", gate="errors", size=1.0),
    Fault(name="latency +50 %", gate="latency_p99", size=1.5),
    Fault(name="abstains always", gate="abstention", size=1.0),
    Fault(name="ctr -10 %", gate="ctr", size=0.1),
    Fault(name="ctr -50 %", gate="ctr", size=0.5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """When something is known, over the simulated rollouts."""

    share: float
    """Part of the rollouts in which it was known within `max_hold`."""
    median_requests: float | None
    """Requests of the candidate; None when more than half never knew."""
    p95_requests: float | None
    """Within so many 95 % have it: the upper 99 % confidence limit of that quantile."""
    median_s: float | None
    p95_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepForecast:
    """One step of the canary."""

    share_bp: int
    candidate_hz: float
    smallest: float
    """Smallest added share of failing units that a PASS of the step rules out."""
    healthy: Found
    """When a version that is as good as the one that serves has passed."""
    unsupported: tuple[str, ...]
    """Gates of engagement that so few viewers come to that the others decide."""
    faults: tuple[tuple[str, Found], ...]
    """By name of the fault; only faults whose gate is read at this step."""


def forecast(
    plan: RolloutPlan, traffic: Traffic, faults: tuple[Fault, ...] = FAULTS, runs: int = RUNS
) -> tuple[StepForecast, ...]:
    """Return what each step of a plan will take and see.

    Every step is taken alone: what was learnt in the steps before makes it quicker.

    Args:
        plan: Steps, gates and their parts of alpha; the step of 100 % judges nothing.
        traffic: What is expected; requests that come independently of each other.
        faults: What to look for.
        runs: Simulated rollouts behind each figure.

    Examples:
        >>> forecast(RolloutPlan(), Traffic())
        ()
    """
    found: list[StepForecast] = []
    for share_bp in plan.steps_bp:
        if share_bp >= FULL_BP:
            break
        step = _Step(plan, traffic, share_bp, runs)
        read = {gate.name: gate for gate in plan.gates if share_bp >= gate.from_bp}
        found.append(
            StepForecast(
                share_bp=share_bp,
                candidate_hz=traffic.rate_hz * share_bp / FULL_BP,
                smallest=smallest_visible(plan.min_units),
                healthy=step.healthy(),
                unsupported=step.unsupported(),
                faults=tuple(
                    (fault.name, step.finds(read[fault.gate], fault))
                    for fault in faults
                    if fault.gate in read
                ),
            )
        )
    return tuple(found)


class _Step:
    """One step, simulated on a grid of looks that grows by a constant factor."""

    def __init__(self, plan: RolloutPlan, traffic: Traffic, share_bp: int, runs: int) -> None:
        self._plan, self._of, self._runs = plan, traffic, runs
        self._share = share_bp / FULL_BP
        self._hz = traffic.rate_hz * self._share
        self._random = np.random.default_rng([traffic.seed, share_bp])
        most = max(1.0, self._hz * plan.max_hold_s)
        looks = np.unique(np.ceil(_GROWTH ** np.arange(_LOOKS, dtype=np.float64)))
        self._requests: _Floats = looks[looks <= most]

    def unsupported(self) -> tuple[str, ...]:
        """Return the gates of engagement that too few viewers come to."""
        come = self._requests[-1] / self._of.requests_per_unit
        return tuple(
            gate.name
            for gate in self._plan.gates
            if gate.engagement
            and self._share * FULL_BP >= gate.from_bp
            and come < FAR_BELOW * viewers_needed(self._of.ctr, gate.margin)
        )

    def healthy(self) -> Found:
        """Return when every gate but those of engagement has passed, all together."""
        units = np.maximum(1, np.ceil(self._requests / self._of.requests_per_unit))
        passed = np.broadcast_to(units >= self._plan.min_units, (self._runs, len(units))).copy()
        for gate in self._plan.gates:
            rate = self._rate_of(gate)
            if rate is not None:
                passed &= self._passes(gate, rate, units)
        return self._first(passed)

    def finds(self, gate: GatePlan, fault: Fault) -> Found:
        """Return when a gate has found a fault."""
        if gate.name in QUANTILES:
            return self._finds_slow(gate, fault)
        if gate.engagement:
            return self._finds_drop(gate, fault)
        before = self._rate_of(gate) or 0.0
        after = max(before, fault.size)
        if gate.name in {"abstention", "fallback"}:
            units = np.maximum(1, np.ceil(self._requests / self._of.requests_per_unit))
            events = self._counts(units, after)
            value = _log_above(events, units, min(0.99, before + gate.margin))
            return self._first(value >= log(1.0 / gate.alpha))
        events = self._counts(self._requests, after)
        others = self._counts(self._requests * (1.0 - self._share) / self._share, before)
        value = mixed(rise_terms(events, others, self._share, RISES))
        return self._first(value >= log(1.0 / gate.alpha))

    def _rate_of(self, gate: GatePlan) -> float | None:
        """Return the share of units with the event in a healthy version; None: no such gate."""
        of = self._of
        if gate.name in {"errors", "rescue"}:
            return 1.0 - (1.0 - of.error_rate) ** of.requests_per_unit
        if gate.name in {"sanity", "fallback"}:
            return 0.0
        if gate.name == "abstention":
            return of.abstention_rate
        if gate.name in QUANTILES:
            return _over(of, gate, 1.0)
        return None

    def _passes(self, gate: GatePlan, rate: float, units: _Floats) -> NDArray[np.bool_]:
        control_rate = 1.0 - QUANTILES[gate.name] if gate.name in QUANTILES else rate
        part = 1.0 if gate.name in QUANTILES else (1.0 - self._share) / self._share
        events = self._counts(units, rate)
        others = self._counts(units * part, control_rate)
        over = 1.0 - QUANTILES.get(gate.name, 1.0)
        allowed = over + min(over, SLOWER_SHARE) if gate.name in QUANTILES else gate.margin
        bound = min(0.99, max(allowed, smallest_visible(self._plan.min_units)))
        below = _log_below(events, units, bound)
        with np.errstate(divide="ignore", invalid="ignore"):
            null = 1.0 + bound * units * part / np.maximum(1.0, others)
        share = 1.0 / (1.0 + part)
        relative = mixed(
            np.stack(
                [_relative(events, others, share, null, fall) for fall in _NOT_ABOVE], axis=-1
            )
        )
        both = mixed(np.stack([below, relative], axis=-1))
        return np.where(others > 0, both, below) >= log(1.0 / PASS_ALPHA)

    def _finds_slow(self, gate: GatePlan, fault: Fault) -> Found:
        """Return when blocks of wall time have shown it, one sign each."""
        q = QUANTILES[gate.name]
        each = self._hz * BLOCK_S
        blocks = int(min(20_000, max(1, self._requests[-1] / max(each, 1e-9))))
        chance = each * _over(self._of, gate, fault.size), each * (1.0 - q)
        worse = better = np.zeros((self._runs, 1))
        quiet = np.ones(self._runs, dtype=bool)
        found = np.full(self._runs, np.inf)
        for start in range(0, blocks, _BLOCKS):
            shape = (self._runs, min(_BLOCKS, blocks - start))
            slow, own = (self._random.poisson(mean, shape) for mean in chance)
            sign = np.sign(slow - own)
            counted, quiet = _refractory(sign != 0, quiet)
            lost = worse[:, -1:] + np.cumsum((sign > 0) & counted, axis=1)
            won = better[:, -1:] + np.cumsum((sign < 0) & counted, axis=1)
            hit = mixed(rise_terms(lost, won, 0.5, SLOWER)) >= log(1.0 / gate.alpha)
            when = np.where(hit.any(axis=1), start + 1 + hit.argmax(axis=1), np.inf)
            found, worse, better = np.minimum(found, when), lost, won
            if np.isfinite(found).all():
                break
        return self._told(found * each)

    def _finds_drop(self, gate: GatePlan, fault: Fault) -> Found:
        """Return when the viewers of both groups have shown it."""
        rate, null = self._of.ctr, 1.0 - gate.margin
        viewers = np.maximum(1, np.ceil(self._requests / self._of.requests_per_unit))
        got = self._counts(viewers, rate * (1.0 - fault.size)) / viewers
        own = self._counts(viewers, rate) / viewers
        pooled = (got + own) / 2
        variance = np.maximum(1e-12, pooled * (1 - pooled) * 2 / viewers)
        shifts = np.asarray([null * r - null for r in DROPS]) * pooled[..., None]
        gap = (got - null * own)[..., None]
        terms = (shifts * gap - shifts**2 / 2) / variance[..., None]
        enough = viewers >= 100
        return self._first((mixed(terms) >= log(1.0 / gate.alpha)) & enough)

    def _counts(self, units: NDArray[Any], rate: float) -> _Floats:
        """Return cumulative events of independent units at each look, shape (runs, looks)."""
        steps = np.diff(np.round(units), prepend=0.0)
        drawn = self._random.binomial(
            np.maximum(0, steps).astype(np.int64), rate, (self._runs, len(steps))
        )
        return np.cumsum(drawn, axis=1).astype(float)

    def _first(self, known: NDArray[np.bool_]) -> Found:
        at = np.asarray(self._requests, dtype=float)
        return self._told(np.where(known.any(axis=1), at[known.argmax(axis=1)], np.inf))

    def _told(self, when: _Floats) -> Found:
        ranked = np.sort(when)
        # order statistic over the 95 % quantile in 99 % of samples of this size
        place = min(len(ranked) - 1, int(binom.ppf(0.99, len(ranked), 0.95)))
        median, p95 = float(ranked[len(ranked) // 2]), float(ranked[place])
        return Found(
            share=float(np.isfinite(when).mean()),
            median_requests=median if np.isfinite(median) else None,
            p95_requests=p95 if np.isfinite(p95) else None,
            median_s=median / self._hz if np.isfinite(median) else None,
            p95_s=p95 / self._hz if np.isfinite(p95) else None,
        )


def _over(traffic: Traffic, gate: GatePlan, factor: float) -> float:
    """Return the share of a candidate's answers that are slow, its latency times a factor.

    Slow is over the control's quantile and the gate's margin.
    """
    over, times = 1.0 - QUANTILES[gate.name], (1.0 + gate.margin) / factor
    if traffic.latency == "pareto":
        return min(1.0, over * times**-_PARETO)
    if traffic.latency == "gamma":
        return float(gamma.sf(gamma.isf(over, _GAMMA) * times, _GAMMA))
    sigma = log(max(traffic.tail, 1.0 + 1e-9)) / float(norm.ppf(0.99))
    return float(norm.sf(float(norm.isf(over)) + log(times) / sigma))


def _refractory(
    there: NDArray[np.bool_], quiet: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the signs that count, none directly after one that did, and who was quiet last."""
    counted = np.zeros_like(there)
    for look in range(there.shape[1]):
        counted[:, look] = there[:, look] & quiet
        quiet = ~counted[:, look]
    return counted, quiet


def _log_below(events: _Floats, units: _Floats, bound: float) -> _Floats:
    terms: list[_Floats] = []
    for part in FALLS:
        q = part * bound
        with np.errstate(invalid="ignore"):
            hit = events * log(part) if part else np.where(events > 0, -np.inf, 0.0)
        terms.append(hit + (units - events) * (np.log1p(-q) - np.log1p(-bound)))
    return mixed(np.stack(terms, axis=-1))


def _log_above(events: _Floats, units: _Floats, bound: float) -> _Floats:
    terms: list[_Floats] = []
    for part in RISEN:
        q = bound + part * (1.0 - bound)
        with np.errstate(divide="ignore", invalid="ignore"):
            miss = np.where(units > events, (units - events) * np.log1p(-min(q, 1.0)), 0.0)
        terms.append(events * log(q / bound) + miss - (units - events) * np.log1p(-bound))
    return mixed(np.stack(terms, axis=-1))


def _relative(
    events: _Floats, others: _Floats, share: float, null: _Floats, fall: float
) -> _Floats:
    """Return the log likelihood ratio of `fall` times the null against the null."""
    r = fall * null
    spread = np.log1p(share * (r - 1)) - np.log1p(share * (null - 1))
    return events * log(fall) - (events + others) * spread


def seconds_of(steps: tuple[StepForecast, ...]) -> float | None:
    """Return about how long a healthy version takes to 100 %; None when a step never ends.

    Examples:
        >>> seconds_of(())
        0.0
    """
    medians = [step.healthy.median_s for step in steps]
    if any(median is None for median in medians):
        return None
    return float(ceil(sum(median or 0.0 for median in medians)))
