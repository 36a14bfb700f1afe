"""Answers a second, on one core, from the log's segment files on disk to verdicts.

    python monitors_streaming.py mlg|json|numpy FOLDER EVENTS

prints one JSON document, pinned to one processor. `monitors_stream.py` writes the log as a
replica does and reads it as the monitor does: frames, columns, windows, charts, slices,
diagnosis. JSON events are told apart: a line each, decoded, and from there on the same. The
peers do less and so are no like for like: river takes ready floats, one event at a time, and
numpy a ready matrix by the thousand.
"""  # noqa: INP001 - a script, no package

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from monitors_river import REQUIRES
from monitors_rows import (
    HERE,
    ONE_THREAD,
    Report,
    Row,
    median,
    ours,
    python_of,
    reason,
    run,
    say,
)

FEATURES, BATCH, LEAST_PER_S = 50, 1_000, 200_000.0
ENOUGH = 200_000
LIMIT_S = 1_200.0
WORK = "streaming, 50 features, one core"


def streaming(asked: argparse.Namespace) -> Report:
    """Return answers a second of each subject, medians of interleaved rounds."""
    report = Report()
    if not (HERE / "monitors_stream.py").exists():
        report.bar(WORK, None, "benchmarks/monitors_stream.py is not there")
        return report
    rounds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=asked.dir) as place:
        folder = Path(place)
        say(f"streaming: writing {asked.events:,} answers ...")
        _child("write", folder, asked.events)
        for number in range(asked.rounds):
            for what in ("mlg", "json", *(() if asked.no_peers else ("numpy", "river"))):
                try:
                    found = (
                        _river(folder, asked.events)
                        if what == "river"
                        else _child(what, folder, asked.events)
                    )
                except (
                    OSError,
                    subprocess.SubprocessError,
                    RuntimeError,
                    ValueError,
                    TimeoutError,
                ) as error:
                    report.bar(
                        f"streaming, {what}",
                        False if what == "mlg" else None,
                        f"left out: {reason(error)}",
                    )
                    continue
                say(f"round {number + 1}: {found}")
                for name, per_s in found.items():
                    rounds.setdefault(name, []).append(per_s)
    for name, found in rounds.items():
        # the first name of mlg's is the one that peers are compared with
        work, subject = (
            (WORK, name) if name.startswith(("numpy", "river")) else (f"{WORK}, {name}", "mlg")
        )
        report.row(work, subject, median(found), "events/s", len(found))
        if name.startswith("windows"):
            report.row(
                WORK,
                "mlg" if "1000 events" in name else f"mlg {name}",
                median(found),
                "events/s",
                len(found),
            )
            enough = asked.events >= ENOUGH and len(found) >= 3
            report.bar(
                f"{WORK}, {name}: at least {LEAST_PER_S:,.0f} a second",
                median(found) >= LEAST_PER_S if enough else None,
                f"{median(found):,.0f}" + ("" if enough else " (too short: no verdict)"),
            )  # fmt: skip
    return report


def _child(what: str, folder: Path, events: int) -> dict[str, float]:
    command = [
        sys.executable,
        str(HERE / "monitors_streaming.py"),
        what,
        str(folder),
        str(events),
    ]
    ended = run(command, env=ours() | ONE_THREAD, folder=folder, limit_s=LIMIT_S)
    if ended.code:
        raise RuntimeError(f"ended with {ended.code}: {ended.err.strip()[-600:]}")
    return ended.document()


def _river(folder: Path, events: int) -> dict[str, float]:
    python = python_of("river", REQUIRES)
    many = max(1_000, events // 50)  # a pure loop: its rate does not depend on how long
    command = [str(python), str(HERE / "monitors_river.py"), "stream", str(many), str(FEATURES)]
    ended = run(command, env={**ours(), "PYTHONPATH": ""}, folder=folder, limit_s=LIMIT_S)
    return {
        f"river {name}": one["events"] / one["seconds"]
        for name, one in ended.document().items()
    }


def _written(folder: Path, events: int) -> dict[str, float]:
    """Write the log, and the same answers as lines of JSON."""
    from mlg.serving.log import decode_prediction

    stream = importlib.import_module("monitors_stream")
    stream.write(folder / "log", events)
    many = max(1_000, events // 10)
    with (folder / "events.jsonl").open("w") as lines:
        for record in stream.records(many):
            lines.write(json.dumps(decode_prediction(record.payload)) + "\n")
    return {}


def _ours(folder: Path, events: int) -> dict[str, float]:
    """Read the log once as files are read first, then time each sort of window."""
    from mlg.manifest.specs_watch import WindowSpec

    stream = importlib.import_module("monitors_stream")
    found = {}
    for name, window in (
        ("windows of 1000 events", WindowSpec(events=1_000)),
        ("windows of 2 s", WindowSpec(seconds=2.0)),
    ):
        once = stream.streamed(folder / "log", window=window)
        if once.answers != events:
            raise RuntimeError(f"{once.answers} answers of {events}")
        if once.windows:  # a short log closes no window of seconds
            found[name] = once.answers / once.wall_s
    return found


def _json(folder: Path, events: int) -> dict[str, float]:
    """Decode lines and observe them, by batches of 1,000, with windows of 1,000 events."""
    import msgspec

    from mlg.manifest.specs_watch import MonitorSpec, WindowSpec
    from mlg.monitors.monitor import new_monitor, observe, plan_of
    from mlg.monitors.windows import layout_of

    del events
    stream = importlib.import_module("monitors_stream")
    plan = plan_of(MonitorSpec(watch=stream.SERVICE, window=WindowSpec(events=1_000)))
    own = stream.names(FEATURES)
    levels = dict.fromkeys(own[-stream.TEXTS :], stream.LEVELS)
    layouts = {stream.VERSION: layout_of(stream.VERSION, own, levels)}
    monitor, many = new_monitor(plan), 0
    began = perf_counter()
    with (folder / "events.jsonl").open("rb") as lines:
        rows: list[Row] = []
        for line in lines:
            rows.append(msgspec.json.decode(line))
            if len(rows) == BATCH:
                monitor = observe(monitor, rows, [], plan=plan, layouts=layouts).monitor
                many, rows = many + len(rows), []
    return {"JSON events": many / (perf_counter() - began)}


def _numpy(folder: Path, events: int) -> dict[str, float]:
    """Means of 1,000 ready rows, EWMA and CUSUM of each feature; no log, bins, slices, verdict."""
    del folder
    x = np.random.default_rng(1).standard_normal((BATCH, FEATURES), dtype=np.float32)
    ewma, up, down = (np.zeros(FEATURES) for _ in range(3))
    batches = max(200, events // BATCH)
    out = 0
    began = perf_counter()
    for _ in range(batches):
        z = x.mean(axis=0) * BATCH**0.5
        ewma = 0.9 * ewma + 0.1 * z
        up, down = np.maximum(0.0, up + z - 0.25), np.maximum(0.0, down - z - 0.25)
        out += int((np.abs(ewma) > 1.0).any() or (up > 9.0).any() or (down > 9.0).any())
    return {"numpy, a ready matrix": batches * BATCH / (perf_counter() - began)}


def main() -> None:
    """Print what one subject does, on one processor."""
    what, folder, events = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    does: dict[str, Any] = {"write": _written, "mlg": _ours, "json": _json, "numpy": _numpy}
    print(json.dumps(does[what](folder, events)))


if __name__ == "__main__":
    main()
