"""Questions to the graph: trace, impact, diff, production, search, rebuild."""

from pathlib import Path
from typing import Any

import typer

from mlg.cli.asking import answers
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
from mlg.graph.questions import MAX_DEPTH, MAX_LIMIT, attr_of

DepthOption = typer.Option(None, help="Hops at most.", min=0, max=MAX_DEPTH)
KindOption = typer.Option([], "--kind", help="Only nodes of these kinds.")
ClassOption = typer.Option(
    [], "--class", help="Classes of edges to follow; default lineage and causal."
)
RoleOption = typer.Option([], "--role", help="Roles of edges to follow; default all.")
StopOption = typer.Option([], "--stop-at", help="Roles of edges not to follow.")
AsOfOption = typer.Option(None, help="How things were at this time (RFC 3339).")
KnownOption = typer.Option(
    None, help="What was recorded by this time, or up to this seq of the log."
)
LimitOption = typer.Option(MAX_LIMIT, help="Nodes at most.", min=1, max=MAX_LIMIT)


def trace(
    uri: str = typer.Argument(help="A node's URI, or the id or URI of a prediction."),
    *,
    depth: int | None = DepthOption,
    kind: list[str] = KindOption,
    edge_class: list[str] = ClassOption,
    role: list[str] = RoleOption,
    stop_at: list[str] = StopOption,
    as_of: str | None = AsOfOption,
    known_at: str | None = KnownOption,
    limit: int = LimitOption,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show everything that a thing came from.

    Example: mlg trace mlg://model_version/mlg/movies/ranker@3f2a4b5c6d7e
    """
    with reported(as_json):
        document = answers(home_of(home)).trace(
            uri,
            depth=depth,
            kinds=kind,
            classes=edge_class,
            roles=role,
            stop_at=stop_at,
            as_of=as_of,
            known_at=known_at,
            limit=limit,
        )
        show(document, as_json, _print_walk)


def why(
    uri: str = typer.Argument(
        help="URI of anything, the id or URI of a prediction, or the name of a service."
    ),
    did_not: str | None = typer.Option(
        None, "--not", help="What did not happen: promoted, restarted, healed or alerted."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Tell in a paragraph why a thing is as it is; the numbers are those of the events.

    With --not: why something did not happen, and whether it did after all.

    Example: mlg why home --not promoted
    """
    with reported(as_json):
        document = answers(home_of(home)).why(uri, did_not=did_not)
        show(document, as_json, _print_why)


def impact(
    uri: str = typer.Argument(help="A node's URI, or a column as dataset.column."),
    *,
    depth: int | None = DepthOption,
    kind: list[str] = KindOption,
    edge_class: list[str] = ClassOption,
    role: list[str] = RoleOption,
    stop_at: list[str] = StopOption,
    as_of: str | None = AsOfOption,
    known_at: str | None = KnownOption,
    limit: int = LimitOption,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show everything that came of a thing; of a column, what breaks if it changes.

    Example: mlg impact ratings.rating
    """
    with reported(as_json):
        document = answers(home_of(home)).impact(
            uri,
            depth=depth,
            kinds=kind,
            classes=edge_class,
            roles=role,
            stop_at=stop_at,
            as_of=as_of,
            known_at=known_at,
            limit=limit,
        )
        show(document, as_json, _print_impact)


def diff(
    a: str = typer.Argument(help="URI of a version."),
    b: str = typer.Argument(help="URI of another one of the same kind."),
    as_of: str | None = AsOfOption,
    known_at: str | None = KnownOption,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show what differs between two versions: data, features, code, parameters, metrics.

    Example: mlg diff mlg://image/mlg/movies/ranker@3f2a mlg://image/mlg/movies/ranker@9c1d
    """
    with reported(as_json):
        document = answers(home_of(home)).diff(a, b, as_of=as_of, known_at=known_at)
        show(document, as_json, _print_diff)


def production(
    service: str = typer.Argument(help="Name of the service."),
    at: str | None = typer.Option(
        None, help="A time such as 2026-11-24T14:05:00Z; default now."
    ),
    known_at: str | None = KnownOption,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show what served a service at a time.

    Example: mlg production home --at 2026-11-24T14:05:00Z
    """
    with reported(as_json):
        document = answers(home_of(home)).production(service, at=at, known_at=known_at)
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
    kind: list[str] = KindOption,
    limit: int = typer.Option(50, help="Nodes at most.", min=1, max=1_000),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Find nodes by name, URI or attribute.

    Example: mlg search ranker --kind model_version
    """
    with reported(as_json):
        document = answers(home_of(home)).search(text, kinds=kind, limit=limit)
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


def _print_why(told: dict[str, Any]) -> None:
    if not told["holds"]:
        out.print(f"It was {told['question'].removeprefix('not ')}:")
    if told["truncated"]:
        out.print("(the oldest of it is left out)")
    out.print(told["paragraph"], markup=False, soft_wrap=True)


def nodes(
    kind: list[str] = KindOption,
    attr: str | None = typer.Option(None, help="Only those with this name=value."),
    as_of: str | None = AsOfOption,
    known_at: str | None = KnownOption,
    limit: int = typer.Option(100, help="Nodes at most.", min=1, max=MAX_LIMIT),
    cursor: str | None = typer.Option(None, help="Where the former page ended."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """List nodes in the order of their URIs, a page at a time.

    Example: mlg graph nodes --kind model_version --attr seed=7
    """
    with reported(as_json):
        document = answers(home_of(home)).nodes(
            kind,
            attr=attr_of(attr),
            as_of=as_of,
            known_at=known_at,
            limit=limit,
            cursor=cursor,
        )
        show(
            document,
            as_json,
            lambda found: table(
                f"{len(found['nodes'])} of {found['total']} nodes",
                ["kind", "name", "uri"],
                [[n["kind"], n["name"], n["uri"]] for n in found["nodes"]],
            ),
        )


def events(
    after: int = typer.Option(0, help="Only events with a greater seq.", min=0),
    limit: int = typer.Option(1_000, help="Events at most.", min=1, max=MAX_LIMIT),
    subject: str | None = typer.Option(None, help="Only events about this URI."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """List events of the log in order; `cursor` is the next `--after`.

    Example: mlg graph events --after 120 --subject mlg://service/mlg/movies/home
    """
    with reported(as_json):
        document = answers(home_of(home)).events(after, limit, subject=subject)
        show(
            document,
            as_json,
            lambda found: table(
                f"events up to {found['cursor']} of {found['head']['seq']}",
                ["seq", "at", "type", "subject"],
                [[e["seq"], e["at"], e["type"], e["subject"]] for e in found["events"]],
            ),
        )


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
