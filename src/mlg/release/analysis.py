"""From counters of candidate, control and stable to the gates' verdicts: pure.

FAIL and PASS are two questions with two e-processes. FAIL: is it worse than what serves
now? PASS: is it shown not to be worse by more than a margin? What neither shows is
INCONCLUSIVE. Looking often costs nothing; see `mlg.stats.sequential`.

Errors, sanity, abstention, rescue and fallback are compared with all stable traffic of the
same stages (a control of equal share would need several times as long); latency, processor,
cache hits and engagement with the control group, as cold and as small as the candidate.
"""

from collections.abc import Sequence
from math import log
from typing import Final

from mlg.core.traffic import FULL_BP
from mlg.release.gates import JUDGES, e_of
from mlg.release.rollout_types import RolloutPlan
from mlg.release.seen import GateFacts
from mlg.release.verdicts import GateResult
from mlg.stats.sequential import log_e_mismatch

MISMATCH_ALPHA: Final = 0.001
"""Chance that a good split is called a mismatch."""


def judge(plan: RolloutPlan, facts: GateFacts) -> tuple[GateResult, ...]:
    """Return a verdict of each gate that is read at the current share, and of the split.

    Args:
        plan: Gates with their parts of alpha.
        facts: What was counted; without stages nothing is said.
    """
    if not facts.stages:
        return ()
    share_bp = facts.stages[-1].share_bp
    results = [
        JUDGES[gate.name](plan, gate, facts) for gate in plan.gates if share_bp >= gate.from_bp
    ]
    return (*results, _split(facts))


def explanation(results: Sequence[GateResult]) -> str:
    """Return in one sentence what the gates say together.

    Examples:
        >>> explanation((GateResult(name="errors", verdict="PASS"),))
        'All 1 gates pass.'
    """
    for word, meaning in (
        ("ERROR", "The comparison itself is broken"),
        ("FAIL", "The candidate is worse"),
        ("INCONCLUSIVE", "Not shown yet"),
    ):
        found = [r for r in results if r.verdict == word]
        if found:
            return f"{meaning}: " + "; ".join(f"{r.name}, {r.reason}" for r in found) + "."
    return f"All {len(results)} gates pass." if results else "Nothing was measured yet."


def _split(facts: GateFacts) -> GateResult:
    """Judge whether units fall into the arms as the split says."""
    evidence, n = 0.0, 0
    for stage in facts.stages:
        control_bp = min(stage.share_bp, FULL_BP - stage.share_bp)
        shares = (stage.share_bp, control_bp, FULL_BP - stage.share_bp - control_bp)
        arms = (stage.candidate, stage.control, stage.stable)
        # of very many units only a sample is told apart, of each arm its own part
        there = [(a.sampled, bp / a.sample) for a, bp in zip(arms, shares, strict=True) if bp]
        seen, whole = [units for units, _ in there], sum(part for _, part in there)
        evidence += log_e_mismatch(seen, [part / whole for _, part in there])
        n += sum(seen)
    broken = evidence >= log(1.0 / MISMATCH_ALPHA)
    last = facts.stages[-1]
    reason = f"{last.candidate.units} units, control {last.control.units}"
    return GateResult(
        name="sample_ratio",
        verdict="ERROR" if broken else "PASS",
        e_value=e_of(evidence),
        bound=1.0 / MISMATCH_ALPHA,
        n=n,
        reason=f"{reason}: {'not as' if broken else 'as'} the split says",
    )
