"""What runs here, written down for other places: render kubernetes, render compose."""

import sys
from pathlib import Path
from typing import Any

import typer

from mlg.cli.instance import (
    FileOption,
    HomeOption,
    JsonOption,
    emit,
    err,
    home_of,
    out,
    reported,
)


def kubernetes(
    file: Path = FileOption,
    out_dir: Path | None = typer.Option(
        None, "--out", help="Folder for the files, in the order to apply them; default: print."
    ),
    image: list[str] = typer.Option(
        [],
        "--image",
        help="[SERVICE=]REFERENCE: a repository, to which known digests are added, or one "
        "image by digest or tag; never `latest`.",
    ),
    namespace: str = typer.Option("", "--namespace", help="Written into every object."),
    gateway: str = typer.Option(
        "mlg", "--gateway", help="[NAMESPACE/]NAME of the Gateway that routes attach to."
    ),
    proxies_in: str = typer.Option(
        "", "--proxies-in", help="Namespace of the Gateway's proxies, if not its own."
    ),
    kserve: bool = typer.Option(
        False,
        "--kserve",
        help="InferenceServices in place of Deployments and routes; whole percents only.",
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Write the services as Kubernetes objects, with the split that is in force.

    Deployments, Services, autoscalers and disruption budgets of every version, an HTTPRoute
    with the same weights a service, network policies, ConfigMaps. Reads the manifest and the
    instance's files; applies nothing.

    Example: mlg render kubernetes --image registry.example.com/movies-ranker --out deploy
    """
    with reported(as_json):
        from mlg.app.rendering import document_of, kubernetes_of, texts, write_files
        from mlg.render.inputs import cluster_of

        rendering = kubernetes_of(
            file,
            home_of(home, file),
            cluster_of(namespace, gateway, proxies_in),
            images=image,
            with_kserve=kserve,
        )
        if out_dir is not None:
            write_files(rendering, out_dir)
        if as_json:
            emit(document_of(rendering, out_dir))
            return
        if out_dir is None:
            sys.stdout.write("".join(texts(rendering).values()))
        else:
            _print_files(rendering.files, out_dir)
        for note in rendering.notes:
            err.print(f"note: {note}", markup=False, soft_wrap=True)


def compose(
    service: str = typer.Argument(help="Name of the service whose staging is meant."),
    version: str = typer.Option("", "--version", help="Default: the version that serves."),
    file: Path = FileOption,
    out_dir: Path | None = typer.Option(
        None, "--out", help="Folder for docker-compose.yaml and what it names; default: print."
    ),
    image: str = typer.Option(
        "",
        "--image",
        help="Image of the version, with its own Python; default: its layers over this "
        "machine's.",
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Write the stack that tests a version in staging, as a Compose file.

    Its replica, its popularity server and what the service depends on, as `staging:
    {compose: true}` starts them. Reads the manifest and the instance's files; starts nothing.

    Example: mlg render compose home --out stack
    """
    with reported(as_json):
        from mlg.app.rendering_compose import compose_document

        found = compose_document(file, home_of(home, file), service, version, image, out_dir)
        if as_json:
            emit(found)
            return
        if out_dir is None:
            sys.stdout.write(found["text"])
        else:
            for name in found["files"]:
                out.print(str(out_dir / name), markup=False, soft_wrap=True)
        for note in found["notes"]:
            err.print(f"note: {note}", markup=False, soft_wrap=True)


def _print_files(files: Any, folder: Path) -> None:
    for name, objects in files:
        kinds = [one["kind"] for one in objects]
        counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        out.print(f"{folder / name}: {counted}", markup=False, soft_wrap=True)
