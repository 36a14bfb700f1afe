"""river's detectors on window means: delays at matched ARL0, or events a second.

    python monitors_river.py delay ARL0 SHIFT RUNS
    python monitors_river.py stream EVENTS FEATURES

Runs in river's own environment and prints one JSON document. Each detector gets the option
that sets its sensitivity, found by bisection so that windows without a
shift are ARL0 on average before it speaks; all else is its default, but ADWIN looks at every
window (clock 1, not 32) and PageHinkley forgets nothing and may speak from the 5th window on.
They learn what is usual from the stream itself, so the shift comes after 200 usual windows;
runs that spoke before it are drawn again.
"""  # noqa: INP001 - a script, no package

import json
import sys
import time

import numpy as np

BEFORE = 200
LONGEST = 5_000
REQUIRES = ("river==0.26.1", "numpy==2.4.6")


def detectors(clock=1):
    """Return by name: how to make it from its option, bounds, and whether more means quieter."""
    from river import drift

    return {
        "ADWIN": (lambda x: drift.ADWIN(delta=10**x, clock=clock), (-8.0, 0.0), False),
        "PageHinkley": (
            lambda x: drift.PageHinkley(min_instances=5, delta=0.25, threshold=x, alpha=1.0),
            (1.0, 40.0),
            True,
        ),
        "KSWIN": (
            lambda x: drift.KSWIN(alpha=10**x, window_size=100, stat_size=30, seed=1),
            (-8.0, -1.0),
            False,
        ),
    }


def run_length(detector, rng, shift, skip=0):
    """Return points until it speaks, the shift being there after `skip` of them; None before."""
    values = rng.standard_normal(LONGEST)
    values[skip:] += shift
    for number, value in enumerate(values.tolist(), 1):
        detector.update(value)
        if detector.drift_detected:
            return number - skip if number > skip else None
    return LONGEST - skip


def matched(make, bounds, quieter, arl0, runs):
    """Return the option at which the mean run length without a shift is ARL0, and that mean."""
    low, high = bounds
    mean = 0.0
    for _ in range(9):
        middle = (low + high) / 2
        rng = np.random.default_rng(5)
        mean = float(np.mean([run_length(make(middle), rng, 0.0) for _ in range(runs)]))
        if (mean < arl0) == quieter:
            low = middle
        else:
            high = middle
    return middle, mean


def delay(arl0, shift, runs):
    """Return each detector's delays."""
    found = {}
    for name, (make, bounds, quieter) in detectors().items():
        many = max(20, runs // 10) if name == "KSWIN" else runs  # it is a thousand times slower
        option, mean = matched(make, bounds, quieter, arl0, max(20, many // 2))
        rng, delays, early = np.random.default_rng(6), [], 0
        while len(delays) < many and early < 20 * many:
            one = run_length(make(option), rng, shift, BEFORE)
            if one is None:
                early += 1
            else:
                delays.append(one)
        found[name] = {"option": option, "arl0": mean, "delays": delays, "early": early}
    return found


def stream(events, features):
    """Return seconds of each detector for so many events of so many features, one by one."""
    found = {}
    rng = np.random.default_rng(1)
    for name, (make, (low, high), _) in detectors(clock=32).items():
        many = max(400, events // 20) if name == "KSWIN" else events
        rows = rng.standard_normal((many, features)).tolist()
        each = [make((low + high) / 2) for _ in range(features)]
        began = time.perf_counter()
        for row in rows:
            for detector, value in zip(each, row, strict=True):
                detector.update(value)
        found[name] = {"events": many, "seconds": time.perf_counter() - began}
    return found


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    if what == "delay":
        document = delay(float(given[0]), float(given[1]), int(given[2]))
    else:
        document = stream(int(given[0]), int(given[1]))
    print(json.dumps(document))
