"""From the tally of the log to what the gates read, and which answers count as slow."""

from collections.abc import Sequence

from mlg.core.traffic import FULL_BP
from mlg.monitors.arms import ABSTAINED, FAILED, FELL_BACK, Arm, Rollout, Stage
from mlg.monitors.live import EDGES_MS
from mlg.monitors.slow import Limit
from mlg.release.gates import QUANTILES, latency_limits
from mlg.release.rollout_types import RolloutState, control_label
from mlg.release.seen import ArmSeen


def compared_in(state: RolloutState, baseline: Sequence[int]) -> Rollout:
    """Return what a rollout compares; slow is fixed by latencies of before it, by bin."""
    limits = latency_limits(state.plan, baseline, EDGES_MS)
    return Rollout(
        candidate=state.candidate,
        control=control_label(state.stable or ""),
        limits=tuple(
            Limit(gate=name, candidate_ms=far, control_ms=near)
            for name, (far, near) in limits.items()
        ),
    )


def stage_of(rollout: Rollout, share_bp: int) -> Stage:
    """Return the empty tally of a step; above half of the traffic the control is smaller."""
    return Stage(rollout, min(share_bp, FULL_BP - share_bp) / share_bp if share_bp else 1.0)


def arm_seen(arm: Arm, attempts: int, errors: int, insane: int) -> ArmSeen:
    """Return an arm's tally and its gateways' counts as the gates read them."""
    attempts, errors = max(0, attempts), max(0, errors)
    units = arm.units
    return ArmSeen(
        units=units.total,
        sample=units.sample,
        at_risk=max(arm.failed, units.total - units.having(FAILED) * units.sample),
        failed=arm.failed,
        attempts=max(attempts, errors),
        errors=errors,
        insane=min(max(0, insane), errors),
        answers=arm.answers,
        rescued=arm.rescued,
        fell_back=arm.fell_back,
        abstained=arm.abstentions,
        first_abstained=units.having(ABSTAINED),
        first_fell_back=units.having(FELL_BACK),
        first_slow={name: units.having(name) for name in QUANTILES},
        viewers=len(arm.viewers),
        clicked=arm.clicked,
        watchers=arm.watchers,
        watched=arm.watched,
    )
