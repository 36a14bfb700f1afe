"""How a version's answers differ from those of the version that serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mlg.core.nodes import Attr
from mlg.release.staging import Answer, TestResult, failed_to_run

LEAST: Final = 20
"""Requests below which a comparison says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareLimits:
    """How far a version may differ; None is not limited."""

    min_overlap: float | None = None
    """Least mean of the overlap."""
    max_top_changed: float | None = None
    """Largest share of requests with another first item."""
    max_confidence_shift: float | None = None
    """Largest change of the mean confidence."""


def overlap(one: Answer, other: Answer) -> float:
    """Return the part of the items that two answers share, of the longer one; 1 of nothing.

    Examples:
        >>> overlap(Answer(status=200, items=(1, 2)), Answer(status=200, items=(2, 3)))
        0.5
    """
    longer = max(len(one.items), len(other.items))
    return len(set(one.items) & set(other.items)) / longer if longer else 1.0


def judge_compare(pairs: Sequence[tuple[Answer, Answer]], limits: CompareLimits) -> TestResult:
    """Return whether a version answers near enough to the one that serves.

    The limits hold for these requests, not beyond chance for all that could come. What the
    serving version does not answer is left out; what only the new one does not answer
    shares nothing.

    Args:
        pairs: The serving version's answer and the new one's, to the same request. Fewer
            than `LEAST` answered by the former is INCONCLUSIVE, and stops nothing.
        limits: What may differ; without any the figures are told, and it passes.
    """
    if not pairs:
        return failed_to_run("compare", "there was no answer to compare")
    there = [(old, new) for old, new in pairs if old.status == 200]
    if len(there) < LEAST:
        reason = f"{len(there)} answers of the serving version are too few to compare"
        return TestResult(name="compare", verdict="INCONCLUSIVE", reason=reason, blocks=False)
    shared = [overlap(old, new) if new.status == 200 else 0.0 for old, new in there]
    mean = sum(shared) / len(shared)
    changed = sum(old.items[:1] != new.items[:1] for old, new in there) / len(there)
    sure = [
        (old.confidence, new.confidence)
        for old, new in there
        if old.confidence is not None and new.confidence is not None
    ]
    shift = sum(new - old for old, new in sure) / len(sure) if sure else None
    facts: tuple[tuple[str, Attr], ...] = (
        ("requests", len(there)),
        ("overlap", mean),
        ("overlap_least", min(shared)),
        ("top_changed", changed),
        ("confidence_shift", shift),
        ("list_before", _listed([old for old, _ in there])),
        ("list_after", _listed([new for _, new in there])),
    )
    beyond: list[str] = []
    if limits.min_overlap is not None and mean < limits.min_overlap:
        beyond.append(f"overlap {mean:.2f}, {limits.min_overlap:.2f} must be")
    if limits.max_top_changed is not None and changed > limits.max_top_changed:
        beyond.append(f"{changed:.0%} another first item, {limits.max_top_changed:.0%} may be")
    most = limits.max_confidence_shift
    if most is not None and (shift is None or abs(shift) > most):
        words = "unknown" if shift is None else f"{shift:+.3f}"
        beyond.append(f"confidence {words}, {most:g} may be")
    if beyond:
        reason = f"{len(there)} requests: {'; '.join(beyond)}"
        return TestResult(name="compare", verdict="FAIL", reason=reason, facts=facts)
    told = "" if shift is None else f", confidence {shift:+.3f}"
    reason = (
        f"{len(there)} requests: overlap {mean:.2f}, {changed:.0%} another first item{told}"
    )
    return TestResult(name="compare", verdict="PASS", reason=reason, facts=facts)


def _listed(answers: Sequence[Answer]) -> float:
    """Return the share that the popularity list answered."""
    return sum(answer.served_by == "fallback" for answer in answers) / len(answers)
