"""Which cores, and which weight, a share of processor time is."""

from hypothesis import given
from hypothesis import strategies as st

from mlg.adapters.process_limits import cores_for, nice_for

CORES = st.lists(st.integers(0, 127), min_size=1, max_size=32, unique=True)


@given(CORES, st.floats(0.01, 64), st.lists(st.integers(0, 127)))
def test_so_many_cores_as_asked_for_or_all_that_there_are(
    available: list[int], cpu: float, taken: list[int]
) -> None:
    found = cores_for(cpu, available, taken)
    assert len(set(found)) == len(found) == min(-int(-cpu // 1), len(available))
    assert set(found) <= set(available)


@given(CORES, st.lists(st.floats(0.1, 4), max_size=40))
def test_no_core_is_bound_twice_more_often_than_another(
    available: list[int], asked: list[float]
) -> None:
    taken: list[int] = []
    for cpu in asked:
        taken += cores_for(cpu, available, taken)
        bound = [taken.count(core) for core in available]
        assert max(bound) - min(bound) <= 1


@given(st.floats(0.02, 1.0))
def test_the_weight_at_a_nice_level_is_the_asked_for_part(cpu: float) -> None:
    # half a step off at the most, as levels are whole
    assert abs(1.25 ** -nice_for(cpu) / cpu - 1.0) <= 1.25**0.5 - 1.0 + 1e-9
