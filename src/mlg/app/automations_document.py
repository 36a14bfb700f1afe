"""Rules, their newest answers and what waits for a person, as `mlg automations` shows them."""

from typing import Any, Final

import msgspec

from mlg.app.freezing import frozen_document
from mlg.app.parts import Parts
from mlg.core.clock import rfc3339
from mlg.core.reading import NodeQuery

_NEWEST: Final = 50


def automations_document(parts: Parts) -> dict[str, Any]:
    """Return `{"rules", "proposals", "runs", "frozen"}`; runs are the newest answers first."""
    spec = parts.manifests.spec()
    page = parts.reader.nodes(NodeQuery(kinds=("automation_run",), limit=10_000))
    newest = sorted(page.nodes, key=lambda node: node.valid_from, reverse=True)[:_NEWEST]
    return {
        "rules": [
            {
                "rule": name,
                "autonomy": rule.autonomy,
                "on": {k: v for k, v in msgspec.to_builtins(rule.on).items() if v is not None},
                "if": rule.condition,
            }
            for name, rule in sorted(spec.automations.items() if spec else ())
        ],
        "proposals": parts.proposals.waiting(),
        "runs": [
            {"uri": node.uri, "at": rfc3339(node.valid_from), **dict(node.attrs)}
            for node in newest
        ],
        "frozen": frozen_document(parts.files)["frozen"],
    }
