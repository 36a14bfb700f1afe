"""`mlg render compose`: the stack of a service's staging, from the manifest and the home."""

from pathlib import Path
from typing import Any

from mlg.adapters.files_local import LocalFiles
from mlg.app.manifests import checked_manifest
from mlg.app.stack_plan import given_image
from mlg.app.staging_stack import COMPOSE_FILE, planned, write_stack
from mlg.core.errors import NotFoundError
from mlg.render.compose import compose
from mlg.render.text import yaml_text
from mlg.workflows.state import read_wanted


def compose_document(
    file: Path, home: Path, service: str, version: str, image: str, out: Path | None
) -> dict[str, Any]:
    """Return `{"compose", "text", "files", "images", "notes", "out"}`; write it where told.

    Args:
        file: The manifest.
        home: Its instance, for versions, images, policies and keys.
        service: Whose staging.
        version: Which version; empty is the one that serves.
        image: Name of its image; empty is the one that `mlg image build` makes.
        out: Folder for the file and what it names; None writes nothing.

    Raises:
        ManifestError: The manifest is wrong.
        NotFoundError: The service or the version is not known here.
        BackendError: What the service depends on serves nothing, or a file is damaged.
    """
    spec = checked_manifest(file).spec
    if service not in spec.services:
        known = ", ".join(sorted(spec.services)) or "none"
        raise NotFoundError(f"no service {service!r}", hint=f"there is: {known}")
    stable = read_wanted(LocalFiles(home), service).stable
    chosen = version or (stable.version if stable else "")
    if not chosen:
        raise NotFoundError(
            f"{service} serves no version yet", hint="mlg run PIPELINE, or name one: --version."
        )
    planner = planned(home, spec, given_image(image) if image else None)
    plan = planner.plan(service, chosen)
    if out is not None:
        write_stack(out, plan, plan.stack)
    document = compose(plan.stack)
    notes = [*plan.notes, "keys/viewer.key is yours to make: 32 random bytes."]
    notes += [
        f"{one.reference} lies as an OCI layout on this machine; load it: skopeo copy "
        f"oci:{one.layout}:{one.reference.removeprefix('localhost/')} "
        f"containers-storage:{one.reference} (Docker: docker-daemon:{one.reference})"
        for one in plan.images
        if one.layout is not None
    ]
    return {
        "compose": document,
        "text": yaml_text([document]),
        "files": [COMPOSE_FILE, *(name for name, _ in plan.files)],
        "images": [one.reference for one in plan.images],
        "notes": notes,
        "out": None if out is None else str(out),
    }
