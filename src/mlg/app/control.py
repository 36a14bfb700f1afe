"""The control plane: `python -m mlg.app.control`, or in the foreground by `mlg up`.

Everything is put together here and nowhere else. The data plane outlives it: SIGTERM
ends the control plane only; SIGINT and `mlg down` end everything.
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

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.keys_local import anchor_key, viewer_key
from mlg.adapters.launcher_process import ProcessLauncher, check_port
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.router_envoy import EnvoyRouter, admin_url
from mlg.adapters.steps_process import ProcessSteps
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.api.security import LOOPBACK_HOSTS, loopback_principal
from mlg.app.fleet import Specs, WantedFleet
from mlg.app.happenings import Happenings
from mlg.app.healing import monitoring_of
from mlg.app.manifests import Manifests
from mlg.app.operations import ControlOperations
from mlg.app.parts import Parts
from mlg.app.pipelines import Pipelines
from mlg.app.rollout_watch import ControlWatch
from mlg.app.seals import Seals
from mlg.app.serve_api import ApiServer, start_api
from mlg.app.staging import Staging
from mlg.app.supervise import Supervisor, end_all
from mlg.app.tail import Tail
from mlg.core.errors import BackendError, LifecycleError
from mlg.graph.record import Recorder
from mlg.telemetry.logs import setup_logs
from mlg.workflows import durable
from mlg.workflows.release import Release, ReleasePorts
from mlg.workflows.state import read_wanted
from mlg.workflows.train import Train, TrainPorts

GATEWAYS = ("gateway-1", "gateway-2")
ANCHOR_EVERY_S = 600.0
SERVICES_S = 20.0
"""How long `up` waits for services that served before."""

logger = logging.getLogger("mlg.control")


def build(home: Path, control_port: int, gateway_port: int) -> Parts:
    """Return the parts of a control plane over this home, nothing started yet.

    Raises:
        BackendError: A store cannot be opened.
    """
    files, clock = LocalFiles(home), SystemClock()
    ids = Uuid7Ids(clock)
    store, reader = (
        SqliteGraph(home / "graph.sqlite3", clock),
        SqliteGraphReader(home / "graph.sqlite3"),
    )
    artifacts = LocalArtifacts(home / "artifacts")
    launcher = ProcessLauncher(files, clock, ids, home)
    manifests = Manifests(home, files, artifacts, store)
    viewer_key(files)
    anchor_key(files)

    def recorder(actor: str) -> Recorder:
        spec = manifests.spec()
        return Recorder(
            project=spec.project if spec else "mlg", actor=actor, clock=clock, ids=ids
        )

    network = HttpNetwork()
    supervisor: list[Supervisor] = []
    router = EnvoyRouter(home / "gateway", lambda: _admins(supervisor), clock, network)
    router.prepare(GATEWAYS, gateway_port)
    happenings = Happenings(files, store, recorder)
    supervisor.append(
        Supervisor(
            launcher=launcher,
            router=router,
            network=network,
            clock=clock,
            spec_for=Specs(home, files, artifacts, gateway_port, manifests.spec),
            record=happenings,
            admin_url=lambda gateway: admin_url(home / "gateway", gateway),
            gateways=len(GATEWAYS),
            gateway_url=f"http://127.0.0.1:{gateway_port}",
            placed=router.placed(),
        )
    )
    fleet = WantedFleet(files, lambda: supervisor[0], clock, manifests.spec)

    def services() -> tuple[str, ...]:
        spec = manifests.spec()
        return tuple(sorted(spec.services)) if spec else ()

    durable.configure(home / "workflows.sqlite3")
    tail = Tail(home, files, clock, services)
    watch = ControlWatch(
        home=home,
        files=files,
        clock=clock,
        manifests=manifests,
        router=router,
        supervisor=lambda: supervisor[0],
        network=network,
        tail=tail,
        staging=Staging(artifacts, lambda: supervisor[0], network),
    )
    release = Release(
        ReleasePorts(
            files=files,
            fleet=fleet,
            store=store,
            clock=clock,
            watch=watch,
            recorder=lambda: recorder("workflow:release"),
        )
    )
    train = Train(
        TrainPorts(
            files=files,
            artifacts=artifacts,
            runner=ProcessSteps(store=home / "artifacts", work=home / "work", clock=clock),
            store=store,
            clock=clock,
            recorder=lambda: recorder("workflow:train"),
            plan=Pipelines(artifacts),
        ),
        release,
    )

    monitoring = monitoring_of(
        home=home,
        files=files,
        clock=clock,
        ids=ids,
        artifacts=artifacts,
        store=store,
        manifests=manifests,
        train=train,
        recorder=recorder,
    )

    def deployment(service: str, version: str) -> str:
        found = [v for v in read_wanted(files, service).versions if v.version == version]
        return found[0].deployment if found else ""

    return Parts(
        home=home,
        gateway_port=gateway_port,
        control_port=control_port,
        files=files,
        clock=clock,
        ids=ids,
        store=store,
        reader=reader,
        artifacts=artifacts,
        launcher=launcher,
        router=router,
        supervisor=supervisor[0],
        fleet=fleet,
        manifests=manifests,
        seals=Seals(
            home, files, artifacts, store, lambda: recorder("system:control"), deployment
        ),
        tail=tail,
        train=train,
        monitoring=monitoring,
        ended=threading.Event(),
        recorder=recorder,
    )


def _admins(supervisor: list[Supervisor]) -> tuple[str, ...]:
    """Return the gateways' admin addresses; the router is made before the supervisor."""
    return supervisor[0].gateway_admins() if supervisor else ()


def serve(home: Path, control_port: int, gateway_port: int) -> None:
    """Run the control plane until it is ended.

    Raises:
        LifecycleError: A port is in use, a store cannot be opened, or another one runs here.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "control.lock").open("w") as lock:
        _take(lock, home)
        control_port, gateway_port = _ports(home, control_port, gateway_port)
        parts = build(home, control_port, gateway_port)
        asked = _signals(parts)
        operations = ControlOperations(parts)
        adopted = parts.supervisor.adopt()
        if not adopted:
            parts.router.forget()
            parts.supervisor.forget_placed()
        try:
            server = _start(parts, operations)
        except LifecycleError:
            parts.supervisor.close()
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
        parts.supervisor.close()
        if signal.SIGINT in asked:
            end_all(parts.launcher)
            operations.anchor()
        parts.tail.stop()
        parts.monitoring.stop()
        server.stop()
        closing.join()
        parts.store.close()
        parts.reader.close()
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
                reader=parts.reader,
                store=parts.store,
                operations=operations,
                clock=parts.clock,
            ),
            allowed_hosts=LOOPBACK_HOSTS,
            principal_for=loopback_principal(getpass.getuser()),
        ),
        port=parts.control_port,
    )
    parts.supervisor.start()
    parts.fleet.refresh()
    durable.launch()
    parts.tail.start()
    parts.monitoring.start()
    try:
        _await_gateways(parts)
    except LifecycleError:
        server.stop()
        raise
    _await_services(parts)
    return server


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
        sys.stderr.flush()
        os._exit(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
