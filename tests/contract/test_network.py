import http.server
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlg.adapters.network_http import HttpNetwork, unix_url
from mlg.adapters.network_memory import MemoryNetwork, Request
from mlg.core.ports import Network, Reply


def echo(method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
    if path == "/missing":
        return Reply(status=404, headers=(("x-why", "gone"),), body=b"no")
    answer = f"{method} {path} {headers.get('x-key', '-')} ".encode() + body
    return Reply(status=200, headers=(("content-type", "text/plain"),), body=answer)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        reply = echo(
            self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body
        )
        self.send_response(reply.status)
        for name, value in (*reply.headers, ("content-length", str(len(reply.body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    do_POST = do_GET  # noqa: N815 (http.server's name)

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "local"


@dataclass
class Place:
    network: Network
    url: str
    nobody: str


def handle(request: Request) -> Reply:
    headers = {k.lower(): v for k, v in request.headers}
    return echo(request.method, request.path, headers, request.body)


def serving(server: socketserver.BaseServer) -> Callable[[], None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def end() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    return end


@pytest.fixture(params=["memory", "http", "unix", "unix-long"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "memory":
        memory = MemoryNetwork()
        memory.serve("http://there:1", handle)
        yield Place(memory, "http://there:1", "http://nobody:1")
    elif request.param == "http":
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        end = serving(server)
        # port 1 needs rights that nobody uses here: refused
        yield Place(
            HttpNetwork(), f"http://127.0.0.1:{server.server_port}", "http://127.0.0.1:1"
        )
        end()
    else:
        folder = tmp_path / ("d" * 120 if request.param == "unix-long" else "d")
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)  # a long path can only be bound relatively
            server = socketserver.ThreadingUnixStreamServer("s", Handler)
        end = serving(server)
        yield Place(HttpNetwork(), unix_url(folder / "s"), unix_url(folder / "none"))
        end()


def test_carries_method_path_query_headers_and_body(place: Place) -> None:
    reply = place.network.request(
        "POST", place.url + "/a/b?c=d", body=b"hello", headers=(("x-key", "k"),)
    )
    assert (reply.status, reply.body) == (200, b"POST /a/b?c=d k hello")
    assert ("content-type", "text/plain") in reply.headers


def test_an_error_status_is_an_answer(place: Place) -> None:
    reply = place.network.request("GET", place.url + "/missing")
    assert (reply.status, reply.body) == (404, b"no")


def test_nobody_there_is_status_0(place: Place) -> None:
    assert place.network.request("GET", place.nobody + "/", timeout_s=1.0) == Reply(status=0)


def test_an_unknown_scheme_is_the_programmers_error(place: Place) -> None:
    with pytest.raises(ValueError, match="gopher"):
        place.network.request("GET", "gopher://x/")


def test_a_late_answer_is_status_0() -> None:
    asked, release = threading.Event(), threading.Event()

    class Late(Handler):
        def do_GET(self) -> None:
            asked.set()
            release.wait(10)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Late)
    end = serving(server)
    url = f"http://127.0.0.1:{server.server_port}/"
    assert HttpNetwork().request("GET", url, timeout_s=0.1).status == 0
    assert asked.is_set()
    release.set()
    end()
