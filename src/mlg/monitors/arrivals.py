"""When viewers came for the first time: how long it takes until so many have come."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any, Final

from mlg.core.clock import parse_time

DAY_S: Final = 86_400.0
LEAST_ANSWERS: Final = 100
"""Answers below which nothing is said of the future."""
_EDGE: Final = 0.005
"""Part of the answers at either end whose times are not believed: a clock far ahead."""


class Arrivals:
    """First event time of each viewer of a span of the log; feed it each record once or more.

    Examples:
        >>> arrivals = Arrivals()
        >>> at = "2026-01-{:02d}T00:00:00Z"
        >>> arrivals.add({"viewer": f"u{n}", "at": at.format(1 + n // 10)} for n in range(200))
        >>> arrivals.viewers, arrivals.span_s / DAY_S, arrivals.seconds_until(100) / DAY_S
        (200, 19.0, 9.0)
        >>> round(arrivals.seconds_until(400) / DAY_S)  # ten new ones a day
        38
    """

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._times: list[float] = []

    def add(self, predictions: Iterable[Mapping[str, Any]]) -> None:
        """Take decoded rows of the prediction log; those without a time are left out."""
        for row in predictions:
            who = str(row.get("viewer") or row.get("session") or row.get("prediction_id"))
            try:
                at = parse_time(str(row.get("at") or "")).timestamp()
            except ValueError:
                continue
            self._times.append(at)
            self._first[who] = min(at, self._first.get(who, at))

    @property
    def viewers(self) -> int:
        """Distinct viewers."""
        return len(self._first)

    @property
    def answers(self) -> int:
        """Answers with a time."""
        return len(self._times)

    @property
    def span_s(self) -> float:
        """Event time from the first answer to the last, without the outermost ones."""
        start, end = self._ends()
        return end - start

    @property
    def per_day(self) -> float | None:
        """Viewers a day who come for the first time, in the newer half; None: not known."""
        start, end = self._ends()
        if len(self._times) < LEAST_ANSWERS or end <= start:
            return None
        half = (start + end) / 2
        return sum(half < at <= end for at in self._first.values()) / (end - half) * DAY_S

    def seconds_until(self, viewers: int) -> float | None:
        """Return about how long it takes from a start until so many viewers have come.

        As it was in the span, and beyond it by the newcomers of its newer half: a public that
        only comes back is used up.

        Returns:
            Seconds of event time; infinity where no more come; None where it is not known.
        """
        rate = self.per_day
        if rate is None:
            return None
        start, end = self._ends()
        came = sorted(max(start, at) for at in self._first.values())
        seen = bisect_right(came, end)
        if viewers <= seen:
            return max(0.0, came[viewers - 1] - start) if viewers > 0 else 0.0
        return (end - start) + (viewers - seen) / rate * DAY_S if rate else float("inf")

    def _ends(self) -> tuple[float, float]:
        if not self._times:
            return 0.0, 0.0
        ranked = sorted(self._times)
        cut = int(len(ranked) * _EDGE)
        return ranked[cut], ranked[len(ranked) - 1 - cut]
