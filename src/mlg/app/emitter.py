"""Follows the event log and tells others of our runs, as OpenLineage events.

The log is the truth and waits for nobody: a target that is down makes this thread wait, and
nothing else. The place in the log is one small file, written after what it counts was taken,
so every event is sent at least once, in the order of the log.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from mlg.core.clock import Clock
from mlg.core.errors import LifecycleError, ManifestError
from mlg.core.events import Event, StoredEvent
from mlg.core.ports import Files, GraphReader, GraphStore, LineageTarget
from mlg.graph import record_emission
from mlg.graph.openlineage_emit import emitted
from mlg.graph.record import Recorder
from mlg.workflows.record import append_once

STATE: Final = "openlineage.json"
_BATCH: Final = 200
_POLL_S: Final = 0.5
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 60.0
_JOIN_S: Final = 3.0

logger = logging.getLogger("mlg.emitter")


class EmitterState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the log was told, and since when it could not be."""

    seq: int
    failing_since: datetime | None = None


class Emitter:
    """Sends what happens to runs, on a thread of its own.

    Args:
        files: Keeps `openlineage.json`.
        clock: For the times of its own events.
        store: The event log.
        reader: What the graph knows of data, owners and commits.
        recorder: Makes the events that sending fails and works again.
        target: Opens the target; called again after it failed.
        version: Our own version, for the producer.
    """

    def __init__(
        self,
        *,
        files: Files,
        clock: Clock,
        store: GraphStore,
        reader: GraphReader,
        recorder: Callable[[], Recorder],
        target: Callable[[], LineageTarget],
        version: str,
    ) -> None:
        self._files, self._clock, self._store, self._reader = files, clock, store, reader
        self._recorder, self._target_of, self._version = recorder, target, version
        self._target: LineageTarget | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlg-emitter", daemon=True)
        self._state: EmitterState | None = None
        self.emitted = 0
        """Events taken by the target since the start."""
        self.unreachable = 0
        """Attempts that failed and are made again."""
        self.refused = 0
        """Events that the target will never take; they were left out."""

    def start(self) -> None:
        """Begin to follow; the first start ever begins at the head of the log.

        Raises:
            BackendError: The log cannot be read.
        """
        self.open()
        self._thread.start()

    def stop(self) -> None:
        """Stop after the event under way, at most some seconds later."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def open(self) -> None:
        """Find the place in the log; a log that is shorter, as after a restore, from its head.

        Raises:
            BackendError: The log cannot be read.
        """
        state, head = _read(self._files), self._store.head().seq
        if state is None or state.seq > head:
            state = EmitterState(seq=head)
            self._save(state)
        self._state = state

    def waiting(self) -> int:
        """Return how many events of the log were not looked at yet."""
        state = self._state
        return max(0, self._store.head().seq - state.seq) if state else 0

    def round(self) -> int:
        """Tell what is new; return the number of events looked at.

        Raises:
            LifecycleError: The target did not take an event; it is tried again.
        """
        if self._state is None:
            self.open()
        state = self._state or EmitterState(seq=0)
        new = self._store.events(state.seq, _BATCH)
        for stored in new:
            if self._stop.is_set():
                break
            told = emitted(stored.event, self._reader, version=self._version)
            try:
                sent = told is not None and self._send(stored.seq, told)
            except LifecycleError as error:
                self.unreachable += 1
                self._save(self._interrupted(state, stored, error))
                raise
            if sent and state.failing_since is not None:
                self._record(
                    record_emission.emission_resumed(
                        self._recorder(), seq=stored.seq, since=state.failing_since
                    )
                )
            since = None if sent else state.failing_since
            state = EmitterState(seq=stored.seq, failing_since=since)
        if new:
            self._save(state)
        return len(new)

    def _send(self, seq: int, told: Mapping[str, Any]) -> bool:
        """Send one event; return whether the target took it, not whether it was tried.

        Raises:
            LifecycleError: The target did not take it now.
        """
        if self._target is None:
            self._target = self._target_of()
        try:
            self._target.send(told)
        except ManifestError as refused:
            self.refused += 1
            logger.warning("event %s is left out: %s", seq, refused)
            return False
        self.emitted += 1
        return True

    def _interrupted(
        self, state: EmitterState, stored: StoredEvent, error: LifecycleError
    ) -> EmitterState:
        """Record the first failure of a row; return the state to keep."""
        since = state.failing_since
        if since is None:
            since = self._clock.now()
            self._record(
                record_emission.emission_interrupted(
                    self._recorder(), seq=stored.seq, error=error
                )
            )
        return EmitterState(seq=stored.seq - 1, failing_since=since)

    def _record(self, event: Event) -> None:
        try:
            append_once(self._store, (event,))
        except LifecycleError as error:
            logger.warning("not recorded: %s", error)

    def _save(self, state: EmitterState) -> None:
        self._files.write(STATE, msgspec.json.encode(state))
        self._state = state

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._stop.is_set():
            try:
                count = self.round()
            except LifecycleError as error:
                logger.warning("others could not be told yet: %s", error)
            except Exception:  # the edge of the thread: a transport may raise anything
                self.unreachable += 1
                logger.exception("others could not be told yet")
            else:
                wait_s = _FIRST_WAIT_S
                if count < _BATCH:
                    self._stop.wait(_POLL_S)
                continue
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        if self._target is not None:
            self._target.close()


def _read(files: Files) -> EmitterState | None:
    content = files.read(STATE)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=EmitterState)
    except msgspec.MsgspecError as error:
        logger.warning("%s cannot be read, telling begins at the head: %s", STATE, error)
        return None
