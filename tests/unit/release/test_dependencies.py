"""The order in which services begin, over made-up facts."""

from datetime import UTC, datetime

import pytest

from mlg.core.processes import ProcessState
from mlg.core.traffic import Endpoint, ServiceEndpoints, VersionEndpoints
from mlg.core.uris import Digest
from mlg.release.dependencies import order
from mlg.release.fleet import (
    Command,
    FleetFacts,
    FleetState,
    Group,
    Start,
    WantedGroup,
    WantedService,
    WantedVersion,
    process_id,
    step,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)
GATEWAY = Group("gateway")


def service(name: str, *needs: str, version: bool = True) -> WantedService:
    serving = WantedVersion(version="v1", artifact=Digest(""), replicas=1, bp=10_000)
    return WantedService(
        name=name, versions=(serving,) if version else (), depends_on=needs, fallback=False
    )


def replica(name: str, *, ready: bool = True, alive: bool = True) -> ProcessState:
    return ProcessState(
        id=process_id(Group("replica", name, "v1"), 1), kind="replica", service=name,
        version="v1", digest="d", pid=len(name), port=9_000 + len(name), nonce=name,
        started_at=T0, alive=alive, ready=ready,
    )  # fmt: skip


def placed(name: str) -> ServiceEndpoints:
    endpoint = Endpoint(host="127.0.0.1", port=9_000 + len(name))
    version = VersionEndpoints(version="v1", endpoints=(endpoint,))
    return ServiceEndpoints(service=name, versions=(version,), stable="v1", fallback=())


def facts(
    *services: WantedService,
    processes: tuple[ProcessState, ...] = (),
    known: tuple[str, ...] = (),
    gateways: int = 0,
    now_s: float = 0.0,
) -> FleetFacts:
    groups = [WantedGroup(group=GATEWAY, count=gateways, digest="d")] if gateways else []
    groups += [
        WantedGroup(group=Group("replica", s.name, v.version), count=v.replicas, digest="d")
        for s in services
        for v in s.versions
    ]
    return FleetFacts(
        now_s=now_s,
        services=services,
        groups=tuple(groups),
        processes=processes,
        placed=tuple(placed(name) for name in known),
    )


def reasons(found: FleetFacts, *begun: str) -> dict[str, tuple[str, ...]]:
    return {one.service: one.reasons for one in order(begun, found)[1]}


STACK = (service("catalog"), service("profiles"), service("ranking", "profiles", "catalog"))


def started(commands: tuple[Command, ...]) -> list[str]:
    return [c.group.service for c in commands if isinstance(c, Start)]


def test_a_chain_begins_link_by_link() -> None:
    chain = (service("a"), service("bb", "a"), service("ccc", "bb"))
    up: tuple[ProcessState, ...] = ()
    state, turns = FleetState(), []
    for _ in range(4):
        state, commands = step(state, facts(*chain, processes=up))
        turns.append(started(commands))
        up = (*up, *(replica(name) for name in started(commands)))
    assert turns == [["a"], ["bb"], ["ccc"], []]
    assert state.waiting == ()


def test_who_waits_says_for_what() -> None:
    one_up = facts(*STACK, processes=(replica("profiles"), replica("catalog", ready=False)))
    assert reasons(one_up) == {"ranking": ("catalog has no ready replica of v1.",)}
    assert reasons(facts(service("catalog", version=False), service("ranking", "catalog"))) == {
        "ranking": ("catalog has no version that serves yet.",)
    }


def test_a_dependency_is_healthy_once_the_gateway_knows_it() -> None:
    up = (replica("profiles"), replica("catalog"))
    assert reasons(facts(*STACK, processes=up, known=("profiles",), gateways=2)) == {
        "ranking": ("catalog is ready, and not in the gateway yet.",)
    }
    both = facts(*STACK, processes=up, known=("profiles", "catalog"), gateways=2)
    assert order((), both) == (("ranking",), ())


@pytest.mark.parametrize("fallen", [(), (replica("profiles", ready=False),)])
def test_a_dependency_that_falls_stops_nobody(fallen: tuple[ProcessState, ...]) -> None:
    up = (replica("profiles"), replica("catalog"), replica("ranking"))
    state, _ = step(FleetState(), facts(*STACK, processes=up))
    state, commands = step(state, facts(*STACK, processes=(*fallen, *up[1:])))
    assert state.waiting == ()
    assert started(commands) == ([] if fallen else ["profiles"])
    # nor is the replica of one that stood kept from starting again
    state, commands = step(state, facts(*STACK, processes=fallen + up[1:2], now_s=9.0))
    assert "ranking" in started(commands)


def test_what_another_control_plane_began_goes_on() -> None:
    standing = facts(*STACK, processes=(replica("ranking"),))
    assert order((), standing) == (("ranking",), ())
    dead = facts(*STACK, processes=(replica("ranking", alive=False, ready=False),))
    assert "ranking" in reasons(dead)


def test_a_service_that_was_taken_away_waits_again_when_it_comes_back() -> None:
    begun, _ = order(("ranking",), facts(*STACK[:2]))
    assert begun == ()


def test_the_popularity_server_waits_for_nobody() -> None:
    lone = service("ranking", "profiles")
    fallback = WantedGroup(group=Group("fallback", "ranking"), count=1, digest="d")
    one = facts(lone)
    both = FleetFacts(
        now_s=0.0, services=one.services, groups=(*one.groups, fallback), processes=()
    )
    assert step(FleetState(), both)[1] == (Start(group=fallback.group, n=1),)
