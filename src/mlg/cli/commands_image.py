"""Models and their images: image build, inspect, push, verify."""

from pathlib import Path
from typing import Any

import typer

from mlg.cli.instance import HomeOption, JsonOption, err, home_of, out, reported, show, table

TargetArgument = typer.Argument(
    help="URI of a model version, a version, or a pipeline for its newest one."
)
SourceArgument = typer.Argument(help="Folder of an OCI layout, or a version as in `build`.")
BaseOption = typer.Option(
    "host",
    "--base",
    help="host: this machine's Python and C library. oci:PATH[:REF]: an image of a local "
    "layout. Another text: a reference that is only named, which no engine starts.",
)


def build(
    target: str = TargetArgument,
    base: str = BaseOption,
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Folder for the layout; default: the home's cache."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Build the OCI image of a packaged version: the same inputs give the same digest.

    Example: mlg image build ranker --output image
    Example: mlg image build 3f2a90c1d2e4 --base oci:python-slim:3.11
    """
    with reported(as_json):
        from mlg.app.image_acts import build_document

        with err.status("building layers"):
            document = build_document(target, home_of(home), base=base, output=output)
        show(document, as_json, _print_built)


def inspect(
    target: str = SourceArgument, home: Path | None = HomeOption, as_json: bool = JsonOption
) -> None:
    """Show an image's layers, labels and what is attached to it, after hashing all of it.

    Example: mlg image inspect ranker
    """
    with reported(as_json):
        from mlg.app.image_acts import inspect_document

        with err.status("hashing every blob"):
            document = inspect_document(target, home_of(home))
        show(document, as_json, _print_inspected)


def push(
    source: str = SourceArgument,
    to: str = typer.Argument(help="HOST[:PORT]/NAME[:TAG]; default tag: the version."),
    plain_http: bool = typer.Option(
        False, "--plain-http", help="The registry has no TLS; for one on this machine."
    ),
    username: str = typer.Option("", "--username", help="To sign in; without: a token."),
    password: str = typer.Option(
        "", "--password", help="secret://env/NAME or secret://file/PATH; never the text."
    ),
    base: str = BaseOption,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Push an image, its signature and its bill of materials to a registry.

    What the registry has is not sent again; the tag is written last.

    Example: mlg image push ranker registry.example.com/recs/ranker
    Example: mlg image push image localhost:5000/ranker:1 --plain-http
    """
    with reported(as_json):
        from mlg.app.image_acts import push_document

        def told(what: str, digest: str, size: int) -> None:
            err.print(f"{what:6} {digest[:12]} {size:>13,} bytes", markup=False)

        with err.status("pushing"):
            document = push_document(
                source,
                to,
                home_of(home),
                plain_http=plain_http,
                username=username,
                password=password,
                base=base,
                progress=told,
            )
        show(document, as_json, _print_pushed)


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


def _print_built(found: dict[str, Any]) -> None:
    how = "built" if found["built"] else "there already"
    out.print(
        f"{how}: {found['name']} sha256:{found['digest']} "
        f"({found['size_bytes'] / 1e6:.0f} MB, {len(found['layers'])} layers)",
        markup=False,
        soft_wrap=True,
    )
    out.print(f"layout: {found['path']}", markup=False, soft_wrap=True)
    if not found["signed"]:
        out.print("not signed: the home has no key yet (mlg up)", markup=False)
    if not found["starts"]:
        out.print("its base is only named: no engine starts it as it is", markup=False)


def _print_inspected(found: dict[str, Any]) -> None:
    out.print(
        f"{found['name']} sha256:{found['digest']} {found['architecture']} "
        f"{found['size_bytes'] / 1e6:.0f} MB",
        markup=False,
        soft_wrap=True,
    )
    rows: list[list[object]] = [
        [layer["digest"][:12], f"{layer['size']:,}", layer["media_type"].rpartition(".")[2]]
        for layer in found["layers"]
    ]
    table("layers", ["digest", "bytes", "type"], rows)
    table("labels", ["label", "value"], [[k, v] for k, v in sorted(found["labels"].items())])
    attached: list[list[object]] = [
        [one["artifact_type"], one["digest"][:12], f"{one['size']:,}"]
        for one in found["referrers"]
    ]
    table("attached", ["type", "digest", "bytes"], attached)


def _print_pushed(found: dict[str, Any]) -> None:
    out.print(
        f"pushed: {found['reference']} sha256:{found['digest']}", markup=False, soft_wrap=True
    )
    out.print(
        f"{found['sent']} blobs sent ({found['sent_bytes'] / 1e6:.0f} MB), {found['there']} "
        f"there already, {found['referrers']} documents attached",
        markup=False,
    )
