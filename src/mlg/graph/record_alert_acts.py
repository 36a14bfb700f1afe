"""Events of what people do about alerts: acknowledge, hand over, silence, maintenance."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from mlg.core.clock import rfc3339
from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.uris import Uri
from mlg.graph.record import Recorder, edge, node

ACTS: Final = frozenset(("acknowledged", "handed_over"))
HOLDS: Final = frozenset(("silence", "maintenance"))


def alert_acted(
    recorder: Recorder,
    *,
    key: str,
    word: str,
    alert: Uri,
    note: str = "",
    to: str = "",
    at: datetime | None = None,
) -> Event:
    """Return the event that a person acknowledged an alert, or handed it over.

    Args:
        recorder: Whose event; its actor is the person.
        key: Idempotency key.
        word: `acknowledged` or `handed_over`.
        alert: Which alert.
        note: What the person said.
        to: Who has it now, for `handed_over`: a person, or `team:<name>`.
        at: When; None is now.

    Raises:
        ValueError: Unknown word.
    """
    if word not in ACTS:
        raise ValueError(f"unknown act on an alert {word!r}")
    attrs: dict[str, Attr] = {"owner": to, "handed_over_by": recorder.actor}
    attrs["handed_over_note"] = note
    if word == "acknowledged":
        attrs = {
            "acknowledged_by": recorder.actor,
            "acknowledged_at": rfc3339(at or recorder.clock.now()),
            "acknowledged_note": note,
        }
    return recorder.event(
        f"mlg.alert.{word}",
        key=key,
        subject=alert,
        nodes=[node(alert, attrs)],
        at=at,
    )


def hold_changed(
    recorder: Recorder,
    *,
    key: str,
    kind: str,
    id_: str,
    lifted: bool,
    facts: Mapping[str, Attr],
    at: datetime | None = None,
) -> Event:
    """Return the event that a silence or a maintenance window was set, or ended early.

    Args:
        recorder: Whose event; its actor is the person.
        key: Idempotency key.
        kind: `silence` or `maintenance`.
        id_: Its id.
        lifted: Whether it was ended before its time.
        facts: Matcher, times and reason.
        at: When; None is now.

    Raises:
        ValueError: Unknown kind.
    """
    if kind not in HOLDS:
        raise ValueError(f"unknown hold {kind!r}")
    subject = recorder.uri("policy", kind, id_)
    actor = recorder.uri("actor", recorder.actor)
    return recorder.event(
        f"mlg.{kind}.{'lifted' if lifted else 'set'}",
        key=key,
        subject=subject,
        nodes=[
            node(subject, dict(facts), name=f"{kind} {id_}", ended=lifted),
            node(actor, {}, name=recorder.actor),
        ],
        edges=[edge(actor, "caused", subject)],
        at=at,
    )
