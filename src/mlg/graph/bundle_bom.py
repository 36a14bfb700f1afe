"""The models of an account as a CycloneDX 1.6 ML-BOM with a model card each.

Source:
    ECMA-424 (1st edition), CycloneDX bill of materials specification 1.6.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

from mlg.core.clock import rfc3339
from mlg.core.nodes import Node
from mlg.core.uris import Uri, parse_uri
from mlg.graph.bundle_account import Account, attrs_of
from mlg.graph.encode import canonical

_SPACE: Final = uuid.UUID("2c1d6ad8-1c43-5c1e-8f4b-5a8a0a3d7e21")
_NOTE: Final = (
    "Figures of held-out events say nothing about items that were never shown (selection bias)."
)

Reports = Mapping[Uri, Mapping[str, Any]]
"""The evaluation's report of each model version, where one is kept."""


def ml_bom(account: Account, reports: Reports) -> bytes:
    """Return the bill of materials, canonical; its serial number is made from its content.

    The first model is the subject of the BOM, the others and all data are components.

    Args:
        account: What is told.
        reports: Evaluations with figures by segment and by group of viewers.
    """
    models = account.models()
    made = [_model(account, node, reports.get(node.uri, {})) for node in models]
    earlier = [node for node in account.kind("model_version") if node not in models]
    parts = [
        *made[1:],
        *(_bare(node) for node in earlier),
        *(_data(node) for node in account.kind("dataset_version", "feature_snapshot")),
        *(_image(node) for node in account.kind("image")),
    ]
    begun = max((node.valid_from for node in models), default=None)
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            **({"timestamp": rfc3339(begun)} if begun else {}),
            "tools": {"components": [{"type": "application", "name": "mlg"}]},
            **({"component": made[0]} if made else {}),
        },
        "components": parts,
        "dependencies": _dependencies(account),
    }
    serial = uuid.uuid5(_SPACE, canonical(document).decode())
    return canonical({**document, "serialNumber": f"urn:uuid:{serial}"})


def _model(account: Account, node: Node, report: Mapping[str, Any]) -> dict[str, Any]:
    attrs = attrs_of(node)
    data = account.sources(node.uri, "trained_on")
    return {
        **_bare(node),
        "modelCard": {
            "bom-ref": f"card:{node.uri}",
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "recommendation",
                "datasets": [{"ref": uri} for uri in sorted(data)],
                "inputs": [{"format": "viewer and context (JSON)"}],
                "outputs": [{"format": "ranked items with scores (JSON)"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": _figures(account, node, report)},
            "considerations": {
                "technicalLimitations": [_NOTE],
                "fairnessAssessments": [
                    {"groupAtRisk": f"{feature} = {one['level']}", "harms": _share(one)}
                    for feature, one in _groups(report)
                ],
            },
            "properties": _properties(
                {
                    name: value
                    for name, value in attrs.items()
                    if name.startswith("param.") or name in {"seed", "code", "passed"}
                }
            ),
        },
    }


def _bare(node: Node) -> dict[str, Any]:
    parts = parse_uri(node.uri)
    attrs = attrs_of(node)
    signed = {f"mlg:{n}": attrs.get(n) for n in ("signature_digest", "signature_key_id")}
    return _component("machine-learning-model", node, parts.name, signed)


def _image(node: Node) -> dict[str, Any]:
    return _component("container", node, parse_uri(node.uri).name, {})


def _data(node: Node) -> dict[str, Any]:
    attrs = attrs_of(node)
    kept = {f"mlg:{name}": attrs.get(name) for name in ("content_digest", "rows", "schema")}
    name = parse_uri(node.uri).name
    return {
        **_component("data", node, name, kept),
        "data": [{"bom-ref": f"data:{node.uri}", "type": "dataset", "name": node.name}],
    }


def _component(
    type_: str, node: Node, name: str, properties: Mapping[str, object]
) -> dict[str, Any]:
    version = parse_uri(node.uri).version
    return {
        "type": type_,
        "bom-ref": node.uri,
        "name": name,
        **({"version": version} if version else {}),
        **({"hashes": [_hash(node.digest)]} if node.digest and _is_sha256(node.digest) else {}),
        "properties": _properties({"mlg:uri": node.uri, **properties}),
    }


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and all(char in "0123456789abcdef" for char in text)


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}


def _properties(found: Mapping[str, object]) -> list[dict[str, str]]:
    return [
        {"name": name, "value": value if isinstance(value, str) else canonical(value).decode()}
        for name, value in sorted(found.items())
        if value is not None
    ]


def _figures(account: Account, node: Node, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the report's figures with their intervals, else the bare ones on the graph."""
    segments: Mapping[str, Any] = report.get("models", {}).get("candidate", {})
    found: list[dict[str, Any]] = []
    for segment, figures in sorted(segments.items()):
        for metric, interval in sorted(figures.items()):
            if interval.get("value") is not None:
                found.append(_figure(metric, interval["value"], segment, interval))
    for feature, one in _groups(report):
        found.append(_figure("hit@10", one["mean"], f"{feature} = {one['level']}", {}))
    if found:
        return found
    judged = [account.node(uri) for uri in account.targets(node.uri, "evaluated_on")]
    for one in (*judged, node):
        attrs = attrs_of(one) if one is not None else {}
        found += [
            _figure(name.removeprefix("metric."), value, "held out", {})
            for name, value in attrs.items()
            if name.startswith("metric.")
        ]
        if found:
            break
    return found


def _figure(
    metric: str, value: object, segment: str, interval: Mapping[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {"type": metric, "value": _number(value), "slice": segment}
    if interval.get("low") is not None and interval.get("high") is not None:
        found["confidenceInterval"] = {
            "lowerBound": _number(interval["low"]),
            "upperBound": _number(interval["high"]),
        }
    return found


def _number(value: object) -> str:
    return canonical(value).decode()


def _groups(report: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    groups: Mapping[str, Any] = report.get("groups") or {}
    return [(feature, one) for feature, levels in sorted(groups.items()) for one in levels]


def _share(one: Mapping[str, Any]) -> str:
    return f"mean hit@10 of {_number(one['mean'])} over {one['n']} viewers"


def _dependencies(account: Account) -> list[dict[str, Any]]:
    """Return what each component came of, as far as that is a component too."""
    kinds = ("model_version", "dataset_version", "feature_snapshot", "image")
    known = {node.uri for node in account.kind(*kinds)}
    roles = {"derived_from", "trained_on", "warm_started_from", "packaged_as"}
    above: dict[Uri, set[Uri]] = {uri: set() for uri in known}
    for edge in account.edges:
        if edge.role in roles and edge.src in known and edge.dst in known:
            above[edge.dst].add(edge.src)
    return [
        {"ref": uri, **({"dependsOn": sorted(before)} if before else {})}
        for uri, before in sorted(above.items())
    ]
