"""`mlg bench`: measures a room beside its peers, from a checkout."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

from mlg.cli.instance import JsonOption, reported
from mlg.core.errors import BackendError, NotFoundError

BENCHES: Final = {
    "chaos": "chaos.py",
    "gateway": "gateway.py",
    "graph": "graph.py",
    "monitors": "monitors.py",
    "releases": "releases.py",
    "interleaving": "interleaving.py",
    "serving": "serving.py",
}
"""Script in `benchmarks/` by name."""


def bench(
    context: typer.Context,
    name: str = typer.Argument(help=f"What to measure: {', '.join(BENCHES)}."),
    as_json: bool = JsonOption,
) -> None:
    """Measure a room beside its peers, or what viewers get under each fault; needs a checkout.

    Further options are the benchmark's own: `mlg bench graph -- --help` lists them.

    Example: mlg bench graph --nodes 100000 --no-peers

    Example: mlg bench serving --rounds 3 --only mlg --only floor

    Example: mlg bench gateway --only swaps

    Example: mlg bench releases --runs 1000 --only aa

    Example: mlg bench chaos --only kill-one

    Example: mlg bench interleaving --runs 50

    Example: mlg bench monitors --only detection --seeds 2 --rows 50000
    """
    with reported(as_json):
        script = script_of(name, Path(__file__).resolve().parents[3])
        command = [sys.executable, str(script), *context.args]
        command += ["--json"] if as_json else []
        code = ended(command)
        if code:
            raise BackendError(
                f"the benchmark ended with {code}",
                where=f"benchmarks/{script.name}",
                hint="what it printed above tells why.",
            )


def ended(command: Sequence[str]) -> int:
    """Run a command to its end and return its exit code.

    A terminal tells Ctrl-C to the command as well, and the command may have an instance to
    end: it is waited for, where `subprocess.run` would kill it after a quarter of a second.

    Raises:
        KeyboardInterrupt: Somebody interrupted, and the command has ended.
    """
    interrupted = False
    with subprocess.Popen(command) as process:
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return code


def script_of(name: str, checkout: Path) -> Path:
    """Return the script of a benchmark.

    Raises:
        NotFoundError: There is no such benchmark, or this is no checkout.
    """
    known = ", ".join(BENCHES)
    if name not in BENCHES:
        raise NotFoundError(f"no benchmark {name!r}", where="bench", hint=f"there is: {known}")
    script = checkout / "benchmarks" / BENCHES[name]
    if not script.exists():
        raise NotFoundError(
            "benchmarks are not part of an installed mlg",
            where="benchmarks/",
            hint="clone the repository and run mlg from there.",
        )
    return script
