"""podman, where it starts containers; else the reason why not."""

import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
"""podman's own defaults want more than this machine's hard limits."""


def podman(*args: str, timeout: float = 60) -> str:
    """Return what podman prints; fails the test where it fails."""
    done = subprocess.run(
        ["podman", *args], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, (args, done.returncode, done.stdout, done.stderr)
    return done.stdout.strip()


@lru_cache(maxsize=1)
def no_podman() -> str:
    """Return why no container can be started here; empty: one was, of nothing but busybox."""
    if shutil.which("podman") is None:
        return "podman is not installed"
    if not BUSYBOX.exists():
        return "busybox-static is not installed, which the trial container runs"
    trial = "localhost/mlg-engine-trial:1"
    try:
        tar = subprocess.run(
            ["tar", "-C", str(BUSYBOX.parent), "-c", BUSYBOX.name],
            capture_output=True,
            check=True,
        )
        for words, told in (
            (["import", "-", trial], tar.stdout),
            (["run", "--rm", *LIMITS, trial, "/busybox", "true"], b""),
        ):
            done = subprocess.run(
                ["podman", *words], input=told, capture_output=True, timeout=60, check=False
            )
            if done.returncode != 0:
                return (
                    f"podman {words[0]}: {done.stderr.decode(errors='replace').strip()[-200:]}"
                )
    except (OSError, subprocess.SubprocessError) as error:
        return f"podman: {error}"
    return ""
