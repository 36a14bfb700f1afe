"""The event stream that other hosts read, put together from the settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlg.adapters.nats_connection import NatsConnection
from mlg.app.monitor_group import Together
from mlg.app.settings import EventSettings
from mlg.app.shipping import Shipper
from mlg.core.clock import Clock
from mlg.core.ports import Files, Ids, Secrets

HOST_FILE: Final = "events-host"
"""Holds the home's name on the server; it is made once and stays with the home."""
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """One home's part in the event stream of an instance."""

    connection: NatsConnection
    shipper: Shipper
    group: Together

    def close(self) -> None:
        """Stop to ship, and let go of the server."""
        self.shipper.stop()
        self.connection.close()


def events_of(
    settings: EventSettings | None,
    *,
    home: Path,
    files: Files,
    clock: Clock,
    ids: Ids,
    secrets: Secrets,
    services: Callable[[], Sequence[str]],
) -> Events | None:
    """Return this home's part, nothing started; None where the settings name no server.

    Raises:
        NotFoundError: The password's secret is not there.
    """
    if settings is None:
        return None
    password = secrets.resolve(settings.password) if settings.password else ""
    connection = NatsConnection(settings.url, password)
    known = files.read(HOST_FILE)
    if known is None:
        known = ids.new_id().encode()
        files.write(HOST_FILE, known)
    host = known.decode()
    shipper = Shipper(
        home,
        connection,
        host,
        services,
        namespace=settings.namespace,
        max_age_s=settings.keep_days * _DAY_S,
    )
    group = Together(
        connection, host, clock, namespace=settings.namespace, shipped=shipper.shipped
    )
    return Events(connection=connection, shipper=shipper, group=group)
