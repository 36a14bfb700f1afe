from typing import Any

import pytest

from mlg.automations.happened import event_data
from mlg.automations.triggers import matches
from mlg.manifest.specs_automations import TriggerSpec

ALERT = {"kind": "confidence_drop", "monitor": "home-features", "service": "home"}
CASES = [
    ({"alert": "confidence_drop"}, {"attrs": ALERT}, True),
    ({"alert": "home-features"}, {"attrs": ALERT}, True),
    ({"alert": "any"}, {"data": {"kind": "input_drift"}}, True),
    ({"alert": "input_drift"}, {"attrs": ALERT}, False),
    ({"alert": "home"}, {"attrs": ALERT}, False),
    ({"alert": "any"}, {"type_": "mlg.alert.closed", "attrs": ALERT}, False),
    ({"alert": "any"}, {"type_": "mlg.alert.released", "attrs": ALERT}, True),
    ({"alert": "any"}, {"type_": "mlg.alert.held", "attrs": ALERT}, False),
    ({"alert": "any"}, {"attrs": {**ALERT, "held": "silence s-1"}}, False),
    ({"alert": "any"}, {"attrs": {**ALERT, "held": ""}}, True),
    (
        {"alert": "any"},
        {"type_": "mlg.alert.released", "attrs": {**ALERT, "acknowledged_by": "ada"}},
        False,
    ),
    ({"confidence_drop": "any"}, {"attrs": {**ALERT, "held": "the calendar"}}, False),
    ({"alert": "any", "service": "home"}, {"attrs": ALERT}, True),
    ({"alert": "any", "service": "other"}, {"attrs": ALERT}, False),
    ({"confidence_drop": "home"}, {"attrs": ALERT}, True),
    ({"confidence_drop": "any"}, {"attrs": ALERT}, True),
    ({"confidence_drop": "other"}, {"attrs": ALERT}, False),
    ({"confidence_drop": "home"}, {"attrs": {**ALERT, "kind": "input_drift"}}, False),
    ({"rollout": "promoted"}, {"type_": "mlg.rollout.promoted"}, True),
    ({"rollout": "rolled_back"}, {"type_": "mlg.rollout.rolled_back"}, True),
    ({"rollout": "paused"}, {"type_": "mlg.rollout.moved", "data": {"after": "paused"}}, True),
    (
        {"rollout": "promoted"},
        {"type_": "mlg.rollout.moved", "data": {"after": "swapped"}},
        True,
    ),
    ({"rollout": "any"}, {"type_": "mlg.rollout.moved", "data": {"after": "canary"}}, False),
    ({"rollout": "any"}, {"type_": "mlg.run.failed"}, False),
    (
        {"rollout": "any", "service": "home"},
        {"type_": "mlg.rollout.paused", "kind": "rollout", "name": "home"},
        True,
    ),
    ({"run": "failed"}, {"type_": "mlg.run.failed", "kind": "run", "name": "ranker"}, True),
    ({"run": "done"}, {"type_": "mlg.run.finished"}, True),
    ({"run": "done"}, {"type_": "mlg.run.failed"}, False),
    ({"run": "any"}, {"type_": "mlg.run.started"}, False),
    (
        {"run": "any", "pipeline": "ranker"},
        {"type_": "mlg.run.failed", "kind": "run", "name": "ranker"},
        True,
    ),
    (
        {"run": "any", "pipeline": "ranker"},
        {"type_": "mlg.run.failed", "kind": "run", "name": "other"},
        False,
    ),
    (
        {"health": "unhealthy"},
        {"type_": "mlg.deployment.health_changed", "attrs": {"health": "unhealthy"}},
        True,
    ),
    (
        {"health": "unhealthy"},
        {"type_": "mlg.deployment.health_changed", "attrs": {"health": "healthy"}},
        False,
    ),
    (
        {"health": "any", "service": "home"},
        {
            "type_": "mlg.deployment.health_changed",
            "subject": "mlg://deployment/mlg/movies/home@d1",
        },
        True,
    ),
    ({"schedule": "* * * * *"}, {"attrs": ALERT}, False),
    ({"alert": "any", "service": "home"}, {"subject": "no uri"}, False),
]


@pytest.mark.parametrize(("trigger", "happened", "starts"), CASES)
def test_what_starts_a_rule(trigger: Any, happened: Any, starts: bool, event: Any) -> None:
    assert matches(TriggerSpec(**trigger), event(**happened)) is starts


def test_the_events_own_data_stand_above_its_subjects_attributes(event: Any) -> None:
    found = event_data(event(attrs={"a": 1, "b": 2}, data={"b": 3}))
    assert found == {"a": 1, "b": 3}
