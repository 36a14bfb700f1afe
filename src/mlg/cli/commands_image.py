"""Models and their images: image verify."""

from pathlib import Path
from typing import Any

import typer

from mlg.cli.instance import HomeOption, JsonOption, err, home_of, out, reported, show


def verify(
    target: str = typer.Argument(help="URI of a model version or an image, or a folder."),
    signature: Path | None = typer.Option(
        None, "--signature", help="File of the signature; default: the one the home knows."
    ),
    key: Path | None = typer.Option(
        None, "--key", help="File of the public keys to believe; default: the home's."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Check that a model or an image is, file by file, what a trusted key signed.

    Example: mlg image verify mlg://model_version/mlg/movies/ranker@3f2a90c1d2e4
    """
    with reported(as_json):
        from mlg.app.verifying import verify_document

        with err.status("hashing every file"):
            document = verify_document(target, home_of(home), signature=signature, key=key)
        show(document, as_json, _print_verdict)
        if not document["ok"]:
            raise typer.Exit(1)


def _print_verdict(found: dict[str, Any]) -> None:
    if found["ok"]:
        what = f"{found['files']} files" if found["kind"] == "model" else "the image"
        out.print(
            f"ok: {what} as signed by key {found['key_id'][:12]} ({found['digest'][:12]})",
            markup=False,
        )
    else:
        where = f"{found['file']}: " if found["file"] else ""
        out.print(f"NOT ok: {where}{found['reason']}", style="red", markup=False)
