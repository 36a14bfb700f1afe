"""The commands of experiments: which there are, how one stands, start it, stop it."""

from pathlib import Path
from typing import Any

import typer

from mlg.cli.commands_simulate import duration
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

_DAY_S = 86_400.0

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


def plan(name: str = _NAME, home: Path | None = HomeOption, as_json: bool = JsonOption) -> None:
    """Show how many viewers each cell needs, and how long that takes, before it is started.

    By the alpha of each metric, the smallest difference that matters, and what the service's
    log says of late: how viewers differ, and how many new ones come.

    Example: mlg experiment plan rows
    """
    with reported(as_json):
        show(connect(home_of(home)).experiment_plan(name), as_json, _print_plan)


def start(
    name: str = _NAME,
    reason: str = _REASON,
    key: str = _KEY,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Start an experiment; one of a service at a time, and rollouts wait while it runs.

    Shows first what `mlg experiment plan` does.

    Example: mlg experiment start rows --reason "does the old model hold up?"
    """
    with reported(as_json):
        client = connect(home_of(home))
        planned = client.experiment_plan(name)
        if not as_json and not planned["refused"]:
            _print_plan(planned)
        told = client.experiment_act(name, "start", reason, key=key)
        show({**told, "plan": planned}, as_json, lambda _: _print_told(told, "start"))


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
    with reported(as_json):
        told = connect(home_of(home)).experiment_act(name, "stop", reason, key=key)
        show(told, as_json, lambda _: _print_told(told, "stop"))


def _print_plan(found: dict[str, Any]) -> None:
    log, took = found["log"], found["seconds"]
    length = f"about {duration(took)}" if took is not None else "an unknown time"
    words = (
        f"{found['name']} on {found['service']}: {length} of event time until it is decided "
        f"(max_run {duration(found['max_run_s'])}), with a chance of {found['power']:.0%} "
        "where the difference is min_effect"
    )
    out.print(words, markup=False, soft_wrap=True)
    rows: list[list[object]] = [
        [
            *(cell["cell"], cell["version"], f"{cell['share_bp'] / 100:g}%", cell["viewers"]),
            cell["of_service"],
            "unknown" if cell["seconds"] is None else duration(cell["seconds"]),
            ", ".join(
                f"{m['metric']} {m['viewers']}" + ("" if m["measured"] else " at most")
                for m in cell["metrics"]
            ),
        ]
        for cell in found["cells"]
    ]
    heads = ["cell", "version", "share", "viewers", "of the service", "takes", "by metric"]
    table("viewers needed", heads, rows)
    new = log["new_per_day"]
    known = "how many new ones come is not known" if new is None else f"{new:.3g} new a day"
    words = f"the log: {log['viewers']} viewers in {duration(log['days'] * _DAY_S)}, {known}"
    out.print(words, markup=False, soft_wrap=True)
    for warning in found["warnings"]:
        out.print(f"warning: {warning}", markup=False, soft_wrap=True)
    if found["refused"]:
        words = f"it may not start now: {found['refused']}"
        out.print(words, markup=False, soft_wrap=True)


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
