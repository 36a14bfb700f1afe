"""The control plane: `python -m mlg.app.control`, or in the foreground by `mlg up`.

The data plane outlives it: SIGTERM ends the control plane only; SIGINT and `mlg down`
end everything.
"""

import argparse
import fcntl
import getpass
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import psutil

from mlg.adapters.loopback_ports import check_port
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.api.security import LOOPBACK_HOSTS, loopback_principal
from mlg.app.alert_operations import alerts_of
from mlg.app.baseline_operations import baselines_of
from mlg.app.build import GATEWAYS, build
from mlg.app.ending import end_all
from mlg.app.operations import ControlOperations
from mlg.app.parts import Parts
from mlg.app.serve_api import ApiServer, start_api
from mlg.app.staging_stack import sweep_stacks
from mlg.core.errors import BackendError, LifecycleError
from mlg.telemetry.logs import setup_logs
from mlg.workflows import durable
from mlg.workflows.state import read_wanted

ANCHOR_EVERY_S = 600.0
SERVICES_S = 20.0
"""How long `up` waits for services that served before."""

logger = logging.getLogger("mlg.control")


def serve(home: Path, control_port: int, gateway_port: int) -> None:
    """Run the control plane until it is ended.

    Raises:
        LifecycleError: A port is in use, a store cannot be opened, or another one runs here.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "control.lock").open("w") as lock:
        _take(lock, home)
        sweep_stacks(home)
        control_port, gateway_port = _ports(home, control_port, gateway_port)
        parts = build(home, control_port, gateway_port)
        asked = _signals(parts)
        operations = ControlOperations(parts)
        operations.recover()
        adopted = parts.supervisor.adopt()
        if not adopted:
            parts.router.forget()
            parts.supervisor.forget_placed()
        try:
            server = _start(parts, operations)
        except LifecycleError:
            parts.supervisor.close()
            parts.router.close()
            if not adopted:
                end_all(parts.launcher)
            parts.files.remove("control.json")
            raise
        _tell_control(parts, ready=True)
        while not parts.ended.wait(ANCHOR_EVERY_S):
            operations.anchor()
        logger.info("ending")
        # its threads notice within some seconds: meanwhile the rest ends
        closing = threading.Thread(target=durable.close, name="closing")
        closing.start()
        operations.close()
        parts.supervisor.close()
        if signal.SIGINT in asked:
            end_all(parts.launcher)
            operations.anchor()
        parts.router.close()
        _stop(parts)
        server.stop()
        parts.tracing.close()
        closing.join()
        parts.store.close()
        parts.reader.close()
        sweep_stacks(home)  # tests that are under way begin anew at the next start
        parts.files.remove("control.json")


def _start(parts: Parts, operations: ControlOperations) -> ApiServer:
    """Start the API, the supervisor, the durable workflows and the tail.

    Raises:
        LifecycleError: One of them could not start; the API is stopped again.
    """
    _tell_control(parts, ready=False)
    server = start_api(
        create_app(
            ApiServices(
                history=parts.reader,
                reader=parts.reader,
                store=parts.store,
                operations=operations,
                alerts=alerts_of(parts),
                baselines=baselines_of(parts),
                clock=parts.clock,
                ids=parts.ids,
                hooks=parts.hooks,
                providers=parts.enrichers,
                project=lambda: parts.recorder("system:control").project,
            ),
            allowed_hosts=LOOPBACK_HOSTS,
            principal_for=loopback_principal(getpass.getuser()),
            tracing=parts.tracing,
        ),
        port=parts.control_port,
    )
    parts.supervisor.start()
    parts.fleet.refresh()
    durable.launch()
    parts.experiments.sweep()
    parts.tail.start()
    if parts.events is not None:
        parts.events.shipper.start()
    parts.monitoring.start()
    parts.replicas.start()
    parts.reactor.start()
    parts.enrichers.start()
    if parts.emitter is not None:
        parts.emitter.start()
    parts.privacy.upkeep.start()
    try:
        _await_gateways(parts)
    except LifecycleError:
        server.stop()
        raise
    _await_services(parts)
    return server


def _stop(parts: Parts) -> None:
    """Let the threads that follow something finish what they are at."""
    parts.tail.stop()
    parts.replicas.stop()
    parts.monitoring.stop()
    if parts.events is not None:
        parts.events.close()
    parts.reactor.stop()
    parts.enrichers.stop()
    if parts.emitter is not None:
        parts.emitter.stop()
    parts.privacy.upkeep.stop()


def _take(lock: IO[str], home: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise BackendError(
            "another control plane runs for this home",
            where=str(home),
            hint="use it, or end it first: mlg down",
        ) from error


def _ports(home: Path, control_port: int, gateway_port: int) -> tuple[int, int]:
    """Return free ports; gateways that still run keep theirs."""
    for path in sorted((home / "run").glob("gateway-*.json")):
        record = json.loads(path.read_bytes())
        if psutil.pid_exists(record["pid"]):
            gateway_port = record["port"]
    if gateway_port == 0:
        gateway_port = _free_port()
    elif not list((home / "run").glob("gateway-*.json")):
        check_port(gateway_port)
    if control_port == 0:
        control_port = _free_port()
    return control_port, gateway_port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _signals(parts: Parts) -> set[int]:
    """End on SIGTERM and SIGINT; return the set of what was asked."""
    asked: set[int] = set()

    def end(number: int, _: object) -> None:
        asked.add(number)
        parts.ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    return asked


def _await_gateways(parts: Parts) -> None:
    """Return once both gateways are ready.

    Raises:
        BackendError: They were not in time; the words of their log are the hint.
    """
    until_s = parts.clock.monotonic_s() + 30.0
    while not parts.ended.is_set():
        ready = [p for p in parts.supervisor.processes() if p.kind == "gateway" and p.ready]
        if len(ready) >= len(GATEWAYS):
            return
        if parts.clock.monotonic_s() > until_s:
            raise BackendError(
                "the gateways did not become ready",
                where=f"port {parts.gateway_port}",
                hint="see run/gateway-1.log in the home.",
            )
        parts.ended.wait(0.05)


def _await_services(parts: Parts) -> None:
    """Wait a while for services that served before; `status` tells of one that fails."""
    spec = parts.manifests.spec()
    served = [(n, read_wanted(parts.files, n).stable) for n in (spec.services if spec else ())]
    until_s = parts.clock.monotonic_s() + SERVICES_S
    while not parts.ended.is_set() and parts.clock.monotonic_s() < until_s:
        silent = [n for n, v in served if v and not parts.supervisor.live(n, v.version)]
        if not silent:
            return
        parts.ended.wait(0.1)


def _tell_control(parts: Parts, *, ready: bool) -> None:
    own = psutil.Process()
    document = {
        "port": parts.control_port,
        "gateway_port": parts.gateway_port,
        "pid": own.pid,
        "started": own.create_time(),
        "ready": ready,
    }
    parts.files.write("control.json", json.dumps(document).encode())


def main(argv: Sequence[str]) -> int:
    """Run the control plane; return its exit code."""
    options = argparse.ArgumentParser(prog="python -m mlg.app.control", allow_abbrev=False)
    options.add_argument("--home", type=Path, required=True)
    options.add_argument("--port", type=int, default=7070)
    options.add_argument("--gateway-port", type=int, default=7080)
    chosen = options.parse_args(argv)
    setup_logs(sys.stderr, process="control")
    try:
        serve(chosen.home.resolve(), chosen.port, chosen.gateway_port)
    except LifecycleError as error:
        sys.stderr.write(json.dumps(error.as_dict()) + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # everything is closed; workflows that sleep are threads never joined
