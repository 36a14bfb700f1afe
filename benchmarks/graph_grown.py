"""Traces of the graph as it grows: a million nodes, two million, ten million edges."""  # noqa: INP001 - a script, no package

from collections.abc import Callable, Iterator
from pathlib import Path

import graph_world as world
from graph_rows import Row, chosen, indexed, row_of, searches, submitted, traces

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.events import Event

MARKS = (("1 M nodes", 1_000_000, 0), ("2 M nodes", 2_000_000, 0), ("10 M edges", 0, 10_000_000))
"""Name, nodes told, edges told: a mark is reached when both are."""


def grown(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """Return rows of the same store at each mark."""
    path = folder / "graph.sqlite3"
    events = world.events(world.days_for(6_000_000))
    rows: list[Row] = []
    nodes = edges = days = 0
    with SqliteGraph(path, SystemClock()) as store, SqliteGraphReader(path) as reader:
        for name, most_nodes, most_edges in MARKS:
            say(f"loading up to {name} ...")

            def until(wanted: tuple[int, int] = (most_nodes, most_edges)) -> Iterator[Event]:
                nonlocal nodes, edges, days
                while nodes < wanted[0] or edges < wanted[1]:
                    event = next(events)
                    nodes, edges = nodes + len(event.nodes), edges + len(event.edges)
                    days = (event.at - world.START).days
                    yield event

            spent, count, told = submitted(store, until())
            indexed(path)
            starts = chosen(days - 1)  # the last days may be told in part
            found, _ = traces(reader, [world.deployment(*one) for one in starts])
            mark = [
                row_of(f"{name}: nodes", "mlg", nodes, "nodes", 1),
                row_of(f"{name}: edges", "mlg", edges, "edges", 1),
                row_of(f"{name}: bulk load", "mlg", told / spent, "edges/s", count),
                row_of(f"{name}: file", "mlg", path.stat().st_size / 1e6, "MB", 1),
                *(
                    {**row, "work": f"{name}: {row['work']}"}
                    for row in found + searches(reader, starts)
                ),
            ]
            for row in mark:
                say(f"{row['work']}: {row['value']:,.3f} {row['unit']}")
            rows += mark
    return rows
