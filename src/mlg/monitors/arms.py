"""What a rollout compares: answers and reactions by arm, over one stage of fixed shares.

An arm is the version (or label, as `3f2a~control`) that the gateway assigned a request to,
whoever answered it then: intention to treat. The tally is a fold over the log from the
stage's first record, so it can be made again from the log at any time.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from mlg.core.traffic import version_of
from mlg.monitors.live import EDGES_MS
from mlg.monitors.slow import Limit, Slower
from mlg.monitors.units import Firsts, Units, unit_of

ENGAGED: Final = frozenset(("play", "complete"))
MOST_VIEWERS: Final = 200_000
"""Viewers who are told apart; with more, newcomers are not seen any more."""
MOST_GIVEN: Final = 500_000
"""Newest answers that a reaction is joined to, and that repeats are recognised in."""
MOST_EARLY: Final = 10_000
"""Answers whose reactions came first and wait for them."""
FAILED: Final = "failed"
ABSTAINED: Final = "abstained"
FELL_BACK: Final = "fell_back"
"""Marks of a unit: it had failed in an earlier step; how its first answer came about."""


@dataclass(slots=True, kw_only=True)
class Rollout:
    """What is compared during one rollout, and who had an event already.

    Kept over the steps of a rollout, so that a client that fails again and again in
    each of them is one event.
    """

    candidate: str = ""
    """Label of its arm."""
    control: str = ""
    limits: tuple[Limit, ...] = ()
    failed: Firsts = field(default_factory=Firsts)
    slow: dict[str, Firsts] = field(default_factory=dict[str, Firsts])
    """By gate."""


@dataclass(slots=True, kw_only=True)
class Viewer:
    """One viewer's part in an arm, so that each has one vote."""

    answers: int = 0
    hits: int = 0
    watch_sum: float = 0.0
    watch_n: int = 0


@dataclass(slots=True, kw_only=True)
class Arm:
    """Counters of one arm in one stage; `answers` is the unit of all but `units`."""

    answers: int = 0
    abstentions: int = 0
    """Answers that the replica took from its popularity list for lack of confidence."""
    rescued: int = 0
    """Answers by another version's replicas."""
    fell_back: int = 0
    """Answers by the popularity server, after a failure."""
    latency: list[int] = field(default_factory=lambda: [0] * (len(EDGES_MS) + 1))
    """The arm's own answers per latency bin of `EDGES_MS`."""
    raw_sum: float = 0.0
    raw_square_sum: float = 0.0
    hits: int = 0
    """Answers of which the viewer took at least one item."""
    failed: int = 0
    """Sticky units whose first failure in the rollout came in this stage."""
    units: Units = field(default_factory=Units)
    """Sticky units seen; answers without a key count one each. Marked at first sight."""
    viewers: dict[str, Viewer] = field(default_factory=dict[str, Viewer])

    @property
    def clicked(self) -> float:
        """Sum over viewers of the share of their answers that they took something of."""
        return sum(v.hits / v.answers for v in self.viewers.values())

    @property
    def watchers(self) -> int:
        """Viewers who watched something that the arm showed."""
        return sum(v.watch_n > 0 for v in self.viewers.values())

    @property
    def watched(self) -> float:
        """Sum over watchers of their mean watch-through, 0..1 each."""
        return sum(v.watch_sum / v.watch_n for v in self.viewers.values() if v.watch_n)


@dataclass(slots=True, kw_only=True)
class _Given:
    arm: str
    viewer: Viewer
    items: frozenset[str]
    hit: bool = False
    watched: dict[str, float] = field(default_factory=dict[str, float])


class Stage:
    """The arms of one stage; feed it every record once or more, in any order.

    Args:
        rollout: What is compared; None compares nothing and counts all the same.
        part: Part of the candidate's units that is as many as the control has, 0..1.

    Examples:
        >>> stage = Stage()
        >>> row = {"prediction_id": "p", "arm": "v2", "items": [1], "model_version": "v2"}
        >>> stage.add([row, row], [{"prediction_id": "p", "item_id": 1, "event": "play"}])
        >>> (stage.arms["v2"].answers, stage.arms["v2"].hits)
        (1, 1)
    """

    def __init__(self, rollout: Rollout | None = None, part: float = 1.0) -> None:
        self._rollout = rollout or Rollout()
        self._slower = Slower(self._rollout.limits, self._rollout.slow, part=part)
        self.arms: dict[str, Arm] = {}
        self.newest_at = ""
        """Largest event time of an answer, RFC 3339; empty before the first one."""
        self.answers = 0
        self.newcomers: list[int] = []
        """The number of the answer with which each viewer, of any arm, came first."""
        self._who: set[str] = set()
        self._given: dict[str, _Given] = {}
        self._early: dict[str, list[Mapping[str, Any]]] = {}

    def add(
        self, predictions: Sequence[Mapping[str, Any]], feedback: Sequence[Mapping[str, Any]]
    ) -> None:
        """Count the records; one that came before is not counted again.

        Args:
            predictions: Decoded rows of the prediction log.
            feedback: Decoded rows of the feedback log; may come before their answers.
        """
        for row in predictions:
            self._answer(row)
        for row in feedback:
            given = self._given.get(str(row.get("prediction_id")))
            if given is None:
                self._early.setdefault(str(row.get("prediction_id")), []).append(row)
                if len(self._early) > MOST_EARLY:
                    del self._early[next(iter(self._early))]
            else:
                self._react(given, row)

    @property
    def blocks(self) -> dict[str, dict[int, list[int]]]:
        """First slow answers as `Slower` has them, of the candidate and of the control."""
        return self._slower.blocks

    def coming(self, answers: float) -> float:
        """Return about how many new viewers so many more answers would bring.

        From the newer half of the answers: a public that only comes back brings none.
        """
        half = self.answers / 2
        return sum(n > half for n in self.newcomers) / max(1.0, half) * answers

    def slower(self, gate: str) -> tuple[int, int]:
        """Return in how many blocks more of the candidate's units were slow, or control's."""
        return self._slower.counts(gate)

    def _answer(self, row: Mapping[str, Any]) -> None:
        prediction = str(row.get("prediction_id") or "")
        name = str(row.get("arm") or row.get("model_version") or "")
        if not prediction or not name or prediction in self._given:
            return
        arm = self.arms.setdefault(name, Arm())
        arm.answers += 1
        own = str(row.get("model_version") or "") == version_of(name)
        marks: list[str] = []
        failed = not own
        if row.get("served_by") == "fallback" and row.get("reason") == "abstain":
            arm.abstentions += own
            arm.rescued += not own
            marks += [ABSTAINED] if own else []
        elif row.get("served_by") == "fallback":
            own, failed = False, True
            arm.fell_back += 1
            marks.append(FELL_BACK)
        else:
            arm.rescued += not own
        unit = unit_of(str(row.get("session") or prediction))
        marks += [FAILED] if unit in self._rollout.failed else []
        arm.failed += failed and self._rollout.failed.first(unit)
        latency = finite(row.get("latency_ms"))
        if own and latency is not None:
            arm.latency[bisect_right(EDGES_MS, latency)] += 1
            marks += self._slow(name, unit, latency, row)
        raw = finite(row.get("raw_confidence"))
        if raw is not None:
            arm.raw_sum += raw
            arm.raw_square_sum += raw * raw
        arm.units.see(unit, tuple(marks))
        self.answers += 1
        who = str(row.get("viewer") or row.get("session") or prediction)
        if who not in self._who and len(self._who) < MOST_VIEWERS:
            self._who.add(who)
            self.newcomers.append(self.answers)
        viewer = arm.viewers.setdefault(who, Viewer())
        viewer.answers += 1
        self.newest_at = max(self.newest_at, str(row.get("at") or ""))
        items = frozenset(map(str, row.get("items") or ()))
        given = self._given[prediction] = _Given(arm=name, viewer=viewer, items=items)
        if len(self._given) > MOST_GIVEN:
            del self._given[next(iter(self._given))]
        for early in self._early.pop(prediction, ()):
            self._react(given, early)

    def _slow(self, arm: str, unit: int, ms: float, row: Mapping[str, Any]) -> list[str]:
        """Count a unit's first slow answer; return the gates for which this one is slow."""
        if arm not in {self._rollout.candidate, self._rollout.control}:
            return []
        at, control = received(row), arm != self._rollout.candidate
        return self._slower.see(unit, ms, at, control=control)

    def _react(self, given: _Given, row: Mapping[str, Any]) -> None:
        item, arm = str(row.get("item_id")), self.arms[given.arm]
        if given.items and item not in given.items:
            return
        if not given.hit and row.get("event") in ENGAGED:
            given.hit = True
            arm.hits += 1
            given.viewer.hits += 1
        watched = finite(row.get("watch_through"))
        if watched is not None and 0 <= watched <= 1:
            before = given.watched.get(item)
            if before is None or watched > before:
                given.viewer.watch_n += before is None
                given.viewer.watch_sum += watched - (before or 0.0)
                given.watched[item] = watched


def received(row: Mapping[str, Any]) -> str:
    """Return when an answer was given, by wall time where the row has it; or nothing."""
    return str(row.get("received_at") or row.get("at") or "")


def finite(value: object) -> float | None:
    """Return a number of a row; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)
