import base64
import hashlib
import hmac
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes
from email.message import Message as Mail
from email.policy import default as policy
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MailHandler
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.network_memory import MemoryNetwork, Request
from mlg.adapters.notify_email import EmailNotifier, SmtpServer, smtp_server
from mlg.adapters.notify_memory import MemoryNotifier
from mlg.adapters.notify_webhook import WebhookNotifier
from mlg.adapters.secrets_memory import MemorySecrets
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ManifestError
from mlg.core.ports import Message, Notifier, Reply

MESSAGE = Message(
    channel="webhook", to="https://hooks/x", subject="Confidence fell", body="0.2"
)
SECRET = base64.b64encode(b"a shared secret of 24 by").decode()


@dataclass
class Receiver:
    failing: bool = False
    taken: list[Request] = field(default_factory=list)

    def take(self, request: Request) -> Reply:
        if self.failing:
            return Reply(status=500)
        self.taken.append(request)
        return Reply(status=204)


@dataclass
class Channel:
    notifier: Notifier
    subjects: Callable[[], list[str]]
    fail: Callable[[bool], None]
    message: Message = MESSAGE


def webhook(receiver: Receiver, files: MemoryFiles, ref: str = "secret://env/S") -> Notifier:
    network = MemoryNetwork()
    network.serve("https://hooks", receiver.take)
    secrets = MemorySecrets({"secret://env/S": f"whsec_{SECRET}"})
    return WebhookNotifier(network, secrets, ref, ManualClock(), files)


class Post(MailHandler):
    """Takes mail, or answers a recipient with the next of its refusals."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Mail] = []
        self.refusals: list[str] = []
        self.refused: dict[str, str] = {}

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's word)
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        if self.refusals:
            return self.refusals.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    def prepare_message(self, _: Any, envelope: Any) -> Mail:
        mail = message_from_bytes(envelope.content, policy=policy)
        mail["X-Rcpt"] = ",".join(envelope.rcpt_tos)
        return mail

    def handle_message(self, message: Mail) -> None:
        self.mails.append(message)


class Sink(Controller):
    """A real SMTP server on a port that is free."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()

    @property
    def post(self) -> Post:
        return self.handler


@pytest.fixture
def sink() -> Iterator[Sink]:
    it = Sink(Post(), hostname="127.0.0.1", port=0)
    it.start()
    yield it
    it.stop()


def mailer(port: int, files: MemoryFiles | None = None, clock: Any = None) -> Notifier:
    server = SmtpServer(host="127.0.0.1", port=port, security="none", sender="mlg@example.com")
    kept = MemoryFiles() if files is None else files
    return EmailNotifier(server, MemorySecrets({}), clock or ManualClock(), kept)


LETTER = Message(channel="email", to="a@b.c", subject="Confidence fell", body="0.2, für alle\n")


@pytest.fixture(params=["memory", "webhook", "email"])
def channel(request: pytest.FixtureRequest) -> Channel:
    if request.param == "email":
        it: Sink = request.getfixturevalue("sink")
        return Channel(
            mailer(it.port),
            lambda: [m["subject"] for m in it.post.mails],
            lambda yes: (
                it.post.refused.update({LETTER.to: "450 later"})
                if yes
                else it.post.refused.clear()
            ),
            LETTER,
        )
    if request.param == "memory":
        memory = MemoryNotifier()
        return Channel(
            memory,
            lambda: [m.subject for m in memory.sent.values()],
            lambda yes: setattr(memory, "failing", yes),
        )
    receiver = Receiver()
    return Channel(
        webhook(receiver, MemoryFiles()),
        lambda: [json.loads(r.body)["data"]["subject"] for r in receiver.taken],
        lambda yes: setattr(receiver, "failing", yes),
    )


def test_the_same_key_is_one_message(channel: Channel) -> None:
    for key in ("a", "a", "b", "a"):
        channel.notifier.send(channel.message, key)
    assert channel.subjects() == ["Confidence fell"] * 2


def test_what_was_not_taken_may_be_sent_again(channel: Channel) -> None:
    channel.fail(True)
    with pytest.raises(BackendError, match="not taken"):
        channel.notifier.send(channel.message, "a")
    channel.fail(False)
    channel.notifier.send(channel.message, "a")
    assert channel.subjects() == ["Confidence fell"]


def test_a_webhook_is_signed_as_the_standard_says() -> None:
    receiver = Receiver()
    webhook(receiver, MemoryFiles()).send(MESSAGE, "a")
    request = receiver.taken[0]
    headers = dict(request.headers)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    expected = hmac.new(base64.b64decode(SECRET), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert int(headers["webhook-timestamp"]) == 1_767_225_600  # 2026-01-01T00:00:00Z


def test_a_sent_key_is_remembered_by_the_next_process() -> None:
    receiver, files = Receiver(), MemoryFiles()
    webhook(receiver, files).send(MESSAGE, "a")
    webhook(receiver, files).send(MESSAGE, "a")
    assert len(receiver.taken) == 1


def test_a_webhook_without_a_secret_carries_no_signature() -> None:
    receiver = Receiver()
    network = MemoryNetwork()
    network.serve("https://hooks", receiver.take)
    bare = WebhookNotifier(network, MemorySecrets({}), None, ManualClock(), MemoryFiles())
    bare.send(MESSAGE, "a")
    names = {name for name, _ in receiver.taken[0].headers}
    assert "webhook-signature" not in names
    assert {"webhook-id", "idempotency-key"} <= names


def test_a_json_message_is_posted_as_it_stands() -> None:
    receiver = Receiver()
    body = '{"mode": "diverse"}'
    letter = Message(channel="json", to="https://hooks/x", subject="guard", body=body)
    webhook(receiver, MemoryFiles()).send(letter, "a")
    assert receiver.taken[0].body == body.encode()


# mail


def test_a_mail_says_who_what_and_under_which_key(sink: Sink) -> None:
    mailer(sink.port).send(LETTER, "automation:guard:0011223344556677:2")
    (mail,) = sink.post.mails
    assert (mail["from"], mail["to"], mail["subject"]) == (
        "mlg@example.com", "a@b.c", "Confidence fell",
    )  # fmt: skip
    assert mail["mlg-idempotency-key"] == "automation:guard:0011223344556677:2"
    digest = hashlib.sha256(b"automation:guard:0011223344556677:2").hexdigest()[:32]
    assert mail["message-id"] == f"<{digest}@example.com>"
    assert mail.get_content().replace("\r\n", "\n") == LETTER.body


def test_a_mail_after_a_lost_mark_has_the_same_message_id(sink: Sink) -> None:
    for files in (MemoryFiles(), MemoryFiles()):  # the second process knows of no first
        mailer(sink.port, files).send(LETTER, "a")
    assert len({mail["message-id"] for mail in sink.post.mails}) == 1


def test_a_sent_mail_is_remembered_by_the_next_process(sink: Sink) -> None:
    files = MemoryFiles()
    for _ in range(2):
        mailer(sink.port, files).send(LETTER, "a")
    assert len(sink.post.mails) == 1


def test_a_temporary_refusal_is_tried_again_with_growing_pauses(sink: Sink) -> None:
    clock = ManualClock()
    sink.post.refusals = ["450 busy", "451 busy"]
    mailer(sink.port, clock=clock).send(LETTER, "a")
    assert len(sink.post.mails) == 1
    assert clock.monotonic_s() == pytest.approx(0.5 + 1.0)


def test_a_lasting_refusal_is_not_tried_again(sink: Sink) -> None:
    clock = ManualClock()
    sink.post.refusals = ["550 no such user"]
    with pytest.raises(BackendError, match="not taken: 550 no such user") as caught:
        mailer(sink.port, clock=clock).send(LETTER, "a")
    assert caught.value.hint == "check the addresses of the rule."
    assert clock.monotonic_s() == 0


def test_one_refused_address_costs_the_others_nothing(sink: Sink) -> None:
    files, both = MemoryFiles(), "bad@b.c, a@b.c"
    letter = Message(channel="email", to=both, subject="s", body="b")
    sink.post.refused = {"bad@b.c": "550 no such user"}
    for _ in range(2):
        with pytest.raises(BackendError, match="550"):
            mailer(sink.port, files).send(letter, "a")
    assert [mail["x-rcpt"] for mail in sink.post.mails] == ["a@b.c"]
    assert sink.post.mails[0]["to"] == both
    sink.post.refused = {}
    mailer(sink.port, files).send(letter, "a")
    assert [mail["x-rcpt"] for mail in sink.post.mails] == ["a@b.c", "bad@b.c"]


def test_a_server_that_is_down_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:  # bound, not listening: the port is nobody's
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        clock = ManualClock()
        with pytest.raises(BackendError, match="mail was not taken") as caught:
            mailer(port, clock=clock).send(LETTER, "a")
    assert caught.value.where == f"mail server 127.0.0.1:{port}"
    assert caught.value.hint == (
        "check that the mail server is up and that MLG_SMTP_URL names it."
    )
    assert clock.monotonic_s() == pytest.approx(1.5)


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = SmtpServer(
            host="127.0.0.1", port=silent.getsockname()[1], security="none", timeout_s=0.05
        )
        notifier = EmailNotifier(server, MemorySecrets({}), ManualClock(), MemoryFiles())
        with pytest.raises(BackendError, match="mail was not taken"):
            notifier.send(LETTER, "a")


@pytest.mark.parametrize("subject", ["a\nBcc: x@y.z", "a\r\nb"])
def test_a_subject_cannot_bring_a_header(sink: Sink, subject: str) -> None:
    letter = Message(channel="email", to="a@b.c", subject=subject, body="b")
    with pytest.raises(BackendError, match="not taken"):
        mailer(sink.port).send(letter, "a")
    assert sink.post.mails == []


def certificate(folder: Path) -> ssl.SSLContext:
    """Write `ca.pem` of 127.0.0.1 and return its server's side."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mlg test")])
    begins = ManualClock().now() - timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize("password", ["right", "wrong"])
def test_a_password_goes_over_starttls_only_and_is_never_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    context = certificate(tmp_path)
    tried: list[Any] = []

    def authenticate(server: Any, session: Any, envelope: Any, how: str, data: Any) -> Any:
        tried.append((data.login, data.password, session.ssl is not None))
        return AuthResult(success=data.password == b"right", handled=False)

    sink = Sink(
        Post(), hostname="127.0.0.1", port=0, tls_context=context, require_starttls=True,
        auth_required=True, authenticator=authenticate,
    )  # fmt: skip
    sink.start()
    try:
        server = smtp_server(
            f"smtp+starttls://ada@127.0.0.1:{sink.port}", password="secret://env/P"
        )
        secrets = MemorySecrets({"secret://env/P": password})
        notifier = EmailNotifier(server, secrets, ManualClock(), MemoryFiles())
        with pytest.raises(BackendError, match="certificate verify failed"):
            notifier.send(LETTER, "a")
        assert tried == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        if password == "right":
            notifier.send(LETTER, "a")
            assert len(sink.post.mails) == 1
        else:
            with pytest.raises(BackendError, match="refused the user or password") as caught:
                notifier.send(LETTER, "a")
            assert "wrong" not in str(caught.value)
        assert {(user, safe) for user, _, safe in tried} == {(b"ada", True)}
    finally:
        sink.stop()


def test_a_server_without_starttls_gets_nothing(sink: Sink) -> None:
    server = SmtpServer(host="127.0.0.1", port=sink.port, security="starttls")
    with pytest.raises(BackendError, match="STARTTLS") as caught:
        EmailNotifier(server, MemorySecrets({}), ManualClock(), MemoryFiles()).send(LETTER, "a")
    assert "encryption" in caught.value.hint
    assert sink.post.mails == []


@pytest.mark.parametrize(
    ("url", "port", "security", "user"),
    [
        ("smtp://localhost", 25, "none", ""),
        ("smtp://ada@127.0.0.1:2525", 2525, "none", "ada"),
        ("smtp+starttls://ada%40b.c@mail.b.c", 587, "starttls", "ada@b.c"),
        ("smtps://[::1]/", 465, "tls", ""),
    ],
)
def test_a_url_names_a_server(url: str, port: int, security: str, user: str) -> None:
    found = smtp_server(url, password="secret://env/P")
    assert (found.port, found.security, found.user) == (port, security, user)
    assert found.password == ("secret://env/P" if user else "")


@pytest.mark.parametrize(
    ("url", "password", "words"),
    [
        ("mail.b.c:25", "", "expected smtp://"),
        ("http://mail.b.c", "", "expected smtp://"),
        ("smtp://", "", "expected smtp://"),
        ("smtp://h:99999", "", "expected smtp://"),
        ("smtp://h/path", "", "expected smtp://"),
        ("smtps://ada:hunter2@h", "", "no password in the address"),
        ("smtps://ada@h", "hunter2", "secret://"),
        ("smtp://ada@h", "secret://env/P", "encrypted connection"),
    ],
)
def test_a_wrong_url_is_refused_without_telling_secrets(
    url: str, password: str, words: str
) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        smtp_server(url, password=password)
    assert "hunter2" not in str(caught.value) + caught.value.hint
