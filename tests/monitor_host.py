"""A process that runs the monitors of its turn, until its standard input ends or it is killed.

Arguments: home, NATS URL, namespace, host, manifest.
"""

import sys
import time
from pathlib import Path

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.nats_connection import NatsConnection
from mlg.app.monitor_group import Together
from mlg.manifest.load import parse_manifest
from tests.integration.test_monitoring import World

FASTER = 10
"""Its seconds are so much shorter, so that what waits for five does not wait for five."""


class FastClock(SystemClock):
    def monotonic_s(self) -> float:
        return time.monotonic() * FASTER


def main() -> None:
    home, url, namespace, host, manifest = sys.argv[1:]
    world = World(Path(home))
    world.manifest = parse_manifest(Path(manifest).read_text(), "mlg.yaml").spec
    clock = FastClock()
    group = Together(NatsConnection(url), host, clock, namespace=namespace, silent_s=20.0)
    monitoring = world.monitoring(group, clock)
    monitoring.start()
    sys.stdin.read()
    monitoring.stop()


if __name__ == "__main__":
    main()
