import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.launcher_process import ProcessLauncher
from mlg.adapters.loopback_ports import free_port
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.router_envoy import EnvoyRouter, admin_url, gateway_spec
from mlg.adapters.router_memory import MemoryRouter
from mlg.adapters.xds_ads import AdsXds
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.ports import TrafficRouter
from mlg.core.traffic import (
    Attempts,
    Endpoint,
    ServiceEndpoints,
    Share,
    TrafficSplit,
    VersionEndpoints,
)

ADS = "needs the extra `ads`: grpcio and envoy-data-plane"


@dataclass
class Place:
    router: TrafficRouter
    healthy: Callable[[], Endpoint]
    dead: Callable[[], Endpoint]
    hurry: Callable[[], None] = lambda: None
    """Wait less for what is not healthy from now on."""


class Healthy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(
    params=[
        "memory",
        pytest.param("envoy-files", marks=pytest.mark.envoy),
        pytest.param("envoy-ads", marks=pytest.mark.envoy),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "memory":
        memory, ports = MemoryRouter(), iter(range(8_000, 9_000))

        def dead() -> Endpoint:
            endpoint = Endpoint(host="127.0.0.1", port=next(ports))
            memory.unhealthy.add(endpoint)
            return endpoint

        yield Place(memory, lambda: Endpoint(host="127.0.0.1", port=next(ports)), dead)
        return
    clock, folder, port = SystemClock(), tmp_path / "gateway", free_port()
    launcher = ProcessLauncher(LocalFiles(tmp_path), clock, Uuid7Ids(clock), tmp_path)
    admins = [admin_url(folder, "gateway-1")]
    xds: AdsXds | None = None
    if request.param == "envoy-ads":
        pytest.importorskip("envoy_data_plane", reason=ADS)
        xds = AdsXds()
    router = EnvoyRouter(folder, admins, clock, HttpNetwork(), patience_s=5.0, xds=xds)
    router.prepare(["gateway-1"], port)
    launcher.start(gateway_spec(folder, "gateway-1", port, digest="d"))
    servers: list[http.server.ThreadingHTTPServer] = []
    threads: list[threading.Thread] = []

    def healthy() -> Endpoint:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append(server)
        threads.append(thread)
        return Endpoint(host="127.0.0.1", port=server.server_port)

    def hurry() -> None:
        router._admin.patience_s = 1.5

    yield Place(router, healthy, lambda: Endpoint(host="127.0.0.1", port=free_port()), hurry)
    launcher.stop("gateway-1")
    if xds is not None:
        xds.close()
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


def endpoints(
    stable: str | None, fallback: tuple[Endpoint, ...] = (), **versions: Endpoint
) -> ServiceEndpoints:
    return ServiceEndpoints(
        service="home",
        versions=tuple(
            VersionEndpoints(version=v, endpoints=(e,)) for v, e in sorted(versions.items())
        ),
        stable=stable,
        fallback=fallback,
    )


def split(**shares: int) -> TrafficSplit:
    return TrafficSplit(
        service="home", shares=tuple(Share(version=v, bp=bp) for v, bp in shares.items())
    )


def test_reports_the_split_it_was_given(place: Place) -> None:
    assert place.router.observed("home") is None
    place.router.place(endpoints("v1", v1=place.healthy(), v2=place.healthy()))
    assert place.router.observed("home") is None
    place.router.apply(split(v1=9_950, v2=50))
    assert place.router.observed("home") == split(v1=9_950, v2=50)
    assert place.router.observed("other") is None


def test_a_version_that_was_not_placed_gets_no_traffic(place: Place) -> None:
    place.router.place(endpoints("v1", v1=place.healthy()))
    place.router.apply(split(v1=10_000))
    with pytest.raises(NotFoundError, match="v2"):
        place.router.apply(split(v1=9_000, v2=1_000))
    assert place.router.observed("home") == split(v1=10_000)


def test_endpoints_that_stay_unhealthy_are_refused_and_the_former_stay(place: Place) -> None:
    v1 = place.healthy()
    place.router.place(endpoints("v1", v1=v1))
    place.router.apply(split(v1=10_000))
    place.hurry()
    with pytest.raises(BackendError, match="healthy"):
        place.router.place(endpoints("v1", v1=v1, v2=place.dead()))
    with pytest.raises(NotFoundError):
        place.router.apply(split(v2=10_000))
    assert place.router.observed("home") == split(v1=10_000)


def test_a_version_that_left_is_kept_while_it_has_traffic(place: Place) -> None:
    v1, v2 = place.healthy(), place.healthy()
    place.router.place(endpoints("v1", v1=v1))
    place.router.apply(split(v1=10_000))
    place.router.place(endpoints("v2", v2=v2))
    assert {a.version for a in place.router.attempts("home")} == {"v1", "v2"}
    place.router.apply(split(v2=10_000))
    assert {a.version for a in place.router.attempts("home")} == {"v2"}
    with pytest.raises(NotFoundError):
        place.router.apply(split(v1=10_000))


def test_placing_and_applying_twice_is_placing_and_applying_once(place: Place) -> None:
    both = endpoints("v1", v1=place.healthy(), v2=place.healthy())
    for _ in range(2):
        place.router.place(both)
        place.router.apply(split(v1=5_000, v2=5_000))
    assert place.router.observed("home") == split(v1=5_000, v2=5_000)


def test_attempts_begin_at_zero_for_each_placed_version(place: Place) -> None:
    assert place.router.attempts("home") == ()
    place.router.place(endpoints("v1", v1=place.healthy(), v2=place.healthy()))
    assert place.router.attempts("home") == tuple(
        Attempts(service="home", version=v, total=0, errors=0) for v in ("v1", "v2")
    )


def test_a_service_without_anything_that_could_answer_is_taken_away(place: Place) -> None:
    place.router.place(endpoints("v1", (place.healthy(),), v1=place.healthy()))
    place.router.apply(split(v1=10_000))
    place.router.place(endpoints(None))
    assert place.router.observed("home") is None
    assert place.router.attempts("home") == ()
