"""Which processes should run, which do, and what to do about the difference: pure decisions.

`step` looks at facts and returns commands; it starts nothing and forgets nothing that is
not in its state. The order is always: start, ready, place, split; and for what leaves:
split, place, stop. So at no time does a viewer's request meet a replica that is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from mlg.core.processes import ProcessKind, ProcessState
from mlg.core.traffic import (
    Endpoint,
    ServiceEndpoints,
    Share,
    TrafficSplit,
    VersionEndpoints,
)
from mlg.core.uris import Digest
from mlg.release.restarts import Restarts, crashed, ready_for

_HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedVersion:
    """One version of a service that should run."""

    version: str
    artifact: Digest
    replicas: int
    bp: int
    """Its share of the traffic; 0 keeps it warm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedService:
    """One service as it should be."""

    name: str
    versions: tuple[WantedVersion, ...] = ()
    """Shares sum to 10,000, or there is no version yet."""
    stable: str | None = None
    model: str = ""
    """The Open Inference Protocol's name; empty: the service's own."""
    fallback: bool = True
    timeout_ms: int = 2_000
    per_try_timeout_ms: int = 500
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """Processes that can stand in for each other."""

    kind: ProcessKind
    service: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedGroup:
    """How many of a group should run, told what."""

    group: Group
    count: int
    digest: str
    """Digest of the specification; a process with another one is replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFacts:
    """What is known at one moment."""

    now_s: float
    """Seconds that never run back."""
    services: tuple[WantedService, ...]
    groups: tuple[WantedGroup, ...]
    processes: tuple[ProcessState, ...]
    """Every recorded process, with `ready` as it was just seen."""
    placed: tuple[ServiceEndpoints, ...] = ()
    """Endpoints that the gateway has."""
    splits: tuple[TrafficSplit, ...] = ()
    """Splits in force."""
    failed: tuple[Group, ...] = ()
    """Groups of which a process could not be started since the last step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start process number `n` of a group; `n` is unique in a service."""

    group: Group
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End a process and forget it."""

    id: str
    reason: Literal["crashed", "hung", "replaced", "surplus", "retired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Tell the gateway where a service's versions listen; all empty takes the service away."""

    endpoints: ServiceEndpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Tell the gateway how to share a service's traffic."""

    split: TrafficSplit


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashLoop:
    """Give the verdict that a group does not stay up; it is still retried, slowly."""

    group: Group
    crashes: int
    retry_in_s: float


Command = Start | Stop | Place | Split | CrashLoop


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is remembered of one process."""

    id: str
    pid: int
    since_s: float
    """When it was first seen, or last ready."""
    was_ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """What `step` must remember between two looks."""

    restarts: tuple[tuple[Group, Restarts], ...] = ()
    seen: tuple[Seen, ...] = ()
    draining: tuple[str, ...] = ()
    """Ids that leave: no longer placed, stopped once no gateway names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a process may take before it counts as hung, in seconds."""

    starting_s: float = 120.0
    silent_s: float = 10.0


def wanted_endpoints(
    service: WantedService, facts: FleetFacts, leaving: frozenset[str]
) -> ServiceEndpoints:
    """Return where the service's versions should be looked for.

    A version without a ready replica keeps its former endpoints: they fail their health
    checks and the gateway rescues the requests, which costs less than a version that is
    not there. Before its first ready replica a version is left out.
    """
    former = _placed(facts, service.name)
    before = {v.version: v.endpoints for v in former.versions} if former else {}
    versions: list[VersionEndpoints] = []
    for wanted in sorted(service.versions, key=lambda v: v.version):
        group = Group("replica", service.name, wanted.version)
        ready = _ready_endpoints(facts, group, leaving) or before.get(wanted.version, ())
        if ready:
            versions.append(VersionEndpoints(version=wanted.version, endpoints=ready))
    known = {v.version for v in versions}
    fallback = _ready_endpoints(facts, Group("fallback", service.name), leaving)
    return ServiceEndpoints(
        service=service.name,
        versions=tuple(versions),
        stable=service.stable if service.stable in known else None,
        fallback=fallback or (former.fallback if former and service.fallback else ()),
        timeout_ms=service.timeout_ms,
        per_try_timeout_ms=service.per_try_timeout_ms,
        model=service.model,
    )


def wanted_split(service: WantedService, facts: FleetFacts) -> TrafficSplit | None:
    """Return the split that can be put in force now, or None when the former one stays.

    Every version with a share must be placed: a share never waits for a replica.
    """
    former = _placed(facts, service.name)
    known = {v.version for v in former.versions} if former else set[str]()
    shares = tuple(Share(version=v.version, bp=v.bp) for v in service.versions if v.bp)
    if not shares or any(share.version not in known for share in shares):
        return None
    return TrafficSplit(service=service.name, shares=shares)


def step(
    state: FleetState, facts: FleetFacts, *, patience: Patience = Patience()
) -> tuple[FleetState, tuple[Command, ...]]:
    """Return what to do now, and what to remember.

    Idempotent in effect: the same facts again give the same commands again, and a command
    that failed comes back at the next look.

    Args:
        state: What the last step returned.
        facts: What is so.
        patience: When a silent process counts as hung.
    """
    commands: list[Command] = []
    restarts = dict(state.restarts)
    seen, gone, hung = _look(state, facts, patience)
    for process in (*gone, *hung):
        why = "crashed" if process in gone else "hung"
        commands.append(Stop(id=process.id, reason=why))
    ended = {process.id for process in (*gone, *hung)}
    fallen = [_group(p) for p in (*gone, *hung)] + list(facts.failed)
    for group in fallen:
        history, looping = crashed(restarts.get(group, Restarts()), facts.now_s)
        restarts[group] = history
        if looping:
            retry_in_s = history.not_before_s - facts.now_s
            crashes = len(history.crashes_s)
            commands.append(CrashLoop(group=group, crashes=crashes, retry_in_s=retry_in_s))
    there = tuple(p for p in facts.processes if p.id not in ended)
    draining = set(state.draining) & {p.id for p in there}
    wanted = {w.group: w for w in facts.groups}
    taken = _numbers(facts.processes)
    for want in facts.groups:
        members = [p for p in there if _group(p) == want.group]
        longest_s = max((_up_s(p, seen, facts.now_s) for p in members if p.ready), default=0.0)
        restarts[want.group] = ready_for(restarts.get(want.group, Restarts()), longest_s)
        if facts.now_s >= restarts[want.group].not_before_s:
            commands.extend(_starts(want, members, draining, taken))
        draining |= _leaving(want, members, draining, facts)
    draining |= {p.id for p in there if _group(p) not in wanted and not _needed(p, facts)}
    leaving = frozenset(draining)
    commands.extend(_traffic(facts, leaving))
    commands.extend(_stops(there, wanted, leaving, facts))
    return (
        FleetState(
            restarts=tuple(sorted((g, r) for g, r in restarts.items() if g in wanted)),
            seen=tuple(seen[id_] for id_ in sorted(seen) if id_ not in ended),
            draining=tuple(sorted(leaving)),
        ),
        tuple(commands),
    )


def _look(
    state: FleetState, facts: FleetFacts, patience: Patience
) -> tuple[dict[str, Seen], list[ProcessState], list[ProcessState]]:
    """Return what is remembered of each process, those that ended, and those that hang."""
    before = {(s.id, s.pid): s for s in state.seen}
    seen: dict[str, Seen] = {}
    gone: list[ProcessState] = []
    hung: list[ProcessState] = []
    for process in facts.processes:
        last = before.get((process.id, process.pid)) or Seen(
            id=process.id, pid=process.pid, since_s=facts.now_s
        )
        if not process.alive:
            gone.append(process)
            continue
        if process.ready != last.was_ready:
            last = replace(last, since_s=facts.now_s, was_ready=process.ready)
        seen[process.id] = last
        if process.ready:
            continue
        known = before.get((process.id, process.pid))
        allowed_s = patience.starting_s if known is None else patience.silent_s
        if facts.now_s - last.since_s > allowed_s:
            hung.append(process)
    return seen, gone, hung
