"""When lost log records are told of, and when their alert opens, grows and closes; pure.

`step(state, facts)` gives the state after, and what to do. A process counts what it could not
write. Each loss is told, at most once a minute and process; all losses of one service that are
not over are one alert.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

TELL_S: Final = 60.0
"""Least time between two events of one process, in seconds."""
QUIET_S: Final = 300.0
"""An alert closes when nothing was told for so long, in seconds; longer than `TELL_S`, so that
nothing is left untold then."""
_KEPT_S: Final = 86_400.0
"""What was told of a process that nobody sees is forgotten after so long, in seconds: just
after a start of the control plane, processes that run are not seen yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossLook:
    """One process at one look."""

    process: str
    """`replica-home-2`."""
    life: str
    """Of this process alone; another one of the same name counts from 0."""
    service: str
    total: int | None
    """Records lost since it started; None: not known now."""
    ended: bool = False
    """Whether it is gone: what it lost is told now or never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossFacts:
    """What is so at one look."""

    now_s: float
    """Seconds since 1970: alerts outlive this process."""
    looks: tuple[LossLook, ...]
    """Every process that runs, and those that ended since the last look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was told of one life."""

    total: int
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LossAlert:
    """One alert as long as it lasts."""

    service: str
    number: int
    """1 for the first of the service, so that no two have one name."""
    opened_s: float
    last_s: float
    """When a loss was told last."""
    records: int
    """Lost since it opened."""
    processes: tuple[str, ...]
    """Which lost some, sorted."""
    said: int
    """`records` when the graph was told last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossState:
    """Everything between two looks; goes through msgspec both ways."""

    told: dict[str, Told] = field(default_factory=dict[str, Told])
    """By life."""
    open: dict[str, LossAlert] = field(default_factory=dict[str, LossAlert])
    """By service."""
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    """Alerts so far, by service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTold:
    """Tell of records that one process lost."""

    process: str
    life: str
    service: str
    records: int
    """Since it was told last."""
    total: int
    """Since it started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCommand:
    """Open, grow or close an alert."""

    kind: Literal["open", "grow", "close"]
    alert: LossAlert


def step(
    state: LossState, facts: LossFacts
) -> tuple[LossState, tuple[LossTold, ...], tuple[LossCommand, ...]]:
    """Return what to remember, the losses to tell, and what becomes of the alerts.

    An open alert grows when its records doubled or another process joins, so that a disk that
    stays full for a day adds some twenty events, not one a minute.

    Examples:
        >>> look = LossLook(process="replica-home-1", life="a", service="home", total=3)
        >>> state, told, (opened,) = step(LossState(), LossFacts(now_s=0.0, looks=(look,)))
        >>> told[0].records, opened.kind, opened.alert.records
        (3, 'open', 3)
        >>> state, told, (closed,) = step(state, LossFacts(now_s=QUIET_S, looks=(look,)))
        >>> told, closed.kind
        ((), 'close')
    """
    seen = {one.life: one.ended for one in facts.looks}
    told = {
        life: before
        for life, before in state.told.items()
        if not seen.get(life, not _within(facts.now_s - before.at_s, _KEPT_S))
    }
    lost: list[LossTold] = []
    for one in facts.looks:
        before = state.told.get(one.life)
        records = (one.total or 0) - (before.total if before else 0)
        early = before is not None and _within(facts.now_s - before.at_s, TELL_S)
        waits = early and not one.ended
        if records <= 0 or waits:
            continue
        total = one.total or 0
        lost.append(
            LossTold(
                process=one.process,
                life=one.life,
                service=one.service,
                records=records,
                total=total,
            )
        )
        if not one.ended:
            told[one.life] = Told(total=total, at_s=facts.now_s)
    open_, numbers, commands = dict(state.open), dict(state.numbers), list[LossCommand]()
    by_service: dict[str, list[LossTold]] = {}
    for loss in lost:
        by_service.setdefault(loss.service, []).append(loss)
    for service in sorted(open_.keys() | by_service.keys()):
        command, after = _alert(
            service, open_.get(service), by_service.get(service, []), facts.now_s, numbers
        )
        commands += [command] if command else []
        open_.pop(service, None)
        if after is not None:
            open_[service], numbers[service] = after, after.number
    return (
        LossState(told=told, open=open_, numbers=numbers),
        tuple(lost),
        tuple(commands),
    )


def _within(passed_s: float, limit_s: float) -> bool:
    """Return whether less than the limit passed; a clock that was set back ends the wait."""
    return 0 <= passed_s < limit_s


def _alert(
    service: str,
    alert: LossAlert | None,
    lost: list[LossTold],
    now_s: float,
    numbers: Mapping[str, int],
) -> tuple[LossCommand | None, LossAlert | None]:
    """Return what is done about one service's alert, and the alert that is open then."""
    records, named = sum(one.records for one in lost), {one.process for one in lost}
    if alert is None:
        opened = LossAlert(
            service=service,
            number=numbers.get(service, 0) + 1,
            opened_s=now_s,
            last_s=now_s,
            records=records,
            processes=tuple(sorted(named)),
            said=records,
        )
        return LossCommand(kind="open", alert=opened), opened
    if not lost:
        if _within(now_s - alert.last_s, QUIET_S):
            return None, alert
        return LossCommand(kind="close", alert=alert), None
    after = replace(
        alert,
        last_s=now_s,
        records=alert.records + records,
        processes=tuple(sorted({*alert.processes, *named})),
    )
    if after.records < 2 * alert.said and after.processes == alert.processes:
        return None, after
    after = replace(after, said=after.records)
    return LossCommand(kind="grow", alert=after), after
