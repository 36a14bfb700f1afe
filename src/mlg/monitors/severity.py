"""How bad it is, and what the live policy makes of it while it lasts."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import exp, isfinite
from typing import Final

from mlg.core.predict import ServingPolicy
from mlg.monitors.evaluate import Signal

MOST_DIVERSITY: Final = 0.5
"""Diversity that full severity asks for."""

_STEP: Final = 0.05
"""Severity changes the policy in such steps, so that a chart's trembling writes no policies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """What an incident changes of a service's live policy; undone with the incident."""

    service: str
    drift_severity: float
    """0..1; serving shows `raw * (1 - SHRINK * drift_severity)`, which falls with severity and
    rises with raw confidence (`serving.confidence.shown_confidence`)."""
    diversity: float
    """0..1: how far answers are spread over kinds of items."""
    reason: str

    def apply(self, policy: ServingPolicy, version: str) -> ServingPolicy:
        """Return the policy with these values under a new version; nothing else changes.

        Raises:
            ValueError: The policy is another service's.
        """
        if policy.service != self.service:
            raise ValueError(f"the policy is of {policy.service!r}, not of {self.service!r}")
        return replace(
            policy, version=version, drift_severity=self.drift_severity,
            diversity=max(policy.diversity, self.diversity),
        )  # fmt: skip


def severity_of(signals: Iterable[Signal]) -> float:
    r"""Return how far the worst signal is beyond its limit, 0..1, in steps of 0.05.

    :math:`1 - e^{-|s| / l}` for statistic s and limit l: at its limit 0.65, at twice that
    0.85; 0 without a signal. It rises with the statistic, whatever the chart.
    """
    worst = max((abs(s.statistic) / max(abs(s.limit), 1e-9) for s in signals), default=0.0)
    if not isfinite(worst):
        return 1.0
    return round(min(1.0, 1.0 - exp(-worst)) / _STEP) * _STEP


def policy_change(service: str, signals: Iterable[Signal], reason: str) -> PolicyChange:
    """Return what the live policy should be while these signals last; zeros without any."""
    severity = round(severity_of(signals), 2)
    return PolicyChange(
        service=service,
        drift_severity=severity,
        diversity=round(MOST_DIVERSITY * severity, 3),
        reason=reason,
    )
