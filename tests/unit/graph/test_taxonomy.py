"""Every kind and every role has a recorder in the product, or a documented way in."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.story import Counter, whole_story
from tests.taxonomy import (
    ingested,
    kinds_of,
    made_kinds,
    made_triples,
    triples_of,
)

from mlg.core.clock import ManualClock
from mlg.core.nodes import ALLOWED, KINDS, ROLE_CLASS
from mlg.core.uris import parse_uri
from mlg.graph.record import Recorder
from mlg.graph.taxonomy import KIND_INGEST, KIND_MEANING, ROLE_INGEST, ROLE_MEANING

STARTS = datetime(2026, 1, 1, tzinfo=UTC)


def facet(**fields: Any) -> dict[str, Any]:
    where = {"_producer": "https://example.org/p", "_schemaURL": "https://example.org/s"}
    return {**where, **fields}


FOREIGN = {
    "eventTime": "2026-01-01T00:00:00Z",
    "producer": "https://example.org/p",
    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    "eventType": "COMPLETE",
    "run": {
        "runId": "01941f29-7c00-7b3c-8f3e-1f0c5d3b6a01",
        "facets": {
            "mlg_model_version": facet(model="ranker", version="v2", warm_started_from="v1"),
            "mlg_experiment": facet(experiment="home page", cell="b"),
        },
    },
    "job": {
        "namespace": "lab",
        "name": "train",
        "facets": {"ownership": facet(owners=[{"name": "team:data"}])},
    },
    "inputs": [],
    "outputs": [
        {
            "namespace": "s3://lake",
            "name": "users",
            "facets": {
                "schema": facet(fields=[{"name": "age", "type": "INT"}]),
                "columnLineage": facet(
                    fields={
                        "age": {
                            "inputFields": [
                                {"namespace": "s3://lake", "name": "raw", "field": "born"}
                            ]
                        }
                    }
                ),
            },
        }
    ],
}


def foreign_without(path: str) -> Any:
    """Return the foreign event without the facet that a path of the table names."""
    facet_name = path.rpartition(".")[2]

    def pruned(found: Any) -> Any:
        if isinstance(found, dict):
            return {k: pruned(v) for k, v in found.items() if k != facet_name}
        return [pruned(one) for one in found] if isinstance(found, list) else found

    return pruned(FOREIGN)


@pytest.fixture(scope="module")
def by() -> Recorder:
    return Recorder(project="p", actor="local:ada", clock=ManualClock(STARTS), ids=Counter())


def test_every_kind_and_role_has_its_line() -> None:
    assert set(KIND_MEANING) == KINDS
    assert set(ROLE_MEANING) == set(ROLE_CLASS)
    assert set(ALLOWED) == set(ROLE_CLASS)
    assert all(ALLOWED.values())
    named = {kind for pairs in ALLOWED.values() for pair in pairs for kind in pair}
    assert named == KINDS


def test_every_kind_is_recorded_or_named_as_written_by_others() -> None:
    made = set(made_kinds())
    assert KINDS - made <= set(KIND_INGEST), "a kind without a recorder needs a path"


def test_every_role_is_recorded_or_named_as_written_by_others() -> None:
    made = {role for _, role, _ in made_triples()}
    assert set(ROLE_CLASS) - made <= set(ROLE_INGEST), "a role without a recorder needs a path"


@pytest.mark.parametrize("kind", sorted(KIND_INGEST))
def test_what_others_write_comes_in_by_the_path_that_is_named(by: Recorder, kind: str) -> None:
    (event,) = ingested(by, [FOREIGN])
    assert kind in kinds_of(event)
    facets = {KIND_INGEST[kind].facet}
    if kind == "column":
        facets.add(ROLE_INGEST["column_derived_from"].facet)  # it names columns too
    content: Any = FOREIGN
    for path in facets:
        left = foreign_without(path)
        content = left if content is FOREIGN else _both(content, path)
    (without,) = ingested(by, [content])
    assert kind not in kinds_of(without)


def _both(content: Any, path: str) -> Any:
    name = path.rpartition(".")[2]
    outputs = [
        {**one, "facets": {k: v for k, v in one["facets"].items() if k != name}}
        for one in content["outputs"]
    ]
    return {**content, "outputs": outputs}


@pytest.mark.parametrize("role", sorted(ROLE_INGEST))
def test_arrows_of_others_come_in_by_the_path_that_is_named(by: Recorder, role: str) -> None:
    (event,) = ingested(by, [FOREIGN])
    assert role in {arrow.role for arrow in event.edges}
    (without,) = ingested(by, [foreign_without(ROLE_INGEST[role].facet)])
    left = {arrow.role for arrow in without.edges}
    assert role not in left or role == "column_of"  # column lineage names columns too


def test_a_facet_of_ours_of_another_shape_says_nothing(by: Recorder) -> None:
    wrong = {"mlg_model_version": facet(model=3, version="v"), "mlg_experiment": facet(cell="")}
    (event,) = ingested(by, [{**FOREIGN, "run": {**FOREIGN["run"], "facets": wrong}}])
    assert not {"model_version", "experiment", "experiment_cell"} & kinds_of(event)


def test_an_experiment_is_reached_from_the_data_behind_its_model(by: Recorder) -> None:
    (event,) = ingested(by, [FOREIGN])
    arrows = triples_of(event)
    assert ("run", "produced", "experiment_cell") in arrows
    assert ("model_version", "deployed_as", "experiment_cell") in arrows
    assert ("experiment", "version_of", "experiment_cell") in arrows
    assert ("model_version", "warm_started_from", "model_version") in arrows


def test_arrows_that_older_versions_drew_are_still_allowed() -> None:
    older = {
        ("run", "triggered", "step"), ("feature", "version_of", "feature_snapshot"),
        ("rollout", "triggered", "health_check"), ("dataset", "version_of", "dataset_version"),
        ("rollout", "triggered", "deployment"), ("alert", "caused", "incident"),
        ("incident", "healed_by", "run"), ("actor", "caused", "policy"),
    }  # fmt: skip
    assert all((src, dst) in ALLOWED[role] for src, role, dst in older)


def test_a_step_that_makes_a_table_has_no_run_above_it() -> None:
    made = made_triples()
    assert ("run", "part_of", "step") in made
    assert ("feature_snapshot", "used", "run") in made
    assert ROLE_CLASS["part_of"] == "version"
    story = whole_story()
    tables = {
        arrow.dst for event in story.events for arrow in event.edges if arrow.role == "part_of"
    }
    triggered = {
        arrow.dst
        for event in story.events
        for arrow in event.edges
        if arrow.role == "triggered" and parse_uri(arrow.dst).kind == "step"
    }
    assert tables
    assert triggered
    assert not tables & triggered
