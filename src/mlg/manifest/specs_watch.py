"""`monitors:` and `calendar:` what is watched and what is expected."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from mlg.manifest.specs_base import ColumnName, Name, SecondsBetween, Spec, Text

Day = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        r"(T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?Z)?$",
        extra={"expected": "a day or a UTC time, like 2026-07-01 or 2026-07-01T06:00Z"},
    ),
]


class WindowSpec(Spec, frozen=True, kw_only=True):
    """How much one point of a chart covers: a time or a number of events."""

    EXACTLY_ONE: ClassVar = ("seconds", "events")

    seconds: Annotated[float, Meta(gt=0)] | None = None
    """Length in seconds."""
    events: Annotated[int, Meta(ge=1)] | None = None
    """Number of predictions."""


class LimitsSpec(Spec, frozen=True, kw_only=True):
    """How often a monitor may be wrong."""

    false_alarm_every_s: SecondsBetween = field(name="false_alarms", default=2_592_000.0)
    """Mean time between false alarms over all charts of the monitor, written `1/30d`."""


class MonitorSpec(Spec, frozen=True, kw_only=True):
    """Charts over the live traffic of one service."""

    watch: Name
    """The service."""
    features: Annotated[
        tuple[ColumnName, ...],
        Meta(min_length=1, extra={"one_or_many": True, "expected": "`all` or a list"}),
    ] = ("all",)
    """`all`, or the logged features to watch."""
    groups: Annotated[
        tuple[ColumnName, ...],
        Meta(extra={"one_or_many": True, "expected": "a feature or a list of features"}),
    ] = ()
    """Logged text features, at most three: hits are charted for each of their levels, too."""
    limits: LimitsSpec | None = None
    """How often it may be wrong."""
    window: Annotated[WindowSpec, Meta(extra={"unit": "window"})] | None = None
    """What one point covers: `2s` or `1000 events`."""
    baseline_windows: Annotated[int, Meta(ge=5, le=1_000)] = 20
    """Windows that teach what is usual; two days of them teach the hour of the day at once."""
    on_alert: Literal["record", "notify", "heal"] = "record"
    """What follows an alert."""


class CalendarEntry(Spec, frozen=True, kw_only=True):
    """Something expected, so that it is not taken for a fault; exactly one of the kinds."""

    EXACTLY_ONE: ClassVar = ("promotion", "season", "holiday", "maintenance", "ical")

    promotion: Name | None = None
    """Name of a promotion."""
    season: Name | None = None
    """Name of a season."""
    holiday: Name | None = None
    """Name of a holiday."""
    maintenance: Name | None = None
    """Name of planned work."""
    ical: Text | None = None
    """Path or address of an iCalendar file with the entries."""
    start: Day | None = field(name="from", default=None)
    """First day, or a UTC time."""
    end: Day | None = field(name="to", default=None)
    """Last day, or a UTC time."""
    services: tuple[Name, ...] = ()
    """Services that it concerns; all if left out."""
    staging: bool = True
    """`false`: no version is tested in staging while it lasts; its days are those of the
    service's `timezone`."""
