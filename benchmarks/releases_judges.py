"""Methods that judge simulated rollouts: mlg's gates, and what progressive delivery does today.

Each has `tick(tick)` and `look()`, which returns the runs that it rolls back now.
"""

from math import log
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from releases_world import Tick
from scipy.special import betaincinv
from scipy.stats import mannwhitneyu

from mlg.core.measure import BLOCK_S
from mlg.release.rollout_types import GatePlan, RolloutPlan
from mlg.release.seen import ArmSeen, GateFacts, StageSeen
from mlg.release.windows import LEAST_ATTEMPTS, LEAST_CPU_S, Pair, Used
from mlg.stats.sequential import DROPS, RISEN, RISES, SLOWER, mixed, rise_terms

_SPANS: Final = {"cpu", "cache_hits"}
_LEAST_ALIKE: Final = 100
_Z05: Final = 1.6448536269514722

Runs = NDArray[np.bool_]


class Judge(Protocol):
    """A method."""

    name: str

    def tick(self, tick: Tick) -> None:
        """Take one second."""

    def look(self) -> Runs:
        """Return which runs are rolled back by what is known now."""
        ...


class Mlg:
    """The gates of a plan, as `mlg.release.gates` judges them, in arrays.

    `agrees` in `releases.py` holds this against `judge` itself on samples of looks.
    """

    def __init__(self, plan: RolloutPlan, runs: int, only: str | None = None) -> None:
        self.name = f"mlg {only}" if only else "mlg, all gates"
        gates = {g.name: g for g in plan.gates if only is None or g.name == only}
        self._gates, self._runs = gates, runs
        self._terms = {name: np.zeros((runs, len(RISES))) for name in ("errors", "sanity")}
        self._waiting = {name: np.zeros((2, runs)) for name in self._terms}
        """First failures since the look: candidate, everyone else."""
        self._share = 0.0
        self._block = np.zeros((2, runs))
        self._counted = np.zeros(runs, dtype=bool)
        """The block before this one counted."""
        self._signs = np.zeros((2, runs))
        self._first: list[list[NDArray[np.float64]]] = []
        """By step, of the candidate, then of everyone else: abstained, units, fell back."""
        self._viewers = {name: np.zeros((4, runs)) for name in ("ctr", "watch_through")}
        """Viewers and what they took: candidate, control."""
        self.spans = {name: Spans(name, gates[name].margin, runs) for name in _SPANS & {*gates}}
        self._failing: list[NDArray[np.float64]] = []
        """By step, of the candidate and of everyone else: units that failed first, insane."""
        self._shares: list[float] = []
        self.hits: dict[str, Runs] = {}

    def tick(self, tick: Tick) -> None:
        """Take one second."""
        self._share = tick.share
        fails = (tick.failing[0], tick.failing[1] + tick.failing[2])
        insane = (tick.insane[0], tick.insane[1] + tick.insane[2])
        self._waiting["errors"] += fails
        self._waiting["sanity"] += insane
        self._block += tick.slow
        if (tick.second + 1) % BLOCK_S == 0:
            sign = np.sign(self._block[0] - self._block[1]) * ~self._counted
            self._signs += (sign > 0, sign < 0)
            self._counted, self._block = sign != 0, np.zeros((2, self._runs))
        if tick.step == len(self._first):
            self._first.append([np.zeros(self._runs) for _ in range(6)])
            self._failing.append(np.zeros((4, self._runs)))
            self._shares.append(tick.share)
        self._failing[-1] += (*fails, *insane)
        first = self._first[-1]
        first[0] += tick.abstained[0]
        first[1] += tick.units[0]
        first[2] += tick.abstained[1] + tick.abstained[2]
        first[3] += tick.units[1] + tick.units[2]
        first[4] += tick.fell_back[0]
        first[5] += tick.fell_back[1] + tick.fell_back[2]
        one, other = tick.viewers
        for name, (mine, control) in (("ctr", tick.taken), ("watch_through", tick.watched)):
            if tick.share >= self._from(name):
                self._viewers[name] += (one, mine, other, control)
        for spans in self.spans.values():
            spans.tick(tick)

    def look(self) -> Runs:
        """Return which runs a gate fails."""
        rare: dict[str, NDArray[np.float64]] = {}
        for name, terms in self._terms.items():
            terms += rise_terms(*self._waiting[name], self._share, RISES)
            self._waiting[name][:] = 0
            rare[name] = mixed(terms)
        for spans in self.spans.values():
            spans.look()
        found = np.zeros(self._runs, dtype=bool)
        for gate in self._gates.values():
            if self._share < gate.from_bp / 10_000:
                continue
            if gate.name in {"errors", "rescue", "sanity"}:
                value = rare["sanity" if gate.name == "sanity" else "errors"]
            elif gate.name == "latency_p99":
                value = mixed(rise_terms(*self._signs, 0.5, SLOWER))
            elif gate.name in {"abstention", "fallback"}:
                value = self._first_answers(gate)
            elif gate.name in self._viewers:
                value = self._engagement(gate)
            elif gate.name in self.spans:
                signs = mixed(rise_terms(*self.spans[gate.name].counts, 0.5, SLOWER))
                value = np.where(self._first[-1][1] >= _LEAST_ALIKE, signs, 0.0)
            else:
                raise ValueError(f"no stream for the gate {gate.name}")
            hit = value >= log(1.0 / gate.alpha)
            self.hits[gate.name] = self.hits.get(gate.name, False) | hit
            found |= hit
        return found

    def facts(self, run: int) -> GateFacts:
        """Return what `mlg.release.analysis.judge` would be given of one run."""
        stages: list[StageSeen] = []
        last = len(self._first) - 1
        for step, (share, first) in enumerate(zip(self._shares, self._first, strict=True)):
            k, n, m, others, fell, all_fell = (int(one[run]) for one in first)
            fails, rest, insane, all_insane = (int(one[run]) for one in self._failing[step])
            late = step == last
            signs = {"latency_p99": self._signs} | {
                name: spans.counts for name, spans in self.spans.items()
            }
            told = {
                name: (int(a[run]), int(b[run])) if late else (0, 0)
                for name, (a, b) in signs.items()
            }
            one, got, two, own = (float(x[run]) * late for x in self._viewers["ctr"])
            saw, seen, too, control = (
                float(x[run]) * late for x in self._viewers["watch_through"]
            )
            stages.append(
                StageSeen(
                    share_bp=round(share * 10_000),
                    candidate=ArmSeen(
                        units=n,
                        at_risk=max(n, fails),
                        failed=fails,
                        insane=insane,
                        first_abstained=k,
                        first_fell_back=fell,
                        viewers=int(one),
                        clicked=got,
                        watchers=int(saw),
                        watched=seen,
                    ),
                    control=ArmSeen(
                        viewers=int(two), clicked=own, watchers=int(too), watched=control
                    ),
                    stable=ArmSeen(
                        units=others,
                        at_risk=max(others, rest),
                        failed=rest,
                        insane=all_insane,
                        first_abstained=m,
                        first_fell_back=all_fell,
                    ),
                    windows=told,
                )
            )
        return GateFacts(stages=tuple(stages), limits_ms={"latency_p99": (1.2, 1.0)})

    def _from(self, name: str) -> float:
        return self._gates[name].from_bp / 10_000 if name in self._gates else 2.0

    def _first_answers(self, gate: GatePlan) -> NDArray[np.float64]:
        parts = (0, 1, 2, 3) if gate.name == "abstention" else (4, 1, 5, 3)
        k, n, m, others = (sum(step[part] for step in self._first) for part in parts)
        upper = np.where(others > m, betaincinv(m + 1, np.maximum(1, others - m), 0.999), 1.0)
        bound = np.minimum(0.99, gate.margin + np.where(others > 0, upper, 1.0))
        terms: list[NDArray[np.float64]] = []
        for part in RISEN:
            q = bound + part * (1.0 - bound)
            with np.errstate(divide="ignore", invalid="ignore"):
                miss = np.where(n > k, (n - k) * (np.log1p(-q) - np.log1p(-bound)), 0.0)
            terms.append(k * np.log(q / bound) + miss)
        return mixed(np.stack(terms, axis=-1))

    def _engagement(self, gate: GatePlan) -> NDArray[np.float64]:
        n, got, m, own = self._viewers[gate.name]
        null, enough = 1.0 - gate.margin, (n >= 100) & (m >= 100)
        n, m = np.maximum(1, n), np.maximum(1, m)
        pooled = (got + own) / (n + m)
        variance = np.maximum(1e-12, pooled * (1 - pooled) * (1 / n + 1 / m))[:, None]
        shifts = (null * np.asarray(DROPS) - null) * pooled[:, None]
        gap = (got / n - null * own / m)[:, None]
        value = mixed((shifts * gap - shifts**2 / 2) / variance)
        return np.where(enough & (pooled > 0), value, 0.0)


class Spans:
    """In how many spans a candidate used more than the control's and a margin, in arrays.

    `agrees` in `releases.py` holds this against `mlg.release.windows.over` on samples.
    """

    def __init__(self, gate: str, margin: float, runs: int) -> None:
        self._gate, self._margin = gate, margin
        self._sums = np.zeros((4, runs))
        """Attempts and what is compared, of the candidate, then of the control."""
        self.counts = np.zeros((2, runs))
        """Spans over the limit, and not over it."""

    def tick(self, tick: Tick) -> None:
        """Take one second."""
        one, other = tick.cpu_s if self._gate == "cpu" else tick.hits
        self._sums += (tick.requests[0], one, tick.requests[1], other)

    def look(self) -> None:
        """End the spans that are long enough."""
        ended, worse = self._said()
        self.counts += (ended & worse, ended & ~worse)
        self._sums[:, ended] = 0.0

    def pair(self, run: int) -> tuple[Pair, bool | None]:
        """Return one run's sums, and what is said of them."""
        ended, worse = self._said()
        mine, one, control, other = (float(value) for value in self._sums[:, run])
        pair = Pair(candidate=self._of(mine, one), control=self._of(control, other))
        return pair, bool(worse[run]) if ended[run] else None

    def _of(self, attempts: float, figure: float) -> Used:
        if self._gate == "cpu":
            return Used(cpu_s=figure, attempts=int(attempts))
        return Used(attempts=int(attempts), cache_lookups=int(attempts), cache_hits=int(figure))

    def _said(self) -> tuple[Runs, Runs]:
        n, mine, m, control = self._sums
        long = np.minimum(n, m) >= LEAST_ATTEMPTS
        one, other = mine / np.maximum(1, n), control / np.maximum(1, m)
        if self._gate == "cpu":
            ended = long & (np.minimum(mine, control) >= LEAST_CPU_S)
            return ended, one > other * (1.0 + self._margin)
        return long & ((one > 0) | (other > 0)), one < other * (1.0 - self._margin)


class Threshold:
    """A metric of each minute over a fixed limit, as Argo Rollouts and Flagger measure it."""

    def __init__(self, runs: int, failures: int, metric: str = "errors") -> None:
        word = "errors > 1 %" if metric == "errors" else "p99 > 1.2 x control's"
        self.name = f"threshold each minute: {word}, {failures} failed"
        self._metric, self._failures = metric, failures
        self._sums = np.zeros((2, runs))
        self._count = np.zeros(runs, dtype=int)
        self._seconds = 0

    def tick(self, tick: Tick) -> None:
        """Take one second."""
        bad = tick.failed[0] if self._metric == "errors" else tick.over[0]
        self._sums += (tick.requests[0], bad)
        self._seconds += 1
        if self._seconds % 60 == 0:
            requests, bad = self._sums
            self._count += (requests > 0) & (bad > 0.01 * requests)
            self._sums[:] = 0

    def look(self) -> Runs:
        """Return which runs had too many bad minutes."""
        return self._count >= self._failures


class ZTest:
    """Two proportions at 5 %, looked at again and again."""

    name = "z-test, p < 0.05 at each look"

    def __init__(self, runs: int) -> None:
        self._sums = np.zeros((4, runs))

    def tick(self, tick: Tick) -> None:
        """Take one second."""
        self._sums += (
            tick.failed[0],
            tick.requests[0],
            tick.failed[1] + tick.failed[2],
            tick.requests[1] + tick.requests[2],
        )

    def look(self) -> Runs:
        """Return which runs are worse by the test."""
        k, n, m, others = self._sums
        k, m = np.minimum(k, n), np.minimum(m, others)
        n1, n2 = np.maximum(1, n), np.maximum(1, others)
        pooled = (k + m) / (n1 + n2)
        error = np.sqrt(np.maximum(1e-15, pooled * (1 - pooled) * (1 / n1 + 1 / n2)))
        return (n > 0) & ((k / n1 - m / n2) / error > _Z05)


class MannWhitney:
    """Samples of one minute each of candidate and control, as in Kayenta's judge.

    Error rates by minute, one-sided at 98 %, at a look every five minutes.
    """

    name = "Mann-Whitney at 98 %, 5 min apart"

    def __init__(self, runs: int) -> None:
        self._minute = np.zeros((4, runs))
        self._samples: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
        self._seconds = 0
        self._found = np.zeros(runs, dtype=bool)

    def tick(self, tick: Tick) -> None:
        """Take one second."""
        self._minute += (tick.failed[0], tick.requests[0], tick.failed[1], tick.requests[1])
        self._seconds += 1
        if self._seconds % 60 == 0:
            k, n, m, others = self._minute
            self._samples[0].append(k / np.maximum(1, n))
            self._samples[1].append(m / np.maximum(1, others))
            self._minute[:] = 0

    def look(self) -> Runs:
        """Return which runs are worse by the test."""
        if self._seconds % 300 == 0 and self._seconds >= 300:
            one, other = (np.stack(samples) for samples in self._samples)
            with np.errstate(invalid="ignore", divide="ignore"):
                p = mannwhitneyu(one, other, alternative="greater", method="asymptotic").pvalue
            self._found |= np.nan_to_num(p, nan=1.0) < 0.02
        return self._found
