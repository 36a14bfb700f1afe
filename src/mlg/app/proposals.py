"""Proposals of rules: they wait in files until a person lets them act, or turns them down."""

from collections.abc import Callable
from typing import Any

import msgspec

from mlg.automations.decide import approved
from mlg.automations.freeze import FREEZE_FILE, freeze_from_bytes
from mlg.core.clock import rfc3339
from mlg.core.errors import ConflictError, NotFoundError
from mlg.core.ports import Files, GraphStore
from mlg.core.principal import Principal
from mlg.graph import record_automations
from mlg.graph.record import Recorder
from mlg.workflows.react import PROPOSALS, Reaction, action_words, proposal_path
from mlg.workflows.record import append_once


class Proposals:
    """What waits for a person.

    Args:
        files: Keeps them, below `proposals/`.
        store: The event log.
        recorder: Gives a recorder in the name of an actor.
        start: Starts the durable answer; the same one starts once.
    """

    def __init__(
        self,
        files: Files,
        store: GraphStore,
        recorder: Callable[[str], Recorder],
        start: Callable[[Reaction], None],
    ) -> None:
        self._files, self._store, self._recorder = files, store, recorder
        self._start = start

    def waiting(self) -> list[dict[str, Any]]:
        """Return what waits, oldest first."""
        found = [self._read(path) for path in self._files.list(PROPOSALS)]
        waiting = [one for one in found if one is not None]
        return [
            {
                "proposal": one.decision.key,
                "rule": one.decision.rule,
                "at": rfc3339(one.at),
                "subject": one.subject,
                "event_type": one.event_type,
                "actions": [action_words(command) for command in one.decision.commands],
            }
            for one in sorted(waiting, key=lambda one: (one.at, one.decision.key))
        ]

    def answer(
        self, proposal: str, act: bool, reason: str, principal: Principal
    ) -> dict[str, Any]:
        """Let a proposal act, or turn it down; it waits no longer.

        Raises:
            NotFoundError: Nothing of this key waits.
            ConflictError: Everything is frozen, so it could not act.
        """
        path = proposal_path(proposal)
        found = self._read(path)
        if found is None:
            raise NotFoundError(
                f"no proposal {proposal!r} waits",
                where=proposal,
                hint="mlg automations list shows those that do.",
            )
        frozen = freeze_from_bytes(self._files.read(FREEZE_FILE))
        decision = approved(found.decision, principal.subject, frozen)
        if act and decision.outcome != "acts":
            raise ConflictError(
                "everything is frozen, so the proposal cannot act now",
                where=proposal,
                hint="mlg freeze --lift, then approve it; it goes on waiting.",
            )
        recorder = self._recorder(principal.subject)
        event = record_automations.proposal_answered(
            recorder,
            key=proposal,
            rule=decision.rule,
            act=act,
            reason=reason,
            cause=decision.event,
        )
        append_once(self._store, (event,))
        if act:
            self._start(msgspec.structs.replace(found, decision=decision))
        self._files.remove(path)
        return {"proposal": proposal, "rule": decision.rule, "acts": act}

    def _read(self, path: str) -> Reaction | None:
        content = self._files.read(path)
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=Reaction)
        except msgspec.MsgspecError:
            return None  # a damaged proposal can only be ignored
