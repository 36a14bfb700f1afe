"""What one replica says of itself at `/metrics`, as a value."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

from mlg.core.errors import BackendError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReading:
    """The counters of one replica, as they stand since it started."""

    attempts: int
    """Recommend attempts that ended, well or not."""
    errors: int
    """Of them those answered with a 5xx."""
    abstentions: int
    faults: int
    """Answers withheld."""
    log_records_lost: int
    cache_hits: int | None
    """None: it keeps no cache, or was not asked yet."""
    cache_lookups: int
    confidence: tuple[int, ...]
    """Answers by bin of raw confidence, equal bins over 0..1."""
    seconds_edges: tuple[float, ...]
    """Upper edges of the latency bins but the last, which is open."""
    seconds: tuple[int, ...]
    """Answers by latency bin, one more than edges."""
    problem: str = ""
    """Why the adopted recommender behind it counts as down; empty: nothing is wrong."""

    @property
    def answers(self) -> int:
        """Answers that were given."""
        return sum(self.seconds)


def read_replica(text: str) -> ReplicaReading:
    """Return what an exposition of `serving.instruments` says.

    Raises:
        BackendError: It is no exposition of a replica.
    """
    plain: dict[str, int] = {}
    attempts, errors, problem = 0, 0, ""
    buckets: dict[str, list[tuple[float, int]]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "mlg_attempts_total":
                    attempts += int(sample.value)
                    errors += int(sample.value) * sample.labels["code"].startswith("5")
                elif sample.name == "mlg_adopted_down" and sample.value:
                    problem = sample.labels["problem"]
                elif sample.name.endswith("_bucket"):
                    edge = float(sample.labels["le"])
                    buckets.setdefault(family.name, []).append((edge, int(sample.value)))
                elif sample.name.startswith("mlg_") and sample.name.endswith("_total"):
                    plain[sample.name] = plain.get(sample.name, 0) + int(sample.value)
        edges, seconds = _bins(buckets["mlg_request_seconds"])
        _, confidence = _bins(buckets["mlg_raw_confidence"])
    except (ValueError, KeyError) as error:
        raise BackendError(f"expected a replica's metrics, got: {error!r}") from error
    hits = plain.get("mlg_cache_hits_total", 0)
    lookups = hits + plain.get("mlg_cache_misses_total", 0)
    return ReplicaReading(
        attempts=attempts,
        errors=errors,
        abstentions=plain.get("mlg_abstentions_total", 0),
        faults=plain.get("mlg_faults_total", 0),
        log_records_lost=plain.get("mlg_log_gaps_total", 0),
        cache_hits=hits if lookups else None,
        cache_lookups=lookups,
        confidence=confidence[:-1],  # raw confidence is at most 1: the open bin is empty
        seconds_edges=edges,
        seconds=seconds,
        problem=problem,
    )


def _bins(cumulative: Sequence[tuple[float, int]]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    ordered = sorted(cumulative)
    counts = [ordered[0][1], *(b[1] - a[1] for a, b in pairwise(ordered))]
    return tuple(edge for edge, _ in ordered[:-1]), tuple(counts)


def quantile_ms(edges_s: Sequence[float], counts: Sequence[int], q: float) -> float | None:
    """Return the q-quantile of binned seconds, in ms, linear in its bin; None without any.

    In the open bin it is the last edge: at least so much.

    Args:
        edges_s: Upper edges of the bins but the open one.
        counts: Counts by bin, one more than edges.
        q: 0 < q <= 1.

    Examples:
        >>> quantile_ms((0.1, 0.2), (0, 4, 0), 0.5)
        150.0
        >>> quantile_ms((0.1, 0.2), (0, 0, 0), 0.5) is None
        True
    """
    wanted, below = q * sum(counts), 0
    if not wanted:
        return None
    for place, count in enumerate(counts):
        if count and below + count >= wanted:
            if place == len(edges_s):
                return round(1e3 * edges_s[-1], 9)
            low = edges_s[place - 1] if place else 0.0
            part = (wanted - below) / count
            return round(1e3 * (low + part * (edges_s[place] - low)), 9)
        below += count
    return round(1e3 * edges_s[-1], 9)
