"""Writes the generated pages: commands, metrics, both schemas (`python docs/generate.py`).

The tests compare what stands in the files with what these functions return.
"""

# ruff: noqa: INP001, PLC0415

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
METRICS_HEAD = "## Metrics\n"


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each leaf command of a click or Typer group, with its path."""
    for name, child in getattr(command, "commands", {}).items():
        deeper = (*path, name)
        if hasattr(child, "commands"):
            yield from commands(child, deeper)
        else:
            yield deeper, child


def cli_page(root: Any) -> str:
    """Return `docs/cli.md` for the root command."""
    parts = [
        "# Commands\n",
        "Made by `docs/generate.py` from the application; do not edit.\n",
        "Exit codes: 0 done, 1 a check said no, 2 manifest or usage, 3 not found, 4 conflict, "
        "5 backend.\n`--json` prints one document on standard output and nothing else.\n",
    ]
    for path, command in commands(root):
        parts.append(_command(path, command))
    return "\n".join(parts)


def _command(path: Sequence[str], command: Any) -> str:
    help_text = inspect.cleandoc((command.help or "").split("\f")[0])
    text, _, example = help_text.partition("Example:")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    words = " ".join(
        ["mlg", *path, *(_metavar(p) if p.required else f"[{_metavar(p)}]" for p in arguments)]
    )
    lines = [f"## {words}", "", " ".join(text.split()), ""]
    rows = [(f"`{_metavar(p)}`", getattr(p, "help", None) or "") for p in arguments]
    for option in (p for p in command.params if p.param_type_name == "option"):
        names = ", ".join(f"`{name}`" for name in option.opts if name != "--help")
        if names:
            rows.append((names, (getattr(option, "help", None) or "")))
    if rows:
        lines += ["| | |", "| --- | --- |"]
        lines += [f"| {name} | {_cell(help_)} |" for name, help_ in rows]
        lines.append("")
    if example.strip():
        parts = [" ".join(part.split()) for part in example.split("\n\n")]
        examples = [part.removeprefix("Example: ") for part in parts if part]
        lines += ["```text", *examples, "```", ""]
    return "\n".join(lines)


def _metavar(parameter: Any) -> str:
    return str(parameter.name).upper()


def _coded(words: Sequence[str]) -> str:
    return " ".join(f"`{word}`" for word in words)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", r"\|").strip()


def metric_rows(metrics: Sequence[Any]) -> str:
    """Return the section of the glossary that lists the metrics."""
    rows = [
        f"| `{spec.name}` | {_coded(spec.labels)} | {_cell(spec.help)} |" for spec in metrics
    ]
    head = ["", "| metric | labels | meaning |", "| --- | --- | --- |"]
    return "\n".join([METRICS_HEAD.strip(), *head, *rows]) + "\n"


def with_metrics(page: str, metrics: Sequence[Any]) -> str:
    """Return the glossary with its last section made anew."""
    return page[: page.index(METRICS_HEAD)] + metric_rows(metrics)


def taxonomy_page(kinds: Sequence[Any], roles: Sequence[Any]) -> str:
    """Return `docs/taxonomy.md` from rows of `tests.taxonomy`."""
    lines = [
        "# Kinds and roles of the graph",
        "",
        "Made by `docs/generate.py` from `mlg.core.nodes`, `mlg.graph.taxonomy` and the events",
        "that the recorders make in `tests/story.py`; do not edit. A test fails when a kind or",
        "a role has neither a recorder nor a way in for others.",
        "",
        "An arrow goes from what came first, or caused, to what came of it: `up` walks against",
        "it. An event may draw no arrow but those named here.",
        "A walk follows the classes lineage and causal unless it is told otherwise.",
        "",
        "## Kinds of nodes",
        "",
        "| kind | what it is | who makes it |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{k.name}` | {_cell(k.meaning)} | {_makers(k)} |" for k in kinds]
    lines += [
        "| `prediction` | One answer: a first node that answers carry, never stored. | "
        "`mlg trace ID`, `mlg why ID` |",
        "",
        "## Roles of edges",
        "",
    ]
    for role in roles:
        lines += [f"### {role.name}", ""]
        lines += [f"Class {role.edge_class}. {role.meaning}", ""]
        lines += [f"- Made by: {_makers(role)}", *_pairs(role.pairs), ""]
    return "\n".join(lines)


def _pairs(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield a line for the kinds that may point to the same kinds."""
    ends: dict[str, list[str]] = {}
    for src, dst in pairs:
        ends.setdefault(src, []).append(dst)
    alike: dict[tuple[str, ...], list[str]] = {}
    for src, dsts in ends.items():
        alike.setdefault(tuple(dsts), []).append(src)
    for dsts, srcs in alike.items():
        yield f"- From {_coded(srcs)} to {_coded(dsts)}"


def _makers(row: Any) -> str:
    parts = [_coded(row.makers)] if row.makers else []
    return "; ".join([*parts, *([_cell(row.ingest)] if row.ingest else [])])


def main() -> None:
    """Write the pages."""
    import sys

    import typer

    from mlg.api.app import openapi_document
    from mlg.api.graphql_schema import sdl
    from mlg.cli.main import app
    from mlg.telemetry.metrics import METRICS

    (DOCS / "cli.md").write_text(cli_page(typer.main.get_command(app)), encoding="utf-8")
    (DOCS / "openapi.json").write_bytes(openapi_document())
    (DOCS / "graphql.graphql").write_text(sdl(), encoding="utf-8")
    sys.path.insert(0, str(DOCS.parent))
    from tests.taxonomy import kind_rows, role_rows

    (DOCS / "taxonomy.md").write_text(taxonomy_page(kind_rows(), role_rows()), encoding="utf-8")
    glossary = DOCS / "glossary.md"
    page = with_metrics(glossary.read_text(encoding="utf-8"), METRICS)
    glossary.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
