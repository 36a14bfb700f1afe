"""Asks providers for what thin events name, and for everything now and then.

A provider that is down stops nobody: what was asked for waits in the queue, is tried again
with growing pauses, and the sweep finds what no event told.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Any, Final

from mlg.core.clock import Clock, rfc3339
from mlg.core.errors import LifecycleError, ManifestError
from mlg.core.ports import Provider
from mlg.core.providers import Enrichment, EnrichmentCounts, Thing, Told
from mlg.core.uris import Uri, parse_uri
from mlg.graph.record import node
from mlg.workflows.enrich import Outcome, States
from mlg.workflows.record import append_once

BATCH: Final = 20
SWEPT: Final = 200
"""States of a sweep that are recorded together; thin events go between."""
POLL_S: Final = 1.0
FIRST_WAIT_S: Final = 2.0
"""Before a failed look is tried again; twice as long after each further failure."""
LONGEST_WAIT_S: Final = 600.0
DOWN_AFTER: Final = 3
"""Failures in a row after which a provider counts as down, which is an event."""
LONGEST_PAUSE_S: Final = 60.0
"""Longest time for which nothing is asked of a provider that is down."""

logger = logging.getLogger("mlg.enrichment")


class Enricher:
    """Answers what was asked of one provider, on a thread of its own.

    Args:
        name: The provider's name in the settings.
        plugin: Its part of the URIs.
        provider: The provider.
        states: Records what it tells.
        clock: Event time for the queue, monotonic time for pauses.
        sweep_every_s: Seconds between two looks at everything; 0 never looks.
    """

    def __init__(
        self,
        *,
        name: str,
        plugin: str,
        provider: Provider,
        states: States,
        clock: Clock,
        sweep_every_s: float,
    ) -> None:
        self.name, self.plugin, self._provider = name, plugin, provider
        self.types = provider.types()
        self._states, self._queue, self._clock = states, states.queue, clock
        self._every_s = sweep_every_s
        self._stop, self._woken = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mlg-{name}", daemon=True)
        self._failed = 0
        self._is_down: bool | None = None
        """Whether the graph has it as down; None before the first answer or failure."""
        self._problem = ""
        self._paused_s = float("-inf")
        self._sweep: Iterator[Told] | None = None
        self._seen: set[Uri] = set()
        self._next_sweep_s = clock.monotonic_s() if sweep_every_s > 0 else float("inf")

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the look at hand and stop; what waits goes on at the next start."""
        self._stop.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def wake(self) -> None:
        """Look at the queue now."""
        self._woken.set()

    def document(self, counts: EnrichmentCounts) -> dict[str, Any]:
        """Return where this provider stands, for the API."""
        return {
            "provider": self.name,
            "plugin": self.plugin,
            "types": list(self.types),
            "state": "down" if self._failed >= DOWN_AFTER else "up",
            "problem": self._problem,
            "waiting": counts.waiting,
            "enriched": counts.enriched,
            "failing": counts.failing,
            "last_enriched_at": rfc3339(counts.enriched_at) if counts.enriched_at else None,
            "sweeping": self._sweep is not None,
        }

    def round(self) -> bool:
        """Answer some of what is due, and go on with the sweep; return whether more is to do.

        Raises:
            LifecycleError: The graph or the queue cannot be used; nothing is lost.
        """
        if self._clock.monotonic_s() < self._paused_s:
            return False
        due = self._queue.due(self.name, self._clock.now(), BATCH)
        for asked in due:
            if self._stop.is_set() or not self._look(asked):
                return False
        return self._swept() or len(due) == BATCH

    def _look(self, asked: Enrichment) -> bool:
        """Ask for one thing; return whether the provider answered."""
        try:
            told = self._provider.tell(asked.thing)
        except ValueError as wrong:
            self._settle_failed(asked, str(wrong), again=False)
            return True
        except LifecycleError as error:
            self._settle_failed(asked, str(error), again=True)
            self._note_failure(error)
            return False
        except (
            Exception
        ) as wrong:  # the edge to a plug-in: one thing may not hold up the others
            logger.exception("%s could not tell of %s", self.name, asked.thing)
            self._settle_failed(asked, f"{type(wrong).__name__}: {wrong}", again=True)
            return True
        self._note_answer()
        self._states.record(self.name, self.plugin, told, asked)
        self._ask_unknown(told)
        return True

    def _settle_failed(self, asked: Enrichment, error: str, *, again: bool) -> None:
        tries = asked.tries + 1
        wait_s = min(FIRST_WAIT_S * 2.0 ** min(tries - 1, 20), LONGEST_WAIT_S)
        next_at = self._clock.now() + timedelta(seconds=wait_s) if again else None
        failed = replace(
            asked,
            state="failing",
            tries=tries,
            next_at=next_at,
            enriched_at=None,
            error=error[:500],
        )
        self._queue.settle((failed,))

    def _ask_unknown(self, told: Sequence[Told]) -> None:
        unknown = [one for one in self._states.unknown(told) if one.type in self.types]
        if unknown:
            self._queue.ask(self.name, unknown, self._clock.now())

    def _swept(self) -> bool:
        """Record the next part of the sweep; return whether there is more of it."""
        now_s = self._clock.monotonic_s()
        if self._sweep is None:
            if now_s < self._next_sweep_s:
                return False
            self._sweep, self._seen = self._provider.tell_all(), set()
        try:
            told = list(islice(self._sweep, SWEPT))
        except LifecycleError as error:
            self._sweep = None
            self._note_failure(error)
            self._next_sweep_s = self._paused_s
            return False
        self._note_answer()
        if told:
            self._states.record(self.name, self.plugin, told)
            self._seen |= {one.subject for one in told}
        if len(told) == SWEPT:
            return True
        self._sweep, self._next_sweep_s = None, now_s + self._every_s
        for namespace in sorted({parse_uri(uri).namespace for uri in self._seen}):
            gone = self._states.vanished(self.plugin, namespace, self._seen)
            self._queue.ask(self.name, gone, self._clock.now())
        return False

    def _note_failure(self, error: LifecycleError) -> None:
        self._failed += 1
        self._problem = str(error)[:500]
        pause_s = min(2.0 ** min(self._failed - 1, 20), LONGEST_PAUSE_S)
        self._paused_s = self._clock.monotonic_s() + pause_s
        logger.warning("%s: %s; again in %.0f s", self.name, error, pause_s)
        if self._failed >= DOWN_AFTER:
            self._tell("mlg.provider.failed", reachable=False)

    def _note_answer(self) -> None:
        self._failed, self._problem = 0, ""
        self._tell("mlg.provider.recovered", reachable=True)

    def _tell(self, type_: str, *, reachable: bool) -> None:
        """Record that it went or came back, unless the graph has it so already."""
        if self._is_down is (not reachable):
            return
        recorder = self._states.recorder("system:enrichment")
        subject = recorder.uri("source", f"provider/{self.name}")
        known = self._states.known(subject)
        was_down = known is not None and dict(known.attrs).get("reachable") is False
        self._is_down = not reachable
        if was_down is self._is_down:
            return
        attrs = {"reachable": reachable, "problem": self._problem if not reachable else None}
        event = recorder.event(
            type_,
            key=f"{type_}:{recorder.ids.new_id()}",
            subject=subject,
            nodes=(node(subject, attrs, name=self.name),),
        )
        append_once(self._states.store, (event,))

    def _run(self) -> None:
        while not self._stop.is_set():
            more = False
            try:
                more = self.round()
            except LifecycleError as error:
                logger.warning("%s cannot go on yet: %s", self.name, error)
            except Exception:  # the edge of the thread: a plug-in may do anything
                logger.exception("%s cannot go on yet", self.name)
                self._sweep = None
                self._paused_s = self._clock.monotonic_s() + LONGEST_PAUSE_S
            if not more:
                self._woken.wait(POLL_S)
                self._woken.clear()


class Enrichers:
    """Implements the API's `Providers`.

    Args:
        enrichers: One a provider in the settings.
        states: Records what is told.
        clock: When things were asked for.
        plugins: Names of the installed plug-ins, whose states may come by the API too.
        close: Closes the queue.
    """

    def __init__(
        self,
        enrichers: Sequence[Enricher],
        states: States,
        clock: Clock,
        plugins: Sequence[str],
        close: Callable[[], None],
    ) -> None:
        self._enrichers = {one.name: one for one in enrichers}
        self._states, self._queue, self._clock = states, states.queue, clock
        self._plugins, self._close = tuple(plugins), close

    def start(self) -> None:
        """Begin to answer."""
        for one in self._enrichers.values():
            one.start()

    def stop(self) -> None:
        """Stop, and close the queue."""
        for one in self._enrichers.values():
            one.stop()
        self._close()

    def types(self) -> dict[str, tuple[str, ...]]:
        """Return the types of each provider that thin events may name."""
        return {name: one.types for name, one in sorted(self._enrichers.items())}

    def ask(self, provider: str, things: Sequence[Thing]) -> None:
        """Remember durably that things are to be looked at."""
        self._queue.ask(provider, things, self._clock.now())
        self._enrichers[provider].wake()

    def standings(self, provider: str, state: str, limit: int) -> dict[str, Any]:
        """Return where providers and their things stand."""
        counts, things = self._queue.standings(provider, state, limit)
        by_name = {one.provider: one for one in counts}
        names = [name for name in sorted(self._enrichers) if provider in {"", name}]
        told = [
            self._enrichers[name].document(by_name.get(name, EnrichmentCounts(provider=name)))
            for name in names
        ]
        told += [_imported(count) for count in counts if count.provider not in self._enrichers]
        return {"providers": told, "things": [_thing(one) for one in things]}

    def record(self, plugin: str, told: Sequence[Told]) -> tuple[Outcome, ...]:
        """Record states that a provider told elsewhere.

        Raises:
            ManifestError: No such plug-in is installed.
        """
        if plugin not in self._plugins:
            raise ManifestError(
                f"no provider plug-in {plugin[:80]!r}; known are {', '.join(self._plugins)}",
                where="provider",
                hint="see docs/providers.md.",
            )
        return self._states.record(f"import:{plugin}", plugin, told)


def _imported(counts: EnrichmentCounts) -> dict[str, Any]:
    return {
        "provider": counts.provider,
        "plugin": counts.provider.rpartition(":")[2],
        "types": [],
        "state": "not watched",
        "problem": "",
        "waiting": counts.waiting,
        "enriched": counts.enriched,
        "failing": counts.failing,
        "last_enriched_at": rfc3339(counts.enriched_at) if counts.enriched_at else None,
        "sweeping": False,
    }


def _thing(one: Enrichment) -> dict[str, Any]:
    return {
        "provider": one.provider,
        "type": one.thing.type,
        "id": one.thing.id,
        "state": one.state,
        "tries": one.tries,
        "next_at": rfc3339(one.next_at) if one.next_at else None,
        "last_enriched_at": rfc3339(one.enriched_at) if one.enriched_at else None,
        "error": one.error,
    }
