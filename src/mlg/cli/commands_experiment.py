"""The commands of experiments: which there are, how one stands, start it, stop it."""

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

_NAME = typer.Argument(help="Name of the experiment in the manifest.")
_REASON = typer.Option("", "--reason", help="Why; kept on the graph.")
_KEY = typer.Option("", "--key", help="Names the act; told again under it, it is done once.")


def listing(home: Path | None = HomeOption, as_json: bool = JsonOption) -> None:
    """Show the experiments of the manifest, and where each stands.

    Example: mlg experiment list
    """
    with reported(as_json):
        found = connect(home_of(home)).experiments()
        show({"experiments": found}, as_json, _print_listing)


def status(
    name: str = _NAME, home: Path | None = HomeOption, as_json: bool = JsonOption
) -> None:
    """Show where an experiment stands, and what each metric of each cell says.

    Example: mlg experiment status rows
    """
    with reported(as_json):
        show(connect(home_of(home)).experiment(name), as_json, _print_status)


def start(
    name: str = _NAME,
    reason: str = _REASON,
    key: str = _KEY,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Start an experiment; one of a service at a time, and rollouts wait while it runs.

    Example: mlg experiment start rows --reason "does the old model hold up?"
    """
    _act("start", name, reason, key, home, as_json)


def stop(
    name: str = _NAME,
    reason: str = _REASON,
    key: str = _KEY,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Stop an experiment: its cells go back to the control, its holdout stays.

    Example: mlg experiment stop rows --reason "seen enough"
    """
    _act("stop", name, reason, key, home, as_json)


def _act(act: str, name: str, reason: str, key: str, home: Path | None, as_json: bool) -> None:
    with reported(as_json):
        told = connect(home_of(home)).experiment_act(name, act, reason, key=key)
        show(told, as_json, lambda _: _print_told(told, act))


def _print_told(told: dict[str, Any], act: str) -> None:
    name = told["name"]
    words = (
        f"{told['service']}: {act} of {name} is told; mlg experiment status {name} tells how"
    )
    out.print(words, markup=False, soft_wrap=True)


def _print_listing(found: dict[str, Any]) -> None:
    rows: list[list[object]] = [
        [one["name"], one["service"], one["phase"] or "not started", one["reason"]]
        for one in found["experiments"]
    ]
    table("experiments", ["name", "service", "phase", "reason"], rows)


def _print_status(found: dict[str, Any]) -> None:
    words = f"{found['name']} on {found['service']}: {found['phase'] or 'not started'}"
    out.print(words, markup=False, soft_wrap=True)
    if found["reason"]:
        out.print(found["reason"], markup=False, soft_wrap=True)
    rows: list[list[object]] = []
    for cell in found.get("cells", ()):
        said = [(k, v) for k, v in cell.items() if k.startswith(("metric.", "guard."))]
        who: list[object] = [cell["cell"], cell["version"], f"{cell['share_bp'] / 100:g}%"]
        rows += [
            [*who, cell.get("viewers", 0), name, text] for name, text in said or [("", "")]
        ]
    if rows:
        table("cells", ["cell", "version", "share", "viewers", "measure", "verdict"], rows)
    if found.get("holdout"):
        share = f"{found['holdout_bp'] / 100:g}%"
        out.print(f"{share} of the viewers are held out on {found['holdout']}", markup=False)
