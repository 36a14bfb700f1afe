import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.network_memory import MemoryNetwork, Request
from mlg.adapters.notify_memory import MemoryNotifier
from mlg.adapters.notify_webhook import WebhookNotifier
from mlg.adapters.secrets_memory import MemorySecrets
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError
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


def webhook(receiver: Receiver, files: MemoryFiles, ref: str = "secret://env/S") -> Notifier:
    network = MemoryNetwork()
    network.serve("https://hooks", receiver.take)
    secrets = MemorySecrets({"secret://env/S": f"whsec_{SECRET}"})
    return WebhookNotifier(network, secrets, ref, ManualClock(), files)


@pytest.fixture(params=["memory", "webhook"])
def channel(request: pytest.FixtureRequest) -> Channel:
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
        channel.notifier.send(MESSAGE, key)
    assert channel.subjects() == ["Confidence fell"] * 2


def test_what_was_not_taken_may_be_sent_again(channel: Channel) -> None:
    channel.fail(True)
    with pytest.raises(BackendError, match="not taken"):
        channel.notifier.send(MESSAGE, "a")
    channel.fail(False)
    channel.notifier.send(MESSAGE, "a")
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
