"""Events of the graph to OpenLineage run events: what others are told of our runs; pure.

A run or a step is a run of OpenLineage, its pipeline or step the job. What was made is an
output dataset with its version, also a model and an image. An act that belongs to a run but
is neither its beginning nor its end, such as a model's registration, is an event of type
OTHER of that run.
"""

from collections.abc import Iterable
from typing import Any, Final

from mlg.core.clock import rfc3339
from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.ports import GraphReader
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Uri, make_uri, parse_uri
from mlg.graph.openlineage_facets import dataset, facet, numbered
from mlg.graph.openlineage_names import job_name, repository_url, run_id

Json = dict[str, Any]

SCHEMA_URL: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"

_RUNS: Final = {
    "mlg.run.started": "START",
    "mlg.run.logged": "OTHER",
    "mlg.run.finished": "COMPLETE",
    "mlg.run.failed": "FAIL",
    "mlg.step.started": "START",
    "mlg.step.finished": "COMPLETE",
    "mlg.step.cached": "COMPLETE",
    "mlg.step.failed": "FAIL",
}
_OF_RUNS: Final = frozenset(
    ("mlg.model_version.registered", "mlg.model_version.packaged", "mlg.evaluation.recorded")
)
_COLUMNS: Final = "mlg.columns.recorded"
"""What is new about a table's columns; its subject is the table's version."""
_READ: Final = frozenset(("used", "trained_on", "evaluated_on"))
_DATA: Final = frozenset(
    ("dataset", "dataset_version", "feature_snapshot", "model_version", "image", "source")
)
_WORK: Final = frozenset(("run", "step"))


def producer_of(version: str) -> str:
    """Return the URI of the program that says so.

    Examples:
        >>> producer_of("0.1.0")
        'pkg:generic/mlg@0.1.0'
    """
    return f"pkg:generic/mlg@{version}"


def emitted(event: Event, reader: GraphReader, *, version: str) -> Json | None:
    """Return what others are told of an event, or None when it is about no run.

    Args:
        event: An event of the log, already on the graph.
        reader: The graph, for what it knows of data, owners and commits.
        version: Our own version.

    Returns:
        A run event that keeps the OpenLineage specification 2-0-2.
    """
    state, worker = _RUNS.get(event.type, "OTHER"), _worker(event, reader)
    if worker is None:
        return None
    attrs = {key: value for one in event.nodes if one.uri == worker for key, value in one.attrs}
    if attrs.get("verdict") == "rejected":
        state = "ABORT"
    producer = producer_of(version)
    named = job_name(worker)
    inputs, outputs = _data(event, reader, worker)
    return {
        "eventTime": rfc3339(event.at),
        "eventType": state,
        "producer": producer,
        "schemaURL": SCHEMA_URL,
        "run": {
            "runId": run_id(worker),
            "facets": _run_facets(producer, event, worker, state, attrs, version),
        },
        "job": {
            "namespace": named.namespace,
            "name": named.name,
            "facets": _job_facets(producer, reader, worker),
        },
        "inputs": [dataset(producer, reader, uri, output=False) for uri in inputs],
        "outputs": [dataset(producer, reader, uri, output=True) for uri in outputs],
    }


def _worker(event: Event, reader: GraphReader) -> Uri | None:
    """Return the run or step that the event is about."""
    if event.type == _COLUMNS:
        return _maker(reader, event.subject)
    if event.type in _RUNS:
        return event.subject if parse_uri(event.subject).kind in _WORK else None
    if event.type not in _OF_RUNS:
        return None
    ends = [one.src for one in event.edges if one.role == "produced"]
    ends += [one.dst for one in event.edges if one.role == "used"]
    return next((uri for uri in ends if parse_uri(uri).kind in _WORK), None)


def _maker(reader: GraphReader, made: Uri) -> Uri | None:
    """Return the run or step that made a table, the first by URI."""
    if not reader.nodes(NodeQuery(uri=made)).nodes:
        return None
    walk = reader.walk(made, "up", WalkOptions(roles=("produced",), depth=1, limit=100))
    found = [one.node.uri for one in walk.nodes if one.node.kind in _WORK]
    return min(found, default=None)


def _data(event: Event, reader: GraphReader, worker: Uri) -> tuple[list[Uri], list[Uri]]:
    """Return what the event says was read and made, each once, in its order."""
    if event.type == _COLUMNS:
        return [], [event.subject]
    made = [one.dst for one in event.edges if one.role == "produced" and one.src == worker]
    read = [one.src for one in event.edges if one.role in _READ and one.dst != one.src]
    if event.type == "mlg.model_version.packaged":
        read.append(event.subject)
    if event.type == "mlg.step.finished":
        read += [source for uri in made for source in _sources(reader, uri)]
    made = list(_kept(made))
    return [uri for uri in _kept(read) if uri not in made], made


def _kept(found: Iterable[Uri]) -> Iterable[Uri]:
    return dict.fromkeys(uri for uri in found if parse_uri(uri).kind in _DATA)


def _sources(reader: GraphReader, uri: Uri) -> list[Uri]:
    """Return the sources that a table was read from."""
    if parse_uri(uri).kind not in {"dataset_version", "feature_snapshot"}:
        return []
    walk = reader.walk(uri, "up", WalkOptions(roles=("derived_from",), depth=1, limit=100))
    return sorted(one.node.uri for one in walk.nodes if one.node.kind == "source")


def _run_facets(
    producer: str, event: Event, worker: Uri, state: str, attrs: dict[str, Attr], version: str
) -> Json:
    made: Json = {
        "processing_engine": facet(producer, "processing_engine", name="mlg", version=version)
    }
    if parse_uri(worker).kind == "step":
        made["parent"] = _parent(producer, worker)
        made["mlg_step"] = _step(producer, event, worker, attrs)
    else:
        if state == "START":
            made["nominalTime"] = facet(
                producer, "nominalTime", nominalStartTime=rfc3339(event.at)
            )
        made["mlg_run"] = _run(producer, event, worker, attrs)
    params = numbered(attrs, "param.")
    if params:
        made["executionParameters"] = facet(
            producer,
            "executionParameters",
            parameters=[{"key": key, "value": str(value)} for key, value in params.items()],
        )
    if state == "FAIL":
        where, what = attrs.get("where"), attrs.get("what") or "failed"
        made["errorMessage"] = facet(
            producer,
            "errorMessage",
            message=f"{where}: {what}" if where else str(what),
            programmingLanguage="python",
        )
    if event.type == "mlg.model_version.registered":
        made["mlg_model_version"] = _model_version(producer, event)
    if event.type == "mlg.evaluation.recorded":
        made["mlg_evaluation"] = _evaluation(producer, event)
    return made


def _run(producer: str, event: Event, worker: Uri, attrs: dict[str, Attr]) -> Json:
    causes = [one.src for one in event.edges if one.role == "triggered" and one.dst == worker]
    return facet(
        producer,
        "mlg_run",
        uri=worker,
        event=event.id,
        verdict=attrs.get("verdict"),
        failedStep=attrs.get("failed_step") or None,
        folder=attrs.get("folder"),
        triggeredBy=causes[0] if causes else None,
        metrics=numbered(attrs, "metric."),
    )


def _step(producer: str, event: Event, worker: Uri, attrs: dict[str, Attr]) -> Json:
    cached = event.type == "mlg.step.cached"
    return facet(
        producer,
        "mlg_step",
        uri=worker,
        event=event.id,
        code=attrs.get("code"),
        cached=cached or None,
        takenFromCache=str(attrs.get("outputs") or "").split() if cached else None,
        seconds=attrs.get("seconds"),
        metrics=numbered(attrs, "metric."),
    )


def _evaluation(producer: str, event: Event) -> Json:
    told = {key: value for fact in event.nodes if fact.uri == event.subject
            for key, value in fact.attrs}  # fmt: skip
    return facet(
        producer,
        "mlg_evaluation",
        uri=event.subject,
        passed=told.get("passed"),
        metrics=numbered(told, "metric."),
    )


def _model_version(producer: str, event: Event) -> Json:
    """Return which model the run made, as another instance of mlg takes it in."""
    parts = parse_uri(event.subject)
    before = [one.src for one in event.edges if one.role == "warm_started_from"]
    return facet(
        producer,
        "mlg_model_version",
        model=parts.name,
        version=parts.version,
        warm_started_from=parse_uri(before[0]).version if before else None,
    )


def _parent(producer: str, step: Uri) -> Json:
    run = _run_of(step)
    above = job_name(run)
    told = {
        "run": {"runId": run_id(run)},
        "job": {"namespace": above.namespace, "name": above.name},
    }
    return facet(producer, "parent", **told, root=told)


def _run_of(step: Uri) -> Uri:
    parts = parse_uri(step)
    pipeline = parts.name.rpartition("/")[0]
    return make_uri("run", parts.namespace, pipeline, parts.version, provider=parts.provider)


def _job_facets(producer: str, reader: GraphReader, worker: Uri) -> Json:
    kind = "PIPELINE" if parse_uri(worker).kind == "run" else "STEP"
    if kind == "STEP":
        page = reader.nodes(NodeQuery(uri=worker))
        said = dict(page.nodes[0].attrs).get("step_kind") if page.nodes else None
        kind = str(said).upper() if said else kind
    made = {
        "jobType": facet(
            producer,
            "jobType",
            processingType="BATCH",
            integration="MLG",
            jobType=kind,
            emissionPattern={
                "eventTrigger": "EVENT_BASED",
                "eventContentMode": "ACCUMULATIVE",
            },
        )
    }
    location = _code_location(producer, reader, worker)
    if location:
        made["sourceCodeLocation"] = location
    return made


def _code_location(producer: str, reader: GraphReader, worker: Uri) -> Json | None:
    """Return where the code of a run lies, when the graph knows its commit and repository."""
    run = worker if parse_uri(worker).kind == "run" else _run_of(worker)
    if not reader.nodes(NodeQuery(uri=run)).nodes:
        return None
    walk = reader.walk(run, "up", WalkOptions(roles=("triggered", "used"), depth=1, limit=100))
    for reached in sorted(walk.nodes, key=lambda one: one.node.uri):
        parts = parse_uri(reached.node.uri)
        if parts.kind != "commit" or reached.depth != 1:
            continue
        own = parts.provider == "mlg"
        repository, commit = (
            (parts.name, parts.version) if own else (parts.namespace, parts.name)
        )
        url = repository_url(repository)
        if commit and url:
            return facet(
                producer,
                "sourceCodeLocation",
                type="git",
                url=url,
                repoUrl=repository,
                version=commit,
            )
    return None
