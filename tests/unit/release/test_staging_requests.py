"""Requests made again from rows of the log, told as rows."""

import json
from itertools import pairwise
from typing import Any

from mlg.release.staging_requests import LEAST, live_requests, spread

AT = "2026-03-01T00:00:00Z"
KNOWN: dict[str, Any] = {f"h{n}": n for n in range(10)}


def row(viewer: str | None, *, items: int = 3, given: bool = False) -> dict[str, Any]:
    return {"viewer": viewer, "at": AT, "items": list(range(items)), "given": given}


def test_a_request_is_viewer_time_and_number_of_items() -> None:
    found = live_requests([row("h7", items=5)] * LEAST, KNOWN, knows=True)
    assert set(found.bodies) == {found.bodies[0]}
    assert json.loads(found.bodies[0]) == {"user_id": 7, "k": 5, "context": {"at": AT}}
    assert (len(found.bodies), found.known, found.left_out) == (LEAST, LEAST, 0)
    assert found.told == f"{LEAST} requests of the log (viewer, time, number of items)"
    assert dict(found.facts(64)) == {
        "from_log": LEAST,
        "from_recorded": 0,
        "from_log_known": LEAST,
        "left_out": 0,
    }


def test_whom_nobody_knows_asks_as_nobody_unless_his_features_came_along() -> None:
    rows = [row("h1")] * 15 + [row("x")] * 3 + [row(None)] * 2
    lost = [row("x", given=True), row(None, given=True)]
    found = live_requests([*rows, *lost], KNOWN, knows=True)
    users = [json.loads(body)["user_id"] for body in found.bodies]
    assert users == [1] * 15 + [None] * 5
    assert (found.known, found.left_out) == (15, 2)
    assert "5 of them of viewers whom no version knows; 2 more cannot be made again" in (
        found.told
    )


def test_features_of_a_known_viewer_are_what_the_version_has_of_him() -> None:
    found = live_requests([row("h1", given=True)] * LEAST, KNOWN, knows=True)
    assert "viewer" not in json.loads(found.bodies[0])["context"]
    assert found.known == LEAST


def test_where_no_version_keeps_viewers_only_nobodys_requests_are_made_again() -> None:
    """Such a model went by what the request brought, and that is not in the log."""
    found = live_requests([row("x")] * 50, {}, knows=False)
    assert (found.bodies, found.left_out) == ((), 50)
    assert found.told == (
        f"recorded requests: the log has 0 that can be made again, {LEAST} are the least"
    )
    assert dict(found.facts(64)) == {"from_log": 0, "from_recorded": 64}
    assert len(live_requests([row(None)] * 50, {}, knows=False).bodies) == 50


def test_an_answer_without_items_asks_for_one_and_none_asks_for_more_than_a_hundred() -> None:
    rows = [row("h1", items=0)] * 10 + [row("h1", items=500)] * 10
    found = live_requests(rows, KNOWN, knows=True)
    assert [json.loads(b)["k"] for b in found.bodies] == [1] * 10 + [100] * 10


def test_a_spread_takes_evenly() -> None:
    bodies = tuple(str(n).encode() for n in range(1_000))
    taken = [int(one) for one in spread(bodies, 128)]
    assert len(taken) == len(set(taken)) == 128
    assert taken[0] == 0
    assert {b - a for a, b in pairwise(taken)} == {7, 8}
