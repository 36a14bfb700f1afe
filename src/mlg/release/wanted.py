"""The words of supervision: what is wanted, what is known, and what can be done about it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mlg.core.processes import ProcessKind, ProcessState
from mlg.core.traffic import DEFAULT_TRAFFIC, ServiceEndpoints, TrafficPolicy, TrafficSplit
from mlg.core.uris import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedVersion:
    """One version of a service that should run."""

    version: str
    artifact: Digest
    replicas: int
    bp: int
    """Its share of the traffic, or of its layer; 0 keeps it warm."""
    layer: str = ""
    """Salt of the layer that the share is of; empty: of the split itself."""
    begin: int | None = None
    """Place of the layer's hash at which its part begins; None: where the one before ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedService:
    """One service as it should be."""

    name: str
    versions: tuple[WantedVersion, ...] = ()
    """Shares without a layer sum to 10,000, or there is no version yet."""
    salt: str = ""
    """Goes into the hash of the split."""
    stable: str | None = None
    model: str = ""
    """The Open Inference Protocol's name; empty: the service's own."""
    fallback: bool = True
    traffic: TrafficPolicy = DEFAULT_TRAFFIC
    memory_bytes: int | None = None
    sticky: str = "user_id"
    """Field of the request by which a viewer stays with one version."""
    depends_on: tuple[str, ...] = ()
    """Services that must be healthy before its first replica is started."""
    health_path: str = ""
    """As `ServiceEndpoints` has it: set for a server that is not mlg's."""


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
    handover: bool = False
    """A process with another digest hands over to the next under its own id."""


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
    refused: tuple[str, ...] = ()
    """Ids of processes that ended because they refused what they were to load."""
    condemned: tuple[str, ...] = ()
    """Ids of processes that another one must replace although they were told what is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start process number `n` of a group; `n` is unique in a service."""

    group: Group
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End a process and forget it."""

    id: str
    reason: Literal["crashed", "hung", "refused", "replaced", "surplus", "retired"]


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


def process_id(group: Group, n: int) -> str:
    """Return the id that process number `n` of a group must be started under.

    Examples:
        >>> process_id(Group("replica", "home", "3f2a"), 2)
        'replica-home-2'
        >>> process_id(Group("fallback", "home"), 1), process_id(Group("fallback", "home"), 2)
        ('fallback-home', 'fallback-home-2')
        >>> process_id(Group("gateway"), 1)
        'gateway-1'
    """
    prefix = _prefix(group.kind, group.service)
    return prefix if group.kind == "fallback" and n == 1 else f"{prefix}-{n}"


def carry(
    services: Sequence[WantedService],
    former: Sequence[WantedService],
    splits: Sequence[TrafficSplit],
) -> tuple[WantedService, ...]:
    """Return the wanted services with what still has traffic and is wanted no more.

    Until the new split is in force the old version's replicas are kept, and restarted when
    they crash, at a share of 0.
    """
    in_force = {split.service: split for split in splits}
    known = {(s.name, v.version): v for s in former for v in s.versions}
    carried: list[WantedService] = []
    for service in services:
        split = in_force.get(service.name)
        named = {v.version for v in service.versions}
        kept = tuple(
            replace(known[service.name, share.version], bp=0, layer="")
            for share in (split.everything if split else ())
            if share.bp
            and share.version not in named
            and (service.name, share.version) in known
        )
        carried.append(replace(service, versions=(*service.versions, *kept)))
    return tuple(carried)


def group_of(process: ProcessState) -> Group:
    """Return the group that a process belongs to; the version counts for replicas only."""
    version = process.version if process.kind == "replica" else ""
    return Group(process.kind, process.service, version)


def number_of(process: ProcessState) -> int:
    """Return a process' number; one that is named otherwise counts as 1."""
    suffix = process.id.removeprefix(_prefix(process.kind, process.service)).lstrip("-")
    return int(suffix) if suffix.isdigit() else 1


def _prefix(kind: str, service: str) -> str:
    return f"{kind}-{service}" if service else kind
