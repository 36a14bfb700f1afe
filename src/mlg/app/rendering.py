"""`mlg render kubernetes`: a manifest and what its instance runs, as the objects of a cluster.

Reads the manifest and the home's files only; no control plane is needed, nothing is changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.keys_signing import TRUSTED_KEYS
from mlg.app.data_plane import THREAD_ENV
from mlg.app.manifests import checked_manifest
from mlg.core.errors import BackendError, ManifestError
from mlg.core.predict import ServingPolicy
from mlg.core.traffic import FULL_BP, version_of
from mlg.manifest.specs_services import ConfidenceSpec
from mlg.render.inputs import (
    Cluster,
    Rendering,
    RunningService,
    RunningVersion,
    given_images,
    image_reference,
    version_of_image,
)
from mlg.render.kubernetes import ROUTES, SETTINGS, WORKLOADS, render
from mlg.render.text import yaml_text
from mlg.workflows.packaged import Packaged, read_packaged
from mlg.workflows.state import WantedVersion, read_wanted

_OURS: Final = (SETTINGS, WORKLOADS, ROUTES)


def kubernetes_of(
    file: Path,
    home: Path,
    cluster: Cluster,
    *,
    images: Sequence[str] = (),
    with_kserve: bool = False,
) -> Rendering:
    """Return the objects of a manifest's services.

    Args:
        file: The manifest.
        home: Its instance, for the split, the images and the keys; it need not exist.
        cluster: Where they go; its project, keys and environment are filled in here.
        images: `[SERVICE=]REFERENCE`, for images that the instance does not know.
        with_kserve: InferenceServices in place of Deployments and routes.

    Raises:
        ManifestError: The manifest is wrong, has no service, or an image is not known.
        BackendError: The home's files are damaged.
    """
    manifest = checked_manifest(file)
    spec, files = manifest.spec, LocalFiles(home)
    named = {name: one for name, one in sorted(spec.services.items()) if one.adopt is None}
    if not named:
        raise ManifestError(
            "expected a service with a model, got none",
            where=manifest.where("services"),
            hint="services that are only adopted run elsewhere already.",
        )
    given = given_images(images, list(named))
    running = [
        RunningService(
            name=name,
            spec=service,
            policy=_policy(files, name, service.confidence),
            versions=_versions(home, name, given),
        )
        for name, service in named.items()
    ]
    filled = replace(
        cluster,
        project=spec.project,
        trusted_keys=(files.read(TRUSTED_KEYS) or b"").decode(errors="replace"),
        env=THREAD_ENV,
    )
    rendering = render(filled, running, with_kserve=with_kserve)
    adopted = sorted(spec.services.keys() - named.keys())
    notes = [f"service {name} is adopted, and not rendered." for name in adopted]
    notes += _notes_on_images(running, given)
    return replace(rendering, notes=(*rendering.notes, *notes))


def texts(rendering: Rendering) -> dict[str, str]:
    """Return the YAML of each file, by its name."""
    return {name: yaml_text(objects) for name, objects in rendering.files}


def write_files(rendering: Rendering, folder: Path) -> None:
    """Write each file whole; one of an earlier rendering that is not in this one goes.

    Raises:
        BackendError: A file could not be written; those before it are.
    """
    files, written = LocalFiles(folder), texts(rendering)
    for name, text in written.items():
        files.write(name, text.encode())
    for name in _OURS:
        if name not in written:
            files.remove(name)


def document_of(rendering: Rendering, out: Path | None) -> dict[str, Any]:
    """Return `{"files": [{"name", "objects"}], "notes", "out"}`, as `--json` prints it."""
    return {
        "files": [
            {"name": name, "objects": list(objects)} for name, objects in rendering.files
        ],
        "notes": list(rendering.notes),
        "out": None if out is None else str(out),
    }


def _versions(home: Path, name: str, given: Mapping[str, str]) -> tuple[RunningVersion, ...]:
    """Return what shall run of a service: what the instance wants, else the image given.

    Raises:
        ManifestError: An image is not known, or cannot be meant.
        BackendError: The home's files are damaged.
    """
    files = LocalFiles(home)
    wanted = _without_drafts(read_wanted(files, name).versions)
    reference = given.get(name)
    if not wanted or sum(version.bp for version in wanted) != FULL_BP:
        image = image_reference(name, reference, None)
        return (RunningVersion(version=version_of_image(image), bp=FULL_BP, image=image),)
    models = {version_of(version.version) for version in wanted}
    found: list[RunningVersion] = []
    for version in wanted:
        packaged = read_packaged(files, version.artifact[:12])
        known = (
            (packaged.image, str(packaged.image_digest))
            if packaged is not None and packaged.image and packaged.image_digest
            else None
        )
        found.append(
            RunningVersion(
                version=version.version,
                bp=version.bp,
                image=image_reference(name, reference, known, len(models)),
                artifact=version.artifact,
                signature=_signature(home, packaged),
            )
        )
    return tuple(found)


def _without_drafts(wanted: tuple[WantedVersion, ...]) -> tuple[WantedVersion, ...]:
    """Return versions without a group that interleaves; what serves has its share."""
    kept = [one for one in wanted if not one.beside and not one.layer]
    share = sum(one.bp for one in wanted if one.beside)
    most = max(kept, key=lambda one: one.bp, default=None)
    return tuple(
        msgspec.structs.replace(one, bp=one.bp + share) if one is most else one for one in kept
    )


def _signature(home: Path, packaged: Packaged | None) -> str:
    """Return the text of a model's signature; empty without one.

    Raises:
        BackendError: It cannot be read.
    """
    if packaged is None or packaged.signature is None:
        return ""
    path = LocalArtifacts(home / "artifacts").locate(packaged.signature)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BackendError(
            f"the signature cannot be read: {error}",
            where=str(path),
            hint="mlg image verify says what is wrong.",
        ) from error


def _policy(files: LocalFiles, name: str, declared: ConfidenceSpec | None) -> ServingPolicy:
    """Return the policy in force, else what applying the manifest would put in force.

    Raises:
        BackendError: The file is damaged.
    """
    path = f"services/{name}/policy.json"
    content = files.read(path)
    if content is None:
        confidence = declared or ConfidenceSpec()
        return ServingPolicy(
            service=name,
            version="1",
            abstain_below=confidence.abstain_below,
            explore_bp=confidence.explore_bp,
        )
    try:
        return msgspec.json.decode(content, type=ServingPolicy)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BackendError(
            f"cannot be read: {error}", where=path, hint="apply the manifest again."
        ) from error


def _notes_on_images(services: Sequence[RunningService], given: Mapping[str, str]) -> list[str]:
    notes: list[str] = []
    for service in services:
        images = sorted({version.image for version in service.versions})
        reference = given.get(service.name, "")
        if reference in images and "@sha256:" not in reference:
            notes.append(
                f"service {service.name}: {reference} is a tag, which can be moved; a digest "
                "cannot."
            )
        if reference not in images:
            notes.append(
                f"service {service.name}: digests are those of mlg's image layouts, which lie "
                "over a base that is only named; push images with their base and name them "
                "by --image if their digests differ."
            )
        if any("/" not in image for image in images):
            notes.append(
                f"service {service.name}: {images[0].partition('@')[0]} names no registry."
            )
    return notes
