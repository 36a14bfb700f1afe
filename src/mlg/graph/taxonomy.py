"""What each kind of node and each role of an edge means; `docs/taxonomy.md` is made from this.

A few the product does not record by itself: others write them, by the paths named here.
"""

from dataclasses import dataclass
from typing import Final

KIND_MEANING: Final[dict[str, str]] = {
    "source": "A place outside that data is read from, by its URI.",
    "dataset": "A table by name, whatever its versions.",
    "dataset_version": "One immutable content of a table that came from outside.",
    "column": "One column of a table.",
    "feature": "One column that a model learns from, or a value that a model logs.",
    "feature_snapshot": "One immutable content of a table that a step made.",
    "commit": "A state of code: a git revision, or an applied folder of a manifest.",
    "pipeline": "A named way from data to a model; in OpenLineage a job.",
    "run": "One execution of a pipeline.",
    "step": "One step of a run.",
    "model": "A model by name, whatever its versions.",
    "model_version": "One trained artifact of a model.",
    "evaluation": "The judgement of a model version on held-out data.",
    "image": "A model version packed as an OCI image.",
    "service": "What answers viewers, under one name.",
    "endpoint": "An address that takes requests from others.",
    "deployment": "One model version at work in a service, from its start to its end.",
    "policy": "A version of what may change about a service while it runs; also the freeze.",
    "layout": "An arrangement of the answer that a policy names.",
    "rollout": "One attempt of a version to take over a service.",
    "rollout_step": "One transition of a rollout.",
    "health_check": "A test battery, a judgement by gates, or what became of a process.",
    "gate_verdict": "What one gate or objective said at a transition, with its figures.",
    "swap": "One change of the version at 100 %, with its number in the hour.",
    "rollback": "Traffic that went back, and for which gates.",
    "drift_signal": "One statistic that left its limits.",
    "alert": "Signals of one kind in one incident: what a person or a rule is told.",
    "incident": "Everything that signals in a service at the same time.",
    "automation": "A rule of the manifest.",
    "automation_run": "One answer of a rule to an event.",
    "approval": "What a person said to a proposal, or to a rollout that waited for him.",
    "prediction_segment": "Predictions sealed under one Merkle root.",
    "experiment": "Versions compared on viewers, by mlg or by another system.",
    "experiment_cell": "One cell of an experiment.",
    "actor": "Who acted: a person or a part of the system.",
    "team": "Who owns something.",
    "audit_export": "A bundle of proof that someone took.",
    "baseline": "A version of what a monitor holds for usual of one stream; an artifact.",
}
"""One line for each kind of `mlg.core.nodes.KINDS`."""

ROLE_MEANING: Final[dict[str, str]] = {
    "derived_from": "dst was made from src, which goes on being.",
    "used": "dst read src.",
    "produced": "src made dst.",
    "trained_on": "The model dst learned from src.",
    "evaluated_on": "The evaluation dst judged by, or judged, src.",
    "packaged_as": "The image dst holds the model src.",
    "deployed_as": "dst runs or shows src.",
    "served_by": "src was in force or answered for dst.",
    "column_of": "The column src belongs to dst.",
    "column_derived_from": "The column or feature dst was computed from the column src.",
    "warm_started_from": "Training of dst began with the weights of src.",
    "triggered": "src set dst going.",
    "caused": "src is why dst is there.",
    "detected_on": "dst was seen on src.",
    "checked_by": "dst is a judgement of src.",
    "rolled_back_to": "src gave the traffic back to dst.",
    "healed_by": "dst ended the trouble src.",
    "approved_by": "src is the person behind the approval dst.",
    "supersedes": "dst took the place of src.",
    "version_of": "dst is one version, instance or cell of src.",
    "part_of": "The step dst belongs to the run src, which reads nothing through it.",
    "owned_by": "src owns dst.",
}
"""One line for each role of `mlg.core.nodes.ROLE_CLASS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestPath:
    """How others write what the product does not record by itself."""

    what: str
    """In one sentence, for the page."""
    facet: str
    """JSON path in an event for `POST /api/v1/lineage`."""


_SCHEMA: Final = IngestPath(
    what="OpenLineage, facet `schema` of a dataset", facet="$.outputs[].facets.schema"
)
_COLUMNS: Final = IngestPath(
    what="OpenLineage, facet `columnLineage` of an output",
    facet="$.outputs[].facets.columnLineage",
)
_OWNERS: Final = IngestPath(
    what="OpenLineage, facet `ownership` of a job or dataset", facet="$.job.facets.ownership"
)
_EXPERIMENT: Final = IngestPath(
    what="OpenLineage, run facet `mlg_experiment`: `{experiment, cell}`",
    facet="$.run.facets.mlg_experiment",
)
_MODEL: Final = IngestPath(
    what="OpenLineage, run facet `mlg_model_version`: `{model, version, warm_started_from}`",
    facet="$.run.facets.mlg_model_version",
)

KIND_INGEST: Final[dict[str, IngestPath]] = {
    "column": _SCHEMA,
    "team": _OWNERS,
    "experiment": _EXPERIMENT,
    "experiment_cell": _EXPERIMENT,
}
"""Kinds that come from others."""

ROLE_INGEST: Final[dict[str, IngestPath]] = {
    "column_of": _SCHEMA,
    "column_derived_from": _COLUMNS,
    "warm_started_from": _MODEL,
    "owned_by": _OWNERS,
}
"""Roles that come from others."""
