"""Nodes of what a rollout's transition rests on and did: gate verdicts, a swap, a rollback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlg.core.events import EdgeFact, NodeFact
from mlg.core.nodes import Attr
from mlg.core.uris import Uri
from mlg.graph.record import Recorder, deployment_uri, edge, node


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFigures:
    """One gate's verdict with what it was reckoned from; what is not known is None."""

    name: str
    verdict: str
    reason: str
    e_value: float
    """Evidence against the candidate; of an objective: how fast it burns."""
    bound: float
    """The evidence at which the verdict is FAIL."""
    n: int
    """Observations of the candidate."""
    events: float | None = None
    """Of them those that count against it, or what they add up to."""
    control_events: float | None = None
    control_n: int | None = None
    margin: float | None = None
    """What a PASS still accepts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapFigures:
    """One change of the version at 100 %."""

    before: str | None
    """Version that served; None: none did."""
    after: str
    number: int
    """Which swap it is in the hour that ends with it, reversals among them."""
    limit: int
    """How many a promotion may be among."""
    reversal: bool
    """A way back: it is counted, and waits for no turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackFigures:
    """Traffic that went back to a version that served before."""

    left: str
    """Version that was taken back."""
    to: str
    deployment: str | None
    """Id of the deployment that has the traffic again; None: it is not known."""


def gate_uri(recorder: Recorder, service: str, rollout_id: str, number: int, gate: str) -> Uri:
    """Return `gate_verdict home/4/errors@<rollout id>`; the number is the transition's."""
    return recorder.uri("gate_verdict", f"{service}/{number}/{gate}", rollout_id)


def swap_uri(recorder: Recorder, service: str, rollout_id: str, number: int) -> Uri:
    """Return `swap home/5@<rollout id>`."""
    return recorder.uri("swap", f"{service}/{number}", rollout_id)


def rollback_uri(recorder: Recorder, service: str, rollout_id: str, number: int) -> Uri:
    """Return `rollback home/5@<rollout id>`."""
    return recorder.uri("rollback", f"{service}/{number}", rollout_id)


def gate_facts(
    recorder: Recorder,
    step: Uri,
    *,
    service: str,
    rollout_id: str,
    number: int,
    figures: Sequence[GateFigures],
    said: Mapping[str, Attr],
) -> tuple[list[NodeFact], list[EdgeFact]]:
    """Return a node for each gate with its figures, and its arrow from the transition.

    Args:
        recorder: Whose event.
        step: The transition that rests on them.
        service: The service's name.
        rollout_id: Which rollout.
        number: Of the transition.
        figures: What the gates said.
        said: Attributes of all of them: the share, the event time.
    """
    nodes: list[NodeFact] = []
    edges: list[EdgeFact] = []
    for gate in figures:
        uri = gate_uri(recorder, service, rollout_id, number, gate.name)
        attrs: dict[str, Attr] = {
            **said,
            "service": service,
            "gate": gate.name,
            "verdict": gate.verdict,
            "reason": gate.reason,
            "e_value": gate.e_value,
            "bound": gate.bound,
            "n": gate.n,
        }
        more = {
            "events": gate.events,
            "control_events": gate.control_events,
            "control_n": gate.control_n,
            "margin": gate.margin,
        }
        attrs |= {name: value for name, value in more.items() if value is not None}
        nodes.append(node(uri, attrs))
        edges.append(edge(step, "checked_by", uri, provenance="observed"))
    return nodes, edges


def moved_facts(
    recorder: Recorder,
    step: Uri,
    *,
    service: str,
    rollout_id: str,
    number: int,
    failed: Sequence[str],
    said: Mapping[str, Attr],
    swap: SwapFigures | None,
    rollback: RollbackFigures | None,
) -> tuple[list[NodeFact], list[EdgeFact]]:
    """Return the nodes of a swap and of a rollback, with what caused them.

    Args:
        recorder: Whose event.
        step: The transition that did it.
        service: The service's name.
        rollout_id: Which rollout.
        number: Of the transition.
        failed: Names of the gates for which the traffic went back.
        said: Attributes of both: why, by whom, when.
        swap: The version at 100 % changed.
        rollback: The traffic went back.
    """
    nodes: list[NodeFact] = []
    edges: list[EdgeFact] = []
    back = rollback_uri(recorder, service, rollout_id, number)
    if rollback is not None:
        told: dict[str, Attr] = {
            **said,
            "service": service,
            "from": rollback.left,
            "to": rollback.to,
            "gates": ", ".join(failed),
        }
        nodes.append(node(back, told))
        edges.append(edge(step, "caused", back))
        edges += [
            edge(gate_uri(recorder, service, rollout_id, number, name), "caused", back)
            for name in failed
        ]
        if rollback.deployment is not None:
            to = deployment_uri(recorder, service, rollback.deployment)
            edges.append(edge(back, "rolled_back_to", to, provenance="observed"))
    if swap is not None:
        uri = swap_uri(recorder, service, rollout_id, number)
        attrs: dict[str, Attr] = {
            **said,
            "service": service,
            "from": swap.before,
            "to": swap.after,
            "number_in_hour": swap.number,
            "swaps_per_hour": swap.limit,
            "reversal": swap.reversal,
        }
        nodes.append(node(uri, attrs))
        edges.append(edge(back if rollback is not None else step, "caused", uri))
    return nodes, edges
