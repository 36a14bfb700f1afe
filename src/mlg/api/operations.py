"""What the API needs of the control plane, as values and functions handed in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlg.api.alerts import Alerts, NoAlerts
from mlg.api.baselines import Baselines, NoBaselines
from mlg.api.health import HealthAnswer
from mlg.api.schemas import (
    ExperimentActRequest,
    ExportRequest,
    GameDayRequest,
    RolloutStartRequest,
)
from mlg.api.security import Denial, Failure
from mlg.core.clock import Clock
from mlg.core.errors import NotFoundError
from mlg.core.events import StoredEvent
from mlg.core.ports import GraphHistory, GraphReader, GraphStore, Ids
from mlg.core.principal import Principal
from mlg.core.providers import Thing, Told
from mlg.core.reading import WalkOptions
from mlg.core.uris import EventId, Uri
from mlg.graph.answers import WalkAnswer
from mlg.graph.why import WhyAnswer
from mlg.workflows.enrich import Outcome

JsonObject = dict[str, Any]
"""A JSON object; its fields may be added to, never renamed."""


class Operations(Protocol):
    """What the control plane can do and tell; all synchronous, called in threads.

    Every method raises a LifecycleError in its own words; what it raises is answered with
    the error's HTTP status. Methods that act record their event themselves.
    """

    def plan(self, manifest_path: str) -> JsonObject:
        """Return what `apply` would change.

        Raises:
            ManifestError: The manifest is wrong, with file:line:column.
        """
        ...

    def apply(self, manifest_path: str, principal: Principal) -> JsonObject:
        """Make the manifest the one in force; the second time nothing changes.

        Raises:
            ManifestError: The manifest is wrong; the former one stays in force.
        """
        ...

    def run(self, pipeline: str, principal: Principal, params: JsonObject) -> JsonObject:
        """Start a pipeline and return `{"run_id"}` at once.

        Raises:
            NotFoundError: No such pipeline.
        """
        ...

    def run_status(self, run_id: str) -> JsonObject:
        """Return `{"run_id", "pipeline", "state", "steps": [{"name", "state", ...}], ...}`.

        Raises:
            NotFoundError: No such run.
        """
        ...

    def runs(self) -> list[JsonObject]:
        """Return the runs as `run_status` does, newest first."""
        ...

    def status(self) -> JsonObject:
        """Return `{"services": [{"service", "live", "versions", "health"}], "ports", "pids"}`.

        Raises:
            NotFoundError: Nothing runs.
        """
        ...

    def service_health(self, service: str) -> HealthAnswer:
        """Return how a service is; what is not known is None, with a reason.

        Raises:
            NotFoundError: No such service.
        """
        ...

    def live(self) -> JsonObject:
        """Return `{"project", **live_summary.summary(state)}`; called every second."""
        ...

    def prediction(self, prediction_id: str) -> JsonObject:
        """Return one answer as the log keeps it; the viewer is a keyed hash.

        Raises:
            NotFoundError: No such prediction, or it was erased.
        """
        ...

    def trace_prediction(
        self, prediction: str, options: WalkOptions | None = None
    ) -> WalkAnswer:
        """Return the trace, in the shape of `trace`, of a prediction's URI or bare id.

        Raises:
            NotFoundError: No such prediction.
        """
        ...

    def why_prediction(self, prediction: str) -> WhyAnswer:
        """Return why one answer was given, of a prediction's URI or bare id.

        Raises:
            NotFoundError: No such prediction.
        """
        ...

    def audit_export(self, asked: ExportRequest, principal: Principal) -> tuple[str, bytes]:
        """Return the file name and the bytes of a ZIP bundle that can be verified alone.

        Raises:
            ManifestError: Not exactly one thing is asked for, or a period is wrong.
            NotFoundError: No such prediction, model version or service.
        """
        ...

    def erase(
        self, viewer: str, service: str, reason: str, dry_run: bool, principal: Principal
    ) -> JsonObject:
        """Erase one viewer; an empty service means everything there is of him.

        Returns `{"erasure", "dry_run", "service", "log_records", "sealed_rows", "segments",
        "tables": [{"uri", "rows"}], "bundles", "models_removed", "models_needing_retraining",
        "models_trained_on_it", "not_searched", "sources"}`.

        Raises:
            NotFoundError: No such service.
            ManifestError: The viewer is empty, or the reason names him.
        """
        ...

    def collect(self, dry_run: bool, principal: Principal) -> JsonObject:
        """Erase what is past its retention, over all services.

        Returns `{"services": [{"service", "before", "rows", "segments", "log_files"}]}`.
        """
        ...

    def audit_verify(self) -> JsonObject:
        """Return `{"ok", "events", "first_bad": {"seq", "reason"} | None}`."""
        ...

    def restart(
        self, service: str, principal: Principal, *, gateways: bool = False
    ) -> JsonObject:
        """Replace the service's replicas one after the other, without a failed request.

        Args:
            service: Its name; empty with `gateways`.
            principal: Who asks.
            gateways: The gateways instead, each by a hot restart, one after the other.

        Raises:
            ManifestError: Neither or both are named.
            NotFoundError: No such service.
        """
        ...

    def rollout(self, service: str, *, evidence: bool = False) -> JsonObject:
        """Return where the newest rollout of a service stands, as `rollout status` prints it.

        Args:
            service: The service.
            evidence: Also `evidence`: how what each gate said grew, at most 100 points each.

        Raises:
            NotFoundError: There was none yet.
        """
        ...

    def rollout_act(
        self, service: str, act: str, reason: str, principal: Principal, *, key: str = ""
    ) -> JsonObject:
        """Tell the rollout in flight to pause, resume, promote, approve or roll back.

        The same key again is the same act; an empty one names a new one.

        Raises:
            ManifestError: There is no such act.
            ConflictError: No rollout of the service is in flight.
            DeniedError: It gives an approval, and the caller is not among those who may.
        """
        ...

    def rollout_start(self, asked: RolloutStartRequest, principal: Principal) -> JsonObject:
        """Start the rollout of a packaged version: `{"service", "rollout", "version", …}`.

        Raises:
            NotFoundError: No such service or version; the hint has the known ones.
            ConflictError: It serves, is on its way, or was taken back and `again` is empty.
        """
        ...

    def experiments(self) -> list[JsonObject]:
        """Return each experiment in force: `{"name", "service", "phase", "reason", …}`."""
        ...

    def experiment(self, name: str) -> JsonObject:
        """Return how one stands, with its cells and their verdicts.

        Raises:
            NotFoundError: No such experiment.
        """
        ...

    def experiment_plan(self, name: str) -> JsonObject:
        """Return what one needs before it is started: viewers and time of each cell.

        Raises:
            NotFoundError: No such experiment.
        """
        ...

    def experiment_act(self, asked: ExperimentActRequest, principal: Principal) -> JsonObject:
        """Start or stop one: `{"experiment", "name", "service"}`.

        Raises:
            ManifestError: There is no such act.
            NotFoundError: No such experiment, or a version of it is not known.
            ConflictError: Another one or a rollout is under way, or it does not run.
        """
        ...

    def automations(self) -> JsonObject:
        """Return `{"rules", "proposals", "runs", "frozen"}`; the newest runs first."""
        ...

    def answer_proposal(
        self, proposal: str, act: bool, reason: str, principal: Principal
    ) -> JsonObject:
        """Let a rule's proposal act, or turn it down; return `{"proposal", "rule", "acts"}`.

        Raises:
            NotFoundError: No such proposal waits.
            ConflictError: Everything is frozen.
        """
        ...

    def frozen(self) -> JsonObject:
        """Return `{"frozen", "by", "at", "reason"}`; the last three are null when it is not."""
        ...

    def freeze(self, on: bool, reason: str, principal: Principal) -> JsonObject:
        """Freeze, or let go on; the same again changes nothing. Return what `frozen` does."""
        ...

    def gamedays(self) -> JsonObject:
        """Return `{"faults": [...], "gameday": {...} | None}`: the newest one."""
        ...

    def gameday(self, asked: GameDayRequest, principal: Principal) -> JsonObject:
        """Make a fault on purpose; return the game day, which goes on by itself.

        Raises:
            NotFoundError: No such fault or service.
            ConflictError: One is under way, or production was not confirmed.
        """
        ...

    def gameday_end(self, gameday: str, principal: Principal) -> JsonObject:
        """End the fault of the game day now; its score follows.

        Raises:
            NotFoundError: It is not the newest game day.
        """
        ...

    def down(self, principal: Principal) -> JsonObject:
        """End the data plane and return; the control plane ends itself after the answer."""
        ...

    def metrics_text(self) -> str:
        """Return the control plane's own and the gateway-derived series, Prometheus text."""
        ...

    def metric_targets(self) -> list[JsonObject]:
        """Return `[{"targets": ["host:port"], "labels": {...}}]`, Prometheus HTTP discovery."""
        ...

    def gateway_port(self) -> int:
        """Return the port that viewers' requests go to; 0 when no gateway runs."""
        ...


class Hooks(Protocol):
    """What other systems tell the control plane."""

    def commit(
        self, headers: Mapping[str, str], body: bytes, principal: Principal
    ) -> tuple[int, JsonObject]:
        """Take a commit hook: verify it over the bytes as they came, record it, follow it.

        Returns the HTTP status and `{"outcome", "reason", "hook_id", "runs": [run id, ...]}`.
        `outcome` is `accepted` (202), `ignored` or `replayed` (200: genuine, nothing to do),
        `unsigned`, `wrong_signature` or `stale` (403), or `malformed` (422). Every outcome
        but `ignored` is an event.

        Raises:
            NotFoundError: No secret for hooks is set.
        """
        ...


class NoHooks:
    """Takes no hooks."""

    def commit(
        self, headers: Mapping[str, str], body: bytes, principal: Principal
    ) -> tuple[int, JsonObject]:
        """Refuse the hook.

        Raises:
            NotFoundError: Always.
        """
        del headers, body, principal
        raise NotFoundError(
            "no secret for hooks is set, so none is taken",
            where="MLG_HOOK_SECRET",
            hint="set MLG_HOOK_SECRET=secret://env/NAME before `mlg up`.",
        )


class NoHistory:
    """Knows of nothing."""

    def told(
        self, uris: Sequence[Uri], ids: Sequence[EventId] = (), limit: int = 40
    ) -> tuple[StoredEvent, ...]:
        """Return no event."""
        del uris, ids, limit
        return ()


class Providers(Protocol):
    """What other systems keep, and how it comes into the graph."""

    def types(self) -> Mapping[str, tuple[str, ...]]:
        """Return the types of each provider that thin events may name."""
        ...

    def ask(self, provider: str, things: Sequence[Thing]) -> None:
        """Remember durably that things are to be looked at; the look comes later.

        Raises:
            BackendError: It could not be remembered.
        """
        ...

    def standings(self, provider: str, state: str, limit: int) -> JsonObject:
        """Return `{"providers": [...], "things": [...]}`; empty texts stand for all."""
        ...

    def record(self, plugin: str, told: Sequence[Told]) -> tuple[Outcome, ...]:
        """Record states that a provider told elsewhere.

        Raises:
            ManifestError: No such plug-in is installed.
            BackendError: The graph could not be written.
        """
        ...


class NoProviders:
    """Knows no provider."""

    def types(self) -> Mapping[str, tuple[str, ...]]:
        """Return nothing."""
        return {}

    def ask(self, provider: str, things: Sequence[Thing]) -> None:
        """Refuse.

        Raises:
            NotFoundError: Always.
        """
        raise NotFoundError(f"no provider {provider!r}", where=", ".join(t.id for t in things))

    def standings(self, provider: str, state: str, limit: int) -> JsonObject:
        """Return empty lists."""
        del provider, state, limit
        return {"providers": [], "things": []}

    def record(self, plugin: str, told: Sequence[Told]) -> tuple[Outcome, ...]:
        """Refuse.

        Raises:
            NotFoundError: Always.
        """
        raise NotFoundError(f"no provider {plugin!r}", where=", ".join(t.name for t in told))


def _unrecorded(_: Denial | Failure) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """Everything the API is handed: it opens and starts nothing itself."""

    reader: GraphReader
    store: GraphStore
    operations: Operations
    clock: Clock
    ids: Ids
    history: GraphHistory = field(default_factory=NoHistory)
    hooks: Hooks = field(default_factory=NoHooks)
    providers: Providers = field(default_factory=NoProviders)
    alerts: Alerts = field(default_factory=NoAlerts)
    baselines: Baselines = field(default_factory=NoBaselines)
    project: Callable[[], str] = lambda: "mlg"
    """Name of the project in force, for what others record without naming one."""
    on_denied: Callable[[Denial], None] = _unrecorded
    """Called in a thread for each recorded denial."""
    on_failure: Callable[[Failure], None] = _unrecorded
    """Called in a thread for each exception that nobody expected."""
