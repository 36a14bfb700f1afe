"""The account: audit export and audit verify."""

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
)
from mlg.core.errors import ManifestError


def export(
    prediction: str | None = typer.Option(None, "--prediction", help="Id of one answer."),
    model_version: str | None = typer.Option(
        None, "--model-version", help="URI of a model version."
    ),
    service: str | None = typer.Option(None, "--service", help="Name of a service."),
    since: str | None = typer.Option(
        None, "--from", help="With --service: from when, RFC 3339, inclusive."
    ),
    until: str | None = typer.Option(
        None, "--to", help="With --service: up to when, RFC 3339, exclusive."
    ),
    folder: Path = typer.Option(Path("."), "--out", help="Folder for the bundle."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Write a bundle that proves what is known of an answer, a model version or a service.

    Example: mlg audit export --service home --from 2026-07-01T00:00:00Z
    --to 2026-07-08T00:00:00Z --out bundles/
    """
    with reported(as_json):
        client = connect(home_of(home), timeout_s=120)
        with err.status("making the bundle"):
            name, content = client.audit_export(
                prediction,
                model_version=model_version,
                service=service,
                since=since,
                until=until,
            )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_bytes(content)
        document: dict[str, Any] = {"path": str(path), "bytes": len(content)}
        asked = {
            "prediction": prediction,
            "model_version": model_version,
            "service": service,
            "from": since,
            "to": until,
        }
        document |= {name: value for name, value in asked.items() if value is not None}
        show(
            document, as_json, lambda done: out.print(f"{done['path']} ({done['bytes']} bytes)")
        )


def verify_log(
    bundle: Path | None = typer.Argument(
        None, help="A bundle to check instead of the log: folder or .zip."
    ),
    key: Path | None = typer.Option(
        None, "--key", help="Public key that must have signed the bundle: hex, as anchor.pub."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Check the event log: each hash, each anchor, nothing missing; or check a bundle.

    Example: mlg audit verify audit-0199f3c1.zip --key .mlg/keys/anchor.pub
    """
    with reported(as_json):
        if bundle is not None:
            from mlg.adapters.audit_bundle import verified

            document = verified(bundle, _key(key))
            show(document, as_json, _print_bundle)
        else:
            from mlg.cli.offline import verify

            document = verify(home_of(home))
            show(document, as_json, _print_verdict)
        if not document["ok"]:
            raise typer.Exit(1)


def _key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return bytes.fromhex(path.read_text(encoding="utf-8").strip())
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"expected 32 bytes as hex: {error}",
            where=f"--key {path}",
            hint="name keys/anchor.pub of the home that made the bundle.",
        ) from error


def _print_bundle(found: dict[str, Any]) -> None:
    if found["ok"]:
        out.print(f"ok: every byte and proof holds; signed by {found['signed_by']}")
    for problem in found["problems"]:
        out.print(f"NOT ok: {problem}", style="red", markup=False)


def _print_verdict(found: dict[str, Any]) -> None:
    if found["ok"]:
        out.print(f"ok: {found['events']} events, chain and anchors agree")
    else:
        bad = found["first_bad"]
        out.print(f"NOT ok: event {bad['seq']}: {bad['reason']}", style="red", markup=False)
