"""What an event is made with: who, when, which project; and the names of things.

The builders of `record_runs`, `record_services` and `record_acts` are functions of a
`Recorder` and facts; they return an Event and write nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from mlg.core.clock import Clock
from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.nodes import Attr
from mlg.core.ports import Ids
from mlg.core.uris import EventId, Uri, make_uri
from mlg.graph.project import project_event

AHEAD: Final = timedelta(minutes=5)
"""An event further ahead of the clock than this is taken, and marked `ahead_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Whose events these are, and where their times and ids come from."""

    project: str
    actor: str
    """`local:<user>`, `workflow:train`, `system:supervisor`."""
    clock: Clock
    ids: Ids

    def uri(self, kind: str, name: str, version: str | None = None) -> Uri:
        """Return the URI of a thing of this project."""
        return make_uri(kind, self.project, name, version)

    def event(
        self,
        type_: str,
        *,
        key: str,
        subject: Uri,
        nodes: Sequence[NodeFact] = (),
        edges: Sequence[EdgeFact] = (),
        facts: Mapping[str, Attr] | None = None,
        at: datetime | None = None,
        cause: EventId | None = None,
    ) -> Event:
        """Return an event of now, or of `at`.

        Args:
            type_: `mlg.<noun>.<past participle>`.
            key: Idempotency key; the same act always has the same.
            subject: The thing it happened to.
            nodes: What it says of nodes.
            edges: What it says of arrows.
            facts: Whatever else is worth keeping.
            at: When it happened; None is now.
            cause: The event that led to it.

        Raises:
            ValueError: An edge is not allowed, a URI is unknown, or the key is empty.
        """
        now = self.clock.now()
        when = at or now
        kept = dict(facts or {})
        if when - now > AHEAD:
            kept["ahead_s"] = int((when - now).total_seconds())
        if not key:
            raise ValueError(f"{type_} of {subject} needs an idempotency key")
        found = Event(
            key=key,
            id=EventId(self.ids.new_id()),
            at=when,
            recorded_at=now,
            type=type_,
            actor=self.actor,
            subject=subject,
            cause=cause,
            nodes=tuple(nodes),
            edges=tuple(edges),
            data=tuple(sorted(kept.items())),
        )
        project_event(found)
        return found


def node(
    uri: Uri,
    attrs: Mapping[str, Attr] | None = None,
    *,
    name: str = "",
    digest: str | None = None,
    ended: bool = False,
) -> NodeFact:
    """Return a fact about a node, attributes sorted."""
    pairs = tuple(sorted((attrs or {}).items()))
    return NodeFact(uri=uri, name=name, digest=digest, attrs=pairs, ended=ended)


def edge(
    src: Uri, role: str, dst: Uri, *, provenance: str = "declared", ended: bool = False
) -> EdgeFact:
    """Return a fact about an arrow from what came first to what came of it."""
    return EdgeFact(src=src, role=role, dst=dst, provenance=provenance, ended=ended)


def run_uri(recorder: Recorder, pipeline: str, run_id: str) -> Uri:
    """Return `run ranker@<run id>`."""
    return recorder.uri("run", pipeline, run_id)


def step_uri(recorder: Recorder, pipeline: str, run_id: str, step: str) -> Uri:
    """Return `step ranker/<step>@<run id>`."""
    return recorder.uri("step", f"{pipeline}/{step}", run_id)


def snapshot_uri(
    recorder: Recorder, dataset: str, digest: str, kind: str = "dataset_version"
) -> Uri:
    """Return `dataset_version ratings@<digest12>`, or the same as `feature_snapshot`."""
    return recorder.uri(kind, dataset, digest[:12])


def feature_uri(recorder: Recorder, owner: str, name: str) -> Uri:
    """Return `feature <owner>/<name>`; the owner is a table, or a model for what it logs."""
    return recorder.uri("feature", f"{quote(owner, safe='')}/{name}")


def model_uri(recorder: Recorder, name: str, version: str) -> Uri:
    """Return `model_version ranker@<version>`."""
    return recorder.uri("model_version", name, version)


def image_uri(recorder: Recorder, name: str, digest: str) -> Uri:
    """Return `image movies-ranker@<digest12>`."""
    return recorder.uri("image", name, digest[:12])


def deployment_uri(recorder: Recorder, service: str, deployment_id: str) -> Uri:
    """Return `deployment home@<deployment id>`."""
    return recorder.uri("deployment", service, deployment_id)


def segment_uri(recorder: Recorder, service: str, root: str) -> Uri:
    """Return `prediction_segment home@<merkle root 12>`."""
    return recorder.uri("prediction_segment", service, root[:12])
