"""Recording from steps that may run twice."""

from collections.abc import Sequence

from mlg.core.errors import ConflictError
from mlg.core.events import Event
from mlg.core.ports import GraphStore


def append_once(store: GraphStore, events: Sequence[Event]) -> None:
    """Append events whose keys are not there yet.

    A step that is run again makes the same keys with a later time; what the first
    run recorded stands.

    Raises:
        BackendError: The store could not write.
    """
    for event in events:
        try:
            store.append((event,))
        except ConflictError:
            continue
