"""What gateways say of themselves on their admin sockets."""

import json
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

from mlg.core.clock import Clock
from mlg.core.ports import Network
from mlg.mesh.counters import HostCount, read_hosts

_POLL_S: Final = 0.01


class GatewayAdmin:
    """Asks every gateway that should be running, and waits until all agree.

    Args:
        admins: Returns the base URLs of the admin interfaces; asked again at every poll, so a
            gateway that ends meanwhile is left out.
        clock: For waiting.
        network: Reaches the admin interfaces.
        patience_s: How long the gateways may take to obey.
    """

    def __init__(
        self,
        admins: Callable[[], Sequence[str]],
        clock: Clock,
        network: Network,
        *,
        patience_s: float,
    ) -> None:
        self.admins, self.patience_s = admins, patience_s
        self._clock, self._network = clock, network

    def until(self, done: Callable[[str], bool], *, within_s: float | None = None) -> bool:
        """Wait until `done` of every gateway; return whether it was in time.

        Args:
            done: Asked with each gateway's URL; no gateway at all is not done.
            within_s: In place of the patience.
        """
        patience_s = self.patience_s if within_s is None else within_s
        until_s = self._clock.monotonic_s() + patience_s
        while True:
            admins = self.admins()
            late = self._clock.monotonic_s() > until_s
            if admins and all(done(admin) for admin in admins):
                return True
            if late:
                return False
            self._clock.wait(_POLL_S)

    def version(self, admin: str, prefix: str) -> str | None:
        """Return the version of clusters or routes that a gateway has accepted.

        Args:
            admin: The gateway's URL.
            prefix: What comes before `version_text` in the name of the statistic.
        """
        stat = f"{prefix}.version_text"
        reply = self._network.request(
            "GET", f"{admin}/stats?type=TextReadouts&filter={stat}", timeout_s=2.0
        )
        for line in reply.body.decode(errors="replace").splitlines():
            name, _, value = line.partition(": ")
            if name == stat:
                return value.strip().strip('"')
        return None

    def behind(self, prefix: str, version: str) -> str:
        """Return which gateways do not answer or have not accepted; empty when all have.

        Args:
            prefix: What comes before `version_text` in the name of the statistic.
            version: The one that they should have accepted.
        """
        admins = self.admins()
        if not admins:
            return "no gateway ran"
        found = {
            PurePosixPath(unquote(admin)).stem: self.version(admin, prefix) for admin in admins
        }
        late = [f"{name} did not answer" for name, now in found.items() if now is None]
        late += [
            f"{name} kept version {now!r}"
            for name, now in found.items()
            if now not in (None, version)
        ]
        return ", ".join(late)

    def hosts(self, admin: str) -> tuple[HostCount, ...]:
        """Return the hosts of all of a gateway's clusters; empty when it does not answer."""
        reply = self._network.request("GET", f"{admin}/clusters?format=json", timeout_s=2.0)
        answer: dict[str, Any] = (
            json.loads(reply.body) if reply.status == 200 and reply.body else {}
        )
        return read_hosts(answer)
