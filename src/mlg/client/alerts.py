"""The client's calls about alerts."""

from typing import Any

from mlg.client.wire import Wire

JsonObject = dict[str, Any]


class AlertCalls(Wire):
    """Alerts: see, acknowledge, hand over, silence, maintenance."""

    def alerts(
        self, *, state: str = "open", service: str | None = None, limit: int | None = None
    ) -> JsonObject:
        """Return `{"alerts", "left_out", "silences", "maintenance"}`, newest alerts first.

        Args:
            state: `open`, `closed` or `all`.
            service: Only alerts of this service.
            limit: Alerts at most, 1 to 1,000; 100 when not given.
        """
        return self._get("alerts", state=state, service=service, limit=limit)

    def alert(self, alert: str) -> JsonObject:
        """Return one alert with all that is known of it."""
        return self._get("alerts/one", alert=alert)

    def alert_sample(self, alert: str) -> JsonObject:
        """Return at most 1,000 logged rows behind an alert, personal fields masked."""
        return self._get("alerts/sample", alert=alert)

    def acknowledge_alert(self, alert: str, note: str = "") -> JsonObject:
        """Say that you know of an alert."""
        return self._post("alerts/acknowledge", {"alert": alert, "note": note}, self.timeout_s)

    def hand_over_alert(self, alert: str, to: str, note: str = "") -> JsonObject:
        """Say who has an alert now: a person, or `team:<name>`."""
        told = {"alert": alert, "to": to, "note": note}
        return self._post("alerts/hand-over", told, self.timeout_s)

    def silence_alerts(
        self,
        *,
        until: str,
        reason: str,
        service: str | None = None,
        monitor: str | None = None,
        kind: str | None = None,
        feature: str | None = None,
    ) -> JsonObject:
        """Let matching alerts page nobody until a time, or for a duration like `2h`."""
        told = {
            "service": service,
            "monitor": monitor,
            "kind": kind,
            "feature": feature,
            "until": until,
            "reason": reason,
        }
        return self._post("alerts/silences", told, self.timeout_s)

    def maintain(
        self, *, to: str, reason: str, service: str | None = None, begin: str | None = None
    ) -> JsonObject:
        """Declare planned work on a service, or on all of them without one.

        Args:
            to: A time, or a duration from the beginning.
            reason: Why.
            service: None: every service.
            begin: A time, or a duration from now; None is now.
        """
        told = {"service": service, "all": service is None, "from": begin, "to": to}
        return self._post("alerts/maintenance", {**told, "reason": reason}, self.timeout_s)

    def lift_hold(self, hold: str) -> JsonObject:
        """End a silence or a maintenance window now, by its id."""
        return self._post("alerts/lift", {"id": hold}, self.timeout_s)
