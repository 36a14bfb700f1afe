"""Sticky units: each counts once, and very many are a fair sample."""

import numpy as np

from mlg.monitors.units import Firsts, Units, unit_of, within


def test_a_unit_keeps_what_was_so_at_first_sight() -> None:
    units = Units()
    assert units.see(1, ("slow",))
    assert not units.see(1, ())
    assert units.see(2, ())
    assert (units.total, units.having("slow"), units.having("failed")) == (2, 1, 0)


def test_a_sample_is_as_many_as_there_were_and_as_they_were() -> None:
    units = Units(most=1_000)
    for number in range(40_000):
        units.see(unit_of(f"s{number}"), ("odd",) if number % 4 == 0 else ())
    assert units.seen <= 1_000
    # 40,000 units in a sample of one in 64: 625 on average, sd 25 by Poisson
    assert abs(units.total - 40_000) < 6 * 64 * 25
    assert abs(units.having("odd") / units.seen - 0.25) < 6 * np.sqrt(0.25 * 0.75 / units.seen)


def test_a_part_is_as_large_as_it_says_and_independent_of_the_sample() -> None:
    numbers = [unit_of(f"s{n}") for n in range(20_000)]
    sampled = [n for n in numbers if n % 16 == 0]
    for units in (numbers, sampled):
        share = sum(within(n, 0.3) for n in units) / len(units)
        assert abs(share - 0.3) < 6 * np.sqrt(0.21 / len(units))
    assert all(within(n, 1.0) for n in numbers)


def test_only_first_events_count_and_only_so_many_are_kept() -> None:
    firsts = Firsts(most=2)
    assert [firsts.first(n) for n in (1, 1, 2, 3, 3)] == [True, False, True, False, False]
    assert 2 in firsts
    assert 3 not in firsts
