"""What the API needs of alerts, and the shapes of what it is told about them."""

from typing import Annotated, Any, Protocol, TypedDict

import msgspec

from mlg.core.errors import NotFoundError
from mlg.core.principal import Principal

JsonObject = dict[str, Any]

Text = Annotated[str, msgspec.Meta(max_length=500)]
Named = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Matcher(TypedDict):
    """What a silence matches; None matches everything."""

    service: str | None
    monitor: str | None
    kind: str | None
    feature: str | None


class AcknowledgeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which alert a person knows of."""

    alert: Named
    note: Text = ""


class HandOverRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is to have an alert: a person, or `team:<name>`."""

    alert: Named
    to: Named
    note: Text = ""


class SilenceRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which alerts page nobody, until when and why; at least one of the four is named."""

    service: Named | None = None
    monitor: Named | None = None
    kind: Named | None = None
    feature: Named | None = None
    until: Named
    """A time like `2026-07-01T06:00:00Z`, or a duration from now like `2h`; wall clock."""
    reason: Named


class MaintenanceRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"from_": "from"},
):
    """Planned work on a service, or on all of them."""

    service: Named | None = None
    all: bool = False
    """Every service; exactly one of the two."""
    from_: Named | None = None
    """A time, or a duration from now; none is now."""
    to: Named
    """A time, or a duration from the beginning."""
    reason: Named


class LiftRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which silence or maintenance window ends now."""

    id: Named


class Alerts(Protocol):
    """What people see and do of alerts; each act is an event with its author."""

    def alerts(self, state: str, service: str, limit: int) -> JsonObject:
        """Return `{"alerts", "left_out", "silences", "maintenance"}`, newest alerts first.

        Raises:
            ManifestError: No such state.
        """
        ...

    def alert(self, alert: str) -> JsonObject:
        """Return one alert with all that is known of it.

        Raises:
            NotFoundError: There is no such alert.
        """
        ...

    def sample(self, alert: str) -> JsonObject:
        """Return `{"alert", "service", "slice", "rows", "gone", "masked"}`.

        Raises:
            NotFoundError: There is no such alert.
        """
        ...

    def acknowledge(self, alert: str, note: str, principal: Principal) -> JsonObject:
        """Say that a person knows of an alert.

        Raises:
            NotFoundError: There is no such alert.
        """
        ...

    def hand_over(self, alert: str, to: str, note: str, principal: Principal) -> JsonObject:
        """Say who has an alert now.

        Raises:
            NotFoundError: There is no such alert.
        """
        ...

    def silence(
        self, matcher: Matcher, until: str, reason: str, principal: Principal
    ) -> JsonObject:
        """Let alerts page nobody until a time.

        Raises:
            NotFoundError: No such service, monitor or kind.
            ManifestError: The matcher, the time or the reason is wrong.
            ConflictError: There are too many.
        """
        ...

    def maintain(
        self,
        service: str | None,
        start: str | None,
        end: str,
        reason: str,
        principal: Principal,
    ) -> JsonObject:
        """Declare planned work on a service; None is every service.

        Raises:
            NotFoundError: No such service.
            ManifestError: A time or the reason is wrong.
            ConflictError: There are too many.
        """
        ...

    def lift(self, name: str, principal: Principal) -> JsonObject:
        """End a silence or a maintenance window now.

        Raises:
            NotFoundError: There is none of this id.
        """
        ...


class NoAlerts:
    """Knows no alert."""

    def alerts(self, state: str, service: str, limit: int) -> JsonObject:
        """Return empty lists."""
        del state, service, limit
        return {"alerts": [], "left_out": 0, "silences": [], "maintenance": []}

    def alert(self, alert: str) -> JsonObject:
        """Refuse.

        Raises:
            NotFoundError: Always.
        """
        raise NotFoundError(f"no alert {alert[:120]!r}", where="alerts")

    def sample(self, alert: str) -> JsonObject:
        """Refuse.

        Raises:
            NotFoundError: Always.
        """
        return self.alert(alert)

    def acknowledge(self, alert: str, note: str, principal: Principal) -> JsonObject:
        """Refuse.

        Raises:
            NotFoundError: Always.
        """
        del note, principal
        return self.alert(alert)

    def hand_over(self, alert: str, to: str, note: str, principal: Principal) -> JsonObject:
        """Refuse.

        Raises:
            NotFoundError: Always.
        """
        del to, note, principal
        return self.alert(alert)

    def silence(
        self, matcher: Matcher, until: str, reason: str, principal: Principal
    ) -> JsonObject:
        """Refuse.

        Raises:
            NotFoundError: Always.
        """
        del matcher, until, reason, principal
        raise NotFoundError("nothing is watched here", where="alerts")

    def maintain(
        self,
        service: str | None,
        start: str | None,
        end: str,
        reason: str,
        principal: Principal,
    ) -> JsonObject:
        """Refuse.

        Raises:
            NotFoundError: Always.
        """
        del service, start, end, reason, principal
        raise NotFoundError("nothing is watched here", where="alerts")

    def lift(self, name: str, principal: Principal) -> JsonObject:
        """Refuse.

        Raises:
            NotFoundError: Always.
        """
        del principal
        raise NotFoundError(f"no silence or maintenance window {name[:60]!r}", where="alerts")
