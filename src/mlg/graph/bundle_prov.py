"""An account as W3C PROV-JSON: entities, activities, agents, and what joins them.

Source:
    W3C Member Submission "The PROV-JSON Serialization" (24 April 2013); PROV-DM
    (W3C Recommendation, 30 April 2013) for the meaning of the relations.
"""

from collections.abc import Mapping
from typing import Any, Final

from mlg.core.clock import rfc3339
from mlg.core.nodes import Edge, Node
from mlg.core.uris import Uri
from mlg.graph.bundle_account import Account, kind_in
from mlg.graph.encode import canonical

_ACTIVITIES: Final = frozenset(
    (
        "run", "step", "pipeline", "deployment", "rollout", "rollout_step", "health_check",
        "gate_verdict", "swap", "rollback",
        "automation_run", "experiment", "experiment_cell",
    )
)  # fmt: skip
_AGENTS: Final = frozenset(("actor", "team"))
_FORMAL: Final[Mapping[str, tuple[str, str]]] = {
    "used": ("prov:activity", "prov:entity"),
    "wasGeneratedBy": ("prov:entity", "prov:activity"),
    "wasDerivedFrom": ("prov:generatedEntity", "prov:usedEntity"),
    "wasInformedBy": ("prov:informed", "prov:informant"),
    "wasStartedBy": ("prov:activity", "prov:trigger"),
    "wasAssociatedWith": ("prov:activity", "prov:agent"),
    "wasAttributedTo": ("prov:entity", "prov:agent"),
    "wasInfluencedBy": ("prov:influencee", "prov:influencer"),
}
"""Names of what came of it and of what came first, by relation."""
_DERIVES: Final = frozenset(
    (
        "derived_from", "trained_on", "evaluated_on", "packaged_as", "column_derived_from",
        "warm_started_from", "supersedes", "version_of",
    )
)  # fmt: skip


def prov_json(account: Account) -> bytes:
    """Return the account as PROV-JSON, canonical; every arrow is one relation.

    A thing's identifier is its URI with the prefix `mlg:` for `mlg://`. An arrow from what
    came first to what came of it reads the other way in PROV: the latter `wasDerivedFrom`,
    `wasGeneratedBy` or `used` the former; where PROV has no closer word, `wasInfluencedBy`.
    """
    document: dict[str, Any] = {
        "prefix": {"mlg": "mlg://", "xsd": "http://www.w3.org/2001/XMLSchema#"}
    }
    for node in account.nodes:
        sort = _sort(node.kind)
        document.setdefault(sort, {})[_name(node.uri)] = _described(node, sort)
    for number, edge in enumerate(account.edges, start=1):
        relation = _relation(edge)
        later, earlier = _FORMAL[relation]
        document.setdefault(relation, {})[f"_:r{number}"] = {
            later: _name(edge.dst),
            earlier: _name(edge.src),
            "mlg:role": edge.role,
            "mlg:provenance": edge.provenance,
            **({"mlg:event": edge.event} if edge.event else {}),
        }
    return canonical(document)


def _sort(kind: str) -> str:
    if kind in _AGENTS:
        return "agent"
    return "activity" if kind in _ACTIVITIES else "entity"


def _name(uri: Uri) -> str:
    return "mlg:" + uri.removeprefix("mlg://")


def _described(node: Node, sort: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"mlg:{name}": value for name, value in node.attrs if value is not None
    }
    found["prov:label"] = node.name
    found["prov:type"] = {"$": f"mlg:{node.kind}", "type": "prov:QUALIFIED_NAME"}
    if node.digest is not None:
        found["mlg:sha256"] = node.digest
    if sort == "activity":
        found["prov:startTime"] = rfc3339(node.valid_from)
        if node.valid_to is not None:
            found["prov:endTime"] = rfc3339(node.valid_to)
    return found


def _relation(edge: Edge) -> str:
    earlier, later = _sort(kind_in(edge.src)), _sort(kind_in(edge.dst))
    if earlier == "agent":
        return "wasAssociatedWith" if later == "activity" else "wasAttributedTo"
    if later == "agent":
        return "wasInfluencedBy"
    match (earlier, later):
        case ("entity", "activity"):
            return "used" if edge.role == "used" else "wasStartedBy"
        case ("activity", "entity"):
            return "wasGeneratedBy" if edge.role == "produced" else "wasInfluencedBy"
        case ("activity", "activity"):
            return "wasInformedBy"
        case _:
            return "wasDerivedFrom" if edge.role in _DERIVES else "wasInfluencedBy"
