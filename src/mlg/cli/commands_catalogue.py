"""Care of what the graph knows: what could go, and what is badly described."""

from pathlib import Path
from typing import Any

import typer

from mlg.cli.asking import answers
from mlg.cli.instance import HomeOption, JsonOption, home_of, out, reported, show, table


def unused(
    kind: list[str] = typer.Option([], help="Only these kinds, also several by commas."),
    since: str = typer.Option("30d", help="A use within this time counts."),
    limit: int = typer.Option(100, min=1, max=10_000, help="Most lines."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Find what could be deprecated: nothing live comes of it and nothing used it lately.

    Example: mlg unused --kind dataset,feature,model --since 30d
    """
    with reported(as_json):
        document = answers(home_of(home)).unused(kinds=kind, since=since, limit=limit)
        show(document, as_json, _print_unused)


def quality(
    uri: str | None = typer.Argument(None, help="Only this thing."),
    kind: list[str] = typer.Option([], help="Only these kinds, also several by commas."),
    limit: int = typer.Option(100, min=1, max=10_000, help="Most lines."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show how well things are described: owner, description, freshness and tags.

    Example: mlg quality --kind dataset
    """
    with reported(as_json):
        document = answers(home_of(home)).quality(uri, kinds=kind, limit=limit)
        show(document, as_json, _print_quality)


def _print_quality(found: dict[str, Any]) -> None:
    table(
        "by kind",
        ["kind", "things", "score", "missing"],
        [
            [
                one["kind"],
                one["things"],
                f"{one['score']:.2f}",
                ", ".join(f"{part} {count}" for part, count in one["missing"].items()),
            ]
            for one in found["summary"]
        ],
    )
    table(
        "the worst first",
        ["score", "kind", "name", "missing", "owners", "uri"],
        [
            [
                f"{one['score']:.2f}",
                one["kind"],
                one["name"],
                ", ".join(one["missing"]),
                ", ".join(one["owners"]),
                one["uri"],
            ]
            for one in found["items"]
        ],
    )
    if found["truncated"]:
        out.print("not all is told: more things than are looked at, or than --limit")


def _print_unused(found: dict[str, Any]) -> None:
    table(
        f"unused since {found['since']}",
        ["kind", "name", "idle days", "last use by", "why"],
        [
            [
                one["kind"],
                one["name"],
                f"{one['idle_s'] / 86_400:.0f}",
                one["last_use_by"] or "",
                one["why"],
            ]
            for one in found["items"]
        ],
    )
    out.print(
        f"{found['total']} of {found['examined']} things; {found['in_doubt']} have more uses "
        "than are counted and are taken as used",
        markup=False,
    )
    if found["truncated"]:
        out.print("not all is told: more things than are looked at, or than --limit")
