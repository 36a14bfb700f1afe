"""Which processes should run, which do, and what to do about the difference: pure decisions.

`step` looks at facts and returns commands; it starts nothing and forgets nothing that is
not in its state. The order is always: start, ready, place, split; and for what leaves:
split, place, stop. So at no time does a viewer's request meet a replica that is not there.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import count

from mlg.core.processes import ProcessState
from mlg.release.dependencies import Waiting, order
from mlg.release.fleet_traffic import split_of, traffic
from mlg.release.restarts import PATIENCE, Patience, Restarts, crashed, proven
from mlg.release.wanted import (
    Command,
    CrashLoop,
    FleetFacts,
    Group,
    Place,
    Split,
    Start,
    Stop,
    WantedGroup,
    WantedService,
    WantedVersion,
    carry,
    group_of,
    number_of,
    process_id,
)

__all__ = [
    "Command",
    "CrashLoop",
    "FleetFacts",
    "FleetState",
    "Group",
    "Patience",
    "Place",
    "Split",
    "Start",
    "Stop",
    "WantedGroup",
    "WantedService",
    "WantedVersion",
    "carry",
    "group_of",
    "process_id",
    "step",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is remembered of one process."""

    id: str
    pid: int
    ready: bool = False
    proven: bool = False
    """It was ready once."""
    since_s: float
    """Since when it has been ready, or not ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """What `step` must remember between two looks."""

    restarts: tuple[tuple[Group, Restarts], ...] = ()
    seen: tuple[Seen, ...] = ()
    draining: tuple[str, ...] = ()
    """Ids that leave: no longer placed, stopped once no gateway names them."""
    refused: tuple[tuple[Group, str], ...] = ()
    """Groups, and the digests of specifications under which their processes refused to load.

    None of them is started again before its specification is another one."""
    begun: tuple[str, ...] = ()
    """Services with dependencies whose first replica may be, or has been, started."""
    waiting: tuple[Waiting, ...] = ()
    """Services that wait for others, and for what."""


def step(
    state: FleetState, facts: FleetFacts, *, patience: Patience = PATIENCE
) -> tuple[FleetState, tuple[Command, ...]]:
    """Return what to do now, in order, and what to remember.

    A command that failed comes back at the next look, because the facts did not change.

    Args:
        state: What the last step returned.
        facts: What is so.
        patience: When a silent process counts as hung.
    """
    seen, gone, hung = _look(state, facts, patience)
    commands: list[Command] = [
        *(
            Stop(id=p.id, reason="refused" if p.id in facts.refused else "crashed")
            for p in gone
        ),
        *(Stop(id=p.id, reason="hung") for p in hung),
    ]
    crashed_now = [p for p in gone if p.id not in facts.refused]
    fallen = [*map(group_of, (*crashed_now, *hung)), *facts.failed]
    refused = _refused(state, facts, gone)
    begun, waiting = order(state.begun, facts)
    held = {Group("replica", one.service) for one in waiting}
    restarts, verdicts = _histories(state, fallen, facts.now_s)
    commands.extend(verdicts)
    ended = {p.id for p in (*gone, *hung)}
    there = [p for p in facts.processes if p.id not in ended]
    wanted = {w.group: w for w in facts.groups}
    taken = {(p.kind, p.service, number_of(p)) for p in facts.processes}
    draining = {p.id for p in there if group_of(p) not in wanted and not _needed(p, facts)}
    for want in facts.groups:
        members = [p for p in there if group_of(p) == want.group]
        # by the youngest of a whole group: a healthy sibling proves nothing of one that fell
        up_s = [facts.now_s - seen[p.id].since_s for p in members if p.ready]
        if len(up_s) >= want.count:
            history = restarts.get(want.group, Restarts())
            restarts[want.group] = proven(history, facts.now_s, min(up_s, default=0.0))
        leaving = _leaving(want, members, set(state.draining), facts)
        draining |= leaving
        waits = Group(want.group.kind, want.group.service) in held
        may = (want.group, want.digest) not in refused and not waits
        if may and facts.now_s >= restarts.get(want.group, Restarts()).not_before_s:
            commands.extend(_starts(want, members, leaving, taken, facts))
            commands.extend(_handovers(want, members))
    commands.extend(traffic(facts, draining))
    commands.extend(_stops(there, wanted, draining, facts))
    return (
        FleetState(
            # a group that is wanted again before its delay is over still waits for it
            restarts=tuple(
                sorted(
                    (group, history)
                    for group, history in restarts.items()
                    if group in wanted or facts.now_s < history.not_before_s
                )
            ),
            seen=tuple(seen[name] for name in sorted(seen) if name not in ended),
            draining=tuple(sorted(draining)),
            refused=refused,
            begun=begun,
            waiting=waiting,
        ),
        tuple(commands),
    )


def _look(
    state: FleetState, facts: FleetFacts, patience: Patience
) -> tuple[dict[str, Seen], list[ProcessState], list[ProcessState]]:
    """Return what is remembered of each living process, those that ended, those that hang."""
    before = {(s.id, s.pid): s for s in state.seen}
    seen: dict[str, Seen] = {}
    gone: list[ProcessState] = []
    hung: list[ProcessState] = []
    for process in facts.processes:
        if not process.alive:
            gone.append(process)
            continue
        last = before.get((process.id, process.pid)) or Seen(
            id=process.id, pid=process.pid, since_s=facts.now_s
        )
        if process.ready != last.ready:
            last = replace(last, ready=process.ready, since_s=facts.now_s)
        seen[process.id] = replace(last, proven=last.proven or process.ready)
        allowed_s = patience.silent_s if last.proven else patience.starting_s
        if not process.ready and facts.now_s - last.since_s > allowed_s:
            hung.append(process)
    return seen, gone, hung


def _refused(
    state: FleetState, facts: FleetFacts, gone: Sequence[ProcessState]
) -> tuple[tuple[Group, str], ...]:
    """Return what was refused and is still wanted just so."""
    wanted = {(want.group, want.digest) for want in facts.groups}
    now = {(group_of(p), p.digest) for p in gone if p.id in facts.refused}
    return tuple(sorted(wanted & {*state.refused, *now}))


def _histories(
    state: FleetState, fallen: Sequence[Group], now_s: float
) -> tuple[dict[Group, Restarts], list[CrashLoop]]:
    restarts = dict(state.restarts)
    verdicts: list[CrashLoop] = []
    for group in fallen:
        restarts[group], looping = crashed(restarts.get(group, Restarts()), now_s)
        if looping:
            history = restarts[group]
            verdicts.append(
                CrashLoop(
                    group=group,
                    crashes=len(history.crashes_s),
                    retry_in_s=history.not_before_s - now_s,
                )
            )
    return restarts, verdicts


def _leaving(
    want: WantedGroup, members: Sequence[ProcessState], draining: Set[str], facts: FleetFacts
) -> set[str]:
    """Return who of the group should leave: told something old, condemned, or too many.

    Decided anew at each look, so that one that was leaving stays when another one falls.
    """
    least = max(want.count, 1 if any(_needed(p, facts) for p in members) else 0)
    leaving: set[str] = set()
    # who is leaving goes on leaving first; then the old, the silent, the highest number
    for process in sorted(
        members,
        key=lambda p: (
            p.id not in draining,
            _current(p, want, facts),
            p.ready,
            -number_of(p),
        ),
    ):
        staying = [p for p in members if p.id not in leaving]
        current = [p for p in staying if _current(p, want, facts)]
        old = not _current(process, want, facts)
        if not old and len(current) <= want.count:
            continue
        ready_left = sum(p.ready for p in staying if p.id != process.id)
        if not process.ready or ready_left >= least:
            leaving.add(process.id)
    return leaving


def _starts(
    want: WantedGroup,
    members: Sequence[ProcessState],
    leaving: Set[str],
    taken: set[tuple[str, str, int]],
    facts: FleetFacts,
) -> list[Start]:
    """Return the starts that the group lacks: never more than one beyond its count.

    The numbers, the lowest free ones of the service, are added to `taken`.
    """
    current = [p for p in members if _current(p, want, facts) and p.id not in leaving]
    lacking = min(want.count - len(current), want.count + 1 - len(members))
    starts: list[Start] = []
    for _ in range(lacking):
        place = (want.group.kind, want.group.service)
        n = next(n for n in count(1) if (*place, n) not in taken)
        taken.add((*place, n))
        starts.append(Start(group=want.group, n=n))
    return starts


def _handovers(want: WantedGroup, members: Sequence[ProcessState]) -> list[Start]:
    """Return who takes over from one told something old: one at a time, if all are well."""
    old = [p for p in members if want.handover and p.digest != want.digest]
    if not old or any(not p.ready or p.handing_over for p in members):
        return []
    return [Start(group=want.group, n=min(map(number_of, old)))]


def _stops(
    there: Sequence[ProcessState],
    wanted: Mapping[Group, WantedGroup],
    draining: Set[str],
    facts: FleetFacts,
) -> list[Stop]:
    """Return the stops of those that leave and that no gateway names any more."""
    named = {
        (placed.service, endpoint.port)
        for placed in facts.placed
        for endpoints in (placed.fallback, *(v.endpoints for v in placed.versions))
        for endpoint in endpoints
    }
    stops: list[Stop] = []
    for process in there:
        if process.id not in draining or (process.service, process.port) in named:
            continue
        want = wanted.get(group_of(process))
        if want is None:
            stops.append(Stop(id=process.id, reason="retired"))
        else:
            old = not _current(process, want, facts)
            stops.append(Stop(id=process.id, reason="replaced" if old else "surplus"))
    return stops


def _current(process: ProcessState, want: WantedGroup, facts: FleetFacts) -> bool:
    """Whether a process is what its group should run or becomes it, and may stay."""
    told = process.digest == want.digest or want.handover
    return told and process.id not in facts.condemned


def _needed(process: ProcessState, facts: FleetFacts) -> bool:
    """Whether viewers are sent to the process' version now."""
    split = split_of(facts, process.service)
    return (
        process.kind == "replica"
        and split is not None
        and any(service.name == process.service for service in facts.services)
        and any(share.bp and share.version == process.version for share in split.everything)
    )
