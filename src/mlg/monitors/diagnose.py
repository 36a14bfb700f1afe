"""Why: the cause of an incident by a published table, and what it calls for.

The table is read from the top; the first row whose facts hold names the cause. Its order is
its meaning: rows that differ from what the training code wrote into the artifact are the
serving code's fault whatever the sources do, what is broken must never be learned from, and a
promotion is no drift.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from mlg.manifest.specs_watch import CalendarEntry
from mlg.monitors.baseline import Baseline
from mlg.monitors.evaluate import QUALITY, Signal
from mlg.monitors.group_quality import GAP, HIT_RATE, WATCH_THROUGH, group_words, measured
from mlg.monitors.windows import REQUESTS, Summary, Window

Action = Literal["quarantine", "exclude", "annotate", "roll_back", "retrain", "record"]

UNIT: Final = 3.0
"""A mean and a spread that change by the same factor of at least this: another unit."""

BROKEN_MISSING: Final = 0.5
ACTOR_SHARE: Final = 0.2
"""One viewer with so great a share of a window's answers is no usual viewer."""

SKEW: Final = 0.02
"""Share of served rows whose features differ from those computed anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known when an incident is judged; what is not known stays None or empty."""

    signals: tuple[str, ...] = ()
    """Statistics that signal, as `viewer:age.location`."""
    missing: tuple[str, ...] = ()
    """Features gone from half of the rows or more that used to be there."""
    constant: tuple[str, ...] = ()
    """Features that have one value now and had many."""
    rescaled: tuple[str, ...] = ()
    """Features whose mean and spread changed by one factor: another unit."""
    unseen: tuple[str, ...] = ()
    """Features most of whose texts were never seen."""
    source_late: tuple[str, ...] = ()
    """Datasets whose source the last run could not read."""
    contract_broken: tuple[str, ...] = ()
    """Datasets that did not keep their contract in the last run, freshness included."""
    top_actor_share: float = 0.0
    """Largest share of one viewer in the newest window."""
    usual_top_actor_share: float = 0.0
    expected: tuple[str, ...] = ()
    """Entries of the calendar that cover now."""
    skewed_share: float | None = None
    """Share of served rows whose features differ from those recomputed by the training code."""
    measured_loss: bool = False
    """Hit rate or watch-through left its lower limit, on windows with mature labels."""
    lost_groups: tuple[str, ...] = ()
    """Groups of viewers in which it did so, in words."""
    parted: tuple[str, ...] = ()
    """Features whose groups moved apart in hit rate, and not because one is served better."""
    estimated_loss: bool = False
    """Raw confidence left its lower limit."""
    calibrated: bool = True
    """Hits agree with raw confidence: the estimate may be believed."""
    labels_known: bool = False
    """The quality charts are past phase I, so no loss means no loss was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What it is taken for, what to do, and why."""

    cause: str
    action: Action
    reasons: tuple[str, ...]
    remediation: str
    """One sentence for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table."""

    cause: str
    when: str
    action: Action
    remediation: str
    reasons: Callable[[Facts], Sequence[str]]
    """What speaks for it; none: the row does not apply."""


def _broken(facts: Facts) -> list[str]:
    reasons = [f"{name} is missing" for name in facts.missing]
    reasons += [f"{name} has one value only" for name in facts.constant]
    reasons += [f"{name} changed its unit" for name in facts.rescaled]
    reasons += [f"{name} has texts never seen before" for name in facts.unseen]
    reasons += [f"dataset {name} breaks its contract" for name in facts.contract_broken]
    reasons += [f"the source of dataset {name} is late" for name in facts.source_late]
    return reasons


def _actors(facts: Facts) -> list[str]:
    share = facts.top_actor_share
    if share < ACTOR_SHARE or share < 3 * facts.usual_top_actor_share:
        return []
    usual = facts.usual_top_actor_share
    return [f"one viewer asks {share:.0%} of all requests, usually {usual:.0%} at most"]


def _skew(facts: Facts) -> list[str]:
    if facts.skewed_share is None or facts.skewed_share < SKEW:
        return []
    return [f"{facts.skewed_share:.0%} of served rows differ from the training code's features"]


def _expected(facts: Facts) -> list[str]:
    return [f"the calendar has {entry}" for entry in facts.expected]


def _loss(facts: Facts) -> list[str]:
    reasons: list[str] = []
    fell = "hit rate or watch-through fell below its limit, labels complete"
    if facts.measured_loss:
        reasons.append(fell)
    reasons += [f"{group}: {fell}" for group in facts.lost_groups]
    reasons += [f"the hit rates of {name} moved apart" for name in facts.parted]
    if facts.estimated_loss and facts.calibrated:
        reasons.append("calibrated confidence fell below its limit")
    return reasons


def _shift(facts: Facts) -> list[str]:
    reasons = [f"{', '.join(facts.signals) or 'nothing'} moved"]
    if facts.estimated_loss and not facts.calibrated:
        reasons.append("confidence fell, but is not calibrated, so it proves no loss")
    if not facts.labels_known:
        reasons.append("labels are too few yet to see a loss")
    else:
        reasons.append("no loss is measured")
    return reasons


TABLE: Final[tuple[Rule, ...]] = (
    Rule(
        cause="code or feature skew",
        when=f"at least {SKEW:.0%} of served rows differ from the training code's features",
        action="roll_back",
        remediation="Roll back to the version before: serving computes other features.",
        reasons=_skew,
    ),
    Rule(
        cause="broken source, schema or unit",
        when="a feature is missing, constant, in another unit or of unseen texts; "
        "a source is late; a contract is broken",
        action="quarantine",
        remediation="Repair the source; serve from the last good snapshot and do not train.",
        reasons=_broken,
    ),
    Rule(
        cause="few abnormal actors",
        when=f"one viewer asks {ACTOR_SHARE:.0%} of a window or more, three times the usual",
        action="exclude",
        remediation="Exclude these viewers from training and monitors; they may be bots.",
        reasons=_actors,
    ),
    Rule(
        cause="promotion or season",
        when="an entry of the calendar covers now",
        action="annotate",
        remediation="Expected by the calendar: nothing to do while it lasts.",
        reasons=_expected,
    ),
    Rule(
        cause="loss",
        when="hit rate or watch-through is below its limit with complete labels, of all or of "
        "a group; groups moved apart in hit rate; or calibrated confidence is below its limit",
        action="retrain",
        remediation="Retrain on data that includes the changed traffic.",
        reasons=_loss,
    ),
    Rule(
        cause="covariate shift without loss",
        when="none of the above",
        action="record",
        remediation="The traffic changed and answers are as good as before: nothing to do.",
        reasons=_shift,
    ),
)
"""Read from the top; `docs/monitors.md` shows it, and a test compares the two."""


_UNKNOWN: Final = Cause(
    cause=TABLE[-1].cause, action="record", reasons=(), remediation=TABLE[-1].remediation
)


def classify(facts: Facts) -> Cause:
    """Return the cause of an incident: the first row of `TABLE` that applies.

    Examples:
        >>> classify(Facts(signals=("viewer:age.location",), labels_known=True)).action
        'record'
        >>> classify(Facts(missing=("viewer:age",), measured_loss=True)).action
        'quarantine'
    """
    for rule in TABLE:
        reasons = tuple(rule.reasons(facts))
        if reasons:
            return Cause(
                cause=rule.cause,
                action=rule.action,
                reasons=reasons,
                remediation=rule.remediation,
            )
    return _UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What others know that no window shows."""

    expected: tuple[str, ...] = ()
    """Names of calendar entries that cover now, beside those of `calendar`."""
    calendar: tuple[CalendarEntry, ...] = ()
    """Entries of the manifest; each window asks which of them cover its end."""
    maintenance: tuple[tuple[datetime, datetime], ...] = ()
    """Event times, first and the one after the last, in which nothing is learned."""
    source_late: tuple[str, ...] = ()
    contract_broken: tuple[str, ...] = ()
    skewed_share: float | None = None
    """What a comparison of logged features with the training code's found."""


def facts_from(
    pairs: Sequence[tuple[Window, Baseline]],
    signals: Sequence[Signal],
    known: Known,
    *,
    labels_known: bool,
    calibrated: bool,
    usual_top_actor_share: float,
) -> Facts:
    """Return the facts that the newest windows and the open signals show.

    Args:
        pairs: Newest window of each stream, with the stream's baseline.
        signals: All open signals.
        known: What others know.
        labels_known: Whether quality is charted, past its phase I.
        calibrated: Whether the calibration chart is quiet.
        usual_top_actor_share: Largest share of one viewer in phase I.
    """
    texts = {
        feature.name for window, _ in pairs for feature in window.columns if feature.levels
    }
    both = [
        (baseline.summaries[now.name], now)
        for window, baseline in pairs
        for now in window.features
        if now.name in baseline.summaries
        and now.n
        # what does not signal is no fact: one viewer's rows may fill a window
        and now.name in {signal.feature for signal in signals}
    ]
    flat = {signal.feature for signal in signals if signal.kind == "spread"}
    low = {signal.metric for signal in signals if signal.effect < 0}
    top = max(
        (
            window.top_actors[0][1] / window.n
            for window, _ in pairs
            if window.stream == REQUESTS and window.top_actors
        ),
        default=0.0,
    )
    return Facts(
        signals=tuple(sorted({signal.metric for signal in signals})),
        missing=tuple(now.name for was, now in both if _gone(was, now)),
        constant=tuple(n.name for was, n in both if n.name in flat and _constant(was, n)),
        rescaled=tuple(
            now.name for was, now in both if now.name not in texts and _rescaled(was, now)
        ),
        unseen=tuple(now.name for was, now in both if now.name in texts and _unseen(was, now)),
        source_late=known.source_late,
        contract_broken=known.contract_broken,
        top_actor_share=top,
        usual_top_actor_share=usual_top_actor_share,
        expected=known.expected,
        skewed_share=known.skewed_share,
        measured_loss=bool(low & {"hit_rate.share", "watch_through.mean"}),
        lost_groups=_lost_groups(signals),
        parted=_parted(signals),
        estimated_loss="raw_confidence.mean" in low,
        calibrated=calibrated,
        labels_known=labels_known,
    )


def _lost_groups(signals: Sequence[Signal]) -> tuple[str, ...]:
    found = {
        group_words(signal.metric)
        for signal in signals
        if signal.stream.startswith(QUALITY)
        and signal.effect < 0
        and measured(signal.metric) in {HIT_RATE, WATCH_THROUGH}
    }
    return tuple(sorted(found - {""}))  # that of all answers


def _parted(signals: Sequence[Signal]) -> tuple[str, ...]:
    of_groups = [
        (signal.feature, measured(signal.metric), signal.effect > 0)
        for signal in signals
        if signal.stream.startswith(QUALITY)
    ]
    better = {name for name, what, rose in of_groups if what == HIT_RATE and rose}
    worse = {name for name, what, rose in of_groups if what == HIT_RATE and not rose}
    apart = {name for name, what, rose in of_groups if what == GAP and rose}
    return tuple(sorted(name.removeprefix("viewer:") for name in apart - (better - worse)))


def _gone(was: Summary, now: Summary) -> bool:
    return now.missing / now.n >= BROKEN_MISSING > 2 * was.missing / was.n


def _constant(was: Summary, now: Summary) -> bool:
    known = now.n - now.missing
    return (
        known >= 10
        and was.modal <= 0.5
        and was.sd > 0
        and now.sd <= 1e-9 * max(abs(now.mean), 1.0)
    )


def _rescaled(was: Summary, now: Summary) -> bool:
    if was.sd <= 0 or now.sd <= 0 or was.mean * now.mean <= 0:
        return False
    mean, spread = now.mean / was.mean, now.sd / was.sd
    return (min(mean, spread) >= UNIT or max(mean, spread) <= 1 / UNIT) and (
        1 / 2 <= mean / spread <= 2
    )


def _unseen(was: Summary, now: Summary) -> bool:
    known, before = sum(now.counts), sum(was.counts)
    if not known or not before:
        return False
    return now.counts[-1] / known >= BROKEN_MISSING > 2 * was.counts[-1] / before
