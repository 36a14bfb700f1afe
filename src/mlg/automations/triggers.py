"""Which events start which rule."""

from collections.abc import Iterable
from typing import Final

from mlg.automations.happened import event_data, event_pipeline, event_service
from mlg.core.events import Event
from mlg.manifest.specs_automations import TriggerSpec

ANY: Final = "any"

ALERT_OPENED: Final = "mlg.alert.opened"
ALERT_RELEASED: Final = "mlg.alert.released"
HELD: Final = ("held", "acknowledged_by")
"""Facts of an alert, empty or not there unless it starts nothing: silenced, in maintenance or
expected by the calendar; or released when a person knows of it already."""
ALERT_FACTS: Final = ("kind", "monitor", "feature", "metric")
"""Facts of an alert that `alert:` may name."""

ROLLOUT_PREFIX: Final = "mlg.rollout."
ROLLOUT_MOVES: Final = frozenset(("moved", "changed"))
"""Last words of rollout events whose fact `after` is the state; else the word itself is."""
ROLLOUT_STATES: Final[dict[str, str]] = {
    "promoted": "promoted",
    "swapped": "promoted",
    "rolled_back": "rolled_back",
    "paused": "paused",
    "failed": "failed",
}
"""Words and phases of rollouts -> the word of the manifest."""

RUN_TYPES: Final[dict[str, str]] = {"mlg.run.finished": "done", "mlg.run.failed": "failed"}
HEALTH_TYPE: Final = "mlg.deployment.health_changed"


def matches(trigger: TriggerSpec, event: Event) -> bool:
    """Return whether an event starts a rule with this trigger; `schedule` is never started."""
    if trigger.service not in {None, event_service(event)}:
        return False
    if trigger.pipeline not in {None, event_pipeline(event)}:
        return False
    if trigger.alert is not None:
        return _alert(trigger.alert, event)
    if trigger.confidence_drop is not None:
        of = {ANY, event_service(event)}
        return _alert("confidence_drop", event) and trigger.confidence_drop in of
    if trigger.rollout is not None:
        return rollout_state(event) in _wanted(trigger.rollout, ROLLOUT_STATES.values())
    if trigger.run is not None:
        return RUN_TYPES.get(event.type) in _wanted(trigger.run, RUN_TYPES.values())
    if trigger.health is not None:
        health = event_data(event).get("health")
        return event.type == HEALTH_TYPE and trigger.health in {ANY, health}
    return False


def rollout_state(event: Event) -> str | None:
    """Return the word for the state that a rollout came to, or None for other events."""
    if not event.type.startswith(ROLLOUT_PREFIX):
        return None
    word = event.type.removeprefix(ROLLOUT_PREFIX)
    if word in ROLLOUT_MOVES:
        word = str(event_data(event).get("after", ""))
    return ROLLOUT_STATES.get(word)


def _alert(wanted: str, event: Event) -> bool:
    if event.type not in {ALERT_OPENED, ALERT_RELEASED}:
        return False
    facts = event_data(event)
    if any(facts.get(name) for name in HELD):
        return False
    return wanted == ANY or wanted in {facts.get(key) for key in ALERT_FACTS}


def _wanted(word: str, known: Iterable[str]) -> set[str]:
    return set(known) if word == ANY else {word}
