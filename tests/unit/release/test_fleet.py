from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mlg.core.processes import ProcessState
from mlg.core.traffic import ServiceEndpoints, Share, TrafficSplit
from mlg.core.uris import Digest
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
    WantedVersion,
    carry,
    group_of,
    process_id,
    step,
)
from mlg.release.fleet_traffic import wanted_endpoints

T0 = datetime(2026, 1, 1, tzinfo=UTC)
V1 = Group("replica", "home", "v1")
V2 = Group("replica", "home", "v2")
FALLBACK = Group("fallback", "home")
GATEWAY = Group("gateway")


def service(*versions: tuple[str, int, int], stable: str | None = "v1") -> WantedService:
    return WantedService(
        name="home",
        versions=tuple(
            WantedVersion(version=v, artifact=Digest("0" * 64), replicas=n, bp=bp)
            for v, n, bp in versions
        ),
        stable=stable,
    )


class World:
    """Processes, a gateway and a clock that obey commands and can be hurt."""

    def __init__(self, gateways: int = 2) -> None:
        self.now_s = 0.0
        self.state = FleetState()
        self.wanted: tuple[WantedService, ...] = ()
        self.carried: tuple[WantedService, ...] = ()
        self.gateways = gateways
        self.processes: dict[str, ProcessState] = {}
        self.placed: dict[str, ServiceEndpoints] = {}
        self.splits: dict[str, TrafficSplit] = {}
        self.digests: dict[Group, str] = {}
        self.failed: list[Group] = []
        self.refused: set[str] = set()
        self.pids = 100
        self.router_works = True
        self.unstartable: set[Group] = set()
        self.log: list[Command] = []
        self.last_crash_s: dict[Group, float] = {}

    def groups(self) -> tuple[WantedGroup, ...]:
        counts = {GATEWAY: self.gateways} if self.gateways else {}
        for s in self.carried:
            counts[Group("fallback", s.name)] = 1
            for v in s.versions:
                counts[Group("replica", s.name, v.version)] = v.replicas
        return tuple(
            WantedGroup(
                group=g, count=n, digest=self.digests.get(g, "d0"), handover=g == GATEWAY
            )
            for g, n in sorted(counts.items())
        )

    def facts(self) -> FleetFacts:
        splits = tuple(self.splits.values())
        self.carried = carry(self.wanted, self.carried, splits)
        return FleetFacts(
            now_s=self.now_s,
            services=self.carried,
            groups=self.groups(),
            processes=tuple(p for _, p in sorted(self.processes.items())),
            placed=tuple(self.placed.values()),
            splits=splits,
            failed=tuple(self.failed),
            refused=tuple(name for name in self.refused if name in self.processes),
        )

    def tick(self) -> tuple[Command, ...]:
        facts = self.facts()
        for p in facts.processes:
            if not p.alive:
                self.last_crash_s[group_of(p)] = self.now_s
        for g in facts.failed:
            self.last_crash_s[g] = self.now_s
        self.state, commands = step(self.state, facts)
        self.failed = []
        for command in commands:
            self.check(command, facts)
            self.obey(command)
            self.log.append(command)
        return commands

    def check(self, command: Command, facts: FleetFacts) -> None:
        match command:
            case Start(group=group):
                name = process_id(group, command.n)
                alive = [p for p in self.members(group) if p.alive and p.id != name]
                counts = {w.group: w.count for w in facts.groups}
                assert len(alive) + 1 <= counts[group] + 1, "more than N+1"
                crash_s = self.last_crash_s.get(group)
                assert crash_s is None or self.now_s - crash_s >= 1.0, "no backoff"
            case Stop(id=name):
                process = self.processes[name]
                others = [p for p in self.members(group_of(process)) if p.id != name]
                if process.ready and self.has_traffic(process):
                    assert any(p.ready for p in others), "stopped the last ready replica"
                if process.ready and process.kind == "gateway":
                    assert any(p.ready for p in others), "stopped the last gateway"
            case Split(split=split):
                known = {v.version for v in self.placed["home"].versions}
                assert {s.version for s in split.shares} <= known
            case Place() | CrashLoop():
                pass

    def has_traffic(self, process: ProcessState) -> bool:
        split = self.splits.get(process.service)
        return process.kind == "replica" and any(
            s.bp and s.version == process.version for s in (split.shares if split else ())
        )

    def members(self, group: Group) -> list[ProcessState]:
        return [p for p in self.processes.values() if group_of(p) == group]

    def obey(self, command: Command) -> None:
        match command:
            case Start(group=group, n=n):
                if group in self.unstartable:
                    self.failed.append(group)
                    return
                name = process_id(group, n)
                assert name not in self.processes or group == GATEWAY
                self.pids += 1
                self.processes[name] = ProcessState(
                    id=name, kind=group.kind, service=group.service, version=group.version,
                    digest=self.digests.get(group, "d0"), pid=self.pids, port=self.pids,
                    nonce=f"n{self.pids}", started_at=T0, alive=True,
                )  # fmt: skip
            case Stop(id=name):
                del self.processes[name]
            case Place(endpoints=endpoints) if self.router_works:
                if endpoints.versions or endpoints.fallback:
                    self.placed[endpoints.service] = endpoints
                else:
                    self.placed.pop(endpoints.service)
                    self.splits.pop(endpoints.service, None)
            case Split(split=split) if self.router_works:
                self.splits[split.service] = split
            case _:
                pass

    def ready_all(self) -> None:
        self.processes = {
            k: replace(p, ready=True) if p.alive else p for k, p in self.processes.items()
        }

    def settle(self, ticks: int = 40) -> None:
        for _ in range(ticks):
            self.ready_all()
            self.tick()
            self.now_s += 2.0

    def crash(self, name: str) -> None:
        self.processes[name] = replace(self.processes[name], alive=False, ready=False)

    def refuse(self, name: str) -> None:
        self.crash(name)
        self.refused.add(name)


def running(group: Group, world: World) -> int:
    return sum(p.alive and p.ready for p in world.members(group))


def test_a_first_version_is_started_then_placed_then_given_all_traffic() -> None:
    world = World()
    world.wanted = (service(("v1", 2, 10_000)),)
    assert [type(c) for c in world.tick()] == [Start] * 5  # 2 gateways, fallback, 2 replicas
    assert world.tick() == ()  # nothing is ready: nothing is placed
    world.ready_all()
    assert [type(c) for c in world.tick()] == [Place]
    assert [type(c) for c in world.tick()] == [Split]
    assert world.tick() == ()
    assert world.splits["home"].shares == (Share(version="v1", bp=10_000),)


def test_the_gateway_is_told_by_which_field_a_viewer_stays() -> None:
    wanted = replace(service(("v1", 1, 10_000)), sticky="session_id")
    facts = FleetFacts(now_s=0.0, services=(wanted,), groups=(), processes=())
    assert wanted_endpoints(wanted, facts, set()).sticky == "session_id"


def test_a_service_without_a_version_is_answered_by_its_fallback() -> None:
    world = World()
    world.wanted = (service(stable=None),)
    world.settle(4)
    assert world.placed["home"].fallback
    assert world.placed["home"].versions == ()
    assert world.splits == {}


def test_a_crashed_replica_is_forgotten_at_once_and_started_after_a_second() -> None:
    world = World()
    world.wanted = (service(("v1", 2, 10_000)),)
    world.settle(5)
    world.crash("replica-home-1")
    commands = world.tick()
    assert Stop(id="replica-home-1", reason="crashed") in commands
    assert not any(isinstance(c, Start) for c in commands)
    world.now_s += 0.99
    assert not any(isinstance(c, Start) for c in world.tick())
    world.now_s += 0.01
    assert Start(group=V1, n=1) in world.tick()


def test_a_version_whose_replicas_all_died_keeps_its_endpoints() -> None:
    world = World()
    world.wanted = (service(("v1", 1, 10_000)),)
    world.settle(5)
    before = world.placed["home"]
    world.crash("replica-home-1")
    world.tick()
    assert world.placed["home"] == before


def test_the_old_version_leaves_only_after_the_new_one_has_the_traffic() -> None:
    world = World()
    world.wanted = (service(("v1", 2, 10_000)),)
    world.settle(6)
    world.wanted = (service(("v2", 2, 10_000), stable="v2"),)
    world.log.clear()
    world.settle(10)
    order = [
        type(c).__name__ + ("" if not isinstance(c, Stop) else f" {c.reason}")
        for c in world.log
    ]
    assert order == [
        "Start", "Start", "Place", "Split", "Place", "Stop retired", "Stop retired",
    ]  # fmt: skip
    assert running(V2, world) == 2
    assert running(V1, world) == 0
    # numbers are unique in a service across versions
    assert {p.id for p in world.members(V2)} == {"replica-home-3", "replica-home-4"}


def test_while_the_new_version_does_not_start_the_old_one_is_kept_and_restarted() -> None:
    world = World()
    world.wanted = (service(("v1", 1, 10_000)),)
    world.settle(6)
    world.wanted = (service(("v2", 1, 10_000), stable="v2"),)
    world.unstartable.add(V2)
    world.crash("replica-home-1")
    world.settle(6)
    assert running(V1, world) == 1
    assert world.splits["home"].shares == (Share(version="v1", bp=10_000),)


def test_a_stale_digest_replaces_one_by_one() -> None:
    world = World()
    world.wanted = (service(("v1", 2, 10_000)),)
    world.settle(6)
    world.digests[V1] = "d1"
    for _ in range(20):
        world.ready_all()
        world.tick()
        world.now_s += 0.25
        assert running(V1, world) >= 2
        assert len(world.members(V1)) <= 3
    assert {p.digest for p in world.members(V1)} == {"d1"}
    assert len(world.members(V1)) == 2


def test_gateways_told_something_new_hand_over_one_by_one_and_none_is_stopped() -> None:
    world = World()
    world.wanted = (service(("v1", 1, 10_000)),)
    world.settle(6)
    before = {p.id: p.pid for p in world.members(GATEWAY)}
    world.digests[GATEWAY] = "d1"
    world.log.clear()
    assert world.tick() == (Start(group=GATEWAY, n=1),)
    first = world.processes["gateway-1"]
    assert (first.digest, first.ready) == ("d1", False)
    assert world.tick() == ()  # the other waits until this one is ready
    world.processes["gateway-1"] = replace(first, ready=True, handing_over=True)
    assert world.tick() == ()  # and until its former self has ended
    world.processes["gateway-1"] = replace(first, ready=True)
    assert world.tick() == (Start(group=GATEWAY, n=2),)
    world.settle(4)
    after = {p.id: p.pid for p in world.members(GATEWAY)}
    assert after.keys() == before.keys()
    assert all(after[name] != pid for name, pid in before.items())
    assert not any(isinstance(c, Stop) for c in world.log)


def test_no_gateway_hands_over_while_another_is_down() -> None:
    world = World()
    world.wanted = (service(("v1", 1, 10_000)),)
    world.settle(6)
    world.crash("gateway-2")
    world.digests[GATEWAY] = "d1"
    world.tick()
    assert world.processes["gateway-1"].digest == "d0"
    world.settle(6)
    assert {p.digest for p in world.members(GATEWAY)} == {"d1"}


def test_a_process_that_falls_silent_is_ended_and_started_again() -> None:
    world = World()
    world.wanted = (service(("v1", 2, 10_000)),)
    world.settle(6)
    name = "replica-home-2"
    world.processes[name] = replace(world.processes[name], ready=False)
    world.tick()
    world.now_s += 10.0
    assert not any(isinstance(c, Stop) for c in world.tick())
    world.now_s += 0.1
    assert Stop(id=name, reason="hung") in world.tick()


def test_a_refused_version_is_not_started_again_and_counts_as_no_crash() -> None:
    world = World()
    world.wanted = (service(("v1", 2, 10_000)),)
    world.settle(6)
    world.refuse("replica-home-1")
    assert Stop(id="replica-home-1", reason="refused") in world.tick()
    world.log.clear()
    world.settle(500)  # a thousand seconds
    assert [c for c in world.log if isinstance(c, Start | CrashLoop | Stop)] == []
    assert running(V1, world) == 1  # the one that has it in memory serves on
    assert world.state.refused == ((V1, "d0"),)


def test_a_refused_version_is_tried_again_once_something_about_it_changed() -> None:
    world = World()
    world.wanted = (service(("v1", 2, 10_000)),)
    world.settle(6)
    world.refuse("replica-home-1")
    world.settle(3)
    world.refused.clear()
    world.digests[V1] = "d1"
    world.settle(10)
    assert {p.digest for p in world.members(V1)} == {"d1"}
    assert running(V1, world) == 2
    assert world.state.refused == ()


def test_what_serves_is_not_ended_for_a_replacement_that_is_refused() -> None:
    world = World()
    world.wanted = (service(("v1", 2, 10_000)),)
    world.settle(6)
    world.digests[V1] = "d1"
    for _ in range(50):
        world.tick()
        for one in [p for p in world.members(V1) if p.digest == "d1" and p.alive]:
            world.refuse(one.id)
        world.now_s += 2.0
        assert running(V1, world) == 2


def test_a_group_that_cannot_start_gets_a_verdict_and_slow_retries() -> None:
    world = World(gateways=0)
    world.wanted = (service(("v1", 1, 10_000)),)
    world.unstartable.add(V1)
    starts_s: list[float] = []
    for _ in range(2_000):
        world.ready_all()
        starts_s += [world.now_s for c in world.tick() if c == Start(group=V1, n=1)]
        world.now_s += 0.1
    verdicts = [c for c in world.log if isinstance(c, CrashLoop)]
    assert [v.group for v in verdicts] == [V1]
    gaps = [b - a for a, b in pairwise(starts_s)]
    expected = [1, 2, 4, 8] + [60] * (len(gaps) - 4)
    assert all(want <= gap <= want + 0.25 for gap, want in zip(gaps, expected, strict=True))


def test_a_healthy_sibling_does_not_clear_the_history_of_one_that_keeps_falling() -> None:
    world = World()
    world.wanted = (service(("v1", 2, 10_000)),)
    world.settle(80)  # 160 s of health
    starts_s: list[float] = []
    for _ in range(200):
        world.ready_all()
        if "replica-home-1" in world.processes:
            world.crash("replica-home-1")
        starts_s += [world.now_s for c in world.tick() if c == Start(group=V1, n=1)]
        world.now_s += 0.25
    gaps = [b - a for a, b in pairwise(starts_s)]
    assert len(starts_s) == 4  # after 1, 2, 4 and 8 s; the fifth crash is a loop
    assert gaps == sorted(gaps)


def test_a_group_wanted_again_still_waits_for_its_delay() -> None:
    world = World()
    world.wanted = (service(("v1", 1, 10_000)),)
    world.settle(6)
    world.crash("replica-home-1")
    world.tick()
    wanted, world.wanted = world.wanted, (service(stable=None),)
    world.splits.clear()
    world.tick()
    world.wanted = wanted
    world.now_s += 0.5
    assert not any(isinstance(c, Start) for c in world.tick())


def test_nothing_is_placed_while_no_gateway_is_ready() -> None:
    world = World()
    world.unstartable.add(GATEWAY)
    world.wanted = (service(("v1", 1, 10_000)),)
    world.settle(5)
    assert world.placed == {}


def test_an_unwanted_service_is_taken_away_before_its_processes_end() -> None:
    world = World()
    world.wanted = (service(("v1", 2, 10_000)),)
    world.settle(6)
    world.wanted = ()
    world.log.clear()
    world.settle(4)
    assert [type(c) for c in world.log] == [Place, Stop, Stop, Stop]
    assert world.placed == {}
    assert {p.kind for p in world.processes.values()} == {"gateway"}


class Fleet(RuleBasedStateMachine):
    """Anything may crash, hang, fail or change at any time; `World.check` watches."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.wanted = (service(("v1", 2, 10_000)),)

    @rule(dt=st.sampled_from([0.0, 0.25, 1.0, 5.0, 70.0]))
    def look(self, dt: float) -> None:
        self.world.now_s += dt
        self.world.tick()

    @rule()
    def all_become_ready(self) -> None:
        self.world.ready_all()

    @precondition(lambda self: self.world.processes)
    @rule(data=st.data())
    def one_becomes_ready(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.processes)))
        process = self.world.processes[name]
        self.world.processes[name] = replace(process, ready=process.alive)

    @precondition(lambda self: self.world.processes)
    @rule(data=st.data())
    def one_falls_silent(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.processes)))
        self.world.processes[name] = replace(self.world.processes[name], ready=False)

    @precondition(lambda self: self.world.processes)
    @rule(data=st.data())
    def one_crashes(self, data: st.DataObject) -> None:
        self.world.crash(data.draw(st.sampled_from(sorted(self.world.processes))))

    @rule(
        versions=st.sampled_from(
            [
                (),
                (("v1", 2, 10_000),),
                (("v1", 1, 10_000),),
                (("v2", 3, 10_000),),
                (("v1", 2, 9_950), ("v2", 1, 50)),
                (("v1", 2, 0), ("v2", 2, 10_000)),
            ]
        )
    )
    def wants_change(self, versions: tuple[tuple[str, int, int], ...]) -> None:
        stable = versions[0][0] if versions else None
        self.world.wanted = (service(*versions, stable=stable),)

    @rule(group=st.sampled_from([V1, V2, FALLBACK, GATEWAY]), digest=st.sampled_from("ab"))
    def what_it_is_told_changes(self, group: Group, digest: str) -> None:
        self.world.digests[group] = digest

    @rule(works=st.booleans())
    def router(self, works: bool) -> None:
        self.world.router_works = works

    @rule(group=st.sampled_from([V1, V2, FALLBACK, GATEWAY]), works=st.booleans())
    def starting(self, group: Group, works: bool) -> None:
        (self.world.unstartable.discard if works else self.world.unstartable.add)(group)

    @invariant()
    def numbers_are_unique_in_a_service(self) -> None:
        names = [p.id for p in self.world.processes.values()]
        assert len(names) == len(set(names))

    def teardown(self) -> None:
        """When the faults end, the fleet becomes what is wanted."""
        world = self.world
        world.router_works = True
        world.unstartable.clear()
        world.settle(150)
        for want in world.groups():
            members = world.members(want.group)
            assert len(members) == want.count, want
            assert {p.digest for p in members} <= {want.digest}
        assert len(world.processes) == sum(w.count for w in world.groups())
        shares = tuple(
            Share(version=v.version, bp=v.bp) for v in world.wanted[0].versions if v.bp
        )
        if shares:
            assert world.splits["home"].shares == shares


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
