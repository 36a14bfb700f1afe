"""The Python client of the control plane: what the command line calls, as methods."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from socket import gethostname
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import quote

from mlg.client.alerts import AlertCalls
from mlg.client.baselines import BaselineCalls
from mlg.client.outbox import HostClock, Outbox
from mlg.client.recording import Dataset, RecordedRun, Scalar, dataset_of
from mlg.client.sources import account, code_of
from mlg.client.spool import Spool, default_folder
from mlg.client.wire import DEFAULT_URL

JsonObject = dict[str, Any]
RECORD_S: Final = 5.0
"""Longest wait of a record: after it, the record waits on disk."""
LONG_S: Final = 600.0
"""Wait of the calls that do work before they answer: apply, restart, down, exports."""


class WalkHow(TypedDict, total=False):
    """How far `trace` and `impact` go; what is not given is not limited."""

    depth: int | None
    limit: int
    """Nodes at most, the nearest: 1 to 10,000."""
    as_of: str | None
    """How things were at this time (RFC 3339)."""
    known_at: str | None
    """What was recorded by this time, or up to this seq of the log."""
    kinds: Sequence[str]
    """Only nodes of these kinds are told; the walk goes through all."""
    classes: Sequence[str]
    """Of edges; `lineage` and `causal` when none are given."""
    roles: Sequence[str]
    """Of edges; every role of the classes when none are given."""
    stop_at: Sequence[str]
    """Roles that are not followed."""


class Client(AlertCalls, BaselineCalls):
    """Talks to one control plane; every call is one connection, so threads may share it.

    Every method returns the API's document. It raises the LifecycleError that the control
    plane answered, in its own words, or a BackendError when nothing answers at the address.

    Args:
        url: Where the control plane listens; only `http`. None: nowhere; what is recorded
            waits on disk.
        timeout_s: Seconds to wait for a connection or an answer.
        spool: Folder where records wait that could not be sent; default `MLG_SPOOL`, else
            `~/.local/state/mlg/spool`.
    """

    def __init__(
        self,
        url: str | None = DEFAULT_URL,
        timeout_s: float = 30.0,
        *,
        spool: str | Path | None = None,
    ) -> None:
        clock, nobody = HostClock(), url is None
        folder = Path(spool) if spool else default_folder(os.environ, os.path.expanduser("~"))
        self._outbox = Outbox(
            Spool(folder, url.rstrip("/") if url else None, clock),
            None if nobody else self._post_records,
            clock,
        )
        self._clock, self.spool = clock, folder
        super().__init__(url, timeout_s)

    def status(self) -> JsonObject:
        """Return what runs: services, ports, processes."""
        return self._get("status")

    def services(self) -> JsonObject:
        """Return `{"services"}`, as in `status`."""
        return self._get("services")

    def service_health(self, service: str) -> JsonObject:
        """Return the health of a service: `mlg.api.health.HealthAnswer` as JSON."""
        return self._get(f"services/{_part(service)}/health")

    def live(self) -> JsonObject:
        """Return the live counters."""
        return self._get("live")

    def plan(self, manifest_path: str) -> JsonObject:
        """Return what applying the manifest would change."""
        return self._post("plan", {"manifest_path": manifest_path}, LONG_S)

    def apply(self, manifest_path: str) -> JsonObject:
        """Make the manifest the one in force."""
        return self._post("apply", {"manifest_path": manifest_path}, LONG_S)

    def run(self, pipeline: str, params: Mapping[str, Any] | None = None) -> JsonObject:
        """Start a pipeline and return `{"run_id"}`; the run goes on by itself."""
        body = {"pipeline": pipeline, "params": dict(params or {})}
        return self._post("runs", body, LONG_S)

    def runs(self) -> JsonObject:
        """Return `{"runs"}`, newest first."""
        return self._get("runs")

    def run_status(self, run_id: str) -> JsonObject:
        """Return where a run stands, step by step."""
        return self._get(f"runs/{_part(run_id)}")

    def events(
        self,
        after: int = 0,
        limit: int = 1_000,
        *,
        newest: int | None = None,
        subject: str | None = None,
    ) -> JsonObject:
        """Return `{"events", "head", "cursor", "truncated"}`, in order.

        Args:
            after: Only events with a greater seq; `cursor` is the next one to give.
            limit: Most events, at most 10,000.
            newest: The newest so many instead.
            subject: Only events about this URI; at most 20,000 are looked at.
        """
        return self._get("events", after=after, limit=limit, newest=newest, subject=subject)

    def nodes(
        self,
        kinds: Sequence[str] = (),
        *,
        uri: str | None = None,
        attr: tuple[str, str] | None = None,
        as_of: str | None = None,
        known_at: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> JsonObject:
        """Return `{"nodes", "total", "truncated", "cursor"}`, in URI order."""
        named = None if attr is None else f"{attr[0]}={attr[1]}"
        return self._get(
            "nodes",
            kind=kinds,
            uri=uri,
            attr=named,
            as_of=as_of,
            known_at=known_at,
            limit=limit,
            cursor=cursor,
        )

    def trace(self, uri: str, **how: Unpack[WalkHow]) -> JsonObject:
        """Return the causes and sources of a thing, of a prediction also by its bare id."""
        return self._get("trace", uri=uri, **how)

    def why(self, uri: str, *, did_not: str | None = None) -> JsonObject:
        """Return `{"uri", "paragraph", "clauses", …}`; a clause names its event.

        Args:
            uri: A thing, a prediction or its bare id, or the name of a service.
            did_not: What did not happen: promoted, restarted, healed or alerted.
        """
        return self._get("why", None, **{"uri": uri, "not": did_not})

    def impact(self, uri: str, **how: Unpack[WalkHow]) -> JsonObject:
        """Return what came of a thing."""
        return self._get("impact", uri=uri, **how)

    def diff(
        self, a: str, b: str, *, as_of: str | None = None, known_at: str | None = None
    ) -> JsonObject:
        """Return what differs between two versions of one kind."""
        return self._get("diff", a=a, b=b, as_of=as_of, known_at=known_at)

    def unused(
        self, *, kinds: Sequence[str] = (), since: str = "30d", limit: int = 100
    ) -> JsonObject:
        """Return what nothing live comes of and nothing used since, the longest idle first."""
        return self._get("unused", kind=kinds, since=since, limit=limit)

    def quality(
        self, uri: str | None = None, *, kinds: Sequence[str] = (), limit: int = 100
    ) -> JsonObject:
        """Return how well things are described, the worst first, and a summary by kind."""
        return self._get("quality", uri=uri, kind=kinds, limit=limit)

    def production(
        self, service: str, at: str | None = None, *, known_at: str | None = None
    ) -> JsonObject:
        """Return which versions took traffic at a time (RFC 3339); now when none is given."""
        return self._get("production", service=service, at=at, known_at=known_at)

    def search(self, text: str, *, kinds: Sequence[str] = (), limit: int = 50) -> JsonObject:
        """Return `{"nodes", "truncated"}`: those that match every word, best first."""
        return self._get("search", q=text, kind=kinds, limit=limit)

    def rebuild(self) -> JsonObject:
        """Make the graph's projections again from the log; return `{"events"}` read."""
        return self._post("graph/rebuild", {}, LONG_S)

    def prediction(self, prediction_id: str) -> JsonObject:
        """Return one answer as the log keeps it."""
        return self._get(f"predictions/{_part(prediction_id)}")

    def audit_export(
        self,
        prediction_id: str | None = None,
        *,
        model_version: str | None = None,
        service: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> tuple[str, bytes]:
        """Return the file name and the bytes of a bundle that can be verified alone.

        Args:
            prediction_id: Of one answer; or
            model_version: URI of a model version; or
            service: Name of a service, with the period:
            since: From when, RFC 3339, inclusive.
            until: Up to when, RFC 3339, exclusive.
        """
        given = {
            "prediction_id": prediction_id,
            "model_version": model_version,
            "service": service,
            "from": since,
            "to": until,
        }
        asked = json.dumps({k: v for k, v in given.items() if v is not None}).encode()
        response, body = self._call("POST", "/api/v1/audit-exports", asked, LONG_S)
        _, _, name = (response.getheader("Content-Disposition") or "").partition('filename="')
        return name.rstrip('"') or "audit.zip", body

    def erase(
        self,
        viewer: str | int,
        *,
        service: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> JsonObject:
        """Erase one viewer for good, from one service's answers or, without one, everywhere."""
        told = {"viewer": viewer, "service": service, "all": service is None}
        return self._post("erasures", {**told, "reason": reason, "dry_run": dry_run}, LONG_S)

    def collect(self, *, dry_run: bool = False) -> JsonObject:
        """Erase what is past its retention, now."""
        return self._post("gc", {"dry_run": dry_run}, LONG_S)

    def audit_verify(self) -> JsonObject:
        """Return `{"ok", "events", "first_bad"}` of the event log's chain."""
        return self._get("audit/verify", timeout_s=LONG_S)

    def restart(self, service: str = "", *, gateways: bool = False) -> JsonObject:
        """Replace the service's replicas one by one, or have the gateways hand over."""
        told = {"service": service, "gateways": gateways}
        return self._post("restart", told, LONG_S)

    def rollout(self, service: str, *, evidence: bool = False) -> JsonObject:
        """Return where the newest rollout of a service stands.

        Args:
            service: The service.
            evidence: Also how what each gate said grew, at most 100 points each.
        """
        asked = "?evidence=true" if evidence else ""
        return self._get(f"services/{quote(service, safe='')}/rollout{asked}")

    def rollout_timeline(self, service: str, rollout: str | None = None) -> JsonObject:
        """Return how a version came, of the newest rollout or of that id."""
        return self._get(f"services/{_part(service)}/rollout/timeline", rollout=rollout)

    def rollout_start(
        self, service: str, version: str, reason: str = "", *, again: str = "", key: str = ""
    ) -> JsonObject:
        """Start the rollout of a packaged version; `again`: why one that was taken back."""
        told = {"service": service, "version": version, "reason": reason, "again": again}
        return self._post("rollouts/start", {**told, "key": key}, self.timeout_s)

    def rollout_act(
        self, service: str, act: str, reason: str = "", *, key: str = ""
    ) -> JsonObject:
        """Tell the rollout in flight what to do; it answers at its next look."""
        told = {"service": service, "act": act, "reason": reason, "key": key}
        return self._post("rollouts/acts", told, self.timeout_s)

    def experiments(self) -> list[JsonObject]:
        """Return each experiment in force with its service, phase and reason."""
        return self._get("experiments")["experiments"]

    def experiment(self, name: str) -> JsonObject:
        """Return how an experiment stands, with its cells and their verdicts."""
        return self._get(f"experiments/{_part(name)}")

    def experiment_plan(self, name: str) -> JsonObject:
        """Return how many viewers an experiment needs and how long that takes."""
        return self._get(f"experiments/{_part(name)}/plan")

    def experiment_act(
        self, name: str, act: str, reason: str = "", *, key: str = ""
    ) -> JsonObject:
        """Start or stop an experiment."""
        told = {"experiment": name, "act": act, "reason": reason, "key": key}
        return self._post("experiments/acts", told, self.timeout_s)

    def automations(self) -> JsonObject:
        """Return the rules in force, their newest answers, and what waits for a person."""
        return self._get("automations")

    def answer_proposal(self, proposal: str, act: bool, reason: str = "") -> JsonObject:
        """Let a rule's proposal act, or turn it down."""
        told = {"proposal": proposal, "act": act, "reason": reason}
        return self._post("automations/proposals", told, self.timeout_s)

    def frozen(self) -> JsonObject:
        """Return whether everything is frozen, by whom, since when and why."""
        return self._get("freeze")

    def freeze(self, on: bool = True, reason: str = "") -> JsonObject:
        """Stop every act that nobody asked for but rollbacks, or let them go on."""
        return self._post("freeze", {"on": on, "reason": reason}, self.timeout_s)

    def gamedays(self) -> JsonObject:
        """Return the faults that can be made on purpose, and the newest game day."""
        return self._get("gamedays")

    def gameday(
        self,
        fault: str,
        service: str,
        *,
        environment: str = "staging",
        seconds: float | None = None,
        confirmed: bool = False,
    ) -> JsonObject:
        """Make a fault on purpose; return the game day, which goes on by itself."""
        told = {
            "fault": fault,
            "service": service,
            "environment": environment,
            "seconds": seconds,
            "confirmed": confirmed,
        }
        return self._post("gamedays", told, self.timeout_s)

    def gameday_end(self, gameday: str) -> JsonObject:
        """End a game day's fault now; its score follows."""
        return self._post("gamedays/end", {"gameday": gameday}, self.timeout_s)

    def commit_hook(self, body: bytes, signature: str) -> JsonObject:
        """Tell of a commit as CI does; return `{"outcome", "reason", "hook_id", "runs"}`.

        Args:
            body: The hook as JSON.
            signature: Its `mlg-signature`, from `automations.hooks.signature`.
        """
        headers = {"mlg-signature": signature}
        return json.loads(self._call("POST", "/api/v1/hooks/commit", body, LONG_S, headers)[1])

    def lineage(self, body: bytes) -> JsonObject:
        """Send OpenLineage events; return `{"accepted", "refused", "results"}`.

        Args:
            body: One event, or an array of at most 1,000, as JSON of at most 1 MiB.
        """
        return json.loads(self._call("POST", "/api/v1/lineage", body, LONG_S)[1])

    def thin_events(self, events: Sequence[Mapping[str, str]]) -> JsonObject:
        """Tell that things changed: `{provider, type, id}` each, at most 1,000.

        Return `{"accepted", "refused", "results"}`; the provider is asked soon after.
        """
        body = json.dumps(list(events)).encode()
        return json.loads(self._call("POST", "/api/v1/events", body, self.timeout_s)[1])

    def states(self, body: bytes) -> JsonObject:
        """Send states that a provider told; return `{"recorded", "unchanged", "refused", …}`.

        Args:
            body: `{"provider", "states"}` as JSON of at most 1 MiB, at most 1,000 states.
        """
        return json.loads(self._call("POST", "/api/v1/states", body, LONG_S)[1])

    def providers(self, provider: str = "", state: str = "", limit: int = 100) -> JsonObject:
        """Return `{"providers", "things"}`: where each stands; empty texts stand for all."""
        return self._get("providers", provider=provider, things=state, limit=limit)

    def dataset(
        self,
        uri: str,
        version: str | None = None,
        *,
        digest: str | None = None,
        rows: int | None = None,
    ) -> Dataset:
        """Return data that a recorded run reads or writes; nothing is sent yet.

        Args:
            uri: Where it lies (`s3://lake/users`), or a name of the project's own (`users`).
            version: Whatever names this state of it: a date, a number, a digest.
            digest: sha256 of its bytes.
            rows: How many it has.
        """
        return dataset_of(uri, version, digest, rows)

    def record_run(
        self,
        name: str,
        *,
        inputs: Sequence[Dataset] = (),
        params: Mapping[str, Scalar] | None = None,
        project: str = "",
    ) -> RecordedRun:
        """Record that a run of one's own began; use it in a `with`.

        When the control plane does not answer, records wait on disk and are sent at the next
        contact, each once and with its own time.

        Args:
            name: What is trained; the pipeline that this is a run of.
            inputs: What it reads.
            params: Its parameters.
            project: Whose; empty is the control plane's.

        Examples:
            >>> client = Client(None, spool="waiting")
            >>> client.dataset("s3://lake/users", version="2026-11-01").version
            '2026-11-01'
        """
        run = RecordedRun(
            name,
            put=self._outbox.put,
            ended=self._outbox.try_flush,
            clock=self._clock,
            project=project,
        )
        by = f"{account()}@{gethostname()}"
        return run.begin(inputs, params or {}, code_of(Path.cwd()), by)

    def replay(self, *, anyone: bool = False) -> JsonObject:
        """Send the records that wait on disk; return `{"sent", "refused", "cut", …}`.

        Args:
            anyone: Also those recorded for another address, or for none.
        """
        return self._outbox.flush(anyone=anyone).as_dict()

    def close(self) -> None:
        """Let go of the file of waiting records, so that others may send it."""
        self._outbox.close()

    def _post_records(self, body: bytes) -> JsonObject:
        wait_s = min(self.timeout_s, RECORD_S)
        return json.loads(self._call("POST", "/api/v1/records", body, wait_s)[1])

    def down(self) -> JsonObject:
        """End everything, the control plane last."""
        return self._post("down", {}, LONG_S)

    def metrics(self) -> str:
        """Return the control plane's series, in Prometheus' text format."""
        return self._call("GET", "/metrics", None, self.timeout_s)[1].decode()

    def metric_targets(self) -> list[JsonObject]:
        """Return what Prometheus should scrape."""
        return self._get("metrics/targets")


def _part(text: str) -> str:
    return quote(text, safe="")
