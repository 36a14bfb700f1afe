"""Events of experiments: asked for, begun, each transition with what its metrics say."""

from collections.abc import Mapping

from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.uris import Uri
from mlg.graph.record import Recorder, edge, node


def experiment_uri(recorder: Recorder, service: str, experiment: str) -> Uri:
    """Return `experiment home@<experiment id>`."""
    return recorder.uri("experiment", service, experiment)


def cell_uri(recorder: Recorder, service: str, cell: str, experiment: str) -> Uri:
    """Return `experiment_cell home/A@<experiment id>`."""
    return recorder.uri("experiment_cell", f"{service}/{cell}", experiment)


def experiment_begun(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    experiment: str,
    name: str,
    cells: Mapping[str, Uri],
    facts: Mapping[str, Attr],
    reason: str = "",
) -> Event:
    """Return the event that a person started an experiment.

    Args:
        recorder: Whose event; its actor is who started it.
        key: Idempotency key.
        service: Whose viewers.
        experiment: Its id, one a start.
        name: As the manifest has it.
        cells: The model version of each group, control and holdout included.
        facts: The plan: shares, metrics, alpha.
        reason: Why, in his words.
    """
    subject = experiment_uri(recorder, service, experiment)
    attrs: dict[str, Attr] = {
        **facts, "service": service, "name": name, "phase": "pending", "by": recorder.actor,
        "reason": reason,
    }  # fmt: skip
    nodes, edges = [node(subject, attrs, name=name)], []
    for cell, version in sorted(cells.items()):
        uri = cell_uri(recorder, service, cell, experiment)
        nodes += [node(uri, {"service": service, "experiment": name}, name=cell)]
        nodes += [node(version, {})]
        edges += [edge(subject, "version_of", uri), edge(version, "deployed_as", uri)]
    return recorder.event(
        "mlg.experiment.begun",
        key=key,
        subject=subject,
        nodes=nodes,
        edges=edges,
        facts={"by": recorder.actor, "reason": reason},
    )


def experiment_moved(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    experiment: str,
    before: str,
    after: str,
    reason: str,
    by: str,
    verdicts: Mapping[str, Mapping[str, Attr]],
    ended: bool,
) -> Event:
    """Return the event of one transition, or of the end of a cell.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        service: Whose viewers.
        experiment: Its id.
        before: Phase before.
        after: Phase after.
        reason: Why, in words.
        by: `mlg`, or who asked for it.
        verdicts: What is known of each cell: viewers, and each metric's verdict in words.
        ended: Whether nothing follows.
    """
    subject = experiment_uri(recorder, service, experiment)
    latest: dict[str, Attr] = {"phase": after, "reason": reason}
    nodes = [node(subject, latest, ended=ended)]
    nodes += [
        node(cell_uri(recorder, service, cell, experiment), dict(said), ended=ended)
        for cell, said in sorted(verdicts.items())
    ]
    return recorder.event(
        f"mlg.experiment.{after}",
        key=key,
        subject=subject,
        nodes=nodes,
        facts={"service": service, "before": before, "reason": reason, "by": by},
    )


def experiment_told(
    recorder: Recorder, *, key: str, service: str, experiment: str, what: str, reason: str
) -> Event:
    """Return the event that somebody asked something of an experiment, or must look at it.

    Args:
        recorder: Whose event; its actor is who said so.
        key: Idempotency key.
        service: Whose viewers.
        experiment: Its id.
        what: `asked` or `called`.
        reason: What, in words.
    """
    return recorder.event(
        f"mlg.experiment.{what}",
        key=key,
        subject=experiment_uri(recorder, service, experiment),
        facts={"service": service, "reason": reason, "by": recorder.actor},
    )
