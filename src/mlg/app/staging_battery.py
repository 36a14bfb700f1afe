"""The tests of staging, asked of one replica one after the other, as no viewer."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from math import ceil
from typing import Any, Final

import msgspec

from mlg.core.ports import Network
from mlg.core.predict import Key
from mlg.manifest.specs_services import CompareSpec, ServiceSpec, StagingSpec
from mlg.release.staging import (
    Answer,
    LoadBudget,
    TestResult,
    failed_to_run,
    judge_contract,
    judge_golden,
    judge_load,
    judge_recorded,
)
from mlg.release.staging_bias import GroupScore, judge_bias_by
from mlg.release.staging_compare import CompareLimits, judge_compare
from mlg.release.staging_memory import judge_memory
from mlg.release.staging_requests import LiveRequests, spread
from mlg.release.staging_robustness import Dropped, judge_robustness

LOAD_HZ: Final = 100.0
"""Least rate of `load` where the manifest names none: a quiet service is tested too."""
P99_MS: Final = 150.0
"""Budget where the manifest has no objective for latency."""
_LEAST_LOAD: Final = 100
_MOST_LOAD: Final = 20_000
_DROPS: Final = 512
"""About how many requests the test `robustness` asks, over all fields."""
_DROPS_OF_FIELD: Final = 16
_COMPARED: Final = 128
_SHADOW: Final = ("mlg-shadow", "staging")
"""Asked like a copy of a viewer's request: answered as ever, neither logged nor counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A replica to ask."""

    port: int
    version: str
    alive: Callable[[], bool]
    held_bytes: Callable[[], int | None] = lambda: None
    """The most memory that it was seen to hold; None: not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the tests compare with."""

    bodies: tuple[bytes, ...]
    """Recorded requests."""
    recorded: tuple[Answer, ...] | None = None
    """The model's answers to them when it was packaged."""
    groups: Mapping[str, Sequence[GroupScore]] | None = None
    """Scores of its evaluation by group of viewers."""
    production: Target | None = None
    """A replica of the version that serves."""
    production_bodies: tuple[bytes, ...] = ()
    """The recorded requests of that version."""
    expected_hz: float | None = None
    """Requests a second that one replica had in the busiest minute of late."""
    live: LiveRequests = field(default_factory=LiveRequests)
    """What viewers asked of late; `load` and `compare` ask it where there is any."""


class Battery:
    """Asks, and keeps what was found in `done`.

    Args:
        network: Reaches the replicas.
        service: The service.
        target: Who is asked.
        spec: The service as it is declared.
        known: What to compare with.
    """

    def __init__(
        self,
        network: Network,
        service: str,
        target: Target,
        spec: ServiceSpec | None,
        known: Known,
    ) -> None:
        self._network, self._service, self._target = network, service, target
        self._spec, self._known = spec, known
        self._staging = (
            spec.rollout.staging if spec and spec.rollout else None
        ) or StagingSpec()
        self.done: list[TestResult] = []
        self.stopped = threading.Event()

    def run(self, tests: Sequence[str]) -> None:
        """Run the tests until all are done, the replica dies, or the battery is stopped.

        Memory is judged last, whatever its place: it is what the others made it hold.
        """
        with contextlib.suppress(_StoppedError):
            try:
                self._run(sorted(tests, key=lambda name: name == "memory"))
            except _DiedError:
                named = {result.name for result in self.done}
                why = "its replica ended while it was tested"
                self.done += [failed_to_run(n, why) for n in tests if n not in named]

    def _run(self, tests: Sequence[str]) -> None:
        first = [self._ask(body) for body in self._known.bodies]
        ways: dict[str, Callable[[], TestResult]] = {
            "contract": lambda: judge_contract(
                # the replica itself withholds answers with items outside its catalogue
                first,
                version=self._target.version,
                known=_any,
            ),
            "golden": lambda: self._golden(first),
            "load": self._load,
            "memory": self._memory,
            "robustness": lambda: self._robustness(first),
            "compare": lambda: self._compare(first),
            "bias": self._bias,
        }
        for name in tests:
            self.done.append(ways[name]())

    def _golden(self, first: Sequence[Answer]) -> TestResult:
        """Compare with what was recorded; where nothing was, with a second round."""
        recorded = self._known.recorded
        if recorded is not None and len(recorded) == len(first):
            return judge_recorded(recorded, first)
        again = [self._ask(body) for body in self._known.bodies]
        pairs = [
            (a, b)
            for a, b in zip(first, again, strict=True)
            if a.served_by == b.served_by  # exploration is drawn anew each time
        ]
        judged = judge_golden([a for a, _ in pairs], [b for _, b in pairs])
        words = f"{judged.reason}; asked twice, no recorded answers apply"
        return replace(judged, reason=words)

    def _bias(self) -> TestResult:
        bias = self._staging.bias
        return judge_bias_by(bias.groups if bias else (), self._known.groups)

    def _load(self) -> TestResult:
        asked, budgets = self._staging.load, self._staging.budget
        rate_hz = asked.rate_hz or max(LOAD_HZ, self._known.expected_hz or 0.0)
        latency = (
            self._spec.rollback.latency_p99 if self._spec and self._spec.rollback else None
        )
        declared_ms = budgets.p99_ms if budgets else None
        budget = LoadBudget(
            p99_ms=declared_ms or (latency.max_ms if latency else P99_MS),
            errors=0.0,
            rate_hz=rate_hz,
        )
        count = min(_MOST_LOAD, max(_LEAST_LOAD, ceil(rate_hz * asked.seconds)))
        began = time.monotonic()

        def one(number: int, body: bytes) -> tuple[bool, float]:
            due = began + number / rate_hz
            self.stopped.wait(max(0.0, due - time.monotonic()))
            answer = self._ask(body)
            return answer.status == 200, (time.monotonic() - due) * 1e3

        workers = min(64, 8 + int(rate_hz / 25.0))
        live = self._known.live
        with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="load") as pool:
            bodies = list(islice(cycle(live.bodies or self._known.bodies), count))
            timed = list(pool.map(one, range(len(bodies)), bodies))
        good = [ms for ok, ms in timed if ok]
        seconds = time.monotonic() - began
        judged = judge_load(good, failed=len(timed) - len(good), seconds=seconds, budget=budget)
        return _asked_of(judged, live, len(self._known.bodies))

    def _memory(self) -> TestResult:
        budget = self._staging.budget
        resources = self._spec.resources if self._spec else None
        declared = budget.memory_bytes if budget else None
        most = declared or (resources.memory_bytes if resources else None)
        return judge_memory(self._target.held_bytes(), most)

    def _robustness(self, first: Sequence[Answer]) -> TestResult:
        """Ask recorded requests again, each time without one of their fields."""
        cases: dict[str, list[tuple[bytes, Answer]]] = {}
        for body, whole in zip(self._known.bodies, first, strict=True):
            for name, less in without_a_field(body):
                cases.setdefault(name, []).append((less, whole))
        most = min(_DROPS_OF_FIELD, max(4, _DROPS // max(1, len(cases))))
        dropped = [
            Dropped(field=name, whole=whole, without=self._ask(less))
            for name, asked in sorted(cases.items())
            for less, whole in asked[:most]
        ]
        declared = self._staging.robustness
        return judge_robustness(
            dropped,
            version=self._target.version,
            known=_any,
            min_overlap=declared.min_overlap if declared else 0.0,
        )

    def _compare(self, first: Sequence[Answer]) -> TestResult:
        """Ask both versions what viewers asked of late, else the recorded requests of both."""
        production = self._known.production
        if production is None:
            reason = "no version serves that it could be compared with"
            return TestResult(
                name="compare", verdict="INCONCLUSIVE", reason=reason, blocks=False
            )
        mine, live = dict(zip(self._known.bodies, first, strict=True)), self._known.live
        both = (*self._known.production_bodies, *self._known.bodies)
        recorded = tuple(dict.fromkeys(both))[:_COMPARED]
        pairs: list[tuple[Answer, Answer]] = []
        for body in spread(live.bodies, _COMPARED) or recorded:
            old = self._ask(body, production)
            pairs.append((old, mine.get(body) or self._ask(body)))
        declared = self._staging.compare or CompareSpec()
        limits = CompareLimits(
            min_overlap=declared.min_overlap,
            max_top_changed=declared.max_top_changed,
            max_confidence_shift=declared.max_confidence_shift,
        )
        return _asked_of(judge_compare(pairs, limits), live, len(recorded))

    def _ask(self, body: bytes, of: Target | None = None) -> Answer:
        if self.stopped.is_set():
            raise _StoppedError
        target = of or self._target
        reply = self._network.request(
            "POST",
            f"http://127.0.0.1:{target.port}/v1/services/{self._service}/recommend",
            body=body,
            headers=(("content-type", "application/json"), _SHADOW),
            timeout_s=5.0,
        )
        if reply.status == 0 and of is None and not target.alive():
            raise _DiedError
        k = int(msgspec.json.decode(body).get("k") or 10)
        if reply.status != 200:
            fault = dict(reply.headers).get("mlg-fault", "")
            return Answer(status=reply.status, k=k, fault=fault)
        found: Mapping[str, Any] = msgspec.json.decode(reply.body)
        return Answer(
            status=200,
            items=tuple(item["id"] for item in found["items"]),
            scores=tuple(item["score"] for item in found["items"]),
            confidence=found["confidence"],
            served_by=found["served_by"],
            version=found["model_version"],
            prediction_id=found["prediction_id"],
            k=k,
        )


def without_a_field(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Give a request's fields that may be missing, each with the request without it.

    The viewer's id, his history, each of his features, and all of them together. The time
    stays: replays go by it. A field that is missing already is not given.

    Examples:
        >>> [name for name, _ in without_a_field(b'{"user_id":1,"k":3}')]
        ['user_id']
    """
    request: dict[str, Any] = msgspec.json.decode(body)
    context: dict[str, Any] = request.get("context") or {}
    features: dict[str, Any] = context.get("viewer") or {}
    if request.get("user_id") is not None:
        yield "user_id", msgspec.json.encode({**request, "user_id": None})
    if context.get("history"):
        yield "history", _with(request, {k: v for k, v in context.items() if k != "history"})
    given = [name for name, value in features.items() if value is not None]
    for name in given:
        less = {key: value for key, value in features.items() if key != name}
        yield f"viewer.{name}", _with(request, {**context, "viewer": less})
    if len(given) > 1:
        yield "viewer", _with(request, {k: v for k, v in context.items() if k != "viewer"})


def _asked_of(result: TestResult, live: LiveRequests, recorded: int) -> TestResult:
    """Return a result that says whose requests were asked."""
    return replace(
        result,
        reason=f"{result.reason}; asked: {live.told}",
        facts=(*result.facts, *live.facts(recorded)),
    )


def _with(request: Mapping[str, Any], context: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({**request, "context": context})


class _StoppedError(Exception):
    """The battery's time is over."""


class _DiedError(Exception):
    """The replica under test does not run any more."""


def _any(item: Key) -> bool:
    del item
    return True
