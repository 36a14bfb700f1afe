"""The instance's commands: up, down, status, restart."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import typer

from mlg.cli.instance import (
    FileOption,
    HomeOption,
    JsonOption,
    connect,
    control_of,
    err,
    home_of,
    out,
    reported,
    show,
    table,
)
from mlg.core.errors import BackendError, LifecycleError, NotFoundError

READY_S = 90.0


def up(
    wait: bool = typer.Option(False, "--wait", help="Detach, and return when it is ready."),
    port: int | None = typer.Option(
        None, "--port", help="Port of the control plane; 0 takes a free one. Default 7070."
    ),
    gateway_port: int | None = typer.Option(
        None, "--gateway-port", help="Port of the gateway. Default 7080, or free with --port 0."
    ),
    file: Path = FileOption,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Start the control plane, and whatever the applied manifest wants running.

    Processes of an earlier control plane that still answer are adopted. Ctrl-C ends all.

    Example: mlg up --wait --port 0
    """
    folder = home_of(home, file)
    control_port = 7070 if port is None else port
    viewer_port = gateway_port if gateway_port is not None else (0 if port == 0 else 7080)
    with reported(as_json):
        _refuse_second(folder)
        if not wait:
            from mlg.app.control import serve

            serve(folder, control_port, viewer_port)
            return
        started = start_detached(folder, control_port, viewer_port)
        show(
            started,
            as_json,
            lambda done: out.print(
                f"control plane http://127.0.0.1:{done['port']}  "
                f"gateway http://127.0.0.1:{done['gateway_port']}",
                soft_wrap=True,
            ),
        )


def start_detached(folder: Path, port: int, gateway_port: int) -> dict[str, Any]:
    """Start a control plane in a session of its own; return `control.json` when it answers.

    Raises:
        BackendError: It ended, or did not answer in time; its own words are in the message.
    """
    (folder / "run").mkdir(parents=True, exist_ok=True)
    log = folder / "run" / "control.log"
    argv = [
        sys.executable, "-m", "mlg.app.control", "--home", str(folder),
        "--port", str(port), "--gateway-port", str(gateway_port),
    ]  # fmt: skip
    with log.open("ab") as sink:
        start = sink.tell()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    deadline = time.monotonic() + READY_S
    try:
        with err.status("starting the control plane and two gateways"):
            while time.monotonic() < deadline:
                control = control_of(folder)
                if control is not None and control["pid"] == process.pid and control["ready"]:
                    return control
                if process.poll() is not None:
                    raise _child_error(log, start)
                time.sleep(0.1)
    except KeyboardInterrupt:
        process.terminate()
        process.wait(10)
        raise
    process.terminate()
    raise BackendError(
        "the control plane did not answer in time", where=str(log), hint="read it."
    )


def _child_error(log: Path, start: int) -> LifecycleError:
    with log.open("rb") as source:
        source.seek(start)
        lines = source.read().decode(errors="replace").strip().splitlines()
    for line in reversed(lines):
        if line.startswith('{"error"'):
            told = json.loads(line)
            kinds = {cls.code: cls for cls in _subclasses(LifecycleError)}
            kind = kinds.get(told["error"], BackendError)
            return kind(told["what"], where=told["where"], hint=told["hint"])
    last = lines[-1] if lines else "no output"
    return BackendError(
        f"the control plane ended: {last}", where=str(log), hint="read the log."
    )


def _subclasses(cls: type[LifecycleError]) -> list[type[LifecycleError]]:
    direct = cls.__subclasses__()
    return [*direct, *(deep for item in direct for deep in _subclasses(item))]


def _refuse_second(folder: Path) -> None:
    control = control_of(folder)
    if control is not None and _answers(folder):
        raise BackendError(
            f"a control plane (pid {control['pid']}) already runs for this home",
            where=str(folder),
            hint="use it, or end it first: mlg down",
        )


def _answers(folder: Path) -> bool:
    try:
        connect(folder, timeout_s=5).status()
    except LifecycleError:
        return False
    return True


def down(
    file: Path = FileOption, home: Path | None = HomeOption, as_json: bool = JsonOption
) -> None:
    """End every process of the instance, also when the control plane is dead.

    Example: mlg down
    """
    folder = home_of(home, file)
    with reported(as_json):
        document = {"stopped": end_all(folder)}
        show(document, as_json, lambda done: out.print(f"{done['stopped']} processes ended"))


def end_all(folder: Path) -> int:
    """End the control plane and every recorded process; return how many there were."""
    control = control_of(folder)
    ended = 0
    if control is not None:
        with contextlib.suppress(LifecycleError):  # dead or hung: ended by its pid below
            ended += len(connect(folder, timeout_s=30).down()["stopped"])
        ended += _end_pid(control)
    from mlg.cli.processes import launcher_of

    # what a game day started lies in homes of its own
    for place in (folder, *sorted((folder / "gameday").glob("*/"))):
        launcher = launcher_of(place)
        for state in launcher.state():
            ended += int(state.alive)
            launcher.stop(state.id, grace_s=3.0)
    (folder / "control.json").unlink(missing_ok=True)
    return ended


def _end_pid(control: dict[str, Any]) -> int:
    try:
        process = psutil.Process(control["pid"])
        if abs(process.create_time() - control["started"]) > 0.5:
            return 0
        if not _ended(process, 10.0):
            process.terminate()
            if not _ended(process, 10.0):
                process.kill()
    except psutil.NoSuchProcess:
        return 1
    return 1


def _ended(process: psutil.Process, within_s: float) -> bool:
    """Wait until a process has ended; one that nobody has reaped yet has."""
    deadline = time.monotonic() + within_s
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def status(
    file: Path = FileOption, home: Path | None = HomeOption, as_json: bool = JsonOption
) -> None:
    """Show services, versions, ports and processes; exit code 3 when nothing runs.

    Example: mlg status --json
    """
    folder = home_of(home, file)
    with reported(as_json):
        from mlg.cli.processes import status_of

        document = status_of(folder)
        if not document["pids"]:
            raise NotFoundError("nothing runs here", where=str(folder), hint="mlg up --wait")
        show(document, as_json, _print_status)


def _print_status(found: dict[str, Any]) -> None:
    ports = found["ports"]
    out.print(
        f"control http://127.0.0.1:{ports['control']}  gateway http://127.0.0.1:{ports['gateway']}"
    )
    if found.get("frozen"):
        out.print("frozen: only rollbacks act; mlg freeze --lift lets everything go on")
    table(
        "services",
        ["service", "live", "versions", "health"],
        [
            [
                s["service"],
                "yes" if s["live"] else "no",
                ", ".join(f"{v['version']} {v['share_bp'] / 100:g} %" for v in s["versions"]),
                s["health"],
            ]
            for s in found["services"]
        ],
    )
    for service in found["services"]:
        if why := service.get("reason"):
            out.print(f"{service['service']} is degraded: {why}", style="yellow", markup=False)
        for why in service.get("waits_for", ()):
            out.print(f"{service['service']} waits: {why}", style="yellow", markup=False)
        for version in service["versions"]:
            if version.get("refused"):
                out.print(
                    f"{service['service']} {version['version']} is refused: "
                    f"{version['refused']}; mlg restart {service['service']} tries again",
                    style="red",
                    markup=False,
                )
    table("processes", ["id", "pid"], [[k, v] for k, v in found["pids"].items()])


def restart(
    service: str = typer.Argument("", help="Name of the service."),
    gateways: bool = typer.Option(
        False, "--gateways", help="The gateways instead, by a hot restart each."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Replace the replicas of a service one by one, without a failed request.

    Example: mlg restart home

    Example: mlg restart --gateways
    """
    with reported(as_json):
        document = connect(home_of(home)).restart(service, gateways=gateways)
        named = service or "gateways"
        show(document, as_json, lambda done: out.print(f"{named}: {done['state']}"))
