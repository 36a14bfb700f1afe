"""A realistic lifecycle as events: what `mlg bench graph` loads and walks.

A day brings 400 dataset versions of 100 sources, 400 feature snapshots and 300 runs, each with
eight snapshots, a label dataset and a commit; one run in ten starts warm from last week's model.
Each run makes a version with its evaluation, image, deployment, rollout and three health checks.
260 days are 988,500 nodes and 2.3 million edges.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.uris import EventId, Uri, make_uri

SOURCES, DATASETS, RUNS, SNAPSHOTS_A_RUN, PIPELINES = 100, 400, 300, 8, 60
NODES_A_DAY = 2 * DATASETS + 10 * RUNS
START = datetime(2026, 1, 1, tzinfo=UTC)
_NAMESPACE = "bench"


def uri(kind: str, name: str, version: object = None) -> Uri:
    """Return the URI of a thing of this world."""
    return make_uri(kind, _NAMESPACE, name, None if version is None else str(version))


def days_for(nodes: int) -> int:
    """Return the days that make about so many nodes, at least one.

    Examples:
        >>> days_for(1_000_000)
        263
    """
    return max(1, round((nodes - SOURCES - DATASETS) / NODES_A_DAY))


def events(days: int, *, most_edges: int = 10_000, seed: int = 1) -> Iterator[Event]:
    """Return the events of so many days, each with at most so many edges.

    Args:
        days: Of 3,800 nodes and about 9,000 edges each.
        most_edges: An event is closed before it would hold more.
        seed: Of the choice of snapshots and warm starts.
    """
    rng, packer = random.Random(seed), _Packer(most_edges)
    for number in range(DATASETS):
        origin, dataset = uri("source", f"s{number % SOURCES}"), uri("dataset", f"d{number}")
        yield from packer.add([dataset], [EdgeFact(src=origin, role="derived_from", dst=dataset)])
    for day in range(days):
        for number in range(DATASETS):
            yield from packer.add(*_data(number, day, rng))
        for number in range(RUNS):
            yield from packer.add(*_run(number, day, rng))
        packer.day = day + 1
    yield from packer.flush()


def told_singly(day: int, *, seed: int = 2) -> Iterator[Event]:
    """Return the events of one more day as the product tells them: one a thing, of some ten edges."""
    rng, packer = random.Random(seed), _Packer(1, after=day * 1_000_000)
    packer.day = day
    for number in range(DATASETS):
        yield from packer.add(*_data(number, day, rng))
    for number in range(RUNS):
        yield from packer.add(*_run(number, day, rng))
    yield from packer.flush()


def _data(number: int, day: int, rng: random.Random) -> tuple[list[Uri], list[EdgeFact]]:
    version, snapshot = uri("dataset_version", f"d{number}", day), _snapshot(number, day)
    read = {number, *(rng.randrange(DATASETS) for _ in range(4))}
    edges = [
        EdgeFact(src=uri("source", f"s{number % SOURCES}"), role="derived_from", dst=version),
        EdgeFact(src=uri("dataset", f"d{number}"), role="version_of", dst=version),
    ]
    edges += [
        EdgeFact(src=uri("dataset_version", f"d{one}", day), role="derived_from", dst=snapshot)
        for one in sorted(read)
    ]
    return [version, snapshot], edges


def _snapshot(number: int, day: int) -> Uri:
    return uri("feature_snapshot", f"f{number}", day)


def deployment(number: int, day: int) -> Uri:
    """Return the deployment that a run of a day led to."""
    return uri("deployment", f"service{number % PIPELINES}", f"{day}-{number}")


def _run(number: int, day: int, rng: random.Random) -> tuple[list[Uri], list[EdgeFact]]:
    name, at = f"model{number % PIPELINES}", f"{day}-{number}"
    run, model = uri("run", name, at), uri("model_version", name, at)
    commit, tested = uri("commit", "repo", at), uri("evaluation", name, at)
    image, live, rollout = uri("image", name, at), deployment(number, day), uri("rollout", name, at)
    checks = [uri("health_check", f"{name}-{place}", at) for place in range(3)]
    edges = [
        EdgeFact(src=_snapshot(one, day), role="used", dst=run)
        for one in sorted(rng.sample(range(DATASETS), SNAPSHOTS_A_RUN))
    ]
    label = uri("dataset_version", f"d{rng.randrange(DATASETS)}", day)
    edges += [
        EdgeFact(src=label, role="used", dst=run),
        EdgeFact(src=commit, role="used", dst=run),
        EdgeFact(src=run, role="produced", dst=model),
        EdgeFact(src=model, role="evaluated_on", dst=tested),
        EdgeFact(src=model, role="packaged_as", dst=image),
        EdgeFact(src=image, role="deployed_as", dst=live),
        EdgeFact(src=run, role="triggered", dst=rollout),
        *(EdgeFact(src=live, role="checked_by", dst=check) for check in checks),
    ]
    if day >= 7 and number % 10 == 0:
        former = uri("model_version", name, f"{day - 7}-{number}")
        edges.append(EdgeFact(src=former, role="warm_started_from", dst=model))
    return [run, model, commit, tested, image, live, rollout, *checks], edges


class _Packer:
    """Gathers nodes and edges into events of a bounded size."""

    def __init__(self, most_edges: int, *, after: int = 0) -> None:
        self._most, self._count, self.day = most_edges, after, 0
        self._nodes: list[NodeFact] = []
        self._edges: list[EdgeFact] = []

    def add(self, nodes: list[Uri], edges: list[EdgeFact]) -> Iterator[Event]:
        if len(self._edges) + len(edges) > self._most:
            yield from self.flush()
        attrs = (("day", self.day), ("owner", f"team{len(self._nodes) % 12}"))
        self._nodes += [NodeFact(uri=one, attrs=attrs) for one in nodes]
        self._edges += edges

    def flush(self) -> Iterator[Event]:
        if not self._edges:
            return
        self._count += 1
        at = START + timedelta(days=self.day, seconds=self._count % 80_000)
        yield Event(
            key=f"bench:{self._count}",
            id=EventId(f"01900000-0000-7000-8000-{self._count:012x}"),
            at=at,
            recorded_at=at,
            type="mlg.bench.loaded",
            actor="system:bench",
            subject=self._nodes[0].uri,
            nodes=tuple(self._nodes),
            edges=tuple(self._edges),
        )
        self._nodes, self._edges = [], []
