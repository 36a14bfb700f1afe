"""What the live counters say: figures per service and version, ready for JSON."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mlg.monitors.live import BINS, EDGES_MS, LiveState, Recent, Series

CAVEATS: Final = {
    "hit": (
        "A hit is an item of the answer that this viewer really rated later. "
        "It says nothing about items never shown (selection bias)."
    ),
    "watch_through": (
        "Watch-through is derived from the viewer's rating by a documented rule; "
        "nobody watched anything."
    ),
}
"""What a page that shows figures of a replay of ratings must say beside them."""


def quantile_ms(latency: Sequence[int], q: float) -> float | None:
    """Return the q-quantile of binned latencies, in ms; None when there are none.

    Inside a bin the logarithm is taken as uniform. Below the first edge the answer is that
    edge, above the last one that edge.

    Args:
        latency: Counts per bin, shape ``(len(EDGES_MS) + 1,)``.
        q: 0 < q <= 1.

    Returns:
        The estimate in ms, or None.

    Examples:
        >>> counts = [0] * 82
        >>> counts[17] = 4  # all between 1 ms and 10 ** (1 / 16) ms
        >>> round(quantile_ms(counts, 0.5), 6) == round(10 ** (1 / 32), 6)
        True
    """
    wanted = q * sum(latency)
    if not wanted:
        return None
    below = 0
    for place, count in enumerate(latency):
        if count and below + count >= wanted:
            if place == 0 or place == len(EDGES_MS):
                return EDGES_MS[min(place, len(EDGES_MS) - 1)]
            low, high = EDGES_MS[place - 1], EDGES_MS[place]
            return low * (high / low) ** ((wanted - below) / count)
        below += count
    return EDGES_MS[-1]


def summary(state: LiveState, *, caveats: Mapping[str, str] = CAVEATS) -> dict[str, Any]:
    """Return the counters as the JSON object that the live page and `/api/v1/live` show.

    Args:
        state: What was counted.
        caveats: What must be said beside `hit` and `watch_through`, in one's own words where
            the data are not ratings.

    Returns:
        JSON-ready figures; a figure that nothing supports yet is None.
    """
    services: dict[str, list[Series]] = {}
    for series in state.series:
        services.setdefault(series.service, []).append(series)
    return {
        "services": [
            {
                "service": service,
                "total": _figures(all_of),
                "versions": [
                    {
                        "version": version,
                        **_figures([s for s in all_of if s.version == version]),
                    }
                    for version in sorted({s.version for s in all_of})
                ],
            }
            for service, all_of in sorted(services.items())
        ],
        "recent_predictions": [
            {name: getattr(recent, name) for name in Recent.__slots__}
            for recent in state.recent
        ],
        "duplicates": state.duplicates,
        "orphans": state.orphans,
        "malformed": state.malformed,
        "caveats": dict(caveats),
    }


def _figures(series: Sequence[Series]) -> dict[str, Any]:
    requests = sum(s.requests for s in series)
    confidence = _add([s.confidence for s in series])
    hits = _add([s.hits for s in series])
    watch_sum, watch_n = _add([s.watch_sum for s in series]), _add([s.watch_n for s in series])
    latency = _add([s.latency for s in series])
    scored, hit = sum(confidence), sum(hits) + sum(s.hits_unscored for s in series)
    return {
        "requests": requests,
        "served_by": _count((s.served_by, s.requests) for s in series),
        "reasons": _count(pair for s in series for pair in s.reasons.items()),
        "feedback": _count(pair for s in series for pair in s.events.items()),
        "confidence": {
            "bins": list(confidence),
            "mean_raw": sum(s.raw_sum for s in series) / scored if scored else None,
        },
        "hits": {"n": hit, "rate": hit / requests if requests else None},
        "watch_through": {
            "n": sum(watch_n),
            "mean": sum(watch_sum) / sum(watch_n) if any(watch_n) else None,
        },
        "bands": [
            _band(place, confidence, hits, watch_sum, watch_n) for place in range(0, BINS, 2)
        ],
        "latency_ms": {"p50": quantile_ms(latency, 0.5), "p99": quantile_ms(latency, 0.99)},
    }


def _band(
    place: int,
    confidence: Sequence[int],
    hits: Sequence[int],
    watch_sum: Sequence[float],
    watch_n: Sequence[int],
) -> dict[str, Any]:
    both = slice(place, place + 2)
    answers, watched = sum(confidence[both]), sum(watch_n[both])
    return {
        "from": place / BINS,
        "to": (place + 2) / BINS,
        "answers": answers,
        "hit_rate": sum(hits[both]) / answers if answers else None,
        "watch_n": watched,
        "watch_through": sum(watch_sum[both]) / watched if watched else None,
    }


def _add(rows: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(sum(column) for column in zip(*rows, strict=True))


def _count(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, n in pairs:
        counts[name] = counts.get(name, 0) + n
    return dict(sorted(counts.items()))
