"""From the manifest's `rollout:` to a plan: steps, gates, and each gate's part of alpha."""

from typing import Final

from mlg.core.traffic import FULL_BP
from mlg.manifest.specs_services import (
    ApprovalSpec,
    GateName,
    InterleaveSpec,
    RolloutGate,
    RolloutSpec,
)
from mlg.release.rollout_types import ApprovalPlan, GatePlan, InterleavePlan, RolloutPlan
from mlg.release.staging_window import window_of

MOST_SWAPS: Final = 9
"""Fewer than ten swaps in any sliding hour, whatever a manifest says."""
ALPHA: Final = 0.01
"""Chance that one rollout stops a good version, over all gates together."""
ERRORS_PART: Final = 0.5
"""What the errors gate has of it: the fault that hurts most is the one to find soonest."""

INTERLEAVING_PART: Final = 0.25
"""What interleaving has of it where it is asked for: half of what the other gates share."""

ENGAGEMENT: Final = frozenset(("ctr", "watch_through"))
_LATE: Final = ENGAGEMENT | {"cpu", "cache_hits"}
"""Gates that smaller shares have too little traffic for: read from 5 % on where the manifest
says nothing."""
_LATE_BP: Final = 500

_ALWAYS: Final = ("errors", "sanity", "latency_p99", "abstention", "rescue", "fallback")
_DROPS: Final = ENGAGEMENT | {"cache_hits"}
_SHARES: Final = frozenset(("errors", "sanity", "abstention", "rescue", "fallback"))
"""Gates of a share: their `max` is the margin, for a relative rise of next to nothing says
nothing."""
_MARGINS: Final = {
    "errors": 0.005,
    "sanity": 0.005,
    "latency_p50": 0.2,
    "latency_p95": 0.2,
    "latency_p99": 0.2,
    "cpu": 0.2,
    "cache_hits": 0.1,
    "ctr": 0.1,
    "watch_through": 0.1,
    "abstention": 0.1,
    "rescue": 0.02,
    "fallback": 0.1,
}
"""What is accepted where the manifest is silent: added shares, or relative changes."""


def plan_of(rollout: RolloutSpec | None) -> RolloutPlan:
    """Return the plan of a service's rollouts.

    Without a `canary` there is one step, 100 %, and no gate. Errors, answer sanity, p99,
    abstention, rescue and fallback are always read; the others where they are named. A
    gate's own `alpha` is an upper bound on its part.

    Args:
        rollout: What the manifest says; None means nothing.

    Examples:
        >>> plan_of(None).steps_bp
        (10000,)
        >>> plan = plan_of(RolloutSpec())
        >>> (plan.swaps_per_hour, plan.swap_back_s)
        (9, 3600.0)
    """
    plain = RolloutPlan()
    if rollout is None:
        return plain
    canary = rollout.canary
    return RolloutPlan(
        steps_bp=canary.steps_bp if canary else plain.steps_bp,
        min_units=canary.min_units if canary else plain.min_units,
        max_hold_s=canary.max_hold_s if canary else plain.max_hold_s,
        swaps_per_hour=min(rollout.swaps_per_hour or MOST_SWAPS, MOST_SWAPS),
        swap_back_s=rollout.swap_back_s or plain.swap_back_s,
        max_pause_s=rollout.max_pause_s or plain.max_pause_s,
        staging=rollout.staging is not None,
        gates=_gates(rollout.gates, drafts=rollout.interleave is not None) if canary else (),
        interleave=_interleave(rollout.interleave),
        approval=_approval(rollout.approval),
        window=window_of(rollout.staging),
        compose=rollout.staging is not None and rollout.staging.compose,
    )


def _approval(asked: ApprovalSpec | None) -> ApprovalPlan | None:
    return None if asked is None else ApprovalPlan(before=asked.before, by=asked.by)


def _interleave(asked: InterleaveSpec | None) -> InterleavePlan | None:
    if asked is None:
        return None
    own = ALPHA * INTERLEAVING_PART
    return InterleavePlan(
        share_bp=asked.share_bp,
        min_viewers=asked.min_viewers,
        max_hold_s=asked.max_hold_s,
        alpha=min(own, asked.alpha) if asked.alpha is not None else own,
        margin=asked.margin_bp / FULL_BP,
        required=asked.required,
    )


def _gates(asked: dict[GateName, RolloutGate], *, drafts: bool) -> tuple[GatePlan, ...]:
    given = {str(name): gate for name, gate in asked.items()}
    names = (*_ALWAYS, *sorted(set(given) - set(_ALWAYS)))
    left = 1.0 - ERRORS_PART - (INTERLEAVING_PART if drafts else 0.0)
    part = ALPHA * left / (len(names) - 1)
    gates: list[GatePlan] = []
    for name in names:
        gate = given.get(name, RolloutGate())
        own = ALPHA * ERRORS_PART if name == "errors" else part
        engagement = name in ENGAGEMENT
        start_bp = _LATE_BP if name in _LATE else 0
        if name in _SHARES:
            change_bp = gate.max_bp
        else:
            change_bp = gate.max_drop_bp if name in _DROPS else gate.max_increase_bp
        gates.append(
            GatePlan(
                name=name,
                alpha=min(own, gate.alpha) if gate.alpha is not None else own,
                margin=change_bp / FULL_BP if change_bp else _MARGINS[name],
                limit=_limit(name, gate),
                from_bp=start_bp if gate.from_bp is None else gate.from_bp,
                engagement=engagement,
            )
        )
    return tuple(gates)


def _limit(name: str, gate: RolloutGate) -> float | None:
    """Return the figure that a resource must keep besides the control's."""
    given_bp = {"cpu": gate.max_bp, "cache_hits": gate.min_bp}.get(name)
    return None if given_bp is None else given_bp / FULL_BP
