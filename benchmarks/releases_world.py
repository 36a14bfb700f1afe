"""Streams of simulated rollouts: thousands at once, tick by tick, with what makes real ones hard.

Everything happens in arrays of shape (runs,). A tick is one second, a look comes every five.
Nothing here knows any method that judges.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import erfc, exp, log, pi, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

LOOK_S: Final = 5
_Z99: Final = 2.3263478740408408

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What happens, and what the candidate does worse than what serves."""

    rate_hz: float
    steps: tuple[tuple[float, int], ...] = ((0.005, 3_600),)
    """Share of the candidate and for how many seconds, one after the other."""
    rough: bool = False
    """Clients that retry, viewers that always fail, outages of everything, stalls of single
    processes, a day in an hour, caches that are cold at first."""
    errors: float = 0.001
    errors_of_candidate: float | None = None
    latency: str = "lognormal"
    """`lognormal` (p99 3.2 times the median), `gamma` (shape 2) or `pareto` (tail 2.5)."""
    slower: float = 1.0
    """Factor of the candidate's latency."""
    margin: float = 0.2
    """A candidate is slow over the control's p99 and so much."""
    abstains: float = 0.05
    ctr: float = 0.05
    watch_through: float = 0.6
    insane: float = 0.2
    """Of the failures."""
    falls_back: float = 0.01
    cpu_s: float = 0.002
    """Of a request."""
    hit_ratio: float = 0.6
    """Of caches that are warm."""
    drop: float = 0.0
    """Relative drop of the candidate's engagement."""
    requests_per_unit: float = 4.0
    """In rough worlds."""


@dataclass(slots=True, kw_only=True)
class Tick:
    """One second of every run; candidate, control, the rest of the stable traffic."""

    second: int
    step: int
    share: float
    requests: tuple[Counts, Counts, Counts]
    failed: tuple[Counts, Counts, Counts]
    """Requests that failed, repeated ones too."""
    failing: tuple[Counts, Counts, Counts]
    """Units that failed for the first time."""
    slow: tuple[Counts, Counts]
    """Units of candidate and control that were slow for the first time, by their limits."""
    over: tuple[Counts, Counts]
    """Requests of candidate and control over the candidate's limit."""
    units: tuple[Counts, Counts, Counts]
    """Units that came for the first time in this step."""
    abstained: tuple[Counts, Counts, Counts]
    """Of these, first answers that were an abstention."""
    viewers: tuple[Counts, Counts]
    taken: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Sum of what these viewers took, 0..1 each, of candidate and control."""
    watched: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Sum of the shares that these viewers watched, 0..1 each."""
    insane: tuple[Counts, Counts, Counts]
    """Of `failing`, those whose answer was withheld as no answer that may be given."""
    fell_back: tuple[Counts, Counts, Counts]
    """Of `units`, first answers that were the popularity list."""
    cpu_s: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Processor time of candidate and control."""
    hits: tuple[Counts, Counts]
    """Of `requests` of candidate and control, those that a cache answered."""


def slow_shares(world: World) -> tuple[float, float, float]:
    """Return the share of answers over the control's p99 and margin: candidate's, control's.

    The third is the share of the control's answers over its p99: 1 %.
    """
    far = 1.0 + world.margin
    return (
        _beyond(world.latency, far / world.slower),
        _beyond(world.latency, far),
        _beyond(world.latency, 1.0),
    )


def _beyond(kind: str, times: float) -> float:
    """Return the share of a latency over so many times its own p99."""
    if kind == "lognormal":
        sigma = log(3.2) / _Z99
        return 0.5 * erfc((_Z99 + log(times) / sigma) / sqrt(2.0))
    if kind == "gamma":  # shape 2: P(X > x) = (1 + x) e^-x, its p99 at 6.6383521
        x = 6.638352067993813 * times
        return (1.0 + x) * exp(-x)
    if kind == "pareto":
        return min(1.0, 0.01 * times**-2.5)
    raise ValueError(f"no latency {kind!r}")


class _Rough:
    """What makes a world rough, one state a run."""

    def __init__(self, random: np.random.Generator, runs: int) -> None:
        self.random, self.runs = random, runs
        self.phase = random.uniform(0.0, 2 * pi, runs)
        self.outage = np.zeros(runs)
        """Seconds left of an outage that every arm has."""
        self.stalls = np.zeros((2, runs))
        """Seconds left of a stall of the candidate's process and of the control's."""

    def tick(self, second: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return factors of the traffic and of everyone's error rate."""
        day = np.sin(2 * pi * second / 3_600 + self.phase)
        begins = self.random.random(self.runs) < 1 / 3_600
        self.outage = np.where(begins, 30.0, np.maximum(0.0, self.outage - 1))
        stalls = self.random.random((2, self.runs)) < 1 / 600
        length = self.random.exponential(1.0, (2, self.runs))
        self.stalls = np.where(stalls, length, np.maximum(0.0, self.stalls - 1))
        # over-dispersion: whatever the machines share moves from second to second
        shared = self.random.gamma(2.0, 0.5, self.runs)
        errors = (1.0 + 0.5 * day) * shared * np.where(self.outage > 0, 50.0, 1.0)
        return 1.0 + 0.6 * day, errors


def stream(world: World, runs: int, seed: int) -> Iterator[Tick]:
    """Yield the seconds of `runs` rollouts in this world."""
    random = np.random.default_rng(seed)
    rough = _Rough(random, runs) if world.rough else None
    none = np.zeros(runs, dtype=np.int64)
    always = random.poisson(3.0, runs) if rough else none
    """Units that fail whatever they ask: bots, broken clients."""
    waiting = always.copy()
    second = 0
    for step, (share, seconds) in enumerate(world.steps):
        shares = (share, min(share, 1 - share), max(0.0, 1 - 2 * share))
        for since in range(seconds):
            traffic, errors = rough.tick(second) if rough else (1.0, 1.0)
            hz = world.rate_hz * traffic
            requests = tuple(random.poisson(hz * s, runs) for s in shares)
            rates = (world.errors_of_candidate or world.errors, world.errors, world.errors)
            failed, failing, waiting = _failures(
                random, rough, requests, rates, errors, waiting, always, shares, none
            )
            slow, over = _slow(random, rough, world, requests, hz, share, since)
            per = world.requests_per_unit if rough else 1.0
            units = tuple(random.binomial(n, 1.0 / per) for n in requests)
            abstained = tuple(random.binomial(n, world.abstains) for n in units)
            taken = tuple(
                random.binomial(n, world.ctr * (1.0 - drop)).astype(float)
                for n, drop in zip(units[:2], (world.drop, 0.0), strict=True)
            )
            cpu_s, hits = _used(random, rough, world, requests, since)
            watched = tuple(random.binomial(4 * n, world.watch_through) / 4 for n in units[:2])
            yield Tick(
                watched=watched,
                insane=tuple(random.binomial(n, world.insane) for n in failing),
                fell_back=tuple(random.binomial(n, world.falls_back) for n in units),
                cpu_s=cpu_s,
                hits=hits,
                second=second,
                step=step,
                share=share,
                requests=requests,
                failed=failed,
                failing=failing,
                slow=slow,
                over=over,
                units=units,
                abstained=abstained,
                viewers=units[:2],
                taken=taken,
            )
            second += 1


def _failures(random, rough, requests, rates, errors, waiting, always, shares, none):  # noqa: ANN001, ANN202
    """Return failed requests, units that failed first, and those that will always fail."""
    single = tuple(
        random.binomial(n, np.minimum(1.0, rate * errors))
        for n, rate in zip(requests, rates, strict=True)
    )
    if rough is None:
        return single, single, waiting
    # one failure in five is a client that tries again and again: nine more on average
    retried = tuple(random.binomial(n, 0.2) for n in single)
    more = tuple(random.negative_binomial(np.maximum(1, n), 0.1) * (n > 0) for n in retried)
    # the units that always fail show up within the first minutes, in the arm that is theirs
    come = random.binomial(waiting, 1 / 60)
    left, arms, rest = waiting - come, [], come
    part = 1.0
    for share in shares[:2]:
        mine = random.binomial(rest, min(1.0, share / part))
        arms.append(mine)
        rest, part = rest - mine, part - share
    arms.append(rest)
    # and go on failing a few times a minute, wherever they are
    again = tuple(random.poisson(always * s * 0.05) for s in shares)
    failed = tuple(a + b + c + d for a, b, c, d in zip(single, more, arms, again, strict=True))
    failing = tuple(a + b for a, b in zip(single, arms, strict=True))
    return failed, failing, left


def _slow(random, rough, world, requests, hz, share, since):  # noqa: ANN001, ANN202
    """Return slow units and requests over the candidate's limit, of candidate and control."""
    own, same, near = slow_shares(world)
    # cold caches: twice as many slow answers, of both alike, wearing off within minutes
    cold = 1.0 + (exp(-since / 60.0) if rough else 0.0)
    slow = [
        random.binomial(n, min(1.0, p * cold))
        for n, p in zip(requests[:2], (own, near), strict=True)
    ]
    over = [
        random.binomial(n, min(1.0, p * cold))
        for n, p in zip(requests[:2], (own, same), strict=True)
    ]
    if rough is not None:
        # all that comes while a process stands still is slow
        for arm in range(2):
            caught = random.poisson(hz * share * np.minimum(1.0, rough.stalls[arm]))
            slow[arm] = slow[arm] + caught
            over[arm] = over[arm] + caught
    return tuple(slow), tuple(over)


def _used(random, rough, world, requests, since):  # noqa: ANN001, ANN202
    """Return processor time and cache hits of candidate and control, alike but for chance.

    What a request costs moves from second to second by a third, in each process by itself; in
    rough worlds it also moves with all that the machines share.
    """
    runs = requests[0].shape[0]
    shared = random.gamma(4.0, 0.25, runs) if rough else 1.0
    cpu_s = tuple(
        n * world.cpu_s * shared * random.lognormal(0.0, 0.3, runs) for n in requests[:2]
    )
    warm = world.hit_ratio * (1.0 - (exp(-since / 60.0) if rough else 0.0))
    return cpu_s, tuple(random.binomial(n, warm) for n in requests[:2])
