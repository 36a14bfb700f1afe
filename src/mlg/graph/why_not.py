"""Why something did not happen: what was in its way, each clause linked to its event."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, get_args

from mlg.core.errors import ManifestError, NotFoundError
from mlg.core.events import StoredEvent
from mlg.core.nodes import Node
from mlg.core.ports import GraphHistory, GraphReader
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Uri, make_uri, parse_uri
from mlg.graph.why import EACH, WhyAnswer, answer, resolve, twins, why
from mlg.graph.why_words import facts_of

Question = Literal["promoted", "restarted", "healed", "alerted"]
QUESTIONS: Final[tuple[Question, ...]] = get_args(Question)
_BY_WORD: Final[dict[str, Question]] = {question: question for question in QUESTIONS}

_NEWEST: Final = 5
"""Newest incidents, rollouts, runs that are looked at."""
_ENDED: Final = frozenset(("done", "swapped", "rolled_back", "failed"))
_NOT_HEALING: Final = frozenset(
    ("recorded", "annotated", "excluded", "quarantined", "backed_off", "called", "settled")
)
_OF_REPLICAS: Final = frozenset(("mlg.replica.restarted", "mlg.replica.restart_held"))
_SERVICE_OF: Final = frozenset(
    ("alert", "incident", "deployment", "rollout", "rollout_step", "policy", "layout",
     "prediction_segment", "health_check", "gate_verdict", "swap", "rollback")
)  # fmt: skip


class Asked:
    """One question to the graph: the thing, its service, and what the log says of them.

    Args:
        reader: The graph.
        history: Its log, by index.
        uri: What was asked about.

    Raises:
        ManifestError: The thing belongs to no service.
        NotFoundError: It is not in the graph.
    """

    def __init__(self, reader: GraphReader, history: GraphHistory, uri: Uri) -> None:
        self._reader, self._history = reader, history
        self.uri, self.kind = uri, parse_uri(uri).kind
        self.service = self._service()

    def node(self, uri: Uri) -> Node | None:
        """Return a node, or None."""
        return next(iter(self._reader.nodes(NodeQuery(uri=uri)).nodes), None)

    def told(self, *uris: Uri) -> list[StoredEvent]:
        """Return the events that happened to things."""
        wanted = set(uris)
        return [s for s in self._history.told(uris, limit=EACH) if s.event.subject in wanted]

    def below(self, uri: Uri, *roles: str, depth: int = 1) -> list[Uri]:
        """Return what came of a thing by these roles."""
        options = WalkOptions(roles=roles, depth=depth, limit=100)
        return [one.node.uri for one in self._reader.walk(uri, "down", options).nodes[1:]]

    def around(self) -> list[StoredEvent]:
        """Return the events that happened to the service or say something of it."""
        return list(self._history.told((self.service,), limit=EACH))

    def newest(self, found: Iterable[Uri]) -> list[Uri]:
        """Return the newest few of things in the order they were told of."""
        return list(dict.fromkeys(reversed(list(found))))[:_NEWEST][::-1]

    def rollouts(self) -> list[Uri]:
        """Return the newest rollouts of the thing, oldest first."""
        if self.kind in {"rollout", "deployment"}:
            return [self.uri if self.kind == "rollout" else twins((self.uri,))[0]]
        if self.kind == "run":
            below = self.below(self.uri, "triggered")
            return self.newest(uri for uri in below if parse_uri(uri).kind == "rollout")
        if self.kind == "model_version":
            deployments = self.below(self.uri, "deployed_as")
        else:
            deployments = [
                s.event.subject
                for s in self.around()
                if s.event.type == "mlg.deployment.started"
            ]
        return self.newest(twins(deployments))

    def runs(self) -> list[Uri]:
        """Return the run that made the thing, or the newest of the service's pipeline."""
        if self.kind == "run":
            return [self.uri]
        if self.kind in {"model_version", "image"}:
            up = WalkOptions(roles=("produced", "packaged_as", "triggered"), depth=3, limit=100)
            found = (one.node for one in self._reader.walk(self.uri, "up", up).nodes)
            return [node.uri for node in found if node.kind == "run"][:1]
        node = self.node(self.service)
        model = dict(node.attrs).get("model") if node else None
        if not model:
            return []
        pipeline = make_uri("pipeline", parse_uri(self.service).namespace, str(model))
        started = self._history.told((pipeline,), limit=EACH)
        return self.newest(
            s.event.subject for s in started if s.event.type == "mlg.run.started"
        )

    def alerts(self) -> list[Uri]:
        """Return the newest alerts of the thing, oldest first."""
        if self.kind == "alert":
            return [self.uri]
        if self.kind == "incident":
            up = WalkOptions(roles=("caused",), depth=1, limit=100)
            found = [one.node for one in self._reader.walk(self.uri, "up", up).nodes[1:]]
            return self.newest(node.uri for node in found if node.kind == "alert")
        told = (s for s in self.around() if s.event.type.startswith("mlg.alert."))
        return self.newest(s.event.subject for s in told)

    def incidents(self) -> list[Uri]:
        """Return the newest incidents of the thing, oldest first."""
        if self.kind == "incident":
            return [self.uri]
        below = (self.below(alert, "caused") for alert in self.alerts())
        found = (uri for uris in below for uri in uris)
        return self.newest(uri for uri in found if parse_uri(uri).kind == "incident")

    def frozen(self) -> list[StoredEvent]:
        """Return the event that froze everything, if it still holds."""
        uri = make_uri("policy", parse_uri(self.service).namespace, "freeze")
        node = self.node(uri)
        if node is None or not dict(node.attrs).get("frozen"):
            return []
        return self.told(uri)[-1:]

    def applied(self) -> list[StoredEvent]:
        """Return the newest manifest that names the service."""
        told = [s for s in self.around() if s.event.type == "mlg.manifest.applied"]
        return told[-1:]

    def is_open(self, uri: Uri) -> bool:
        """Return whether an alert or incident has not ended."""
        node = self.node(uri)
        return node is not None and node.valid_to is None

    def _service(self) -> Uri:
        parts, node = parse_uri(self.uri), self.node(self.uri)
        if node is None:
            raise NotFoundError(
                "no such node in the graph", where=self.uri, hint="mlg search TEXT finds URIs."
            )
        if parts.kind == "service":
            return self.uri
        named = dict(node.attrs).get("service")
        if named or parts.kind in _SERVICE_OF:
            name = str(named or parts.name.partition("/")[0])
            return make_uri("service", parts.namespace, name)
        if parts.kind in {"model_version", "image"}:
            below = self.below(self.uri, "packaged_as", "deployed_as", "served_by", depth=3)
            for uri in below:
                if parse_uri(uri).kind == "service":
                    return uri
        model = (
            parts.name if parts.kind in {"model_version", "run", "model", "pipeline"} else ""
        )
        page = self._reader.nodes(NodeQuery(kinds=("service",), limit=10_000))
        for found in page.nodes if model else ():
            same = parse_uri(found.uri).namespace == parts.namespace
            if same and dict(found.attrs).get("model") == model:
                return found.uri
        raise ManifestError(
            f"expected a service, or something that belongs to one, got a {parts.kind}",
            where=self.uri,
            hint="mlg why SERVICE --not promoted",
        )


def why_not(
    reader: GraphReader, history: GraphHistory, uri: Uri, question: Question
) -> WhyAnswer:
    """Return why something did not happen, from what is recorded; newest last.

    Args:
        reader: The graph.
        history: Its log, by index.
        uri: A service, or a version, run, rollout, alert or incident of one.
        question: `promoted`, `restarted`, `healed` or `alerted`.

    Returns:
        What was in the way, and the freeze if everything is frozen. `holds` is false when
        the newest of what was asked about did happen; then the clauses tell how. No clauses
        if nothing is recorded of it.

    Raises:
        ManifestError: The thing belongs to no service.
        NotFoundError: It is not in the graph.
    """
    asked = Asked(reader, history, uri)
    events, holds = _ANSWERS[question](asked)
    once = {stored.seq: stored for stored in events}
    told = [once[seq] for seq in sorted(once)]
    return answer(uri, told, root=uri, question=f"not {question}", holds=holds)


def why_of(
    reader: GraphReader, history: GraphHistory, text: str, did_not: str | None = None
) -> WhyAnswer | None:
    """Return the answer to a question as people ask it; None when it is about a prediction.

    Args:
        reader: The graph.
        history: Its log, by index.
        text: A thing's URI, the name of a service, or the URI or id of a prediction.
        did_not: What did not happen; None asks why the thing is as it is.

    Raises:
        ManifestError: There is no such question, or it cannot be asked of this.
        NotFoundError: No event is about the thing.
    """
    question = None if did_not is None else _BY_WORD.get(did_not)
    if did_not is not None and question is None:
        raise ManifestError(
            f"expected what did not happen, got {did_not!r}",
            where="not",
            hint=f"one of {', '.join(QUESTIONS)}.",
        )
    uri = resolve(reader, text)
    if uri is None or parse_uri(uri).kind == "prediction":
        if question is not None:
            raise ManifestError(
                f"expected a service or a thing of one, got {text[:100]!r}",
                where="uri",
                hint="mlg status lists the services.",
            )
        return None
    told = (
        why(reader, history, uri)
        if question is None
        else why_not(reader, history, uri, question)
    )
    if not told.clauses:
        raise NotFoundError(
            "no event is about this", where=uri, hint="mlg search TEXT finds URIs."
        )
    return told


Found = tuple[Sequence[StoredEvent], bool]
"""Events in any order, and whether it really did not happen."""


def _promoted(asked: Asked) -> Found:
    """Gates, holds, freezes, quarantine, swaps an hour, staging; or the run before them."""
    events: list[StoredEvent] = []
    rollouts = asked.rollouts()
    happened = False
    for rollout in rollouts[-1:]:
        told = asked.told(rollout)
        moves = [s for s in told if not s.event.type.endswith(".held")]
        state = next(
            (
                word
                for s in reversed(moves)
                if (word := s.event.type.rpartition(".")[2]) not in {"noted", "called"}
            ),
            "",
        )
        happened = state in {"swapped", "done"}
        since = moves[-1].seq if moves else 0
        events += moves
        if state not in _ENDED:
            events += [s for s in told if s.event.type.endswith(".held") and s.seq > since]
        checks = asked.below(rollout, "triggered")
        events += asked.told(*(u for u in checks if parse_uri(u).kind == "health_check"))
    begun = [s.seq for s in events if s.event.type == "mlg.rollout.begun"]
    after = max(begun, default=0)
    if asked.kind not in {"rollout", "deployment"}:
        events += _runs(asked, asked.runs(), after)
    if happened:
        return events, False
    if asked.kind == "model_version" and not rollouts:
        judged = asked.below(asked.uri, "checked_by")
        events += asked.told(asked.uri, *judged)
    held = (s for uri in asked.incidents() if asked.is_open(uri) for s in asked.told(uri))
    events += [s for s in held if s.event.type == "mlg.incident.quarantined"]
    return [*events, *asked.frozen()], True


def _runs(asked: Asked, runs: Sequence[Uri], after: int) -> list[StoredEvent]:
    """Return how the newest run ended if it made nothing to promote, with its evaluation."""
    events: list[StoredEvent] = []
    for run in runs[-1:]:
        told = asked.told(run)
        bad = [
            s
            for s in told
            if s.event.type == "mlg.run.failed"
            or facts_of(s.event).get("verdict") in {"rejected", "failed"}
        ]
        running = told and not any(
            s.event.type in {"mlg.run.failed", "mlg.run.finished"} for s in told
        )
        if running:
            events += told[-1:]
        elif bad:
            made = asked.below(run, "triggered", "produced", "part_of", depth=2)
            steps = asked.told(*made)
            events += [
                s
                for s in steps
                if s.event.type in {"mlg.step.failed", "mlg.evaluation.recorded"}
            ]
            events += bad
    return [s for s in events if s.seq > after]


def _restarted(asked: Asked) -> Found:
    """Siblings that were alike, rules and what held them back, drift, crash loops, freezes."""
    alerts, incidents = asked.alerts(), asked.incidents()
    around = asked.around()
    if asked.kind == "health_check":
        mine = [s for s in asked.told(asked.uri) if s.event.type in _OF_REPLICAS]
        around = mine or [s for s in around if s.event.type not in _OF_REPLICAS or _whole(s)]
    kinds = {"mlg.service.restarted", "mlg.replica.restarted"}
    restarts = [s for s in around if s.event.type in kinds]
    holds = [s for s in around if s.event.type == "mlg.replica.restart_held"][-_NEWEST:]
    runs = [
        run
        for uri in (*alerts, *incidents)
        for run in asked.below(uri, "triggered")
        if parse_uri(run).kind == "automation_run"
    ]
    answers = asked.told(*dict.fromkeys(runs))
    acted = [s for s in answers if _acted(s)]
    started = [s for s in asked.told(*alerts) if s.event.type.endswith(".opened")]
    newest = max((s.seq for s in (*started, *holds)), default=0)
    happened = [s for s in (*restarts, *acted) if s.seq > newest]
    if happened:
        return [*started[-1:], *holds[-1:], *happened], False
    loops = [
        s
        for s in asked.told(*_checks(asked, around))
        if s.event.type.endswith((".crash_looped", ".crashed"))
    ]
    events = [*started, *answers, *holds, *loops[-_NEWEST:], *asked.frozen()]
    return events or [*restarts[-1:], *asked.applied()], True


def _whole(stored: StoredEvent) -> bool:
    """Whether an event is about all replicas of a version."""
    return not facts_of(stored.event).get("process")


def _acted(stored: StoredEvent) -> bool:
    facts = facts_of(stored.event)
    return stored.event.type.endswith(".acted") and facts.get("action") == "restart"


def _checks(asked: Asked, around: Sequence[StoredEvent]) -> list[Uri]:
    """Return the health checks of the newest deployments."""
    started = [s for s in around if s.event.type == "mlg.deployment.started"]
    found = asked.newest(s.event.subject for s in started)
    return [check for uri in found for check in asked.below(uri, "checked_by")]


def _healed(asked: Asked) -> Found:
    """What the cause table said of the incident, and what healing did instead."""
    events: list[StoredEvent] = []
    happened = False
    for incident in asked.incidents()[-1:]:
        told = asked.told(incident)
        words = {s.event.type.rpartition(".")[2] for s in told}
        happened = "healed" in words
        events += told
        if not happened and "retraining_begun" in words:
            for run in asked.below(incident, "triggered"):
                if parse_uri(run).kind == "run":
                    events += [s for s in asked.told(run) if s.event.type != "mlg.run.started"]
    if happened:
        return events, False
    return [*events, *(asked.frozen() if events else ())], True


def _alerted(asked: Asked) -> Found:
    """Who watches, what was learned, and the incident that new signals join."""
    around = asked.around()
    events = [*asked.applied()]
    events += [s for s in around if s.event.type == "mlg.monitor.learned"][-_NEWEST:]
    open_ = [uri for uri in asked.alerts() if asked.is_open(uri)]
    if open_:
        told = asked.told(*open_)
        return [*events, *(s for s in told if s.event.type.endswith(".opened"))], False
    closed = [
        s for s in asked.told(*asked.alerts()[-1:]) if s.event.type.endswith("alert.closed")
    ]
    handled = [
        s
        for uri in asked.incidents()[-1:]
        for s in asked.told(uri)
        if s.event.type.rpartition(".")[2] in _NOT_HEALING
    ]
    return [*events, *handled, *closed], True


_ANSWERS: Final[dict[Question, Callable[[Asked], Found]]] = {
    "promoted": _promoted,
    "restarted": _restarted,
    "healed": _healed,
    "alerted": _alerted,
}
