from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.core.clock import ManualClock
from mlg.core.providers import Thing
from mlg.graph import mlflow
from mlg.graph.mlflow_fields import MOST
from mlg.graph.record import Recorder
from mlg.graph.states import state_events

AT = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = mlflow.Names(namespace="h:5000")


def test_metrics_that_json_cannot_hold_are_texts_and_whole_ones_integers() -> None:
    values = {"a": float("nan"), "b": float("inf"), "c": 2.0, "d": 0.5, "e": "NaN", "f": True}
    metrics = [{"key": key, "value": value} for key, value in values.items()]
    (told,) = mlflow.run(NAMES, {"info": {"run_id": "r"}, "data": {"metrics": metrics}}, AT)
    found = {key.removeprefix("metric."): value for key, value in told.attrs}
    assert found == {"a": "NaN", "b": "Infinity", "c": 2, "d": 0.5, "e": "NaN"}


def test_what_is_beyond_the_limit_is_counted() -> None:
    params = [{"key": f"p{n:04}", "value": "1"} for n in range(MOST + 7)]
    (told,) = mlflow.run(NAMES, {"info": {"run_id": "r"}, "data": {"params": params}}, AT)
    kept = [key for key, _ in told.attrs if key.startswith("param.")]
    assert len(kept) == MOST
    assert dict(told.attrs)["left_out"] == 7


def test_a_running_run_is_in_its_state_from_when_it_was_seen() -> None:
    info = {"run_id": "r", "start_time": 1_700_000_000_000, "end_time": 1_700_000_060_000}
    (over,) = mlflow.run(NAMES, {"info": {**info, "status": "FINISHED"}}, AT)
    (going,) = mlflow.run(NAMES, {"info": {**info, "status": "RUNNING"}}, AT)
    assert over.since == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert over.changed_at == datetime(2023, 11, 14, 22, 14, 20, tzinfo=UTC)
    assert going.changed_at is None
    assert "outcome" not in dict(going.attrs)


def test_a_thing_without_an_id_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        mlflow.run(NAMES, {"info": {}}, AT)
    with pytest.raises(ValueError, match="NAME/NUMBER"):
        mlflow.gone(NAMES, Thing(type="model_version", id="ranker"), AT)


ODD = st.sampled_from(
    [None, True, -1, 2**70, 1e400, "", "\0", "x" * 2_000, [], {}, [1], [[]], [{}],
     [{"key": "a"}], [{"key": "a", "value": []}], [{"key": "\0", "value": 2**70}],
     [{"key": 1, "value": "x" * 2_000}], [{"dataset": 1}],
     [{"dataset": {"name": "\0", "digest": 2**70, "schema": []}, "tags": [{"key": "k"}]}]]
)  # fmt: skip
WORDS = ("status", "start_time", "end_time", "experiment_id", "user_id", "run_name")
RUNS = st.fixed_dictionaries(
    {
        "info": st.dictionaries(st.sampled_from(WORDS), ODD),
        "data": ODD | st.dictionaries(st.sampled_from(["params", "metrics", "tags"]), ODD),
        "inputs": ODD | st.dictionaries(st.just("dataset_inputs"), ODD),
    }
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(RUNS)
def test_whatever_a_server_answers_is_told_or_left_out(found: dict[str, Any]) -> None:
    clock = ManualClock(AT)
    recorder = Recorder(project="p", actor="a", clock=clock, ids=Uuid7Ids(clock))
    found["info"]["run_id"] = "r"
    for told in mlflow.run(NAMES, found, AT):
        assert state_events(recorder, "mlflow", told, None)
