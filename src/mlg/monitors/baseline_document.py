"""What a live baseline says, as one plain document: the artifact of its version.

Nothing in it is of one viewer: no sampled rows, no ids; of texts only the levels that have a
chart of their own, each at least 2 % of phase I.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlg.core.clock import rfc3339
from mlg.monitors.baseline import LEAST, Baseline
from mlg.monitors.charts import LAMBDA
from mlg.monitors.evaluate import QUALITY, MonitorState, feature_of
from mlg.monitors.fold_state import FoldState
from mlg.monitors.packed import array
from mlg.monitors.usual import Usual, ewma_spread
from mlg.stats.season import CYCLES_A_WEEK, DAILY, LEVEL

FORMAT: Final = "mlg-baseline/1"

Season = Literal["level", "day", "week"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """A stream's baseline as far as it has come."""

    stream: str
    """`requests`, a model version, or `quality:` and a model version."""
    windows: int
    """Windows learned from."""
    wanted: int
    """Windows of phase I."""
    baseline: Baseline

    @property
    def known(self) -> bool:
        """Whether phase I is over."""
        return self.baseline.usual is not None


def learnings(state: MonitorState) -> tuple[Learning, ...]:
    """Return how far each stream of a monitor has come; quality once it has windows."""
    return tuple(one for name in sorted(state.streams) for one in _of(state, name))


def _of(state: MonitorState, name: str) -> Iterator[Learning]:
    stream = state.streams[name]
    wanted = max(stream.baseline.wanted, LEAST)
    for place, baseline, seen in (
        (name, stream.baseline, len(stream.baseline.seen)),
        (f"{QUALITY}{name}", stream.quality_base, len(stream.quality_seen)),
    ):
        usual = baseline.usual
        if place != name and not seen and usual is None:
            continue
        windows = seen if usual is None else usual.learned
        yield Learning(stream=place, windows=windows, wanted=wanted, baseline=baseline)


def season_of(usual: Usual) -> Season:
    """Return which waves are in use: none, those of the day, those of the week too."""
    if usual.columns <= LEVEL:
        return "level"
    return "day" if usual.columns <= DAILY else "week"


def first_at(usual: Usual) -> str | None:
    """Return the event time of the first window learned from; None where it was not kept."""
    return _time(usual.first_s)


def edges_of(fold: FoldState, stream: str) -> dict[str, tuple[float, ...]]:
    """Return the inner bin edges of a stream's numbers by feature, rising.

    Empty before its first window closed, and of a stream of quality.
    """
    found = fold.streams.get(stream)
    if found is None:
        return {}
    pairs = zip(found.charted, found.edges, strict=True)
    return {found.columns[at].name: edges for at, edges in pairs if edges}


def document(
    baseline: Baseline,
    *,
    monitor: str,
    service: str,
    stream: str,
    edges: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """Return a baseline as JSON scalars, lists and objects.

    Coefficients, `sigma` and `ewma_sd` are in the unit that is charted: normal scores
    (`location`), log of the sd (`spread`), arcsine of the root of a share in radians
    (`share`), or the mean itself (`mean`). `usual` is as a person reads it: where the level
    of a share or a mean is now, and where a number and its spread were in phase I.

    Args:
        baseline: Past phase I.
        monitor: Of the manifest.
        service: What it watches.
        stream: `requests`, a model version, or `quality:` and a model version.
        edges: Inner bin edges of its numbers, as `edges_of` gives them.

    Returns:
        The document; where a number is not finite, null. Empty lists where a stream has no
        such features.

    Raises:
        ValueError: Phase I lasts still.
    """
    usual = baseline.usual
    if usual is None:
        raise ValueError(f"{monitor}/{stream} still learns what is usual")
    return {
        "format": FORMAT,
        "monitor": monitor,
        "service": service,
        "stream": stream,
        "windows_learned": usual.learned,
        "memory_windows": float(usual.memory),
        "first_at": first_at(usual),
        "last_at": _time(usual.last_s),
        "window_step_s": float(usual.step_s),
        "season": season_of(usual),
        "regressors": _regressors(usual.columns),
        "statistics": _statistics(usual),
        "vectors": [
            {
                "metric": usual.metrics[one.chart],
                "components": [usual.metrics[part] for part in one.parts],
            }
            for one in usual.vectors
        ],
        "numbers": _numbers(baseline, edges),
        "texts": _texts(baseline),
    }


def encoded(found: dict[str, Any]) -> bytes:
    r"""Return a document as the bytes whose sha256 is its version, whoever writes them.

    Examples:
        >>> encoded({"b": 1.5, "a": None})
        b'{"a":null,"b":1.5}\n'
    """
    text = json.dumps(
        found, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return f"{text}\n".encode()


def _statistics(usual: Usual) -> list[dict[str, Any]]:
    level = array(usual.level).reshape(usual.columns, -1).copy()
    level[0] += array(usual.origin)
    sigma, ar = usual.sds, usual.autocorrelations
    ewma = sigma * ewma_spread(usual, LAMBDA)
    shown = _shown(usual, level[0])
    return [
        {
            "metric": metric,
            "feature": feature_of(metric),
            "kind": usual.kinds[one],
            "usual": _number(shown[one]),
            "coefficients": [_number(value) for value in level[:, one]],
            "sigma": _number(sigma[one]),
            "autocorrelation": _number(ar[one]),
            "ewma_sd": _number(ewma[one]),
        }
        for one, metric in enumerate(usual.metrics)
    ]


def _shown(usual: Usual, level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return levels as a person reads them; rows a window come from what chance gives."""
    shown, kinds = np.array(usual.shown, dtype=np.float64), np.array(usual.kinds)
    n = 0.25 / array(usual.noise) ** 2
    share = np.clip(((n + 0.75) * np.sin(level) ** 2 - 0.375) / n, 0.0, 1.0)
    return np.where(kinds == "share", share, np.where(kinds == "mean", level, shown))


def _regressors(columns: int) -> list[str]:
    waves = CYCLES_A_WEEK[: (columns - 1) // 2]
    return ["level", *(f"{side} {n} a week" for n in waves for side in ("sin", "cos"))]


def _numbers(baseline: Baseline, edges: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    return [
        {
            "feature": name,
            "edges": [_number(edge) for edge in edges.get(name, ())],
            "scores": [_number(score) for score in scores],
        }
        for name, scores in sorted(baseline.scores.items())
    ]


def _texts(baseline: Baseline) -> list[dict[str, Any]]:
    levels = {one.name: one.levels or () for one in baseline.columns}
    charted = {
        name: [levels[name][code] for code in codes]
        for name, codes in baseline.kept.items()
        if name in levels
    }
    for name, group in baseline.groups.items():
        if group.pooled.shape == "tags":
            charted[name] = [group.pooled.parts[code] for code in group.kept]
    return [{"feature": name, "levels": charted[name]} for name in sorted(charted)]


def _time(at_s: float) -> str | None:
    """Return a time; None where it was not kept."""
    return rfc3339(datetime.fromtimestamp(at_s, UTC)) if at_s > 0 else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
