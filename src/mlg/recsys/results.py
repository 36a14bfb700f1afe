"""What an evaluation found: figures for people, outcomes for paired comparisons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlg.core.errors import ManifestError
from mlg.recsys.bootstrap import Interval, ratio_interval
from mlg.recsys.columns import Floats
from mlg.recsys.metrics import ndcg_at, recall_at

Segment = str


def _no_ranks() -> NDArray[np.int64]:
    return np.zeros(0, dtype=np.int64)


def _no_lists() -> NDArray[np.int32]:
    return np.zeros((0, 10), dtype=np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One model's outcome at each held-out event; arrays of shape ``(n,)``."""

    cluster: NDArray[np.int64]
    """Viewer of the event; the event itself where there is no viewer."""
    length: NDArray[np.int64]
    """Earlier events of the viewer."""
    confidence: Floats
    """NaN for baselines."""
    ranks: NDArray[np.int64] = field(default_factory=_no_ranks)
    """Place of the item that came next, 1 is best; 0: not on the list."""
    shown: NDArray[np.int32] = field(default_factory=_no_lists)
    """First ten items, shape ``(n, 10)``; -1 is an empty place."""
    weight: Floats | None = None
    """Impressions only: 1{the top choice was shown} / propensity."""
    reward: Floats | None = None
    """Impressions only: the logged label."""

    def outcome(self, metric: str) -> tuple[Floats, Floats]:
        """Return numerators and denominators whose ratio of sums is the metric.

        Raises:
            ManifestError: The metric is not one that can be compared.
        """
        name, _, depth = metric.partition("@")
        ones = np.ones(self.cluster.size)
        if self.weight is not None and self.reward is not None:
            if metric == "ips":
                return self.weight * self.reward, ones
            if metric == "snips":
                return self.weight * self.reward, self.weight
        elif name in {"ndcg", "recall"} and depth.isdigit() and int(depth) >= 1:
            measure = ndcg_at if name == "ndcg" else recall_at
            return measure(self.ranks, int(depth)), ones
        raise ManifestError(
            f"metric {metric!r} cannot be compared",
            where="gates",
            hint="use ndcg@K or recall@K for rankings, ips or snips for impressions.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Figures by model, segment and metric, and the outcomes behind them."""

    kind: str
    """`ranking` or `impressions`."""
    cut: str
    events: int
    viewers: int
    ks: tuple[int, ...]
    seed: int
    scored: Mapping[str, Scored]
    results: Mapping[str, Mapping[Segment, Mapping[str, Interval]]]

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the outcomes, JSON-ready."""
        return {
            "kind": self.kind,
            "cut": self.cut,
            "events": self.events,
            "viewers": self.viewers,
            "ks": list(self.ks),
            "seed": self.seed,
            "note": "says nothing about items that were never shown (selection bias)",
            "models": {
                name: {
                    segment: {metric: found.as_dict() for metric, found in figures.items()}
                    for segment, figures in segments.items()
                }
                for name, segments in self.results.items()
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """One gate's answer; JSON-ready."""

    metric: str
    rule: str
    reference: str
    passed: bool
    value: float
    reference_value: float
    difference: Interval
    bound: float
    """The lower end of the difference's interval must be above it."""

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as a JSON object."""
        return {
            "metric": self.metric,
            "rule": self.rule,
            "reference": self.reference,
            "passed": self.passed,
            "value": self.value,
            "reference_value": self.reference_value,
            "difference": self.difference.as_dict(),
            "bound": self.bound,
        }


def compare(a: Scored, b: Scored, metric: str, *, seed: int = 0) -> Interval:
    """Return metric(a) - metric(b) with a 95 % interval, paired by viewer.

    Args:
        a: Outcomes of one model.
        b: Outcomes of another at the same events.
        metric: `ndcg@K`, `recall@K`; for impressions `ips` or `snips`.
        seed: Seed of the resamples.

    Raises:
        ValueError: The outcomes are not of the same events.
        ManifestError: The metric is not one that can be compared.

    Source:
        T. Sakai (2006), SIGIR '06, pp. 525-532 (paired bootstrap for IR metrics).
    """
    if not np.array_equal(a.cluster, b.cluster):
        raise ValueError("the two models were not scored on the same events")
    top_a, bottom_a = a.outcome(metric)
    top_b, bottom_b = b.outcome(metric)
    if metric == "snips":  # ratios of different weights: linearised at the two values
        rate_a = float(top_a.sum()) / max(float(bottom_a.sum()), 1e-12)
        rate_b = float(top_b.sum()) / max(float(bottom_b.sum()), 1e-12)
        influence = (top_a - rate_a * bottom_a) / max(float(bottom_a.mean()), 1e-12) - (
            top_b - rate_b * bottom_b
        ) / max(float(bottom_b.mean()), 1e-12)
        return ratio_interval(
            influence + rate_a - rate_b, np.ones(a.cluster.size), a.cluster, seed=seed
        )
    return ratio_interval(top_a - top_b, bottom_a, a.cluster, seed=seed)


def judge(
    evaluation: Evaluation,
    model: str,
    reference: str,
    metric: str,
    *,
    rule: str,
    margin: float = 0.0,
) -> GateVerdict:
    """Return whether a model keeps a gate against a reference on the same events.

    Args:
        evaluation: Both models' outcomes.
        model: The candidate's name.
        reference: Name of a model or baseline of the evaluation.
        metric: As in `compare`.
        rule: `better_than`: the difference's interval lies above 0. `not_worse_than`: it
            lies above -margin x |the reference's value|.
        margin: Relative margin, 0..1, for `not_worse_than`.

    Raises:
        ManifestError: A name, the rule or the metric is unknown.
    """
    for name in (model, reference):
        if name not in evaluation.scored:
            raise ManifestError(
                f"{name!r} was not evaluated",
                where="gates",
                hint=f"evaluated: {', '.join(sorted(evaluation.scored))}.",
            )
    if rule not in {"better_than", "not_worse_than"}:
        raise ManifestError(
            f"unknown rule {rule!r}", where="gates", hint="better_than or not_worse_than."
        )
    a, b = evaluation.scored[model], evaluation.scored[reference]
    difference = compare(a, b, metric, seed=evaluation.seed)
    values = [
        float(top.sum()) / max(float(bottom.sum()), 1e-12)
        for top, bottom in (a.outcome(metric), b.outcome(metric))
    ]
    bound = -margin * abs(values[1]) if rule == "not_worse_than" else 0.0
    return GateVerdict(
        metric=metric,
        rule=rule,
        reference=reference,
        passed=bool(difference.low > bound),
        value=values[0],
        reference_value=values[1],
        difference=difference,
        bound=bound,
    )
