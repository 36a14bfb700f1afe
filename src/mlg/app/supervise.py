"""The loop that keeps the fleet as it is wanted: look, decide, act, and tell what happened."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from mlg.app.probing import Probes
from mlg.app.telling import Recorder, Telling, as_text, subject_of
from mlg.core.clock import Clock
from mlg.core.errors import BackendError, ExhaustedError, LifecycleError
from mlg.core.ports import Launcher, Network, TrafficRouter
from mlg.core.processes import ProcessKind, ProcessSpec, ProcessState
from mlg.core.traffic import FULL_BP, ServiceEndpoints, version_of
from mlg.release.fleet import (
    Command,
    CrashLoop,
    FleetFacts,
    FleetState,
    Group,
    Place,
    Split,
    Start,
    Stop,
    WantedGroup,
    WantedService,
    carry,
    group_of,
    step,
)

SpecFor = Callable[[ProcessKind, str, str, int], ProcessSpec]
"""What process number `n` of (kind, service, version) is started with; see `process_id`."""

_PERIOD_S: Final = 0.25
_ADOPTION_S: Final = 3.0


class Supervisor:
    """Keeps gateways, replicas and fallback servers as they are wanted.

    Told to `record`, in its own thread: `adopted`, `ended` (did not answer with its nonce
    after a restart of the control plane), `started`, `ready`, `silent`, `crashed`, `hung`,
    `stopped`, `refused`, `crash_loop`, `placed`, `split`, and `failed` (a command did not
    work; it is tried again). Process events carry the state, the others None.

    Args:
        launcher: Starts and ends processes.
        router: Is told endpoints and splits.
        network: Asks processes for their nonce and health.
        clock: Deadlines.
        spec_for: How each process is started; a changed digest replaces the process.
        record: What happened; turned into graph events by the control plane.
        admin_url: Base URL of a gateway's admin interface by its id; None: no gateways.
        gateways: How many gateways share the viewers' port.
        gateway_url: Base URL of the viewers' port, for `wait_live`.
        placed: Endpoints that the router has from an earlier control plane.
        refusal: Why a process refused what it was to load, in words; empty: it did not.
    """

    def __init__(
        self,
        *,
        launcher: Launcher,
        router: TrafficRouter,
        network: Network,
        clock: Clock,
        spec_for: SpecFor,
        record: Recorder,
        admin_url: Callable[[str], str] | None = None,
        gateways: int = 2,
        gateway_url: str = "",
        placed: tuple[ServiceEndpoints, ...] = (),
        refusal: Callable[[ProcessState], str] = lambda _: "",
    ) -> None:
        self._launcher, self._router, self._network = launcher, router, network
        self._clock, self._spec_for, self._telling = clock, spec_for, Telling(record)
        self._admin_url, self._gateway_url = admin_url, gateway_url
        self._gateways = gateways if admin_url else 0
        self._lock = threading.RLock()
        self._ticking = threading.RLock()
        self._wanted: tuple[WantedService, ...] | None = None
        self._carried: tuple[WantedService, ...] = ()
        self._state = FleetState()
        self._placed = {endpoints.service: endpoints for endpoints in placed}
        self._failed: list[Group] = []
        self._last: dict[str, ProcessState] = {}
        self._refusal = refusal
        self._reasons: dict[tuple[Group, str], str] = {}
        self._condemned: dict[str, tuple[str, str]] = {}
        """By id: the nonce of the process that must be replaced, and why."""
        self._wake, self._ending = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._probes = Probes(network, admin_url)

    def adopt(self) -> tuple[ProcessState, ...]:
        """Take over running processes whose nonce answers, end the rest; return the former.

        Call once, before `start`. Processes are asked for three seconds.
        """
        with self._ticking:
            deadline_s = self._clock.monotonic_s() + _ADOPTION_S
            pending = list(self._launcher.state())
            adopted: list[ProcessState] = []
            while pending:
                answers = self._probes.answering(pending)
                adopted += [p for p, yes in zip(pending, answers, strict=True) if yes]
                pending = [p for p, yes in zip(pending, answers, strict=True) if not yes]
                late = self._clock.monotonic_s() >= deadline_s
                for process in [p for p in pending if late or not p.alive]:
                    self._launcher.stop(process.id)
                    self._telling.tell("ended", process, "did not answer with its nonce")
                    pending.remove(process)
                if pending:
                    self._clock.wait(0.1)
            for process in adopted:
                self._telling.tell("adopted", process, f"pid {process.pid}")
            self._telling.record()
            return tuple(sorted(adopted, key=lambda process: process.id))

    def forget_placed(self) -> None:
        """Forget where services were placed: nothing that ran then runs now."""
        with self._lock:
            self._placed.clear()

    def want(self, services: tuple[WantedService, ...]) -> None:
        """Set how the fleet should be; takes effect in the loop."""
        with self._lock:
            self._wanted = services
        self._wake.set()

    def start(self) -> None:
        """Begin the loop; nothing is done before the first `want`."""
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the loop; the processes go on."""
        self._ending.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._probes.close()

    def processes(self) -> tuple[ProcessState, ...]:
        """Return the processes as they were last seen, `ready` included, sorted by id."""
        with self._lock:
            return tuple(state for _, state in sorted(self._last.items()))

    def looping(self) -> tuple[tuple[Group, int], ...]:
        """Return the groups that count as a crash loop, with their recent crashes."""
        return tuple(
            (group, len(history.crashes_s))
            for group, history in self._state.restarts
            if history.looping
        )

    def refusals(self) -> tuple[tuple[Group, str], ...]:
        """Return the groups whose processes refused what they are to load now, and why."""
        return tuple(
            (group, self._reasons.get((group, digest), ""))
            for group, digest in self._state.refused
            if self._told_now(group) == digest
        )

    def waiting(self, service: str) -> tuple[str, ...]:
        """Return why no replica of the service is started yet; empty when nothing holds it."""
        held = [one.reasons for one in self._state.waiting if one.service == service]
        return held[0] if held else ()

    def _told_now(self, group: Group) -> str:
        """Return the digest of what the group's processes are to be told; empty: none are."""
        try:
            return self._spec_for(group.kind, group.service, group.version, 1).digest
        except LifecycleError:
            return ""

    def gateway_admins(self) -> tuple[str, ...]:
        """Return the admin URLs of the gateways that run; what `EnvoyRouter` is given."""
        url = self._admin_url
        if url is None:
            return ()
        return tuple(
            url(p.id) for p in self._launcher.state() if p.kind == "gateway" and p.alive
        )

    def replace(self, process: ProcessState, reason: str) -> None:
        """Have another process take the place of this one, then end it; it takes some seconds.

        Args:
            process: As it was last seen; another life of the same id is left alone.
            reason: Why, in one clause.
        """
        with self._lock:
            self._condemned[process.id] = (process.nonce, reason)
        self._wake.set()

    def replacing(self, service: str) -> tuple[str, ...]:
        """Return the ids of a service's processes that another one is to replace."""
        with self._lock:
            known = {p.id for p in self._last.values() if p.service == service}
            return tuple(sorted(self._condemned.keys() & known))

    def live(self, service: str, version: str) -> bool:
        """Return whether viewers are answered by this version now.

        It has a share of the split in force and a ready replica; and if the share is all of
        it, the gateway, where there is one, says that the version is ready. A part cannot be
        asked for that way: the question would go to whichever version the split chooses.
        """
        split = self._router.observed(service)
        shares = {s.version: s.bp for s in split.everything} if split else {}
        layers = split.layers if split else ()
        group = Group("replica", service, version)
        ready = any(p.ready and group_of(p) == group for p in self.processes())
        if not shares.get(version) or not ready:
            return False
        if not self._gateway_url or shares[version] < FULL_BP or layers:
            return True
        with self._lock:
            wanted = [s for s in self._wanted or () if s.name == service]
        model = (wanted[0].model if wanted else "") or service
        url = f"{self._gateway_url}/v2/models/{model}/versions/{version_of(version)}/ready"
        if wanted and wanted[0].health_path:
            url = f"{self._gateway_url}/v1/services/{service}{wanted[0].health_path}"
        return self._network.request("GET", url, timeout_s=2.0).status == 200

    def wait_live(self, service: str, version: str, deadline_s: float) -> None:
        """Return once viewers are answered by the version.

        Args:
            service: Name of the service.
            version: Version that must be live.
            deadline_s: How long to wait, in seconds.

        Raises:
            BackendError: It was not live in time; says what is missing.
        """
        until_s = self._clock.monotonic_s() + deadline_s
        while not self.live(service, version):
            if self._clock.monotonic_s() >= until_s:
                raise BackendError(
                    f"version {version} was not live within {deadline_s:g} s: "
                    + self._missing(service, version),
                    where=f"service {service}",
                    hint="see the replicas' logs in the home's run folder",
                )
            self._clock.wait(0.05)

    def tick(self) -> bool:
        """Look, decide and act once; return whether anything was done."""
        with self._ticking:
            with self._lock:
                wanted = self._wanted
            if wanted is None:
                return False
            facts = self._facts(wanted)
            self._state, commands = step(self._state, facts)
            self._failed = []
            for command in commands:
                self._act(command)
            self._telling.record()
            return bool(commands)

    def _run(self) -> None:
        while not self._ending.is_set():
            self._wake.clear()
            try:
                busy = self.tick()
            except Exception as error:  # noqa: BLE001 (the edge of a thread that must not end)
                busy = False
                self._telling.tell_once("supervisor", f"{type(error).__name__}: {error}")
            if not busy or self._telling.failing:
                self._wake.wait(_PERIOD_S)

    def _facts(self, wanted: tuple[WantedService, ...]) -> FleetFacts:
        names = sorted({s.name for s in wanted} | set(self._placed))
        splits = tuple(
            split for name in names if (split := self._router.observed(name)) is not None
        )
        self._carried = carry(wanted, self._carried, splits)
        processes = self._look()
        lives = {p.id: p.nonce for p in processes}
        with self._lock:
            self._condemned = {
                name: one for name, one in self._condemned.items() if lives.get(name) == one[0]
            }
            condemned = tuple(sorted(self._condemned))
        return FleetFacts(
            now_s=self._clock.monotonic_s(),
            services=self._carried,
            groups=self._groups(self._carried),
            processes=processes,
            placed=tuple(self._placed[name] for name in sorted(self._placed)),
            splits=splits,
            failed=tuple(self._failed),
            refused=tuple(p.id for p in processes if not p.alive and self._why_refused(p)),
            condemned=condemned,
        )

    def _why_refused(self, process: ProcessState) -> str:
        """Return why a process refused what it was to load; kept for who asks later."""
        reason = self._refusal(process)
        if reason:
            self._reasons[group_of(process), process.digest] = reason
        return reason

    def _groups(self, services: Sequence[WantedService]) -> tuple[WantedGroup, ...]:
        counts: dict[Group, int] = {}
        if self._gateways:
            counts[Group("gateway")] = self._gateways
        for service in services:
            if service.fallback:
                counts[Group("fallback", service.name)] = 1
            for version in service.versions:
                counts[Group("replica", service.name, version.version)] = version.replicas
        return tuple(self._wanted_group(group, n) for group, n in sorted(counts.items()))

    def _wanted_group(self, group: Group, count: int) -> WantedGroup:
        """Return what the group should run; what it runs already when that cannot be said.

        A damaged artifact stops no replica that holds it in memory; a new one fails to start.
        """
        try:
            spec = self._spec_for(group.kind, group.service, group.version, 1)
        except LifecycleError as error:
            self._telling.tell_once(
                f"{group.kind} {group.service} {group.version}".strip(), str(error)
            )
            runs = next((p.digest for p in self._last.values() if group_of(p) == group), "")
            return WantedGroup(group=group, count=count, digest=runs)
        return WantedGroup(group=group, count=count, digest=spec.digest, handover=spec.handover)

    def _look(self) -> tuple[ProcessState, ...]:
        """Ask every process; tell what changed since the last look."""
        states = [p for p in self._launcher.state() if p.kind != "control"]
        ready = self._probes.ready(states)
        seen = {p.id: replace(p, ready=yes) for p, yes in zip(states, ready, strict=True)}
        for name, process in seen.items():
            before = self._last.get(name)
            was_ready = before is not None and before.pid == process.pid and before.ready
            if process.ready and not was_ready:
                self._telling.tell("ready", process, f"port {process.port}")
                if why := self._refusal(process):  # it rescues without what it refused
                    self._telling.tell("refused", process, why)
            elif was_ready and process.alive and not process.ready:
                self._telling.tell("silent", process, "does not say that it is ready")
        with self._lock:
            self._last = seen
        return tuple(seen[name] for name in sorted(seen))

    def _act(self, command: Command) -> None:
        """Do one thing; what fails is told once and comes back at the next look."""
        try:
            match command:
                case Start(group=group, n=n):
                    spec = self._spec_for(group.kind, group.service, group.version, n)
                    process = self._launcher.start(spec)
                    took_over = ", takes over" if process.handing_over else ""
                    self._telling.tell("started", process, f"pid {process.pid}{took_over}")
                case Stop(id=name, reason=reason):
                    self._stop(name, reason)
                case Place(endpoints=endpoints):
                    self._place(endpoints)
                case Split(split=split):
                    self._router.apply(split)
                    self._telling.tell("split", None, as_text(split))
                case CrashLoop(group=group, crashes=crashes, retry_in_s=retry_in_s):
                    detail = f"{crashes} crashes within a minute; next try in {retry_in_s:g} s"
                    name = "-".join(part for part in (group.kind, group.service) if part)
                    self._telling.tell("crash_loop", None, f"{name} {group.version}: {detail}")
        except LifecycleError as error:
            if isinstance(command, Start):
                self._failed.append(command.group)
            self._telling.tell_once(subject_of(command), str(error))
        else:
            self._telling.worked(subject_of(command))

    def _stop(self, name: str, reason: str) -> None:
        process = self._last.get(name)
        self._launcher.stop(name, grace_s=0.0 if reason == "hung" else 5.0)
        kind = reason if reason in ("crashed", "hung", "refused") else "stopped"
        if kind == "refused" and process is not None:
            self._telling.tell(kind, process, self._reasons[group_of(process), process.digest])
            return
        code = process.exit_code if process else None
        if code == ExhaustedError.exit_code:
            reason = f"{reason}: out of memory"
        if reason == "replaced" and name in self._condemned:
            reason = f"replaced: {self._condemned[name][1]}"
        self._telling.tell(
            kind, process, reason if code is None else f"{reason}, exit code {code}"
        )

    def _place(self, endpoints: ServiceEndpoints) -> None:
        self._router.place(endpoints)
        if endpoints.versions or endpoints.fallback:
            self._placed[endpoints.service] = endpoints
        else:
            self._placed.pop(endpoints.service, None)
        replicas = sum(len(v.endpoints) for v in endpoints.versions)
        detail = f"{endpoints.service}: {len(endpoints.versions)} versions, {replicas} replicas"
        self._telling.tell("placed", None, detail)

    def _missing(self, service: str, version: str) -> str:
        group = Group("replica", service, version)
        states = [p for p in self.processes() if group_of(p) == group]
        ready = sum(p.ready for p in states)
        split = self._router.observed(service)
        if held := self.waiting(service):
            return "it waits for others: " + " ".join(held)
        return (
            f"{ready} of {len(states)} replicas ready, split in force: "
            f"{as_text(split) if split else 'none'}"
        )
