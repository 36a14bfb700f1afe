"""The facts of a rollout that interleaves lists: read from the log since the phase began."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from mlg.adapters.stream_segments import SegmentStream
from mlg.app.tail import Tail
from mlg.core.clock import parse_time
from mlg.core.errors import LifecycleError
from mlg.core.ports import Cursor, TrafficRouter
from mlg.core.traffic import Attempts
from mlg.monitors.drafts import Drafts
from mlg.release.interleaving import DraftsSeen, judge_drafts
from mlg.release.rollout_moves import wanted_shares
from mlg.release.rollout_types import (
    RolloutFacts,
    RolloutState,
    interleaved_label,
)
from mlg.serving.log import decode_feedback, decode_prediction
from mlg.workflows.rollouts import Look

_BATCH: Final = 20_000
_FAILED: Final = "candidate_failed"


@dataclass(slots=True)
class _Follow:
    rollout: str
    cursor: Cursor
    drafts: Drafts


def interleaves(state: RolloutState) -> bool:
    """Return whether a rollout shows lists of both versions now, paused or not."""
    return (state.paused_from or state.phase) == "interleaving"


class DraftWatch:
    """Counts votes on interleaved lists; after a restart anew, from the mark in the log.

    Args:
        home: The instance's folder.
        router: What the gateways saw of the group.
        tail: How far the log was read when the phase began.
    """

    def __init__(self, home: Path, router: TrafficRouter, tail: Tail) -> None:
        self._home, self._router, self._tail = home, router, tail
        self._follows: dict[str, _Follow] = {}

    def look(self, look: Look, facts: RolloutFacts) -> tuple[Look, RolloutFacts]:
        """Return the facts with the phase's verdicts, and a mark where its counting begins."""
        state = look.state
        if facts.shares != wanted_shares(state):
            return look, facts
        label = interleaved_label(state.candidate)
        try:
            attempts = {a.version: a for a in self._router.attempts(state.service)}.get(label)
            if look.drafts is None:
                return self._marked(look, attempts), facts
            drafts = self._read(look, label)
        except LifecycleError:
            return look, facts  # no fresh metrics: the rollout holds
        seen = _seen(drafts, attempts, look.drafts)
        now = max(facts.now, parse_time(drafts.newest_at) if drafts.newest_at else facts.now)
        plan = state.plan.interleave
        if plan is None:
            return look, facts
        return look, replace(
            facts,
            now=now,
            fresh=True,
            step=state.step,
            units=seen.voters,
            gates=judge_drafts(plan, seen),
        )

    def _marked(self, look: Look, attempts: Attempts | None) -> Look:
        before = [attempts.total, attempts.errors] if attempts else [0, 0]
        cursor = msgspec.to_builtins(self._tail.cursor(look.state.service))
        return msgspec.structs.replace(look, drafts={"cursor": cursor, "attempts": before})

    def _read(self, look: Look, label: str) -> Drafts:
        """Return the votes up to now."""
        state, mark = look.state, look.drafts or {}
        follow = self._follows.get(state.service)
        if follow is None or follow.rollout != state.id:
            cursor = msgspec.convert(mark["cursor"], Cursor)
            follow = _Follow(state.id, cursor, Drafts(label=label))
            self._follows[state.service] = follow
        stream = SegmentStream(self._home / "segments" / state.service)
        while True:
            batch = stream.read(follow.cursor, _BATCH)
            rows = batch.records
            follow.drafts.add(
                [decode_prediction(r.payload) for r in rows if r.kind == "prediction"],
                [decode_feedback(r.payload) for r in rows if r.kind == "feedback"],
            )
            done = batch.cursor == follow.cursor or len(rows) < _BATCH
            follow.cursor = batch.cursor
            if done:
                return follow.drafts


def _seen(drafts: Drafts, attempts: Attempts | None, mark: Mapping[str, Any]) -> DraftsSeen:
    """Return the counts; a request that the group failed is the candidate's fault too.

    The stable version's own replicas answer elsewhere: what is new in the group is the other.
    """
    before = mark["attempts"]
    errors = max(0, attempts.errors - before[1]) if attempts else 0
    failed = drafts.alone.get(_FAILED, 0)
    return DraftsSeen(
        wins=drafts.votes("c"),
        losses=drafts.votes("s"),
        coin_wins=drafts.votes("c", coins=True),
        coin_losses=drafts.votes("s", coins=True),
        answers=drafts.answers + errors,
        drafted=drafts.drafted,
        faults=failed + errors,
        unsure=sum(n for why, n in drafts.alone.items() if why != _FAILED),
        latency_ms=median(drafts.latency_ms) if drafts.latency_ms else None,
    )
