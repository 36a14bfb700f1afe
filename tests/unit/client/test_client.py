"""The client's side: errors, addresses and what a server that is not ours says."""

import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

import mlg
from mlg.client.client import Client
from mlg.client.wire import error_of
from mlg.core.errors import (
    BackendError,
    ConflictError,
    ContractError,
    DeniedError,
    LifecycleError,
    ManifestError,
    NotFoundError,
)
from mlg.core.ports import Model

ERRORS = [ManifestError, NotFoundError, ConflictError, DeniedError, BackendError, ContractError]


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_comes_back_as_what_it_was(kind: type[LifecycleError]) -> None:
    sent = kind("expected a, got b", where="mlg.yaml:3:1", hint="write a.")
    got = error_of(kind.http_status, json.dumps(sent.as_dict()).encode())
    assert type(got) is kind
    assert got.as_dict() == sent.as_dict()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "request", ManifestError),
        (415, "media_type", ManifestError),
        (413, "too_large", BackendError),
        (500, "internal", BackendError),
        (404, "something newer", NotFoundError),
    ],
)
def test_an_unknown_code_is_read_by_its_status(
    status: int, code: str, kind: type[LifecycleError]
) -> None:
    assert type(error_of(status, json.dumps({"error": code, "what": "x"}).encode())) is kind


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"message": "no"}', b"\xff"])
def test_an_answer_of_another_program_is_a_backend_error(body: bytes) -> None:
    got = error_of(502, body)
    assert type(got) is BackendError
    assert "502" in str(got)


@pytest.mark.parametrize("url", ["https://127.0.0.1", "127.0.0.1:7070", "http://", "ftp://x"])
def test_an_address_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(ManifestError, match="expected an address"):
        Client(url)


def test_nobody_at_the_address_is_said_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(BackendError) as caught:
        Client(f"http://127.0.0.1:{port}").status()
    assert caught.value.where == f"http://127.0.0.1:{port}"
    assert "mlg up" in caught.value.hint


@pytest.fixture
def said(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers once with given bytes; yields its address and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65_536))
                connection.sendall(request.param)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        thread.join(10)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    b": mlg\r\nretry: 2000\r\n\r\n"
    b'id: 7\r\nevent: graph\r\ndata: {"seq":\r\ndata: 7}\r\n\r\n'
    b"event: live\r\ndata: {}\r\n\r\n"
    b'event: graph\r\ndata: {"cut'
)

CALLS: list[tuple[Callable[[Client], object], bytes]] = [
    (lambda c: c.run_status("a/b?c"), b"GET /api/v1/runs/a%2Fb%3Fc "),
    (
        lambda c: c.trace("mlg://x/y", depth=0),
        b"GET /api/v1/trace?uri=mlg%3A%2F%2Fx%2Fy&depth=0",
    ),
    (lambda c: c.search("a b", kinds=["m", "n"]), b"GET /api/v1/search?q=a+b&kind=m&kind=n&"),
    (lambda c: c.nodes(attr=("a", "b")), b"GET /api/v1/nodes?attr=a%3Db&limit=100 "),
    (lambda c: c.production("home"), b"GET /api/v1/production?service=home "),
]


@pytest.mark.parametrize("said", [OK], indirect=True)
@pytest.mark.parametrize(("call", "line"), CALLS)
def test_arguments_are_encoded_and_left_out_when_not_given(
    said: tuple[str, list[bytes]], call: Callable[[Client], object], line: bytes
) -> None:
    url, asked = said
    assert call(Client(url, timeout_s=10)) == {}
    assert asked[0].startswith(line), asked[0]


@pytest.mark.parametrize("said", [OK], indirect=True)
def test_a_write_is_json_even_with_nothing_to_say(said: tuple[str, list[bytes]]) -> None:
    url, asked = said
    Client(url).down()
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    assert body in {b"{}", b""}  # the body may follow in its own packet


@pytest.mark.parametrize("said", [CUT, b"", b"nonsense\r\n\r\n"], indirect=True)
def test_a_broken_answer_is_a_backend_error(said: tuple[str, list[bytes]]) -> None:
    with pytest.raises(BackendError, match="no answer"):
        Client(said[0], timeout_s=10).status()


@pytest.mark.parametrize("said", [EVENTS], indirect=True)
def test_the_stream_is_read_message_by_message(said: tuple[str, list[bytes]]) -> None:
    got = list(Client(said[0], timeout_s=10).stream(after=6))
    assert [(message.event, message.seq, message.data) for message in got] == [
        ("graph", 7, {"seq": 7}),
        ("live", None, {}),
    ]
    assert said[1][0].startswith(b"GET /stream?after=6 ")


def test_the_package_offers_the_client_and_the_protocol() -> None:
    assert mlg.Client is Client
    assert mlg.Model is Model
    with pytest.raises(AttributeError, match="nothing"):
        mlg.nothing  # noqa: B018
