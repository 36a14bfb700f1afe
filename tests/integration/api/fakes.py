"""A control plane in memory: a log, a reader of fixed nodes, and operations that remember."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.api.health import HealthAnswer, Restarts, availability_of
from mlg.api.operations import ApiServices
from mlg.api.schemas import (
    ExperimentActRequest,
    ExportRequest,
    GameDayRequest,
    RolloutStartRequest,
)
from mlg.core.clock import ManualClock, rfc3339
from mlg.core.errors import BackendError, ManifestError, NotFoundError
from mlg.core.events import Event, Revision, StoredEvent
from mlg.core.nodes import Edge, Node
from mlg.core.principal import Principal
from mlg.core.reading import (
    Direction,
    InProduction,
    NodePage,
    NodeQuery,
    Production,
    Reached,
    Walk,
    WalkOptions,
)
from mlg.core.uris import EventId, Uri, make_uri
from mlg.graph.answers import ReachedAnswer, WalkAnswer
from mlg.graph.why import WhyAnswer, from_clauses
from mlg.graph.why_words import Clause

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = "<img src=x onerror=alert(1)>\"'</script>"
DATASET = make_uri("dataset_version", "movies", "ratings", "abc")
MODEL = make_uri("model_version", "movies", "ranker", "3f2a")
PREDICTION = make_uri("prediction", "movies", "home", "p-1")


def make_event(number: int, *, name: str = "ratings") -> Event:
    return Event(
        key=f"k{number}",
        id=EventId(f"id-{number}"),
        at=AT,
        recorded_at=AT,
        type="mlg.dataset_version.stored",
        actor="workflow:train",
        subject=make_uri("dataset_version", "movies", name, str(number)),
        data=(("rows", number),),
    )


class Log:
    """An append-only list with a chain."""

    def __init__(self) -> None:
        self.stored: list[StoredEvent] = []
        self.broken = False

    def append(self, events: Sequence[Event], *, expect: Revision | None = None) -> Revision:
        assert expect in {None, self.head()}
        for event in events:
            previous = self.head().hash
            self.stored.append(
                StoredEvent(
                    seq=len(self.stored) + 1,
                    event=event,
                    prev_hash=previous,
                    hash=sha256(f"{previous}{event.key}".encode()).hexdigest(),
                )
            )
        return self.head()

    def events(self, after: int = 0, limit: int = 1_000) -> tuple[StoredEvent, ...]:
        if self.broken:
            raise BackendError("the disk is gone", where="graph.sqlite3")
        return tuple(self.stored[after : after + limit])

    def head(self) -> Revision:
        if not self.stored:
            return Revision(seq=0, hash="0" * 64)
        return Revision(seq=self.stored[-1].seq, hash=self.stored[-1].hash)

    def rebuild(self) -> int:
        return len(self.stored)


class Reader:
    """One dataset version that a model version was trained on."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self._dataset = Node(uri=DATASET, kind="dataset_version", name="ratings", valid_from=AT)
        self._model = Node(
            uri=MODEL,
            kind="model_version",
            name=HOSTILE,
            attrs=(("note", HOSTILE), ("seed", 7)),
            valid_from=AT,
        )

    def walk(self, root: Uri, direction: Direction, options: WalkOptions) -> Walk:
        self.asked.append(options)
        if root not in {DATASET, MODEL}:
            raise NotFoundError("no such node", where=root, hint="mlg search")
        return Walk(
            root=root,
            direction=direction,
            total=2,
            truncated=False,
            nodes=(Reached(node=self._model, depth=0), Reached(node=self._dataset, depth=1)),
            edges=(
                Edge(
                    src=DATASET, dst=MODEL, role="trained_on", event=EventId("e"), valid_from=AT
                ),
            ),
        )

    def nodes(self, query: NodeQuery) -> NodePage:
        self.asked.append(query)
        return NodePage(nodes=(self._model,), total=3, cursor="next")

    def production(self, service: str, at: datetime) -> Production:
        deployment = make_uri("deployment", "movies", service, "d1")
        return Production(
            service=service,
            at=at,
            versions=(
                InProduction(
                    model_version=MODEL,
                    deployment=deployment,
                    image_digest="aa",
                    share_bp=10_000,
                    since=AT,
                    health="healthy",
                ),
            ),
        )

    def search(
        self, text: str, kinds: tuple[str, ...] = (), limit: int = 50
    ) -> tuple[Node, ...]:
        self.asked.append((text, kinds, limit))
        return (self._model,)


class Control:
    """Operations that remember who asked for what."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.counters: dict[str, Any] = {"project": "movies", "services": []}

    def plan(self, manifest_path: str) -> dict[str, Any]:
        if manifest_path.endswith("bad.yaml"):
            raise ManifestError("expected a mapping", where="bad.yaml:3:1", hint="indent it.")
        return {"changes": [manifest_path]}

    def apply(self, manifest_path: str, principal: Principal) -> dict[str, Any]:
        self.calls.append(("apply", manifest_path, principal.subject))
        return {"applied": True}

    def run(
        self, pipeline: str, principal: Principal, params: dict[str, Any]
    ) -> dict[str, Any]:
        self.calls.append(("run", pipeline, principal.subject, params))
        return {"run_id": "r-1"}

    def run_status(self, run_id: str) -> dict[str, Any]:
        if run_id != "r-1":
            raise NotFoundError("no such run", where=run_id, hint="mlg search run")
        return {"run_id": run_id, "pipeline": "ranker", "state": "running", "steps": []}

    def runs(self) -> list[dict[str, Any]]:
        return [self.run_status("r-1")]

    def status(self) -> dict[str, Any]:
        service = {"service": "home", "live": True, "versions": ["3f2a"], "health": "healthy"}
        return {"services": [service], "ports": {"gateway": 7080}, "pids": {"control": 1}}

    def service_health(self, service: str) -> HealthAnswer:
        if service == "secret":
            raise RuntimeError("password=hunter2 at /etc/mlg")
        return HealthAnswer(
            service=service,
            at="2026-01-01T00:00:00Z",
            live=True,
            health="healthy",
            versions=[],
            replicas=[],
            availability=availability_of(1_000, 2, 0.99),
            drift=[],
            restarts=Restarts(recent=[], held=[]),
            unknown={"cpu_ratio": "no replica runs"},
        )

    def live(self) -> dict[str, Any]:
        return self.counters

    def prediction(self, prediction_id: str) -> dict[str, Any]:
        if prediction_id != "p-1":
            raise NotFoundError("no such prediction", where=prediction_id)
        return {"prediction_id": prediction_id, "items": [1, 2]}

    def trace_prediction(
        self, prediction: str, options: WalkOptions | None = None
    ) -> WalkAnswer:
        if prediction not in {"p-1", PREDICTION}:
            raise NotFoundError("no such prediction", where=prediction)
        self.calls.append(("trace_prediction", prediction))
        self.asked = options
        return WalkAnswer(
            root=PREDICTION,
            direction="up",
            total=1,
            truncated=False,
            nodes=[
                ReachedAnswer(
                    uri=PREDICTION,
                    kind="prediction",
                    name="p-1",
                    attrs={},
                    digest=None,
                    valid_from=rfc3339(AT),
                    valid_to=None,
                    depth=0,
                )
            ],
            edges=[],
        )

    def why_prediction(self, prediction: str) -> WhyAnswer:
        if prediction != "p-1":
            raise NotFoundError("no such prediction", where=prediction)
        clause = Clause(text="The model", at=rfc3339(AT), seq=3, event="k", subject="s")
        return from_clauses(PREDICTION, [clause])

    def audit_export(self, asked: ExportRequest, principal: Principal) -> tuple[str, bytes]:
        self.calls.append(("audit_export", asked, principal.subject))
        return f'audit-"{asked.prediction_id}"\r\nX: y.zip', b"PK\x05\x06" + b"\0" * 18

    def erase(
        self, viewer: str, service: str, reason: str, dry_run: bool, principal: Principal
    ) -> dict[str, Any]:
        self.calls.append(("erase", viewer, service, reason, dry_run, principal.subject))
        return {"erasure": None if dry_run else "e-1"}

    def collect(self, dry_run: bool, principal: Principal) -> dict[str, Any]:
        self.calls.append(("collect", dry_run, principal.subject))
        return {"services": []}

    def audit_verify(self) -> dict[str, Any]:
        return {"ok": True, "events": 3, "first_bad": None}

    def restart(
        self, service: str, principal: Principal, *, gateways: bool = False
    ) -> dict[str, Any]:
        named = "gateways" if gateways else service
        self.calls.append(("restart", named, principal.subject))
        return {"restarted": named}

    def rollout(self, service: str, *, evidence: bool = False) -> dict[str, Any]:
        more = {"evidence": {}} if evidence else {}
        return {"service": service, "rollout": "d1", "state": "canary", **more}

    def rollout_act(
        self, service: str, act: str, reason: str, principal: Principal, *, key: str = ""
    ) -> dict[str, Any]:
        self.calls.append(("rollout_act", service, act, reason, principal.subject, key))
        return {"service": service, "act": act}

    def experiments(self) -> list[dict[str, Any]]:
        return [{"name": "rows", "service": "home", "phase": "", "reason": ""}]

    def experiment(self, name: str) -> dict[str, Any]:
        return {"name": name, "service": "home", "phase": "running", "reason": ""}

    def experiment_plan(self, name: str) -> dict[str, Any]:
        return {"name": name, "service": "home", "cells": [], "warnings": []}

    def experiment_act(
        self, asked: ExperimentActRequest, principal: Principal
    ) -> dict[str, Any]:
        self.calls.append(("experiment", asked.experiment, asked.act, principal.subject))
        return {"experiment": "rows-1", "name": asked.experiment, "service": "home"}

    def rollout_start(self, asked: RolloutStartRequest, principal: Principal) -> dict[str, Any]:
        self.calls.append(("rollout_start", asked.service, asked.version, principal.subject))
        return {"service": asked.service, "rollout": "start-1", "version": asked.version}

    def automations(self) -> dict[str, Any]:
        return {"rules": [], "proposals": [], "runs": [], "frozen": False}

    def answer_proposal(
        self, proposal: str, act: bool, reason: str, principal: Principal
    ) -> dict[str, Any]:
        self.calls.append(("answer_proposal", proposal, act, reason, principal.subject))
        return {"proposal": proposal, "rule": "r", "acts": act}

    def frozen(self) -> dict[str, Any]:
        return {"frozen": False, "by": None, "at": None, "reason": None}

    def freeze(self, on: bool, reason: str, principal: Principal) -> dict[str, Any]:
        self.calls.append(("freeze", on, reason, principal.subject))
        return {"frozen": on, "by": principal.subject, "at": None, "reason": reason}

    def gamedays(self) -> dict[str, Any]:
        return {"faults": [], "gameday": None}

    def gameday(self, asked: GameDayRequest, principal: Principal) -> dict[str, Any]:
        self.calls.append(("gameday", asked, principal.subject))
        return {"gameday": "g", "fault": asked.fault}

    def gameday_end(self, gameday: str, principal: Principal) -> dict[str, Any]:
        self.calls.append(("gameday_end", gameday, principal.subject))
        return {"gameday": gameday}

    def down(self, principal: Principal) -> dict[str, Any]:
        self.calls.append(("down", principal.subject))
        return {"down": True}

    def metrics_text(self) -> str:
        return "# TYPE mlg_events_total counter\nmlg_events_total 3\n"

    def metric_targets(self) -> list[dict[str, Any]]:
        return [{"targets": ["127.0.0.1:9000"], "labels": {"service": "home"}}]

    def gateway_port(self) -> int:
        return 7080


class Plane:
    """All of it, and what was recorded."""

    def __init__(self) -> None:
        self.log, self.reader, self.control = Log(), Reader(), Control()
        self.clock = ManualClock(AT)
        self.denials: list[Any] = []
        self.failures: list[Any] = []

    def services(self) -> ApiServices:
        return ApiServices(
            reader=self.reader,
            store=self.log,
            operations=self.control,
            clock=self.clock,
            ids=Uuid7Ids(self.clock),
            on_denied=self.denials.append,
            on_failure=self.failures.append,
        )
