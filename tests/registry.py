"""A real registry (Debian's docker-registry) on loopback, with or without sign-in."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

from tests.conftest import until

USER: Final = "ada"
WORD: Final = "a word"
_BCRYPT: Final = "$2b$04$wIe5xyVfqAVrE.zcJ4X6OuFMJQih3CeswnrfuXoToO5mqn364HDaC"


class Registry:
    """One registry over a folder; may be ended and begun again."""

    def __init__(self, folder: Path, more: dict[str, Any] | None = None) -> None:
        program = shutil.which("docker-registry")
        if program is None:
            pytest.skip("docker-registry is not installed")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._program = program
        self._config = folder / "registry.json"  # YAML knows JSON
        told: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
            "http": {"addr": self.host},
            **(more or {}),
        }
        self._config.write_text(json.dumps(told))
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def or_none(folder: Path) -> "Registry | None":
        """Return a registry, not begun yet; None where there is no program for it."""
        return Registry(folder) if shutil.which("docker-registry") else None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def begin(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "serve", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: self.ask("/v2/")[0] in (200, 401), 20)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, path: str, accept: str = "*/*") -> tuple[int, bytes]:
        """Return status and body; (0, b"") where nobody answers."""
        request = urllib.request.Request(
            f"http://{self.host}{path}", headers={"accept": accept}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    def tags(self, name: str) -> list[str]:
        status, body = self.ask(f"/v2/{name}/tags/list")
        return sorted(json.loads(body)["tags"] or []) if status == 200 else []


@contextmanager
def running(folder: Path, more: dict[str, Any] | None = None) -> Iterator[Registry]:
    registry = Registry(folder, more)
    registry.begin()
    try:
        yield registry
    finally:
        registry.end()


def with_password(folder: Path) -> dict[str, Any]:
    """Return the settings of a registry that wants USER and WORD."""
    path = folder / "htpasswd"
    path.write_text(f"{USER}:{_BCRYPT}\n")
    return {"auth": {"htpasswd": {"realm": "here", "path": str(path)}}}


@contextmanager
def with_tokens(folder: Path) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield the settings of a registry that wants tokens, and what its server was told.

    The server gives a token for USER and WORD; the registry checks its signature.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key)
    bundle = folder / "root.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("authorization", ""))
            words = base64.b64encode(f"{USER}:{WORD}".encode()).decode()
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
            good = asked[-1] == f"Basic {words}"
            scope = query.get("scope", "")
            body = json.dumps({"token": _token(key, certificate, scope)}).encode()
            self.send_response(200 if good else 401)
            self.send_header("content-length", str(len(body) if good else 0))
            self.end_headers()
            if good:
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        realm = f"http://127.0.0.1:{server.server_port}/token"
        token = {
            "realm": realm,
            "service": "here",
            "issuer": "tests",
            "rootcertbundle": str(bundle),
        }
        yield {"auth": {"token": token}}, asked
    finally:
        server.shutdown()
        server.server_close()


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)  # noqa: TID251 - the registry compares it with its own clock
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _token(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, scope: str) -> str:
    """Return a JWT (RFC 7519) with the access that is asked for."""
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    now = int(time.time())  # noqa: TID251 - the registry compares it with its own clock
    claims = {
        "iss": "tests",
        "sub": USER,
        "aud": "here",
        "exp": now + 300,
        "nbf": now - 10,
        "iat": now,
        "jti": "1",
        "access": [{"type": kind, "name": name, "actions": actions.split(",")}]
        if scope
        else [],
    }
    der = certificate.public_bytes(serialization.Encoding.DER)
    header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
    text = f"{_coded(json.dumps(header).encode())}.{_coded(json.dumps(claims).encode())}"
    r, s = utils.decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{_coded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _coded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
