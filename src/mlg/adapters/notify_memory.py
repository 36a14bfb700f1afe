"""Messages kept in a list, for tests and the simulator."""

from typing import TYPE_CHECKING

from mlg.core.errors import BackendError
from mlg.core.ports import Message

if TYPE_CHECKING:
    from mlg.core.ports import Notifier


class MemoryNotifier:
    """Keeps every message once; takes none while `failing`."""

    def __init__(self) -> None:
        self.sent: dict[str, Message] = {}
        self.failing = False

    def send(self, message: Message, key: str) -> None:
        if key in self.sent:
            return
        if self.failing:
            raise BackendError("message was not taken", where=message.channel)
        self.sent[key] = message


if TYPE_CHECKING:
    _: Notifier = MemoryNotifier()
