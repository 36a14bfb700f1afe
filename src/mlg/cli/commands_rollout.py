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
_KEY = typer.Option("", "--key", help="Names the act; told again under it, it is done once.")


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


def timeline(
    service: str = _SERVICE,
    rollout: str | None = typer.Option(
        None, "--rollout", help="Id of the rollout; default the newest."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show how a version came to serve: commit, run, image, staging, steps, swap; by the graph.

    Example: mlg rollout timeline home
    """
    with reported(as_json):
        found = connect(home_of(home)).rollout_timeline(service, rollout)
        show(found, as_json, _print_timeline)


def start(
    service: str = _SERVICE,
    version: str = typer.Argument(help="A packaged version of the service's model."),
    reason: str = _REASON,
    again: str = typer.Option(
        "", "--again", help="Why a version that was taken back may be tried again."
    ),
    key: str = _KEY,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Start the rollout of a version that was made before and does not serve.

    Example: mlg rollout start home 3f2a4b5c6d7e --reason "the outage is over"
    """
    with reported(as_json):
        done = connect(home_of(home)).rollout_start(
            service, version, reason, again=again, key=key
        )
        show(done, as_json, _print_started)


def pause(
    service: str = _SERVICE,
    reason: str = _REASON,
    key: str = _KEY,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Hold the rollout where it is; its shares stay.

    Example: mlg rollout pause home --reason "seen it on the dashboard"
    """
    _act("pause", service, reason, key, home, as_json)


def resume(
    service: str = _SERVICE,
    reason: str = _REASON,
    key: str = _KEY,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Let a paused rollout go on where it was.

    Example: mlg rollout resume home --reason "seen it on the dashboard"
    """
    _act("resume", service, reason, key, home, as_json)


def promote(
    service: str = _SERVICE,
    reason: str = _REASON,
    key: str = _KEY,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Go to 100 % without further steps; a failed gate still goes before.

    Example: mlg rollout promote home --reason "seen it on the dashboard"
    """
    _act("promote", service, reason, key, home, as_json)


def approve(
    service: str = _SERVICE,
    reason: str = _REASON,
    key: str = _KEY,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Give the approval that it waits for, or take a paused step's evidence for good.

    Of a rollout that waits for staging's window: test now.

    Example: mlg rollout approve home --reason "seen it on the dashboard"
    """
    _act("approve", service, reason, key, home, as_json)


def rollback(
    service: str = _SERVICE,
    reason: str = _REASON,
    key: str = _KEY,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Send all traffic back to the version before, also when no rollout is in flight.

    Example: mlg rollout rollback home --reason "seen it on the dashboard"
    """
    _act("rollback", service, reason, key, home, as_json)


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


def _act(
    act: str, service: str, reason: str, key: str, home: Path | None, as_json: bool
) -> None:
    with reported(as_json):
        done = connect(home_of(home)).rollout_act(service, act, reason, key=key)
        show(done, as_json, _print_told)


def _print_told(told: dict[str, Any]) -> None:
    what = f"goes back to {told['to']}" if "to" in told else f"{told['act']} is told"
    out.print(f"{told['service']}: {what}; mlg rollout status {told['service']} tells how")


def _print_started(told: dict[str, Any]) -> None:
    behind = [
        f"{what} {told[key]}"
        for what, key in (("rollout", "waits_for"), ("experiment", "waits_for_experiment"))
        if told.get(key)
    ]
    waits = f", once {' and '.join(behind)} is over" if behind else ""
    out.print(
        f"{told['service']}: {told['version']} starts{waits}; "
        f"mlg rollout status {told['service']} tells how",
        markup=False,
        soft_wrap=True,
    )


def _print_timeline(found: dict[str, Any]) -> None:
    rows: list[list[object]] = [
        [
            f"+{r['since_start_s']:.1f} s",
            f"{r['since_before_s']:.1f} s",
            r["kind"],
            r["words"].partition("; gates:")[0],  # the reason has said it
        ]
        for r in found["rows"]
    ]
    title = (
        f"{found['version']} for {found['service']}: {found['state']}, "
        f"{found['total_s']:.1f} s from {found['rows'][0]['kind'] if rows else 'nothing'} to "
        "all of the traffic"
        if found["state"] in {"swapped", "done"}
        else f"{found['version']} for {found['service']}: {found['state']}"
    )
    table(title, ["since the start", "took", "node", "what happened"], rows)


def _print_status(document: dict[str, Any]) -> None:
    out.print(document["explanation"], markup=False, soft_wrap=True)
    if document.get("next"):
        at = f" ({document['next_at']})" if document.get("next_at") else ""
        out.print(f"next: {document['next']}{at}", markup=False, soft_wrap=True)
    if name := document.get("experiment"):
        words = f"the experiment {name} runs: a new rollout waits until it is over"
        out.print(words, markup=False, soft_wrap=True)
    for one in document.get("waiting", ()):
        words = f"{one['version']} ({one['rollout']}) waits for {one['waits_for']}"
        out.print(words, markup=False, soft_wrap=True)
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
