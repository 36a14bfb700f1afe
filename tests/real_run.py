"""A real run of the tiny project in this process, on a real graph: no server, no waiting."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.engine_duckdb import DuckDBEngine
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.network_memory import MemoryNetwork
from mlg.adapters.sources import Sources
from mlg.app.images import pack
from mlg.app.manifests import Manifests
from mlg.app.pipeline_runs import run_request
from mlg.app.pipelines import Pipelines
from mlg.app.signing import Signing, prepare_signing
from mlg.core.clock import ManualClock
from mlg.core.events import Event
from mlg.core.steps import StepCall, StepResult
from mlg.graph.record import Recorder
from mlg.pipeline.run import run_step
from mlg.workflows.train import Train, TrainPorts
from tests.conftest import make_tiny


@dataclass
class RealRun:
    """The instance's parts, and the id of the run."""

    home: Path
    clock: ManualClock
    files: LocalFiles
    store: SqliteGraph
    reader: SqliteGraphReader
    recorder: Recorder
    train: Train
    request: dict[str, Any]

    @property
    def events(self) -> list[Event]:
        """Return the whole log."""
        return [stored.event for stored in self.store.events(0, 10_000)]

    def run(self, run_id: str) -> None:
        """Run every step as the durable workflow does, up to one that fails."""
        raw = {**self.request, "run_id": run_id}
        results: dict[str, Any] = {}
        for name in self.train.begin(raw):
            self.clock.wait(1)
            results[name] = self.train.step(raw, name, results)
            if "error" in results[name]:
                self.train.finish(raw, "failed", name, results[name]["error"])
                return
        self.train.register(raw, results)
        self.clock.wait(1)
        self.train.finish(raw, "done", "", {})


class _Here:
    """Runs a step in this process."""

    def __init__(self, engine: DuckDBEngine, artifacts: LocalArtifacts, work: Path) -> None:
        self._engine, self._artifacts, self._work = engine, artifacts, work

    def run(self, call: StepCall) -> StepResult:
        result = run_step(
            call,
            engine=self._engine,
            artifacts=self._artifacts,
            work=self._work,
            progress=lambda _: None,
        )
        if call.kind != "package" or result.artifact is None:
            return result
        digest, stored = pack(call, result.artifact, self._artifacts, self._work)
        facts = (("image_digest", digest), ("image_artifact", stored))
        return replace(result, facts=(*result.facts, *facts))


def real_run(root: Path) -> RealRun:
    """Apply the tiny project in a new home under `root`; nothing is run yet."""
    folder = make_tiny(root / "tiny")
    home = folder / ".mlg"
    work = home / "work"
    work.mkdir(parents=True)
    clock = ManualClock()
    files, artifacts = LocalFiles(home), LocalArtifacts(home / "artifacts")
    store = SqliteGraph(home / "graph.sqlite3", clock)
    ids = Uuid7Ids(clock)
    recorder = Recorder(project="tiny", actor="workflow:train", clock=clock, ids=ids)
    manifests = Manifests(home, files, artifacts, store)
    manifests.apply(folder / "mlg.yaml", recorder)
    engine = DuckDBEngine(
        artifacts, Sources(root / "cache", MemoryNetwork()), clock=clock, work=work
    )
    reader = SqliteGraphReader(home / "graph.sqlite3")
    prepare_signing(files, artifacts, (), (), lambda _: None)
    ports = TrainPorts(
        files=files,
        artifacts=artifacts,
        runner=_Here(engine, artifacts, work),
        store=store,
        reader=reader,
        clock=clock,
        recorder=lambda: recorder,
        plan=Pipelines(artifacts),
        signer=Signing(files, artifacts),
    )
    request = run_request(manifests, files, "list", "unset")
    return RealRun(
        home=home,
        clock=clock,
        files=files,
        store=store,
        reader=reader,
        recorder=recorder,
        train=Train(ports, None),  # type: ignore[arg-type]  # nothing is released here
        request=msgspec.to_builtins(request),
    )
