"""The account: audit export and audit verify."""

from pathlib import Path
from typing import Any

import typer

from mlg.cli.instance import HomeOption, JsonOption, connect, home_of, out, reported, show
from mlg.cli.offline import verify


def export(
    prediction: str = typer.Option(..., "--prediction", help="Id of the prediction."),
    to: Path = typer.Option(Path("."), "--to", help="Folder for the bundle."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Write a bundle that proves which data fed the model that gave one answer.

    Example: mlg audit export --prediction 0199f3c1-… --to bundles/
    """
    with reported(as_json):
        name, content = connect(home_of(home), timeout_s=120).audit_export(prediction)
        to.mkdir(parents=True, exist_ok=True)
        path = to / name
        path.write_bytes(content)
        document = {"path": str(path), "bytes": len(content), "prediction": prediction}
        show(
            document, as_json, lambda done: out.print(f"{done['path']} ({done['bytes']} bytes)")
        )


def verify_log(home: Path | None = HomeOption, as_json: bool = JsonOption) -> None:
    """Check the event log: each hash, each anchor, nothing missing.

    Example: mlg audit verify
    """
    with reported(as_json):
        document = verify(home_of(home))
        show(document, as_json, _print_verdict)
        if not document["ok"]:
            raise typer.Exit(1)


def _print_verdict(found: dict[str, Any]) -> None:
    if found["ok"]:
        out.print(f"ok: {found['events']} events, chain and anchors agree")
    else:
        bad = found["first_bad"]
        out.print(f"NOT ok: event {bad['seq']}: {bad['reason']}", style="red", markup=False)
