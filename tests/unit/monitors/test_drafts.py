"""Votes on interleaved lists, from rows of the log in any order."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlg.monitors.drafts import Drafts

LABEL = "v2~interleaved"


def answer(name: str, viewer: str | None, teams: str, **odd: Any) -> dict[str, Any]:
    told = {"beside": "v1", "teams": teams}
    row = {
        "prediction_id": name, "arm": LABEL, "viewer": viewer, "items": [1, 2, 3],
        "interleaved": told, "latency_ms": 2.0, "at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return {**row, **odd}


def took(name: str, item: int, event: str = "play") -> dict[str, Any]:
    return {"prediction_id": name, "item_id": item, "event": event}


def test_a_viewer_has_one_vote_the_first_item_taken() -> None:
    drafts = Drafts(label=LABEL)
    rows = [answer("a", "ann", "csc"), answer("b", "ann", "csc"), answer("c", "bob", "csc")]
    drafts.add(rows, [took("a", 2), took("a", 1), took("b", 1), took("c", 3)])
    assert (drafts.votes("c"), drafts.votes("s")) == (1, 1)
    assert (drafts.answers, drafts.drafted) == (3, 3)


def test_an_item_that_both_would_have_placed_counts_by_the_coin_only() -> None:
    drafts = Drafts(label=LABEL)
    drafts.add([answer("a", "ann", "CsS")], [took("a", 1), took("a", 2)])
    assert (drafts.votes("c"), drafts.votes("s")) == (0, 1)
    assert (drafts.votes("c", coins=True), drafts.votes("s", coins=True)) == (1, 0)


def test_impressions_other_items_and_other_groups_are_no_votes() -> None:
    drafts = Drafts(label=LABEL)
    other = answer("x", "eve", "csc", arm="v1")
    drafts.add(
        [answer("a", "ann", "csc"), other],
        [took("a", 1, "impression"), took("a", 9), took("x", 1), took("nobody", 1)],
    )
    assert drafts.votes("c") + drafts.votes("s") == 0
    assert drafts.answers == 1


def test_lists_of_one_version_alone_are_counted_by_why() -> None:
    drafts = Drafts(label=LABEL)
    alone = {"beside": "v1", "teams": "", "alone": "candidate_failed"}
    rescued = {**answer("b", "bob", ""), "interleaved": None}
    drafts.add([answer("a", "ann", "", interleaved=alone), rescued], [took("a", 1)])
    assert (drafts.alone, drafts.answers, drafts.drafted) == ({"candidate_failed": 1}, 1, 0)
    assert drafts.votes("s") == 0


@given(st.permutations(range(6)), st.integers(1, 3))
def test_feedback_may_come_before_its_answer_and_rows_twice(order: list[int], n: int) -> None:
    parts: list[tuple[list[Any], list[Any]]] = [
        ([answer(name, name, "csc")], []) for name in ("a", "b", "c")
    ]
    parts += [([], [took(name, item)]) for name, item in (("a", 1), ("b", 2), ("c", 3))]
    drafts = Drafts(label=LABEL)
    for place in order * n:
        drafts.add(*parts[place])
    assert (drafts.votes("c"), drafts.votes("s"), drafts.answers) == (2, 1, 3)
