"""The commands of a rollout: status, and what a person may tell it."""

from pathlib import Path
from typing import Any

import typer

from mlg.adapters.files_local import LocalFiles
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
    service: str = _SERVICE, home: Path | None = HomeOption, as_json: bool = JsonOption
) -> None:
    """Show where the newest rollout stands, and what each gate says.

    Example: mlg rollout status home
    """
    with reported(as_json):
        show(connect(home_of(home)).rollout(service), as_json, _print_status)


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

    Of a rollout that waits for staging's window: test now.

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


def report(
    service: str = _SERVICE,
    to: Path | None = typer.Option(None, "--out", help="Copy the page to this file."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show what staging said of the newest version that it tested, and where its page lies.

    Reads the home's files; no control plane is needed.

    Example: mlg rollout report home --out staging.html
    """
    with reported(as_json):
        from mlg.app.staging_reports import report_of

        found, page = report_of(home_of(home), service)
        if to is not None:
            LocalFiles(to.parent).write(to.name, page.read_bytes())
        show({**found, "page": str(to or page)}, as_json, _print_report)


def _print_report(found: dict[str, Any]) -> None:
    words = f"{found['version']} for {found['service']}: {found['verdict']}"
    out.print(words, markup=False, soft_wrap=True)
    rows: list[list[object]] = [
        [r["test"], r["verdict"], r["reason"]] for r in found["results"]
    ]
    table("tests", ["test", "verdict", "reason"], rows)
    out.print(found["page"], markup=False, soft_wrap=True)


def _act(act: str, service: str, reason: str, home: Path | None, as_json: bool) -> None:
    with reported(as_json):
        done = connect(home_of(home)).rollout_act(service, act, reason)
        show(done, as_json, _print_told)


def _print_told(told: dict[str, Any]) -> None:
    what = f"goes back to {told['to']}" if "to" in told else f"{told['act']} is told"
    out.print(f"{told['service']}: {what}; mlg rollout status {told['service']} tells how")


def _print_status(document: dict[str, Any]) -> None:
    out.print(document["explanation"], markup=False, soft_wrap=True)
    rows: list[list[object]] = [
        [g["name"], g["verdict"], f"{g['e_value']:.3g} of {g['bound']:g}", g["n"], g["reason"]]
        for g in document["gates"]
    ]
    table("gates", ["gate", "verdict", "evidence against it", "n", "reason"], rows)
