"""Misspelt words: the distance against a search through all edits, and what is corrected."""

import itertools
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.graph.fuzzy import allowed, beginnings, corrected, corrections, distance

LETTERS = "abc"
WORDS = st.text(LETTERS, max_size=6)


def edits(word: str) -> set[str]:
    """Return the words one insertion, deletion, change or swap away, by trying them all."""
    splits = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    return (
        {left + letter + right for left, right in splits for letter in LETTERS}
        | {left + right[1:] for left, right in splits if right}
        | {left + letter + right[1:] for left, right in splits if right for letter in LETTERS}
        | {left + right[1] + right[0] + right[2:] for left, right in splits if len(right) > 1}
    )


def by_search(a: str, b: str, most: int) -> int | None:
    reached = {a}
    for steps in range(most + 1):
        if b in reached:
            return steps
        reached |= set().union(*map(edits, reached))
    return None


def test_the_distance_is_that_of_a_search_through_all_edits() -> None:
    rng = random.Random(3)  # noqa: S311  # no secret
    every = ["".join(word) for n in range(5) for word in itertools.product(LETTERS, repeat=n)]
    pairs = [(rng.choice(every), rng.choice(every)) for _ in range(150)] + [("ca", "abc")]
    for a, b in pairs:
        assert distance(a, b) == by_search(a, b, 2), (a, b)


@given(WORDS, WORDS, WORDS)
def test_the_distance_is_a_metric(a: str, b: str, c: str) -> None:
    far = 20
    ab, bc, ac = (distance(x, y, far) for x, y in ((a, b), (b, c), (a, c)))
    assert ab is not None
    assert bc is not None
    assert ac is not None
    assert (ab == 0) == (a == b)
    assert ab == distance(b, a, far)
    assert ac <= ab + bc


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("rnaker", "ranker"),  # swapped
        ("rankr", "ranker"),  # missing
        ("rannker", "ranker"),  # doubled
        ("ranjer", "ranker"),  # wrong
        ("arnker", "ranker"),  # the first two swapped
        ("rxanker", "ranker"),  # one too many among the first two
        ("xranker", "ranker"),
        ("ratnigs", "ratings"),
        ("deploymnet", "deployment"),
    ],
)
def test_usual_slips_are_corrected_and_their_words_looked_up(typed: str, meant: str) -> None:
    vocabulary = [(word, 1) for word in ("ranker", "ratings", "deployment", "home", "clean")]
    near = [one for one in vocabulary if one[0].startswith(beginnings(typed))]
    assert corrections(typed, near)[0] == meant


def test_what_is_spelt_right_or_only_begun_is_left_alone() -> None:
    terms = [("ranker", 3), ("rank", 1), ("banker", 9)]
    for word in ("ranker", "rank", "ran"):
        assert corrections(word, terms) == ()


def test_fewer_slips_come_first_then_the_commoner_word() -> None:
    terms = [("planes", 90), ("plays", 1), ("plans", 7), ("plants", 900)]
    assert corrections("plasn", terms) == ("plans",)
    assert corrections("planess", terms) == ("planes", "plants", "plans")


def test_short_words_may_have_fewer_slips() -> None:
    assert [allowed("x" * n) for n in (0, 2, 3, 5, 6, 64, 65)] == [0, 0, 1, 1, 2, 2, 0]
    assert corrections("hm", [("home", 5), ("hi", 2)]) == ()
    assert beginnings("hm") == beginnings("x" * 65) == ()


def test_only_the_unknown_words_of_a_search_change() -> None:
    vocabulary = {"users": 5, "age": 9, "ranker": 4}

    def known(piece: str) -> bool:
        return any(word.startswith(piece) for word in vocabulary)

    def search(*phrases: list[str]) -> object:
        return corrected(phrases, known, lambda _: vocabulary.items())

    assert search(["rnaker"], ["users"]) == ((("ranker",), ("users",)),)
    assert search(["usres", "age"]) == ((("users", "age"),),)
    assert search(["users"], ["age"]) == ()
    assert search(["rnaker"], ["zzzzzz"]) == ()
    assert search() == ()


def test_few_searches_are_tried() -> None:
    terms = [(f"wor{letter}s", 1) for letter in string.ascii_lowercase]
    tried = corrected([["worxxs"]] * 4, lambda _: False, lambda _: terms)
    assert len(tried) == 5
