"""Team draft: the laws that make its comparison fair."""

from collections import Counter
from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlg.serving.draft import team_draft

RANKINGS = st.lists(st.integers(0, 15), unique=True, max_size=12)


@given(RANKINGS, RANKINGS, st.integers(0, 15), st.integers(0, 2**32 - 1))
def test_a_list_has_every_item_once_and_as_many_as_there_are(
    candidate: list[int], stable: list[int], k: int, seed: int
) -> None:
    made = team_draft(candidate, stable, k, np.random.default_rng(seed).random)
    assert len(set(made.items)) == len(made.items) == len(made.teams)
    assert set(made.items) <= {*candidate, *stable}
    assert len(made.items) == min(k, len({*candidate, *stable}))


@given(RANKINGS, st.integers(0, 15), st.integers(0, 2**32 - 1))
def test_two_equal_rankers_give_just_their_list_and_only_coins(
    ranked: list[int], k: int, seed: int
) -> None:
    made = team_draft(ranked, ranked, k, np.random.default_rng(seed).random)
    assert list(made.items) == ranked[:k]
    assert made.teams.isupper() or not made.teams


def test_with_equal_rankers_each_place_is_either_teams_with_probability_one_half() -> None:
    k = 6
    teams = [Counter() for _ in range(k)]
    for coins in product((0.25, 0.75), repeat=k // 2):  # every outcome of three rounds
        made = team_draft("abcdef", "abcdef", k, iter(coins).__next__)
        for place, team in enumerate(made.teams):
            teams[place][team] += 1
    assert all(found == {"C": 4, "S": 4} for found in teams)


@given(RANKINGS, RANKINGS, st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_no_team_is_ever_more_than_one_item_ahead_while_both_have_some(
    candidate: list[int], stable: list[int], k: int, seed: int
) -> None:
    made = team_draft(candidate, stable, k, np.random.default_rng(seed).random)
    left = {"c": set(candidate), "s": set(stable)}
    ahead = 0
    for item, team in zip(made.items, made.teams, strict=True):
        if left["c"] and left["s"]:
            ahead += 1 if team.lower() == "c" else -1
            assert abs(ahead) <= 1
        for items in left.values():
            items.discard(item)


@given(RANKINGS, RANKINGS, st.integers(1, 12), st.lists(st.booleans(), min_size=12))
def test_teams_that_change_places_change_letters_only(
    candidate: list[int], stable: list[int], k: int, coins: list[bool]
) -> None:
    one = team_draft(candidate, stable, k, iter([0.9 * c for c in coins]).__next__)
    two = team_draft(stable, candidate, k, iter([0.9 * (not c) for c in coins]).__next__)
    assert one.items == two.items
    assert one.teams == two.teams.translate(str.maketrans("csCS", "scSC"))


@given(RANKINGS, RANKINGS, st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_each_team_drafts_in_its_own_order(
    candidate: list[int], stable: list[int], k: int, seed: int
) -> None:
    made = team_draft(candidate, stable, k, np.random.default_rng(seed).random)
    for team, ranked in (("c", candidate), ("s", stable)):
        mine = [i for i, t in zip(made.items, made.teams, strict=True) if t.lower() == team]
        assert mine == sorted(mine, key=ranked.index)
