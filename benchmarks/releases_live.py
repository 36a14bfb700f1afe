"""A canary of half a percent behind real Envoys: how soon is a bad one gone, and who noticed?

The tiny project as `mlg up` runs it (control plane, two gateways, two replicas an arm), asked at
a constant rate by viewers of one request each. Read afterwards from the prediction log: the
first request of the candidate's arm that somebody else had to answer, and the last one that was
still sent to it. Beside it what viewers got.
"""  # noqa: INP001 - imported by a script

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from chaos_lab import SERVICE, Lab, lab, until

from mlg.adapters.stream_segments import SegmentStream
from mlg.core.clock import parse_time
from mlg.core.ports import Cursor
from mlg.serving.log import decode_prediction

Row = dict[str, Any]

STEPS: Final = "[0.5%, 5%, 25%, 100%]"
FAULTS: Final = (("errors 100 %", {"errors": 1.0}, 1.0, 10), ("errors 20 %", {"errors": 0.2}, 5.0, None))
"""What, how, seconds and requests of the candidate until it is gone."""
_HELD: Final = 1_000_000


class _Canary(Lab):
    """Its manifest: half a percent first, no battery before it."""

    def manifest(self, units: int, train: str = "seed: 1") -> None:
        """Write the manifest."""
        super().manifest(units, train)
        path = self.folder / "mlg.yaml"
        text = path.read_text().replace("[20%, 100%]", STEPS)
        path.write_text(
            text.replace("      staging: {window: always, tests: [contract, golden]}\n", "")
        )


def live(folder: Path, rate_hz: float, rounds: int) -> list[Row]:
    """Return a row for each fault and round, and one of a healthy version."""
    rows: list[Row] = []
    with lab(folder, rate_hz, kind=_Canary) as made:
        for number in range(rounds):
            for name, fault, bar_s, bar_requests in FAULTS:
                row = _bad(made, fault)
                held = row["seconds"] <= bar_s and row["failed"] == 0
                held &= bar_requests is None or row["canary_requests"] <= bar_requests
                rows.append({"fault": name, "round": number + 1, **row, "held": held})
                print(rows[-1], file=sys.stderr, flush=True)
        rows.append({"fault": "none", "round": 1, **_good(made)})
    return rows


def _bad(made: Lab, fault: Row) -> Row:
    """Break a canary once it has viewers; return how it went."""
    version = made.next_version(_HELD)
    load = made.load().start()
    try:
        try:
            until(lambda: _at(made, version, "canary", 50), 120, "half a percent")
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {version}, {made.rollout()}") from error
        time.sleep(3.0)
        cursor = _end(made)
        made.faults({version: fault})
        until(lambda: made.rollout()["state"] == "rolled_back", 120, "the way back")
        time.sleep(1.0)
    finally:
        made.faults({})
        sent = load.stop()
    mine = sorted(
        (parse_time(row["received_at"]).timestamp(), row["model_version"] != version)
        for row in _rows(made, cursor)
        if row["arm"] == version
    )
    first = next(at for at, elsewhere in mine if elsewhere)
    after = [at for at, _ in mine if at >= first]
    return {
        "rate_hz": made.rate_hz,
        "seconds": round(after[-1] - first, 3),
        "canary_requests": len(after),
        "canary_failed": sum(elsewhere for at, elsewhere in mine if at >= first),
        "requests": len(sent),
        "failed": sum(not one.good for one in sent),
        "reason": made.rollout()["explanation"],
    }


def _good(made: Lab) -> Row:
    """Let a healthy version go all the way."""
    version = made.next_version(50)
    began_s, steps = time.monotonic(), {}
    load = made.load().start()
    try:
        while True:
            now = made.rollout()
            if now["candidate"] != version:
                time.sleep(0.05)
                continue
            if now["state"] in {"swapped", "done"}:
                break
            assert now["state"] not in {"rolled_back", "failed", "paused"}, now
            steps.setdefault(f"{now['state']} {now['share_bp'] / 100:g} %", time.monotonic())
            time.sleep(0.05)
            if time.monotonic() - began_s > 600:
                raise RuntimeError(f"no swap in 600 s: {now}")
        seconds = time.monotonic() - began_s
    finally:
        sent = load.stop()
    return {
        "rate_hz": made.rate_hz,
        "seconds": round(seconds, 1),
        "steps": {name: round(at - began_s, 1) for name, at in steps.items()},
        "requests": len(sent),
        "failed": sum(not one.good for one in sent),
        "held": all(one.good for one in sent),
    }


def _at(made: Lab, version: str, state: str, share_bp: int) -> bool:
    now = made.rollout()
    return (now["candidate"], now["state"], now["share_bp"]) == (version, state, share_bp)


def _end(made: Lab) -> Cursor:
    """Return where the log ends now."""
    cursor = Cursor(consumer="bench")
    stream = SegmentStream(made.home / "segments" / SERVICE)
    while True:
        batch = stream.read(cursor, 50_000)
        if batch.cursor == cursor:
            return cursor
        cursor = replace(batch.cursor)


def _rows(made: Lab, cursor: Cursor) -> list[Row]:
    found: list[Row] = []
    stream = SegmentStream(made.home / "segments" / SERVICE)
    while True:
        batch = stream.read(cursor, 50_000)
        found += [decode_prediction(r.payload) for r in batch.records if r.kind == "prediction"]
        if batch.cursor == cursor:
            return found
        cursor = batch.cursor
