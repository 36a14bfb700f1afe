"""Records of notebooks and scripts that wait on disk until a control plane answers."""

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
from mlg.client.spool import described

FolderOption = typer.Option(
    None,
    "--spool",
    envvar="MLG_SPOOL",
    help="Folder of the records; default ~/.local/state/mlg/spool.",
)


def listing(folder: Path | None = FolderOption, as_json: bool = JsonOption) -> None:
    """Show the files that wait, oldest first.

    Example: mlg spool list
    """
    with reported(as_json):
        where = Client(None, spool=folder).spool
        document = {
            "folder": str(where),
            "files": described(where),
            "refused": [path.name for path in sorted(where.glob("*.refused"))],
        }
        show(document, as_json, _print)


def replay(
    folder: Path | None = FolderOption,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Send every record that waits to this control plane; what it has already changes nothing.

    Exit code 1 says that some were refused: they are kept in files that end in .refused.

    Example: mlg spool replay
    """
    with reported(as_json):
        control = connect(home_of(home))
        with err.status("sending what waits"):
            told = Client(control.url, spool=folder).replay(anyone=True)
        show(told, as_json, _print_told)
    if told["refused"]:
        raise typer.Exit(1)


def _print(document: dict[str, Any]) -> None:
    rows: list[list[object]] = [
        [one["file"], one["records"], one["url"] or "any", one["note"]]
        for one in document["files"]
    ]
    table(document["folder"], ["file", "records", "for", ""], rows)
    if document["refused"]:
        out.print(f"refused: {', '.join(document['refused'])}")


def _print_told(told: dict[str, Any]) -> None:
    out.print(f"{told['sent']} records sent, {told['refused']} refused")
    if told["busy"]:
        out.print(f"{told['busy']} files are still written by a living process")
