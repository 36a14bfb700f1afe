"""Runs told as OpenLineage events give one graph, in whatever order they come."""

import copy
import itertools
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.test_graph_store import by_uri

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.core.clock import ManualClock
from mlg.graph.openlineage import to_event
from mlg.graph.openlineage_check import check
from mlg.graph.record import Recorder

FACET = {"_producer": "https://example.org/p", "_schemaURL": "https://example.org/s"}


class Ids:
    def __init__(self) -> None:
        self._next = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._next):09d}"


def told(run: int, step: int, state: str) -> dict[str, Any]:
    """Return one event of a run; what it reads, writes and says differs from step to step."""
    version = {**FACET, "datasetVersion": f"{run}.{step}"}
    own_parent = {
        **FACET,
        "run": {"runId": f"run-{run // 2}"},
        "job": {"namespace": "n", "name": f"job-{run // 2}"},
    }
    return {
        "eventTime": f"2026-01-01T00:{step // 2:02d}:00Z",  # some at the same instant
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
        "eventType": state,
        "run": {"runId": f"run-{run}", "facets": {"parent": own_parent}},
        "job": {"namespace": "n", "name": f"job-{run}"},
        "inputs": [{"namespace": "n", "name": f"table-{run}", "facets": {"version": version}}],
        "outputs": [{"namespace": "n", "name": f"table-{run + 1}"}] if step else [],
    }


EVENTS = [
    told(run, step, state)
    for run in range(3)
    for step, state in enumerate(("START", "RUNNING", "COMPLETE"))
]


def graph_of(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return nodes and arrows by URI; an arrow's event by its key, which no order changes."""
    clock = ManualClock()
    recorder = Recorder(project="p", actor="local:ada", clock=clock, ids=Ids())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.sqlite3"
        with SqliteGraph(path, clock) as store:
            made = [to_event(recorder, check(copy.deepcopy(event))) for event in events]
            for event in made:
                store.append([event])
        keys = {event.id: event.key for event in made}
        return [tuple(keys.get(cell, cell) for cell in row) for row in by_uri(path)]


EXPECTED = graph_of(EVENTS)


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(EVENTS), again=st.lists(st.sampled_from(EVENTS), max_size=3))
def test_any_order_and_any_repetition_give_the_same_graph(
    order: list[dict[str, Any]], again: list[dict[str, Any]]
) -> None:
    assert graph_of([*order, *again]) == EXPECTED


def test_the_graph_of_the_runs_is_the_one_told() -> None:
    arrows = {row[:3] for row in EXPECTED if len(row) == 7}
    uri = "mlg://{}/openlineage/n/{}"
    for run in range(3):
        itself = f"{uri.format('run', f'job-{run}')}@run-{run}"
        assert (uri.format("dataset", f"table-{run}"), "used", itself) in arrows
        assert (itself, "produced", uri.format("dataset", f"table-{run + 1}")) in arrows
