"""Game days: one fault on purpose, watched by the product's own events, and its score."""

import json
import logging
import threading
from contextlib import ExitStack
from typing import Any, Final

from mlg.app.freezing import frozen_document
from mlg.app.gameday_faults import inject
from mlg.app.gameday_field import Day, Field
from mlg.app.gameday_probes import Prober
from mlg.app.gameday_range import end_ranges
from mlg.app.parts import Parts
from mlg.core.errors import ConflictError, LifecycleError, NotFoundError
from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.principal import Principal
from mlg.graph import record_gamedays
from mlg.graph.record import Recorder
from mlg.release.gameday import DRILLS, Environment, Score, Told, drill_of, score
from mlg.workflows.state import WantedVersion, read_wanted

logger = logging.getLogger("mlg.gameday")

LONGEST_S: Final = 600.0
SETTLE_S: Final = 5.0
"""How long the product is watched after a fault was ended, at least until it is back."""
LONGEST_SETTLE_S: Final = 90.0
_MARK: Final = "gameday.json"
"""Which faults file is a game day's, for a control plane that died in the middle of one."""


class GameDays:
    """Makes one fault at a time, and scores what the product does about it.

    In staging the fault hits a throw-away replica of what serves at 100 %, started for it
    outside of the traffic; in production it hits what answers viewers.

    Args:
        parts: The instance.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts, self._lock = parts, threading.Lock()
        self._day: Day | None = None
        self._thread: threading.Thread | None = None

    def document(self) -> dict[str, Any]:
        """Return `{"faults": [...], "gameday": the newest one or None}`."""
        faults = [
            {"fault": d.name, "what": d.what, "in": list(d.environments), "lasts": d.lasts}
            for d in DRILLS
        ]
        day = self._day
        return {"faults": faults, "gameday": day.document() if day else None}

    def begin(
        self,
        fault: str,
        service: str,
        environment: Environment,
        seconds: float | None,
        confirmed: bool,
        principal: Principal,
    ) -> dict[str, Any]:
        """Begin a game day and return it; it goes on by itself for `seconds`.

        Raises:
            NotFoundError: No such fault or service, or it serves no version.
            ConflictError: One is under way; production is not confirmed, or frozen.
        """
        drill = drill_of(fault)
        if drill is None:
            known = ", ".join(d.name for d in DRILLS)
            raise NotFoundError(
                f"no fault {fault!r}", where="gameday", hint=f"there is: {known}"
            )
        if environment not in drill.environments:
            raise ConflictError(
                f"{fault} is made in {' or '.join(drill.environments)} only", where="gameday"
            )
        if environment == "production" and not confirmed:
            raise ConflictError(
                "this would hurt what answers viewers, and nobody confirmed it",
                where=f"service {service}",
                hint="say so: mlg gameday FAULT --in production --yes.",
            )
        if environment == "production" and frozen_document(self._parts.files)["frozen"]:
            raise ConflictError(
                "everything is frozen", where="freeze", hint="mlg freeze --lift, then again."
            )
        serving = self._serving(service)
        with self._lock:
            if self._day is not None and self._day.state != "ended":
                raise ConflictError(
                    f"game day {self._day.id} is under way",
                    where="gameday",
                    hint="end it first.",
                )
            day = Day(
                id=self._parts.ids.new_id(),
                drill=drill,
                service=service,
                environment=environment,
                by=principal.subject,
            )
            self._day = day
            self._thread = threading.Thread(
                target=self._run, args=(day, serving, seconds), name="gameday", daemon=True
            )
            self._thread.start()
        return day.document()

    def end(self, gameday: str) -> dict[str, Any]:
        """End the fault now; the score follows once the product was watched a little longer.

        Raises:
            NotFoundError: It is not the newest game day.
        """
        day = self._day
        if day is None or day.id != gameday:
            raise NotFoundError(f"no game day {gameday!r} is under way", where="gameday")
        day.ending.set()
        return day.document()

    def close(self) -> None:
        """End the fault and what was started for it; called before the rest ends."""
        if self._day is not None:
            self._day.ending.set()
            self._day.state = "ended"
        if self._thread is not None:
            self._thread.join(10.0)
        self.sweep()

    def _serving(self, service: str) -> WantedVersion:
        """Return the version that the service serves.

        Raises:
            NotFoundError: No such service, or it serves none.
        """
        spec = self._parts.manifests.spec()
        if spec is None or service not in spec.services:
            raise NotFoundError(f"no service {service!r}", hint="mlg status lists them.")
        stable = read_wanted(self._parts.files, service).stable
        if stable is None:
            raise NotFoundError(
                f"{service} serves no version yet", where="gameday", hint="mlg run PIPELINE."
            )
        return stable

    def _run(self, day: Day, serving: WantedVersion, seconds: float | None) -> None:
        """Carry out one game day; whatever happens, the fault is taken back."""
        recorder = self._parts.recorder(day.by)
        begun: Event | None = None
        try:
            with ExitStack() as stage:
                place = Field(self._parts, day, serving, stage)
                begun = record_gamedays.gameday_begun(
                    recorder,
                    key=f"gameday:{day.id}:begun",
                    service=day.service,
                    gameday=day.id,
                    fault=day.drill.name,
                    environment=day.environment,
                    target=day.target,
                )
                after = self._parts.store.append((begun,)).seq
                day.score = self._watched(day, place, begun, after, seconds)
        except LifecycleError as error:
            day.error = str(error)
        except Exception as error:
            logger.exception("a game day ended by itself")
            day.error = f"{type(error).__name__}: {error}"
        finally:
            self._parts.files.remove(_MARK)
            self._ended(day, recorder, begun)
            day.state = "ended"

    def _watched(
        self, day: Day, place: Field, begun: Event, after: int, seconds: float | None
    ) -> Score:
        """Make the fault, watch, take it back, watch on; return the score."""
        clock = self._parts.clock
        mark = {"service": day.service, "environment": day.environment}
        self._parts.files.write(_MARK, json.dumps(mark).encode())
        prober = place.prober.start()
        try:
            clock.wait(1.0)
            day.state = "running"
            with ExitStack() as undo:
                began, began_s = clock.now(), clock.monotonic_s()
                inject(day.drill, place.target, place.home, place.artifact, undo)
                test = threading.Thread(target=place.test, args=(begun,), daemon=True)
                test.start()
                until_s = began_s + min(seconds or day.drill.seconds, LONGEST_S)
                while clock.monotonic_s() < until_s or test.is_alive():
                    if day.ending.wait(0.05):
                        break
            ended_s = clock.monotonic_s() - began_s
            day.state = "settling"
            self._settle(day, prober)
        finally:
            prober.stop()
        events = [
            told_of(stored.event, (stored.event.recorded_at - began).total_seconds())
            for stored in self._events(after)
        ]
        return score(
            day.drill,
            day.environment,
            place.names,
            events,
            prober.probes(began_s),
            ended_s=ended_s,
        )

    def _settle(self, day: Day, prober: Prober) -> None:
        """Wait until the model answers again for some time, or does not come back."""
        clock, from_s = self._parts.clock, self._parts.clock.monotonic_s()
        while (waited_s := clock.monotonic_s() - from_s) < LONGEST_SETTLE_S:
            if self._parts.ended.wait(0.1) or (waited_s > SETTLE_S and prober.steady()):
                return
            if not day.drill.lasts and waited_s > 2.0 and prober.steady():
                return

    def _events(self, after: int) -> list[Any]:
        found: list[Any] = []
        while page := self._parts.store.events(after=after, limit=1_000):
            found += page
            after = page[-1].seq
        return found

    def _ended(self, day: Day, recorder: Recorder, begun: Event | None) -> None:
        """Record the score; without it what went wrong."""
        if begun is None:
            return
        told = day.document()
        attrs: dict[str, Attr] = dict(told["score"] or {})
        attrs["error"] = day.error
        try:
            self._parts.store.append(
                (
                    record_gamedays.gameday_ended(
                        recorder,
                        key=f"gameday:{day.id}:ended",
                        service=day.service,
                        gameday=day.id,
                        verdict=told["verdict"] or "ERROR",
                        score=attrs,
                        cause=begun.id,
                    ),
                )
            )
        except LifecycleError as error:
            day.error = day.error or f"the score could not be recorded: {error}"

    def sweep(self) -> None:
        """Take back what a control plane that died in the middle of a game day left."""
        parts = self._parts
        mark = parts.files.read(_MARK)
        if mark is not None:
            told = json.loads(mark)
            if told["environment"] == "production":
                parts.files.remove(f"services/{told['service']}/faults.json")
            parts.files.remove(_MARK)
        end_ranges(parts.home, parts.clock, parts.ids)


def told_of(event: Event, at_s: float) -> Told:
    """Return an event as the score reads it."""
    facts = [*event.data, *(pair for fact in event.nodes for pair in fact.attrs)]
    words = "; ".join(str(value) for _, value in facts if isinstance(value, str) and value)
    codes = [f", exit code {v}" for name, v in facts if name == "exit_code" and v is not None]
    names = " ".join(fact.uri for fact in event.nodes)
    return Told(
        at_s=at_s,
        type=event.type,
        key=event.key,
        about=f"{event.subject} {names} {words}",
        words=words + "".join(codes),
        passed=("verdict", "PASS") in facts,
    )
