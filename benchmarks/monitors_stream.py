"""Prediction frames on disk to windows and verdicts, on one core."""  # noqa: INP001 - a script, no package

import argparse
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from zlib import crc32

import numpy as np

from mlg.adapters.stream_segments import SegmentStream
from mlg.app.log_columns import decoded
from mlg.core.ports import Cursor, Record
from mlg.core.predict import Prediction
from mlg.manifest.specs_watch import MonitorSpec, WindowSpec
from mlg.monitors.fold import FoldState, fold
from mlg.monitors.monitor import new_monitor, observe, plan_of
from mlg.monitors.windows import layout_of
from mlg.serving.log import Circumstances, prediction_record

START = datetime(2026, 3, 1, tzinfo=UTC)
SERVICE, VERSION, FEATURES = "home", "3f2a9c1b77de", 50
LEVELS = tuple(f"level{n}" for n in range(12))
TEXTS = 10
"""The last so many features are texts."""


def names(features: int = FEATURES) -> list[str]:
    """Return features as a model logs them: viewers' first, then the model's own."""
    return [f"viewer:f{n}" if n < 4 else f"f{n}" for n in range(features)]


def records(n: int, features: int = FEATURES, seed: int = 0) -> Iterator[Record]:
    """Yield answers as a replica logs them: ten items, fifty features, two a viewer."""
    rng = np.random.default_rng(seed)
    block = 10_000
    for first in range(0, n, block):
        rows = min(block, n - first)
        x = rng.normal(size=(rows, features))
        x[:, -TEXTS:] = rng.integers(0, len(LEVELS), (rows, TEXTS))
        raw = np.clip(rng.normal(0.3, 0.1, rows), 0, 1)
        items = rng.integers(0, 5_000, (rows, 10)).tolist()
        scores = np.sort(rng.normal(size=(rows, 10)))[:, ::-1].tolist()
        for row, (values, own) in enumerate(zip(x.tolist(), raw.tolist(), strict=True)):
            at = START + timedelta(microseconds=100 * (first + row))
            prediction = Prediction(
                prediction_id=f"0199e0b0-{(first + row) >> 16:04x}-7{secrets.token_hex(2)[:3]}-"
                f"9{secrets.token_hex(2)[:3]}-{secrets.token_hex(6)}",
                service=SERVICE, version=VERSION, policy="1", items=tuple(items[row]),
                scores=tuple(scores[row]), raw_confidence=own, confidence=own,
                served_by="model", reason="ranked", at=at, latency_ms=1.25,
            )  # fmt: skip
            around = Circumstances(
                viewer=sha256(b"%d" % ((first + row) // 2)).hexdigest(), session=None, salt=secrets.token_hex(16),
                received_at=at, features=values, arm="", propensity=1.0,
            )  # fmt: skip
            yield prediction_record(prediction, around)


def write(folder: Path, n: int, features: int = FEATURES, seed: int = 0) -> Path:
    """Write the answers as segment files under the folder; return it."""
    stream = SegmentStream(folder, writer_id="replica-home-1", header={"schema": "mlg.log/1"})
    block: list[Record] = []
    for record in records(n, features, seed):
        block.append(record)
        if len(block) == 1_000:
            stream.append(block)
            block = []
    stream.append(block)
    stream.close()
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """What reading the log to verdicts took."""

    answers: int
    windows: int
    signals: int
    wall_s: float
    read_s: float
    """Bytes from the files, lengths and checksums."""
    decode_s: float
    fold_s: float
    """Answers to windows."""
    best_per_s: float
    """Of the batch of 20,000 that went best: what a core gives that others leave alone."""
    checksum_s: float
    """Of all bytes at once: a yardstick of how fast the machine is at the moment."""
    verdict_s: float
    """Windows to charts, slices, diagnosis; with `fold_s` measured apart."""

    @property
    def per_s(self) -> float:
        """Answers a second, from files to verdicts."""
        return self.answers / self.wall_s


def streamed(
    folder: Path, *, window: WindowSpec | None = None, features: int = FEATURES
) -> Streamed:
    """Read the answers under a folder as a monitor does, to verdicts.

    Args:
        folder: As `write` left it.
        window: As the manifest says; two seconds of event time by default.
        features: As they were written.
    """
    spec = MonitorSpec(watch=SERVICE, window=window or WindowSpec(seconds=2.0))
    plan = plan_of(spec)
    own = names(features)
    layouts = {VERSION: layout_of(VERSION, own, dict.fromkeys(own[-TEXTS:], LEVELS))}
    monitor, stream, cursor = new_monitor(plan), SegmentStream(folder), Cursor(consumer="bench")
    state, answers, windows, signals = FoldState(), 0, 0, 0
    read_s = decode_s = observe_s = fold_s = checksum_s = best_per_s = 0.0
    while True:
        began = perf_counter()
        batch = stream.read_frames(cursor, 20_000)
        read = perf_counter()
        if batch.cursor == cursor:
            break
        found = decoded(batch.blocks, SERVICE)
        known = perf_counter()
        seen = observe(monitor, found.answers, found.feedback, plan=plan, layouts=layouts)
        done = perf_counter()
        # folded once more, apart, to know its part of the whole; not in `wall_s`
        again = fold(state, found.answers, found.feedback, plan=plan.window, layouts=layouts)
        apart = perf_counter()
        for block in batch.blocks:
            crc32(block.data)
        checksum_s += perf_counter() - apart
        best_per_s = max(best_per_s, sum(map(len, found.answers)) / (done - began))
        monitor, state, cursor = seen.monitor, again.state, batch.cursor
        read_s, decode_s = read_s + read - began, decode_s + known - read
        observe_s, fold_s = observe_s + done - known, fold_s + apart - done
        answers += sum(map(len, found.answers))
        windows, signals = windows + len(seen.windows), signals + len(seen.signals)
    return Streamed(
        answers=answers, windows=windows, signals=signals,
        wall_s=read_s + decode_s + observe_s, read_s=read_s, decode_s=decode_s,
        fold_s=fold_s, verdict_s=observe_s - fold_s, checksum_s=checksum_s,
        best_per_s=best_per_s,
    )  # fmt: skip


def main() -> None:
    """Print the rate for windows of seconds and of events, from the best of three passes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=200_000)
    parser.add_argument("--features", type=int, default=FEATURES)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="of segments that were written before")
    given = parser.parse_args()
    with TemporaryDirectory() as fresh:
        folder = given.folder or write(Path(fresh), given.answers, given.features)
        for window in (WindowSpec(seconds=2.0), WindowSpec(events=1_000)):
            runs = [
                streamed(folder, window=window, features=given.features)
                for _ in range(given.passes)
            ]
            best, middle = min(run.wall_s for run in runs), median(run.per_s for run in runs)
            one = next(run for run in runs if run.wall_s == best)
            per = {
                name: round(getattr(one, f"{name}_s") / one.answers * 1e6, 2)
                for name in ("read", "decode", "fold", "verdict", "checksum")
            }
            size = f"{window.seconds} s" if window.seconds else f"{window.events} events"
            top = max(run.best_per_s for run in runs)
            print(
                f"{size}: median {middle:,.0f}/s, best pass {one.per_s:,.0f}/s, best batch "
                f"{top:,.0f}/s; {one.windows} windows; us an answer in the best pass: {per}"
            )


if __name__ == "__main__":
    main()
