"""A game day's score: was a fault noticed, named, answered and overcome, and how fast? Pure.

Events and probes come in as values with seconds since the fault began; nothing is read here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

Environment = Literal["staging", "production"]
ENVIRONMENTS: Final[tuple[Environment, ...]] = ("staging", "production")

LEAST_AFTER: Final = 10
"""Good probes in a row, to the end, that count as being back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One fault that can be made on purpose, and what the product should do about it."""

    name: str
    what: str
    environments: tuple[Environment, ...]
    detected_by: tuple[str, ...]
    """Event types, any of which is the detection when it is about the target."""
    cause_words: tuple[str, ...]
    """Any of these in the words of an event of `detected_by` names the right cause."""
    answered_by: tuple[str, ...]
    """Event types, any of which at or after the detection is the action."""
    lasts: bool = False
    """Whether it goes on until it is ended; then recovery counts from that end."""
    seconds: float = 20.0
    """How long it is on, or watched, unless told otherwise."""


_CRASH: Final = ("mlg.process.crashed",)
_STARTED: Final = ("mlg.process.started",)
_BOTH: Final[tuple[Environment, ...]] = ENVIRONMENTS
_JUDGED: Final = (
    "mlg.gameday.checked",
    "mlg.alert.opened",
    "mlg.incident.opened",
    "mlg.rollout.rolling_back",
)
_TAKEN_BACK: Final = ("mlg.gameday.checked", "mlg.rollout.rolling_back", "mlg.run.started")

DRILLS: Final = (
    Drill(
        name="kill",
        what="kill -9 of one replica",
        environments=_BOTH,
        detected_by=_CRASH,
        cause_words=("exit code -9",),
        answered_by=_STARTED,
    ),
    Drill(
        name="hang",
        what="SIGSTOP of one replica: it lives and says nothing",
        environments=_BOTH,
        detected_by=_CRASH,
        cause_words=("hung",),
        answered_by=_STARTED,
        seconds=40.0,
    ),
    Drill(
        name="crash-loop",
        what="one replica killed, and every new one ends as it starts",
        environments=_BOTH,
        detected_by=(*_CRASH, "mlg.failure.recorded"),
        cause_words=("crashes within a minute",),
        answered_by=("mlg.failure.recorded",),
        lasts=True,
        seconds=60.0,
    ),
    Drill(
        name="gateway",
        what="kill -9 of one gateway",
        environments=("production",),
        detected_by=_CRASH,
        cause_words=("exit code -9",),
        answered_by=_STARTED,
    ),
    Drill(
        name="errors",
        what="the model fails on every request",
        environments=_BOTH,
        detected_by=_JUDGED,
        cause_words=("status", "error", "500"),
        answered_by=_TAKEN_BACK,
        lasts=True,
    ),
    Drill(
        name="nan",
        what="every score of the model is NaN",
        environments=_BOTH,
        detected_by=_JUDGED,
        cause_words=("nan", "finite", "number"),
        answered_by=_TAKEN_BACK,
        lasts=True,
    ),
    Drill(
        name="short",
        what="every answer of the model has one item",
        environments=_BOTH,
        detected_by=_JUDGED,
        cause_words=("items", "length", "short"),
        answered_by=_TAKEN_BACK,
        lasts=True,
    ),
    Drill(
        name="slow",
        what="every answer of the model takes 200 ms longer",
        environments=_BOTH,
        detected_by=_JUDGED,
        cause_words=("p99", "latency", "slow"),
        answered_by=_TAKEN_BACK,
        lasts=True,
    ),
    Drill(
        name="memory",
        what="every answer keeps 4 MiB, until the process' memory limit says no",
        environments=("staging",),
        detected_by=(*_JUDGED, *_CRASH),
        cause_words=("memory",),
        answered_by=(*_TAKEN_BACK, *_STARTED),
        lasts=True,
    ),
    Drill(
        name="corrupt",
        what="one byte of the model is another, and its replica is killed",
        environments=("staging",),
        detected_by=("mlg.model_version.refused",),
        cause_words=("altered", "digest"),
        answered_by=("mlg.model_version.refused",),
        lasts=True,
    ),
)
"""Every fault, in the order in which they are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One event of the product, after the fault began."""

    at_s: float
    """Seconds since the fault began."""
    type: str
    key: str
    about: str
    """Its subject and the names in its facts, one text."""
    words: str
    """What its facts say, one text."""
    passed: bool = False
    """Whether it says PASS: a check that found nothing is no detection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One request of the game day's own viewer."""

    at_s: float
    """Seconds since the fault began; less than 0 is before it."""
    served_by: Literal["model", "fallback", "nobody"]
    """`nobody`: no answer, another status, a short or odd answer, or one that came too late."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What the product did about one fault; seconds since the fault began."""

    fault: str
    environment: Environment
    detected_s: float | None
    """None: no event about it."""
    detected_by: str
    """Key of that event; empty without one."""
    cause_named: bool
    cause: str
    """The words that name it, else those of the detection."""
    acted_s: float | None
    action: str
    """Type of the event that is the action; empty without one."""
    recovered_s: float | None
    """Since the fault began, or since it was ended where it lasts; None: not back."""
    model: float
    """Share of the probes since the fault that the model answered well, 0..1."""
    fallback: float
    nobody: float
    probes: int

    @property
    def passed(self) -> bool:
        """Whether it was noticed, named, answered and overcome."""
        return (
            self.detected_s is not None
            and self.cause_named
            and self.acted_s is not None
            and self.recovered_s is not None
        )


def drill_of(name: str) -> Drill | None:
    """Return the fault of this name."""
    return next((drill for drill in DRILLS if drill.name == name), None)


def score(
    drill: Drill,
    environment: Environment,
    targets: Sequence[str],
    events: Sequence[Told],
    probes: Sequence[Probe],
    *,
    ended_s: float,
) -> Score:
    """Return what the product did about a fault.

    Args:
        drill: The fault.
        environment: Where it was made.
        targets: Names, one of which an event must mention to be about the fault.
        events: The product's events since then, in the log's order.
        probes: Requests in order of time.
        ended_s: When the fault was ended, seconds since it began; counts where it lasts.

    Examples:
        >>> found = score(
        ...     DRILLS[0],
        ...     "staging",
        ...     ["replica-home-1"],
        ...     [
        ...         Told(
        ...             at_s=0.4,
        ...             type="mlg.process.crashed",
        ...             key="k",
        ...             about="replica-home-1",
        ...             words="crashed, exit code -9",
        ...         )
        ...     ],
        ...     [],
        ...     ended_s=0.0,
        ... )
        >>> found.detected_s, found.cause_named, found.acted_s
        (0.4, True, None)
    """
    mine = [
        event
        for event in events
        if event.at_s >= 0.0 and any(_names(event, name) for name in targets)
    ]
    noticed = [e for e in mine if e.type in drill.detected_by and not e.passed]
    first = noticed[0] if noticed else None
    named = next(
        (e for e in noticed if any(word in e.words.lower() for word in drill.cause_words)), None
    )
    answers = [
        e
        for e in mine
        if first is not None
        and e.type in drill.answered_by
        and not (e.passed and e.type in drill.detected_by)
        and e.at_s >= first.at_s
    ]
    since = [probe for probe in probes if probe.at_s >= 0.0]
    told_by = named or first
    return Score(
        fault=drill.name,
        environment=environment,
        detected_s=first.at_s if first else None,
        detected_by=first.key if first else "",
        cause_named=named is not None,
        cause=told_by.words if told_by else "",
        acted_s=answers[0].at_s if answers else None,
        action=answers[0].type if answers else "",
        recovered_s=recovered_s(since, ended_s if drill.lasts else 0.0),
        model=_share(since, "model"),
        fallback=_share(since, "fallback"),
        nobody=_share(since, "nobody"),
        probes=len(since),
    )


def _names(event: Told, name: str) -> bool:
    """Whether an event is about a thing, and not about `replica-home-10` for `…-1`."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", event.about) is not None


def recovered_s(probes: Sequence[Probe], from_s: float) -> float | None:
    """Return the seconds from a moment to the first of the good probes that go on to the end.

    Args:
        probes: In order of time, since the fault began.
        from_s: The moment; what came before it does not count.

    Returns:
        0.0 when every probe after the moment was good; None when the last ones are not, or
        are fewer than `LEAST_AFTER`.

    Examples:
        >>> good = [Probe(at_s=2.0 + n, served_by="model") for n in range(10)]
        >>> recovered_s([Probe(at_s=1.0, served_by="nobody"), *good], 0.0)
        2.0
    """
    after = [probe for probe in probes if probe.at_s >= from_s]
    bad = [n for n, probe in enumerate(after) if probe.served_by != "model"]
    run = after[bad[-1] + 1 :] if bad else after
    if len(run) < LEAST_AFTER:
        return None
    return run[0].at_s - from_s if bad else 0.0


def _share(probes: Sequence[Probe], who: str) -> float:
    """Return the share of probes that so was served; 0.0 of none."""
    return sum(probe.served_by == who for probe in probes) / len(probes) if probes else 0.0
