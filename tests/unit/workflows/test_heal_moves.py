"""What healing does next: by cause, with patience, and never for ever."""

import pytest

from mlg.workflows.heal_moves import (
    BACKOFF_S,
    LONGEST_S,
    PATIENCE,
    TRIES,
    HealFacts,
    Progress,
    done,
    next_move,
)

TRAINED = {
    "run": "r1", "pipeline": "ranker", "result": "done", "version": "new", "before": "old",
}  # fmt: skip


def facts(action: str, **more: object) -> HealFacts:
    return HealFacts(**{"open": True, "action": action, **more})


def acts(progress: Progress, now: HealFacts, result: dict[str, str] | None) -> list[str]:
    """Return what is done until the end, or until it only waits."""
    found: list[str] = []
    for _ in range(50):
        move = next_move(progress, now)
        if move.act == "wait":
            return [*found, "wait"]
        found.append(move.act)
        if move.act in {"end", "settle"}:
            return found
        progress = done(progress, move, result)
    raise AssertionError(found)


def test_a_loss_is_trained_for_and_healed_once_the_version_has_all_of_the_traffic() -> None:
    progress = done(Progress(), next_move(Progress(), facts("retrain")), TRAINED)
    assert next_move(progress, facts("retrain", rollout="under_way")).act == "wait"
    assert acts(progress, facts("retrain", rollout="done"), None) == ["heal", "end"]
    assert acts(progress, facts("retrain", rollout="swapped"), None) == ["heal", "wait"]


def test_a_version_taken_back_after_it_healed_calls_a_person() -> None:
    progress = done(Progress(), next_move(Progress(), facts("retrain")), TRAINED)
    progress = done(progress, next_move(progress, facts("retrain", rollout="swapped")))
    taken = facts("retrain", open=False, rollout="back")
    assert acts(progress, taken, None) == ["call", "end"]


@pytest.mark.parametrize(
    "result",
    [
        {"result": "failed"},
        {**TRAINED, "result": "rejected"},
        {**TRAINED, "version": "old"},
    ],
)
def test_trainings_that_do_not_help_are_few_and_ever_later(result: dict[str, str]) -> None:
    found = acts(Progress(), facts("retrain"), result)
    assert found.count("retrain") == TRIES
    assert found[-2:] == ["call", "end"]
    waits = [
        next_move(Progress(attempt=n, result="failed"), facts("retrain")).seconds
        for n in range(1, TRIES)
    ]
    assert waits == [BACKOFF_S * 2**n for n in range(TRIES - 1)]


def test_a_version_that_is_never_released_does_not_help() -> None:
    late = Progress(attempt=1, waited_s=LONGEST_S, **TRAINED)
    assert next_move(late, facts("retrain")).act == "back_off"


BACK = {"back": "back-1", "left": "v2"}


def test_a_skew_is_taken_back_and_healed_by_the_former_version() -> None:
    progress = done(Progress(), next_move(Progress(), facts("roll_back")), BACK)
    assert next_move(progress, facts("roll_back", back="under_way")).act == "wait"
    assert acts(progress, facts("roll_back", back="done"), None) == ["heal", "wait"]
    assert acts(progress, facts("roll_back", back="failed"), None) == ["call", "wait"]
    assert acts(progress, facts("roll_back", open=False, back="done"), None) == ["end"]
    assert "v2" in next_move(progress, facts("roll_back", back="done")).reason


@pytest.mark.parametrize(
    ("action", "word"),
    [
        ("quarantine", "quarantined"),
        ("annotate", "annotated"),
        ("exclude", "excluded"),
        ("record", "recorded"),
    ],
)
def test_other_causes_are_told_once_and_start_nothing(action: str, word: str) -> None:
    assert next_move(Progress(), facts(action)).word == word
    assert acts(Progress(), facts(action), None) == ["note", "wait"]


def test_only_a_shift_without_loss_becomes_the_new_usual_and_not_at_once() -> None:
    patient = {"windows": PATIENCE}
    assert acts(Progress(), facts("record", **patient), None) == ["note", "settle"]
    assert acts(Progress(), facts("annotate", **patient), None) == ["note", "wait"]
    assert acts(Progress(), facts("quarantine", **patient), None) == ["note", "wait"]


def test_a_freeze_lets_only_events_and_a_roll_back_through() -> None:
    assert acts(Progress(), facts("retrain", frozen=True), TRAINED) == ["wait"]
    assert acts(Progress(), facts("roll_back", frozen=True), None) == ["roll_back", "wait"]
    assert acts(Progress(), facts("record", frozen=True, windows=99), None) == ["note", "wait"]


def test_an_incident_that_closed_by_itself_ends() -> None:
    assert acts(Progress(), facts("retrain", open=False), None) == ["end"]


def test_waits_grow_and_are_bounded() -> None:
    progress, waits = Progress(noted=("recorded",)), list[float]()
    for _ in range(40):
        move = next_move(progress, facts("record"))
        waits.append(move.seconds)
        progress = done(progress, move)
    assert waits == sorted(waits)
    assert waits[-1] == 60.0
    assert progress.waited_s == pytest.approx(sum(waits))
