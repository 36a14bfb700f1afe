"""Objectives after a swap that are levels, not shares of bad events: CPU, cache hits.

A level is an amount over a count (CPU seconds over requests, hits over lookups), summed over
the slices of the last minute. It fails when its confidence limit, and not only its value, has
stood beyond what is allowed for a minute without a break: the minute that is looked at says
that it matters, the minute that it stands says that it goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Final, Literal

from scipy.special import stdtrit

from mlg.core.traffic import FULL_BP
from mlg.manifest.specs_services import RollbackSpec
from mlg.release.verdicts import GateResult

LevelName = Literal["cpu", "cache_hits"]

STANDS_S: Final = 60.0
"""How long a level must stand beyond what is allowed."""
WARM_S: Final = 60.0
"""Least time after the swap before a level is judged: what is looked at is a minute long."""
LEAST_SLICES: Final = 6
"""Slices below which no limit is reckoned."""
LEAST_EVENTS: Final = 200
"""Requests or lookups below which nothing is said."""
_ALPHA: Final = 0.001
"""One-sided level of each limit, as of the objectives of shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a level may be."""

    name: LevelName
    bound: float
    """For `cpu` the accepted relative rise over the former version, 0.5 is half as much
    again; for `cache_hits` the least share, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One short span of one version's replicas."""

    amount: float
    """CPU seconds, or hits."""
    events: float
    """Requests, or lookups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A level with its one-sided 99.9 % limits; NaN-free: unknown limits are infinite."""

    value: float
    low: float
    high: float
    events: float
    slices: int

    @property
    def known(self) -> bool:
        """Whether it can be compared."""
        return isfinite(self.high) and self.events >= LEAST_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelFacts:
    """What is known of one level at one look."""

    now_s: float
    """Seconds of a clock that never runs back."""
    warm: bool
    """The new version has served long enough for its caches to be as full as they get."""
    slices: tuple[Slice, ...] | None
    """The candidate's last minute; None: its replicas could not be read."""
    former: Ratio | None = None
    """The former version's last minute before the swap, for `cpu`; None: not known."""


def levels(rollback: RollbackSpec | None) -> tuple[Level, ...]:
    """Return the levels of a manifest's `rollback:`; none when it names none.

    Examples:
        >>> levels(None)
        ()
    """
    found: list[Level] = []
    if rollback is not None and rollback.cpu is not None:
        found.append(Level(name="cpu", bound=rollback.cpu.max_increase_bp / FULL_BP))
    if rollback is not None and rollback.cache_hits is not None:
        found.append(Level(name="cache_hits", bound=rollback.cache_hits.min_bp / FULL_BP))
    return tuple(found)


def ratio(slices: Sequence[Slice]) -> Ratio:
    r"""Return the ratio of two sums with its limits, from the spread between slices.

    With residuals :math:`r_i = y_i - \hat R x_i` of :math:`n` slices the standard error is
    :math:`\sqrt{n/(n-1) \sum r_i^2} / \sum x_i`, and the limits are Student's with n - 1
    degrees of freedom. Without events the value is 0; with fewer than `LEAST_SLICES` slices
    the limits are infinite.

    Args:
        slices: Spans of about equal length; the order does not count.

    Source:
        W. Cochran (1977), Sampling Techniques, 3rd ed., ch. 6, ratio estimators.

    Examples:
        >>> ratio([Slice(amount=1.0, events=100)] * 6).value
        0.01
    """
    n, events = len(slices), sum(s.events for s in slices)
    if events <= 0:
        return Ratio(value=0.0, low=-inf, high=inf, events=0.0, slices=n)
    value = sum(s.amount for s in slices) / events
    if n < LEAST_SLICES:
        return Ratio(value=value, low=-inf, high=inf, events=events, slices=n)
    squares = sum((s.amount - value * s.events) ** 2 for s in slices)
    error = sqrt(squares * n / (n - 1)) / events
    reach = float(stdtrit(n - 1, 1.0 - _ALPHA)) * error
    return Ratio(value=value, low=value - reach, high=value + reach, events=events, slices=n)


def judge_level(
    level: Level, facts: LevelFacts, beyond_s: float | None
) -> tuple[GateResult, float | None]:
    """Return what a level says, and since when it stands beyond what is allowed.

    FAIL: it stood beyond for `STANDS_S`. PASS: its value is within. INCONCLUSIVE: too little
    was seen, or it stands beyond not for long enough. ERROR: the replicas could not be read;
    that reverses nothing, and what served before stays warm.

    Args:
        level: What it may be.
        facts: What is known.
        beyond_s: What the last look returned; None before the first.
    """
    if facts.slices is None:
        return _said(level, "ERROR", "the replicas' figures could not be read"), None
    if not facts.warm:
        return _said(level, "INCONCLUSIVE", "its caches fill since the swap"), None
    now = ratio(facts.slices)
    if not now.known:
        seen = f"{now.events:g} {_UNITS[level.name]} in the last minute say too little"
        return _said(level, "INCONCLUSIVE", seen, now), None
    if level.name == "cpu":
        return _cpu(level, facts, now, beyond_s)
    words = f"{now.value:.1%} of {now.events:.0f} lookups, {level.bound:.1%} is the least"
    return _stands(level, facts, now, words, beyond_s, beyond=now.high < level.bound)


def _cpu(
    level: Level, facts: LevelFacts, now: Ratio, beyond_s: float | None
) -> tuple[GateResult, float | None]:
    former = facts.former
    if former is None or not former.known:
        why = "what a request cost the former version is not known"
        return _said(level, "INCONCLUSIVE", why, now), None
    words = (
        f"{1e3 * now.value:.3g} ms of CPU a request over {now.events:.0f} of them, the former "
        f"version {1e3 * former.value:.3g} ms, {level.bound:.0%} more may be"
    )
    beyond = now.low > former.high * (1.0 + level.bound)
    return _stands(level, facts, now, words, beyond_s, beyond=beyond)


def _stands(
    level: Level,
    facts: LevelFacts,
    now: Ratio,
    words: str,
    beyond_s: float | None,
    *,
    beyond: bool,
) -> tuple[GateResult, float | None]:
    if not beyond:
        return _said(level, "PASS", words, now), None
    since_s = facts.now_s if beyond_s is None else min(beyond_s, facts.now_s)
    stood_s = facts.now_s - since_s
    if stood_s < STANDS_S:
        words += f"; beyond it for {stood_s:.0f} s, {STANDS_S:g} s fail"
        return _said(level, "INCONCLUSIVE", words, now, stood_s), since_s
    return _said(level, "FAIL", words, now, stood_s), since_s


def _said(
    level: Level,
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR"],
    reason: str,
    now: Ratio | None = None,
    stood_s: float = 0.0,
) -> GateResult:
    return GateResult(
        name=level.name,
        verdict=verdict,
        e_value=stood_s,
        bound=STANDS_S,
        n=int(now.events) if now else 0,
        events=now.value * now.events if now else -1.0,
        margin=level.bound,
        reason=reason,
    )


_UNITS: Final = {"cpu": "requests", "cache_hits": "lookups of the cache"}
