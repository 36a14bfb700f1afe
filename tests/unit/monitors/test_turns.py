"""Turns: who is alive is told by beats that change, and few names change hands."""

from hypothesis import given
from hypothesis import strategies as st

from mlg.monitors.turns import Hosts, alive, observed, owner_of

NAMES = st.sets(st.text("abcdefgh", min_size=1, max_size=4), min_size=1, max_size=6)


@given(hosts=NAMES, gone=st.integers(0, 5))
def test_a_host_that_goes_moves_its_own_names_only(hosts: set[str], gone: int) -> None:
    left = sorted(hosts)
    lost = left.pop(gone % len(left))
    for n in range(50):
        before, after = owner_of(f"m{n}", hosts), owner_of(f"m{n}", left)
        assert before in {lost, after}
        assert after in left or not left


def test_names_are_shared_out_evenly() -> None:
    owners = [owner_of(f"m{n}", ["a", "b", "c", "d"]) for n in range(4_000)]
    # 1,000 each but for chance: within five standard deviations of a binomial
    assert all(abs(owners.count(host) - 1_000) < 5 * 27.4 for host in "abcd")


def test_a_host_is_alive_while_its_beat_changes_by_the_observers_own_clock() -> None:
    known = Hosts()
    for second in range(20):
        beats = {"a": second, "b": min(second, 7)}
        known = observed(known, beats, 1_000.0 + second)
        expected = {"a", "b"} if second < 7 + 5 else {"a"}
        assert alive(known, 1_000.0 + second, 5.0) == expected


def test_a_host_that_begins_anew_or_leaves_is_seen_at_once() -> None:
    known = observed(Hosts(), {"a": 9, "b": 1}, 0.0)
    known = observed(known, {"a": 9}, 3.0)
    assert alive(known, 3.0, 5.0) == {"a"}
    known = observed(known, {"a": 1}, 9.0)  # a new process of the same name
    assert alive(known, 9.0, 5.0) == {"a"}
    assert alive(Hosts(), 0.0, 5.0) == frozenset()
