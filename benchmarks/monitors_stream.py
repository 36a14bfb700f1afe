"""Prediction frames on disk to windows and verdicts, on one core."""  # noqa: INP001 - a script, no package

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from mlg.adapters.stream_segments import SegmentStream
from mlg.core.ports import Record
from mlg.core.predict import Prediction
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
            at = START + timedelta(microseconds=5 * (first + row))
            prediction = Prediction(
                prediction_id=f"0199e0b0-{(first + row) >> 16:04x}-7{secrets.token_hex(2)[:3]}-"
                f"9{secrets.token_hex(2)[:3]}-{secrets.token_hex(6)}",
                service=SERVICE, version=VERSION, policy="1", items=tuple(items[row]),
                scores=tuple(scores[row]), raw_confidence=own, confidence=own,
                served_by="model", reason="ranked", at=at, latency_ms=1.25,
            )  # fmt: skip
            around = Circumstances(
                viewer=f"{(first + row) // 2:064x}", session=None, salt=secrets.token_hex(16),
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
