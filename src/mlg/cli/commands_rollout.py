"""The commands of a rollout: status, and what a person may tell it."""

from pathlib import Path
from typing import Any

import typer

from mlg.cli.instance import (
    HomeOption,
    JsonOption,
    connect,
    home_of,
    out,
    reported,
    show,
    table,
)

_SERVICE = typer.Argument(help="Name of the service.")
_REASON = typer.Option("", "--reason", help="Why; kept on the graph.")


def status(
    service: str = _SERVICE,
    verbose: bool = typer.Option(
        False, "--verbose", "-v", help="Also how the evidence of each gate grew."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show where the newest rollout stands, what comes next and when, and what each gate says.

    Example: mlg rollout status home --verbose
    """
    with reported(as_json):
        found = connect(home_of(home)).rollout(service, evidence=verbose or as_json)
        show(found, as_json, _print_status)


def pause(
    service: str = _SERVICE,
    reason: str = _REASON,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Hold the rollout where it is; its shares stay.

    Example: mlg rollout pause home --reason "seen it on the dashboard"
    """
    _act("pause", service, reason, home, as_json)


def resume(
    service: str = _SERVICE,
    reason: str = _REASON,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Let a paused rollout go on where it was.

    Example: mlg rollout resume home --reason "seen it on the dashboard"
    """
    _act("resume", service, reason, home, as_json)


def promote(
    service: str = _SERVICE,
    reason: str = _REASON,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Go to 100 % without further steps; a failed gate still goes before.

    Example: mlg rollout promote home --reason "seen it on the dashboard"
    """
    _act("promote", service, reason, home, as_json)


def approve(
    service: str = _SERVICE,
    reason: str = _REASON,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Take a paused step's evidence for good, and go on to the next step.

    Example: mlg rollout approve home --reason "seen it on the dashboard"
    """
    _act("approve", service, reason, home, as_json)


def rollback(
    service: str = _SERVICE,
    reason: str = _REASON,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Send all traffic back to the version before, also when no rollout is in flight.

    Example: mlg rollout rollback home --reason "seen it on the dashboard"
    """
    _act("rollback", service, reason, home, as_json)


def _act(act: str, service: str, reason: str, home: Path | None, as_json: bool) -> None:
    with reported(as_json):
        done = connect(home_of(home)).rollout_act(service, act, reason)
        show(done, as_json, _print_told)


def _print_told(told: dict[str, Any]) -> None:
    what = f"goes back to {told['to']}" if "to" in told else f"{told['act']} is told"
    out.print(f"{told['service']}: {what}; mlg rollout status {told['service']} tells how")


def _print_status(document: dict[str, Any]) -> None:
    out.print(document["explanation"], markup=False, soft_wrap=True)
    if document.get("next"):
        at = f" ({document['next_at']})" if document.get("next_at") else ""
        out.print(f"next: {document['next']}{at}", markup=False, soft_wrap=True)
    rows: list[list[object]] = [
        [g["name"], g["verdict"], f"{g['e_value']:.3g} of {g['bound']:g}", g["n"], g["reason"]]
        for g in document["gates"]
    ]
    table("gates", ["gate", "verdict", "evidence against it", "n", "reason"], rows)
    for name, points in document.get("evidence", {}).items():
        grew: list[list[object]] = [
            [p["at"], f"{p['share_bp'] / 100:g} %", p["n"], f"{p['e_value']:.3g}", p["verdict"]]
            for p in points
        ]
        table(f"{name}, as its evidence grew", ["at", "share", "n", "evidence", "said"], grew)
