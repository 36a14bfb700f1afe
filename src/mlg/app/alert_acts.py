"""What people do about alerts: acknowledge, hand over, silence, maintenance windows.

Each act is one event with its author, and takes effect through the desk's file. What is set is
told before it holds, and what is lifted is told after it holds no more: a process that is
killed in between leaves an alert that pages, and the same act again completes it.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

from mlg.app.alert_desk import AlertDesk
from mlg.app.losses import KIND, MONITOR
from mlg.core.clock import Clock, rfc3339
from mlg.core.errors import ManifestError, NotFoundError
from mlg.core.nodes import Attr, Node
from mlg.core.ports import GraphReader, GraphStore
from mlg.core.principal import Principal
from mlg.core.reading import NodeQuery
from mlg.core.uris import Uri, make_uri, parse_uri
from mlg.graph import record_alert_acts
from mlg.graph.record import Recorder
from mlg.manifest.specs import ManifestSpec
from mlg.monitors.hold import (
    MOST_TEXT,
    Acknowledged,
    Maintenance,
    Silence,
    acknowledged,
    lifted,
    maintained,
    moment,
    silenced,
)
from mlg.monitors.kinds import KINDS
from mlg.workflows.record import append_once

_MOST: Final = 10_000


class AlertActs:
    """Does what people ask of alerts.

    Args:
        desk: Keeps it.
        clock: Wall clock.
        store: The event log.
        reader: Knows the alerts.
        spec: The manifest in force.
        recorder: Gives a recorder in the name of a person.
    """

    def __init__(
        self,
        *,
        desk: AlertDesk,
        clock: Clock,
        store: GraphStore,
        reader: GraphReader,
        spec: Callable[[], ManifestSpec | None],
        recorder: Callable[[str], Recorder],
    ) -> None:
        self._desk, self._clock, self._store = desk, clock, store
        self._reader, self._spec, self._recorder = reader, spec, recorder

    def acknowledge(self, alert: str, note: str, principal: Principal) -> dict[str, Any]:
        """Say that a person knows of an alert; its release from a hold pages nobody then.

        Raises:
            NotFoundError: There is no such alert.
            ManifestError: The note is too long.
        """
        node = find_alert(self._reader, self._recorder("system:control").project, alert)
        told = Acknowledged(by=principal.subject, at=self._clock.now(), note=note)
        with self._desk.changing:
            desk, stands, new = acknowledged(self._desk.read(), node.uri, told)
            key = f"alert:acknowledged:{node.uri}:{_digest(stands.by, stands.note)}"
            event = record_alert_acts.alert_acted(
                self._recorder(principal.subject),
                key=f"{key}:{rfc3339(stands.at)}",
                word="acknowledged",
                alert=node.uri,
                note=stands.note,
                at=stands.at,
            )
            append_once(self._store, (event,))
            self._desk.write(desk)
        return {
            "alert": alert_id(node.uri),
            "acknowledged_by": stands.by,
            "acknowledged_at": rfc3339(stands.at),
            "note": stands.note,
            "new": new,
        }

    def hand_over(self, alert: str, to: str, note: str, principal: Principal) -> dict[str, Any]:
        """Say who has an alert now: a person, or `team:<name>`.

        Raises:
            NotFoundError: There is no such alert.
            ManifestError: Nobody is named, or a text is too long.
        """
        node = find_alert(self._reader, self._recorder("system:control").project, alert)
        to = to.strip()
        if not to or max(len(to), len(note)) > MOST_TEXT:
            raise ManifestError(
                f"expected a person or team:<name>, and at most {MOST_TEXT} characters",
                where="to",
                hint="mlg alerts handover ALERT team:data --note TEXT",
            )
        with self._desk.changing:
            before = dict(node.attrs)
            new = str(before.get("owner") or "") != to
            if new:
                recorder = self._recorder(principal.subject)
                event = record_alert_acts.alert_acted(
                    recorder,
                    key=f"alert:handed_over:{node.uri}:{recorder.ids.new_id()}",
                    word="handed_over",
                    alert=node.uri,
                    note=note,
                    to=to,
                )
                append_once(self._store, (event,))
        return {"alert": alert_id(node.uri), "owner": to, "note": note, "new": new}

    def silence(
        self,
        matcher: Mapping[str, str | None],
        until: str,
        reason: str,
        principal: Principal,
    ) -> dict[str, Any]:
        """Let alerts page nobody until a time; one of the same matcher gets the new end.

        Raises:
            NotFoundError: The manifest has no such service or monitor.
            ManifestError: The matcher, the time or the reason is wrong.
            ConflictError: There are too many.
        """
        self._check_names(matcher)
        now = self._clock.now()
        wanted = Silence(
            id="",
            until=moment(until, now=now, what="until"),
            reason=reason,
            by=principal.subject,
            at=now,
            service=matcher["service"] or None,
            monitor=matcher["monitor"] or None,
            kind=matcher["kind"] or None,
            feature=matcher["feature"] or None,
        )
        with self._desk.changing:
            desk, one, change = silenced(self._desk.read(), wanted, now=now)
            self._tell(one, principal.subject)
            self._desk.write(desk)
        return {**silence_document(one), "change": change}

    def maintain(
        self,
        service: str | None,
        start: str | None,
        end: str,
        reason: str,
        principal: Principal,
    ) -> dict[str, Any]:
        """Declare planned work on a service, or on all of them.

        Args:
            service: None: every service.
            start: A time, or a duration from now; None is now.
            end: A time, or a duration from the start.
            reason: Why; it is shown with each alert inside.
            principal: Who asks.

        Raises:
            NotFoundError: The manifest has no such service.
            ManifestError: A time or the reason is wrong.
            ConflictError: There are too many.
        """
        self._check_names({"service": service})
        now = self._clock.now()
        begin = moment(start, now=now, what="from") if start else now
        wanted = Maintenance(
            id="",
            service=service or None,
            start=begin,
            end=moment(end, now=begin, what="to"),
            reason=reason,
            by=principal.subject,
            at=now,
        )
        with self._desk.changing:
            desk, one, change = maintained(self._desk.read(), wanted, now=now)
            self._tell(one, principal.subject)
            self._desk.write(desk)
        return {**maintenance_document(one), "change": change}

    def lift(self, name: str, principal: Principal) -> dict[str, Any]:
        """End a silence or a maintenance window now; what is over stays as it is.

        Raises:
            NotFoundError: There is none of this id.
        """
        with self._desk.changing:
            desk, one = lifted(
                self._desk.read(), name, by=principal.subject, now=self._clock.now()
            )
            self._desk.write(desk)
            if one.lifted_by:
                self._tell(one, one.lifted_by)
        if isinstance(one, Silence):
            return silence_document(one)
        return maintenance_document(one)

    def _tell(self, one: Silence | Maintenance, by: str) -> None:
        if isinstance(one, Silence):
            kind, document, ends = "silence", silence_document(one), rfc3339(one.until)
        else:
            kind, document, ends = "maintenance", maintenance_document(one), rfc3339(one.end)
        facts: dict[str, Attr] = {k: v for k, v in document.items() if v is not None}
        word = "lifted" if one.lifted_by else "set"
        event = record_alert_acts.hold_changed(
            self._recorder(by),
            key=f"alerts:{kind}:{one.id}:{word}:{ends}:{_digest(one.reason)}",
            kind=kind,
            id_=one.id,
            lifted=bool(one.lifted_by),
            facts=facts,
        )
        append_once(self._store, (event,))

    def _check_names(self, matcher: Mapping[str, str | None]) -> None:
        spec = self._spec()
        known = {
            "service": sorted(spec.services) if spec else [],
            "monitor": [*sorted(spec.monitors), MONITOR] if spec else [],
            "kind": sorted({*KINDS, KIND}),
        }
        for name, there in known.items():
            wanted = matcher.get(name)
            if wanted and wanted not in there:
                raise NotFoundError(
                    f"no {name} {wanted[:60]!r}",
                    where=name,
                    hint=f"there are: {', '.join(there) or 'none'}.",
                )


def find_alert(reader: GraphReader, project: str, alert: str) -> Node:
    """Return the node of an alert, by its id, its URI, or its id without the birth.

    Args:
        reader: The graph.
        project: Namespace of alerts that are named without one.
        alert: `home-features:1/input_drift@<birth>`; without the birth the newest one.

    Raises:
        NotFoundError: There is none.
    """
    name, _, birth = alert.partition("@")
    wanted: Uri | None = Uri(alert) if alert.startswith("mlg://") else None
    if wanted is None and name and birth:
        wanted = make_uri("alert", project, name, birth)
    query = NodeQuery(kinds=("alert",), uri=wanted, limit=1 if wanted else _MOST)
    nodes = reader.nodes(query).nodes
    found = [n for n in nodes if wanted or parse_uri(n.uri).name == name]
    if not found:
        raise NotFoundError(
            f"no alert {alert[:120]!r}",
            where="alerts",
            hint="mlg alerts list --all shows them.",
        )
    return max(found, key=lambda node: node.valid_from)


def alert_id(uri: Uri) -> str:
    """Return `home-features:1/input_drift@<birth>`."""
    parts = parse_uri(uri)
    return f"{parts.name}@{parts.version}" if parts.version else parts.name


def silence_document(one: Silence) -> dict[str, Any]:
    """Return a silence as it is shown."""
    return {
        "id": one.id,
        "service": one.service,
        "monitor": one.monitor,
        "kind": one.kind,
        "feature": one.feature,
        "until": rfc3339(one.until),
        "reason": one.reason,
        "by": one.by,
        "at": rfc3339(one.at),
        "lifted_by": one.lifted_by or None,
    }


def maintenance_document(one: Maintenance) -> dict[str, Any]:
    """Return a maintenance window as it is shown."""
    return {
        "id": one.id,
        "service": one.service,
        "from": rfc3339(one.start),
        "to": rfc3339(one.end),
        "reason": one.reason,
        "by": one.by,
        "at": rfc3339(one.at),
        "lifted_by": one.lifted_by or None,
    }


def _digest(*parts: str) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()[:12]
