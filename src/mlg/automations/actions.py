"""What rules do, as commands with a key: JSON-ready, done once however often they are sent."""

import json
from hashlib import sha256
from typing import Any, Final

from msgspec import Struct

from mlg.automations.happened import event_words
from mlg.automations.templates import filled, filled_json, mistake_in_text, one_line, shown
from mlg.automations.templates import texts_of as texts_of_json
from mlg.core.clock import rfc3339
from mlg.core.events import Event
from mlg.core.ports import Message
from mlg.manifest.specs_automations import ActionSpec, EmailAction, WebhookAction


class _Command(Struct, frozen=True, kw_only=True, tag_field="do"):
    """One thing to do; it may be done twice with one effect, and the key names the act."""

    key: str
    """Idempotency key: the same rule, event and place in `do` always have the same."""
    acts: bool = False
    """Whether it is to be done now; otherwise it is only recorded."""
    why_not: str = ""
    """Why it is only recorded; empty when it acts."""


class SendEmail(_Command, frozen=True, kw_only=True, tag="email"):
    """Send a mail."""

    to: tuple[str, ...]
    subject: str
    body: str


class PostWebhook(_Command, frozen=True, kw_only=True, tag="webhook"):
    """Post JSON, signed where there is a secret."""

    url: str
    secret: str | None
    """`secret://…`, resolved at use."""
    subject: str
    body: str
    """JSON text."""


class Retrain(_Command, frozen=True, kw_only=True, tag="retrain"):
    """Run a pipeline."""

    pipeline: str


class RollBackService(_Command, frozen=True, kw_only=True, tag="rollback"):
    """Give the service back to the version before."""

    service: str


class RestartService(_Command, frozen=True, kw_only=True, tag="restart"):
    """Replace the service's replicas one after the other."""

    service: str


class WriteNote(_Command, frozen=True, kw_only=True, tag="audit"):
    """Leave a note in the graph."""

    note: str


class TriggerTask(_Command, frozen=True, kw_only=True, tag="trigger_dev"):
    """Start a task of Trigger.dev."""

    task: str
    payload: str
    """JSON text."""


class ShowLayout(_Command, frozen=True, kw_only=True, tag="layout"):
    """Put another layout in force."""

    service: str
    layout: str


Command = (
    SendEmail
    | PostWebhook
    | Retrain
    | RollBackService
    | RestartService
    | WriteNote
    | TriggerTask
    | ShowLayout
)

NOT_YET: Final[dict[str, str]] = {
    "trigger_dev": "tasks of Trigger.dev are not started yet",
    "layout": "layouts are not put in force yet",
}
"""Actions that are stored and recorded, and why nothing does them."""


def command_key(rule: str, event: Event, index: int) -> str:
    """Return the idempotency key of one action of one firing.

    It depends on the rule's name, the event's key and the place in `do` alone, so a run
    that was killed and one that resumes it name the same act.
    """
    return f"{firing_key(rule, event)}:{index}"


def firing_key(rule: str, event: Event) -> str:
    """Return the key of a rule's answer to an event: `automation:<rule>:<16 hex>`."""
    return f"automation:{rule}:{sha256(event.key.encode()).hexdigest()[:16]}"


def commands_of(rule: str, actions: tuple[ActionSpec, ...], event: Event) -> list[Command]:
    """Return the commands of a rule for an event, texts filled in; none of them acts yet."""
    words = event_words(event)
    return [
        _command(rule, command_key(rule, event, index), one, words)
        for index, one in enumerate(actions)
    ]


def message_of(command: SendEmail | PostWebhook) -> Message:
    """Return the message that a notifier is to send under the command's key.

    Its channel is `email`, or `json` for a webhook: the body is posted as it stands.
    """
    if isinstance(command, SendEmail):
        to = ", ".join(command.to)
        return Message(channel="email", to=to, subject=command.subject, body=command.body)
    return Message(channel="json", to=command.url, subject=command.subject, body=command.body)


def text_mistakes(action: ActionSpec) -> list[tuple[tuple[str, ...], str]]:
    """Return the wrong names in an action's texts, each with the path of keys below it."""
    texts: list[tuple[tuple[str, ...], str]] = []
    if action.email is not None:
        texts.append((("email", "subject"), action.email.subject))
        texts.append((("email", "body"), action.email.body or ""))
    if action.audit is not None:
        texts.append((("audit", "note"), action.audit.note))
    for key in ("webhook", "trigger_dev"):
        found: Any = getattr(action, key)
        if found is not None:
            texts += [((key, "payload"), text) for text in texts_of_json(found.payload)]
    return [(path, wrong) for path, text in texts if (wrong := mistake_in_text(text))]


def _command(rule: str, key: str, action: ActionSpec, words: dict[str, Any]) -> Command:
    if action.email is not None:
        return _email(rule, key, action.email, words)
    if action.webhook is not None:
        return _webhook(rule, key, action.webhook, words)
    if action.retrain is not None:
        return Retrain(key=key, pipeline=action.retrain.pipeline)
    if action.rollback is not None:
        return RollBackService(key=key, service=action.rollback.service)
    if action.restart is not None:
        return RestartService(key=key, service=action.restart.service)
    if action.audit is not None:
        return WriteNote(key=key, note=filled(action.audit.note, words, rule))
    if action.trigger_dev is not None:
        payload = _json(filled_json(action.trigger_dev.payload or {}, words, rule))
        return TriggerTask(key=key, task=action.trigger_dev.task, payload=payload)
    if action.layout is not None:
        one = action.layout
        return ShowLayout(key=key, service=one.service, layout=one.layout)
    raise ValueError(f"an action of the rule {rule!r} names nothing to do")


def _email(rule: str, key: str, spec: EmailAction, words: dict[str, Any]) -> SendEmail:
    subject = one_line(filled(spec.subject, words, rule))
    body = _account(rule, words) if spec.body is None else filled(spec.body, words, rule)
    return SendEmail(key=key, to=spec.to, subject=subject, body=body)


def _webhook(rule: str, key: str, spec: WebhookAction, words: dict[str, Any]) -> PostWebhook:
    if spec.payload is None:
        content: Any = {"rule": rule, "event": {**words, "at": rfc3339(words["at"])}}
    else:
        content = filled_json(spec.payload, words, rule)
    return PostWebhook(
        key=key, url=spec.url, secret=spec.secret, subject=rule, body=_json(content)
    )


def _account(rule: str, words: dict[str, Any]) -> str:
    """Return what happened, for a person: the event and every fact, one a line."""
    lines = [f"The rule {rule} fired on {words['type']} at {rfc3339(words['at'])}."]
    lines += ["", f"subject: {words['subject']}", f"event: {words['id']}"]
    facts: dict[str, Any] = words["data"]
    lines += [f"{name}: {one_line(shown(facts[name]))}" for name in sorted(facts)]
    return "\n".join(lines) + "\n"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
