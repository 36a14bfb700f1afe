"""`mlg bench`: measures a room beside its peers, from a checkout."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import typer

from mlg.cli.instance import JsonOption, reported
from mlg.core.errors import BackendError, NotFoundError

BENCHES: Final = {"graph": "graph.py", "chaos": "chaos.py"}
"""Script in `benchmarks/` by name."""


def bench(
    name: str = typer.Argument(help=f"What to measure: {', '.join(BENCHES)}."),
    nodes: int = typer.Option(
        1_000_000, help="graph: size of the made-up lifecycle.", min=5_000
    ),
    no_peers: bool = typer.Option(False, "--no-peers", help="graph: leave the peers out."),
    only: list[str] = typer.Option([], "--only", help="chaos: this fault; again for more."),
    as_json: bool = JsonOption,
) -> None:
    """Measure a room beside its peers, or what viewers get under each fault; needs a checkout.

    Example: mlg bench graph --nodes 100000
    Example: mlg bench chaos --only kill-one
    """
    with reported(as_json):
        script = script_of(name, Path(__file__).resolve().parents[3])
        command = [sys.executable, str(script), *(["--json"] if as_json else [])]
        if name == "graph":
            command += ["--nodes", str(nodes), *(["--no-peers"] if no_peers else [])]
        else:
            command += [part for one in only for part in ("--only", one)]
        done = subprocess.run(command, check=False)
        if done.returncode:
            raise BackendError(
                f"the benchmark ended with {done.returncode}",
                where=f"benchmarks/{script.name}",
                hint="what it printed above tells why.",
            )


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
