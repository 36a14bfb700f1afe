"""Candidate beside control, span by span: what a request costs, and how often a cache knew it.

A span ends once both groups have been asked often enough for its figures to mean something.
Each span is one sign, so neither the scale of the figures nor a bad moment decides.
"""

from dataclasses import dataclass
from typing import Final

LEAST_ATTEMPTS: Final = 20
"""Requests of each group that make a span."""
LEAST_CPU_S: Final = 0.1
"""Processor time of each group that makes a span of `cpu`: ten ticks of the usual clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What the replicas of one label used since they started."""

    lives: tuple[int, ...] = ()
    """Their process ids, ascending: with other ones the sums begin anew."""
    cpu_s: float = 0.0
    """Processor time, user and system."""
    attempts: int = 0
    cache_hits: int = 0
    cache_lookups: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both groups at one moment."""

    candidate: Used
    control: Used
    at_s: float = 0.0
    """Wall time, in seconds since 1970."""


def over(
    gate: str, margin: float, before: Pair, now: Pair, limit: float | None = None
) -> bool | None:
    """Return whether the candidate was over the limit in the span between two moments.

    Args:
        gate: `cpu` (processor time per attempt, at most the control's and the margin) or
            `cache_hits` (part of the lookups, at least the control's less the margin).
        margin: Relative.
        before: At the span's begin.
        now: At its end.
        limit: Besides, most part of a core that one replica of the candidate may use, or the
            least share of hits, 0..1; None is any.

    Returns:
        None when the span is not long enough yet, or the two are equal.

    Raises:
        ValueError: There is no such gate.

    Examples:
        >>> start = Pair(candidate=Used(), control=Used())
        >>> cheap = Used(cpu_s=1.0, attempts=1_000)
        >>> dear = Used(cpu_s=1.5, attempts=1_000)
        >>> over("cpu", 0.2, start, Pair(candidate=dear, control=cheap))
        True
    """
    if gate not in {"cpu", "cache_hits"}:
        raise ValueError(f"no gate {gate!r} compares spans")
    grown = _grown(before.candidate, now.candidate), _grown(before.control, now.control)
    if not all(g.attempts >= LEAST_ATTEMPTS for g in grown):
        return None
    one, other = grown
    if gate == "cpu":
        if min(one.cpu_s, other.cpu_s) < LEAST_CPU_S:
            return None
        figure, beside = one.cpu_s / one.attempts, other.cpu_s / other.attempts
        cores = one.cpu_s / max(1e-9, now.at_s - before.at_s) / max(1, len(now.candidate.lives))
        return figure > beside * (1.0 + margin) or (limit is not None and cores > limit)
    if min(one.cache_lookups, other.cache_lookups) < LEAST_ATTEMPTS:
        return None
    figure, beside = one.cache_hits / one.cache_lookups, other.cache_hits / other.cache_lookups
    if limit is not None and figure < limit:
        return True
    # two caches that know nothing say nothing of each other
    return None if figure == beside == 0.0 else figure < beside * (1.0 - margin)


def same_lives(before: Pair, now: Pair) -> bool:
    """Return whether the sums of two moments may be subtracted: no process came or went."""
    return (before.candidate.lives, before.control.lives) == (
        now.candidate.lives,
        now.control.lives,
    )


def _grown(before: Used, now: Used) -> Used:
    return Used(
        cpu_s=now.cpu_s - before.cpu_s,
        attempts=now.attempts - before.attempts,
        cache_hits=now.cache_hits - before.cache_hits,
        cache_lookups=now.cache_lookups - before.cache_lookups,
    )
