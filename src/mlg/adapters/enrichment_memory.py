"""Which things were asked for, in memory; for tests and the simulator."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from mlg.core.providers import Enrichment, EnrichmentCounts, Thing

if TYPE_CHECKING:
    from mlg.core.ports import EnrichmentQueue


class MemoryEnrichment:
    """Keeps the rows in a dict; lost when the process ends."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, Thing], Enrichment] = {}
        self._lock = threading.Lock()

    def ask(self, provider: str, things: Sequence[Thing], at: datetime) -> None:
        with self._lock:
            for thing in things:
                row = self._rows.get((provider, thing)) or Enrichment(
                    provider=provider, thing=thing, state="waiting"
                )
                next_at = at if row.next_at is None else min(row.next_at, at)
                self._rows[provider, thing] = replace(
                    row, state="waiting", asked=row.asked + 1, next_at=next_at
                )

    def due(self, provider: str, at: datetime, limit: int) -> tuple[Enrichment, ...]:
        with self._lock:
            found = [
                (row.next_at, thing, row)
                for (of, thing), row in self._rows.items()
                if of == provider and row.next_at is not None and row.next_at <= at
            ]
        return tuple(row for _, _, row in sorted(found, key=lambda it: it[:2])[:limit])

    def settle(self, outcomes: Sequence[Enrichment]) -> None:
        with self._lock:
            for outcome in outcomes:
                key = (outcome.provider, outcome.thing)
                row = self._rows.get(key)
                if row is None or row.asked == outcome.asked:
                    told_at = outcome.enriched_at or (row.enriched_at if row else None)
                    self._rows[key] = replace(outcome, enriched_at=told_at)
                elif outcome.enriched_at is not None:
                    self._rows[key] = replace(row, enriched_at=outcome.enriched_at)

    def standings(
        self, provider: str = "", state: str = "", limit: int = 100
    ) -> tuple[tuple[EnrichmentCounts, ...], tuple[Enrichment, ...]]:
        with self._lock:
            rows = [self._rows[key] for key in sorted(self._rows)]
        rows = [row for row in rows if provider in {"", row.provider}]
        counts: dict[str, EnrichmentCounts] = {}
        for row in rows:
            count = counts.setdefault(row.provider, EnrichmentCounts(provider=row.provider))
            times = [at for at in (count.enriched_at, row.enriched_at) if at is not None]
            counts[row.provider] = replace(
                count,
                waiting=count.waiting + (row.state == "waiting"),
                enriched=count.enriched + (row.state == "enriched"),
                failing=count.failing + (row.state == "failing"),
                enriched_at=max(times, default=None),
            )
        listed = [row for row in rows if state in {"", row.state}]
        return tuple(counts.values()), tuple(listed[:limit])


if TYPE_CHECKING:
    _: EnrichmentQueue = MemoryEnrichment()
