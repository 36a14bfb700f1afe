"""Questions to the graph: trace, impact, diff, production, search, rebuild."""

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
from mlg.cli.offline import answers


def trace(
    uri: str = typer.Argument(help="A node's URI, or the id or URI of a prediction."),
    depth: int | None = typer.Option(None, help="Hops at most."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show everything that a thing came from.

    Example: mlg trace mlg://model_version/mlg/movies/ranker@3f2a4b5c6d7e
    """
    with reported(as_json):
        document = answers(home_of(home)).trace(uri, depth=depth)
        show(document, as_json, _print_walk)


def why(
    uri: str = typer.Argument(help="URI of a rollout, an alert, an incident, a run, …"),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Tell in a paragraph why a thing is as it is; the numbers are those of the events.

    Example: mlg why mlg://rollout/mlg/movies/home@01a20c61-793a-76fe-9942-18bc6ae8fe15-12
    """
    with reported(as_json):
        document = connect(home_of(home)).why(uri)
        show(
            document,
            as_json,
            lambda told: out.print(told["paragraph"], markup=False, soft_wrap=True),
        )


def impact(
    uri: str = typer.Argument(help="A node's URI, or a column as dataset.column."),
    depth: int | None = typer.Option(None, help="Hops at most."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show everything that came of a thing; of a column, what breaks if it changes.

    Example: mlg impact ratings.rating
    """
    with reported(as_json):
        document = answers(home_of(home)).impact(uri, depth=depth)
        show(document, as_json, _print_impact)


def diff(
    a: str = typer.Argument(help="URI of a version."),
    b: str = typer.Argument(help="URI of another one of the same kind."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show what differs between two versions: data, features, code, parameters, metrics.

    Example: mlg diff mlg://image/mlg/movies/ranker@3f2a mlg://image/mlg/movies/ranker@9c1d
    """
    with reported(as_json):
        show(answers(home_of(home)).diff(a, b), as_json, _print_diff)


def production(
    service: str = typer.Argument(help="Name of the service."),
    at: str | None = typer.Option(
        None, help="A time such as 2026-11-24T14:05:00Z; default now."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show what served a service at a time.

    Example: mlg production home --at 2026-11-24T14:05:00Z
    """
    with reported(as_json):
        document = answers(home_of(home)).production(service, at=at)
        show(
            document,
            as_json,
            lambda found: table(
                f"{found['service']} at {found['at']}",
                ["model version", "share", "since", "health"],
                [
                    [v["model_version"], f"{v['share_bp'] / 100:g} %", v["since"], v["health"]]
                    for v in found["versions"]
                ],
            ),
        )


def search(
    text: str = typer.Argument(help="Words; the beginning of a word is enough."),
    kind: list[str] = typer.Option([], help="Only nodes of these kinds."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Find nodes by name, URI or attribute.

    Example: mlg search ranker --kind model_version
    """
    with reported(as_json):
        document = answers(home_of(home)).search(text, kinds=kind)
        show(
            document,
            as_json,
            lambda found: table(
                f"nodes that match {text!r}",
                ["kind", "name", "uri"],
                [[n["kind"], n["name"], n["uri"]] for n in found["nodes"]],
            ),
        )


def rebuild(home: Path | None = HomeOption, as_json: bool = JsonOption) -> None:
    """Make the graph's projections again from the event log.

    Example: mlg graph rebuild
    """
    with reported(as_json):
        document = connect(home_of(home), timeout_s=600).rebuild()
        show(document, as_json, lambda found: out.print(f"{found['events']} events read"))


def _print_diff(found: dict[str, Any]) -> None:
    if found["same"]:
        out.print("nothing differs")
        return
    if found["truncated"]:
        out.print("one of the two comes of more than 10,000 things: the rest was not compared")
    for side in found["things"]:
        out.print(f"{side['sort']}: {side['both']} in common", markup=False)
        for sign, uris in (("-", side["only_a"]), ("+", side["only_b"])):
            for uri in uris:
                out.print(f"  {sign} {uri}", soft_wrap=True, markup=False)
    table(
        "values",
        ["", "name", "a", "b"],
        [[v["sort"], v["name"], _text(v["a"]), _text(v["b"])] for v in found["values"]],
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _print_impact(walk: dict[str, Any]) -> None:
    found = walk.get("breaks")
    if not found:
        _print_walk(walk)
        return
    out.print(f"if {walk['root']} changes:", soft_wrap=True, markup=False)
    for what in ("features", "models", "deployments"):
        table(
            what,
            ["name", "by its", "live", "uri"],
            [
                [one["name"], one["way"], "yes" if one["live"] else "", one["uri"]]
                for one in found[what]
            ],
        )
    out.print(f"services: {', '.join(found['services']) or 'none'}", markup=False)
    if walk["truncated"]:
        out.print(f"cut at the limit: {walk['total']} things in all")


def _print_walk(walk: dict[str, Any]) -> None:
    more = " (cut at the limit)" if walk["truncated"] else ""
    out.print(
        f"{walk['root']}  {walk['direction']}: {walk['total']} nodes{more}", soft_wrap=True
    )
    for node in walk["nodes"]:
        indent = "  " * int(node["depth"])
        out.print(f"{indent}{node['kind']}  {node['uri']}", soft_wrap=True, markup=False)
