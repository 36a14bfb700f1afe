"""Arms of a stage: who was assigned, who answered, what came of it."""

from typing import Any

from mlg.monitors.arms import Rollout, Stage
from mlg.monitors.slow import Limit


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
        assert (arm.answers, arm.units.total, len(arm.viewers)) == (8, 4, 2)
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


def compared() -> Rollout:
    limit = Limit(gate="latency_p99", candidate_ms=12.0, control_ms=10.0)
    return Rollout(candidate="v2", control="v1~control", limits=(limit,))


def test_a_unit_fails_once_in_a_whole_rollout() -> None:
    rollout = compared()
    first, second = Stage(rollout), Stage(rollout)
    rescued = {"model_version": "v1", "session": "s"}
    first.add([answer(n, **rescued) for n in range(5)], [])
    second.add([answer(n, **rescued) for n in range(5, 9)], [])
    second.add([answer(9, model_version="v1", session="other")], [])
    assert (first.arms["v2"].failed, first.arms["v2"].rescued) == (1, 5)
    assert (second.arms["v2"].failed, second.arms["v2"].rescued) == (1, 5)
    # the one that had failed before is not at risk any more
    units = second.arms["v2"].units
    assert (units.total, units.having("failed")) == (2, 1)


def test_slow_answers_of_a_moment_are_one_sign() -> None:
    stage = Stage(compared())

    def slow(number: int, arm: str, second: int, ms: float = 50.0) -> dict[str, Any]:
        at = f"2026-01-01T00:00:{second:02d}.000000Z"
        return answer(number, arm, session=f"s{number}", latency_ms=ms, received_at=at)

    rows = [slow(n, "v2", 0) for n in range(30)]  # a stall: thirty at once
    rows += [slow(40, "v2", 2)]  # directly after it: the same stall, for all we know
    rows += [slow(50, "v2", 8), slow(51, "v1~control", 8)]  # one each says nothing
    rows += [slow(60, "v1~control", 12), slow(61, "v1~control", 13), slow(62, "v2", 13)]
    rows += [slow(70, "v2", 20, ms=11.0), slow(71, "v1~control", 20, ms=11.0)]  # the margin
    rows += [slow(80, "v1", 30)]  # all other stable traffic is not compared
    stage.add(rows, [])
    assert stage.slower("latency_p99") == (1, 2)
    assert stage.slower("latency_p50") == (0, 0)
    assert stage.arms["v2"].units.having("latency_p99") == 33
    assert stage.arms["v1~control"].units.having("latency_p99") == 4


def test_with_a_small_control_as_many_of_the_candidates_units_are_compared() -> None:
    stage = Stage(compared(), part=0.25)
    rows = [answer(n, session=f"s{n}", latency_ms=50.0) for n in range(2_000)]
    at = {"at": "2026-01-01T00:00:00.000000Z"}
    stage.add([{**row, **at} for row in rows], [])
    ((block,),) = (stage.blocks["latency_p99"].values(),)
    assert abs(block[0] - 500) < 6 * (2_000 * 0.25 * 0.75) ** 0.5
