"""What the API asks of the control plane, done."""

import logging
import threading
from pathlib import Path
from typing import Any, Final, NoReturn

from mlg.adapters.keys_local import anchor_public_key, load_anchors
from mlg.adapters.seal_parquet import decoded
from mlg.api.health import HealthAnswer
from mlg.api.schemas import (
    ExperimentActRequest,
    ExportRequest,
    GameDayRequest,
    RolloutStartRequest,
)
from mlg.app.automations_document import automations_document
from mlg.app.ending import end_all
from mlg.app.exporting import export, sign_head
from mlg.app.exposition import exposition, targets
from mlg.app.freezing import freeze, frozen_document
from mlg.app.gameday import GameDays
from mlg.app.graphs import beside
from mlg.app.health import health_document
from mlg.app.parts import Parts
from mlg.app.pipeline_runs import run_request
from mlg.app.reacting import mark_restart
from mlg.app.runs import run_document, run_documents
from mlg.app.sealed import SealedSegment
from mlg.app.specs import GATEWAY_RESTART
from mlg.app.status import status_document
from mlg.core.clock import parse_time
from mlg.core.errors import LifecycleError, ManifestError, NotFoundError
from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.principal import Principal
from mlg.core.reading import WalkOptions
from mlg.core.uris import parse_uri
from mlg.graph import audit, record_acts, record_services
from mlg.graph.answers import WalkAnswer, walk_answer
from mlg.graph.lineage import Answered, trace_prediction
from mlg.graph.record import Recorder, model_uri
from mlg.graph.why import WhyAnswer
from mlg.graph.why_prediction import why_prediction
from mlg.monitors.live_summary import summary
from mlg.workflows import durable

logger = logging.getLogger("mlg.operations")

_MOST_OWED: Final = 100


class ControlOperations:
    """Implements the API's `Operations` over the parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._applying = threading.Lock()
        self._gamedays = GameDays(parts)
        self._owed: list[Event] = []
        """Refusals that could not be recorded when they happened."""

    def plan(self, manifest_path: str) -> dict[str, Any]:
        """Return what `apply` would change."""
        return self._parts.manifests.plan(Path(manifest_path))

    def apply(self, manifest_path: str, principal: Principal) -> dict[str, Any]:
        """Put the manifest in force.

        Raises:
            LifecycleError: It was refused; that is on the graph, and nothing changed.
        """
        with self._applying:
            path = Path(manifest_path)
            try:
                done = self._parts.manifests.apply(path, self._recorder_of(path, principal))
            except LifecycleError as error:
                self._refused(path, principal, error)
                raise
            self._parts.fleet.refresh()
            self._record_owed()
            return done

    def run(
        self, pipeline: str, principal: Principal, params: dict[str, Any]
    ) -> dict[str, Any]:
        """Start a run of the pipeline in force.

        Raises:
            NotFoundError: Nothing is applied, or there is no such pipeline.
        """
        del params, principal  # none are declared yet; the run is recorded as the workflow's
        parts = self._parts
        request = run_request(
            parts.manifests, parts.files, pipeline, parts.ids.new_id(), asked_by_person=True
        )
        return {"run_id": durable.start_run(parts.train, request), "pipeline": pipeline}

    def run_status(self, run_id: str) -> dict[str, Any]:
        """Return one run with its steps."""
        return run_document(self._parts.reader, run_id, durable.run_result(run_id))

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs, newest first."""
        return run_documents(self._parts.reader)

    def status(self) -> dict[str, Any]:
        """Return services, ports and pids."""
        return status_document(self._parts)

    def service_health(self, service: str) -> HealthAnswer:
        """Return how one service is."""
        return health_document(self._parts, service)

    def live(self) -> dict[str, Any]:
        """Return the live counters."""
        spec = self._parts.manifests.spec()
        return {"project": spec.project if spec else "", **summary(self._parts.tail.state)}

    def prediction(self, prediction_id: str) -> dict[str, Any]:
        """Return one answer as the log keeps it.

        Raises:
            NotFoundError: There is none, or it was erased.
        """
        seals = self._parts.seals
        segment, row = seals.read(seals.services(), prediction_id)
        if not row:
            _erased(prediction_id)
        return {"segment": seals.uri(segment) if segment else None, **row}

    def trace_prediction(
        self, prediction: str, options: WalkOptions | None = None
    ) -> WalkAnswer:
        """Return the walk from one answer to its sources."""
        answered = self._answered(prediction)[0]
        return walk_answer(trace_prediction(answered, self._parts.reader, options))

    def why_prediction(self, prediction: str) -> WhyAnswer:
        """Return why one answer was given."""
        parts = self._parts
        return why_prediction(parts.reader, parts.reader, self._answered(prediction)[0])

    def audit_export(self, asked: ExportRequest, principal: Principal) -> tuple[str, bytes]:
        """Return the bundle that was asked for, signing the log's head first if needed."""
        return export(self._parts, asked, self._answered, principal)

    def erase(
        self, viewer: str, service: str, reason: str, dry_run: bool, principal: Principal
    ) -> dict[str, Any]:
        """Erase one viewer, or tell what would be erased."""
        return self._parts.privacy.erasures.erase(
            viewer, service, reason, principal.subject, dry_run=dry_run
        )

    def collect(self, dry_run: bool, principal: Principal) -> dict[str, Any]:
        """Apply retention now, or tell what it would erase."""
        del principal  # what the manifest declares is done in the system's name
        return self._parts.privacy.retention.apply(dry_run=dry_run)

    def audit_verify(self) -> dict[str, Any]:
        """Check the whole event log."""
        files = self._parts.files
        return audit.verify_chain(
            self._parts.store,
            load_anchors(files),
            anchor_public_key(files),
            beside(self._parts.home, self._parts.reader),
        )

    def anchor(self) -> None:
        """Sign the head of the log and keep it outside the database."""
        sign_head(self._parts)

    def restart(
        self, service: str, principal: Principal, *, gateways: bool = False
    ) -> dict[str, Any]:
        """Replace the service's replicas, or the gateways, one by one.

        Raises:
            ManifestError: Neither or both are named.
            NotFoundError: No such service.
        """
        parts = self._parts
        if bool(service) == gateways:
            raise ManifestError(
                "expected the name of a service, or the gateways: one of the two",
                where="restart",
            )
        mark = f"{principal.subject} {parts.ids.new_id()}"
        if gateways:
            return self._restart_gateways(mark, principal)
        mark_restart(parts.files, parts.manifests, service, mark)
        parts.store.append(
            (
                record_services.service_restarted(
                    parts.recorder(principal.subject), key=f"restart:{mark}", service=service
                ),
            )
        )
        parts.fleet.refresh()
        return {"service": service, "state": "restarting"}

    def _restart_gateways(self, mark: str, principal: Principal) -> dict[str, Any]:
        parts = self._parts
        names = [p.id for p in parts.supervisor.processes() if p.kind == "gateway"]
        parts.files.write(GATEWAY_RESTART, mark.encode())
        if names:
            recorder = parts.recorder(principal.subject)
            key = f"restart:{mark}"
            parts.store.append(
                (record_services.gateways_restarted(recorder, key=key, gateways=names),)
            )
        parts.fleet.refresh()
        return {"gateways": names, "state": "restarting"}

    def rollout(self, service: str, *, evidence: bool = False) -> dict[str, Any]:
        """Return where the newest rollout of a service stands."""
        return self._parts.acts.status(service, evidence=evidence)

    def rollout_act(
        self, service: str, act: str, reason: str, principal: Principal, *, key: str = ""
    ) -> dict[str, Any]:
        """Tell the service's rollout what to do."""
        with self._applying:
            return self._parts.acts.act(
                service, act, principal.subject, reason, key=key, roles=principal.roles
            )

    def rollout_start(self, asked: RolloutStartRequest, principal: Principal) -> dict[str, Any]:
        """Start the rollout of a version that was made before."""
        with self._applying:
            return self._parts.starts.start(
                asked.service,
                asked.version,
                principal.subject,
                asked.reason,
                again=asked.again,
                key=asked.key,
            )

    def experiments(self) -> list[dict[str, Any]]:
        """Return the experiments in force."""
        return self._parts.experiments.list()

    def experiment(self, name: str) -> dict[str, Any]:
        """Return how an experiment stands."""
        return self._parts.experiments.status(name)

    def experiment_plan(self, name: str) -> dict[str, Any]:
        """Return how long an experiment will take, before it is started."""
        return self._parts.experiments.plan(name)

    def experiment_act(
        self, asked: ExperimentActRequest, principal: Principal
    ) -> dict[str, Any]:
        """Start or stop an experiment."""
        with self._applying:
            return self._parts.experiments.act(
                asked.experiment, asked.act, principal.subject, asked.reason, key=asked.key
            )

    def automations(self) -> dict[str, Any]:
        """Return the rules in force, the newest answers, and the proposals that wait."""
        return automations_document(self._parts)

    def answer_proposal(
        self, proposal: str, act: bool, reason: str, principal: Principal
    ) -> dict[str, Any]:
        """Let a proposal act, or turn it down."""
        with self._applying:
            return self._parts.proposals.answer(proposal, act, reason, principal)

    def frozen(self) -> dict[str, Any]:
        """Return whether everything is frozen, by whom, since when and why."""
        return frozen_document(self._parts.files)

    def freeze(self, on: bool, reason: str, principal: Principal) -> dict[str, Any]:
        """Freeze, or let everything go on."""
        parts = self._parts
        with self._applying:
            return freeze(
                parts.files, parts.store, parts.recorder(principal.subject), on, reason
            )

    def gamedays(self) -> dict[str, Any]:
        """Return the faults that can be made, and the newest game day."""
        return self._gamedays.document()

    def gameday(self, asked: GameDayRequest, principal: Principal) -> dict[str, Any]:
        """Make a fault on purpose."""
        return self._gamedays.begin(
            asked.fault,
            asked.service,
            asked.environment,
            asked.seconds,
            asked.confirmed,
            principal,
        )

    def gameday_end(self, gameday: str, principal: Principal) -> dict[str, Any]:
        """End a game day's fault now."""
        del principal  # it ends by itself as well
        return self._gamedays.end(gameday)

    def recover(self) -> None:
        """Take back what a control plane that died left on purpose: faults of a game day."""
        self._gamedays.sweep()

    def close(self) -> None:
        """End what it began and nobody else ends."""
        self._gamedays.close()

    def down(self, principal: Principal) -> dict[str, Any]:
        """End the data plane; the control plane follows after the answer."""
        del principal
        self.close()
        self._parts.ended.set()  # what ends slowly begins now; the API waits for this answer
        self._parts.supervisor.close()
        ended = end_all(self._parts.launcher)
        self.anchor()
        return {"stopped": list(ended)}

    def metrics_text(self) -> str:
        """Return Prometheus text."""
        return exposition(self._parts)

    def metric_targets(self) -> list[dict[str, Any]]:
        """Return where replicas expose their own metrics."""
        return targets(self._parts)

    def gateway_port(self) -> int:
        """Return the viewers' port."""
        return self._parts.gateway_port

    def _refused(self, path: Path, principal: Principal, error: LifecycleError) -> None:
        """Record that an apply was refused, at once or when the log can be written again."""
        recorder = self._parts.recorder(principal.subject)
        self._owed.append(
            record_acts.failure_recorded(
                recorder,
                key=f"apply refused:{recorder.ids.new_id()}",
                subject=recorder.uri("commit", "manifest"),
                error=error,
                command=f"apply {path.name}",
            )
        )
        del self._owed[:-_MOST_OWED]
        self._record_owed()

    def _record_owed(self) -> None:
        try:
            self._parts.store.append(tuple(self._owed))
            self._owed.clear()
        except LifecycleError as error:
            logger.warning("not recorded yet: %s", error)

    def _recorder_of(self, path: Path, principal: Principal) -> Recorder:
        """Return a recorder in the caller's name; the first apply names the project."""
        from mlg.manifest.load import load_manifest  # noqa: PLC0415 (named once, before apply)

        recorder = self._parts.recorder(principal.subject)
        project = load_manifest(path).spec.project
        return Recorder(
            project=project, actor=recorder.actor, clock=recorder.clock, ids=recorder.ids
        )

    def _find(self, prediction_id: str) -> tuple[SealedSegment, Any]:
        return self._parts.seals.find(self._parts.seals.services(), prediction_id)

    def _answered(self, prediction: str) -> tuple[Answered, Any]:
        parts = self._parts
        prediction_id = prediction
        if prediction.startswith("mlg://"):
            prediction_id = parse_uri(prediction).version or prediction
        segment, sealed = self._find(prediction_id)
        row = decoded(sealed)
        if not row:
            _erased(prediction_id)
        recorder = parts.recorder("system:control")
        spec = parts.manifests.spec()
        served = spec.services.get(segment.service) if spec else None
        model = (served.model if served else None) or segment.service
        shown = (
            "served_by", "reason", "confidence", "raw_confidence", "policy", "latency_ms",
            "arm", "propensity",
        )  # fmt: skip
        attrs: dict[str, Attr] = {name: row.get(name) for name in shown}
        attrs["event_time"] = row["at"]
        version = row.get("model_version")
        answered = Answered(
            project=recorder.project,
            service=segment.service,
            prediction_id=prediction_id,
            at=parse_time(row["received_at"]),
            model_version=model_uri(recorder, model, version) if version else None,
            segment=parts.seals.uri(segment),
            attrs=tuple(sorted(attrs.items())),
        )
        return answered, sealed


def _erased(prediction_id: str) -> NoReturn:
    raise NotFoundError(
        f"prediction {prediction_id} was erased",
        where="segments",
        hint="its leaf still proves that there was one; see mlg.erasure.performed events.",
    )
