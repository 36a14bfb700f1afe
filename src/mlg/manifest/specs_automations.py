"""`automations:` what starts a rule, under which condition, and what it does."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from mlg.manifest.specs_base import Json, Name, Seconds, Spec, Text

Address = Annotated[
    str,
    Meta(
        pattern=r"^[^\s@<>,;:\"()]{1,64}@[^\s@<>,;:\"()]{1,255}$",
        extra={"expected": "a mail address, like marketing@example.com"},
    ),
]

WebAddress = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/?#@]+([/?][^\s#]*)?$",
        max_length=2000,
        extra={"expected": "an http or https address without a user, like https://host/path"},
    ),
]

SecretRef = Annotated[
    str,
    Meta(
        pattern=r"^secret://(env|file)/.+$",
        extra={"expected": "secret://env/NAME or secret://file/PATH"},
    ),
]

Payload = dict[str, Json]
"""JSON object; `{event.data.x}` in its texts is filled in."""


class TriggerSpec(Spec, frozen=True, kw_only=True):
    """What starts a rule; exactly one of the kinds, and for whom."""

    EXACTLY_ONE: ClassVar = ("alert", "confidence_drop", "rollout", "run", "health", "schedule")

    alert: Name | None = None
    """An alert opened: its kind, its monitor, its feature or metric, or `any`."""
    confidence_drop: Name | None = None
    """An alert of the kind `confidence_drop` on this service, or on `any`."""
    rollout: Literal["promoted", "rolled_back", "paused", "failed", "any"] | None = None
    """A rollout came to this state."""
    run: Literal["done", "failed", "any"] | None = None
    """A run of a pipeline ended so."""
    health: Name | None = None
    """A deployment's health became this word, or `any`."""
    schedule: Text | None = None
    """A cron line; stored, starts nothing yet."""
    service: Name | None = None
    """Only what concerns this service."""
    pipeline: Name | None = None
    """Only what concerns this pipeline."""


class EmailAction(Spec, frozen=True, kw_only=True):
    """A mail through the server of the settings."""

    to: Annotated[
        tuple[Address, ...],
        Meta(
            min_length=1,
            extra={"one_or_many": True, "expected": "a mail address or a list of them"},
        ),
    ]
    """Who gets it; one address may be written without the list."""
    subject: Text
    """Subject; `{event.data.x}` is filled in."""
    body: Text | None = None
    """Text; `{event.data.x}` is filled in. Left out: what happened, with the event's data."""


class WebhookAction(Spec, frozen=True, kw_only=True):
    """A signed POST of JSON."""

    url: WebAddress
    """Where to."""
    secret: SecretRef | None = None
    """Signs by the Standard Webhooks scheme; unsigned if left out."""
    payload: Payload | None = None
    """What to send; left out: the event."""


class RetrainAction(Spec, frozen=True, kw_only=True):
    """A run of a pipeline."""

    pipeline: Name
    """Which."""


class RollbackAction(Spec, frozen=True, kw_only=True):
    """The service goes back to the version before; acts also while everything is frozen."""

    service: Name
    """Which."""


class RestartAction(Spec, frozen=True, kw_only=True):
    """Replicas are replaced one after the other."""

    service: Name
    """Which service's."""


class AuditAction(Spec, frozen=True, kw_only=True):
    """A note in the graph."""

    note: Text
    """Text; `{event.data.x}` is filled in."""


class TriggerDevAction(Spec, frozen=True, kw_only=True):
    """A task of Trigger.dev; stored, not sent yet."""

    task: Text
    """Identifier of the task."""
    payload: Payload | None = None
    """What the task is given."""


class LayoutAction(Spec, frozen=True, kw_only=True):
    """Another layout of a service's page; stored, not put in force yet."""

    service: Name
    """Which service."""
    layout: Name
    """Name of the layout."""


class ActionSpec(Spec, frozen=True, kw_only=True):
    """One action; exactly one of the kinds."""

    EXACTLY_ONE: ClassVar = (
        "email", "webhook", "retrain", "rollback", "restart", "audit", "trigger_dev", "layout",
    )  # fmt: skip

    email: EmailAction | None = None
    """Send a mail."""
    webhook: WebhookAction | None = None
    """Post to an address."""
    retrain: RetrainAction | None = None
    """Run a pipeline."""
    rollback: RollbackAction | None = None
    """Go back to the version before."""
    restart: RestartAction | None = None
    """Replace a service's replicas."""
    audit: AuditAction | None = None
    """Leave a note."""
    trigger_dev: TriggerDevAction | None = None
    """Start a task elsewhere."""
    layout: LayoutAction | None = None
    """Change a layout."""


class AutomationSpec(Spec, frozen=True, kw_only=True):
    """A rule: when something happens and a condition holds, do something."""

    autonomy: Literal["observe", "propose", "act"] = "propose"
    """`observe` records what it would do, `propose` asks a person, `act` does it."""
    on: TriggerSpec
    """What starts the rule."""
    condition: Text | None = field(name="if", default=None)
    """A condition in CEL; it sees `event` and `graph`."""
    do: Annotated[tuple[ActionSpec, ...], Meta(min_length=1, max_length=20)]
    """Actions, in order."""
    cooldown_s: Seconds | None = field(name="cooldown", default=None)
    """Least time between two firings of the rule, in event time."""
    per_hour: Annotated[int, Meta(ge=1, le=1000)] = 20
    """Most firings in any hour of event time; more are recorded and do nothing."""
