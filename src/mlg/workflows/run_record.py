"""What a run's steps and models are on the graph."""

from collections.abc import Mapping, Sequence

import msgspec

from mlg.core.artifacts import ModelVersion, Snapshot
from mlg.core.errors import BackendError, LifecycleError
from mlg.core.events import Event
from mlg.core.ports import GraphReader
from mlg.core.steps import StepCall, StepResult
from mlg.core.uris import Digest, Uri
from mlg.graph import record_columns, record_models, record_runs
from mlg.graph.record import Recorder, model_uri, snapshot_uri, step_uri
from mlg.graph.record_columns import ModelRead
from mlg.pipeline.config import SourceConfig, TrainConfig, config_of
from mlg.workflows.packaged import Packaged


def error_of(told: Mapping[str, str]) -> LifecycleError:
    """Return an error from its JSON object, for the record."""
    return BackendError(told["what"], where=told.get("where", ""), hint=told.get("hint", ""))


def data_uri(recorder: Recorder, snapshot: Snapshot, sources: Mapping[str, str]) -> Uri:
    """Return the URI of a stored table: what came from outside is a dataset version."""
    kind = "dataset_version" if snapshot.dataset in sources else "feature_snapshot"
    return snapshot_uri(recorder, snapshot.dataset, snapshot.digest, kind)


def used_by(recorder: Recorder, call: StepCall, sources: Mapping[str, str]) -> list[Uri]:
    """Return the URIs of the tables that a step reads."""
    return [data_uri(recorder, i.snapshot, sources) for i in call.inputs if i.snapshot]


def step_ended(
    recorder: Recorder,
    pipeline: str,
    run_id: str,
    call: StepCall,
    result: StepResult,
    *,
    sources: Mapping[str, str],
    cached: bool,
    seconds: float,
) -> list[Event]:
    """Return the events that a step made its table or artifact, or took them from the cache."""
    key = f"{run_id}:{call.name}"
    step = step_uri(recorder, pipeline, run_id, call.name)
    inputs = used_by(recorder, call, sources)
    outputs: Sequence[Uri] = ()
    events: list[Event] = []
    facts = dict(result.facts) | {f"metric.{name}": value for name, value in result.metrics}
    if result.snapshot is not None:
        made = data_uri(recorder, result.snapshot, sources)
        outputs = (made,)
        events.append(
            record_runs.dataset_snapshotted(
                recorder,
                key=f"data:{made}" if cached else f"{key}:data",
                snapshot=result.snapshot,
                source=sources.get(result.snapshot.dataset),
                kind="dataset_version"
                if result.snapshot.dataset in sources
                else "feature_snapshot",
                step=None if cached else step,
            )
        )
    if result.artifact is not None:
        facts["artifact"] = result.artifact
    if cached:
        events.append(
            record_runs.step_cached(
                recorder,
                key=f"{key}:done",
                pipeline=pipeline,
                run_id=run_id,
                step=call.name,
                step_kind=call.kind,
                inputs=inputs,
                outputs=outputs,
                facts={**facts, "seconds": seconds},
            )
        )
    else:
        events.append(
            record_runs.step_finished(
                recorder,
                key=f"{key}:done",
                pipeline=pipeline,
                run_id=run_id,
                step=call.name,
                step_kind=call.kind,
                seconds=seconds,
                inputs=inputs,
                outputs=outputs,
                facts=facts,
            )
        )
    return events


def step_columns(
    recorder: Recorder,
    reader: GraphReader,
    run_id: str,
    call: StepCall,
    result: StepResult,
    *,
    sources: Mapping[str, str],
) -> list[Event]:
    """Return the event that says what is new about the columns of a step's table, if any."""
    snapshot = result.snapshot
    if snapshot is None:
        return []
    described: dict[str, str] = {}
    if call.kind == "source":
        spec = config_of(call, SourceConfig).spec
        described = {name: column.description for name, column in spec.columns.items()}
    event = record_columns.columns_recorded(
        recorder,
        reader,
        key=f"{run_id}:{call.name}:columns",
        snapshot=snapshot,
        version=data_uri(recorder, snapshot, sources),
        lineage=result.lineage,
        source=sources.get(snapshot.dataset),
        descriptions=described,
    )
    return [] if event is None else [event]


def reads_of(call: StepCall) -> list[ModelRead]:
    """Return the columns that a train step reads, by the roles of its tables."""
    roles = config_of(call, TrainConfig).step.roles
    schemas = {i.name: i.snapshot.schema for i in call.inputs if i.snapshot is not None}
    events, viewers, items, stats = (
        roles.interactions, roles.viewers, roles.items, roles.item_stats,
    )  # fmt: skip
    told = (events.item, events.at, events.viewer, events.value, events.position)
    plain = [(events.table, name) for name in (*told, events.propensity) if name]
    features = [(events.table, name) for name in events.context]
    for role in (viewers, items):
        if role is not None:
            plain.append((role.table, role.key))
            features += [(role.table, name) for name in role.features]
    if stats is not None:
        own = (stats.key, stats.available_at)
        plain += [(stats.table, name) for name in own]
        names = [column.name for column in schemas.get(stats.table, ())]
        features += [(stats.table, name) for name in names if name not in own]
    return [
        ModelRead(table=table, column=name, feature=feature)
        for several, feature in ((plain, False), (features, True))
        for table, name in several
        if table in schemas
    ]


def packaged_of(calls: Mapping[str, StepCall], results: Mapping[str, StepResult]) -> Packaged:
    """Return what the run's model was packaged as; its steps made an artifact."""
    artifact = next(item.artifact for item in reversed(list(results.values())) if item.artifact)
    told: dict[str, str] = {}
    for name, result in results.items():
        facts = dict(result.facts)
        wanted = {
            "package": ("image", "image_digest", "image_artifact"),
            "evaluate": ("report",),
        }.get(calls[name].kind, ())
        told |= {key: str(facts[key]) for key in wanted if facts.get(key)}
    return msgspec.convert({"artifact": artifact, **told}, Packaged)


def model_events(
    recorder: Recorder,
    pipeline: str,
    run_id: str,
    calls: Mapping[str, StepCall],
    results: Mapping[str, StepResult],
    packaged: Packaged,
    *,
    sources: Mapping[str, str],
    production: str,
) -> list[Event]:
    """Return the events that a model got its version, was judged and packaged."""
    made = [name for name, item in results.items() if item.artifact]
    trained = next(name for name in calls if calls[name].kind == "train")
    artifact = Digest(results[made[-1]].artifact or "")
    version = artifact[:12]
    data = used_by(recorder, calls[trained], sources)
    metrics = {k: v for item in results.values() for k, v in item.metrics}
    step = step_uri(recorder, pipeline, run_id, trained)
    newer = model_uri(recorder, pipeline, production[:12]) if production else None
    events = [
        record_models.model_registered(
            recorder,
            key=f"{run_id}:register",
            model=ModelVersion(
                name=pipeline,
                version=version,
                artifact=artifact,
                trained_on=tuple(
                    i.snapshot.digest for i in calls[trained].inputs if i.snapshot
                ),
                code=calls[trained].code,
                params=results[trained].facts,
                metrics=tuple(sorted(metrics.items())),
                seed=calls[trained].seed,
            ),
            trained_on=data,
            step=step,
            supersedes=newer,
            facts=record_models.signature_facts(packaged.signature, packaged.signature_key),
        )
    ]
    events.append(
        record_columns.model_columns_recorded(
            recorder,
            key=f"{run_id}:register:columns",
            model=pipeline,
            version=version,
            reads=reads_of(calls[trained]),
        )
    )
    for name, call in calls.items():
        own_step = step_uri(recorder, pipeline, run_id, name)
        if call.kind == "evaluate":
            events.append(
                record_models.evaluation_recorded(
                    recorder,
                    key=f"{run_id}:{name}:evaluation",
                    model=pipeline,
                    version=version,
                    evaluated_on=used_by(recorder, call, sources),
                    metrics=dict(results[name].metrics),
                    passed=results[name].passed,
                    step=own_step,
                    facts=dict(results[name].facts),
                )
            )
        if call.kind == "package":
            events.append(
                record_models.model_packaged(
                    recorder,
                    key=f"{run_id}:{name}:package",
                    model=pipeline,
                    version=version,
                    artifact=artifact,
                    image=packaged.image,
                    image_digest=packaged.image_digest,
                    image_artifact=packaged.image_artifact,
                    image_signature=packaged.image_signature,
                    signature_key=packaged.signature_key,
                    step=own_step,
                )
            )
    return events
