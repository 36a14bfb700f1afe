from hypothesis import given
from hypothesis import strategies as st

from mlg.manifest.units import (
    UNITS,
    basis_points,
    milliseconds,
    seconds,
    seconds_between,
    size_bytes,
    window,
)


@given(st.integers(0, 10_000))
def test_every_basis_point_can_be_written(bp: int) -> None:
    assert basis_points(f"{bp // 100}.{bp % 100:02d}%") == bp


@given(st.integers(1, 10**6))
def test_one_duration_in_three_units(count: int) -> None:
    assert seconds(f"{count}m") == count * 60
    assert seconds(f"{count}ms") == count / 1000
    assert milliseconds(f"{count}s") == count * 1000


def test_weeks_days_and_hours_agree() -> None:
    assert seconds("1w") == seconds("7d") == seconds("168h") == 604_800


def test_decimal_and_binary_sizes_differ() -> None:
    assert (size_bytes("1kB"), size_bytes("1KiB")) == (1_000, 1_024)
    assert size_bytes("0.1B") is None


def test_rates_and_windows() -> None:
    assert seconds_between("3/1h") == 1_200
    assert seconds_between("1/0s") is None
    assert window("0 events") is None
    assert window("0s") is None


@given(st.text(max_size=20))
def test_no_text_breaks_a_reader(text: str) -> None:
    for unit in UNITS.values():
        unit.read(text)


def test_absurdly_long_numbers_are_no_quantity() -> None:
    for unit in UNITS.values():
        for suffix in ("%", "s", "GiB", "/1d", " events"):
            value = unit.read("9" * 5_000 + suffix)
            assert value is None or isinstance(value, float | int)
