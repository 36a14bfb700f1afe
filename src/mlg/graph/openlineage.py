"""OpenLineage events to events of the graph; pure.

A job is a `pipeline`, its run a `run`, a dataset a `dataset`; facets add versions, columns,
owners, commits and parents. A facet of an unexpected shape adds nothing and refuses nothing.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import quote

from mlg.core.columns import ROWS
from mlg.core.events import Event, NodeFact
from mlg.core.nodes import Attr
from mlg.core.uris import Uri, make_uri
from mlg.graph.openlineage_check import Checked, LineageEventError, original
from mlg.graph.record import Recorder, edge, node

PROVIDER: Final = "openlineage"
KEPT_BYTES: Final = 65_536
"""The original JSON is kept inside the event up to this size, else only its digest."""
MAX_URI: Final = 2_048
"""Longest URI in characters; databases index no longer ones."""

_TEXT: Final = 1_000
_OUTCOMES: Final = frozenset(("COMPLETE", "ABORT", "FAIL"))

Json = Mapping[str, Any]


class _Said:
    """What one OpenLineage event says; the same thing said twice is one fact."""

    def __init__(self) -> None:
        self._nodes: dict[Uri, tuple[str, dict[str, Attr]]] = {}
        self._edges: dict[tuple[Uri, str, Uri], None] = {}
        self.skipped = 0

    def node(self, uri: Uri, name: str, attrs: Mapping[str, Attr] | None = None) -> Uri:
        known = self._nodes.setdefault(uri, (_shown(name), {}))[1]
        known.update({key: one for key, one in (attrs or {}).items() if one is not None})
        return uri

    def edge(self, src: Uri, role: str, dst: Uri) -> None:
        self._edges[src, role, dst] = None

    def nodes(self) -> list[NodeFact]:
        return [node(uri, attrs, name=name) for uri, (name, attrs) in self._nodes.items()]

    def edges(self) -> list[Any]:
        return [edge(src, role, dst, provenance="observed") for src, role, dst in self._edges]


def to_event(recorder: Recorder, checked: Checked) -> Event:
    """Return what an OpenLineage event says, as an event of the graph.

    Args:
        recorder: Whose words these are, and the clock; its project is not used.
        checked: The event, from `openlineage_check.check`.

    Raises:
        LineageEventError: A name is empty, or too long for a URI.
    """
    content, said = checked.content, _Said()
    if checked.kind == "DatasetEvent":
        subject, _ = _dataset(said, content["dataset"], "$.dataset")
    else:
        subject = _work(said, content)
    text = original(checked)
    size = len(text.encode())
    facts: dict[str, Attr] = {
        "kind": checked.kind,
        "producer": _clean(content["producer"]),
        "schema_url": _clean(content["schemaURL"]),
        "event_sha256": checked.digest,
        "event_bytes": size,
    }
    if size <= KEPT_BYTES:
        facts["event"] = text
    if said.skipped:
        facts["columns_left_out"] = said.skipped
    return recorder.event(
        "mlg.lineage.received",
        key=f"openlineage:{checked.digest}",
        subject=subject,
        nodes=said.nodes(),
        edges=said.edges(),
        facts=facts,
        at=checked.at,
    )


def column_name(dataset: str, field: str) -> str:
    """Return the name part of a column's URI; the first `/` parts dataset and field.

    Examples:
        >>> column_name("db.orders", "id")
        'db.orders/id'
        >>> column_name("lake/orders", "a/b")
        'lake%2Forders/a/b'
    """
    return f"{quote(dataset, safe='')}/{field}"


def _work(said: _Said, content: Json) -> Uri:
    """Say a job with its run, if any, and what it reads and writes; return the subject."""
    job = content["job"]
    facets = _facets(job)
    pipeline = _job(said, job, "$.job")
    worker = pipeline
    if "run" in content:
        worker = _run(said, content, pipeline)
    version = _text(facets, "sourceCodeLocation", "version")
    repository = _text(facets, "sourceCodeLocation", "repoUrl") or _text(
        facets, "sourceCodeLocation", "url"
    )
    if version and repository:
        commit = _uri("commit", repository, version, None, "$.job.facets.sourceCodeLocation")
        said.node(commit, version, {"url": _clip(_text(facets, "sourceCodeLocation", "url"))})
        said.edge(commit, "used", worker)
    for place, one in enumerate(content.get("inputs", ())):
        plain, versioned = _dataset(said, one, f"$.inputs[{place}]")
        for uri in filter(None, (plain, versioned)):
            said.edge(uri, "used", worker)
    for place, one in enumerate(content.get("outputs", ())):
        plain, versioned = _dataset(said, one, f"$.outputs[{place}]")
        for uri in filter(None, (plain, versioned)):
            said.edge(worker, "produced", uri)
    return worker


def _job(said: _Said, job: Json, where: str) -> Uri:
    uri = _uri("pipeline", job["namespace"], job["name"], None, where)
    facets = _facets(job)
    said.node(
        uri,
        job["name"],
        {
            "namespace": _clip(job["namespace"]),
            "processing_type": _clip(_text(facets, "jobType", "processingType")),
            "integration": _clip(_text(facets, "jobType", "integration")),
            "job_type": _clip(_text(facets, "jobType", "jobType")),
            "description": _clip(_text(facets, "documentation", "description")),
        },
    )
    _owners(said, facets, uri)
    return uri


def _run(said: _Said, content: Json, pipeline: Uri) -> Uri:
    job, run = content["job"], content["run"]
    facets = _facets(run)
    state = content.get("eventType")
    uri = _uri("run", job["namespace"], job["name"], run["runId"], "$.run.runId")
    said.node(
        uri,
        f"{job['name']}@{run['runId']}",
        {
            "state": state if state != "OTHER" else None,
            "outcome": state if state in _OUTCOMES else None,
            "error": _clip(_text(facets, "errorMessage", "message")),
            "error_language": _clip(_text(facets, "errorMessage", "programmingLanguage")),
            "nominal_start": _clip(_text(facets, "nominalTime", "nominalStartTime")),
            "nominal_end": _clip(_text(facets, "nominalTime", "nominalEndTime")),
            "engine": _clip(_text(facets, "processing_engine", "name")),
            "engine_version": _clip(_text(facets, "processing_engine", "version")),
        },
    )
    said.edge(pipeline, "version_of", uri)
    names = tuple(
        _text(facets, "parent", *path)
        for path in (("job", "namespace"), ("job", "name"), ("run", "runId"))
    )
    if all(names):
        namespace, name, run_id = cast("tuple[str, str, str]", names)
        where = "$.run.facets.parent"
        parent = _uri("run", namespace, name, run_id, where)
        said.node(parent, f"{name}@{run_id}")
        above = said.node(
            _uri("pipeline", namespace, name, None, where),
            name,
            {"namespace": _clip(namespace)},
        )
        said.edge(above, "version_of", parent)
        said.edge(parent, "triggered", uri)
    return uri


def _dataset(said: _Said, found: Json, where: str) -> tuple[Uri, Uri | None]:
    """Say a dataset, its version and its columns; return the URIs of the first two."""
    namespace, name, facets = found["namespace"], found["name"], _facets(found)
    uri = _uri("dataset", namespace, name, None, where)
    said.node(
        uri,
        name,
        {
            "namespace": _clip(namespace),
            "description": _clip(_text(facets, "documentation", "description")),
            "lifecycle": _clip(_text(facets, "lifecycleStateChange", "lifecycleStateChange")),
            "storage": _clip(_text(facets, "storage", "storageLayer")),
            "format": _clip(_text(facets, "storage", "fileFormat")),
        },
    )
    _owners(said, facets, uri)
    version = _text(facets, "version", "datasetVersion")
    versioned = None
    if version:
        versioned = _uri("dataset_version", namespace, name, version, f"{where}.facets.version")
        said.node(versioned, f"{name}@{version}")
        said.edge(uri, "version_of", versioned)
    _columns(said, facets, namespace, name, uri)
    _column_lineage(said, facets, namespace, name, uri)
    return uri, versioned


def _columns(said: _Said, facets: Json, namespace: str, name: str, dataset: Uri) -> None:
    for field, type_ in _fields(_dict(facets.get("schema")).get("fields"), ""):
        column = _column(said, namespace, name, field, {"type": _clip(type_)})
        if column is not None:
            said.edge(column, "column_of", dataset)


def _fields(found: Any, above: str) -> Iterator[tuple[str, str | None]]:
    """Yield each field and its type; a field of a struct is named `struct.field`."""
    for one in _dicts(found):
        field = one.get("name")
        if isinstance(field, str):
            yield f"{above}{field}", _text(one, "type")
            yield from _fields(one.get("fields"), f"{above}{field}.")


def _column_lineage(said: _Said, facets: Json, namespace: str, name: str, dataset: Uri) -> None:
    facet = _dict(facets.get("columnLineage"))
    columns: list[Uri] = []
    for field, told in _dict(facet.get("fields")).items():
        column = _column(said, namespace, name, field)
        if column is None:
            continue
        said.edge(column, "column_of", dataset)
        columns.append(column)
        _derived(said, _dict(told).get("inputFields"), column)
    decided = list(_sources(said, facet.get("dataset")))
    for _, source, _ in decided:
        said.edge(source, "derived_from", dataset)
    if decided:
        rows = said.node(
            make_uri("column", namespace, column_name(name, ROWS), provider=PROVIDER),
            f"rows of {name}",
        )
        said.edge(rows, "column_of", dataset)
        _derived(said, facet.get("dataset"), rows)
        for column in columns:
            said.edge(rows, "column_derived_from", column)


def _derived(said: _Said, found: Any, column: Uri) -> None:
    """Say what a column comes from, and how, as mlg says it of its own pipelines."""
    how: list[dict[str, str]] = []
    for source, _, one in _sources(said, found):
        said.edge(source, "column_derived_from", column)
        kinds = [
            {key: _clean(kind) for key in ("type", "subtype") if (kind := _text(told, key))}
            for told in _dicts(one.get("transformations"))
        ]
        how += [{"column": source, **kind} for kind in kinds or [{}]]
    if how:
        text = json.dumps(how, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        said.node(column, "", {"transformations": text, "lineage": "exact"})


def _sources(said: _Said, found: Any) -> Iterator[tuple[Uri, Uri, Json]]:
    """Yield the columns that input fields name, each with its dataset and what was said."""
    for one in _dicts(found):
        names = (_text(one, "namespace"), _text(one, "name"), _text(one, "field"))
        if not all(names):
            continue
        namespace, name, field = cast("tuple[str, str, str]", names)
        where = "$.outputs.facets.columnLineage"
        dataset = _uri("dataset", namespace, name, None, where)
        said.node(dataset, name, {"namespace": _clip(namespace)})
        column = _column(said, namespace, name, field)
        if column is not None:
            said.edge(column, "column_of", dataset)
            yield column, dataset, one


def _column(
    said: _Said,
    namespace: str,
    name: str,
    field: str,
    attrs: Mapping[str, Attr] | None = None,
) -> Uri | None:
    """Say a column, or count it as left out when its name is empty or too long."""
    if not field:
        said.skipped += 1
        return None
    uri = make_uri("column", namespace, column_name(name, field), provider=PROVIDER)
    if len(uri) > MAX_URI:
        said.skipped += 1
        return None
    return said.node(uri, field, attrs)


def _owners(said: _Said, facets: Json, owned: Uri) -> None:
    for one in _dicts(_dict(facets.get("ownership")).get("owners")):
        name = _text(one, "name")
        if name:
            team = _uri("team", "owners", name, None, "$.facets.ownership")
            said.node(team, name)
            said.edge(team, "owned_by", owned)


def _uri(kind: str, namespace: str, name: str, version: str | None, where: str) -> Uri:
    try:
        uri = make_uri(kind, namespace, name, version, provider=PROVIDER)
    except ValueError as wrong:
        raise LineageEventError(f"a {kind} needs names that are not empty", where) from wrong
    if len(uri) > MAX_URI:
        raise LineageEventError(
            f"the names of a {kind} give a URI of {len(uri)} characters, at most {MAX_URI}",
            where,
        )
    return uri


def _facets(found: Json) -> Json:
    """Return the facets that are there and were not deleted."""
    return {
        name: facet
        for name, facet in _dict(found.get("facets")).items()
        if _dict(facet).get("_deleted") is not True
    }


def _dict(found: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _dicts(found: Any) -> Iterator[dict[str, Any]]:
    for one in cast("list[Any]", found) if isinstance(found, list) else ():
        if isinstance(one, dict):
            yield cast("dict[str, Any]", one)


def _text(found: Any, *path: str) -> str | None:
    for name in path:
        found = _dict(found).get(name)
    return found if isinstance(found, str) else None


def _clip(text: str | None) -> str | None:
    return None if text is None else _clean(text)


def _clean(text: str) -> str:
    return _shown(text)[:_TEXT]


def _shown(text: str) -> str:
    """Return text without NUL, which no database takes."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
