"""Whether containers can be started here, and why not: one trial, once a session."""

import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from mlg.adapters.compose_engine import compose_command, find_engine
from mlg.core.errors import LifecycleError
from mlg.render.compose import Stack, StackService, compose
from mlg.render.text import yaml_text

BUSYBOX = Path("/bin/busybox")
TRIAL = "localhost/mlg-trial:1"


@lru_cache(maxsize=1)
def no_containers() -> str:
    """Return why no stack can be started on this machine; empty: one was.

    The trial's image is nothing but a static busybox, built without any registry.
    """
    if not BUSYBOX.exists():
        return "busybox-static is not installed"
    try:
        compose_command()
        with find_engine() as engine, tempfile.TemporaryDirectory() as folder:
            if why := build_trial():
                return why
            one = StackService(
                name="trial", image=TRIAL, entrypoint=("/busybox",), command=("sleep", "9")
            )
            stack = Stack(services=(one,), labels=(("mlg.trial", "1"),))
            (Path(folder) / "docker-compose.yaml").write_text(yaml_text([compose(stack)]))
            try:
                engine.up(Path(folder), "mlg-trial", 60.0)
            finally:
                engine.remove("mlg.trial=1", "mlg-trial")
    except LifecycleError as error:
        return str(error)
    return ""


def build_trial() -> str:
    """Build the trial's image by podman or Docker; return why that failed, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "busybox").write_bytes(BUSYBOX.read_bytes())
        (context / "busybox").chmod(0o755)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /busybox\n")
        said = ""
        for program in ("podman", "docker"):
            try:
                done = subprocess.run(
                    [program, "build", "--tag", TRIAL, folder],
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
            except OSError as error:
                said = str(error)
                continue
            if done.returncode == 0:
                return ""
            said = done.stderr.strip()
        return f"no image could be built: {said[-300:]}"
