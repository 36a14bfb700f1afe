"""`mlg gameday`: a fault on purpose, and what the product does about it."""

import time
from pathlib import Path
from typing import Any

import typer

from mlg.cli.instance import (
    HomeOption,
    JsonOption,
    connect,
    err,
    home_of,
    out,
    reported,
    show,
    table,
)
from mlg.client.client import Client
from mlg.core.errors import BackendError, ManifestError

_POLL_S = 0.2


def gameday(
    fault: str = typer.Argument("", help="Name of the fault; without one they are listed."),
    service: str = typer.Option("", "--service", help="Whose; the only one if left out."),
    place: str = typer.Option("staging", "--in", help="staging or production."),
    seconds: float | None = typer.Option(
        None, help="How long the fault is on, or watched.", min=1.0, max=600.0
    ),
    yes: bool = typer.Option(False, "--yes", help="Hurt production without being asked."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Make a fault on purpose and score detection, cause, action and recovery; Ctrl-C ends it.

    In staging it hits a throw-away replica outside of the traffic. Exit code 1: not all four.

    Example: mlg gameday
    Example: mlg gameday kill --service home
    Example: mlg gameday hang --service home --in production --yes
    """
    with reported(as_json):
        client = connect(home_of(home))
        if not fault:
            show(client.gamedays(), as_json, _print_faults)
            return
        if place not in {"staging", "production"}:
            raise ManifestError(f"expected staging or production, got {place!r}", where="--in")
        done = _followed(
            client,
            client.gameday(
                fault,
                service or _only_service(client),
                environment=place,
                seconds=seconds,
                confirmed=yes,
            ),
            quiet=as_json,
        )
        show(done, as_json, _print_score)
        if done["error"]:
            raise BackendError(done["error"], where=f"game day {done['gameday']}")
    if done["verdict"] != "PASS":
        raise typer.Exit(1)


def _only_service(client: Client) -> str:
    """Return the only service.

    Raises:
        ManifestError: There are none or more.
    """
    names = [one["service"] for one in client.status()["services"]]
    if len(names) != 1:
        raise ManifestError(
            f"expected one service, got {len(names)}",
            where="--service",
            hint=f"name one of: {', '.join(names) or 'none; mlg apply first'}.",
        )
    return str(names[0])


def _followed(client: Client, begun: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Return the game day once it is over; Ctrl-C ends its fault, and it is still scored.

    Raises:
        BackendError: The control plane came back without it.
    """
    state = ""
    while True:
        try:
            now = client.gamedays()["gameday"]
            if now is None or now["gameday"] != begun["gameday"]:
                raise BackendError("it was lost", where=f"game day {begun['gameday']}")
            if now["state"] != state and not quiet:
                state = now["state"]
                err.print(f"{now['fault']} in {now['environment']}: {state} {now['target']}")
            if now["state"] == "ended":
                return now
            time.sleep(_POLL_S)
        except KeyboardInterrupt:
            err.print("ending the fault ...")
            client.gameday_end(begun["gameday"])


def _print_faults(found: dict[str, Any]) -> None:
    rows: list[list[object]] = [
        [one["fault"], one["what"], ", ".join(one["in"])] for one in found["faults"]
    ]
    table("faults", ["fault", "what", "in"], rows)


def _print_score(done: dict[str, Any]) -> None:
    found = done["score"]
    if found is None:
        return
    where = "a throw-away replica, outside of the traffic" * (done["environment"] == "staging")
    out.print(f"{done['what']}: {done['target']} {where}".rstrip(), markup=False)
    named = "named" if found["cause_named"] else "not named"
    since = "since its end" if done["lasts"] else "since it began"
    rows: list[list[object]] = [
        ["detection", _seconds(found["detected_s"]), found["detected_by"]],
        ["cause", named, found["cause"][:120]],
        ["action", _seconds(found["acted_s"]), found["action"]],
        ["recovery", _seconds(found["recovered_s"]), since],
    ]
    table(f"{done['fault']}: {done['verdict']}", ["", "after", "what"], rows)
    shares = ", ".join(f"{who} {found[who]:.1%}" for who in ("model", "fallback", "nobody"))
    out.print(f"of {found['probes']} probes: {shares}")


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} s"
