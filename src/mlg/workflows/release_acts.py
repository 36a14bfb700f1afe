"""What a rollout's commands do to the world: each may be done twice with one effect."""

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

import msgspec

from mlg.core.clock import rfc3339
from mlg.core.errors import LifecycleError
from mlg.core.events import Event
from mlg.core.traffic import version_of
from mlg.core.uris import Digest
from mlg.graph import record_rollouts, record_services
from mlg.graph.record import deployment_uri, model_uri
from mlg.release.rollout_types import (
    Approved,
    Call,
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
from mlg.release.staging import StagingReport
from mlg.release.verdicts import GateResult
from mlg.workflows.layers import split_anew
from mlg.workflows.record import append_once
from mlg.workflows.release_figures import figures_of, rollback_of, swap_of
from mlg.workflows.release_ports import ReleasePorts
from mlg.workflows.rollouts import Look, beside, read_swaps, still_shown, write_swaps
from mlg.workflows.state import Wanted, WantedVersion, read_wanted, write_wanted

READY_S: Final = 90.0
"""How long a new version may take until each of its replicas is warm."""

_FIGURES: Final = re.compile(r"[-+]?\d[\d.,:e+TZ-]*")
"""Numbers and times in the words of a reason."""


class ReleaseActs:
    """Does what a rollout decided.

    Args:
        ports: What it is done with.
    """

    def __init__(self, ports: ReleasePorts) -> None:
        self._ports = ports

    def do(self, look: Look, command: RolloutCommand, model: str, artifact: str) -> Look:
        """Do one command; return what to keep.

        Raises:
            LifecycleError: Something failed; the command may be done again.
        """
        if isinstance(command, StartStaging):
            return self._stage(look, command, model, artifact)
        self._do(look.state, command, model, artifact)
        return look

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
                swaps = swaps.after_way_back(
                    command.to, command.left or state.candidate, rejects=command.rejects
                )
                write_swaps(self._ports.files, service, swaps)
                if command.swap:
                    self._swap(service, command.key, state)
            case Record():
                self._moved(state, command, model)
            case Approved():
                self._approved(state, command)
            case Notify() | Call():
                event = record_rollouts.rollout_told(
                    self._ports.recorder(),
                    key=command.key,
                    service=service,
                    rollout_id=state.id,
                    reason=command.reason,
                    needs_person=isinstance(command, Call),
                )
                self.record(event)
            case _:
                pass  # who waits for a turn sees that it has come; a wanted version stays warm

    def _stage(self, look: Look, command: StartStaging, model: str, artifact: str) -> Look:
        """Start the version without traffic, test it, and keep the verdict."""
        state = look.state
        try:
            if not state.plan.compose:
                self._want(state, [command.version], artifact)
                self._ports.fleet.wait_ready(state.service, command.version, READY_S)
            report = self._ports.watch.stage(state, artifact)
        except LifecycleError as error:
            report = StagingReport(verdict="ERROR", reason=str(error), results=())
        recorder = self._ports.recorder()
        self.record(
            record_rollouts.staging_ended(
                recorder,
                key=f"{command.key}:ended",
                service=state.service,
                rollout_id=state.id,
                number=state.seq,
                model_version=model_uri(recorder, model, command.version),
                verdict=report.verdict,
                reason=report.reason,
                results={r.name: f"{r.verdict}: {r.reason}" for r in report.results},
                figures=report.figures,
            )
        )
        return msgspec.structs.replace(
            look,
            staging=report.verdict,
            staging_reason=report.reason,
            staging_cut=report.cut,
        )

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
        moved = split_anew(wanted.versions, state, shares)
        self._keep_wanted(state.service, moved, salt=state.id)
        recorder = self._ports.recorder()
        parts: dict[Any, int] = {}
        for item in moved:
            uri = deployment_uri(recorder, state.service, item.deployment)
            parts[uri] = parts.get(uri, 0) + (0 if item.layer else item.bp)
        self.record(
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
        self.record(
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
        at = state.since  # of this transition: a way back is counted when it happens
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
        self.record(
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
                figures=[figures_of(gate) for gate in command.gates],
                judged_bp=command.judged_bp,
                swap=swap_of(read_swaps(self._ports.files, state.service), state, command),
                rollback=rollback_of(state, command, back.deployment if back else None),
            )
        )

    def _approved(self, state: RolloutState, command: Approved) -> None:
        """Record who gave the approval; the event is his."""
        event = record_rollouts.rollout_approved(
            replace(self._ports.recorder(), actor=command.by),
            key=command.key,
            service=state.service,
            rollout_id=state.id,
            before=command.before,
            reason=command.reason,
            share_bp=command.share_bp,
            gates=_words(command.gates),
        )
        self.record(event)

    def waits(self, service: str, rollout: str, reason: str) -> None:
        """Tell what a rollout waits for that has not begun; the same is told once."""
        event = record_rollouts.rollout_told(
            self._ports.recorder(),
            key=f"{rollout}:waits:{sha256(reason.encode()).hexdigest()[:12]}",
            service=service,
            rollout_id=rollout,
            reason=reason,
            needs_person=False,
        )
        self.record(event)

    def held(self, state: RolloutState) -> None:
        """Tell what the rollout waits for; the same want with other figures is told once."""
        want = sha256(_FIGURES.sub("#", state.reason).encode()).hexdigest()[:12]
        self.record(
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

    def _keep_wanted(
        self, service: str, versions: tuple[WantedVersion, ...], *, salt: str | None = None
    ) -> None:
        """Replace what should run; without a salt viewers stay dealt as they are."""
        dealt = read_wanted(self._ports.files, service).salt if salt is None else salt
        wanted = Wanted(service=service, versions=versions, salt=dealt)
        write_wanted(self._ports.files, wanted)
        self._ports.fleet.refresh()

    def record(self, *events: Event) -> None:
        """Append events to the log, each key once."""
        append_once(self._ports.store, events)


def _words(gates: Iterable[GateResult]) -> dict[str, str]:
    return {gate.name: f"{gate.verdict}: {gate.reason}" for gate in gates}
