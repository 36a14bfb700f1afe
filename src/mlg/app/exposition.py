"""The control plane's series, and the gateway-derived ones, in Prometheus' text format."""

import json
import logging
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from mlg.app.drift import statistics
from mlg.app.emitter import Emitter
from mlg.app.health import health_document
from mlg.app.losses import MONITOR
from mlg.app.parts import Parts
from mlg.core.errors import LifecycleError
from mlg.core.reading import NodeQuery
from mlg.core.traffic import version_of
from mlg.core.uris import Digest
from mlg.monitors.live import BANDS, BINS, WATCH_BINS, Series
from mlg.telemetry import metrics
from mlg.workflows.state import read_wanted

_METRIC = "metric."

logger = logging.getLogger("mlg.exposition")


def exposition(parts: Parts) -> str:
    """Return the text of `/metrics`; what is not known is left out, never 0."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counted(parts))
    registry.register(_Known(parts))
    metrics.gauge("mlg_log_gaps_seen", registry).set(parts.tail.gaps)
    if parts.emitter is not None:
        metrics.gauge("mlg_openlineage_waiting", registry).set(parts.emitter.waiting())
    _services(parts, registry)
    return generate_latest(registry).decode()


def targets(parts: Parts) -> list[dict[str, Any]]:
    """Return Prometheus' HTTP discovery: one target for each process that exposes metrics.

    The process is the only label: service and version are labels of the series themselves.
    """
    return [
        {"targets": [f"127.0.0.1:{p.port}"], "labels": {"process": p.id}}
        for p in parts.supervisor.processes()
        if p.alive and p.kind in {"replica", "fallback"} and not p.health_path
    ]


def _services(parts: Parts, registry: CollectorRegistry) -> None:
    share = metrics.gauge("mlg_rollout_share_bp", registry)
    availability = metrics.gauge("mlg_availability_ratio", registry)
    budget = metrics.gauge("mlg_error_budget_left_ratio", registry)
    cpu = metrics.gauge("mlg_cpu_ratio", registry)
    memory = metrics.gauge("mlg_memory_bytes", registry)
    difference = metrics.gauge("mlg_replica_difference", registry)
    spec = parts.manifests.spec()
    for name in sorted(spec.services if spec else ()):
        document = health_document(parts, name)
        for version in document.versions:
            share.labels(name, version.version).set(version.share_bp)
        kept = document.availability
        if kept.availability_ratio is not None:
            availability.labels(name).set(kept.availability_ratio)
        if kept.budget_left_ratio is not None:
            budget.labels(name).set(kept.budget_left_ratio)
        for replica in document.replicas:
            labels = (name, replica.version, replica.id)
            for family, value in (
                (cpu, replica.cpu_ratio),
                (memory, replica.memory_bytes),
                (difference, replica.difference_log_e),
            ):
                if value is not None:
                    family.labels(*labels).set(value)


class _Counted(Collector):
    """Viewer requests as the gateways counted them, answers and reactions as the log has."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        family = _counter("mlg_requests_total")
        for r in self._parts.router.requests():
            family.add_metric([r.service, r.version, str(r.code)], r.total)
        yield family
        series = self._parts.tail.state.series
        family = _counter("mlg_answers_total")
        for s in series:
            family.add_metric([s.service, s.version, s.served_by], s.requests)
        yield family
        yield _watch_through(series)
        family = _counter("mlg_alerts_total")
        for name, stored in sorted(self._parts.monitoring.standings().items()):
            family.add_metric([stored.spec.watch, name], stored.monitor.alerts.number)
        for service, number in sorted(self._parts.replicas.loss_alerts().items()):
            family.add_metric([service, MONITOR], number)
        yield family
        if self._parts.emitter is not None:
            yield from _emission(self._parts.emitter)


class _Known(Collector):
    """What monitors chart, and what is known of the versions that run."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        row = metrics.spec("mlg_drift_statistic", "gauge")
        family = GaugeMetricFamily(row.name, row.help, labels=row.labels)
        for labels, value in statistics(self._parts.monitoring.standings()).items():
            family.add_metric(labels, value)
        yield family
        row = metrics.spec("mlg_run_metric", "gauge")
        measured = GaugeMetricFamily(row.name, row.help, labels=row.labels)
        row = metrics.spec("mlg_feature_importance", "gauge")
        weighed = GaugeMetricFamily(row.name, row.help, labels=row.labels)
        for (model, version), artifact in sorted(self._versions().items()):
            for name, value in self._evaluated(model, version):
                measured.add_metric([model, version, name], value)
            for name, value in self._importance(artifact):
                weighed.add_metric([model, version, name], value)
        yield measured
        yield weighed

    def _versions(self) -> dict[tuple[str, str], Digest]:
        """Return the artifact of each (model, version) that is wanted."""
        spec = self._parts.manifests.spec()
        return {
            (service.model or name, version_of(item.version)): item.artifact
            for name, service in (spec.services.items() if spec else ())
            for item in read_wanted(self._parts.files, name).versions
        }

    def _evaluated(self, model: str, version: str) -> Iterator[tuple[str, float]]:
        parts = self._parts
        uri = parts.recorder("system:control").uri("evaluation", model, version)
        for node in parts.reader.nodes(NodeQuery(uri=uri)).nodes:
            for name, value in sorted(node.attrs):
                if name.startswith(_METRIC) and isinstance(value, int | float):
                    yield name.removeprefix(_METRIC), float(value)

    def _importance(self, artifact: Digest) -> Iterator[tuple[str, float]]:
        try:
            folder = self._parts.artifacts.open(artifact)
            model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            found: dict[str, float] = model.get("importance", {})
        except (LifecycleError, OSError, ValueError) as error:
            logger.warning("the importance of features is not known: %s", error)
            return
        for name, value in sorted(found.items()):
            yield name, float(value)


def _watch_through(series: tuple[Series, ...]) -> HistogramMetricFamily:
    row = metrics.spec("mlg_watch_through", "histogram")
    family = HistogramMetricFamily(row.name, row.help, labels=row.labels)
    wide = BINS // BANDS
    edges = [*map(str, row.buckets[:-1]), "1.0", "+Inf"]
    for service, version in sorted({(s.service, s.version) for s in series}):
        mine = [s for s in series if (s.service, s.version) == (service, version)]
        for band in range(BANDS):
            inside = slice(band * WATCH_BINS, (band + 1) * WATCH_BINS)
            counts = [sum(n) for n in zip(*(s.watched[inside] for s in mine), strict=True)]
            if not sum(counts):
                continue
            total = sum(sum(s.watch_sum[band * wide : (band + 1) * wide]) for s in mine)
            up_to = [*accumulate(counts), sum(counts)]
            label = f"{band / BANDS:g}-{(band + 1) / BANDS:g}"
            family.add_metric(
                [service, version, label], list(zip(edges, up_to, strict=True)), total
            )
    return family


def _emission(emitter: Emitter) -> Iterator[CounterMetricFamily]:
    row = metrics.spec("mlg_openlineage_emitted_total", "counter")
    yield CounterMetricFamily(row.name, row.help, value=emitter.emitted)
    family = _counter("mlg_openlineage_failed_total")
    family.add_metric(["unreachable"], emitter.unreachable)
    family.add_metric(["refused"], emitter.refused)
    yield family


def _counter(name: str) -> CounterMetricFamily:
    row = metrics.spec(name, "counter")
    return CounterMetricFamily(row.name, row.help, labels=row.labels)
