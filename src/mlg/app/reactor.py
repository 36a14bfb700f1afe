"""Follows the event log and lets rules answer.

The place in the log and the firings are one small file, written after the workflows of a
round were started: what is read again after a crash has the same keys and starts nothing.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

import msgspec

from mlg.automations.asking import graph_functions
from mlg.automations.decide import (
    ACTOR,
    FIRED,
    Decision,
    Facts,
    Fired,
    Rule,
    causes_of,
    decide,
    rules_of,
)
from mlg.automations.freeze import FREEZE_FILE, freeze_from_bytes
from mlg.core.clock import Clock
from mlg.core.errors import LifecycleError
from mlg.core.events import Event
from mlg.core.ports import Files, GraphReader, GraphStore
from mlg.core.uris import EventId, Uri
from mlg.manifest.specs import ManifestSpec
from mlg.workflows.react import Reaction

STATE: Final = "automations.json"
_POLL_S: Final = 0.5
_BATCH: Final = 500
_BEFORE: Final = 10_000
"""How many events before the place in the log are read at a start, to know their causes."""
_MOST_KNOWN: Final = 10_000
_HOUR: Final = timedelta(hours=1)
_LEADS: Final = ("triggered", "part_of")
"""Roles by which what happens to one thing comes of another."""

logger = logging.getLogger("mlg.reactor")


class Reacted(msgspec.Struct, frozen=True, kw_only=True):
    """How far the log was answered, and which rules fired lately."""

    seq: int
    fired: tuple[Fired, ...] = ()


class Ancestry:
    """Knows every event that came of what a rule did, for the loop guard.

    An event names its cause, or it happens to a thing that such an event triggered: the run
    that a rule started, the rollout of that run.
    """

    def __init__(self) -> None:
        self._events: dict[EventId, Event] = {}
        self._of: dict[Uri, EventId] = {}

    def lookup(self, event: EventId) -> Event | None:
        """Return an event that came of a rule's act, or None."""
        return self._events.get(event)

    def traced(self, event: Event) -> Event:
        """Return the event with its cause, and remember it if a rule's act led to it."""
        cause = event.cause
        if cause is None or cause not in self._events:
            touched = (event.subject, *(e.src for e in event.edges if e.role in _LEADS))
            found = (self._of[uri] for uri in touched if uri in self._of)
            cause = next((id_ for id_ in found if id_ != event.id), cause)
        event = replace(event, cause=cause)
        if event.actor.startswith(ACTOR) or cause in self._events:
            self._events[event.id] = event
            for arrow in event.edges:
                if arrow.role in _LEADS and not _is_lasting(arrow.dst):
                    self._of.setdefault(arrow.dst, event.id)
            _shorten(self._events)
            _shorten(self._of)
        return event


def _is_lasting(uri: Uri) -> bool:
    """Return whether a thing outlives what a rule did to it: its later events are its own."""
    return uri.startswith(("mlg://service/", "mlg://pipeline/", "mlg://endpoint/"))


def _shorten(kept: dict[EventId, Event] | dict[Uri, EventId]) -> None:
    while len(kept) > _MOST_KNOWN:
        del kept[next(iter(kept))]  # pyright: ignore[reportArgumentType]


class Reactor:
    """Answers events on a thread of its own.

    Args:
        files: Keeps `automations.json`; has `freeze.json`.
        clock: For waiting between rounds.
        store: The event log.
        reader: Answers the questions of conditions.
        spec: The manifest in force, asked at each round.
        start: Starts the durable answer; the same one starts once.
    """

    def __init__(
        self,
        *,
        files: Files,
        clock: Clock,
        store: GraphStore,
        reader: GraphReader,
        spec: Callable[[], ManifestSpec | None],
        start: Callable[[Reaction], None],
    ) -> None:
        self._files, self._clock, self._store, self._reader = files, clock, store, reader
        self._spec, self._begin = spec, start
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlg-reactor", daemon=True)
        self._ancestry = Ancestry()
        self._state: Reacted | None = None

    def start(self) -> None:
        """Begin to follow; the first start ever begins at the head of the log.

        Raises:
            BackendError: The log cannot be read.
        """
        self.open()
        self._thread.start()

    def stop(self) -> None:
        """Finish the round and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def open(self) -> None:
        """Find the place in the log; old history is never answered.

        A log that is shorter than the place, as after a restore, is followed from its head.

        Raises:
            BackendError: The log cannot be read.
        """
        state, head = _read(self._files), self._store.head().seq
        if state is None or state.seq > head:
            state = Reacted(seq=head, fired=state.fired if state else ())
            self._files.write(STATE, msgspec.json.encode(state))
        after = max(0, state.seq - _BEFORE)
        while after < state.seq:
            for stored in self._store.events(after, min(_BATCH, state.seq - after)):
                self._ancestry.traced(stored.event)
                after = stored.seq
        self._state = state

    def round(self) -> int:
        """Answer what is new; return the number of events.

        Raises:
            LifecycleError: Something could not be read or started; it is tried again.
        """
        if self._state is None:
            self.open()
        state = self._state or Reacted(seq=0)
        new = self._store.events(state.seq, _BATCH)
        if not new:
            return 0
        spec = self._spec()
        rules = rules_of(spec) if spec else ()
        for stored in new:
            event = self._ancestry.traced(stored.event)
            decisions = self._answers(rules, event, state.fired)
            fired = _kept((*state.fired, *_fired(decisions, event)), rules, event)
            state = Reacted(seq=stored.seq, fired=fired)
            if decisions:
                self._save(state)
        self._save(state)
        return len(new)

    def _answers(
        self, rules: tuple[Rule, ...], event: Event, fired: tuple[Fired, ...]
    ) -> tuple[Decision, ...]:
        """Decide, and start what was decided."""
        if not rules:
            return ()
        facts = Facts(
            now=event.at,
            freeze=freeze_from_bytes(self._files.read(FREEZE_FILE)),
            fired=fired,
            causes=causes_of(event, self._ancestry.lookup),
            graph=graph_functions(self._reader, event.at),
        )
        decisions = decide(rules, event, facts)
        for decision in decisions:
            # of each opened alert it is kept which rule did not act, and for what
            if decision.outcome != "condition_false" or event.type == "mlg.alert.opened":
                self._begin(
                    Reaction(
                        decision=decision,
                        event_type=event.type,
                        subject=event.subject,
                        at=event.at,
                    )
                )
        return decisions

    def _save(self, state: Reacted) -> None:
        self._files.write(STATE, msgspec.json.encode(state))
        self._state = state

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                count = self.round()
            except LifecycleError as error:
                logger.warning("rules could not answer yet: %s", error)
                count = 0
            except Exception:  # the edge of the thread: a rule may not end the others
                logger.exception("rules could not answer yet")
                count = 0
            if count < _BATCH:
                self._stop.wait(_POLL_S)


def _fired(decisions: tuple[Decision, ...], event: Event) -> tuple[Fired, ...]:
    return tuple(
        Fired(rule=one.rule, key=one.key, at=event.at)
        for one in decisions
        if one.outcome in FIRED
    )


def _kept(fired: tuple[Fired, ...], rules: tuple[Rule, ...], event: Event) -> tuple[Fired, ...]:
    """Return the firings that may still hold a rule back, each key once."""
    longest = max((rule.spec.cooldown_s or 0.0 for rule in rules), default=0.0)
    since = event.at - max(_HOUR, timedelta(seconds=longest))
    return tuple({one.key: one for one in fired if one.at >= since}.values())


def _read(files: Files) -> Reacted | None:
    content = files.read(STATE)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=Reacted)
    except msgspec.MsgspecError as error:
        logger.warning("%s cannot be read, rules begin at the head: %s", STATE, error)
        return None
