"""Counters of several gateways as sums that never fall."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from mlg.core.ports import Files, Network
from mlg.core.traffic import Attempts, Endpoint
from mlg.mesh.counters import (
    Requests,
    Totals,
    TotalsRecord,
    attempt_readings,
    read_hosts,
    request_readings,
)

_FILE: Final = "counters.json"
_REQUESTS: Final = (
    r"/stats?format=json&filter=\.(upstream_rq_[0-9]{3}|http_local_rate_limit\.rate_limited)$"
)
_NODE: Final = "/config_dump?mask=bootstrap.node.id"
"""A hundred bytes; `/server_info` has 120 kB of extensions and costs the gateway 5 ms."""


class GatewayCounters:
    """Adds up what the gateways count; goes on where an earlier one stopped.

    A gateway that restarts, a replica that goes and a new control plane lose only what was
    counted since the last look. The sums are kept in `counters.json`; a damaged file means
    that counting begins anew.

    Args:
        files: The gateways' folder.
        network: Reaches the admin interfaces.
        admins: Returns the base URLs of those that run.
    """

    def __init__(
        self, files: Files, network: Network, admins: Callable[[], Sequence[str]]
    ) -> None:
        self._files, self._network, self._admins = files, network, admins
        self._written = self._stored()
        self._attempts = Totals(self._written.get("attempts"))
        self._requests = Totals(self._written.get("requests"))

    def look(self, owners: Mapping[Endpoint, tuple[str, str]]) -> None:
        """Add what the hosts' counters grew by since the last look.

        Args:
            owners: Service and version of each replica's address.
        """
        for admin in self._admins():
            clusters, run = self._ask(admin, "/clusters?format=json"), self._run(admin)
            if clusters is not None and run is not None:
                self._attempts.see(admin, run, attempt_readings(read_hosts(clusters), owners))
        self._keep()

    def attempts(self, service: str, version: str) -> Attempts:
        """Return one version's attempts as of the last look."""
        answered, errors, rescued, shadowed, shadow_errors = (
            self._attempts.of((service, version, what))
            for what in ("answered", "errors", "rescued", "shadowed", "shadow_errors")
        )
        return Attempts(
            service=service,
            version=version,
            total=answered + errors,
            errors=errors,
            rescued=rescued,
            shadowed=shadowed,
            shadow_errors=shadow_errors,
        )

    def requests(self) -> tuple[Requests, ...]:
        """Look, and return viewer requests by service, assigned version and code."""
        for admin in self._admins():
            stats, run = self._ask(admin, _REQUESTS), self._run(admin)
            if stats is None or run is None:
                continue
            self._requests.see(admin, run, request_readings(stats))
        self._keep()
        return tuple(
            Requests(service=service, version=version, code=int(code), total=total)
            for (service, version, code), total in self._requests.all()
        )

    def _run(self, admin: str) -> str | None:
        """Name the present life of a gateway; None when it does not answer."""
        told = self._ask(admin, _NODE) or {}
        for part in told.get("configs", ()):
            if named := part.get("bootstrap", {}).get("node", {}).get("id"):
                return str(named)
        # a gateway that an earlier version of mlg started
        about: Mapping[str, Any] = self._ask(admin, "/server_info") or {}
        return about.get("node", {}).get("id")

    def _ask(self, admin: str, path: str) -> dict[str, Any] | None:
        reply = self._network.request("GET", admin + path, timeout_s=2.0)
        return json.loads(reply.body) if reply.status == 200 and reply.body else None

    def _stored(self) -> dict[str, TotalsRecord]:
        content = self._files.read(_FILE)
        try:
            return msgspec.json.decode(content or b"{}", type=dict[str, TotalsRecord])
        except msgspec.MsgspecError:
            return {}

    def _keep(self) -> None:
        now = {"attempts": self._attempts.record(), "requests": self._requests.record()}
        if now != self._written:
            self._files.write(_FILE, msgspec.json.encode(now))
            self._written = now
