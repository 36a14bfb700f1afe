"""Release of a model version: staging, canary step by step, swap, or the way back.

`release.rollout` decides; here its commands are done. Each look is two durable steps:
`decide` reads facts and moves the state, `act` does what was decided. A control plane that
dies between the two does the same commands again, and each may be done twice.
"""

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

import msgspec
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID

from mlg.core.clock import rfc3339
from mlg.core.errors import LifecycleError
from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.traffic import FULL_BP, version_of
from mlg.core.uris import Digest
from mlg.graph import record_rollouts, record_services
from mlg.graph.record import deployment_uri, image_uri, model_uri, run_uri
from mlg.release import rollout
from mlg.release.rollout_types import (
    ENDED,
    Call,
    Next,
    Notify,
    Promote,
    Record,
    Retire,
    RollBack,
    RolloutCommand,
    RolloutState,
    SetShares,
    StartStaging,
    StartVersions,
)
from mlg.release.verdicts import GateResult
from mlg.workflows.packaged import read_packaged
from mlg.workflows.record import append_once
from mlg.workflows.release_ports import BackRequest, ReleasePorts
from mlg.workflows.rollouts import (
    Look,
    beside,
    in_flight,
    read_swaps,
    still_shown,
    write_rollout,
    write_swaps,
)
from mlg.workflows.state import Wanted, WantedVersion, read_wanted, write_wanted

READY_S: Final = 90.0
"""How long a new version may take until each of its replicas is warm."""
LOOK_EVERY_S: Final = 0.5
QUIET_EVERY_S: Final = 2.0
"""The same where nothing hurries: waiting for a turn, or while the old version is warm."""

_TRIES: Final = 12
"""A full disk or a silent gateway does not end a rollout: DBOS waits 1, 1.5, 2.25, … s."""

_FIGURES: Final = re.compile(r"[-+]?\d[\d.,:e+TZ-]*")
"""Numbers and times in the words of a reason."""

_COMMANDS: Final = tuple[RolloutCommand, ...]


@DBOS.dbos_class()
class Release(DBOSConfiguredInstance):
    """Durable release of one version to one service."""

    def __init__(self, ports: ReleasePorts) -> None:
        self._ports = ports
        super().__init__("release")

    @DBOS.workflow(name="release")
    def run(self, service: str, model: str, artifact: str, run_id: str) -> dict[str, Any]:
        """Bring the version to its end; return `{"state", "deployment", …}` and never raise."""
        id_ = DBOS.workflow_id or ""
        raw = self.begin(service, model, artifact, run_id, id_)
        while "wait" in raw:
            DBOS.sleep(QUIET_EVERY_S)
            raw = self.begin(service, model, artifact, run_id, id_)
        return self._follow(raw, model, artifact)

    @DBOS.workflow(name="release.back")
    def back(self, raw_request: dict[str, Any]) -> dict[str, Any]:
        """Bring back the version that served before; return as `run` does, and never raise."""
        raw = self.begin_back(raw_request)
        while "wait" in raw:
            DBOS.sleep(LOOK_EVERY_S)
            raw = self.begin_back(raw_request)
        return self._follow(raw, raw_request["model"], raw_request["former"]["artifact"])

    def _follow(self, raw: dict[str, Any], model: str, artifact: str) -> dict[str, Any]:
        """Look, decide and do, until the rollout has ended; its own steps are durable."""
        while "done" not in raw:
            raw, commands = self.decide(raw, model, artifact)
            if commands:
                raw = self.act(raw, commands, model, artifact)
            elif "done" not in raw:
                quiet = raw["state"]["phase"] in {"swapped", "paused"}
                DBOS.sleep(QUIET_EVERY_S if quiet else LOOK_EVERY_S)
        return raw["done"]

    @DBOS.step(name="release.begin", retries_allowed=True, max_attempts=_TRIES)
    def begin(
        self, service: str, model: str, artifact: str, run_id: str, id_: str
    ) -> dict[str, Any]:
        """Take the service's turn; `wait` while another rollout has it."""
        version, watch = artifact[:12], self._ports.watch
        stable = read_wanted(self._ports.files, service).stable
        serving = stable.version if stable and stable.bp == FULL_BP else None
        if serving == version and stable is not None and stable.deployment != id_:
            return {"done": {"state": "released", "deployment": "", "version": version}}
        if in_flight(self._ports.files, service) not in {"", id_}:
            return {"wait": True}
        plan = watch.plan(service)
        if stable is not None and not stable.artifact:
            plan = replace(plan, interleave=None)
        state = rollout.begin(id_, service, version, serving, plan, watch.now(service))
        facts = {"steps_bp": ",".join(map(str, plan.steps_bp)), "min_units": plan.min_units}
        return self._begun(state, model, artifact, facts, run_id=run_id)

    @DBOS.step(name="release.begin_back", retries_allowed=True, max_attempts=_TRIES)
    def begin_back(self, raw_request: dict[str, Any]) -> dict[str, Any]:
        """Take the service's turn to go back; nothing is to do when another version serves."""
        request = msgspec.convert(raw_request, BackRequest)
        service, former = request.service, request.former
        stable = read_wanted(self._ports.files, service).stable
        if in_flight(self._ports.files, service) not in {"", request.id}:
            return {"wait": True}
        if stable is None or stable.version != request.left:
            told = f"{request.left} does not serve any more"
            return {"done": {"state": "failed", "version": former.version, "reason": told}}
        now = self._ports.watch.now(service)
        state = rollout.begin_back(
            request.id, service, former.version, request.left, now, request.reason
        )
        facts: dict[str, Attr] = {"back": request.reason, "by": request.by}
        return self._begun(state, request.model, former.artifact, facts)

    def _begun(
        self,
        state: RolloutState,
        model: str,
        artifact: str,
        facts: Mapping[str, Attr],
        *,
        run_id: str = "",
    ) -> dict[str, Any]:
        """Record that a rollout and its deployment began; return what to keep."""
        recorder, id_, version = self._ports.recorder(), state.id, state.candidate
        made = read_packaged(self._ports.files, version)
        digest = made.image_digest if made else None
        run = run_uri(recorder, model, run_id) if run_id else None
        self._record(
            record_services.deployment_started(
                recorder,
                key=f"{id_}:deployment",
                service=state.service,
                deployment_id=id_,
                model_version=model_uri(recorder, model, version),
                image_digest=digest or artifact,
                image=image_uri(recorder, made.image, digest) if made and digest else None,
                share_bp=0,
                health="starting",
                triggered_by=run,
            ),
            record_rollouts.rollout_begun(
                recorder,
                key=f"{id_}:begin",
                service=state.service,
                rollout_id=id_,
                candidate=version,
                stable=state.stable,
                triggered_by=run,
                facts=facts,
            ),
        )
        return self._kept(Look(state=state, began_at=self._ports.clock.now()))

    @DBOS.step(name="release.decide", retries_allowed=True, max_attempts=_TRIES)
    def decide(
        self, raw: dict[str, Any], model: str, artifact: str
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Look once; return what to keep, and the commands to do."""
        del model, artifact
        look, facts = self._ports.watch.look(msgspec.convert(raw, Look))
        state, commands = rollout.step(look.state, facts)
        if (state.phase, state.step) != (look.state.phase, look.state.step):
            look = self._ports.watch.close_step(look)
            look = msgspec.structs.replace(look, began_at=self._ports.clock.now())
        if not commands and state.reason != look.state.reason:
            self._held(state)
        kept = self._kept(msgspec.structs.replace(look, state=state))
        if not commands and state.phase in ENDED:
            return {**kept, "done": self._result(state)}, []
        return kept, msgspec.to_builtins(commands)

    @DBOS.step(name="release.act", retries_allowed=True, max_attempts=_TRIES)
    def act(
        self, raw: dict[str, Any], commands: list[dict[str, Any]], model: str, artifact: str
    ) -> dict[str, Any]:
        """Do what was decided, in order; each command may be done twice."""
        look = msgspec.convert(raw, Look)
        for command in msgspec.convert(commands, _COMMANDS):
            if isinstance(command, StartStaging):
                look = self._stage(look, command, model, artifact)
            else:
                self._do(look.state, command, model, artifact)
        return self._kept(look)

    def _do(
        self, state: RolloutState, command: RolloutCommand, model: str, artifact: str
    ) -> None:
        service = state.service
        match command:
            case StartVersions():
                labels = [start.label for start in command.versions]
                self._want(state, labels, artifact)
            case SetShares():
                self._share(state, command, artifact)
            case Promote():
                self._promoted(command, state)
            case Retire():
                self._retire(state, command)
            case RollBack():
                swaps = read_swaps(self._ports.files, service)
                swaps = swaps.after_way_back(command.to, command.left or state.candidate)
                write_swaps(self._ports.files, service, swaps)
                if command.swap:
                    self._swap(service, command.key, state)
            case Record():
                self._moved(state, command, model)
            case Notify() | Call():
                event = record_rollouts.rollout_told(
                    self._ports.recorder(),
                    key=command.key,
                    service=service,
                    rollout_id=state.id,
                    reason=command.reason,
                    needs_person=isinstance(command, Call),
                )
                self._record(event)
            case Next() | _:
                pass  # who waits for a turn sees that it has come; a wanted version stays warm

    def _stage(self, look: Look, command: StartStaging, model: str, artifact: str) -> Look:
        """Start the version without traffic, test it, and keep the verdict."""
        state = look.state
        self._want(state, [command.version], artifact)
        try:
            self._ports.fleet.wait_ready(state.service, command.version, READY_S)
            report = self._ports.watch.stage(state.service, command.version, artifact)
            verdict, reason = report.verdict, report.reason
            results = {r.name: f"{r.verdict}: {r.reason}" for r in report.results}
        except LifecycleError as error:
            verdict, reason, results = "ERROR", str(error), dict[str, str]()
        recorder = self._ports.recorder()
        self._record(
            record_rollouts.staging_ended(
                recorder,
                key=f"{command.key}:ended",
                service=state.service,
                rollout_id=state.id,
                number=state.seq,
                model_version=model_uri(recorder, model, command.version),
                verdict=verdict,
                reason=reason,
                results=results,
            )
        )
        return msgspec.structs.replace(look, staging=verdict, staging_reason=reason)

    def _want(self, state: RolloutState, labels: list[str], artifact: str) -> None:
        """Let replicas of these labels run, without traffic."""
        wanted = read_wanted(self._ports.files, state.service)
        known = {item.version: item for item in wanted.versions}
        for label in labels:
            of = known.get(version_of(label))
            digest = artifact if label == state.candidate or of is None else of.artifact
            deployment = state.id if label == state.candidate or of is None else of.deployment
            known.setdefault(
                label,
                WantedVersion(
                    version=label,
                    artifact=Digest(digest),
                    bp=0,
                    deployment=deployment,
                    beside=beside(state, label, known),
                ),
            )
        self._keep_wanted(state.service, tuple(known.values()))

    def _share(self, state: RolloutState, command: SetShares, artifact: str) -> None:
        shares = {share.version: share.bp for share in command.shares}
        self._want(state, list(shares), artifact)
        wanted = read_wanted(self._ports.files, state.service)
        moved = tuple(
            msgspec.structs.replace(item, bp=shares.get(item.version, 0))
            for item in wanted.versions
        )
        self._keep_wanted(state.service, moved)
        recorder = self._ports.recorder()
        parts: dict[Any, int] = {}
        for item in moved:
            uri = deployment_uri(recorder, state.service, item.deployment)
            parts[uri] = parts.get(uri, 0) + item.bp
        self._record(
            record_services.shares_changed(
                recorder, key=command.key, service=state.service, shares=parts
            ),
            record_services.health_changed(
                recorder,
                key=f"{command.key}:health",
                deployment=deployment_uri(recorder, state.service, state.id),
                health="healthy" if still_shown(state, shares) else "rolled_back",
            ),
        )

    def _retire(self, state: RolloutState, command: Retire) -> None:
        """End a label's replicas, unless viewers are sent there."""
        wanted = read_wanted(self._ports.files, state.service)
        gone = [v for v in wanted.versions if v.version == command.label and not v.bp]
        kept = tuple(v for v in wanted.versions if v not in gone)
        self._keep_wanted(state.service, kept)
        recorder = self._ports.recorder()
        deployments = {v.deployment for v in gone} - {v.deployment for v in kept}
        if command.label == state.candidate:
            deployments.add(state.id)
        self._record(
            *(
                record_services.deployment_ended(
                    recorder,
                    key=f"{command.key}:{name}",
                    deployment=deployment_uri(recorder, state.service, name),
                    reason=state.reason,
                )
                for name in sorted(deployments)
            )
        )

    def _promoted(self, command: Promote, state: RolloutState) -> None:
        """Keep what served before, for the way back, and that there was a swap."""
        files, service = self._ports.files, state.service
        wanted = read_wanted(files, service).versions
        replaced = next((v for v in wanted if v.version == command.replaced), None)
        swaps = read_swaps(files, service).after_promotion(command.version, replaced)
        write_swaps(files, service, swaps)
        self._swap(service, command.key, state)

    def _swap(self, service: str, key: str, state: RolloutState) -> None:
        swaps = read_swaps(self._ports.files, service)
        at = state.swapped_at or state.since
        times = {**swaps.at, key: rfc3339(at)}
        day = at - timedelta(days=1)
        recent = {k: text for k, text in times.items() if text >= rfc3339(day)}
        write_swaps(self._ports.files, service, msgspec.structs.replace(swaps, at=recent))

    def _moved(self, state: RolloutState, command: Record, model: str) -> None:
        del model
        wanted = read_wanted(self._ports.files, state.service)
        returned = command.after in {"rolling_back", "rolled_back"}
        to = state.stable if returned else ""
        if state.back and command.after == "swapped":
            to = state.candidate
        back = next((v for v in wanted.versions if v.version == to), None)
        self._record(
            record_rollouts.rollout_moved(
                self._ports.recorder(),
                key=command.key,
                service=state.service,
                rollout_id=state.id,
                number=state.seq,
                before=command.before,
                after=command.after,
                share_bp=command.share_bp,
                reason=command.reason,
                by=command.by,
                gates=_words(command.gates),
                event_time=rfc3339(command.at),
                rolled_back_to=back.deployment if back else None,
            )
        )

    def _held(self, state: RolloutState) -> None:
        """Tell what the rollout waits for; the same want with other figures is told once."""
        want = sha256(_FIGURES.sub("#", state.reason).encode()).hexdigest()[:12]
        self._record(
            record_rollouts.rollout_held(
                self._ports.recorder(),
                key=f"{state.id}:{state.seq}:held:{want}",
                service=state.service,
                rollout_id=state.id,
                phase=state.phase,
                share_bp=state.share_bp,
                reason=state.reason,
                gates=_words(state.gates),
            )
        )

    def _keep_wanted(self, service: str, versions: tuple[WantedVersion, ...]) -> None:
        write_wanted(self._ports.files, Wanted(service=service, versions=versions))
        self._ports.fleet.refresh()

    def _kept(self, look: Look) -> dict[str, Any]:
        write_rollout(self._ports.files, look.state)
        return msgspec.to_builtins(look)

    def _result(self, state: RolloutState) -> dict[str, Any]:
        result = {"deployment": state.id, "version": state.candidate, "reason": state.reason}
        if state.phase == "done":
            return {"state": "released", **result}
        error = {
            "error": "backend",
            "what": state.reason,
            "where": f"service {state.service}",
            "hint": "mlg rollout status; what served before goes on serving.",
        }
        return {"state": state.phase, "error": error, **result}

    def _record(self, *events: Event) -> None:
        append_once(self._ports.store, events)


def _words(gates: Iterable[GateResult]) -> dict[str, str]:
    return {gate.name: f"{gate.verdict}: {gate.reason}" for gate in gates}


def start_back(release: Release, request: BackRequest) -> None:
    """Start the way back in the background; the same request starts once."""

    def start() -> None:
        with SetWorkflowID(request.id):
            DBOS.start_workflow(release.back, msgspec.to_builtins(request))

    # a thread of its own has no step around it: within one no workflow may start
    with ThreadPoolExecutor(1) as pool:
        pool.submit(start).result()
