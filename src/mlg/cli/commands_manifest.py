"""The manifest's commands: schema, plan, apply, run."""

import time
from pathlib import Path
from typing import Any

import typer

from mlg.cli.instance import (
    FileOption,
    HomeOption,
    JsonOption,
    connect,
    emit,
    err,
    home_of,
    out,
    reported,
    show,
    table,
)
from mlg.core.errors import ManifestError
from mlg.manifest.schema import json_schema


def schema() -> None:
    """Print the JSON Schema of the manifest.

    Example: mlg schema > mlg.schema.json
    """
    emit(json_schema())


def plan(
    file: Path = FileOption, home: Path | None = HomeOption, as_json: bool = JsonOption
) -> None:
    """Show what `mlg apply` would change, and which keys do not act yet.

    Example: mlg plan -f examples/movies/mlg.yaml
    """
    with reported(as_json):
        from mlg.cli.offline import plan_of

        show(plan_of(file, home_of(home, file)), as_json, _print_plan)


def apply(
    file: Path = FileOption,
    yes: bool = typer.Option(False, "--yes", help="Ask nothing."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Bring the instance to what the manifest says; applying twice changes nothing.

    Example: mlg apply -f examples/movies/mlg.yaml --yes
    """
    with reported(as_json):
        client = connect(home_of(home, file))
        try:
            planned = client.plan(str(file.resolve()))
        except ManifestError:
            client.apply(str(file.resolve()))  # refused in the same words, and on record
            raise
        if not as_json:
            _print_plan(planned)
        if planned["changes"] and not yes and not typer.confirm("apply?", err=True):
            raise typer.Exit(1)
        show(
            client.apply(str(file.resolve())), as_json, lambda done: out.print(done["summary"])
        )


def run(
    pipeline: str = typer.Argument(help="Name of the pipeline."),
    follow: bool = typer.Option(
        False, "--follow", help="Wait, and leave with the run's result."
    ),
    file: Path = FileOption,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Run a pipeline; steps whose config, data and code are unchanged come from the cache.

    Example: mlg run ranker --follow
    """
    with reported(as_json):
        client = connect(home_of(home, file))
        started = client.run(pipeline)
        if not follow:
            show(started, as_json, lambda done: out.print(f"run {done['run_id']} started"))
            return
        result = follow_run(client, started["run_id"], quiet=as_json)
        show(result, as_json, _print_run)
        raise typer.Exit({"done": 0, "rejected": 1}.get(result["state"], 5))


def follow_run(client: Any, run_id: str, *, quiet: bool) -> dict[str, Any]:
    """Return the run once it has ended, showing each step as it ends."""
    seen: set[str] = set()
    with err.status(f"run {run_id}", spinner="dots") as status:
        while True:
            run_now = client.run_status(run_id)
            for step in run_now["steps"]:
                if step["state"] != "running" and step["name"] not in seen:
                    seen.add(step["name"])
                    if not quiet:
                        line = (
                            f"  {step['name']:<16} {step['state']:<8} {step['seconds']:6.1f} s"
                        )
                        err.print(line, markup=False)
                elif step["state"] == "running":
                    status.update(f"{run_now['pipeline']}: {step['name']}")
            if run_now["state"] != "running":
                return run_now
            time.sleep(0.3)


def _print_plan(planned: dict[str, Any]) -> None:
    signs = {"create": ("+", "green"), "update": ("~", "yellow"), "retire": ("-", "red")}
    for change in planned["changes"]:
        sign, color = signs[change["action"]]
        line = f"{sign} {change['kind']} {change['name']}"
        out.print(line, style=color, markup=False, soft_wrap=True)
        for key in change["keys"]:
            before, after = key["before"] or "default", key["after"] or "default"
            line = f"    {key['key']}: {before} -> {after}"
            out.print(line, style=color, markup=False, soft_wrap=True)
    if not planned["changes"]:
        out.print("nothing to change")
    for note in planned.get("inactive", []):
        text = f"  not acting yet: {note['key']}: {note['why']}"
        out.print(text, style="dim", markup=False, soft_wrap=True)


def _print_run(result: dict[str, Any]) -> None:
    out.print(f"run {result['run_id']}: {result['state']}")
    _print_metrics(result.get("metrics", {}))
    problem = result.get("error")
    if problem:
        err.print(f"error: {problem['where']}: {problem['what']}", style="red", markup=False)
        err.print(f"  hint: {problem['hint']}", markup=False)


def _print_metrics(metrics: dict[str, float]) -> None:
    """Print one line a measure: the model's value with its interval, then the baselines'.

    Groups of viewers (`.warm`, `.cold`, ...) and all the rest are in `--json`.
    """
    rows: list[list[object]] = []
    bases = sorted(
        {name.partition(".")[0] for name in metrics if "@" in name.partition(".")[2]}
    )
    for name, value in metrics.items():
        if "." in name:
            continue
        low, high = metrics.get(f"{name}.low"), metrics.get(f"{name}.high")
        span = "" if low is None or high is None else f" ({low:.4f} to {high:.4f})"
        beside = [metrics.get(f"{base}.{name}") for base in bases]
        shown = ["" if other is None else f"{other:.4f}" for other in beside]
        rows.append([name, f"{value:.4f}{span}", *shown])
    if rows:
        table("metrics", ["measure", "model (95 %)", *bases], rows)
