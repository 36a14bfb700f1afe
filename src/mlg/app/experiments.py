"""What people ask of experiments: which there are, how one stands, start it, stop it."""

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.app.experiment_lengths import experiment_lengths
from mlg.app.experiment_watch import ControlExperiments, acts_path
from mlg.app.manifests import Manifests
from mlg.app.rollout_start import RolloutStarts
from mlg.app.supervise import Supervisor
from mlg.app.tail import Tail
from mlg.core.clock import Clock
from mlg.core.errors import ConflictError, ManifestError, NotFoundError
from mlg.core.ports import ArtifactStore, Files, GraphStore, Ids, TrafficRouter
from mlg.core.traffic import FULL_BP, HOLDOUT, version_of
from mlg.core.uris import Digest
from mlg.graph import record_experiments
from mlg.graph.record import Recorder
from mlg.manifest.specs_experiments import ExperimentSpec
from mlg.release.experiment_types import Cell, ExperimentAct, ExperimentPlan
from mlg.workflows.experiment import Experiment, abandon_if_failed, start_experiment
from mlg.workflows.experiment_acts import ExperimentPorts
from mlg.workflows.experiments import (
    ExperimentRequest,
    open_experiment,
    read_ended,
    read_experiment,
    write_begun,
)
from mlg.workflows.record import append_once
from mlg.workflows.release_ports import Fleet
from mlg.workflows.rollouts import in_flight, read_swaps
from mlg.workflows.state import Wanted, WantedVersion, read_wanted

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_KEPT: Final = 100

_Acts = dict[str, list[ExperimentAct]]


def experiments_of(
    *,
    home: Path,
    files: Files,
    clock: Clock,
    ids: Ids,
    artifacts: ArtifactStore,
    manifests: Manifests,
    store: GraphStore,
    recorder: Callable[[str], Recorder],
    starts: RolloutStarts,
    fleet: Fleet,
    router: TrafficRouter,
    supervisor: Supervisor,
    tail: Tail,
) -> "Experiments":
    """Return the experiments of an instance; made before its workflows go on."""
    watch = ControlExperiments(
        home=home,
        files=files,
        clock=clock,
        manifests=manifests,
        router=router,
        supervisor=lambda: supervisor,
        tail=tail,
    )
    runs = Experiment(
        ExperimentPorts(
            files=files, fleet=fleet, store=store, clock=clock, watch=watch, recorder=recorder
        )
    )
    return Experiments(
        files=files,
        ids=ids,
        manifests=manifests,
        store=store,
        recorder=recorder,
        starts=starts,
        there=artifacts.has,
        start=partial(start_experiment, runs),
        clock=clock,
        lengths=partial(experiment_lengths, home),
        failed=partial(abandon_if_failed, runs, files),
    )


class Experiments:
    """Starts and stops experiments; the same key is one act.

    Args:
        files: The instance's small files.
        ids: Names of acts.
        manifests: The experiments in force.
        store: The event log.
        recorder: Gives a recorder in the name of an actor.
        starts: Knows the versions of a service's model.
        there: Whether an artifact is in the store.
        start: Starts one durably; the same request starts once.
        clock: Wall time.
        failed: Ends a service's experiment whose workflow has failed; returns whether it had.
        lengths: How long a plan will take, by the smallest difference of each metric.
    """

    def __init__(
        self,
        *,
        files: Files,
        ids: Ids,
        manifests: Manifests,
        store: GraphStore,
        recorder: Callable[[str], Recorder],
        starts: RolloutStarts,
        there: Callable[[Digest], bool],
        start: Callable[[ExperimentRequest], None],
        clock: Clock,
        lengths: Callable[[ExperimentPlan, dict[str, float]], dict[str, Any]],
        failed: Callable[[str], bool],
    ) -> None:
        self._files, self._ids, self._manifests, self._store = files, ids, manifests, store
        self._recorder, self._starts, self._there = recorder, starts, there
        self._start, self._clock, self._lengths = start, clock, lengths
        self._failed, self._lock = failed, threading.Lock()

    def sweep(self) -> None:
        """End experiments that an earlier control plane could not bring to their end."""
        spec = self._manifests.spec()
        for service in spec.services if spec else ():
            self._failed(service)

    def list(self) -> list[dict[str, Any]]:
        """Return each experiment of the manifest, and each that runs, with where it stands."""
        spec = self._manifests.spec()
        services = spec.services if spec else ()
        running = {open_experiment(self._files, service) for service in services} - {""}
        return [self.status(name) for name in sorted({*self._specs(), *running})]

    def status(self, name: str) -> dict[str, Any]:
        """Return how an experiment stands; `phase` is empty before its first start.

        Raises:
            NotFoundError: The manifest in force has none of that name.
        """
        known = self._manifests.spec()
        for service in known.services if known else ():
            # also one that the manifest dropped while it ran
            document = read_experiment(self._files, service)
            if document is not None and document["name"] == name:
                return document
        service = self._spec(name).service
        ended = read_ended(self._files, service, name)  # another one was started since
        return ended or {"name": name, "service": service, "phase": "", "reason": ""}

    def plan(self, name: str) -> dict[str, Any]:
        """Return what an experiment needs before it is started, and what it waits for.

        Returns:
            What `experiment_lengths` has, with `name`, `service`, `control`, `holdout_bp` and
            `refused`: why it may not start now, or nothing.

        Raises:
            NotFoundError: The manifest in force has none of that name.
            BackendError: The service's log cannot be read.
        """
        spec = self._spec(name)
        plan, refused = self._proposed(name, spec), ""
        try:
            plan = self._request("", name, spec, "", "").plan
        except (ConflictError, NotFoundError) as error:
            refused = str(error)
        return {
            "name": name,
            "service": spec.service,
            "control": plan.control,
            "holdout_bp": plan.holdout_bp,
            "refused": refused,
            **self._lengths(plan, _least(spec)),
        }

    def _proposed(self, name: str, spec: ExperimentSpec) -> ExperimentPlan:
        """Return the plan with its versions as the manifest names them."""
        stable = read_wanted(self._files, spec.service).stable
        return ExperimentPlan(
            name=name,
            service=spec.service,
            control=stable.version if stable else "serving",
            cells=tuple(
                Cell(name=cell, version=one.version, share_bp=one.share_bp)
                for cell, one in spec.cells.items()
            ),
            metrics=tuple(spec.metrics),
            holdout_bp=spec.holdout_bp,
            alpha=spec.alpha,
            min_viewers=spec.min_viewers,
            max_run_s=spec.max_run_s,
        )

    def start(self, name: str, by: str, reason: str = "", *, key: str = "") -> dict[str, Any]:
        """Start an experiment; it begins once its cells are warm.

        Raises:
            NotFoundError: No such experiment or version.
            ConflictError: Another experiment or a rollout of the service is under way,
                nothing serves alone, or a version was taken back.
        """
        with self._lock:
            spec = self._spec(name)
            id_ = f"{name}-{_UNSAFE.sub('-', key or self._ids.new_id())}"
            told = {"experiment": id_, "name": name, "service": spec.service}
            acts = self._acts(spec.service)
            if id_ in acts:
                return told
            self._failed(spec.service)
            request = self._request(id_, name, spec, by, reason)
            self._start(request)
            write_begun(self._files, request, self._clock.now())
            self._keep(spec.service, {**acts, id_: []})
        return told

    def stop(self, name: str, by: str, reason: str = "", *, key: str = "") -> dict[str, Any]:
        """Stop an experiment at its next look; who was held out stays held out.

        Raises:
            NotFoundError: No such experiment.
            ConflictError: It does not run.
        """
        with self._lock:
            document = self.status(name)
            service = document["service"]
            if open_experiment(self._files, service) != name:
                raise ConflictError(
                    f"the experiment {name!r} does not run",
                    where=service,
                    hint=f"mlg experiment status {name} tells how it stands.",
                )
            id_, act_id = document["experiment"], key or self._ids.new_id()
            acts = self._acts(service)
            said = acts.get(id_, [])
            if act_id not in {one.id for one in said}:
                act = ExperimentAct(id=act_id, act="stop", by=by, reason=reason)
                self._keep(service, {**acts, id_: [*said, act]})
                event = record_experiments.experiment_told(
                    self._recorder(by),
                    key=f"asked:{act_id}",
                    service=service,
                    experiment=id_,
                    what="asked",
                    reason=f"stop: {reason}" if reason else "stop",
                )
                append_once(self._store, (event,))
        return {"experiment": id_, "name": name, "service": service}

    def act(
        self, name: str, act: str, by: str, reason: str = "", *, key: str = ""
    ) -> dict[str, Any]:
        """Start or stop, as `act` says.

        Raises:
            ManifestError: There is no such act.
        """
        if act == "start":
            return self.start(name, by, reason, key=key)
        if act == "stop":
            return self.stop(name, by, reason, key=key)
        raise ManifestError(
            f"expected an act, got {act!r}", where="act", hint="one of start, stop."
        )

    def _request(
        self, id_: str, name: str, spec: ExperimentSpec, by: str, reason: str
    ) -> ExperimentRequest:
        """Return what is asked for, with each version as it is now.

        Raises:
            ConflictError: Another one or a rollout is under way, or nothing serves alone.
        """
        service = spec.service
        wanted = read_wanted(self._files, service)
        control = wanted.stable
        if running := open_experiment(self._files, service):
            raise ConflictError(
                f"the experiment {running!r} of {service} has not ended",
                where=service,
                hint=f"one at a time: mlg experiment stop {running}",
            )
        if rollout := in_flight(self._files, service):
            raise ConflictError(
                f"the rollout {rollout} of {service} is in flight",
                where=service,
                hint=f"mlg rollout status {service} tells when it is over.",
            )
        if control is None or control.bp != FULL_BP:
            raise ConflictError(
                f"no version serves {service} alone", where=service, hint="release one first."
            )
        held = next((v for v in wanted.versions if v.layer == HOLDOUT), None)
        versions = {control.version: control}
        if held is not None and spec.holdout_bp:
            versions[version_of(held.version)] = held
        cells: list[Cell] = []
        for cell, one in spec.cells.items():
            found = self._version(one.version, spec, wanted, id_)
            versions.setdefault(found.version, found)
            cells.append(Cell(name=cell, version=found.version, share_bp=one.share_bp))
        plan = replace(
            self._proposed(name, spec),
            cells=tuple(cells),
            holdout=version_of(held.version) if held else control.version,
        )
        manifest = self._manifests.spec()
        of = manifest.services[service].model if manifest else None
        return ExperimentRequest(
            id=id_,
            model=of or service,
            plan=plan,
            min_effect=_least(spec),
            versions=versions,
            by=by,
            reason=reason,
        )

    def _version(
        self, asked: str, spec: ExperimentSpec, wanted: Wanted, id_: str
    ) -> WantedVersion:
        swaps, control = read_swaps(self._files, spec.service), wanted.stable
        serving = control.version if control else ""
        if control is not None and asked in {"serving", serving}:
            return control
        if asked == "previous":
            former = swaps.former(serving, self._there)
            if former is None:
                raise NotFoundError(
                    f"no version served {spec.service} before {serving}",
                    where=spec.service,
                    hint="name a packaged version instead of `previous`.",
                )
            return former
        made = self._starts.made(spec.service, asked)
        version = made.artifact[:12]
        if version in swaps.rejected:
            raise ConflictError(
                f"{version} was taken back, and nothing about it changed",
                where=spec.service,
                hint="compare another version.",
            )
        served = next((one for one in swaps.served if one.version == version), None)
        return served or WantedVersion(
            version=version, artifact=made.artifact, bp=0, deployment=id_
        )

    def _specs(self) -> dict[str, ExperimentSpec]:
        spec = self._manifests.spec()
        return dict(spec.experiments) if spec else {}

    def _spec(self, name: str) -> ExperimentSpec:
        known = self._specs()
        if name not in known:
            raise NotFoundError(
                f"no experiment {name!r}",
                where="manifest",
                hint=f"there are: {', '.join(sorted(known)) or 'none'}",
            )
        return known[name]

    def _acts(self, service: str) -> _Acts:
        content = self._files.read(acts_path(service))
        return msgspec.json.decode(content, type=_Acts) if content else {}

    def _keep(self, service: str, acts: _Acts) -> None:
        newest = dict(list(acts.items())[-_KEPT:])
        self._files.write(acts_path(service), msgspec.json.encode(newest))


def _least(spec: ExperimentSpec) -> dict[str, float]:
    """Return the smallest difference that matters by metric, in the value's own unit."""
    return {str(name): one.min_effect_bp / FULL_BP for name, one in spec.metrics.items()}
