"""What a rule decided, done durably: each action once, and one that fails stops no other.

`automations.decide` decides; here its commands are done. A control plane that dies does
the command again in which it died, under the same key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID

from mlg.automations.actions import (
    Command,
    PostWebhook,
    RestartService,
    Retrain,
    RollBackService,
    SendEmail,
    WriteNote,
    message_of,
)
from mlg.automations.decide import Decision, actor_of
from mlg.core.errors import BackendError, LifecycleError
from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.ports import Files, GraphStore, Notifier
from mlg.core.uris import Uri
from mlg.graph import record_automations
from mlg.graph.record import Recorder, run_uri
from mlg.workflows.record import append_once
from mlg.workflows.train import Train, TrainRequest

_TRIES: Final = 12

AGAIN_S: Final = (30.0, 300.0, 1_800.0)
"""Pauses before a message that was not taken is sent again; each sending retries by itself."""

PROPOSALS: Final = "proposals"

Notification = SendEmail | PostWebhook


class Reaction(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, and the event that it answers."""

    decision: Decision
    event_type: str
    subject: Uri
    at: datetime
    """When the event happened; aware UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactPorts:
    """What rules may do to the world; each callable raises LifecycleError when it cannot."""

    files: Files
    store: GraphStore
    recorder: Callable[[str], Recorder]
    """Gives a recorder in the name of an actor."""
    mail: Notifier | None
    """None: no mail server is set."""
    webhook: Callable[[str | None], Notifier]
    """Gives the notifier that signs with this secret."""
    train_request: Callable[[str, str], TrainRequest]
    """Returns the run of a pipeline under the id that belongs to this key."""
    rollback: Callable[[str, str, str, str], str]
    """Takes a service back: service, by, reason, key; returns the rollout's id. The same key
    does it once."""
    restart: Callable[[str, str], None]
    """Replaces a service's replicas: service, mark. The same mark does it once."""


@DBOS.dbos_class()
class React(DBOSConfiguredInstance):
    """Durable answer of one rule to one event."""

    def __init__(self, ports: ReactPorts, train: Train) -> None:
        self._ports = ports
        self._train = train
        super().__init__("react")

    @DBOS.workflow(name="react")
    def run(self, raw: dict[str, Any]) -> dict[str, int]:
        """Record the decision and do its commands in order; return how many failed.

        One that fails stops no other; a message that was not taken is sent again later.
        """
        self.record(raw)
        decision = _reaction(raw).decision
        acting = [n for n, command in enumerate(decision.commands) if command.acts]
        failed = [n for n in acting if not self._try(raw, n, decision.commands[n])]
        for pause_s in AGAIN_S:
            late = [n for n in failed if isinstance(decision.commands[n], Notification)]
            if not late:
                break
            DBOS.sleep(pause_s)
            taken = {n for n in late if self._try(raw, n, decision.commands[n])}
            failed = [n for n in failed if n not in taken]
        counts = {"done": len(acting) - len(failed), "failed": len(failed)}
        if decision.outcome == "acts":
            self.finish(raw, **counts)
        return counts

    def _try(self, raw: dict[str, Any], index: int, command: Command) -> bool:
        """Do one command and tell what became of it; return whether it was done."""
        if isinstance(command, Retrain):
            result = self.begin_training(raw, index)
            if "request" in result:
                with SetWorkflowID(result["request"]["run_id"]):
                    DBOS.start_workflow(self._train.run, result["request"])
        else:
            result = self.act(raw, index)
        self.tell(raw, index, result)
        return "error" not in result

    @DBOS.step(name="react.record", retries_allowed=True, max_attempts=_TRIES)
    def record(self, raw: dict[str, Any]) -> None:
        """Put the decision on the graph; a proposal waits in a file for a person."""
        reaction = _reaction(raw)
        decision = reaction.decision
        if decision.outcome == "proposed":
            self._ports.files.write(proposal_path(decision.key), msgspec.json.encode(reaction))
        self._append(
            record_automations.automation_decided(
                self._recorder(decision),
                key=decision.key,
                rule=decision.rule,
                outcome=decision.outcome,
                reason=decision.reason,
                subject=reaction.subject,
                event_type=reaction.event_type,
                actions=[action_words(command) for command in decision.commands],
                cause=decision.event,
            )
        )

    @DBOS.step(name="react.begin_training", retries_allowed=True, max_attempts=_TRIES)
    def begin_training(self, raw: dict[str, Any], index: int) -> dict[str, Any]:
        """Return the run to start, told to the graph, or why there can be none.

        Raises:
            TypeError: The command is no training.
        """
        decision = _reaction(raw).decision
        command = decision.commands[index]
        if not isinstance(command, Retrain):
            raise TypeError(f"expected a training, got {_action(command)}")
        try:
            request = self._ports.train_request(command.pipeline, command.key)
        except LifecycleError as error:
            return {"error": error.as_dict()}
        recorder = self._recorder(decision)
        self._append(
            record_automations.automation_acted(
                recorder,
                key=command.key,
                rule=decision.rule,
                run=_run(recorder, decision),
                word="begun",
                action="retrain",
                facts={"pipeline": request.pipeline, "run_id": request.run_id},
                triggered=(run_uri(recorder, request.pipeline, request.run_id),),
                cause=decision.event,
            )
        )
        facts = {"pipeline": request.pipeline, "run_id": request.run_id}
        return {"request": msgspec.to_builtins(request), "facts": facts}

    @DBOS.step(name="react.act")
    def act(self, raw: dict[str, Any], index: int) -> dict[str, Any]:
        """Do one command; return facts about it, or the error of one that failed."""
        decision = _reaction(raw).decision
        try:
            return {"facts": self._do(decision, decision.commands[index])}
        except LifecycleError as error:
            return {"error": error.as_dict()}
        except (OSError, ValueError) as error:
            where = f"automations.{decision.rule}.do[{index}]"
            return {"error": BackendError(str(error)[:300], where=where).as_dict()}

    @DBOS.step(name="react.tell", retries_allowed=True, max_attempts=_TRIES)
    def tell(self, raw: dict[str, Any], index: int, result: dict[str, Any]) -> None:
        """Put on the graph what became of one command."""
        decision = _reaction(raw).decision
        command, recorder = decision.commands[index], self._recorder(decision)
        error: dict[str, Attr] | None = result.get("error")
        facts: dict[str, Attr] = error if error is not None else result["facts"]
        rollout = facts.get("rollout")
        triggered: tuple[Uri, ...] = ()
        if isinstance(command, RollBackService) and rollout:
            triggered = (recorder.uri("rollout", command.service, str(rollout)),)
        word = "noted" if isinstance(command, WriteNote) else "acted"
        self._append(
            record_automations.automation_acted(
                recorder,
                key=command.key,
                rule=decision.rule,
                run=_run(recorder, decision),
                word="failed" if error is not None else word,
                action=_action(command),
                facts=facts,
                triggered=triggered,
                cause=decision.event,
            )
        )

    @DBOS.step(name="react.finish", retries_allowed=True, max_attempts=_TRIES)
    def finish(self, raw: dict[str, Any], done: int, failed: int) -> None:
        """Put on the graph that everything was tried."""
        decision = _reaction(raw).decision
        recorder = self._recorder(decision)
        self._append(
            record_automations.automation_finished(
                recorder,
                key=decision.key,
                rule=decision.rule,
                run=_run(recorder, decision),
                done=done,
                failed=failed,
                cause=decision.event,
            )
        )

    def _do(self, decision: Decision, command: Command) -> dict[str, Attr]:
        """Do one command that acts; return facts about it.

        Raises:
            BackendError: It could not be done.
        """
        ports = self._ports
        match command:
            case SendEmail():
                if ports.mail is None:
                    raise BackendError(
                        "no mail server is set, so no mail was sent",
                        where="MLG_SMTP_URL",
                        hint="set smtp: in mlg.env.yaml, or MLG_SMTP_URL, before `mlg up`.",
                    )
                ports.mail.send(message_of(command), command.key)
                return {"to": ", ".join(command.to), "subject": command.subject}
            case PostWebhook():
                ports.webhook(command.secret).send(message_of(command), command.key)
                return {"url": command.url}
            case RollBackService():
                by = actor_of(decision.rule)
                reason = f"rule {decision.rule}: {decision.reason or 'it fired'}"
                return {
                    "service": command.service,
                    "rollout": ports.rollback(command.service, by, reason, command.key),
                }
            case RestartService():
                ports.restart(command.service, command.key)
                return {"service": command.service}
            case WriteNote():
                return {"note": command.note}
            case _:
                raise BackendError(f"nothing does {_action(command)} yet")

    def _recorder(self, decision: Decision) -> Recorder:
        return self._ports.recorder(actor_of(decision.rule))

    def _append(self, event: Event) -> None:
        append_once(self._ports.store, (event,))


def start_reaction(react: React, reaction: Reaction) -> None:
    """Start to do a decision in the background; the same decision starts once.

    A proposal that was approved is another start of the same decision.
    """
    decision = reaction.decision
    again = ":approved" if decision.approved_by else ""
    with SetWorkflowID(f"{decision.key}{again}"):
        DBOS.start_workflow(react.run, msgspec.to_builtins(reaction))


def proposal_path(key: str) -> str:
    """Return the file in which a proposal waits."""
    return f"{PROPOSALS}/{key.replace(':', '-')}.json"


def _reaction(raw: dict[str, Any]) -> Reaction:
    return msgspec.convert(raw, Reaction)


def _run(recorder: Recorder, decision: Decision) -> Uri:
    return record_automations.automation_run_uri(recorder, decision.rule, decision.key)


def _action(command: Command) -> str:
    return str(command.__struct_config__.tag)


def action_words(command: Command) -> str:
    """Return the action's name, and why it is held back."""
    held = f" (held back: {command.why_not})" if command.why_not else ""
    return f"{_action(command)}{held}"
