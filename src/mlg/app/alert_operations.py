"""Alerts as people see them: the list, one with all that is known, its sample, and acts."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from mlg.api.alerts import Matcher
from mlg.app.alert_acts import (
    AlertActs,
    alert_id,
    find_alert,
    maintenance_document,
    silence_document,
)
from mlg.app.alert_desk import AlertDesk
from mlg.app.alert_sample import logged_rows, personal_names, sample_document
from mlg.app.layouts import Layouts
from mlg.app.parts import Parts
from mlg.app.seals import Seals
from mlg.core.clock import Clock, rfc3339
from mlg.core.errors import ManifestError
from mlg.core.nodes import Attr, Node
from mlg.core.ports import ArtifactStore, Files, GraphReader, GraphStore
from mlg.core.principal import Principal
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Digest, Uri, parse_uri
from mlg.graph.record import Recorder
from mlg.manifest.specs import ManifestSpec
from mlg.monitors.hold import in_force

STATES: Final = ("open", "closed", "all")
_MOST: Final = 10_000
_SHORT: Final = (
    "service", "monitor", "kind", "feature", "metric", "chart", "statistic", "limit",
    "severity", "cause", "slice", "standing", "held", "acknowledged_by", "owner",
    "opened_event_time",
)  # fmt: skip
_WHOLE: Final = (
    "usual", "now", "drop", "n", "unit", "window", "remediation", "action", "on_alert", "text",
    "acknowledged_at", "acknowledged_note", "handed_over_by", "handed_over_note", "suspects",
)  # fmt: skip


class AlertOperations:
    """Implements the API's `Alerts`.

    Args:
        files: Keep what people asked for; have the wanted state.
        clock: Wall clock.
        store: The event log.
        reader: Knows the alerts.
        artifacts: Samples, and the layouts of models.
        seals: Find logged rows.
        spec: The manifest in force.
        recorder: Gives a recorder in the name of a person.
        versions: By monitor, the artifact of each version that may have answered.
        port: Where the page is.
    """

    def __init__(
        self,
        *,
        files: Files,
        clock: Clock,
        store: GraphStore,
        reader: GraphReader,
        artifacts: ArtifactStore,
        seals: Seals,
        spec: Callable[[], ManifestSpec | None],
        recorder: Callable[[str], Recorder],
        versions: Callable[[str], Mapping[str, Digest]],
        port: int,
    ) -> None:
        self._clock, self._reader, self._artifacts = clock, reader, artifacts
        self._seals, self._spec, self._recorder = seals, spec, recorder
        self._versions, self._port = versions, port
        self._desk = AlertDesk(files, clock)
        self._acts = AlertActs(
            desk=self._desk,
            clock=clock,
            store=store,
            reader=reader,
            spec=spec,
            recorder=recorder,
        )
        self._layouts = Layouts(files, artifacts)

    def alerts(self, state: str, service: str, limit: int) -> dict[str, Any]:
        """Return the alerts, newest first, with the silences and maintenance windows.

        Raises:
            ManifestError: No such state.
        """
        if state not in STATES:
            raise ManifestError(
                f"expected one of {', '.join(STATES)}, got {state[:40]!r}", where="state"
            )
        attr = ("service", service) if service else None
        nodes = self._reader.nodes(NodeQuery(kinds=("alert",), attr=attr, limit=_MOST)).nodes
        found = [
            n for n in nodes if state == "all" or (n.valid_to is None) == (state == "open")
        ]
        found.sort(key=lambda node: (node.valid_from, node.uri), reverse=True)
        now, desk = self._clock.now(), self._desk.read()
        return {
            "alerts": [self._document(node, _SHORT) for node in found[:limit]],
            "left_out": max(0, len(found) - limit),
            "silences": [silence_document(s) for s in desk.silences if in_force(s, now)],
            "maintenance": [
                maintenance_document(one) for one in desk.maintenance if now < one.end
            ],
        }

    def alert(self, alert: str) -> dict[str, Any]:
        """Return one alert with all that is known of it; its sample is a digest.

        Raises:
            NotFoundError: There is no such alert.
        """
        node = self._find(alert)
        attrs = dict(node.attrs)
        start, _, end = str(attrs.get("window") or "").partition("/")
        return {
            **self._document(node, (*_SHORT, *_WHOLE)),
            "window_start": start,
            "window_end": end,
            "limits": [-abs(_number(attrs, "limit")), abs(_number(attrs, "limit"))],
            "signals": self._signals(node.uri),
            "sample": attrs.get("sample"),
            "sampled": len(self._ids(node)),
        }

    def sample(self, alert: str) -> dict[str, Any]:
        """Return at most 1,000 logged rows behind an alert, personal fields masked.

        Raises:
            NotFoundError: There is no such alert.
            BackendError: The log cannot be read.
        """
        node = self._find(alert)
        attrs, ids = dict(node.attrs), self._ids(node)
        service, monitor = str(attrs.get("service") or ""), str(attrs.get("monitor") or "")
        rows = logged_rows(self._seals, service, ids) if ids else {}
        versions = self._layouts.versions(service, self._versions(monitor))
        layouts = {
            version: self._layouts.of(version, digest) for version, digest in versions.items()
        }
        personal = personal_names(self._spec())
        return {
            "alert": alert_id(node.uri),
            "service": service,
            "slice": attrs.get("slice"),
            **sample_document(ids, rows, layouts, personal),
        }

    def acknowledge(self, alert: str, note: str, principal: Principal) -> dict[str, Any]:
        """Say that a person knows of an alert."""
        return self._acts.acknowledge(alert, note, principal)

    def hand_over(self, alert: str, to: str, note: str, principal: Principal) -> dict[str, Any]:
        """Say who has an alert now."""
        return self._acts.hand_over(alert, to, note, principal)

    def silence(
        self, matcher: Matcher, until: str, reason: str, principal: Principal
    ) -> dict[str, Any]:
        """Let alerts page nobody until a time."""
        named = {
            "service": matcher["service"],
            "monitor": matcher["monitor"],
            "kind": matcher["kind"],
            "feature": matcher["feature"],
        }
        return self._acts.silence(named, until, reason, principal)

    def maintain(
        self,
        service: str | None,
        start: str | None,
        end: str,
        reason: str,
        principal: Principal,
    ) -> dict[str, Any]:
        """Declare planned work."""
        return self._acts.maintain(service, start, end, reason, principal)

    def lift(self, name: str, principal: Principal) -> dict[str, Any]:
        """End a silence or a maintenance window now."""
        return self._acts.lift(name, principal)

    def _find(self, alert: str) -> Node:
        return find_alert(self._reader, self._recorder("system:control").project, alert)

    def _document(self, node: Node, names: tuple[str, ...]) -> dict[str, Any]:
        attrs = dict(node.attrs)
        incident = parse_uri(node.uri)
        birth = f"@{incident.version}" if incident.version else ""
        closed = node.valid_to is not None
        return {
            "alert": alert_id(node.uri),
            "uri": node.uri,
            "state": "closed" if closed else "open",
            **{name: attrs.get(name) for name in names},
            "opened_at": rfc3339(node.valid_from),
            "closed_at": rfc3339(node.valid_to) if node.valid_to else None,
            "incident": incident.name.rpartition("/")[0] + birth,
            "page": _page(self._port, node.uri),
        }

    def _signals(self, alert: Uri) -> list[dict[str, Attr]]:
        """Return the statistics that were out in the alert, worst first."""
        above = WalkOptions(roles=("caused",), depth=1, limit=100)
        found = [one.node for one in self._reader.walk(alert, "up", above).nodes]
        mine = [dict(node.attrs) for node in found if node.kind == "drift_signal"]
        mine.sort(
            key=lambda one: (
                -abs(_number(one, "statistic") / (abs(_number(one, "limit")) or 1.0))
            )
        )
        return mine

    def _ids(self, node: Node) -> list[str]:
        digest = dict(node.attrs).get("sample")
        if not isinstance(digest, str) or not self._artifacts.has(Digest(digest)):
            return []
        content = self._artifacts.open(Digest(digest)).read_bytes()
        return [str(one) for one in json.loads(content).get("prediction_ids", ())]


def alerts_of(parts: Parts) -> AlertOperations:
    """Return the alerts of a control plane."""

    def versions(monitor: str) -> Mapping[str, Digest]:
        stored = parts.monitoring.standings().get(monitor)
        return stored.versions if stored else {}

    return AlertOperations(
        files=parts.files,
        clock=parts.clock,
        store=parts.store,
        reader=parts.reader,
        artifacts=parts.artifacts,
        seals=parts.seals,
        spec=parts.manifests.spec,
        recorder=parts.recorder,
        versions=versions,
        port=parts.control_port,
    )


def _number(attrs: dict[str, Attr], name: str) -> float:
    value = attrs.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _page(port: int, uri: Uri) -> str:
    return f"http://127.0.0.1:{port}/#trace={quote(uri, safe='')}"
