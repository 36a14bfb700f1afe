"""Asking processes whether they are those that were started, and whether they are ready."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from mlg.core.ports import Network
from mlg.core.processes import ProcessState

_PROBE_S: Final = 0.5


class Probes:
    """Asks several processes at once; who proved itself once is not asked for it again.

    Args:
        network: Reaches the processes.
        admin_url: Base URL of a gateway's admin interface by its id; None: no gateways.
    """

    def __init__(self, network: Network, admin_url: Callable[[str], str] | None) -> None:
        self._network, self._admin_url = network, admin_url
        self._known: set[tuple[str, str]] = set()
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="probe")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def answering(self, processes: Iterable[ProcessState]) -> list[bool]:
        """Return of each process whether it is the one that was started; remembered."""
        asked = list(processes)
        answers = list(self._pool.map(self._answers, asked))
        self._known |= {(p.id, p.nonce) for p, yes in zip(asked, answers, strict=True) if yes}
        return answers

    def ready(self, processes: Iterable[ProcessState]) -> list[bool]:
        """Return of each process whether it is the one started, and says that it is ready."""
        return list(self._pool.map(self._ready, processes))

    def _ready(self, process: ProcessState) -> bool:
        if not process.alive:
            return False
        identity = (process.id, process.nonce)
        if identity not in self._known:
            if not self._answers(process):
                return False
            self._known.add(identity)
        if process.kind == "gateway":
            return self._get(self._gateway_admin(process) + "/ready")[0] == 200
        path = process.health_path or "/v2/health/ready"
        return self._get(f"http://127.0.0.1:{process.port}{path}")[0] == 200

    def _answers(self, process: ProcessState) -> bool:
        """Whether the process answers with the nonce that it was started with.

        A server that is not mlg's knows no nonce: it is known by its pid and start time.
        """
        if not process.alive:
            return False
        if process.health_path:
            return True
        if process.kind == "gateway":
            status, body = self._get(self._gateway_admin(process) + "/server_info")
            about: dict[str, Any] = json.loads(body) if status == 200 else {}
            return about.get("node", {}).get("id") == process.nonce
        status, body = self._get(f"http://127.0.0.1:{process.port}/mlg/nonce")
        return status == 200 and body.decode(errors="replace").strip() == process.nonce

    def _gateway_admin(self, process: ProcessState) -> str:
        return self._admin_url(process.id) if self._admin_url else ""

    def _get(self, url: str) -> tuple[int, bytes]:
        reply = self._network.request("GET", url, timeout_s=_PROBE_S)
        return reply.status, reply.body
