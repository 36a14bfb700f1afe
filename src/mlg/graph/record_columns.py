"""Events of columns: what a table's columns come from, and what a model reads of them.

A column is a node of its dataset, not of one version, so that `impact` of it finds every
model that ever read it. Only what changed since the graph last heard of the table is said.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlg.core.artifacts import Column, Snapshot
from mlg.core.columns import MOST_COLUMNS, ROWS, ColumnLineage, ColumnSource
from mlg.core.errors import NotFoundError
from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.nodes import Attr, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import WalkOptions
from mlg.core.uris import Uri
from mlg.graph.openlineage import MAX_URI, column_name
from mlg.graph.record import Recorder, edge, model_uri, node

_KEPT: Final = (
    "dataset",
    "type",
    "description",
    "lineage",
    "lineage_reason",
    "transformations",
)


def column_uri(recorder: Recorder, dataset: str, column: str) -> Uri:
    """Return `column <dataset>/<column>`; `ROWS` gives the set of rows of the dataset."""
    return recorder.uri("column", column_name(dataset, column))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRead:
    """One column that a train step reads."""

    table: str
    column: str
    feature: bool
    """Whether it is an input of the model, not a key, a time or a label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the graph has of a table's columns."""

    columns: Mapping[Uri, dict[str, Attr]]
    """Attributes by column, the set of rows among them."""
    of_version: frozenset[Uri]


def columns_recorded(
    recorder: Recorder,
    reader: GraphReader,
    *,
    key: str,
    snapshot: Snapshot,
    version: Uri,
    lineage: ColumnLineage | None = None,
    source: str | None = None,
    descriptions: Mapping[str, str] | None = None,
) -> Event | None:
    """Return the event that says what is new about a table's columns, or None.

    Args:
        recorder: Whose event.
        reader: What the graph knows already.
        key: Idempotency key.
        snapshot: The table.
        version: Its node.
        lineage: Where the columns come from; None where nothing tells.
        source: URI text of where the table was read from, when it comes from outside.
        descriptions: What columns mean, by name.
    """
    dataset = recorder.uri("dataset", snapshot.dataset)
    known = _known(reader, dataset, version)
    kept = [
        column
        for column in snapshot.schema[:MOST_COLUMNS]
        if len(column_uri(recorder, snapshot.dataset, column.name)) <= MAX_URI
    ]
    wanted = _wanted(recorder, snapshot.dataset, kept, lineage, descriptions or {})
    rows = column_uri(recorder, snapshot.dataset, ROWS)
    nodes: list[NodeFact] = []
    edges: list[EdgeFact] = []
    origin = None if source is None else recorder.uri("source", source)
    for uri, (name, attrs) in wanted.items():
        former = known.columns.get(uri)
        if former is None:
            edges.append(edge(uri, "column_of", dataset))
            if uri != rows:
                edges.append(edge(rows, "column_derived_from", uri))
            elif origin is not None:
                edges.append(edge(origin, "derived_from", uri))
        if former is None or {k: former.get(k) for k in _KEPT} != attrs:
            told = {k: v for k, v in attrs.items() if v is not None or k in (former or {})}
            nodes.append(node(uri, told, name=name))
            edges += _sources(uri, former or {}, attrs)
        if uri != rows and uri not in known.of_version:
            edges.append(edge(uri, "column_of", version, provenance="observed"))
    for uri in sorted(known.columns.keys() - wanted.keys()):
        nodes.append(node(uri, {}, ended=True))
        edges += [edge(uri, "column_of", dataset, ended=True)]
        edges += [edge(rows, "column_derived_from", uri, ended=True)] if uri != rows else []
        edges += _sources(uri, known.columns[uri], {})
    if not nodes and not edges:
        return None
    facts: dict[str, Attr] = {"lineage": lineage.state if lineage else None}
    if len(kept) < len(snapshot.schema):
        facts["columns_left_out"] = len(snapshot.schema) - len(kept)
    return recorder.event(
        "mlg.columns.recorded",
        key=key,
        subject=version,
        nodes=nodes,
        edges=edges,
        facts=facts,
    )


def model_columns_recorded(
    recorder: Recorder,
    *,
    key: str,
    model: str,
    version: str,
    reads: Iterable[ModelRead],
) -> Event:
    """Return the event that says which features and other columns a model was trained on.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        model: Name.
        version: Which version.
        reads: What its train step reads.
    """
    subject = model_uri(recorder, model, version)
    nodes: dict[Uri, NodeFact] = {}
    edges: dict[EdgeFact, None] = {}
    for read in reads:
        column = column_uri(recorder, read.table, read.column)
        rows = column_uri(recorder, read.table, ROWS)
        edges[edge(rows, "trained_on", subject)] = None
        if not read.feature:
            edges[edge(column, "trained_on", subject)] = None
            continue
        feature = recorder.uri("feature", column_name(read.table, read.column))
        nodes[feature] = node(
            feature, {"dataset": read.table, "column": read.column}, name=read.column
        )
        edges[edge(column, "column_derived_from", feature)] = None
        edges[edge(feature, "trained_on", subject)] = None
    return recorder.event(
        "mlg.model_version.columns_recorded",
        key=key,
        subject=subject,
        nodes=tuple(nodes.values()),
        edges=tuple(edges),
    )


def transformations(attrs: Mapping[str, Attr]) -> tuple[dict[str, str], ...]:
    """Return what a column node says of its sources: `{"column", "type", "subtype"}` each.

    Examples:
        >>> transformations({"transformations": '[{"column":"c","type":"DIRECT"}]'})
        ({'column': 'c', 'type': 'DIRECT'},)
        >>> transformations({"transformations": "{"})
        ()
    """
    text = attrs.get("transformations")
    try:
        found: Any = json.loads(text) if isinstance(text, str) else []
    except ValueError:
        return ()
    listed: list[Any] = found if isinstance(found, list) else []
    return tuple(one for one in listed if isinstance(one, dict) and "column" in one)


def _known(reader: GraphReader, dataset: Uri, version: Uri) -> _Known:
    options = WalkOptions(roles=("column_of",), depth=1)
    found: list[list[Node]] = []
    for uri in (dataset, version):
        try:
            walk = reader.walk(uri, "up", options)
        except NotFoundError:
            found.append([])
            continue
        found.append([reached.node for reached in walk.nodes if reached.depth == 1])
    return _Known(
        columns={one.uri: dict(one.attrs) for one in found[0]},
        of_version=frozenset(one.uri for one in found[1]),
    )


def _wanted(
    recorder: Recorder,
    dataset: str,
    columns: Sequence[Column],
    lineage: ColumnLineage | None,
    descriptions: Mapping[str, str],
) -> dict[Uri, tuple[str, dict[str, Attr]]]:
    """Return name and attributes of the rows and of each column, all of `_KEPT` present."""
    told = dict(lineage.columns) if lineage else {}
    hidden = set(lineage.opaque) if lineage else set[str]()
    state = lineage.state if lineage else None
    empty: dict[str, Attr] = dict.fromkeys(_KEPT)
    rows = empty | {
        "dataset": dataset,
        "lineage": state,
        "lineage_reason": (lineage.reason or None) if lineage else None,
        "transformations": _text(recorder, lineage.rows if lineage else ()),
    }
    wanted = {column_uri(recorder, dataset, ROWS): (f"rows of {dataset}", rows)}
    for column in columns:
        own = "opaque" if column.name in hidden else "exact" if column.name in told else state
        wanted[column_uri(recorder, dataset, column.name)] = (
            column.name,
            empty
            | {
                "dataset": dataset,
                "type": column.type,
                "description": descriptions.get(column.name) or None,
                "lineage": own,
                "transformations": _text(recorder, told.get(column.name, ())),
            },
        )
    return wanted


def _text(recorder: Recorder, sources: Iterable[ColumnSource]) -> str | None:
    """Return sources as JSON text; None for none."""
    listed = [
        {
            "column": column_uri(recorder, one.table, one.column),
            "type": one.type,
            "subtype": one.subtype,
        }
        for one in sources
        if len(column_uri(recorder, one.table, one.column)) <= MAX_URI
    ]
    return (
        json.dumps(listed, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        if listed
        else None
    )


def _sources(
    column: Uri, former: Mapping[str, Attr], now: Mapping[str, Attr]
) -> list[EdgeFact]:
    """Return the arrows to a column that begin and those that end."""
    before = {one["column"] for one in transformations(former)}
    after = {one["column"] for one in transformations(now)}
    provenance = "observed" if now.get("lineage") == "exact" else "inferred"
    role = "column_derived_from"
    return [
        *(
            edge(Uri(one), role, column, provenance=provenance)
            for one in sorted(after - before)
        ),
        *(edge(Uri(one), role, column, ended=True) for one in sorted(before - after)),
    ]
