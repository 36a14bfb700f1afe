"""Mistakes of `rollout: staging:`: time zones that nobody has, budgets that contradict."""

from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Final
from zoneinfo import available_timezones

from mlg.manifest.specs_services import ServiceSpec, StagingSpec

Mistake = tuple[tuple[str, ...], str, str]
"""Path of keys under `staging`, what is wrong, and what to do."""

_LEAST_REQUESTS: Final = 100
"""Fewer say nothing of a p99."""


def staging_mistakes(service: ServiceSpec) -> Iterator[Mistake]:
    """Find what types cannot say of a service's staging."""
    staging = service.rollout.staging if service.rollout else None
    if staging is None:
        return
    yield from _window(staging)
    if staging.load.seconds > staging.deadline_s:
        what = f"expected at most the deadline, {staging.deadline_s:g} s, got more"
        yield ("load", "for"), what, "raise `deadline`, or test for less long."
    rate_hz = staging.load.rate_hz
    if rate_hz is not None and _LEAST_REQUESTS / rate_hz > staging.deadline_s:
        what = f"expected {_LEAST_REQUESTS} requests within {staging.deadline_s:g} s, got fewer"
        yield ("load", "rate"), what, "raise `rate`, or `deadline`."
    budget = staging.budget
    if budget is None:
        return
    if budget.p99_ms is None and budget.memory_bytes is None:
        yield ("budget",), "expected p99 or memory, got neither", "add one, or leave it out."
    if budget.p99_ms is not None and budget.p99_ms > staging.deadline_s * 1e3:
        what = f"expected at most the deadline, {staging.deadline_s:g} s, got more"
        yield ("budget", "p99"), what, "a p99 is some milliseconds, like 150ms."
    most = service.resources.memory_bytes if service.resources else None
    if budget.memory_bytes is not None and most is not None and budget.memory_bytes > most:
        what = f"expected at most resources.memory, {most} bytes, got {budget.memory_bytes}"
        yield ("budget", "memory"), what, "a replica that wants more than its resources dies."


def _window(staging: StagingSpec) -> Iterator[Mistake]:
    start, _, end = staging.window.partition("-")
    if start == end:
        what = f"expected two different times, got {staging.window}"
        yield ("window",), what, "`always` is the whole day."
    if staging.timezone != "UTC" and staging.timezone not in _timezones():
        near = get_close_matches(staging.timezone, sorted(_timezones()), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "names are like Europe/Berlin, or UTC."
        yield ("timezone",), f"expected an IANA time zone, got {staging.timezone!r}", hint


@lru_cache(maxsize=1)
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())
