"""The shipped monitor's charts, fed window by window without traffic behind them.

A window's mean raw confidence may be any number, so it stands for "a statistic in standard
deviations between windows": the windows go through `mlg.monitors.evaluate.evaluate` as
those of live traffic do.
"""  # noqa: INP001 - a script, no package

from dataclasses import dataclass
from typing import Self

import numpy as np

from mlg.monitors.baseline import Baseline
from mlg.monitors.budget import ChartLimits
from mlg.monitors.usual import Usual, known
from mlg.monitors.evaluate import MonitorState, Signal, StreamState, evaluate
from mlg.monitors.windows import Summary, Window

METRIC, VERSION = "raw_confidence.mean", "v1"
NEVER = 1e9
"""A limit that nothing passes: switches a chart off."""
MOST = 200_000
KNOWN = known([METRIC], ["mean"])
"""A baseline that is known, not estimated."""


def window_of(value: float, number: int) -> Window:
    """Return a window in which the charted statistic has this value."""
    confidence = Summary(name="raw_confidence", n=1_000, mean=value, m2=1_000.0)
    return Window(
        service="bench", stream=VERSION, number=number, start="2026-01-01T00:00:00Z",
        end="2026-01-01T00:00:01Z", n=0, confidence=confidence,
    )  # fmt: skip


@dataclass(slots=True)
class Charted:
    """One statistic under the shipped charts, baseline given and frozen."""

    limits: ChartLimits
    state: MonitorState
    number: int = 0

    @classmethod
    def of(cls, limits: ChartLimits, usual: Usual = KNOWN) -> Self:
        """Begin with these limits, at the centre."""
        stream = StreamState(baseline=Baseline(usual=usual))
        return cls(limits=limits, state=MonitorState(streams={VERSION: stream}))

    @classmethod
    def one(cls, chart: str, limit: float) -> Self:
        """Begin with one of the two charts alone."""
        return cls.of(
            ChartLimits(
                ewma=limit if chart == "ewma" else NEVER,
                cusum=limit if chart == "cusum" else NEVER, arl=1.0,
            )
        )  # fmt: skip

    def step(self, value: float) -> tuple[bool, tuple[Signal, ...]]:
        """Take one window; return whether a chart was out in it, and what signals."""
        self.state, signals = evaluate(
            self.state, window_of(value, self.number), budget=self.limits, frozen=True
        )
        self.number += 1
        return self.state.streams[VERSION].alarmed, signals

    def run_length(self, rng: np.random.Generator, shift: float) -> int:
        """Return windows until a chart is out, that one included."""
        return self._until(rng, shift, signalled=False)

    def delay(self, rng: np.random.Generator, shift: float) -> int:
        """Return windows until it signals: out in two of three windows."""
        return self._until(rng, shift, signalled=True)

    def _until(self, rng: np.random.Generator, shift: float, *, signalled: bool) -> int:
        for number in range(1, MOST):
            out, signals = self.step(shift + float(rng.standard_normal()))
            if signals if signalled else out:
                return number
        return MOST
