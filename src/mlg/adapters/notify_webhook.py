"""Signed webhooks, by the Standard Webhooks specification (version 1, symmetric)."""

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING

from mlg.core.clock import Clock, rfc3339
from mlg.core.errors import BackendError
from mlg.core.ports import Files, Message, Network, Secrets

if TYPE_CHECKING:
    from mlg.core.ports import Notifier


class WebhookNotifier:
    """Posts each message to the address in `to`, signed with a shared secret.

    The body of a message of the channel `json` is JSON already and is posted as it stands;
    any other is wrapped, with its subject and the time.

    A sent key is remembered in a file, so a repeat is no second message; when the process
    dies between the answer and the file, the receiver sees the same `webhook-id` again.

    Args:
        network: Takes the request.
        secrets: Knows the signing secret, at use.
        secret_ref: `secret://…`; its text signs as it is, or base64 after `whsec_`. None
            sends without a signature.
        clock: Time of the message.
        files: Remembers the sent keys, below `notified/`.
    """

    def __init__(
        self,
        network: Network,
        secrets: Secrets,
        secret_ref: str | None,
        clock: Clock,
        files: Files,
    ) -> None:
        self._network, self._secrets, self._ref = network, secrets, secret_ref
        self._clock, self._files = clock, files

    def send(self, message: Message, key: str) -> None:
        identity = hashlib.sha256(key.encode()).hexdigest()[:32]
        mark = f"notified/{identity}"
        if self._files.read(mark) is not None:
            return
        at = self._clock.now()
        body = _envelope(message, rfc3339(at)).encode()
        seconds = str(int(at.timestamp()))
        headers = [
            ("content-type", "application/json"),
            ("idempotency-key", identity),
            ("webhook-id", identity),
            ("webhook-timestamp", seconds),
        ]
        if self._ref is not None:
            signed = self._signature(self._ref, identity, seconds, body)
            headers.append(("webhook-signature", f"v1,{signed}"))
        reply = self._network.request("POST", message.to, body=body, headers=tuple(headers))
        if not 200 <= reply.status < 300:
            raise BackendError(
                f"webhook was not taken: expected a 2xx answer, got {reply.status or 'none'}",
                where=f"channel {message.channel}",
                hint="check that the receiver is up and knows the signing secret",
            )
        self._files.write(mark, rfc3339(at).encode())

    def _signature(self, ref: str, identity: str, seconds: str, body: bytes) -> str:
        text = self._secrets.resolve(ref)
        coded = text.removeprefix("whsec_")
        secret = base64.b64decode(coded) if coded != text else text.encode()
        signed = f"{identity}.{seconds}.".encode() + body
        return base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


def _envelope(message: Message, at: str) -> str:
    if message.channel == "json":
        return message.body
    told = {"channel": message.channel, "subject": message.subject, "body": message.body}
    content = {"type": "mlg.message", "timestamp": at, "data": told}
    return json.dumps(content, sort_keys=True)


if TYPE_CHECKING:
    from mlg.adapters.files_memory import MemoryFiles
    from mlg.adapters.network_memory import MemoryNetwork
    from mlg.adapters.secrets_memory import MemorySecrets
    from mlg.core.clock import ManualClock

    _: Notifier = WebhookNotifier(
        MemoryNetwork(), MemorySecrets({}), "", ManualClock(), MemoryFiles()
    )
