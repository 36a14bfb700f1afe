"""What people tell rollouts, on the graph: who, what, why; also what was refused."""

import logging
from collections.abc import Callable

from mlg.core.errors import LifecycleError
from mlg.core.nodes import Attr
from mlg.core.ports import GraphStore
from mlg.graph import record_rollouts
from mlg.graph.record import Recorder
from mlg.workflows.record import append_once

logger = logging.getLogger("mlg.rollouts")


class ActsTold:
    """Records acts in the name of who said so; the same key is one event.

    Args:
        store: The event log.
        recorder: Gives a recorder in the name of an actor.
    """

    def __init__(self, store: GraphStore, recorder: Callable[[str], Recorder]) -> None:
        self._store, self._recorder = store, recorder

    def __call__(
        self,
        by: str,
        service: str,
        rollout: str,
        act: str,
        reason: str,
        *,
        key: str,
        **facts: Attr,
    ) -> None:
        """Record one act; a log that cannot be written holds nothing up, least a way back."""
        event = record_rollouts.rollout_asked(
            self._recorder(by),
            key=f"asked:{key}",
            service=service,
            rollout_id=rollout,
            act=act,
            reason=reason,
            facts={name: value for name, value in facts.items() if value},
        )
        try:
            append_once(self._store, (event,))
        except LifecycleError as error:
            logger.warning("%s by %s is not recorded: %s", act, by, error)
