"""A pipeline run: begin, each step in order, register, release, finish.

Each step is durable: a control plane that dies is brought back and goes on at the
step that was interrupted. Steps whose call is unchanged come from the cache, so a
run started again after a failure goes on where the failed one stopped.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec
from dbos import DBOS, DBOSConfiguredInstance

from mlg.core.clock import Clock
from mlg.core.errors import LifecycleError
from mlg.core.events import Event
from mlg.core.ports import ArtifactStore, Files, GraphReader, GraphStore, StepRunner
from mlg.core.steps import StepCall, StepResult
from mlg.core.uris import Digest
from mlg.graph import record_acts, record_runs
from mlg.graph.record import Recorder
from mlg.workflows.packaged import Signer, write_packaged
from mlg.workflows.record import append_once
from mlg.workflows.release import Release
from mlg.workflows.run_record import (
    error_of,
    model_events,
    packaged_of,
    step_columns,
    step_ended,
    used_by,
)
from mlg.workflows.sources import note_source


class TrainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run needs, by value, so that a changed file cannot change a replay."""

    run_id: str
    project: str
    pipeline: str
    manifest: str
    """Canonical JSON text of the manifest."""
    folder: Digest
    services: tuple[str, ...]
    """Services that serve this pipeline's model."""
    production: str = ""
    """Artifact that serves now, for the gates; empty before the first release."""
    params: dict[str, Any] = {}
    """Parameters of the train step that this run has instead of the manifest's."""
    threads: int = 2


class Plan(Protocol):
    """How a manifest's pipeline becomes calls; pure."""

    def order(self, request: TrainRequest) -> tuple[str, ...]:
        """Return the names of the steps in the order they run."""
        ...

    def call(
        self, request: TrainRequest, name: str, results: dict[str, StepResult]
    ) -> StepCall:
        """Return the call of one step, given what the earlier ones made."""
        ...

    def cache_key(self, call: StepCall) -> str:
        """Return the digest of everything that the call's result depends on."""
        ...

    def sources(self, request: TrainRequest) -> dict[str, str]:
        """Return the source URI of each dataset that comes from outside."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPorts:
    """What a run needs from the world."""

    files: Files
    artifacts: ArtifactStore
    runner: StepRunner
    store: GraphStore
    reader: GraphReader
    clock: Clock
    recorder: Callable[[], Recorder]
    plan: Plan
    signer: Signer


@DBOS.dbos_class()
class Train(DBOSConfiguredInstance):
    """Durable run of one pipeline."""

    def __init__(self, ports: TrainPorts, release: Release) -> None:
        self._ports = ports
        self._release = release
        super().__init__("train")

    @DBOS.workflow(name="train")
    def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Run the pipeline to its end; return `{"state", …}`, never raise for a failed step."""
        results: dict[str, dict[str, Any]] = {}
        for name in self.begin(raw):
            done = self.step(raw, name, results)
            if "error" in done:
                self.finish(raw, "failed", name, done["error"])
                return {"state": "failed", "step": name, "error": done["error"]}
            results[name] = done
            if not done["passed"]:
                self.finish(raw, "rejected", name, {})
                return {"state": "rejected", "step": name, "metrics": dict(done["metrics"])}
        model = self.register(raw, results)
        for service in raw["services"] if model["artifact"] else ():
            rollout = DBOS.start_workflow(
                self._release.run, service, raw["pipeline"], model["artifact"], raw["run_id"]
            )
            if raw["production"]:
                continue  # it wins against what serves, or not, long after this run
            released = rollout.get_result()
            if released["state"] != "released":
                self.finish(raw, "failed", "release", released["error"])
                return {"state": "failed", "step": "release", "error": released["error"]}
        self.finish(raw, "done", "", {})
        return {"state": "done", **model}

    @DBOS.step(name="train.begin")
    def begin(self, raw: dict[str, Any]) -> list[str]:
        """Record that the run began; return its steps in order."""
        request = msgspec.convert(raw, TrainRequest)
        recorder = self._ports.recorder()
        self._record(
            record_runs.run_started(
                recorder,
                key=f"{request.run_id}:begin",
                pipeline=request.pipeline,
                run_id=request.run_id,
                triggered_by=recorder.uri("commit", "manifest", request.folder[:12]),
                facts={
                    "folder": request.folder,
                    **{f"param.{name}": str(value) for name, value in request.params.items()},
                },
            )
        )
        return list(self._ports.plan.order(request))

    @DBOS.step(name="train.step")
    def step(
        self, raw: dict[str, Any], name: str, results: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """Run one step, or take its result from the cache."""
        request = msgspec.convert(raw, TrainRequest)
        recorder, plan = self._ports.recorder(), self._ports.plan
        key = f"{request.run_id}:{name}"
        sources = plan.sources(request)
        began_s, kind = self._ports.clock.monotonic_s(), "source"
        try:
            call = plan.call(request, name, _typed(results))
            kind = call.kind
            self._record(
                record_runs.step_started(
                    recorder,
                    key=f"{key}:start",
                    pipeline=request.pipeline,
                    run_id=request.run_id,
                    step=name,
                    step_kind=call.kind,
                    inputs=used_by(recorder, call, sources),
                    code=call.code,
                    commit=recorder.uri("commit", "manifest", request.folder[:12]),
                )
            )
            path = f"cache/{plan.cache_key(call)}.json"
            cached = self._cached(path)
            result = cached or self._ports.runner.run(call)
        except LifecycleError as error:
            self._fail(request, name, kind, error)
            return {"error": error.as_dict()}
        self._note_source(request, name, None)
        if cached is None:
            self._ports.files.write(path, msgspec.json.encode(result))
        self._record(
            *step_ended(
                recorder,
                request.pipeline,
                request.run_id,
                call,
                result,
                sources=sources,
                cached=cached is not None,
                seconds=self._ports.clock.monotonic_s() - began_s,
            )
        )
        self._record(
            *step_columns(
                recorder, self._ports.reader, request.run_id, call, result, sources=sources
            )
        )
        return msgspec.to_builtins(replace(result, lineage=None))  # it is on the graph now

    @DBOS.step(name="train.register")
    def register(
        self, raw: dict[str, Any], results: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """Record the model version that the run made, or that it made none."""
        request = msgspec.convert(raw, TrainRequest)
        done = _typed(results)
        calls = {name: self._ports.plan.call(request, name, done) for name in done}
        artifacts = [item.artifact for item in done.values() if item.artifact]
        if not artifacts:
            return {"artifact": "", "version": "", "metrics": {}}
        metrics = {key: value for item in done.values() for key, value in item.metrics}
        packaged = self._ports.signer.sign(packaged_of(calls, done))
        write_packaged(self._ports.files, packaged)
        self._record(
            *model_events(
                self._ports.recorder(),
                request.pipeline,
                request.run_id,
                calls,
                done,
                packaged,
                sources=self._ports.plan.sources(request),
                production=request.production,
            )
        )
        return {"artifact": artifacts[-1], "version": artifacts[-1][:12], "metrics": metrics}

    @DBOS.step(name="train.finish")
    def finish(self, raw: dict[str, Any], state: str, step: str, error: dict[str, str]) -> None:
        """Record how the run ended."""
        request = msgspec.convert(raw, TrainRequest)
        recorder = self._ports.recorder()
        key = f"{request.run_id}:finish"
        if state == "failed":
            event = record_runs.run_failed(
                recorder,
                key=key,
                pipeline=request.pipeline,
                run_id=request.run_id,
                error=error_of(error),
                step=step,
            )
        else:
            event = record_runs.run_finished(
                recorder,
                key=key,
                pipeline=request.pipeline,
                run_id=request.run_id,
                seconds=0.0,
                facts={"verdict": state, "step": step},
            )
        self._record(event)

    def _note_source(
        self, request: TrainRequest, name: str, error: LifecycleError | None
    ) -> None:
        dataset = name.removeprefix("source_")
        if dataset in self._ports.plan.sources(request):
            note_source(self._ports.files, dataset, request.run_id, error)

    def _fail(self, request: TrainRequest, name: str, kind: str, error: LifecycleError) -> None:
        self._note_source(request, name, error)
        recorder = self._ports.recorder()
        key = f"{request.run_id}:{name}"
        read = name.removeprefix("source_")
        sources = self._ports.plan.sources(request)
        dataset = recorder.uri("dataset", read) if read in sources else None
        self._record(
            record_runs.step_failed(
                recorder,
                key=f"{key}:failed",
                pipeline=request.pipeline,
                run_id=request.run_id,
                step=name,
                step_kind=kind,
                error=error,
            ),
            *(
                [
                    record_acts.failure_recorded(
                        recorder,
                        key=f"{key}:failure",
                        subject=dataset,
                        error=error,
                        command="run",
                    )
                ]
                if dataset
                else []
            ),
        )

    def _cached(self, path: str) -> StepResult | None:
        content = self._ports.files.read(path)
        if content is None:
            return None
        try:
            result = msgspec.json.decode(content, type=StepResult)
        except msgspec.MsgspecError:
            return None  # a damaged cache entry is only a lost shortcut
        stored = [result.artifact] if result.artifact else []
        stored += [result.snapshot.digest] if result.snapshot else []
        image = dict(result.facts).get("image_artifact")
        stored += [Digest(image)] if isinstance(image, str) else []
        return result if all(self._ports.artifacts.has(digest) for digest in stored) else None

    def _record(self, *events: Event) -> None:
        append_once(self._ports.store, events)


def _typed(results: dict[str, dict[str, Any]]) -> dict[str, StepResult]:
    return {name: msgspec.convert(item, StepResult) for name, item in results.items()}
