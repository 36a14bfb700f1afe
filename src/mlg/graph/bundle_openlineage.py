"""The steps of an account as OpenLineage 2-0-2 run events, one for each start and end."""

import uuid
from typing import Any, Final

from mlg.core.clock import rfc3339
from mlg.core.events import Event
from mlg.core.nodes import Node
from mlg.core.uris import Uri, parse_uri
from mlg.graph.bundle_account import Account, attrs_of
from mlg.graph.encode import canonical

PRODUCER: Final = "urn:mlg:audit-export"
_SPEC: Final = "https://openlineage.io/spec"
_SCHEMA: Final = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_WORDS: Final = {
    "started": "START",
    "finished": "COMPLETE",
    "cached": "COMPLETE",
    "failed": "FAIL",
}
_SPACE: Final = uuid.UUID("6f0c1c9e-8a0f-5d0b-9c55-0f2a8f1a9d11")
"""Names of runs that are no UUID become one in this namespace."""


def openlineage_lines(account: Account) -> bytes:
    """Return one event a line, in order of the log; empty when the account has no runs.

    The job of a step is `<pipeline>.<step>`, its run is named after run and step, and the
    facet `parent` names the run of the pipeline.
    """
    found: list[bytes] = []
    for told in account.events:
        kind, _, word = told.event.type.removeprefix("mlg.").partition(".")
        if kind in {"run", "step"} and word in _WORDS:
            found.append(canonical(_event(account, told.event, kind, _WORDS[word])) + b"\n")
    return b"".join(found)


def run_id_of(text: str) -> str:
    """Return a run's id as OpenLineage wants it: a UUID, the same for the same text."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return str(uuid.uuid5(_SPACE, text))


def _event(account: Account, event: Event, kind: str, event_type: str) -> dict[str, Any]:
    parts = parse_uri(event.subject)
    version = parts.version or parts.name
    pipeline, _, step = parts.name.partition("/")
    job, run = pipeline, run_id_of(version)
    run_facets: dict[str, Any] = {}
    if kind == "step":
        job, run = f"{pipeline}.{step}", run_id_of(f"{version}/{step}")
        parent = {"run": {"runId": run_id_of(version)}}
        own = {"namespace": parts.namespace, "name": pipeline}
        run_facets["parent"] = _facet("1-2-0/ParentRunFacet.json", {**parent, "job": own})
    message = dict(fact for told in event.nodes for fact in told.attrs).get("what")
    if event_type == "FAIL":
        run_facets["errorMessage"] = _facet(
            "1-0-1/ErrorMessageRunFacet.json",
            {"message": str(message or "failed"), "programmingLanguage": "PYTHON"},
        )
    kind_of_job = {"processingType": "BATCH", "integration": "MLG"}
    ends = event_type != "START"
    return {
        "eventTime": rfc3339(event.at),
        "eventType": event_type,
        "producer": PRODUCER,
        "schemaURL": _SCHEMA,
        "run": {"runId": run, "facets": run_facets},
        "job": {
            "namespace": parts.namespace,
            "name": job,
            "facets": {
                "jobType": _facet(
                    "2-0-4/JobTypeJobFacet.json", {**kind_of_job, "jobType": kind.upper()}
                )
            },
        },
        "inputs": [_dataset(n) for n in _data(account, account.sources(event.subject, "used"))],
        "outputs": [
            _dataset(node)
            for node in _data(account, account.targets(event.subject, "produced"))
            if ends
        ],
    }


def _data(account: Account, uris: tuple[Uri, ...]) -> list[Node]:
    nodes = [account.node(uri) for uri in sorted(uris)]
    kinds = {"dataset", "dataset_version", "feature_snapshot", "source"}
    return [node for node in nodes if node is not None and node.kind in kinds]


def _dataset(node: Node) -> dict[str, Any]:
    parts = parse_uri(node.uri)
    facets: dict[str, Any] = {}
    if parts.version:
        given = {"datasetVersion": node.digest or parts.version}
        facets["version"] = _facet("1-0-1/DatasetVersionDatasetFacet.json", given)
    fields = [
        {"name": name, "type": type_}
        for one in str(attrs_of(node).get("schema") or "").split(", ")
        for name, colon, type_ in [one.partition(": ")]
        if colon
    ]
    if fields:
        facets["schema"] = _facet("1-2-0/SchemaDatasetFacet.json", {"fields": fields})
    return {"namespace": parts.namespace, "name": parts.name, "facets": facets}


def _facet(path: str, content: dict[str, Any]) -> dict[str, Any]:
    name = path.partition("/")[2].removesuffix(".json")
    url = f"{_SPEC}/facets/{path}#/$defs/{name}"
    return {"_producer": PRODUCER, "_schemaURL": url, **content}
