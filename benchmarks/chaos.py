"""Every fault in a window of its own, under viewers who never wait: what do they get?

How to run, from a checkout whose environment `make test` made:

    mlg bench chaos [--only kill-one --only nan] [--json]

An instance of the tiny project comes up with two replicas, two gateways and a popularity
server; viewers ask 100 times a second, open-loop. In each window two seconds are calm, then
the fault begins; the window ends eight seconds after the fault at the earliest, once the model
has answered everyone for three seconds, or after 60 s. Between two windows the instance becomes whole again. The bar: 99.9 % of the
answers of a window are good (200, whole, numbers; by the model or the popularity list), and a
planned operation costs none. `model` and `fallback` are told apart.
"""  # noqa: INP001 - a script, no package

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos_faults import CASES, Case, NotRunError
from chaos_lab import Lab, lab, until
from chaos_load import row

CALM_S, LEAST_S, AFTER_S, LONGEST_S = 2.0, 8.2, 3.0, 60.0


def main() -> None:
    """Run, print a table, or with `--json` one document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=[case.name for case in CASES])
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    cases = [case for case in CASES if not asked.only or case.name in asked.only]
    load_before = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("MLG_BENCH_DIR")) as folder,
        lab(Path(folder), asked.rate) as made,
    ):
        rows = measure(made, cases)
    machine = (
        f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
        f"load {load_before:.1f} before"
    )
    if asked.json:
        print(json.dumps({"machine": machine, "rate_hz": asked.rate, "rows": rows}))
        return
    print(machine)
    print(table(rows))


def measure(made: Lab, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return a row for each fault, one after the other on one instance."""
    rows: list[dict[str, Any]] = []
    for case in cases:
        print(f"{case.name}: {case.what}", file=sys.stderr)
        about = {"fault": case.name, "what": case.what}
        try:
            found = {**about, **window(made, case)}
            until(made.whole, 150, f"the instance to be whole after {case.name}")
        except NotRunError as why:
            found = {**about, "not_run": f"cannot be made here: {why}"}
        except RuntimeError as why:  # the product's, so never a skip
            found = {**about, "failed": str(why)}
        rows.append(found)
        print(table([found]).splitlines()[-1], file=sys.stderr)
    return rows


def window(made: Lab, case: Case) -> dict[str, Any]:
    """Return what one fault did to the viewers.

    Raises:
        NotRunError: It cannot be made here.
        RuntimeError: It could not be ended.
    """
    if case.prepare is not None:
        case.prepare(made)
    load = made.load().start()
    try:
        time.sleep(CALM_S)
        began_s = time.monotonic()
        with case.act(made):
            lasts_s = _hold(made, case, began_s)
        done_s = time.monotonic()
        while time.monotonic() - done_s < LONGEST_S:
            time.sleep(0.1)
            if time.monotonic() - done_s > LEAST_S and _alone(load.sent):
                break
    finally:
        sent = load.stop()
    return row(case.name, sent, began_s, planned=case.planned, lasts_s=lasts_s)


def _hold(made: Lab, case: Case, began_s: float) -> float:
    """Wait until the fault is over; return how long it lasted."""
    while time.monotonic() - began_s < case.hold_s:
        if case.ends is not None and case.ends(made):
            break
        time.sleep(0.05)
    return time.monotonic() - began_s if case.hold_s else 0.0


def _alone(sent: Sequence[Any]) -> bool:
    """Whether the model answered everyone for the last seconds."""
    now_s = time.monotonic()
    recent = [one for one in sent[-2_000:] if one.due_s > now_s - AFTER_S]
    return len(recent) > 0 and all(one.outcome == "model" for one in recent)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    head = (
        "fault", "lasts s", "requests", "good", "non-2xx", "bad 200", "no answer",
        "good, 1 retry", "model", "fallback", "p50 ms", "p99 ms", "max ms", "back s", "bar",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for one in rows:
        words = one.get("not_run") or one.get("failed")
        if words is not None:
            word = "not run" if "not_run" in one else "**failed**"
            lines.append(f"| {one['fault']} | {word}: {words} |" + " |" * (len(head) - 2))
            continue
        back = "not back" if one["back_s"] is None else f"{one['back_s']:.1f}"
        bar = "0 lost" if one["planned"] else "99.9 %"
        cells = (
            one["what"], f"{one['lasts_s']:.0f}", one["requests"], f"{one['good']:.3%}",
            one["non_2xx"], one["bad_answers"], one["no_answer"],
            f"{one['good_with_one_retry']:.3%}",
            f"{one['model']:.1%}", f"{one['fallback']:.1%}",
            f"{one['p50_ms']:.1f}", f"{one['p99_ms']:.0f}", f"{one['max_ms']:.0f}", back,
            f"{bar}: {'held' if one['held'] else '**missed**'}",
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
