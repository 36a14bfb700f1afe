"""What the graph is made of: nodes, edges, and the table of what may point to what.

Direction: `src` is what came first or caused, `dst` is what came of it; the role is
a label on the arrow. `up` walks from dst to src.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from mlg.core.uris import Digest, EventId, Uri

Attr = str | int | float | bool | None
"""A JSON scalar; what is nested is kept as an artifact or as JSON text."""

EdgeClass = Literal["lineage", "causal", "version", "ownership"]
Provenance = Literal["declared", "observed", "inferred"]

KINDS: Final = frozenset(
    (
        "source", "dataset", "dataset_version", "column", "feature", "feature_snapshot",
        "commit", "pipeline", "run", "step", "model", "model_version", "evaluation", "image",
        "service", "endpoint", "deployment", "policy", "layout", "rollout", "rollout_step",
        "health_check", "gate_verdict", "swap", "rollback", "drift_signal", "alert", "incident",
        "automation", "automation_run", "approval", "prediction_segment", "experiment",
        "experiment_cell", "actor", "team", "audit_export", "baseline",
    )
)  # fmt: skip

VIRTUAL_KINDS: Final = frozenset(("prediction",))
"""Kinds that only answers carry; no event may name a node of them."""

ROLE_CLASS: Final[dict[str, EdgeClass]] = {
    "derived_from": "lineage",
    "used": "lineage",
    "produced": "lineage",
    "trained_on": "lineage",
    "evaluated_on": "lineage",
    "packaged_as": "lineage",
    "deployed_as": "lineage",
    "served_by": "lineage",
    "column_of": "lineage",
    "column_derived_from": "lineage",
    "warm_started_from": "lineage",
    "triggered": "causal",
    "caused": "causal",
    "detected_on": "causal",
    "checked_by": "causal",
    "rolled_back_to": "causal",
    "healed_by": "causal",
    "approved_by": "causal",
    "supersedes": "version",
    "version_of": "version",
    "part_of": "version",
    "owned_by": "ownership",
}

_DATA: Final = ("source", "dataset", "dataset_version", "feature", "feature_snapshot", "column")
_WORK: Final = ("run", "step", "pipeline", "automation_run")
_MADE: Final = (
    "dataset_version",
    "feature_snapshot",
    "model_version",
    "evaluation",
    "image",
    "audit_export",
    "prediction_segment",
)
_DID: Final = ("swap", "rollback")
_LIVE: Final = ("deployment", "endpoint", "service", "rollout", "rollout_step", "health_check")


def _pairs(sources: tuple[str, ...], targets: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    return frozenset((src, dst) for src in sources for dst in targets)


_CAUSES: Final = (
    "alert", "incident", "commit", "automation", "automation_run", "actor", "drift_signal",
    "run", "rollout", "rollout_step", "health_check", "approval", "deployment", "policy",
    "gate_verdict", "rollback",
)  # fmt: skip

ALLOWED: Final[dict[str, frozenset[tuple[str, str]]]] = {
    "derived_from": _pairs(_DATA, _DATA)
    | _pairs(("prediction_segment", "model_version", "service"), ("audit_export",))
    | {("model_version", "baseline")},
    "used": _pairs((*_DATA, "model_version", "commit"), _WORK),
    "produced": _pairs(_WORK, (*_MADE, "dataset", "experiment_cell")),
    "trained_on": _pairs(
        ("dataset_version", "feature_snapshot", "feature", "column"), ("model_version",)
    ),
    "evaluated_on": _pairs(
        ("dataset_version", "feature_snapshot", "model_version"), ("evaluation",)
    ),
    "packaged_as": _pairs(("model_version",), ("image",)),
    "deployed_as": _pairs(("image", "model_version"), ("deployment", "experiment_cell")),
    "served_by": _pairs(
        ("deployment", "policy", "layout"), ("prediction_segment", "endpoint", "service")
    ),
    "column_of": _pairs(("column",), ("dataset", "dataset_version", "feature_snapshot")),
    "column_derived_from": _pairs(("column",), ("column", "feature")),
    "warm_started_from": _pairs(("model_version",), ("model_version",)),
    "triggered": _pairs(_CAUSES, (*_WORK, *_LIVE, "incident", "alert", "audit_export")),
    "caused": _pairs(
        _CAUSES, (*_LIVE, *_DID, "incident", "alert", "policy", "layout", "approval")
    ),
    "detected_on": _pairs(
        ("feature", "service", "deployment", "model_version"), ("drift_signal", "alert")
    )
    | {("baseline", "alert")},
    "checked_by": _pairs(
        ("deployment", "image", "model_version", "service", "rollout_step"),
        ("health_check", "evaluation"),
    )
    | {("deployment", "rollout_step"), ("rollout_step", "gate_verdict")},
    "rolled_back_to": _pairs(("rollout", "rollout_step", "rollback"), ("deployment",)),
    "healed_by": _pairs(("incident", "alert"), ("deployment", "run", "automation_run")),
    "approved_by": _pairs(("actor",), ("approval",)),
    "supersedes": _pairs(
        ("deployment", "model_version", "policy"), ("deployment", "model_version", "policy")
    )
    | {("baseline", "baseline")},
    "version_of": _pairs(
        ("dataset", "model", "feature", "pipeline", "service", "policy"),
        ("dataset_version", "model_version", "feature_snapshot", "run", "deployment", "policy"),
    )
    | {("experiment", "experiment_cell"), ("service", "baseline")},
    "part_of": _pairs(("run",), ("step",)),
    "owned_by": _pairs(("actor", "team"), tuple(sorted(KINDS - {"actor"}))),
}  # fmt: skip
"""Allowed (src kind, dst kind) of each role; the page of the docs is made from this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing in the graph, as it stands after its newest event."""

    uri: Uri
    kind: str
    name: str
    digest: Digest | None = None
    attrs: tuple[tuple[str, Attr], ...] = ()
    """Sorted by key, so equal nodes are equal values."""
    valid_from: datetime
    valid_to: datetime | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS and self.kind not in VIRTUAL_KINDS:
            raise ValueError(f"unknown node kind {self.kind!r} of {self.uri}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One arrow, from what came first to what came of it."""

    src: Uri
    dst: Uri
    role: str
    provenance: Provenance = "declared"
    event: EventId
    valid_from: datetime
    valid_to: datetime | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLE_CLASS:
            raise ValueError(f"unknown edge role {self.role!r} from {self.src} to {self.dst}")

    @property
    def edge_class(self) -> EdgeClass:
        """The class of the role: lineage, causal, version or ownership."""
        return ROLE_CLASS[self.role]


def is_allowed(src_kind: str, role: str, dst_kind: str) -> bool:
    """Return whether an edge of this role may join these kinds.

    Examples:
        >>> is_allowed("dataset_version", "used", "run")
        True
        >>> is_allowed("run", "used", "dataset_version")
        False
    """
    return (src_kind, dst_kind) in ALLOWED.get(role, frozenset())
