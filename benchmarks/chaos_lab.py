"""A whole small instance to break: the tiny project with two replicas and two gateways."""  # noqa: INP001

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaos_load import OpenLoop

CHECKOUT = Path(__file__).resolve().parents[1]
TINY = CHECKOUT / "tests" / "projects" / "tiny"
SERVICE = "front"
_SERVICE = """
  front:
    model: list
    replicas: 2
    clock: request
    confidence: {abstain_below: 0.01, explore: 0%}
    rollout:
      staging: {window: always, tests: [contract, golden]}
      canary: {steps: [20%, 100%], min_units: UNITS, max_hold: 3650d}
      gates: {errors: {alpha: 0.01}}
      swap_back: 1h
    rollback:
      error_rate: {max: 5%}
"""
HELD = 1_000_000
"""Units that no canary of ours reaches: it stays at its first step until it is taken back."""


_FIRST_DAYS = 7
"""`popularity_days` of the version that serves first: the default."""


class Lab:
    """Runs `mlg` on one home as a user would, and knows its processes."""

    def __init__(self, folder: Path, rate_hz: float) -> None:
        self.folder, self.home, self.rate_hz = folder, folder / ".mlg", rate_hz
        self.env = {**os.environ, "MLG_HOME": str(self.home), "COLUMNS": "200"}
        packages = [str(CHECKOUT / "src"), os.environ.get("PYTHONPATH", "")]
        self.env["PYTHONPATH"] = os.pathsep.join(filter(None, packages))
        self._days = 10
        """The data are ten days long: each shorter span is another list, so another version."""
        self.newest = ""
        """The version that was trained last by `next_version`."""

    def mlg(self, *args: str) -> Any:
        """Run a command and return its JSON document; raises as `plain` does."""
        return json.loads(self.plain(*args, "--json"))

    def up(self) -> None:
        """Start the control plane, and what it finds missing."""
        self.plain("up", "--wait", "--port", "0")

    def plain(self, *args: str) -> str:
        """Run a command and return what it printed.

        Raises:
            RuntimeError: It failed; with what it said.
        """
        done = subprocess.run(
            [sys.executable, "-m", "mlg", *args],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"mlg {' '.join(args)}: {done.stdout} {done.stderr}")
        return done.stdout

    def record(self, name: str) -> dict[str, Any]:
        """Return what the launcher keeps of a process."""
        return json.loads((self.home / "run" / f"{name}.json").read_bytes())

    def pids(self, prefix: str) -> dict[str, int]:
        """Return the pids of the processes whose id begins so."""
        found = sorted((self.home / "run").glob(f"{prefix}*.json"))
        return {path.stem: int(json.loads(path.read_bytes())["pid"]) for path in found}

    def control(self) -> dict[str, Any]:
        """Return what the control plane tells of itself."""
        return json.loads((self.home / "control.json").read_bytes())

    def rollout(self) -> dict[str, Any]:
        """Return where the rollout stands, by its file; empty before the first."""
        path = self.home / "services" / SERVICE / "rollout.json"
        return json.loads(path.read_bytes()) if path.exists() else {}

    def artifact(self) -> Path:
        """Return the folder of the artifact that serves at 100 %."""
        told = json.loads((self.home / "services" / SERVICE / "wanted.json").read_bytes())
        digest = next(v["artifact"] for v in told["versions"] if v["bp"] == 10_000)
        return next((self.home / "artifacts").rglob(digest))

    def faults(self, wrong: dict[str, Any]) -> None:
        """Say what is wrong with which version; nothing: all is well."""
        path = self.home / "services" / SERVICE / "faults.json"
        if not wrong:
            path.unlink(missing_ok=True)
            return
        path.with_suffix(".new").write_text(json.dumps(wrong))
        path.with_suffix(".new").replace(path)

    def next_version(self, units: int) -> str:
        """Train another version, and return its name as soon as its rollout is on its way."""
        self._days -= 2 if self._days == _FIRST_DAYS + 1 else 1
        self.manifest(units, f"seed: 1\n        params: {{popularity_days: {self._days}}}")
        self.mlg("apply", "--yes")
        self.newest = str(self.mlg("run", "list", "--follow")["version"])
        return self.newest

    def manifest(self, units: int, train: str = "seed: 1") -> None:
        """Write the manifest."""
        text = (TINY / "mlg.yaml").read_text().split("services:")[0] + "services:"
        text = text.replace("seed: 1", train) + _SERVICE.replace("UNITS", str(units))
        (self.folder / "mlg.yaml").write_text(text)

    def load(self) -> OpenLoop:
        """Return viewers of the service, not started."""
        port = int(self.control()["gateway_port"])
        return OpenLoop(port, f"/v1/services/{SERVICE}/recommend", self.rate_hz)

    def whole(self) -> bool:
        """Whether both replicas, both gateways and the fallback server run and are ready."""
        told = self.mlg("status")
        service = told["services"][0]
        kinds = [name.split("-")[0] for name in told["pids"]]
        there = kinds.count("gateway") == 2 and kinds.count("fallback") == 1
        return bool(there and service["live"] and service["health"] == "healthy")


@contextmanager
def lab(
    folder: Path, rate_hz: float, home_mb: int = 160, kind: type[Lab] = Lab
) -> Iterator[Lab]:
    """Bring up an instance that serves a first version; end it and what it left.

    Its home is a file system of its own where this user may mount one, so that it can be
    filled; `Lab.home` lies on the machine's disk otherwise.
    """
    made = kind(folder, rate_hz)
    shutil.copytree(TINY, folder, dirs_exist_ok=True)
    rows = ["viewer,item,stars,second"]
    for n in range(1_500):
        viewer, item = n * 7 % 60, (n * n + n // 60) % 30
        rows.append(f"{viewer},{item},{1 + (viewer + item) % 5},{1_700_000_000 + n * 600}")
    (folder / "plays.csv").write_text("\n".join(rows) + "\n")
    sizes = [f"{item},{item % 3}" for item in range(30)]
    (folder / "things.csv").write_text("\n".join(["item,size", *sizes]) + "\n")
    made.manifest(HELD)
    made.home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={home_mb}m", "tmpfs", str(made.home)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        made.up()
        made.mlg("apply", "--yes")
        made.mlg("run", "list", "--follow")
        until(made.whole, 60, "the instance to be whole")
        yield made
    finally:
        made.faults({})
        subprocess.run(
            [sys.executable, "-m", "mlg", "down"],
            cwd=folder, env=made.env, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        if mounted:
            subprocess.run(["umount", "-l", str(made.home)], check=True)


def until(fact: Callable[[], Any], deadline_s: float, what: str) -> Any:
    """Return the first true value of the fact.

    Raises:
        RuntimeError: There was none in time.
    """
    end_s = time.monotonic() + deadline_s
    while not (found := fact()):
        if time.monotonic() > end_s:
            raise RuntimeError(f"waited {deadline_s:g} s for {what}")
        time.sleep(0.05)
    return found
