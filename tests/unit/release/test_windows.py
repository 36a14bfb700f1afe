"""Spans of processor and cache: candidate beside control."""

from dataclasses import replace

import pytest

from mlg.release.windows import Pair, Used, over, same_lives

START = Pair(candidate=Used(lives=(1,)), control=Used(lives=(2,)))


def pair(one: Used, other: Used, at_s: float = 10.0) -> Pair:
    return Pair(
        candidate=replace(one, lives=(1,)), control=replace(other, lives=(2,)), at_s=at_s
    )


def cpu(seconds: float, attempts: int = 100) -> Used:
    return Used(cpu_s=seconds, attempts=attempts)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (cpu(1.3), cpu(1.0), True),
        (cpu(1.1), cpu(1.0), False),
        (cpu(2.0, 200), cpu(1.0), False),  # per attempt it is the same
        (cpu(1.3, 19), cpu(1.0), None),
        (cpu(1.3), cpu(1.0, 19), None),
        (cpu(0.09), cpu(1.0), None),  # nine ticks say nothing
    ],
)
def test_processor_time_of_an_attempt(one: Used, other: Used, said: bool | None) -> None:
    assert over("cpu", 0.2, START, pair(one, other)) is said


def test_a_declared_part_of_a_core_holds_besides() -> None:
    now = pair(cpu(8.6), cpu(8.6))
    assert over("cpu", 0.2, START, now) is False
    assert over("cpu", 0.2, START, now, limit=0.85) is True
    two = replace(now, candidate=replace(now.candidate, lives=(1, 3)))
    assert over("cpu", 0.2, START, two, limit=0.85) is False


def hits(known: int, lookups: int = 100) -> Used:
    return Used(attempts=200, cache_hits=known, cache_lookups=lookups)


@pytest.mark.parametrize(
    ("one", "other", "limit", "said"),
    [
        (hits(40), hits(60), None, True),
        (hits(55), hits(60), None, False),
        (hits(0), hits(0), None, None),
        (hits(10, 19), hits(60), None, None),
        (hits(55), hits(60), 0.6, True),
        (hits(0), hits(0), 0.6, True),
    ],
)
def test_share_of_hits(one: Used, other: Used, limit: float | None, said: bool | None) -> None:
    assert over("cache_hits", 0.1, START, pair(one, other), limit) is said


def test_a_process_that_came_or_went_ends_a_span() -> None:
    now = pair(cpu(1.0), cpu(1.0))
    assert same_lives(START, now)
    assert not same_lives(START, replace(now, control=replace(now.control, lives=(2, 9))))
    with pytest.raises(ValueError, match="no gate"):
        over("memory", 0.1, START, now)
