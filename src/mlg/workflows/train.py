"""A pipeline run: begin, each step in order, register, release, finish.

Each step is durable: a control plane that dies is brought back and goes on at the
step that was interrupted. Steps whose call is unchanged come from the cache, so a
run started again after a failure goes on where the failed one stopped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from dbos import DBOS, DBOSConfiguredInstance

from mlg.core.errors import LifecycleError
from mlg.core.events import Event
from mlg.core.ports import ArtifactStore, Files, GraphStore, StepRunner
from mlg.core.steps import StepCall, StepResult
from mlg.core.uris import Digest
from mlg.graph.record import Recorder
from mlg.workflows.record import append_once
from mlg.workflows.release import Release


class TrainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run needs, by value, so that a changed file cannot change a replay."""

    run_id: str
    project: str
    pipeline: str
    manifest: str
    """Canonical JSON text of the manifest."""
    folder: str
    services: tuple[str, ...]
    """Services that serve this pipeline's model."""
    production: str = ""
    """Artifact that serves now, for the gates; empty before the first release."""
    cause: str = ""
    threads: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPorts:
    """What a run needs from the world."""

    files: Files
    artifacts: ArtifactStore
    runner: StepRunner
    store: GraphStore
    recorder: Callable[[], Recorder]
    order: Callable[[TrainRequest], tuple[str, ...]]
    """Names of the steps in the order they run."""
    call: Callable[[TrainRequest, str, dict[str, StepResult]], StepCall]
    """The call of one step, given the results so far."""
    cache_key: Callable[[StepCall], Digest]


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
        names = self.begin(raw)
        for name in names:
            done = self.step(raw, name, results)
            if "error" in done:
                self.finish(raw, "failed", name, done["error"])
                return {"state": "failed", "step": name, "error": done["error"]}
            results[name] = done
            if not done["passed"]:
                self.finish(raw, "rejected", name, {})
                return {"state": "rejected", "step": name, "metrics": done["metrics"]}
        model = self.register(raw, results)
        for service in raw["services"] if model["artifact"] else ():
            released = self._release.run(service, raw["pipeline"], model["artifact"], model["event"])
            if "error" in released:
                problem = {"error": "backend", "what": released["error"], "where": service,
                           "hint": released.get("hint", "")}  # fmt: skip
                self.finish(raw, "failed", "release", problem)
                return {"state": "failed", "step": "release", "error": problem}
        self.finish(raw, "done", "", {})
        return {"state": "done", **model}

    @DBOS.step(name="train.begin")
    def begin(self, raw: dict[str, Any]) -> list[str]:
        """Record that the run began; return its steps in order."""
        request = msgspec.convert(raw, TrainRequest)
        self._record(
            self._ports.recorder().run_started(
                pipeline=request.pipeline,
                run_id=request.run_id,
                folder=request.folder,
                cause=request.cause or None,
                key=f"{request.run_id}:begin",
            )
        )
        return list(self._ports.order(request))

    @DBOS.step(name="train.step")
    def step(
        self, raw: dict[str, Any], name: str, results: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """Run one step, or take its result from the cache."""
        request = msgspec.convert(raw, TrainRequest)
        recorder = self._ports.recorder()
        done = {key: msgspec.convert(value, StepResult) for key, value in results.items()}
        key = f"{request.run_id}:{name}"
        try:
            call = self._ports.call(request, name, done)
            self._record(
                recorder.step_started(run_id=request.run_id, call=call, key=f"{key}:start")
            )
            cached = self._cached(call)
            result = cached or self._ports.runner.run(call)
        except LifecycleError as error:
            self._record(
                recorder.step_failed(
                    run_id=request.run_id,
                    pipeline=request.pipeline,
                    step=name,
                    error=error.as_dict(),
                    key=f"{key}:failed",
                )
            )
            return {"error": error.as_dict()}
        if cached is None:
            path = f"cache/{self._ports.cache_key(call)}.json"
            self._ports.files.write(path, msgspec.json.encode(result))
        self._record(
            recorder.step_finished(
                run_id=request.run_id,
                call=call,
                result=result,
                cached=cached is not None,
                key=f"{key}:done",
            )
        )
        return msgspec.to_builtins(result)

    @DBOS.step(name="train.register")
    def register(self, raw: dict[str, Any], results: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Record the model version that the run made, or that it made none."""
        request = msgspec.convert(raw, TrainRequest)
        done = {key: msgspec.convert(value, StepResult) for key, value in results.items()}
        made = [(name, item) for name, item in done.items() if item.artifact and item.passed]
        if not made:
            return {"artifact": "", "event": "", "version": ""}
        artifact = made[-1][1].artifact or ""
        calls = {name: self._ports.call(request, name, done) for name in done}
        event = self._ports.recorder().model_registered(
            request_pipeline=request.pipeline,
            run_id=request.run_id,
            artifact=Digest(artifact),
            calls=calls,
            results=done,
            production=request.production,
            key=f"{request.run_id}:register",
        )
        self._record(event)
        metrics = {key: value for item in done.values() for key, value in item.metrics}
        return {
            "artifact": artifact,
            "version": artifact[:12],
            "event": str(event.id),
            "metrics": metrics,
        }

    @DBOS.step(name="train.finish")
    def finish(self, raw: dict[str, Any], state: str, step: str, error: dict[str, str]) -> None:
        """Record how the run ended."""
        request = msgspec.convert(raw, TrainRequest)
        self._record(
            self._ports.recorder().run_finished(
                pipeline=request.pipeline,
                run_id=request.run_id,
                state=state,
                step=step,
                error=error,
                key=f"{request.run_id}:finish",
            )
        )

    def _cached(self, call: StepCall) -> StepResult | None:
        content = self._ports.files.read(f"cache/{self._ports.cache_key(call)}.json")
        if content is None:
            return None
        result = msgspec.json.decode(content, type=StepResult)
        stored = [result.artifact] if result.artifact else []
        stored += [result.snapshot.digest] if result.snapshot else []
        return result if all(self._ports.artifacts.has(digest) for digest in stored) else None

    def _record(self, *events: Event) -> None:
        append_once(self._ports.store, events)
