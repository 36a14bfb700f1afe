"""What runs for a home, by its process records."""

from pathlib import Path
from typing import Any

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.launcher_process import ProcessLauncher
from mlg.cli.instance import connect, control_of
from mlg.core.errors import LifecycleError


def launcher_of(home: Path) -> ProcessLauncher:
    """Return a launcher over the instance's process records."""
    return ProcessLauncher(LocalFiles(home), SystemClock(), Uuid7Ids(SystemClock()), home)


def status_of(home: Path) -> dict[str, Any]:
    """Return the control plane's status, or what the process records say without one."""
    control = control_of(home)
    if control is not None:
        try:
            return connect(home).status()
        except LifecycleError:
            pass
    if not home.exists():
        return {"services": [], "ports": {}, "pids": {}}
    states = [state for state in launcher_of(home).state() if state.alive]
    services = sorted({state.service for state in states if state.service})
    gateway = next((state.port for state in states if state.kind == "gateway"), 0)
    return {
        "services": [
            {
                "service": name,
                "live": False,
                "versions": [
                    {"version": version, "share_bp": 0}
                    for version in sorted(
                        {s.version for s in states if s.service == name and s.version}
                    )
                ],
                "health": "unsupervised",
            }
            for name in services
        ],
        "ports": {"gateway": gateway, "control": 0},
        "pids": {state.id: state.pid for state in states},
    }
