"""Release of a model version: staging, canary step by step, swap, or the way back.

`release.rollout` decides; here its commands are done. Each look is two durable steps:
`decide` reads facts and moves the state, `act` does what was decided. A control plane that
dies between the two does the same commands again, and each may be done twice.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec
from dbos import DBOS, DBOSConfiguredInstance

from mlg.core.nodes import Attr
from mlg.core.traffic import FULL_BP
from mlg.graph import record_rollouts, record_services
from mlg.graph.record import image_uri, model_uri, run_uri
from mlg.release import rollout
from mlg.release.rollout_abandon import abandon
from mlg.release.rollout_types import (
    ENDED,
    RolloutCommand,
    RolloutState,
)
from mlg.workflows.evidence import keep_evidence
from mlg.workflows.experiments import open_experiment
from mlg.workflows.packaged import read_packaged
from mlg.workflows.release_acts import ReleaseActs
from mlg.workflows.release_ports import BackRequest, ReleasePorts
from mlg.workflows.release_spans import (
    LOOK_EVERY_S,
    QUIET_EVERY_S,
    SPAN_LEAST_S,
    every_s,
    must_keep,
    span_s,
)
from mlg.workflows.rollouts import (
    Look,
    forgive,
    in_flight,
    write_rollout,
)
from mlg.workflows.state import read_wanted
from mlg.workflows.waiting import tell_waiting

STAND_BY_S: Final = 600.0
"""How long one durable step may wait for staging's window."""

EXPERIMENT: Final = "experiment"
"""What a rollout may wait for before it begins, besides another one."""

_step: Final = partial(DBOS.step, retries_allowed=True, backoff_rate=1.5)
_TRIES: Final = 12
"""A full disk or a silent gateway does not end a rollout: DBOS waits 1, 1.5, 2.25, … s, three
minutes in all. Longer nobody would watch a canary that has viewers."""

logger = logging.getLogger("mlg.release")

_COMMANDS: Final = tuple[RolloutCommand, ...]


@DBOS.dbos_class()
class Release(DBOSConfiguredInstance):
    """Durable release of one version to one service."""

    def __init__(self, ports: ReleasePorts) -> None:
        self._ports, self._acts = ports, ReleaseActs(ports)
        super().__init__("release")

    @DBOS.workflow(name="release")
    def run(
        self,
        service: str,
        model: str,
        artifact: str,
        run_id: str,
        asked: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Bring the version to its end; return `{"state", "deployment", …}` and never raise.

        `asked` is what a person said who started it: `by`, `reason`, and `again` to try one
        that was taken back.
        """
        id_ = DBOS.workflow_id or ""
        raw = self.begin(service, model, artifact, run_id, id_, asked)
        while "wait" in raw:
            if raw["wait"] == EXPERIMENT:
                self.stand_aside(service)
            DBOS.sleep(QUIET_EVERY_S)
            raw = self.begin(service, model, artifact, run_id, id_, asked)
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
        """Look, decide and do, until the rollout has ended; its own steps are durable.

        Where it cannot go on it ends too: a canary that nobody watches must not have viewers.
        """
        try:
            while "done" not in raw:
                raw, commands = self.decide(raw, model, artifact)
                if commands:
                    raw = self.act(raw, commands, model, artifact)
                elif "done" not in raw and raw["state"]["phase"] != "canary":
                    phase = raw["state"]["phase"]
                    if phase == "scheduled":
                        self.stand_by(raw)
                    DBOS.sleep(every_s(phase))
        except Exception as error:  # whatever it is: nobody else would end it
            logger.exception("a rollout cannot go on")
            return self._abandon(raw, model, artifact, str(error) or type(error).__name__)
        return raw["done"]

    def _abandon(
        self, raw: dict[str, Any], model: str, artifact: str, reason: str
    ) -> dict[str, Any]:
        raw, commands = self.give_up(raw, reason)
        try:
            raw = self.act(raw, commands, model, artifact)
        except Exception:  # the next rollout sets the split, and retires what is not its own
            logger.exception("what a rollout started could not be ended")
        return self.close(raw)

    @_step(name="release.give_up", max_attempts=_TRIES)
    def give_up(
        self, raw: dict[str, Any], reason: str
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Decide how what cannot go on ends; return what to keep and do."""
        look = msgspec.convert(raw, Look)
        state, commands = abandon(look.state, reason)
        found = msgspec.structs.replace(look, state=state)
        return msgspec.to_builtins(found), msgspec.to_builtins(commands)

    @_step(name="release.close", max_attempts=2 * _TRIES)
    def close(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Tell that it is over, so that nobody waits for it any more; return how.

        Tried for hours: on a disk that is full, a rollout that is not over holds up the next.
        """
        look = msgspec.convert(raw, Look)
        self._kept(look)
        return self._result(look.state)

    @_step(name="release.begin", max_attempts=_TRIES)
    def begin(
        self,
        service: str,
        model: str,
        artifact: str,
        run_id: str,
        id_: str,
        asked: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Take the service's turn; `wait` while another rollout has it."""
        version, watch = artifact[:12], self._ports.watch
        stable = read_wanted(self._ports.files, service).stable
        serving = stable.version if stable and stable.bp == FULL_BP else None
        if serving == version and stable is not None and stable.deployment != id_:
            tell_waiting(self._ports.files, service, id_, version, "")
            return {"done": {"state": "released", "deployment": "", "version": version}}
        if (other := in_flight(self._ports.files, service)) not in {"", id_}:
            tell_waiting(self._ports.files, service, id_, version, f"rollout {other}")
            return {"wait": True}
        if name := open_experiment(self._ports.files, service):
            tell_waiting(self._ports.files, service, id_, version, f"experiment {name}")
            self._acts.waits(service, id_, f"the experiment {name} runs; rollouts wait for it")
            return {"wait": EXPERIMENT}
        plan = watch.plan(service)
        if stable is not None and not stable.artifact:
            plan = replace(plan, interleave=None)
        state = rollout.begin(id_, service, version, serving, plan, watch.now(service))
        facts = {"steps_bp": ",".join(map(str, plan.steps_bp)), "min_units": plan.min_units}
        if asked and asked.get("again"):
            forgive(self._ports.files, service, version)
        begun = self._begun(state, model, artifact, {**facts, **(asked or {})}, run_id=run_id)
        tell_waiting(self._ports.files, service, id_, version, "")
        return begun

    @_step(name="release.begin_back", max_attempts=_TRIES)
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
        self._acts.record(
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

    @_step(name="release.decide", max_attempts=_TRIES)
    def decide(
        self, raw: dict[str, Any], model: str, artifact: str
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Look until there is something to do, or for a while; return what to keep and do."""
        del model, artifact
        clock, kept = self._ports.clock, msgspec.convert(raw, Look)
        now_s = told_s = clock.monotonic_s()
        ends_s = now_s + span_s(kept.state.phase, self._age_s(kept))
        reason = kept.state.reason
        look, state, commands = self._looked(kept)
        while not (
            commands
            or state.phase != kept.state.phase
            or must_keep(kept, msgspec.structs.replace(look, state=state))
            or now_s >= ends_s
        ):
            clock.wait(every_s(state.phase))
            look, state, commands = self._looked(msgspec.structs.replace(look, state=state))
            now_s = clock.monotonic_s()
            if not commands and now_s - told_s >= SPAN_LEAST_S:
                reason, told_s = self._tell(state, reason), now_s
        if (state.phase, state.step) != (look.state.phase, look.state.step):
            look = self._ports.watch.close_step(look)
            look = msgspec.structs.replace(look, began_at=clock.now())
        elif state.awaiting != kept.state.awaiting:
            look = msgspec.structs.replace(look, began_at=clock.now())
        if not commands:
            self._tell(state, reason)
        found = self._kept(msgspec.structs.replace(look, state=state))
        if not commands and state.phase in ENDED:
            return {**found, "done": self._result(state)}, []
        return found, msgspec.to_builtins(commands)

    def _age_s(self, look: Look) -> float:
        began = look.began_at
        return (self._ports.clock.now() - began).total_seconds() if began else 0.0

    def _tell(self, state: RolloutState, told: str) -> str:
        """Tell where the rollout stands, and what it waits for where that is new; return it."""
        write_rollout(self._ports.files, state)
        if state.reason != told:
            self._acts.held(state)
        return state.reason

    def _looked(self, look: Look) -> tuple[Look, RolloutState, tuple[RolloutCommand, ...]]:
        """Return a look with its facts taken, the state after it, and what is to do."""
        look, facts = self._ports.watch.look(look)
        spoken = facts.watch if look.state.phase == "swapped" else facts.gates
        keep_evidence(self._ports.files, look.state, spoken, facts.now)
        return look, *rollout.step(look.state, facts)

    @_step(name="release.stand_by", max_attempts=_TRIES)
    def stand_by(self, raw: dict[str, Any]) -> None:
        """Return once the next look would change something, or after ten minutes.

        Looks are not kept one by one, so that a night's wait is some rows and not thousands.
        """
        look, clock = msgspec.convert(raw, Look), self._ports.clock
        until_s = clock.monotonic_s() + STAND_BY_S
        while clock.monotonic_s() < until_s:
            state, commands = rollout.step(look.state, self._ports.watch.look(look)[1])
            if commands or state.reason != look.state.reason:
                return
            clock.wait(QUIET_EVERY_S)

    @_step(name="release.stand_aside", max_attempts=_TRIES)
    def stand_aside(self, service: str) -> None:
        """Return once no experiment of the service runs, or after ten minutes."""
        clock = self._ports.clock
        until_s = clock.monotonic_s() + STAND_BY_S
        while clock.monotonic_s() < until_s and open_experiment(self._ports.files, service):
            clock.wait(QUIET_EVERY_S)

    @_step(name="release.act", max_attempts=_TRIES)
    def act(
        self, raw: dict[str, Any], commands: list[dict[str, Any]], model: str, artifact: str
    ) -> dict[str, Any]:
        """Do what was decided, in order; each command may be done twice."""
        look = msgspec.convert(raw, Look)
        for command in msgspec.convert(commands, _COMMANDS):
            look = self._acts.do(look, command, model, artifact)
        return self._kept(look)

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
