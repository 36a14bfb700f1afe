"""Real Envoys in front of small real servers, which are killed and replaced under load."""

import http.client
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path

import pytest

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.launcher_process import ProcessLauncher
from mlg.adapters.loopback_ports import free_port
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.router_envoy import EnvoyRouter, admin_url, gateway_spec
from mlg.adapters.xds_ads import AdsXds
from mlg.core.errors import BackendError
from mlg.core.processes import ProcessSpec, ProcessState
from mlg.core.traffic import (
    Attempts,
    Endpoint,
    Layer,
    RateLimit,
    ServiceEndpoints,
    Share,
    TrafficPolicy,
    TrafficSplit,
    VersionEndpoints,
    arm_of,
)

pytestmark = pytest.mark.envoy

GATEWAYS = ("gateway-1", "gateway-2")
BACKEND = """
import asyncio, os, socket, sys
import uvicorn
from mlg.serving.whole import WholeAnswers
tag, code, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
one_by_one = asyncio.Lock()
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    healthy = scope["path"].startswith("/v2/health")
    if seconds and not healthy:
        async with one_by_one:
            await asyncio.sleep(seconds)
    given = dict(scope["headers"])
    await send({"type": "http.response.start", "status": 200 if healthy else code,
                "headers": [(b"x-tag", tag.encode()), (b"mlg-fault", b"no"),
                            (b"x-arm", given.get(b"mlg-assigned-version", b"")),
                            (b"x-shadow", given.get(b"mlg-shadow", b"")),
                            (b"x-key", given.get(b"mlg-sticky-key", b""))]})
    await send({"type": "http.response.body", "body": tag.encode()})
config = uvicorn.Config(app, http=WholeAnswers, log_level="warning", lifespan="off")
listening = socket.socket(fileno=int(os.environ["MLG_LISTEN_FD"]))
uvicorn.Server(config).run(sockets=[listening])
"""

ADS = "needs the extra `ads`: grpcio and envoy-data-plane"


@dataclass
class Mesh:
    home: Path
    port: int
    launcher: ProcessLauncher
    router: EnvoyRouter
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 100)))

    def backend(self, tag: str, code: int = 200, *, seconds: float = 0.0) -> ProcessState:
        return self.launcher.start(
            ProcessSpec(
                id=f"replica-home-{next(self.numbers)}",
                kind="replica",
                argv=(sys.executable, "-c", BACKEND, tag, str(code), str(seconds)),
            )
        )

    def ask(
        self,
        path: str = "/v1/services/home/recommend",
        body: bytes | Iterable[bytes] = b"{}",
        *,
        method: str = "POST",
        **headers: str,
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            named = {k.replace("_", "-"): v for k, v in headers.items()}
            connection.request(method, path, body=body, headers=named)
            reply = connection.getresponse()
            reply.read()
            return reply
        finally:
            connection.close()


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def ads_mesh(tmp_path: Path) -> Iterator[tuple[Mesh, AdsXds]]:
    """The same gateways, told by one stream each and not by files."""
    pytest.importorskip("envoy_data_plane", reason=ADS)
    xds = AdsXds()
    try:
        with running(tmp_path, xds) as started:
            yield started, xds
    finally:
        xds.close()


@contextmanager
def running(tmp_path: Path, xds: AdsXds | None = None) -> Iterator[Mesh]:
    clock, folder, port = SystemClock(), tmp_path / "gateway", free_port()
    launcher = ProcessLauncher(LocalFiles(tmp_path), clock, Uuid7Ids(clock), tmp_path)
    admins = [admin_url(folder, name) for name in GATEWAYS]
    router = EnvoyRouter(folder, admins, clock, HttpNetwork(), patience_s=5.0, xds=xds)
    router.prepare(GATEWAYS, port, log_bp=10_000)
    for name in GATEWAYS:
        launcher.start(gateway_spec(folder, name, port, digest="d"))
    try:
        # the first Envoy of a fresh machine reads its whole program from the disk
        network = HttpNetwork()
        for admin in admins:
            until(lambda at=f"{admin}/ready": answers(network, at), seconds=60)
        yield Mesh(tmp_path, port, launcher, router)
    finally:
        for state in launcher.state():
            launcher.stop(state.id, grace_s=0.0)


def endpoints(
    stable: str | None, fallback: ProcessState | None = None, **versions: list[ProcessState]
) -> ServiceEndpoints:
    def at(state: ProcessState) -> Endpoint:
        return Endpoint(host="127.0.0.1", port=state.port)

    return ServiceEndpoints(
        service="home",
        versions=tuple(
            VersionEndpoints(version=v, endpoints=tuple(at(s) for s in states))
            for v, states in sorted(versions.items())
        ),
        stable=stable,
        fallback=(at(fallback),) if fallback else (),
        model="ranker",
        # generous, so that a busy machine does not make good replicas late
        traffic=TrafficPolicy(timeout_ms=6_000, per_try_timeout_ms=3_000),
    )


def split(**shares: int) -> TrafficSplit:
    return TrafficSplit(
        service="home", shares=tuple(Share(version=v, bp=bp) for v, bp in shares.items())
    )


def answers(network: HttpNetwork, url: str) -> bool:
    # while it starts it has no clusters yet: it answers 503, and may be told of them
    return network.request("GET", url, timeout_s=2.0).status != 0


def attempts_log(mesh: Mesh) -> str:
    """Return why attempts failed, for the message of an assertion."""
    logs = (mesh.home / "gateway").glob("*.attempts.log")
    return "".join(log.read_text() for log in logs)[-2_000:]


def until(fact: Callable[[], bool], seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


class Load:
    """Clients that keep their connections and count every answer; a lost one counts as 0."""

    def __init__(self, mesh: Mesh, clients: int = 4) -> None:
        self._mesh, self._end = mesh, threading.Event()
        self.slowest_s = 0.0
        self._tags = [Counter[tuple[int, str]]() for _ in range(clients)]
        self._threads = [
            threading.Thread(target=self._run, args=(tags,)) for tags in self._tags
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        self.grow(50)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    @property
    def answers(self) -> Counter[tuple[int, str]]:
        return sum((Counter(tags) for tags in self._tags), Counter())

    def failed(self) -> dict[tuple[int, str], int]:
        return {key: n for key, n in self.answers.items() if key[0] != 200}

    def tags(self) -> set[str]:
        return {tag for _, tag in self.answers}

    def grow(self, by: int) -> None:
        """Wait until so many more answers came."""
        aim = self.answers.total() + by
        until(lambda: self.answers.total() >= aim)

    def _run(self, tags: Counter[tuple[int, str]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._mesh.port, timeout=5)
        while not self._end.is_set():
            start_s = time.monotonic()
            try:
                connection.request("POST", "/v1/services/home/recommend", body=b"{}")
                reply = connection.getresponse()
                tags[reply.status, reply.read().decode()[:20]] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - start_s)
            except (OSError, http.client.HTTPException):
                tags[0, "lost"] += 1
                connection.close()
        connection.close()


def test_both_gateways_answer_on_one_port(mesh: Mesh) -> None:
    mesh.router.place(endpoints(None, mesh.backend("popular")))
    for _ in range(60):
        assert mesh.ask().status == 200
    logs = [(mesh.home / "gateway" / f"{name}.access.log") for name in GATEWAYS]
    # each new connection falls on either with equal chance: 2 ** -59 for one to have none
    until(lambda: all(log.read_text() for log in logs), seconds=15)


def test_before_any_version_the_fallback_answers_and_the_rest_is_not_found(mesh: Mesh) -> None:
    mesh.router.place(endpoints(None, mesh.backend("popular")))
    reply = mesh.ask()
    assert (reply.status, reply.getheader("x-tag")) == (200, "popular")
    assert reply.getheader("mlg-fault") is None
    assert reply.getheader("x-request-id")
    assert mesh.ask(x_request_id="mine").getheader("x-request-id") == "mine"
    for path in ("/", "/v1/services/other/recommend", "/v1/services/homes", "/mlg/nonce"):
        reply = mesh.ask(path)
        assert (reply.status, reply.getheader("content-type")) == (404, "application/json")
    assert mesh.ask("/v2/models/ranker/infer").status == 200
    assert mesh.ask("/v2/models/other/infer").status == 404
    assert mesh.ask("/v2/health/ready").status == 200


def test_server_metadata_come_from_the_first_service_that_can_answer(mesh: Mesh) -> None:
    mesh.router.place(endpoints(None, mesh.backend("popular")))
    for path in ("/v2", "/v2/", "/v2?verbose=1"):
        reply = mesh.ask(path, b"", method="GET")
        assert (reply.status, reply.getheader("x-tag")) == (200, "popular"), path
    assert mesh.ask("/v2").status == 404  # POST: the protocol has none here
    one = mesh.backend("v1")
    # before `home` by name, and warm only: nothing of it is given a share yet
    early = replace(endpoints("v1", v1=[one]), service="early", model="other")
    mesh.router.place(early)
    assert mesh.ask("/v2", b"", method="GET").getheader("x-tag") == "popular"
    mesh.router.apply(replace(split(v1=10_000), service="early"))
    assert mesh.ask("/v2", b"", method="GET").getheader("x-tag") == "v1"
    mesh.router.place(ServiceEndpoints(service="early", versions=(), stable=None, fallback=()))
    assert mesh.ask("/v2", b"", method="GET").getheader("x-tag") == "popular"
    mesh.router.place(ServiceEndpoints(service="home", versions=(), stable=None, fallback=()))
    assert mesh.ask("/v2", b"", method="GET").status == 404  # nobody speaks the protocol


def test_server_metadata_are_refused_while_nothing_can_answer(mesh: Mesh) -> None:
    mesh.router.place(endpoints("v1", v1=[mesh.backend("v1")]))
    reply = mesh.ask("/v2", b"", method="GET")
    assert (reply.status, reply.getheader("content-type")) == (503, "application/json")


def test_the_split_is_kept_and_a_viewer_stays_where_he_is(mesh: Mesh) -> None:
    one, two = mesh.backend("v1"), mesh.backend("v2")
    mesh.router.place(endpoints("v1", v1=[one], v2=[two]))
    mesh.router.apply(split(v1=9_000, v2=1_000))
    with Load(mesh) as load:
        load.grow(3_000)
    n, k = load.answers.total(), load.answers[200, "v2"]
    assert load.failed() == {}
    assert abs(k - 0.1 * n) < 5 * sqrt(n * 0.1 * 0.9)  # five standard deviations
    viewers = [f"viewer-{i}" for i in range(40)]
    before = {v: mesh.ask(mlg_sticky_key=v).getheader("x-tag") for v in viewers}
    assert before == {v: mesh.ask(mlg_sticky_key=v).getheader("x-tag") for v in viewers}
    mesh.router.apply(split(v1=5_000, v2=5_000))
    after = {v: mesh.ask(mlg_sticky_key=v).getheader("x-tag") for v in viewers}
    assert {v for v in viewers if before[v] == "v2"} <= {v for v in viewers if after[v] == "v2"}


def test_killing_a_replica_costs_no_viewer_anything(mesh: Mesh) -> None:
    one, two, popular = mesh.backend("v1"), mesh.backend("v1"), mesh.backend("popular")
    mesh.router.place(endpoints("v1", popular, v1=[one, two]))
    mesh.router.apply(split(v1=10_000))
    with Load(mesh) as load:
        os.kill(one.pid, signal.SIGKILL)
        load.grow(1_000)
        at_kill = load.answers[200, "popular"]
        load.grow(500)
    assert load.failed() == {}
    # one of two gone: the other one takes all; by Envoy's own rule of 140 % the popularity
    # list would answer 1 - 1.4 / 2 = 30 %
    assert load.answers[200, "popular"] - at_kill <= 0.1 * 500


def test_killing_every_replica_leaves_the_popularity_list(mesh: Mesh) -> None:
    one, two, popular = mesh.backend("v1"), mesh.backend("v1"), mesh.backend("popular")
    mesh.router.place(endpoints("v1", popular, v1=[one, two]))
    mesh.router.apply(split(v1=10_000))
    with Load(mesh) as load:
        for state in (one, two):
            os.kill(state.pid, signal.SIGKILL)
        load.grow(500)
    assert load.failed() == {}
    assert load.answers[200, "popular"] >= 400
    counted = {(r.version, r.code): r.total for r in mesh.router.requests()}
    # assigned to v1, answered by whoever: each viewer's request once
    assert counted == {("v1", 200): load.answers.total()}


def test_who_reads_the_counters_does_not_wait_for_a_placement(mesh: Mesh) -> None:
    mesh.router.place(endpoints("v1", v1=[mesh.backend("v1")]))
    mesh.router.apply(split(v1=10_000))
    assert mesh.ask().status == 200
    gone = mesh.backend("v2")
    os.kill(gone.pid, signal.SIGKILL)
    refused: list[BackendError] = []

    def place() -> None:
        try:
            mesh.router.place(endpoints("v1", v1=[mesh.backend("v1")], v2=[gone]))
        except BackendError as error:  # v2 never gets healthy: after 5 s
            refused.append(error)

    placing = threading.Thread(target=place)
    placing.start()
    try:
        until(lambda: "home@v2" in (mesh.home / "gateway/xds/cds.json").read_text())
        assert {(r.version, r.code, r.total) for r in mesh.router.requests()} == {
            ("v1", 200, 1)
        }
        assert {(a.version, a.total) for a in mesh.router.attempts("home")} == {("v1", 1)}
        assert placing.is_alive()
    finally:
        placing.join()
    assert refused


def test_a_canary_that_always_fails_costs_no_viewer_anything(mesh: Mesh) -> None:
    stable, canary = mesh.backend("v1"), mesh.backend("v2", 500)
    popular = mesh.backend("popular")
    mesh.router.place(endpoints("v1", popular, v1=[stable], v2=[canary]))
    mesh.router.apply(split(v1=9_500, v2=500))
    with Load(mesh) as load:
        load.grow(1_000)
    assert load.failed() == {}
    attempts = {a.version: a for a in mesh.router.attempts("home")}
    assert attempts["v2"].errors == attempts["v2"].total > 0  # seen although rescued
    given = {r.version: r.total for r in mesh.router.requests() if r.code == 200}
    assert sum(given.values()) == load.answers.total()
    assert attempts["v2"].rescued == given["v2"]  # each of its requests, answered by another
    assert attempts["v1"].errors <= 0.05 * attempts["v1"].total
    # stable replicas also answered for the canary
    assert attempts["v1"].total >= given["v1"] - attempts["v1"].rescued


def test_attempts_never_fall_and_a_refused_connection_is_one(mesh: Mesh) -> None:
    stable, canary = mesh.backend("v1"), mesh.backend("v2")
    mesh.router.place(endpoints("v1", v1=[stable], v2=[canary]))
    mesh.router.apply(split(v1=0, v2=10_000))

    def look(router: EnvoyRouter = mesh.router) -> dict[str, Attempts]:
        return {a.version: a for a in router.attempts("home")}

    for _ in range(20):
        assert mesh.ask().getheader("x-tag") == "v2"
    before = look()
    assert (before["v2"].total, before["v2"].errors, before["v2"].rescued) == (20, 0, 0)
    os.kill(canary.pid, signal.SIGKILL)
    for _ in range(20):
        assert mesh.ask().getheader("x-tag") == "v1"
    # by the health checks the gateways soon ask it no more: a rescue without an attempt
    after = look()
    assert after["v2"].rescued == 20
    assert after["v2"].total - 20 == after["v2"].errors > 0
    gateway = next(s for s in mesh.launcher.state() if s.id == "gateway-1")
    mesh.launcher.stop(gateway.id, grace_s=0.0)
    folder = mesh.home / "gateway"
    mesh.launcher.start(gateway_spec(folder, gateway.id, mesh.port, digest="d"))
    admins = [admin_url(folder, name) for name in GATEWAYS]
    again = EnvoyRouter(folder, admins, SystemClock(), HttpNetwork(), patience_s=5.0)
    new = mesh.backend("v2")
    again.place(endpoints("v1", v1=[stable], v2=[new]))  # both gateways are up
    assert look(again) == after
    for _ in range(20):
        assert mesh.ask().getheader("x-tag") == "v2"
    assert look(again)["v2"].total == after["v2"].total + 20


def test_a_control_is_another_group_of_the_same_version(mesh: Mesh) -> None:
    control = arm_of("v1", "control")
    groups = {"v1": "v1", control: "v1-fresh", "v2": "v2"}
    mesh.router.place(
        endpoints("v1", **{label: [mesh.backend(tag)] for label, tag in groups.items()})
    )
    seen: dict[str, tuple[str, str]] = {}
    for bp in (1_000, 3_000):
        mesh.router.apply(split(**{"v1": 10_000 - 2 * bp, control: bp, "v2": bp}))
        for n in range(100):
            reply = mesh.ask(body=f'{{"user_id": {n}}}'.encode())
            arm = reply.getheader("x-arm") or ""
            assert reply.getheader("x-tag") == groups[arm]
            before = seen.get(str(n), ("v1", ""))[0]
            assert before in ("v1", arm)  # nobody leaves canary or control while they grow
            seen[str(n)] = (arm, reply.getheader("x-key") or "")
    assert {arm for arm, _ in seen.values()} == set(groups)
    assert all(key == n for n, (_, key) in seen.items())
    totals = {a.version: a.total for a in mesh.router.attempts("home")}
    assert sum(totals.values()) == 200
    assert set(totals) == set(groups)
    assert totals[control] >= sum(arm == control for arm, _ in seen.values())


def test_a_viewer_in_the_body_stays_with_one_version_on_every_gateway(mesh: Mesh) -> None:
    mesh.router.place(endpoints("v1", v1=[mesh.backend("v1")], v2=[mesh.backend("v2")]))
    connections = [
        http.client.HTTPConnection("127.0.0.1", mesh.port, timeout=5) for _ in range(6)
    ]
    canary: list[set[int]] = []
    for bp in (500, 2_000):
        mesh.router.apply(split(v1=10_000 - bp, v2=bp))
        tags: dict[int, set[str]] = {}
        for n in range(5 * 300):
            user = n % 300
            body = f'{{"context": {{"history": [{{"user_id": {n}}}]}}, "user_id": {user}}}'
            connection = connections[n % 7 % 6]  # the same viewer by several connections
            connection.request("POST", "/v1/services/home/recommend", body=body)
            reply = connection.getresponse()
            assert reply.status == 200
            tags.setdefault(user, set()).add(reply.read().decode())
        assert [user for user, seen in tags.items() if len(seen) > 1] == []
        canary.append({user for user, seen in tags.items() if seen == {"v2"}})
        expected = 300 * bp / 10_000
        assert abs(len(canary[-1]) - expected) < 5 * sqrt(expected * (1 - bp / 10_000))
    assert canary[0] <= canary[1]  # growth is monotone
    for connection in connections:
        connection.close()


def test_the_sticky_key_is_the_bodys_top_level_field_or_nothing(mesh: Mesh) -> None:
    mesh.router.place(endpoints("v1", v1=[mesh.backend("v1")]))
    mesh.router.apply(split(v1=10_000))
    long = b"x" * 70_000
    cases: list[tuple[bytes, str]] = [
        (b'{"user_id": 7, "k": 3}', "7"),
        (b' {\n"k":3 , "user_id" :"ann" } ', "ann"),
        (b'{"user_id": -9007199254740993}', "-9007199254740993"),  # no float between
        (rb'{"user\u005fid":"\u00e9\ud83d\ude00 \"\\"}', '%C3%A9%F0%9F%98%80%20"\\'),
        ('{"user_id":"é😀%"}'.encode(), "%C3%A9%F0%9F%98%80%25"),
        (rb'{"user_id":"a\r\nx-tag: evil\u0000"}', "a%0D%0Ax-tag:%20evil%00"),
        (b'{"context":{"user_id":9,"x":[{"user_id":8}]},"user_id":7}', "7"),
        (rb'{"note":"\"user_id\": 5, }{[","user_id":7}', "7"),
        (b'{"x":' + b"[" * 9_000 + b"]" * 9_000 + b',"user_id":7}', "7"),
        (b'{"pad":"' + long[:60_000] + b'","user_id":7}', "7"),
        (b'{"context":{"user_id":9}}', ""),
        (b'{"pad":"' + long + b'","user_id":7}', ""),
        (b'{"user_id":"' + long[:1_100] + b'"}', ""),
        (b'{"user_id":null}', ""),
        (b'{"user_id":true}', ""),
        (b'{"user_id":{"a":1}}', ""),
        (b'{"user_id":""}', ""),
        (b'{"k":3,,"user_id":7}', ""),
        (b'{"user_id":"ann', ""),
        (b'{"user_id"', ""),
        (b"[1]", ""),
        (b"hello", ""),
        (b"\xff\x00{", ""),
        (b"", ""),
    ]
    for body, key in cases:
        reply = mesh.ask(body=body)
        assert (reply.status, reply.getheader("x-key")) == (200, key), body[:80]
    parts = mesh.ask(body=iter([b'{"user', b'_id":', b"7}"]))
    assert (parts.status, parts.getheader("x-key")) == (200, "7")
    assert mesh.ask(body=b'{"user_id":7}', mlg_sticky_key="s").getheader("x-key") == "s"
    mesh.router.place(replace(mesh.router.placed()[0], sticky="session_id"))
    reply = mesh.ask(body=b'{"user_id":7,"session_id":"s2"}')
    assert reply.getheader("x-key") == "s2"  # without a restart of the gateways
    log = (mesh.home / "run" / "gateway-1.log").read_text()
    assert "script log" not in log  # Envoy goes on after an error of the script, and says so


def test_versions_come_and_go_under_load_without_a_failed_request(mesh: Mesh) -> None:
    popular, one = mesh.backend("popular"), mesh.backend("v1")
    mesh.router.place(endpoints("v1", popular, v1=[one]))
    mesh.router.apply(split(v1=10_000))
    with Load(mesh) as load:
        former = ("v1", one)
        for n in range(2, 5):
            new = (f"v{n}", mesh.backend(f"v{n}"))
            mesh.router.place(
                endpoints(former[0], popular, **{n: [s] for n, s in (former, new)})
            )
            mesh.router.apply(split(**{former[0]: 9_950, new[0]: 50}))
            mesh.router.apply(split(**{new[0]: 10_000}))
            mesh.router.place(endpoints(new[0], popular, **{new[0]: [new[1]]}))
            mesh.launcher.stop(former[1].id)
            load.grow(50)
            former = new
    assert load.failed() == {}
    assert load.tags() >= {"v1", "v2", "v3", "v4"}
    assert "popular" not in load.tags(), attempts_log(mesh)


def test_a_replica_is_replaced_under_load_without_a_failed_request(mesh: Mesh) -> None:
    popular, old = mesh.backend("popular"), mesh.backend("old")
    mesh.router.place(endpoints("v1", popular, v1=[old]))
    mesh.router.apply(split(v1=10_000))
    with Load(mesh) as load:
        new = mesh.backend("new")
        mesh.router.place(endpoints("v1", popular, v1=[new]))
        mesh.launcher.stop(old.id)
        load.grow(100)
    assert load.failed() == {}
    assert load.tags() == {"old", "new"}
    total = sum(a.total for a in mesh.router.attempts("home"))
    assert total <= load.answers.total()  # the removed host keeps what it had been seen with
    assert total >= load.answers[200, "new"]


def test_a_router_made_again_goes_on_where_the_last_one_stopped(mesh: Mesh) -> None:
    popular, one = mesh.backend("popular"), mesh.backend("v1")
    mesh.router.place(endpoints("v1", popular, v1=[one]))
    mesh.router.apply(split(v1=10_000))
    with Load(mesh) as load:
        folder, clock = mesh.home / "gateway", SystemClock()
        admins = [admin_url(folder, name) for name in GATEWAYS]
        again = EnvoyRouter(folder, admins, clock, HttpNetwork(), patience_s=5.0)
        again.prepare(GATEWAYS, mesh.port)
        assert again.observed("home") == split(v1=10_000)
        assert again.placed() == mesh.router.placed()
        two = mesh.backend("v2")
        again.place(endpoints("v2", popular, v2=[two]))
        again.apply(split(v2=10_000))
        load.grow(100)
    assert load.failed() == {}
    assert load.tags() >= {"v1", "v2"}


def test_a_gateway_that_ends_loses_only_what_it_held(mesh: Mesh) -> None:
    mesh.router.place(endpoints(None, mesh.backend("popular")))
    first = next(s for s in mesh.launcher.state() if s.id == "gateway-1")
    with Load(mesh) as load:
        os.kill(first.pid, signal.SIGKILL)
        load.grow(500)
    lost = load.failed()
    assert set(lost) <= {(0, "lost")}
    # each of four clients: the request in flight, and one on a new connection that the dying
    # gateway's half of the port still took
    assert sum(lost.values()) <= 2 * 4
    assert all(mesh.ask().status == 200 for _ in range(20))


def test_gateways_hand_over_under_load_and_nobody_loses_an_answer(mesh: Mesh) -> None:
    mesh.router.place(endpoints("v1", v1=[mesh.backend("v1")]))
    mesh.router.apply(split(v1=10_000))
    folder = mesh.home / "gateway"
    with Load(mesh) as load:
        for name in GATEWAYS:
            former = next(s for s in mesh.launcher.state() if s.id == name)
            now = mesh.launcher.start(gateway_spec(folder, name, mesh.port, digest="e"))
            assert (now.id, now.handing_over) == (name, True)
            until(lambda name=name: not alive(mesh, name).handing_over, seconds=30)
            assert alive(mesh, name).pid == now.pid != former.pid
        load.grow(100)
    assert load.failed() == {}
    # and they are told as before
    mesh.router.place(endpoints("v2", v1=[mesh.backend("v1")], v2=[mesh.backend("v2")]))
    mesh.router.apply(split(v2=10_000))
    assert mesh.ask().getheader("x-tag") == "v2"


def alive(mesh: Mesh, name: str) -> ProcessState:
    state = next(s for s in mesh.launcher.state() if s.id == name)
    assert state.alive, (mesh.home / "run" / f"{name}.log").read_text()[-2_000:]
    return state


def test_a_version_that_is_not_healthy_is_refused_and_leaves_the_traffic_alone(
    mesh: Mesh,
) -> None:
    one = mesh.backend("v1")
    mesh.router.place(endpoints("v1", v1=[one]))
    mesh.router.apply(split(v1=10_000))
    ended = mesh.backend("v2")
    mesh.launcher.stop(ended.id)
    with Load(mesh) as load, pytest.raises(BackendError, match="healthy"):
        mesh.router.place(endpoints("v1", v1=[one], v2=[ended]))
    assert load.failed() == {}
    state = json.loads((mesh.home / "gateway" / "mesh.json").read_bytes())
    assert [v["version"] for v in state["services"][0]["endpoints"]["versions"]] == ["v1"]


def test_a_gateway_that_does_not_answer_is_named_and_not_the_endpoints(mesh: Mesh) -> None:
    admins = [admin_url(mesh.home / "gateway", name) for name in GATEWAYS]
    deaf = EnvoyRouter(
        mesh.home / "gateway",
        [*admins, admin_url(mesh.home / "gateway", "gateway-3")],
        SystemClock(),
        HttpNetwork(),
        patience_s=1.0,
    )
    with pytest.raises(BackendError, match=r"gateway-3 did not answer in 1 s"):
        deaf.place(endpoints("v1", v1=[mesh.backend("v1")]))


def test_more_than_a_slow_replica_carries_is_answered_by_the_popularity_list(
    mesh: Mesh,
) -> None:
    popular, one = mesh.backend("popular"), mesh.backend("model", seconds=0.05)
    policy = TrafficPolicy(timeout_ms=6_000, per_try_timeout_ms=3_000, in_flight=2)
    placed = endpoints("v1", popular, v1=[one])
    mesh.router.place(replace(placed, traffic=policy))
    mesh.router.apply(split(v1=10_000))
    with Load(mesh, clients=24) as load:
        load.grow(600)
        attempts = {a.version: a for a in mesh.router.attempts("home")}["v1"]
    answers = load.answers
    assert load.failed() == {}, attempts_log(mesh)
    assert load.slowest_s < 3.0  # nobody waited for an attempt that came too late
    # two gateways, two each: what it has is answered in 4 * 50 ms, the rest goes to the list
    assert answers[200, "model"] > 0
    assert answers[200, "popular"] > answers[200, "model"]
    assert attempts.errors == 0  # it was never given more than it carries
    assert attempts.rescued > 0
    # the requests were v1's, whoever answered them
    counted = {(r.version, r.code): r.total for r in mesh.router.requests()}
    assert counted == {("v1", 200): answers.total()}
    # one after the other, the model answers every one again
    assert [mesh.ask().getheader("x-tag") for _ in range(10)] == ["model"] * 10


def test_a_replica_that_hangs_costs_one_attempt_and_comes_back(mesh: Mesh) -> None:
    popular, one = mesh.backend("popular"), mesh.backend("model")
    policy = TrafficPolicy(timeout_ms=6_000, per_try_timeout_ms=300, in_flight=8)
    mesh.router.place(replace(endpoints("v1", popular, v1=[one]), traffic=policy))
    mesh.router.apply(split(v1=10_000))
    with Load(mesh, clients=24) as load:
        os.kill(one.pid, signal.SIGSTOP)
        try:
            before = load.answers[200, "popular"]
            until(lambda: load.answers[200, "popular"] - before > 300, seconds=20)
        finally:
            os.kill(one.pid, signal.SIGCONT)
        aim = load.answers[200, "model"] + 300
        until(lambda: load.answers[200, "model"] >= aim, seconds=20)
    # all that it held was rescued at once: the retry budget is no narrower than the breaker
    assert load.failed() == {}, attempts_log(mesh)


def test_the_split_falls_as_an_independent_hash_says(mesh: Mesh) -> None:
    mesh.router.place(endpoints("v1", v1=[mesh.backend("v1")], v2=[mesh.backend("v2")]))
    mesh.router.apply(split(v1=7_000, v2=3_000))
    for n in range(60):
        key = f"viewer-{n}-{'x' * n}"
        # v2 lies before the stable version
        expected = "v2" if place_of(key) < 3_000 else "v1"
        assert mesh.ask(mlg_sticky_key=key).getheader("x-tag") == expected


def test_the_holdout_keeps_its_viewers_over_splits_and_experiments(mesh: Mesh) -> None:
    held = Layer(salt="holdout", shares=(Share(version="v1~holdout", bp=2_000),))
    cells = {
        salt: Layer(salt=salt, shares=(Share(version=label, bp=5_000),))
        for salt, label in (("rows", "v2~rows.A"), ("tiles", "v2~tiles.B"))
    }
    labels = ("v1", "v2", "v1~holdout", "v2~rows.A", "v2~tiles.B")
    mesh.router.place(endpoints("v1", **{v: [mesh.backend(v)] for v in labels}))
    keys = [f"viewer-{n}" for n in range(150)]

    def seen(split: TrafficSplit) -> dict[str, str]:
        mesh.router.apply(split)
        return {key: mesh.ask(mlg_sticky_key=key).getheader("x-tag") or "" for key in keys}

    plain = replace(split(v1=10_000), layers=(held,))
    canary = replace(split(v1=3_000, v2=7_000), layers=(held,))
    rows = replace(plain, layers=(held, cells["rows"]))
    tiles = replace(plain, layers=(held, cells["tiles"]))
    # by an independent hash: the salt and a colon before the key
    chosen = {key for key in keys if place_of(f"holdout:{key}") < 2_000}
    assert 0 < len(chosen) < len(keys)
    found = {name: seen(s) for name, s in (("plain", plain), ("canary", canary))}
    for name, given in (("rows", rows), ("tiles", tiles)):
        found[name] = seen(given)
        drawn = {key for key in keys if place_of(f"{name}:{key}") < 5_000} - chosen
        cell = cells[name].shares[0].version
        assert {key for key, tag in found[name].items() if tag == cell} == drawn
    for tags in found.values():
        assert {key for key, tag in tags.items() if tag == "v1~holdout"} == chosen
    assert mesh.router.observed("home") == tiles


def test_a_part_that_ends_leaves_the_others_of_its_layer_their_viewers(mesh: Mesh) -> None:
    labels = ("v1", "v2~rows.A", "v3~rows.B")
    mesh.router.place(endpoints("v1", **{v: [mesh.backend(v)] for v in labels}))
    keys = [f"viewer-{n}" for n in range(150)]
    cells = (Share(version=labels[1], bp=3_000), Share(version=labels[2], bp=4_000))

    def seen(layer: Layer) -> dict[str, str]:
        mesh.router.apply(replace(split(v1=10_000), layers=(layer,)))
        return {key: mesh.ask(mlg_sticky_key=key).getheader("x-tag") or "" for key in keys}

    # by an independent hash: A has the first 3,000 places, B the 4,000 after them
    of = {key: place_of(f"rows:{key}") for key in keys}
    begins = (0, 3_000)
    both = seen(Layer(salt="rows", shares=cells, begins=begins))
    assert both == {
        k: labels[1] if n < 3_000 else labels[2] if n < 7_000 else "v1" for k, n in of.items()
    }
    left = seen(Layer(salt="rows", shares=cells[1:], begins=begins[1:]))
    assert left == {k: labels[2] if 3_000 <= n < 7_000 else "v1" for k, n in of.items()}
    assert len(set(left.values())) == 2


def test_each_rollout_deals_the_viewers_anew_and_keeps_its_own_as_it_grows(mesh: Mesh) -> None:
    mesh.router.place(endpoints("v1", v1=[mesh.backend("v1")], v2=[mesh.backend("v2")]))
    keys = [f"viewer-{n}" for n in range(300)]

    def canary(salt: str, bp: int) -> set[str]:
        mesh.router.apply(replace(split(v1=10_000 - bp, v2=bp), salt=salt))
        tags = {key: mesh.ask(mlg_sticky_key=key).getheader("x-tag") for key in keys}
        return {key for key, tag in tags.items() if tag == "v2"}

    first, second = canary("one", 2_000), canary("two", 2_000)
    for salt, got in (("one", first), ("two", second)):
        places = {key: place_of(f"={salt}:{key}") for key in keys}
        # the canary lies at one end of the places; at which one the versions' names say
        low = {key for key, place in places.items() if place < 2_000}
        high = {key for key, place in places.items() if place >= 8_000}
        assert got in (low, high)
    assert first != second
    assert canary("two", 5_000) >= second
    observed = mesh.router.observed("home")
    assert observed is not None
    assert observed.salt == "two"


def place_of(key: str) -> int:
    """FNV-1a of 32 bits and the finish of MurmurHash3, in whole numbers."""
    h = 2166136261
    for byte in key.encode():
        h = (h ^ byte) * 16777619 % 2**32
    h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
    h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
    return (h ^ h >> 16) % 10_000


def test_a_warm_version_gets_copies_that_count_for_nobody(mesh: Mesh) -> None:
    one, warm = mesh.backend("v1"), mesh.backend("v2", 500)
    policy = TrafficPolicy(timeout_ms=6_000, per_try_timeout_ms=3_000, shadow_bp=10_000)
    mesh.router.place(replace(endpoints("v1", v1=[one], v2=[warm]), traffic=policy))
    mesh.router.apply(split(v1=10_000))
    for n in range(30):
        reply = mesh.ask(mlg_shadow="forged", body=f'{{"user_id": {n}}}'.encode())
        assert (reply.status, reply.getheader("x-tag")) == (200, "v1")
        assert reply.getheader("x-shadow") == ""  # taken off what a viewer sends

    def look() -> dict[str, Attempts]:
        return {a.version: a for a in mesh.router.attempts("home")}

    until(lambda: look()["v2"].shadowed >= 30)
    assert look()["v2"] == Attempts(
        service="home", version="v2", total=0, errors=0, shadowed=30, shadow_errors=30
    )
    assert (look()["v1"].total, look()["v1"].errors) == (30, 0)
    assert {(r.version, r.code, r.total) for r in mesh.router.requests()} == {("v1", 200, 30)}
    mesh.router.apply(split(v1=9_000, v2=1_000))  # with viewers of its own it gets no copies
    for _ in range(20):
        assert mesh.ask().status == 200
    assert look()["v2"].shadowed == 30


def test_what_exceeds_a_rate_limit_is_refused_counted_and_told_when_to_come_back(
    mesh: Mesh,
) -> None:
    one = mesh.backend("v1")
    limit = RateLimit(per_s=0.02, burst=8)  # four a gateway, and then one in 100 s
    policy = TrafficPolicy(timeout_ms=6_000, per_try_timeout_ms=3_000, rate_limit=limit)
    mesh.router.place(replace(endpoints("v1", v1=[one]), traffic=policy))
    mesh.router.apply(split(v1=10_000))
    replies = [mesh.ask() for _ in range(60)]
    codes = Counter(reply.status for reply in replies)
    # either gateway has been asked more than four times: 2 * sum(C(60, k), k <= 4) / 2 ** 60
    assert codes == {200: 8, 429: 52}
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.getheader("retry-after") == "100"
    assert refused.getheader("content-type") == "application/json"
    assert mesh.ask("/v1/services/home/feedback").status == 200  # never refused for its number
    counted = {(r.version, r.code): r.total for r in mesh.router.requests()}
    assert counted == {("v1", 200): 9, ("none", 429): 52}


def test_by_ads_versions_come_and_go_on_two_gateways_without_a_failed_request(
    ads_mesh: tuple[Mesh, AdsXds],
) -> None:
    mesh, _ = ads_mesh
    popular, one = mesh.backend("popular"), mesh.backend("v1")
    mesh.router.place(endpoints("v1", popular, v1=[one]))
    mesh.router.apply(split(v1=10_000))
    with Load(mesh) as load:
        two = mesh.backend("v2")
        mesh.router.place(endpoints("v1", popular, v1=[one], v2=[two]))
        mesh.router.apply(split(v1=9_000, v2=1_000))
        mesh.router.apply(split(v2=10_000))
        mesh.router.place(endpoints("v2", popular, v2=[two]))
        mesh.launcher.stop(one.id)
        load.grow(100)
        # every gateway has let the former version go
        assert {a.version for a in mesh.router.attempts("home")} == {"v2"}
        new = mesh.backend("v2-new")
        mesh.router.place(endpoints("v2", popular, v2=[new]))
        mesh.launcher.stop(two.id)
        before = load.answers[200, "v2-new"]
        until(lambda: load.answers[200, "v2-new"] - before > 100)
    assert load.failed() == {}, attempts_log(mesh)
    assert load.tags() >= {"v1", "v2", "v2-new"}


def test_without_the_ads_server_gateways_keep_what_they_have_and_take_it_up_again(
    ads_mesh: tuple[Mesh, AdsXds],
) -> None:
    mesh, xds = ads_mesh
    popular, one = mesh.backend("popular"), mesh.backend("v1")
    mesh.router.place(endpoints("v1", popular, v1=[one]))
    mesh.router.apply(split(v1=10_000))
    with Load(mesh) as load:
        xds.close()
        load.grow(200)
        folder, clock = mesh.home / "gateway", SystemClock()
        admins = [admin_url(folder, name) for name in GATEWAYS]
        again = AdsXds(xds.sources.port)
        try:
            router = EnvoyRouter(folder, admins, clock, HttpNetwork(), xds=again)
            with pytest.raises(BackendError, match="taken"):
                AdsXds(xds.sources.port)
            router.prepare(GATEWAYS, mesh.port)
            two = mesh.backend("v2")
            # the gateways come back by themselves, within the router's patience
            router.place(endpoints("v2", popular, v2=[two]))
            router.apply(split(v2=10_000))
            until(lambda: load.answers[200, "v2"] > 100)
        finally:
            again.close()
    assert load.failed() == {}, attempts_log(mesh)


def test_the_ads_server_is_on_loopback_only() -> None:
    pytest.importorskip("envoy_data_plane", reason=ADS)
    with pytest.raises(ValueError, match="loopback"):
        AdsXds(host="0.0.0.0")
