"""Whether the groups of viewers that a manifest declares are served alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

from mlg.core.measure import Verdict
from mlg.release.staging import TestResult, failed_to_run

FOUR_FIFTHS: Final = 0.8
"""Least ratio of a group's score to everyone's: the four-fifths rule."""
_LEAST_FOR_BIAS: Final = 30
"""Viewers below which a normal interval says nothing."""
_Z: Final = 2.326
"""99 % one-sided normal quantile."""
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScore:
    """How well one declared group of viewers is served."""

    group: str
    """In words: `gender = F`."""
    n: int
    """Viewers."""
    mean: float
    """Hit rate or NDCG, averaged over viewers."""
    sd: float | None = None
    """Its standard deviation over viewers; None means that the score is a share."""


def judge_bias(groups: Sequence[GroupScore], *, least: float = FOUR_FIFTHS) -> TestResult:
    """Return whether each declared group is served at least so well as `least` of everyone.

    FAIL when a group's ratio to the mean over all viewers is below `least` beyond chance
    (99 %, one-sided, a group); PASS when every
    ratio is above beyond chance; else INCONCLUSIVE, which says so and stops nothing. A group
    of fewer than 30 is never sure; a group's standard deviation is not taken below that of
    all groups together, as a few viewers without a hit have none of their own.

    Args:
        groups: Disjoint groups; those without viewers are left out.
        least: Least ratio.

    Source:
        29 CFR 1607.4 D (four-fifths rule); normal interval of the group's mean, everyone's
        mean taken as known.
    """
    there = [g for g in groups if g.n > 0]
    viewers = sum(g.n for g in there)
    mean = sum(g.n * g.mean for g in there) / viewers if viewers else 0.0
    if len(there) < 2 or not mean > 0.0:
        reason = "no two groups that can be compared"
        return TestResult(name="bias", verdict="INCONCLUSIVE", reason=reason, blocks=False)
    low: list[tuple[float, str]] = []
    unsure: list[tuple[float, str]] = []
    sds = [g.sd if g.sd is not None else sqrt(g.mean * (1.0 - g.mean)) for g in there]
    pooled = sqrt(sum(g.n * sd * sd for g, sd in zip(there, sds, strict=True)) / viewers)
    for group, own in zip(there, sds, strict=True):
        error = _Z * max(own, pooled) / sqrt(group.n)
        ratio = group.mean / mean
        words = f"{group.group}: {ratio:.2f} of everyone's ({group.n} viewers)"
        if group.n < _LEAST_FOR_BIAS:
            unsure.append((ratio, words))
        elif group.mean + error < least * mean:
            low.append((ratio, words))
        elif group.mean - error < least * mean:
            unsure.append((ratio, words))
    worst = min(g.mean for g in there) / mean
    facts = (("groups", len(there)), ("viewers", viewers), ("worst_ratio", worst))
    verdict: Verdict = "FAIL" if low else "INCONCLUSIVE" if unsure else "PASS"
    told = sorted(low or unsure)
    more = [f"{len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
    shown = [words for _, words in told[:_SHOWN]]
    reason = "; ".join(shown + more) or f"{len(there)} groups, the worst at {worst:.2f}"
    return TestResult(
        name="bias", verdict=verdict, reason=reason, facts=facts, blocks=verdict == "FAIL"
    )


def judge_bias_by(
    wanted: Sequence[str], recorded: Mapping[str, Sequence[GroupScore]] | None
) -> TestResult:
    """Return whether the groups of each declared feature of viewers are served alike.

    Args:
        wanted: Features that the manifest names; each splits the viewers anew.
        recorded: Scores by feature, from the version's evaluation; None when it recorded
            none, which stops nothing. A feature that is not there is an ERROR.
    """
    if recorded is None or not wanted:
        reason = "no scores by group" if wanted else "no groups are declared"
        return TestResult(name="bias", verdict="INCONCLUSIVE", reason=reason, blocks=False)
    missing = [name for name in wanted if name not in recorded]
    if missing:
        known = ", ".join(sorted(recorded)) or "none"
        return failed_to_run(
            "bias", f"the evaluation has no groups of {', '.join(missing)} (it has {known})"
        )
    results = {name: judge_bias(recorded[name]) for name in wanted}
    verdicts = [result.verdict for result in results.values()]
    ranked: tuple[Verdict, ...] = ("FAIL", "INCONCLUSIVE", "PASS")
    verdict: Verdict = next(word for word in ranked if word in verdicts)
    said = [f"{n}: {r.reason}" for n, r in results.items() if r.verdict == verdict]
    facts = tuple((f"{n}.{key}", v) for n, r in results.items() for key, v in r.facts)
    return TestResult(
        name="bias",
        verdict=verdict,
        reason="; ".join(said),
        facts=facts,
        blocks=verdict == "FAIL",
    )
