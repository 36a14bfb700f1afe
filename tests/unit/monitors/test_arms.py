"""Arms of a stage: who was assigned, who answered, what came of it."""

from typing import Any

from mlg.monitors.arms import Stage


def answer(number: int, arm: str = "v2", **more: Any) -> dict[str, Any]:
    return {
        "prediction_id": f"p{number}",
        "arm": arm,
        "model_version": arm.partition("~")[0],
        "items": [1, 2, 3],
        "served_by": "model",
        "reason": "ranked",
        "latency_ms": 3.0,
        "raw_confidence": 0.5,
        "session": f"s{number // 2}",
        "viewer": f"u{number // 4}",
        "at": f"2026-01-01T00:00:{number:02d}.000000Z",
        **more,
    }


def play(number: int, item: int = 1, **more: Any) -> dict[str, Any]:
    return {"prediction_id": f"p{number}", "item_id": item, "event": "play", **more}


def test_rows_count_once_whatever_their_order() -> None:
    rows = [answer(n) for n in range(8)]
    taken = [play(0, watch_through=0.5), play(0, 2), play(1, 9), play(2, watch_through=1.0)]
    one, other = Stage(), Stage()
    one.add(rows, taken)
    other.add([], taken[::-1])
    other.add(rows[::-1], [])
    other.add(rows, taken)
    for stage in (one, other):
        arm = stage.arms["v2"]
        assert (arm.answers, arm.units, len(arm.viewers)) == (8, 4, 2)
        assert (arm.hits, arm.watchers) == (2, 1)
        assert arm.clicked == 2 / 4
        assert arm.watched == 1.5 / 2
        assert stage.coming(100) == 2 / 2 / 4 * 100
        assert stage.newest_at.endswith("07.000000Z")
        assert sum(arm.latency) == 8


def test_an_answer_by_somebody_else_is_the_assigned_arms_rescue() -> None:
    stage = Stage()
    stage.add(
        [
            answer(0, model_version="v1"),
            answer(1, served_by="fallback", reason="rescue", model_version=""),
            answer(2, served_by="fallback", reason="abstain"),
            answer(3, arm="v1~control"),
        ],
        [],
    )
    assert stage.arms["v2"].rescued == 1
    assert stage.arms["v2"].fell_back == 1
    assert stage.arms["v2"].abstentions == 1
    assert stage.arms["v1~control"].rescued == 0


def test_what_cannot_be_read_is_left_out() -> None:
    stage = Stage()
    stage.add([answer(0, latency_ms=float("nan"), raw_confidence=None), {}], [play(7), {}])
    arm = stage.arms["v2"]
    assert (sum(arm.latency), arm.raw_sum, arm.answers) == (0, 0.0, 1)
