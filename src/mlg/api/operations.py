"""What the API needs of the control plane, as values and functions handed in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlg.api.schemas import ExportRequest
from mlg.api.security import Denial, Failure
from mlg.core.clock import Clock
from mlg.core.errors import NotFoundError
from mlg.core.ports import GraphReader, GraphStore, Ids
from mlg.core.principal import Principal
from mlg.graph.answers import WalkAnswer

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

    def service_health(self, service: str) -> JsonObject:
        """Return `{"service", "live", "health", "replicas": [...]}`.

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

    def trace_prediction(self, prediction: str) -> WalkAnswer:
        """Return the trace, in the shape of `trace`, of a prediction's URI or bare id.

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

    def audit_verify(self) -> JsonObject:
        """Return `{"ok", "events", "first_bad": {"seq", "reason"} | None}`."""
        ...

    def restart(self, service: str, principal: Principal) -> JsonObject:
        """Replace the service's replicas one after the other, without a failed request.

        Raises:
            NotFoundError: No such service.
        """
        ...

    def rollout(self, service: str) -> JsonObject:
        """Return where the newest rollout of a service stands, as `rollout status` prints it.

        Raises:
            NotFoundError: There was none yet.
        """
        ...

    def rollout_act(
        self, service: str, act: str, reason: str, principal: Principal
    ) -> JsonObject:
        """Tell the rollout in flight to pause, resume, promote, approve or roll back.

        Raises:
            ManifestError: There is no such act.
            ConflictError: No rollout of the service is in flight.
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
    hooks: Hooks = field(default_factory=NoHooks)
    on_denied: Callable[[Denial], None] = _unrecorded
    """Called in a thread for each recorded denial."""
    on_failure: Callable[[Failure], None] = _unrecorded
    """Called in a thread for each exception that nobody expected."""
