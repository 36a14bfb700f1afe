"""The shapes of requests, refusals and lists; answers of the graph are `mlg.graph.answers`.

Fields may be added, never renamed.
"""

from typing import Annotated, Any, Literal

import msgspec


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every refusal and failure."""

    error: str
    what: str
    where: str = ""
    hint: str = ""


class ServicesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The services, as in `status`."""

    services: list[dict[str, Any]]


class RunsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The runs, newest first."""

    runs: list[dict[str, Any]]


class ManifestRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which manifest to plan or apply; a path on the control plane's machine."""

    manifest_path: str


class RunRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pipeline to run."""

    pipeline: str
    params: dict[str, Any] = {}


_Named = Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]


class ExportRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"from_": "from"},
):
    """What to account for: one answer, one model version, or a service over a period."""

    prediction_id: _Named | None = None
    """Id or URI of the prediction."""
    model_version: _Named | None = None
    """URI of the model version."""
    service: _Named | None = None
    """Name or URI of the service; it needs `from` and `to`."""
    from_: _Named | None = None
    """RFC 3339, inclusive."""
    to: _Named | None = None
    """RFC 3339, exclusive."""


class ErasureRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to erase: from one service's answers, or with `all` from everything."""

    viewer: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)] | int
    service: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None
    all: bool = False
    reason: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    dry_run: bool = False


class CollectRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether to erase what is past its retention, or only to look."""

    dry_run: bool = False


class RestartRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which service's replicas to restart, or, without one, the gateways."""

    service: str = ""
    gateways: bool = False


class RolloutActRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a rollout is told: pause, resume, promote, approve or rollback."""

    service: str
    act: str
    reason: str = ""
    key: str = ""
    """Names the act; the same again is done once."""


class RolloutStartRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Which version is to take over a service."""

    service: str
    version: str
    reason: str = ""
    again: str = ""
    """Why one that was taken back may be tried again."""
    key: str = ""
    """Names the start; the same again starts once."""


class ExperimentActRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What an experiment is told: start or stop."""

    experiment: str
    act: str
    reason: str = ""
    key: str = ""
    """Names the act; the same again is done once."""


class ProposalRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a rule's proposal may act, and why."""

    proposal: str
    act: bool
    reason: str = ""


class FreezeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether everything is to be frozen, and why."""

    on: bool
    reason: str = ""


class GameDayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault to make on purpose."""

    fault: str
    service: str
    environment: Literal["staging", "production"] = "staging"
    seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] | None = None
    """How long it is on, or watched; none: as long as the fault needs."""
    confirmed: bool = False
    """Whether somebody said yes to what hurts in production."""


class GameDayEndRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The game day whose fault is to end now."""

    gameday: str


class NothingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing to say: `{}`."""


class HookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a hook."""

    outcome: str
    """`accepted`, `ignored`, `replayed`, or why it is refused: `wrong_signature`, `stale`…"""
    reason: str = ""
    hook_id: str = ""
    """Empty where the hook is not genuine."""
    runs: list[str] = []
    """Ids of the runs that it started."""
    pipelines: list[str] = []
    """Of each of these runs, the pipeline."""


class RebuiltAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many events the projections were made from."""

    events: int


class LineageResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one OpenLineage event."""

    index: int
    """Its place in the array that was sent, from 0."""
    status: Literal["accepted", "refused"]
    """`accepted` also where the same event was there before."""
    key: str = ""
    """`openlineage:` and the digest of what was sent; empty when refused."""
    subject: str = ""
    """URI of the run, pipeline or dataset; empty when refused."""
    error: str = ""
    what: str = ""
    where: str = ""
    """JSON path of what is wrong in a refused event."""
    hint: str = ""


class LineageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the OpenLineage events of one request."""

    accepted: int
    refused: int
    results: list[LineageResult]
    """One per event, in the order sent."""


class ThinEventResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one thin event."""

    index: int
    """Its place in the array that was sent, from 0."""
    status: Literal["accepted", "refused"]
    error: str = ""
    what: str = ""
    where: str = ""
    """JSON path of what is wrong in a refused event."""
    hint: str = ""


class ThinEventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the thin events of one request; the accepted ones are looked at soon."""

    accepted: int
    refused: int
    results: list[ThinEventResult]


class StateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one state that a provider told."""

    type: str
    id: str
    subject: str
    """URI of its node."""
    status: Literal["recorded", "unchanged", "refused"]
    error: str = ""
    what: str = ""
    where: str = ""
    hint: str = ""


class StatesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the states of one request; of two about one thing the last counts."""

    recorded: int
    unchanged: int
    refused: int
    results: list[StateResult]


class ProviderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where one provider stands."""

    provider: str
    """Its name in the settings; `import:PLUGIN` for what came by imports."""
    plugin: str
    types: list[str]
    """What thin events may name."""
    state: Literal["up", "down", "not watched"]
    problem: str
    """Why it is down."""
    waiting: int
    enriched: int
    failing: int
    last_enriched_at: str | None
    sweeping: bool


class EnrichmentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where one thing of a provider stands."""

    provider: str
    type: str
    id: str
    state: Literal["waiting", "enriched", "failing"]
    tries: int
    next_at: str | None
    last_enriched_at: str | None
    error: str


class ProvidersAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where the providers and some of their things stand."""

    providers: list[ProviderAnswer]
    things: list[EnrichmentAnswer]
