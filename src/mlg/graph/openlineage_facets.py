"""Facets of OpenLineage as values: the published ones by version, and our own `mlg_…`.

Our own are described in `schemas/openlineage-mlg-1-0-0.json`.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mlg.core.nodes import Attr, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Uri, parse_uri
from mlg.graph.openlineage_names import Named, column_of, dataset_name

Json = dict[str, Any]

_SPEC: Final = "https://openlineage.io/spec/facets"
_OWN: Final = "urn:mlg:openlineage:facets:1-0-0"

_PUBLISHED: Final = {
    "columnLineage": ("1-2-0", "ColumnLineageDatasetFacet"),
    "datasetType": ("1-0-1", "DatasetTypeDatasetFacet"),
    "version": ("1-0-1", "DatasetVersionDatasetFacet"),
    "documentation": ("1-1-0", "DocumentationDatasetFacet"),
    "errorMessage": ("1-0-1", "ErrorMessageRunFacet"),
    "executionParameters": ("1-0-0", "ExecutionParametersRunFacet"),
    "inputStatistics": ("1-0-0", "InputStatisticsInputDatasetFacet"),
    "jobType": ("2-0-4", "JobTypeJobFacet"),
    "nominalTime": ("1-0-1", "NominalTimeRunFacet"),
    "outputStatistics": ("1-0-2", "OutputStatisticsOutputDatasetFacet"),
    "ownership": ("1-0-1", "OwnershipDatasetFacet"),
    "parent": ("1-2-0", "ParentRunFacet"),
    "processing_engine": ("1-1-1", "ProcessingEngineRunFacet"),
    "schema": ("1-2-0", "SchemaDatasetFacet"),
    "sourceCodeLocation": ("1-1-0", "SourceCodeLocationJobFacet"),
}
_OWN_FACETS: Final = {
    "mlg_run": "MlgRunFacet",
    "mlg_step": "MlgStepFacet",
    "mlg_evaluation": "MlgEvaluationFacet",
    "mlg_dataset": "MlgDatasetFacet",
    "mlg_model": "MlgModelFacet",
    "mlg_model_version": "MlgModelVersionFacet",
}
_TYPES: Final = {"model_version": "MODEL", "image": "IMAGE", "dataset_version": "TABLE",
                 "feature_snapshot": "TABLE"}  # fmt: skip
_MOST_COLUMNS: Final = 2_000
_DATASETS: Final = ("dataset", "dataset_version", "feature_snapshot")


def facet(producer: str, name: str, /, **fields: Any) -> Json:
    """Return one facet of the published specification, or of ours; None is left out.

    Examples:
        >>> facet("pkg:generic/mlg@0", "version", datasetVersion="7")["_schemaURL"][-26:]
        'DatasetVersionDatasetFacet'
    """
    if name in _OWN_FACETS:
        url = f"{_OWN}#/$defs/{_OWN_FACETS[name]}"
    else:
        version, definition = _PUBLISHED[name]
        url = f"{_SPEC}/{version}/{definition}.json#/$defs/{definition}"
    told = {key: value for key, value in fields.items() if value is not None}
    return {"_producer": producer, "_schemaURL": url, **told}


def numbered(attrs: Mapping[str, Attr], prefix: str) -> Json | None:
    """Return the attributes under a prefix without it, or None when there are none.

    Examples:
        >>> numbered({"metric.auc": 0.8, "seed": 1}, "metric.")
        {'auc': 0.8}
    """
    found = {
        key.removeprefix(prefix): value
        for key, value in attrs.items()
        if key.startswith(prefix)
    }
    return found or None


def dataset(producer: str, reader: GraphReader, uri: Uri, *, output: bool) -> Json:
    """Return a dataset of an event, with everything that the graph knows of it.

    Args:
        producer: Who says so.
        reader: The graph.
        uri: A dataset, its version, a source, a model or an image.
        output: Whether the run made it.
    """
    named = dataset_name(uri)
    page = reader.nodes(NodeQuery(uri=uri))
    node = page.nodes[0] if page.nodes else None
    told: Json = {
        "namespace": named.namespace,
        "name": named.name,
        "facets": _of_dataset(producer, reader, uri, node, output=output),
    }
    rows = dict(node.attrs).get("rows") if node else None
    if isinstance(rows, int) and not isinstance(rows, bool):
        side, name = ("output", "outputStatistics") if output else ("input", "inputStatistics")
        told[f"{side}Facets"] = {name: facet(producer, name, rowCount=rows)}
    return told


def _of_dataset(
    producer: str, reader: GraphReader, uri: Uri, node: Node | None, *, output: bool
) -> Json:
    parts = parse_uri(uri)
    attrs = dict(node.attrs) if node else {}
    made: Json = {}
    if parts.version:
        made["version"] = facet(producer, "version", datasetVersion=parts.version)
    if parts.kind in _TYPES:
        made["datasetType"] = facet(producer, "datasetType", datasetType=_TYPES[parts.kind])
    if isinstance(attrs.get("description"), str):
        made["documentation"] = facet(
            producer, "documentation", description=attrs["description"]
        )
    fields = schema_fields(attrs)
    if fields:
        made["schema"] = facet(producer, "schema", fields=fields)
    owners = _owners(reader, uri) if node else []
    if owners:
        made["ownership"] = facet(producer, "ownership", owners=owners)
    if output and node and parts.kind in _DATASETS:
        columns = _column_lineage(reader, uri)
        if columns:
            made["columnLineage"] = facet(producer, "columnLineage", **columns)
    if parts.kind == "model_version":
        made["mlg_model"] = _model(producer, uri, node, attrs)
    else:
        made["mlg_dataset"] = facet(
            producer,
            "mlg_dataset",
            uri=uri,
            digest=node.digest if node else None,
            contentDigest=attrs.get("content_digest"),
        )
    return made


def _model(producer: str, uri: Uri, node: Node | None, attrs: Mapping[str, Attr]) -> Json:
    return facet(
        producer,
        "mlg_model",
        uri=uri,
        digest=node.digest if node else None,
        code=attrs.get("code"),
        seed=attrs.get("seed"),
        signatureDigest=attrs.get("signature_digest"),
        params=numbered(attrs, "param."),
        metrics=numbered(attrs, "metric."),
    )


def schema_fields(attrs: Mapping[str, Attr]) -> list[Json]:
    """Return the fields of a `schema` attribute; none when it cannot be told apart.

    Examples:
        >>> schema_fields({"schema": "id: int64, tags: array<string>", "columns": 2})
        [{'name': 'id', 'type': 'int64'}, {'name': 'tags', 'type': 'array<string>'}]
        >>> schema_fields({"schema": "a, b: int64", "columns": 1})
        []
    """
    text = attrs.get("schema")
    if not isinstance(text, str) or not text:
        return []
    pairs = [part.partition(": ") for part in text.split(", ")]
    whole = all(name and type_ for name, _, type_ in pairs)
    if not whole or len(pairs) != attrs.get("columns"):
        return []
    return [{"name": name, "type": type_} for name, _, type_ in pairs]


def _owners(reader: GraphReader, uri: Uri) -> list[Json]:
    options = WalkOptions(classes=("ownership",), depth=1, limit=100)
    walk = reader.walk(uri, "up", options)
    return [
        {"name": f"{reached.node.kind}:{reached.node.name}", "type": "OWNER"}
        for reached in walk.nodes
        if reached.depth == 1
    ]


def _column_lineage(reader: GraphReader, uri: Uri) -> Json | None:
    """Return what each column of a dataset was made of, and what decided about its rows.

    The set of rows of a table is a column without a name; what it comes from is the facet's
    `dataset`.
    """
    roles = ("column_of", "column_derived_from")
    walk = reader.walk(uri, "up", WalkOptions(roles=roles, depth=3, limit=_MOST_COLUMNS))
    own = {edge.src for edge in walk.edges if edge.role == "column_of" and edge.dst == uri}
    tables = {_table(one) for one in own}
    rows = {one.node.uri for one in walk.nodes if _is_rows(one.node.uri)}
    own |= {one for one in rows if _table(one) in tables}
    said = {one.node.uri: _transformations(one.node) for one in walk.nodes}
    fields: dict[str, list[Json]] = {}
    for edge in sorted(walk.edges, key=lambda one: (one.dst, one.src)):
        if edge.role != "column_derived_from" or edge.dst not in own or _is_rows(edge.src):
            continue
        source = _column_name(edge.src)
        if source is not None:
            how = said.get(edge.dst, {}).get(edge.src)
            told = source if how is None else {**source, "transformations": how}
            fields.setdefault(column_of(edge.dst)[1], []).append(told)
    decided = fields.pop("", None)
    if not fields and decided is None:
        return None
    made = {field: {"inputFields": sources} for field, sources in sorted(fields.items())}
    return {"fields": made, "dataset": decided}


def _is_rows(uri: Uri) -> bool:
    return uri.startswith("mlg://column/") and not column_of(uri)[1]


def _table(column: Uri) -> tuple[str, str, str]:
    parts = parse_uri(column)
    return parts.provider, parts.namespace, column_of(column)[0]


def _transformations(node: Node) -> dict[str, list[Json]]:
    """Return how each source came into a column, by the source's URI, where the graph says."""
    text = dict(node.attrs).get("transformations")
    try:
        found = msgspec.json.decode(text, type=list[_How]) if isinstance(text, str) else []
    except msgspec.MsgspecError:
        return {}
    how: dict[str, list[Json]] = {}
    for one in found:
        how.setdefault(one.column, []).append({"type": one.type, "subtype": one.subtype})
    return how


class _How(msgspec.Struct):
    column: str
    type: str
    subtype: str


def _column_name(uri: Uri) -> Json | None:
    parts = parse_uri(uri)
    if parts.kind != "column":
        return None
    table, field = column_of(uri)
    namespace = parts.namespace if parts.provider != "mlg" else f"mlg://{parts.namespace}"
    if not table or not field:
        return None
    return {**Named(namespace, table)._asdict(), "field": field}
