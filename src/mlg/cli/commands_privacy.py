"""What is erased: one viewer, and what is past its retention."""

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
from mlg.client.client import LONG_S
from mlg.core.errors import ManifestError

_DRY = typer.Option(False, "--dry-run", help="Only tell what would be erased.")


def erase(
    viewer: str = typer.Option(..., "--viewer", help="Id of the viewer, as in the data."),
    service: str | None = typer.Option(
        None, "--service", help="Only his answers and feedback of this service."
    ),
    everything: bool = typer.Option(
        False, "--all", help="Every service, stored tables and models."
    ),
    reason: str = typer.Option("", "--reason", help="Why; kept on the graph: no names."),
    dry_run: bool = _DRY,
    yes: bool = typer.Option(False, "--yes", help="Ask nothing."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Erase one viewer for good; the proofs of other viewers' answers stay.

    Example: mlg erase --viewer 196 --all --reason "ticket 4711" --dry-run
    Example: mlg erase --viewer 196 --service home --yes
    """
    with reported(as_json):
        if everything == (service is not None):
            raise ManifestError("expected either --service or --all", where="mlg erase")
        client = connect(home_of(home), timeout_s=LONG_S)
        if not yes and not dry_run:
            if as_json:
                raise ManifestError(
                    "with --json nothing can be asked", hint="add --yes, or --dry-run."
                )
            with err.status("looking for him"):
                would = client.erase(viewer, service=service, reason=reason, dry_run=True)
            _print_erased(would)
            typer.confirm("erase this for good?", abort=True)
        with err.status("erasing"):
            done = client.erase(viewer, service=service, reason=reason, dry_run=dry_run)
        show(done, as_json, _print_erased)


def gc(
    dry_run: bool = _DRY, home: Path | None = HomeOption, as_json: bool = JsonOption
) -> None:
    """Erase answers past their retention, and log files that nobody needs; also done hourly.

    Example: mlg gc --dry-run
    """
    with reported(as_json):
        client = connect(home_of(home), timeout_s=LONG_S)
        with err.status("erasing what is due"):
            done = client.collect(dry_run=dry_run)
        show(done, as_json, _print_collected)


def _print_erased(found: dict[str, Any]) -> None:
    word = "would be erased" if found["dry_run"] else "erased"
    out.print(
        f"{word}: {found['log_records']} records of the log, {found['sealed_rows']} sealed "
        f"answers in {found['segments']} segments, {found['bundles']} bundles"
    )
    for one in found["tables"]:
        out.print(f"  {one['rows']} rows of {one['uri']}", markup=False, soft_wrap=True)
    said = (
        ("models_removed", "model removed, it named him"),
        ("models_needing_retraining", "serves and names him, retrain it"),
        ("not_searched", "table without a column known to name viewers"),
        ("sources", "source that may still have him: remove him there too"),
    )
    for key, words in said:
        for one in found[key]:
            out.print(f"  {words}: {one}", markup=False, soft_wrap=True)


def _print_collected(found: dict[str, Any]) -> None:
    rows: list[list[object]] = [
        [s["service"], s["before"], s["rows"], s["segments"], s["log_files"]]
        for s in found["services"]
    ]
    table("past their retention", ["service", "before", "answers", "segments", "files"], rows)
