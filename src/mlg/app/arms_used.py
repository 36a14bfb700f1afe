"""What the replicas of each arm used and withheld: from their metrics and the system."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import psutil

from mlg.app.supervise import Supervisor
from mlg.core.clock import Clock
from mlg.core.ports import Network
from mlg.release.rollout_types import GatePlan
from mlg.release.windows import Pair, Used, over, same_lives

_COUNTERS: Final = {
    b"mlg_attempts_total": "attempts",
    b"mlg_cache_hits_total": "cache_hits",
    b"mlg_cache_misses_total": "cache_misses",
    b"mlg_faults_total": "withheld",
}
_GATES: Final = ("cpu", "cache_hits")
_KEPT_S: Final = 1.0


@dataclass(slots=True, kw_only=True)
class ArmsUsed:
    """Every arm of a service at one moment."""

    used: dict[str, Used] = field(default_factory=dict[str, Used])
    """By label."""
    withheld: dict[str, int] = field(default_factory=dict[str, int])
    """Answers that replicas refused to give, by label, since they started."""


class ArmsReader:
    """Asks the ready replicas, each at most once in `_KEPT_S`.

    A rollout looks ten times a second, and an answer costs a replica milliseconds that its
    viewers wait for.

    Args:
        supervisor: Which replicas are ready.
        network: Reaches them.
        clock: How old an answer is.
    """

    def __init__(
        self, supervisor: Callable[[], Supervisor], network: Network, clock: Clock
    ) -> None:
        self._supervisor, self._network, self._clock = supervisor, network, clock
        self._kept: dict[str, tuple[float, frozenset[str], ArmsUsed]] = {}

    def read(
        self, service: str, labels: Iterable[str | None], *, anew: bool = False
    ) -> ArmsUsed:
        """Return what the ready replicas of some labels say, as of a second ago at most.

        Args:
            service: Whose replicas.
            labels: Of which arms; None is none.
            anew: Ask now, as where counting begins or ends.
        """
        wanted, now_s = frozenset(filter(None, labels)), self._clock.monotonic_s()
        at_s, known, found = self._kept.get(service, (0.0, frozenset[str](), ArmsUsed()))
        if anew or known != wanted or now_s - at_s >= _KEPT_S:
            found = self._read(service, wanted)
            self._kept[service] = (now_s, wanted, found)
        return found

    def _read(self, service: str, wanted: frozenset[str]) -> ArmsUsed:
        found = ArmsUsed()
        for process in self._supervisor().processes():
            label = process.version
            if process.service != service or label not in wanted or not process.ready:
                continue
            reply = self._network.request(
                "GET", f"http://127.0.0.1:{process.port}/metrics", timeout_s=1.0
            )
            if reply.status != 200:
                continue  # without it the arm has other lives, and its span begins anew
            counts = _counted(reply.body)
            found.withheld[label] = found.withheld.get(label, 0) + counts["withheld"]
            before = found.used.get(label, Used())
            hits = counts["cache_hits"]
            found.used[label] = replace(
                before,
                lives=tuple(sorted((*before.lives, process.pid))),
                cpu_s=before.cpu_s + _cpu_s(process.pid),
                attempts=before.attempts + counts["attempts"],
                cache_hits=before.cache_hits + hits,
                cache_lookups=before.cache_lookups + hits + counts["cache_misses"],
            )
        return found


class Spans:
    """The spans of one step, told as a plain document that the rollout keeps.

    Args:
        document: What was kept; empty at the step's begin.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._kept = document

    def look(self, gates: Iterable[GatePlan], now: Pair) -> dict[str, Any]:
        """Return the document after one more look."""
        kept = dict(self._kept)
        for gate in gates:
            if gate.name not in _GATES:
                continue
            one = kept.get(gate.name)
            worse, better = one["counts"] if one else (0, 0)
            since = msgspec.convert(one["since"], Pair) if one else now
            if not same_lives(since, now):
                since = now
            said = over(gate.name, gate.margin, since, now, gate.limit)
            if said is not None:
                worse, better, since = worse + said, better + (not said), now
            kept[gate.name] = {"counts": [worse, better], "since": msgspec.to_builtins(since)}
        return kept

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return the spans over the limit and not over it, by gate."""
        return {name: tuple(one["counts"]) for name, one in self._kept.items()}


def _counted(metrics: bytes) -> dict[str, int]:
    counts = dict.fromkeys(_COUNTERS.values(), 0)
    for line in metrics.splitlines():
        name = _COUNTERS.get(line.partition(b" ")[0].partition(b"{")[0])
        if name is not None:
            counts[name] += int(float(line.rpartition(b" ")[2]))
    return counts


def _cpu_s(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
