"""What healing does next about one incident; pure, the durable workflow does it."""

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

TRIES: Final = 3
"""Trainings for one incident; then a person is called."""
BACKOFF_S: Final = 60.0
"""Wait after the first training that did not help; it doubles with each."""
PATIENCE: Final = 20
"""Windows for which a shift without loss must stay one until it is the new usual."""
LOOK_S: Final = 1.0
MOST_LOOK_S: Final = 60.0
LONGEST_S: Final = 86_400.0
"""A version that is neither released nor refused for so long does not help."""

Act = Literal[
    "wait", "retrain", "roll_back", "note", "settle", "heal", "back_off", "call", "end"
]

NOTES: Final[dict[str, tuple[str, str]]] = {
    "quarantine": (
        "quarantined",
        "broken input is not learned from: no training starts until it is repaired",
    ),
    "annotate": ("annotated", "expected by the calendar: nothing to do while it lasts"),
    "exclude": ("excluded", "few viewers behind it: baselines stay as they were"),
    "record": ("recorded", "a shift without loss: nothing is retrained"),
}
"""Word of the event and reason, by what the cause calls for."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What the workflow remembers between two looks; goes through JSON."""

    attempt: int = 0
    """Trainings so far, the one under way included."""
    run: str = ""
    """Run id of the training under way or just over; empty: none."""
    pipeline: str = ""
    """The pipeline of that run."""
    result: str = ""
    """How that run ended: done, rejected or failed."""
    version: str = ""
    """The version it made."""
    before: str = ""
    """The version that served when it began."""
    healed: bool = False
    called: bool = False
    rolled_back: bool = False
    back: str = ""
    """Id of the rollout that takes the service back; empty: none could."""
    left: str = ""
    """The version at 100 % when that was asked for."""
    noted: tuple[str, ...] = ()
    looks: int = 0
    """Looks since anything was done."""
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealFacts:
    """What is so now."""

    open: bool
    """Whether the incident is still open."""
    action: str
    """What its cause calls for, by the newest diagnosis."""
    windows: int = 0
    """Windows since it opened."""
    frozen: bool = False
    rollout: Literal["none", "under_way", "swapped", "done", "back"] = "none"
    """Where the version that was made for it stands."""
    back: Literal["none", "under_way", "done", "failed"] = "none"
    """Where the way back stands."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do."""

    act: Act
    reason: str = ""
    word: str = ""
    """Last word of the event's type, for a note."""
    seconds: float = 0.0


def next_move(progress: Progress, facts: HealFacts) -> Move:
    """Return what to do now.

    A training that was started is followed to its rollout's end, whatever happens meanwhile.
    While everything is frozen, nothing is started but a roll-back; events go on.
    """
    if progress.result:
        return _trained(progress, facts)
    if progress.back and facts.back in {"done", "failed"}:
        return _taken_back(progress, facts)
    if not facts.open:
        return Move(act="end", reason="the incident closed by itself")
    if facts.action == "roll_back":
        if not progress.rolled_back:
            return Move(act="roll_back", reason="serving computes other features")
        return _wait(progress)
    if facts.action == "retrain":
        if progress.called or facts.frozen:
            return _wait(progress)
        return Move(act="retrain", reason="a loss is measured or well estimated")
    return _noted(progress, facts)


def _taken_back(progress: Progress, facts: HealFacts) -> Move:
    """Return what follows a way back that has ended: the incident, or a call."""
    if not facts.open:
        return Move(act="end", reason="taken back")
    if facts.back == "done" and not progress.healed:
        return Move(act="heal", reason=f"{progress.left} was taken back")
    if facts.back == "failed" and not progress.called:
        told = f"{progress.left} could not be taken back: a person is needed"
        return Move(act="call", reason=told)
    return _wait(progress)


def _noted(progress: Progress, facts: HealFacts) -> Move:
    """Return what follows a cause that nothing is started for."""
    word, reason = NOTES.get(facts.action, NOTES["record"])
    if word not in progress.noted:
        return Move(act="note", word=word, reason=reason)
    if facts.action == "record" and facts.windows >= PATIENCE and not facts.frozen:
        return Move(act="settle", reason=f"no loss within {PATIENCE} windows: the new usual")
    return _wait(progress)


def _trained(progress: Progress, facts: HealFacts) -> Move:
    """Return what follows a run that has ended."""
    if progress.result != "done":
        return _failed(progress, facts, f"the run was {progress.result}")
    if not progress.version or progress.version == progress.before:
        return _failed(progress, facts, "training made the version that serves already")
    if facts.rollout == "back":
        return _failed(progress, facts, f"{progress.version} was taken back")
    if facts.rollout in {"swapped", "done"} and not progress.healed:
        return Move(act="heal", reason=f"{progress.version} has all of the traffic")
    if facts.rollout == "done":
        return Move(act="end", reason="healed")
    if progress.waited_s >= LONGEST_S and not progress.healed:
        return _failed(progress, facts, f"{progress.version} was not released")
    return _wait(progress)


def _failed(progress: Progress, facts: HealFacts, reason: str) -> Move:
    if progress.called:
        return Move(act="end", reason=reason)
    if progress.healed or progress.attempt >= TRIES:
        told = "after it had healed" if progress.healed else f"{progress.attempt} trainings"
        return Move(act="call", reason=f"{reason} ({told}): a person is needed")
    if not facts.open:
        return Move(act="end", reason=f"{reason}; the incident closed by itself")
    return Move(
        act="back_off", reason=reason, seconds=BACKOFF_S * 2.0 ** (progress.attempt - 1)
    )


def _wait(progress: Progress) -> Move:
    return Move(act="wait", seconds=min(MOST_LOOK_S, LOOK_S * 1.25**progress.looks))


def done(progress: Progress, move: Move, result: dict[str, str] | None = None) -> Progress:
    """Return what to remember after a move.

    Args:
        progress: What was remembered.
        move: What was done.
        result: Of a training: `run`, `pipeline`, `result`, `version`, `before`; of a
            roll-back: `back`, `left`, or nothing when there is none.
    """
    kept = msgspec.structs.replace(progress, looks=0, waited_s=0.0)
    match move.act:
        case "wait":
            return msgspec.structs.replace(
                progress, looks=progress.looks + 1, waited_s=progress.waited_s + move.seconds
            )
        case "retrain":
            return msgspec.structs.replace(
                kept, attempt=kept.attempt + 1, **(result or {"result": "failed"})
            )
        case "back_off":
            return msgspec.structs.replace(kept, run="", result="", version="", before="")
        case "note":
            return msgspec.structs.replace(kept, noted=(*kept.noted, move.word))
        case "heal":
            return msgspec.structs.replace(kept, healed=True)
        case "call":
            return msgspec.structs.replace(kept, called=True)
        case "roll_back":
            return msgspec.structs.replace(kept, rolled_back=True, **(result or {}))
        case "settle" | "end":
            return kept
