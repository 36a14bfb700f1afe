"""Where a server listens: on the launcher's socket, or on the address of a pod."""

import socket

import pytest

from mlg.app.data_plane import listening_socket, parser
from mlg.core.errors import BackendError, ManifestError


def test_an_address_is_listened_on_and_nothing_else() -> None:
    with listening_socket("127.0.0.1:0") as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        with socket.create_connection(listener.getsockname(), timeout=5):
            pass


@pytest.mark.parametrize("text", ["8080", ":8080", "127.0.0.1:", "127.0.0.1:x", "h:65536"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ManifestError, match="expected HOST:PORT") as refused:
        listening_socket(text)
    assert "0.0.0.0:8080" in refused.value.hint


def test_a_port_that_is_taken_is_a_backend_error() -> None:
    with listening_socket("127.0.0.1:0") as listener:
        port = listener.getsockname()[1]
        with pytest.raises(BackendError, match="cannot listen on"):
            listening_socket(f"127.0.0.1:{port}")


def test_without_an_address_the_launchers_socket_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLG_LISTEN_FD", raising=False)
    options = parser("replica").parse_args(["--home", "h", "--service", "s", "--id", "i"])
    with pytest.raises(ManifestError, match="MLG_LISTEN_FD"):
        listening_socket(options.listen)
