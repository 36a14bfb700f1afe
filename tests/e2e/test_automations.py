"""Rules of a manifest through the product: mail, webhook, note, proposal, freeze, hooks."""

import base64
import hashlib
import hmac
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from tests.chaos.test_kill_control import control_pid, events
from tests.conftest import Cli, until
from tests.e2e.test_canary import FULL

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.loopback_ports import free_port

RULES = """
automations:
  tell:
    autonomy: act
    on: {run: done}
    if: 'event.data.verdict == "done" && graph.alerts_open("front") == 0'
    do:
      - email: {to: team@example.com, subject: "{rule}: {event.data.verdict}"}
      - webhook: {url: "http://127.0.0.1:PORT/told", secret: "secret://env/SIGNING"}
      - audit: {note: "a run is {event.data.verdict}"}
  again:
    on: {run: done}
    do: [{restart: {service: front}}]
  looking:
    autonomy: observe
    on: {run: any}
    do: [{retrain: {pipeline: list}}]
"""


class Post:
    """Takes mail; `then` is called once the first is taken, before it is answered."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.then: Callable[[], None] | None = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append(message_from_bytes(envelope.content))
        if self.then is not None:
            act, self.then = self.then, None
            act()
        return "250 OK"


@pytest.fixture
def post() -> Iterator[tuple[Post, Controller]]:
    handler = Post()
    server = Controller(handler, hostname="127.0.0.1", port=free_port())
    server.start()
    yield handler, server
    server.stop()


@pytest.fixture
def told() -> Iterator[tuple[list[dict[str, str]], int]]:
    taken: list[dict[str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append({**dict(self.headers.items()), "body": body.decode()})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield taken, server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def prepare(cli: Cli, rules: str, **env: str) -> None:
    manifest = cli.folder / "mlg.yaml"
    manifest.write_text(manifest.read_text() + rules)
    cli.env |= env
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")


def of_rule(cli: Cli, rule: str) -> list[dict[str, Any]]:
    return [
        e
        for e in events(cli)
        if e["subject"].startswith("mlg://automation_run/") and f"/{rule}@" in e["subject"]
    ]


def words(found: list[dict[str, Any]]) -> list[str]:
    return [e["type"].rpartition(".")[2] for e in found]


def test_rules_act_propose_and_observe_once_also_through_a_kill(
    cli: Cli, post: tuple[Post, Controller], told: tuple[list[dict[str, str]], int]
) -> None:
    mailbox, server = post
    prepare(
        cli,
        RULES.replace("PORT", str(told[1])),
        MLG_SMTP_URL=f"smtp://127.0.0.1:{server.port}",
        MLG_SMTP_FROM="mlg@example.com",
        SIGNING="a shared secret",
    )
    pid = control_pid(cli)
    mailbox.then = lambda: os.kill(pid, signal.SIGKILL)  # the mail is taken, nobody knows
    cli("run", "list", "--follow", code=None)
    until(lambda: mailbox.then is None)
    cli("up", "--wait", "--port", "0")
    until(lambda: "finished" in words(of_rule(cli, "tell")), 60)
    done = of_rule(cli, "tell")
    assert words(done) == ["decided", "acted", "acted", "noted", "finished"]
    assert {m["mlg-idempotency-key"] for m in mailbox.mails} == {
        mailbox.mails[0]["mlg-idempotency-key"]
    }
    assert [m["Subject"] for m in mailbox.mails] == ["tell: done"] * len(mailbox.mails)
    assert len(told[0]) == 1
    signed = ".".join(told[0][0][k] for k in ("webhook-id", "webhook-timestamp", "body"))
    expected = hmac.digest(b"a shared secret", signed.encode(), hashlib.sha256)
    assert told[0][0]["webhook-signature"].startswith("v1,")
    assert base64.b64decode(told[0][0]["webhook-signature"][3:]) == expected
    assert words(of_rule(cli, "looking")) == ["decided"]
    listed = cli.json("automations", "list")
    (waiting,) = listed["proposals"]
    assert waiting["rule"] == "again"
    replicas = {k: v for k, v in cli.pids().items() if k.startswith("replica")}
    cli("freeze", "--reason", "launch")
    assert cli("automations", "approve", waiting["proposal"], code=4)
    cli("freeze", "--lift")
    cli("automations", "approve", waiting["proposal"], "--reason", "fine")
    until(lambda: "finished" in words(of_rule(cli, "again")))
    until(lambda: not replicas.items() & cli.pids().items())
    assert "approved" in words(of_rule(cli, "again"))
    assert cli.json("automations", "list")["proposals"] == []
    assert cli.json("audit", "verify")["ok"]


if FULL:

    def test_a_mail_server_that_is_down_fails_that_action_only(
        cli: Cli, told: tuple[list[dict[str, str]], int]
    ) -> None:
        prepare(
            cli,
            RULES.replace("PORT", str(told[1])),
            MLG_SMTP_URL="smtp://127.0.0.1:9",
            MLG_SMTP_FROM="mlg@example.com",
            SIGNING="a shared secret",
        )
        cli("run", "list", "--follow")
        until(lambda: "noted" in words(of_rule(cli, "tell")), 60)
        found = of_rule(cli, "tell")
        assert words(found) == ["decided", "failed", "acted", "noted"]
        assert "not taken" in json.dumps(found[1])
        assert len(told[0]) == 1


def test_a_condition_that_is_no_cel_is_refused_with_its_place(cli: Cli) -> None:
    cli("up", "--wait", "--port", "0")
    manifest = cli.folder / "mlg.yaml"
    manifest.write_text(
        manifest.read_text() + RULES.replace('graph.alerts_open("front") == 0', "&& 1")
    )
    refused = cli("apply", "--yes", code=2)
    line = manifest.read_text().splitlines().index("automations:") + 5
    assert f"mlg.yaml:{line}:" in refused
    assert "expected a CEL condition" in refused
    assert any(e["type"] == "mlg.failure.recorded" for e in events(cli))


HOOK = {
    "repository": "org/movies",
    "ref": "refs/heads/main",
    "commit": "a" * 40,
    "author": "Ada",
    "tests_passed": True,
}


def signed(body: bytes, secret: str) -> str:
    seconds = int(SystemClock().now().timestamp())
    mac = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={mac.hexdigest()}"


def send(cli: Cli, body: bytes, signature: str) -> tuple[int, dict[str, Any]]:
    port = cli.control()["port"]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/hooks/commit",
        data=body,
        headers={"content-type": "application/json", "mlg-signature": signature},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_commit_hook_starts_its_pipeline_once_and_a_false_one_none(cli: Cli) -> None:
    manifest = cli.folder / "mlg.yaml"
    manifest.write_text(
        manifest.read_text().replace("  list:\n", "  list:\n    on: {commit: main}\n", 1)
    )
    prepare(cli, "", MLG_HOOK_SECRET="secret://env/HOOK", HOOK="s3cret")
    body = json.dumps(HOOK).encode()
    status, refused = send(cli, body, signed(body, "another"))
    told_s = time.monotonic()
    assert (status, refused["outcome"], refused["runs"]) == (403, "wrong_signature", [])
    genuine = signed(body, "s3cret")
    status, taken = send(cli, body, genuine)
    assert (status, taken["outcome"], len(taken["runs"])) == (202, "accepted", 1)
    until(lambda: time.monotonic() > told_s + 1.0)  # one refusal a second is recorded
    status, replayed = send(cli, body, genuine)
    assert (status, replayed["outcome"], replayed["runs"]) == (200, "replayed", [])
    until(lambda: any(e["type"] == "mlg.run.finished" for e in events(cli)), 90)
    seen = events(cli)
    assert sum(e["type"] == "mlg.run.started" for e in seen) == 1
    kinds = [e["type"] for e in seen if e["type"].startswith("mlg.hook.")]
    assert kinds == ["mlg.hook.refused", "mlg.hook.accepted", "mlg.hook.replayed"]
    (up,) = [n for n in cli.json("trace", run_uri(seen))["nodes"] if n["kind"] == "commit"
             and n["uri"].endswith("a" * 40)]  # fmt: skip
    assert up["attrs"]["author"] == "Ada"


def run_uri(seen: list[dict[str, Any]]) -> str:
    return next(e["subject"] for e in seen if e["type"] == "mlg.run.started")
