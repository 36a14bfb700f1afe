"""How long it takes from a shift in the requests to the alert, through the real product.

A whole small instance as `mlg up` runs it: Envoy gateways, one replica a service, their log, a
monitor a service with windows of 2 s, rules that call a webhook on loopback. Viewers ask each
service at a constant rate. Once phase I is over, one service after the other gets viewers who
are four standard deviations older, from a moment that is drawn within a window. Each service is
one repetition, since its monitor has seen no shift before.

Seconds are of the wall clock of one machine; event time is the replicas' clock, the same one.
What is read afterwards from the log: which answers came when, and with it when the window of
the first signal ended in event time, and when it *closed*: a window of seconds waits five
seconds of event time for late answers, until three answers agree that these have passed.
"""  # noqa: INP001 - imported by a script

import argparse
import http.client
import itertools
import json
import random
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import floor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from chaos_lab import TINY, Lab, lab, until
from monitors_rows import Report, say

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.stream_segments import SegmentStream
from mlg.core.clock import parse_time
from mlg.core.ports import Cursor
from mlg.monitors.fold_state import WindowPlan

WINDOW_S: Final = 2.0
BAR_S: Final = 5.0
ENOUGH: Final = 5
"""Repetitions below which the bar is not judged."""
LATE_S: Final = WindowPlan(service="", events=None, seconds=WINDOW_S).late_s
AGREE: Final = 3
"""Answers that must lie after a time before a monitor believes that it has passed."""
AGE, SPREAD, OLDER = 40.0, 10.0, 40.0
_HOME_MB: Final = 400
_DEADLINE_S: Final = 60.0

_PEOPLE = """  people:
    source: {uri: "file:people.csv"}
    columns:
      viewer: {type: int64, nullable: false}
      age: {type: int64, nullable: false}
pipelines:
"""
_MODEL = """model: two_stage
        params: {candidates: 12, trees: {rounds: 20, min_data_in_leaf: 5}}"""
_VIEWERS = """          viewers: {table: people, key: viewer, features: [age]}
          items: {"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One planted shift and when it was known; all in seconds since 1970."""

    began_s: float
    """The first shifted request was sent."""
    end_s: float
    """End, in event time, of the window whose statistic opened the alert."""
    closed_s: float
    """That window closed."""
    api_s: float
    """The API showed the alert."""
    webhook_s: float
    """The webhook had it."""


PLACES: Final = {"on the API": "api_s", "at a webhook": "webhook_s"}
SINCES: Final = {
    "its window closed": "closed_s",
    "its window's end in event time": "end_s",
    "the first shifted request": "began_s",
}


def alert(asked: argparse.Namespace) -> Report:
    """Return how late alerts are, on the API and at a webhook."""
    services = tuple(f"s{number}" for number in range(1, asked.services + 1))
    shifts, early, sent, failed = _measured(asked, services)
    report = reported(shifts)
    report.row("alerts before any shift", "mlg", early, "services", len(services))
    report.row("requests that failed", "mlg", failed, "requests", sent)
    return report


def reported(shifts: Sequence[Shift]) -> Report:
    """Return rows and bars of some shifts: median and maximum of each delay."""
    report = Report()
    for place, seen in PLACES.items():
        for since, begun in SINCES.items():
            delays = [getattr(one, seen) - getattr(one, begun) for one in shifts]
            if not delays:
                continue
            for word, value in (
                ("median", statistics.median(delays)),
                ("max", max(delays)),
            ):
                work = f"alert {place} after {since}, {word}"
                report.row(work, "mlg", value, "s", len(delays))
        late = [getattr(one, seen) - one.closed_s for one in shifts]
        found = f"median {statistics.median(late):.2f} s, max {max(late):.2f} s" if late else ""
        report.bar(
            f"alert {place} at most {BAR_S:g} s after its window closed, through the gateway",
            max(late) <= BAR_S if len(late) >= ENOUGH else None,
            found + f" of {len(late)}" + ("" if len(late) >= ENOUGH else ": too few"),
        )
    return report


def window_end_s(newest_s: float, window_s: float = WINDOW_S) -> float:
    """Return where the window ends in which an answer of this time lies, in event time."""
    return (floor(newest_s / window_s) + 1) * window_s


def closed_s(times_s: Sequence[float], end_s: float) -> float:
    """Return when a window closed: the time of the answer that made the monitor sure.

    Args:
        times_s: Event times of the service's answers, in any order; the replica's own clock.
        end_s: End of the window.

    Raises:
        ValueError: It was still open at the last answer.
    """
    after = sorted(at for at in times_s if at >= end_s + LATE_S)
    if len(after) < AGREE:
        raise ValueError(f"the window that ended at {end_s:.3f} was still open")
    return after[AGREE - 1]


def manifest(services: Sequence[str], port: int) -> str:
    """Return the tiny project with viewers' ages, these services, and who is told of alerts.

    Args:
        services: Names; each has the same model, a monitor and a rule.
        port: Of the webhook on loopback, asked at `/<service>`.
    """
    text = (TINY / "mlg.yaml").read_text().split("services:")[0]
    text = (
        text.replace("pipelines:\n", _PEOPLE)
        .replace("model: popularity", _MODEL)
        .replace("in: [clean, things]", "in: [clean, things, people]")
        .replace("          items: {", _VIEWERS)
    )
    told = f"http://127.0.0.1:{port}"
    own = "{model: list, replicas: 1, confidence: {abstain_below: 0, explore: 0%}}"
    lines = ["services:", *(f"  {one}: {own}" for one in services)]
    lines += ["monitors:"]
    lines += [f"  m-{one}: {{watch: {one}, window: 2s, on_alert: notify}}" for one in services]
    lines += ["automations:"]
    for one in services:
        lines += [
            f"  tell-{one}:",
            "    autonomy: act",
            f"    on: {{alert: any, service: {one}}}",
            f'    do: [{{webhook: {{url: "{told}/{one}"}}}}]',
        ]
    return text + "\n".join(lines) + "\n"


class _Watched(Lab):
    """Several services of one model, each with a monitor."""

    def __init__(
        self, folder: Path, rate_hz: float, *, services: Sequence[str], port: int
    ) -> None:
        super().__init__(folder, rate_hz)
        self._services, self._told_port = services, port

    def manifest(self, units: int, train: str = "") -> None:  # noqa: ARG002
        """Write the manifest, and the viewers' table beside it."""
        rows = [f"{viewer},{20 + viewer * 13 % 40}" for viewer in range(60)]
        (self.folder / "people.csv").write_text("\n".join(["viewer,age", *rows]) + "\n")
        (self.folder / "mlg.yaml").write_text(manifest(self._services, self._told_port))

    def whole(self) -> bool:
        """Whether each service answers by the model."""
        told = self.mlg("status")["services"]
        live = {one["service"] for one in told if one["live"]}
        return live == set(self._services)

    def get(self, path: str, **query: Any) -> Any:
        """Return what the API says."""
        url = f"http://127.0.0.1:{self.control()['port']}/api/v1/{path}?{urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.loads(answer.read())

    def alerts(self, service: str) -> list[dict[str, Any]]:
        """Return a service's open alerts, oldest first."""
        return self.get("alerts", state="open", service=service)["alerts"][::-1]

    def learned(self) -> set[str]:
        """Return the services whose requests' phase I is over."""
        return {
            event["data"]["service"]
            for event in self.get("events", newest=1_000)["events"]
            if event["type"] == "mlg.monitor.learned" and event["data"]["stream"] == "requests"
        }


class _Viewers:
    """A thread of viewers of one service, at a constant rate, each with an age in the request.

    Args:
        port: Of a gateway.
        service: Whom they ask.
        rate_hz: Requests a second.
        seed: Of who comes.
    """

    def __init__(self, port: int, service: str, rate_hz: float, seed: int) -> None:
        self._port, self._service, self._rate_hz = port, service, rate_hz
        self._random = random.Random(seed)
        self._older, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = self.failed = 0
        self.began_s: float | None = None
        """When the first shifted request was sent."""

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def shift(self) -> None:
        """Let the viewers be older from the next request on."""
        self._older.set()

    def stop(self) -> None:
        """Ask nothing more; returns once the last request is answered."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        wire = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        began = time.monotonic()
        for number in itertools.count():
            due = began + number / self._rate_hz
            if self._ending.wait(max(0.0, due - time.monotonic())):
                break
            age = self._random.gauss(AGE, SPREAD)
            if self._older.is_set():
                age += OLDER
                self.began_s = self.began_s or _now_s()
            try:
                good = self._ask(wire, number, round(age))
            except (OSError, http.client.HTTPException):
                wire.close()  # the next request opens another connection
                good = False
            self.sent += 1
            self.failed += not good
        wire.close()

    def _ask(self, wire: http.client.HTTPConnection, number: int, age: int) -> bool:
        body = {
            "user_id": 1_000 + self._random.randrange(100_000),
            "k": 5,
            "context": {"viewer": {"age": age}},
            "session_id": f"{self._service}-{number}",
        }
        wire.request(
            "POST",
            f"/v1/services/{self._service}/recommend",
            json.dumps(body).encode(),
            {"content-type": "application/json", "mlg-sticky-key": str(number)},
        )
        answer = wire.getresponse()
        answer.read()
        return answer.status == 200


@contextmanager
def _receiver() -> Iterator[tuple[int, Mapping[str, float]]]:
    """Yield the port of a webhook on loopback, and when each service was first told of."""
    first: dict[str, float] = {}

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            at_s = _now_s()
            self.rfile.read(int(self.headers["content-length"]))
            first.setdefault(self.path.strip("/"), at_s)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], first
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _measured(
    asked: argparse.Namespace, services: Sequence[str]
) -> tuple[list[Shift], int, int, int]:
    """Return the shifts, services that alerted before theirs, and requests sent and failed."""
    drawn = random.Random(7)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=asked.dir)))
        port, told = stack.enter_context(_receiver())
        say(f"alert: an instance with {len(services)} services, their model, gateways ...")
        kind: Any = partial(_Watched, services=services, port=port)
        made: Any = stack.enter_context(lab(folder, asked.rate_hz, _HOME_MB, kind))
        gateway = int(made.control()["gateway_port"])
        asking = {
            one: _Viewers(gateway, one, asked.rate_hz, seed)
            for seed, one in enumerate(services)
        }
        for viewers in asking.values():
            stack.callback(viewers.stop)
            viewers.start()
        say("alert: clean traffic until phase I is over ...")
        _until_learned(made, services)
        moments: dict[str, tuple[float, float, float, float]] = {}
        for one in services:
            time.sleep(drawn.uniform(0.0, WINDOW_S))
            if found := made.alerts(one):
                say(f"alert: {one} alerts before its shift: {found[0]['metric']}")
                continue
            moments[one] = _planted(made, asking[one], one, told)
        for viewers in asking.values():
            viewers.stop()
        shifts = [
            _shift(*moments[one], _times_s(made.home, one))
            for one in services
            if one in moments
        ]
        sent = sum(viewers.sent for viewers in asking.values())
        failed = sum(viewers.failed for viewers in asking.values())
    return shifts, len(services) - len(shifts), sent, failed


def _until_learned(made: _Watched, services: Sequence[str]) -> None:
    """Wait until every monitor may alert.

    Raises:
        RuntimeError: One may not after twice the time that phase I takes, and a minute.
    """
    end_s = time.monotonic() + 2 * (20 * WINDOW_S + LATE_S) + _DEADLINE_S
    while missing := set(services) - made.learned():
        if time.monotonic() > end_s:
            raise RuntimeError(f"phase I did not end of {', '.join(sorted(missing))}")
        time.sleep(0.5)


def _planted(
    made: _Watched, viewers: _Viewers, service: str, told: Mapping[str, float]
) -> tuple[float, float, float, float]:
    """Return when the first shifted request was sent, and who knew of it when.

    Beside them the newest answer of the window that opened the alert.
    """
    viewers.shift()
    found = until(lambda: made.alerts(service), _DEADLINE_S, f"an alert of {service}")
    api_s = _now_s()
    webhook_s = until(lambda: told.get(service), _DEADLINE_S, f"the webhook of {service}")
    began_s = viewers.began_s or api_s
    say(f"alert: {service} after {api_s - began_s:.1f} s, by {found[0]['metric']}")
    newest_s = parse_time(found[0]["opened_event_time"]).timestamp()
    return began_s, newest_s, api_s, webhook_s


def _shift(
    began_s: float, newest_s: float, api_s: float, webhook_s: float, times_s: Sequence[float]
) -> Shift:
    end_s = window_end_s(newest_s)
    return Shift(
        began_s=began_s,
        end_s=end_s,
        closed_s=closed_s(times_s, end_s),
        api_s=api_s,
        webhook_s=webhook_s,
    )


def _now_s() -> float:
    return SystemClock().now().timestamp()


def _times_s(home: Path, service: str) -> list[float]:
    """Return the event times of a service's answers, by its log."""
    stream, cursor = SegmentStream(home / "segments" / service), Cursor(consumer="bench")
    found: list[float] = []
    while True:
        batch = stream.read(cursor, 50_000)
        found += [one.at.timestamp() for one in batch.records if one.kind == "prediction"]
        if batch.cursor == cursor:
            return found
        cursor = batch.cursor
