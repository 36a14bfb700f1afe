"""The supervisor over real processes and Envoys, and over the backends in memory."""

import http.client
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.launcher_memory import MemoryLauncher
from mlg.adapters.launcher_process import ProcessLauncher
from mlg.adapters.loopback_ports import check_port, free_port
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.network_memory import MemoryNetwork, Request
from mlg.adapters.router_envoy import EnvoyRouter, admin_url, gateway_spec
from mlg.adapters.router_memory import MemoryRouter
from mlg.app.ending import end_all
from mlg.app.supervise import Supervisor
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError
from mlg.core.ports import Reply
from mlg.core.processes import ProcessKind, ProcessSpec, ProcessState
from mlg.core.traffic import Share, TrafficSplit
from mlg.core.uris import Digest
from mlg.release.fleet import Group, WantedService, WantedVersion, process_id

SERVER = """
import os, socket, sys
import uvicorn
tag = sys.argv[1]
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    body = os.environ["MLG_NONCE"] if scope["path"] == "/mlg/nonce" else tag
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body.encode()})
listening = socket.socket(fileno=int(os.environ["MLG_LISTEN_FD"]))
config = uvicorn.Config(app, log_level="warning", lifespan="off")
uvicorn.Server(config).run(sockets=[listening])
"""


def home(*versions: tuple[str, int, int], stable: str) -> WantedService:
    return WantedService(
        name="home",
        versions=tuple(
            WantedVersion(version=v, artifact=Digest("0" * 64), replicas=n, bp=bp)
            for v, n, bp in versions
        ),
        stable=stable,
        model="ranker",
    )


def until(fact: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


@dataclass
class Told:
    events: list[tuple[str, str, str]] = field(default_factory=list)

    def record(self, kind: str, process: ProcessState | None, detail: str) -> None:
        self.events.append((kind, process.id if process else "", detail))

    def of(self, kind: str) -> list[str]:
        return [name or detail for k, name, detail in self.events if k == kind]


@dataclass
class Instance:
    """What `app/control.py` puts together, over small servers."""

    folder: Path
    port: int
    digest: str = "d1"

    def __post_init__(self) -> None:
        clock, self.told = SystemClock(), Told()
        self.launcher = ProcessLauncher(
            LocalFiles(self.folder), clock, Uuid7Ids(clock), self.folder
        )
        gateway = self.folder / "gateway"
        self.router = EnvoyRouter(gateway, self.admins, clock, HttpNetwork())
        self.router.prepare([f"gateway-{n}" for n in (1, 2, 3)], self.port)
        self.supervisor = Supervisor(
            launcher=self.launcher,
            router=self.router,
            network=HttpNetwork(),
            clock=clock,
            spec_for=self.spec_for,
            record=self.told.record,
            admin_url=lambda name: admin_url(gateway, name),
            gateway_url=f"http://127.0.0.1:{self.port}",
            placed=self.router.placed(),
        )

    def spec_for(self, kind: ProcessKind, service: str, version: str, n: int) -> ProcessSpec:
        name = process_id(Group(kind, service, version), n)
        if kind == "gateway":
            return gateway_spec(self.folder / "gateway", name, self.port, digest="g1")
        return ProcessSpec(
            id=name,
            kind=kind,
            argv=(sys.executable, "-c", SERVER, version or kind),
            service=service,
            version=version,
            digest=self.digest,
        )

    def admins(self) -> tuple[str, ...]:
        return self.supervisor.gateway_admins()

    def ask(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("POST", "/v1/services/home/recommend", body=b"{}")
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()


class Viewers:
    """Two viewers that ask all the time, each on one connection, and count what failed."""

    def __init__(self, port: int) -> None:
        self._port, self._end = port, threading.Event()
        self.answers: list[tuple[int, str]] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def __enter__(self) -> "Viewers":
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.answers) > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        while not self._end.wait(0.002):
            try:
                connection.request("POST", "/v1/services/home/recommend", body=b"{}")
                reply = connection.getresponse()
                self.answers.append((reply.status, reply.read().decode()[:20]))
            except (OSError, http.client.HTTPException) as error:
                self.answers.append((0, str(error)))
                connection.close()
        connection.close()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(tmp_path, free_port())
    yield instance
    instance.supervisor.close()
    end_all(instance.launcher, grace_s=2.0)


@pytest.mark.envoy
def test_from_nothing_to_live_through_a_crash_to_the_next_version(instance: Instance) -> None:
    supervisor, told = instance.supervisor, instance.told
    supervisor.start()
    supervisor.want((home(("v1", 2, 10_000), stable="v1"),))
    supervisor.wait_live("home", "v1", 15)
    assert instance.ask() == (200, "v1")
    assert {p.id for p in supervisor.processes()} == {
        "gateway-1", "gateway-2", "fallback-home", "replica-home-1", "replica-home-2",
    }  # fmt: skip
    with Viewers(instance.port) as viewers:
        victim = next(p for p in supervisor.processes() if p.id == "replica-home-1")
        os.kill(victim.pid, signal.SIGKILL)
        until(lambda: told.of("started").count("replica-home-1") == 2)
        until(lambda: told.of("ready").count("replica-home-1") == 2)
        assert told.of("crashed") == ["replica-home-1"]
        supervisor.want((home(("v2", 1, 10_000), stable="v2"),))
        supervisor.wait_live("home", "v2", 15)
        until(lambda: len(told.of("stopped")) == 2)
    assert {status for status, _ in viewers.answers} == {200}
    assert instance.ask() == (200, "v2")


@pytest.mark.envoy
def test_the_next_control_plane_adopts_what_answers_and_ends_the_rest(
    instance: Instance, tmp_path: Path
) -> None:
    instance.supervisor.start()
    instance.supervisor.want((home(("v1", 1, 10_000), stable="v1"),))
    instance.supervisor.wait_live("home", "v1", 15)
    instance.supervisor.close()
    before = {p.id: p.pid for p in instance.launcher.state()}
    stranger = instance.launcher.start(
        ProcessSpec(
            id="replica-home-9", kind="replica", service="home", version="v1", digest="d1",
            argv=(sys.executable, "-c", "import time; time.sleep(600)"),
        )
    )  # fmt: skip
    with Viewers(instance.port) as viewers:
        again = Instance(tmp_path, instance.port)
        adopted = again.supervisor.adopt()
        assert {p.id: p.pid for p in adopted} == before
        assert again.told.of("ended") == [stranger.id]
        again.supervisor.start()
        again.supervisor.want((home(("v1", 1, 10_000), stable="v1"),))
        again.supervisor.wait_live("home", "v1", 15)
        assert {p.id: p.pid for p in again.launcher.state()} == before
        assert again.told.of("started") == []
        again.supervisor.close()
    assert {status for status, _ in viewers.answers} == {200}
    assert set(end_all(again.launcher)) == set(before)
    check_port(instance.port)


@pytest.mark.envoy
def test_new_orders_replace_the_replicas_one_by_one_under_load(instance: Instance) -> None:
    instance.supervisor.start()
    instance.supervisor.want((home(("v1", 2, 10_000), stable="v1"),))
    instance.supervisor.wait_live("home", "v1", 15)
    with Viewers(instance.port) as viewers:
        instance.digest = "d2"
        until(
            lambda: (
                {p.digest for p in instance.launcher.state() if p.kind != "gateway"} == {"d2"}
                and len(instance.launcher.state()) == 5
            ),
            seconds=20,
        )
    assert set(viewers.answers) == {(200, "v1")}


class Simulated:
    """A supervisor whose whole world is in memory."""

    def __init__(self) -> None:
        self.clock, self.told = ManualClock(), Told()
        self.launcher = MemoryLauncher(self.clock, Uuid7Ids(self.clock))
        self.router, self.network = MemoryRouter(), MemoryNetwork()
        self.silent: set[str] = set()
        self.refused: dict[str, str] = {}
        self.port, self.digest = 0, "d1"
        self.supervisor = Supervisor(
            launcher=self.launcher,
            router=self.router,
            network=self.network,
            clock=self.clock,
            spec_for=self.spec_for,
            record=self.told.record,
            refusal=lambda process: self.refused.get(process.id, ""),
        )

    def spec_for(self, kind: ProcessKind, service: str, version: str, n: int) -> ProcessSpec:
        name = process_id(Group(kind, service, version), n)
        port = self.port if kind == "replica" else 0
        return ProcessSpec(
            id=name, kind=kind, argv=(), service=service, version=version, port=port,
            digest=self.digest,
        )  # fmt: skip

    def tick(self, times: int = 4, seconds: float = 0.25) -> None:
        for _ in range(times):
            for state in self.launcher.state():
                self.network.serve(f"http://127.0.0.1:{state.port}", self.answer(state))
            self.supervisor.tick()
            self.clock.wait(seconds)

    def answer(self, state: ProcessState) -> Callable[[Request], Reply]:
        def handler(request: Request) -> Reply:
            if state.id in self.silent:
                return Reply(status=0)
            body = state.nonce.encode() if request.path == "/mlg/nonce" else b""
            return Reply(status=200, body=body)

        return handler


@pytest.fixture
def world() -> Iterator[Simulated]:
    world = Simulated()
    yield world
    world.supervisor.close()


def test_nothing_happens_before_anything_is_wanted(world: Simulated) -> None:
    assert world.supervisor.tick() is False
    assert world.told.events == []


def test_the_story_of_a_first_version_is_told_in_order(world: Simulated) -> None:
    world.supervisor.want((home(("v1", 1, 10_000), stable="v1"),))
    world.tick(6)
    assert [kind for kind, _, _ in world.told.events] == [
        "started", "started", "ready", "ready", "placed", "split",
    ]  # fmt: skip
    assert world.supervisor.live("home", "v1")
    assert world.router.observed("home") == TrafficSplit(
        service="home", shares=(Share(version="v1", bp=10_000),)
    )


def test_a_process_with_another_nonce_is_not_ready(world: Simulated) -> None:
    world.supervisor.want((home(("v1", 1, 10_000), stable="v1"),))
    world.supervisor.tick()
    for state in world.launcher.state():
        base = f"http://127.0.0.1:{state.port}"
        world.network.serve(base, lambda _: Reply(status=200, body=b"somebody else"))
    world.supervisor.tick()
    assert not any(p.ready for p in world.supervisor.processes())
    with pytest.raises(BackendError, match="0 of 1 replicas ready"):
        world.supervisor.wait_live("home", "v1", 1.0)


def test_a_refusal_is_told_once_and_stands_until_something_changes(world: Simulated) -> None:
    world.supervisor.want((home(("v1", 1, 10_000), stable="v1"),))
    world.tick(6)
    started = len(world.told.of("started"))
    world.refused["replica-home-1"] = "a.npy: the file was altered"
    world.launcher.crash("replica-home-1")
    world.tick(200, seconds=1.0)
    assert [(n, d) for k, n, d in world.told.events if k == "refused"] == [
        ("replica-home-1", "a.npy: the file was altered")
    ]
    assert len(world.told.of("started")) == started
    assert world.told.of("crashed") == world.told.of("crash_loop") == []
    group = Group("replica", "home", "v1")
    assert world.supervisor.refusals() == ((group, "a.npy: the file was altered"),)
    world.digest = "d2"
    assert world.supervisor.refusals() == ()  # before the loop looks again
    world.refused.clear()
    world.tick(6)
    assert any(p.id == "replica-home-1" and p.ready for p in world.supervisor.processes())


def test_a_fallback_server_that_refuses_its_list_stays_up_and_says_so(
    world: Simulated,
) -> None:
    world.refused["fallback-home"] = "the signature is missing"
    world.supervisor.want((home(("v1", 1, 10_000), stable="v1"),))
    world.tick(8)
    assert world.told.of("refused") == ["fallback-home"]
    assert any(p.id == "fallback-home" and p.ready for p in world.supervisor.processes())


def test_a_crash_loop_is_told_once(world: Simulated) -> None:
    world.supervisor.want((home(("v1", 1, 10_000), stable="v1"),))
    world.tick(6)
    for _ in range(80):
        if any(s.id == "replica-home-1" for s in world.launcher.state()):
            world.launcher.crash("replica-home-1")
        world.tick(1, seconds=1.0)
    assert len(world.told.of("crash_loop")) == 1
    assert len(world.told.of("crashed")) <= 7


def test_a_silent_process_is_told_ended_and_replaced(world: Simulated) -> None:
    world.supervisor.want((home(("v1", 2, 10_000), stable="v1"),))
    world.tick(6)
    world.silent.add("replica-home-2")
    world.tick(60)
    assert world.told.of("silent") == ["replica-home-2"]
    assert world.told.of("hung")[0] == "replica-home-2"
    assert world.told.of("started").count("replica-home-2") >= 2


def test_a_port_in_use_is_told_and_tried_again_with_backoff(world: Simulated) -> None:
    world.port = 9_999
    world.launcher.taken.add(9_999)
    world.supervisor.want((home(("v1", 1, 10_000), stable="v1"),))
    world.tick(4)
    failures = [detail for kind, _, detail in world.told.events if kind == "failed"]
    assert len(failures) == 1
    assert "port 9999 is in use" in failures[0]
    world.launcher.taken.clear()
    world.tick(20)
    assert world.supervisor.live("home", "v1")


def test_an_unwanted_service_disappears(world: Simulated) -> None:
    world.supervisor.want((home(("v1", 1, 10_000), stable="v1"),))
    world.tick(6)
    world.supervisor.want(())
    world.tick(6)
    assert world.launcher.state() == ()
    assert world.router.observed("home") is None


def test_what_cannot_be_recorded_waits_and_the_fleet_does_not(world: Simulated) -> None:
    full = True

    def record(kind: str, process: ProcessState | None, detail: str) -> None:
        if full:
            raise BackendError("disk full")
        world.told.record(kind, process, detail)

    world.supervisor.close()
    world.supervisor = Supervisor(
        launcher=world.launcher,
        router=world.router,
        network=world.network,
        clock=world.clock,
        spec_for=world.spec_for,
        record=record,
    )
    world.supervisor.want((home(("v1", 1, 10_000), stable="v1"),))
    world.tick(6)
    assert world.supervisor.live("home", "v1")
    assert world.told.events == []
    full = False
    world.tick(1)
    assert [kind for kind, _, _ in world.told.events] == [
        "started", "started", "ready", "ready", "placed", "split",
    ]  # fmt: skip
