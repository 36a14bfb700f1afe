"""From the votes on interleaved lists to verdicts: pure.

Two gates: `interleaving`, whose items do viewers take; and `interleaved_faults`, how often
did the candidate give nothing to interleave. Half of the phase's alpha each. See
`mlg.stats.interleaving` for why looking often costs nothing.
"""

from dataclasses import dataclass
from math import exp, log
from typing import Final

from mlg.core.measure import Verdict
from mlg.release.rollout_types import InterleavePlan
from mlg.release.verdicts import LARGEST_E, GateResult
from mlg.stats.interleaving import log_e_fails, log_e_loses, log_e_not_losing

PASS_ALPHA: Final = 0.05
"""Chance that the votes pass a version that stays further behind than its margin."""
MOST_FAULTS: Final = 0.005
"""Largest share of requests on which the candidate may give nothing, as a canary accepts."""
LOSES: Final = "interleaving"
FAILS: Final = "interleaved_faults"


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftsSeen:
    """What was counted since the phase began; a vote is the first item that a viewer took."""

    wins: int = 0
    """Votes for the candidate among items that only one version would have placed there."""
    losses: int = 0
    """The same for the stable version."""
    coin_wins: int = 0
    """Votes for the candidate where items count that both would have placed, by the coin."""
    coin_losses: int = 0
    answers: int = 0
    """Requests that the group answered."""
    drafted: int = 0
    """Of them with a list of both."""
    faults: int = 0
    """Of them without, as the candidate failed; and attempts that the group failed."""
    unsure: int = 0
    """Of them without, as one of the two was not confident enough."""
    latency_ms: float | None = None
    """Median of the answers with lists of both."""

    @property
    def voters(self) -> int:
        """Viewers with a vote."""
        return self.coin_wins + self.coin_losses


def judge_drafts(plan: InterleavePlan, seen: DraftsSeen) -> tuple[GateResult, ...]:
    """Return the verdicts of the phase.

    FAIL: fewer than half of the votes, shown at half of alpha, or too many faults, shown at
    the other half. PASS: not behind by more than the margin, shown at 0.05 with at least
    `min_viewers` votes. Neither: INCONCLUSIVE.

    Args:
        plan: Alpha, margin and votes of the phase.
        seen: What was counted.

    Examples:
        >>> plan = InterleavePlan(share_bp=500, min_viewers=50, max_hold_s=60.0, alpha=0.01,
        ...                       margin=0.1)
        >>> [g.verdict for g in judge_drafts(plan, DraftsSeen(wins=5, losses=45))]
        ['FAIL', 'PASS']
    """
    bound = 2.0 / plan.alpha
    return (_votes(plan, seen, bound), _faults(seen, bound))


def _votes(plan: InterleavePlan, seen: DraftsSeen, bound: float) -> GateResult:
    votes = seen.wins + seen.losses
    against = log_e_loses(seen.wins, seen.losses)
    said = (
        f"{seen.wins} of {votes} viewers took the candidate's item first, "
        f"{seen.coin_wins} of {seen.voters} with coins; {seen.drafted} lists of both"
    )
    if seen.latency_ms is not None:
        said += f", {seen.latency_ms:.1f} ms in the median"
    if seen.unsure:
        said += f", {seen.unsure} left out as one was unsure"
    verdict: Verdict = "INCONCLUSIVE"
    if against >= log(bound):
        verdict = "FAIL"
    elif seen.voters >= plan.min_viewers:
        shown = (
            log_e_not_losing(seen.coin_wins, seen.coin_losses, plan.margin),
            log_e_not_losing(seen.wins, seen.losses, plan.margin),
        )
        # both lists may be the same but for a few items: then only the coins speak
        if log((exp(min(600.0, shown[0])) + exp(min(600.0, shown[1]))) / 2) >= log(
            1 / PASS_ALPHA
        ):
            verdict = "PASS"
            said += f"; shown not to be behind by {plan.margin:.0%}"
    return GateResult(
        name=LOSES,
        verdict=verdict,
        e_value=min(LARGEST_E, exp(min(600.0, against))),
        bound=bound,
        n=votes,
        reason=said,
        engagement=True,
    )


def _faults(seen: DraftsSeen, bound: float) -> GateResult:
    asked = max(seen.answers, seen.faults)
    against = log_e_fails(seen.faults, asked, MOST_FAULTS)
    failed = against >= log(bound)
    return GateResult(
        name=FAILS,
        verdict="FAIL" if failed else "PASS",
        e_value=min(LARGEST_E, exp(min(600.0, against))),
        bound=bound,
        n=asked,
        reason=f"the candidate gave nothing on {seen.faults} of {asked} requests",
    )
