"""The metrics of one serving process, labelled with what it serves."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest

from mlg.core.predict import Prediction
from mlg.telemetry.metrics import counter, gauge, histogram


class Instruments:
    """Counts what a serving process does, in a registry of its own.

    Args:
        service: The service.
        version: The model version.
        problem: Returns why the adopted recommender counts as down, a few words of a small
            set, or an empty text; None: nothing is adopted.
    """

    def __init__(
        self, service: str, version: str, *, problem: Callable[[], str] | None = None
    ) -> None:
        self._labels = labels = (service, version)
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._attempts = counter("mlg_attempts_total", registry)
        self._given: dict[str, Counter] = {}
        """By who served; finding a metric by its labels costs more than counting with it."""
        self._faults = counter("mlg_faults_total", registry)
        self._feedback = counter("mlg_feedback_total", registry)
        self._seconds = histogram("mlg_request_seconds", registry).labels(*labels)
        self._confidence = histogram("mlg_confidence", registry).labels(*labels)
        self._raw = histogram("mlg_raw_confidence", registry).labels(*labels)
        self._abstentions = counter("mlg_abstentions_total", registry).labels(*labels)
        self._gaps = counter("mlg_log_gaps_total", registry).labels(*labels)
        self._policy = counter("mlg_policy_errors_total", registry).labels(*labels)
        self._ready = gauge("mlg_ready", registry).labels(*labels)
        self._hits = counter("mlg_cache_hits_total", registry).labels(*labels)
        self._misses = counter("mlg_cache_misses_total", registry).labels(*labels)
        self._problem = problem
        self._down = gauge("mlg_adopted_down", registry) if problem else None

    def answered(self, prediction: Prediction, seconds: float) -> None:
        """Count one answer that was given."""
        given = self._given.get(prediction.served_by)
        if given is None:
            given = self._attempts.labels(*self._labels, prediction.served_by, "200")
            self._given[prediction.served_by] = given
        given.inc()
        self._seconds.observe(seconds)
        self._confidence.observe(prediction.confidence)
        self._raw.observe(prediction.raw_confidence)
        if prediction.reason == "abstain":
            self._abstentions.inc()

    def looked_up(self, *, hit: bool) -> None:
        """Count one look into the cache of results."""
        (self._hits if hit else self._misses).inc()

    def refused(self, status: int) -> None:
        """Count one recommend attempt that got an error instead of an answer."""
        self._attempts.labels(*self._labels, "", str(status)).inc()

    def fault(self, fault: str) -> None:
        """Count one answer that was withheld."""
        self._faults.labels(*self._labels, fault).inc()

    def feedback(self, event: str) -> None:
        """Count one feedback event."""
        self._feedback.labels(*self._labels, event).inc()

    def gap(self, records: int) -> None:
        """Count log records that were lost."""
        self._gaps.inc(records)

    def policy_error(self) -> None:
        """Count one policy file that was refused."""
        self._policy.inc()

    def ready(self, ready: bool) -> None:
        """Say whether the process is ready."""
        self._ready.set(1 if ready else 0)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        if self._down is not None and self._problem is not None:
            self._down.clear()
            if problem := self._problem():
                self._down.labels(*self._labels, problem).set(1)
        return generate_latest(self._registry)
