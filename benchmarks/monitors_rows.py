"""Rows, bars and children of `mlg bench monitors`."""  # noqa: INP001 - a script, no package

import json
import os
import statistics
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import psutil

HERE = Path(__file__).parent
SAMPLE_S = 0.02
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)

Row = dict[str, Any]


@dataclass(slots=True)
class Report:
    """What a part found: rows, and bars that were met or missed."""

    rows: list[Row] = field(default_factory=list)
    bars: list[Row] = field(default_factory=list)

    def row(self, work: str, subject: str, value: float, unit: str, runs: int) -> None:
        """Add a row."""
        self.rows.append(
            {"work": work, "subject": subject, "value": value, "unit": unit, "runs": runs}
        )

    def bar(self, what: str, met: bool | None, found: str) -> None:
        """Add a bar; None where it was not measured."""
        self.bars.append({"what": what, "met": met, "found": found})

    def compared(self) -> list[Row]:
        """Return rows with their ratio to mlg's of the same work, None without one."""
        ours = {row["work"]: row["value"] for row in self.rows if row["subject"] == "mlg"}
        return [
            {**row, "ratio_to_mlg": row["value"] / ours[row["work"]] if ours.get(row["work"]) else None}
            for row in self.rows
        ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended."""

    code: int
    out: str
    err: str
    wall_s: float
    peak_mb: float
    """Highest resident set, of the whole tree, sampled; the kernel's own mark for its top."""

    def document(self) -> Any:
        """Return the document on its last line; raises ValueError without one."""
        lines = self.out.strip().splitlines()
        if not lines:
            raise ValueError(f"ended with {self.code}: {self.err.strip()[-600:]}")
        return json.loads(lines[-1])


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def ours() -> dict[str, str]:
    """Return the environment in which a child imports this checkout."""
    path = os.pathsep.join(
        filter(None, (os.environ.get("PYTHONPATH"), str(HERE.parent / "src")))
    )
    return {**os.environ, "PYTHONPATH": path}


def run(command: Sequence[str], *, env: dict[str, str], folder: Path, limit_s: float) -> Ended:
    """Run a child and watch its memory.

    The peak that `wait4` tells would begin with this process's own, since a child shares its
    memory until it starts its program; so the kernel's mark of the child is read instead.

    Raises:
        TimeoutError: It did not end; it was ended.
    """
    out, err = folder / "out.txt", folder / "err.txt"
    began, peak = perf_counter(), 0.0
    with out.open("w") as to, err.open("w") as told:
        child = subprocess.Popen(command, env=env, stdout=to, stderr=told, cwd=folder)
        while child.poll() is None:
            peak = max(peak, _resident_mb(child.pid))
            if perf_counter() - began > limit_s:
                child.kill()
                child.wait()
                raise TimeoutError(f"did not end within {limit_s:.0f} s")
            sleep(SAMPLE_S)
    wall_s = perf_counter() - began
    return Ended(
        code=child.returncode, out=out.read_text(), err=err.read_text(), wall_s=wall_s,
        peak_mb=peak,
    )  # fmt: skip


def _resident_mb(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
        marks = [int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")]
        below = psutil.Process(pid).children(recursive=True)
        rest = sum(one.memory_info().rss for one in below) / 1e6
    except (OSError, psutil.Error):
        return 0.0
    return (marks[0] * 1024e-6 if marks else 0.0) + rest


def python_of(name: str, requires: Sequence[str]) -> Path:
    """Return the interpreter of a peer, installed where it is not.

    Raises:
        subprocess.SubprocessError: It cannot be had; `stderr` tells why.
    """
    from mlg.adapters.source_datasets import cache_root

    home = cache_root().parent / "bench" / f"monitors-{name}"
    python, wanted = home / "bin" / "python", "\n".join(requires)
    ready = home / "ready"
    if not ready.exists() or ready.read_text() not in ("", wanted):
        say(f"installing {', '.join(requires)} ...")
        venv.create(home, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "-q", *requires]
        subprocess.run(install, check=True, timeout=1_200, capture_output=True, text=True)
        ready.write_text(wanted)
    return python


def reason(error: Exception) -> str:
    """Return why a subject was left out, in a line: the last one with a word in it."""
    text = str(getattr(error, "stderr", "") or error)
    lines = [line.strip("│ ") for line in text.splitlines() if any(map(str.isalpha, line))]
    return lines[-1][:300] if lines else type(error).__name__


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return float(statistics.median(values))
