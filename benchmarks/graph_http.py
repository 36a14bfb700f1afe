"""Serves a graph's file by the real API, for `mlg bench graph`.

Prints its port, and ends when its standard input does.
"""  # noqa: INP001 - a script, no package

import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.app.serve_api import ApiServer
from mlg.core.principal import Principal


def main() -> None:
    """Serve until standard input ends."""
    path, clock = Path(sys.argv[1]), SystemClock()
    nothing: Any = SimpleNamespace(events=None)
    services = ApiServices(
        reader=SqliteGraphReader(path),
        store=nothing,
        operations=nothing,
        clock=clock,
        ids=Uuid7Ids(clock),
    )
    app = create_app(
        services,
        allowed_hosts=("127.0.0.1",),
        principal_for=lambda _: Principal(subject="bench", roles=("viewer",), via="loopback"),
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = ApiServer(app, listener)
    server.start()
    print(server.port, flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
