"""The training of each model as an in-toto Statement v1 with SLSA provenance v1.

Source:
    in-toto attestation framework, Statement v1; SLSA v1.0 build provenance
    (https://slsa.dev/provenance/v1).
"""

from typing import Any, Final

from mlg.core.clock import rfc3339
from mlg.core.nodes import Node
from mlg.core.uris import Uri, parse_uri
from mlg.graph.bundle_account import Account, attrs_of, kind_in
from mlg.graph.encode import canonical

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:mlg:training-run:v1"
BUILDER: Final = "urn:mlg:control-plane"


def statements(account: Account) -> bytes:
    """Return one unsigned statement a line for each model version whose sha256 is known."""
    found = [
        canonical(_statement(account, node)) + b"\n"
        for node in account.models()
        if node.digest is not None and len(node.digest) == 64
    ]
    return b"".join(found)


def _statement(account: Account, model: Node) -> dict[str, Any]:
    steps = account.sources(model.uri, "produced", "step", "run")
    runs = [
        *(uri for step in steps for uri in account.sources(step, "triggered", "run")),
        *(uri for uri in steps if kind_in(uri) == "run"),
    ]
    attrs = attrs_of(model)
    run = account.node(runs[0]) if runs else None
    step = account.node(steps[0]) if steps else None
    metadata: dict[str, Any] = {}
    if run is not None:
        metadata["invocationId"] = run.uri
    if step is not None:
        metadata["startedOn"] = rfc3339(step.valid_from)
    metadata["finishedOn"] = rfc3339(model.valid_from)
    images = [account.node(uri) for uri in account.targets(model.uri, "packaged_as")]
    return {
        "_type": STATEMENT,
        "subject": [_described(model)],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "model": parse_uri(model.uri).name,
                    "seed": attrs.get("seed"),
                    **{n: v for n, v in attrs.items() if n.startswith("param.")},
                },
                "internalParameters": {"code": attrs.get("code")},
                "resolvedDependencies": _dependencies(account, model, runs),
            },
            "runDetails": {
                "builder": {"id": BUILDER},
                "metadata": metadata,
                "byproducts": [_described(node) for node in images if node is not None],
            },
        },
    }


def _dependencies(account: Account, model: Node, runs: list[Uri]) -> list[dict[str, Any]]:
    used = {
        *account.sources(model.uri, "trained_on"),
        *account.sources(model.uri, "warm_started_from"),
        *(uri for run in runs for uri in account.sources(run, "used", "commit")),
        *(uri for run in runs for uri in account.sources(run, "triggered", "commit")),
    }
    nodes = [account.node(uri) for uri in sorted(used)]
    return [_described(node) for node in nodes if node is not None]


def _described(node: Node) -> dict[str, Any]:
    """Return a ResourceDescriptor; a digest that is no sha256 is told as an annotation."""
    found: dict[str, Any] = {"name": node.name, "uri": node.uri}
    if node.digest is not None and len(node.digest) == 64:
        found["digest"] = {"sha256": node.digest}
    elif node.digest is not None:
        found["annotations"] = {"digest": node.digest}
    return found
