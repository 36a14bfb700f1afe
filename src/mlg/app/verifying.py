"""`mlg image verify`: whether a version, an image or a folder is what a trusted key signed.

Reads the home's files only; no control plane is needed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.image_layout import verify_layout
from mlg.adapters.keys_signing import trusted_keys
from mlg.core.errors import BackendError, ManifestError, NotFoundError
from mlg.core.uris import Digest, parse_uri
from mlg.release.image import LAYOUT_FILE, blob_path
from mlg.release.image_check import CheckedImage
from mlg.release.image_referrers import SIGNATURE_TYPE
from mlg.serving.integrity import (
    Checked,
    Keys,
    check_image,
    check_model,
    read_bundle,
    read_keys,
)
from mlg.workflows.packaged import Packaged, read_packaged


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What is looked at."""

    image: bool
    folder: Path
    signature: Path | None
    digest: str = ""
    """Of the artifact or of the image's manifest; empty: whatever was signed."""


def verify_document(
    target: str, home: Path, *, signature: Path | None = None, key: Path | None = None
) -> dict[str, Any]:
    """Return `{"ok", "target", "kind", "digest", "key_id", "files", "file", "reason"}`.

    Args:
        target: URI of a model version or an image, or a folder.
        home: The instance that has the artifacts and the trusted keys.
        signature: File of the signature; None: the one that the home knows.
        key: File of the public keys to believe; None: those of the home.

    Raises:
        ManifestError: The target is no URI.
        NotFoundError: There is no such version, image or folder.
        BackendError: The keys cannot be read.
    """
    found = _target(target, home, signature)
    if key is not None and not key.is_file():
        raise NotFoundError("no such file", where=str(key))
    keys = read_keys(key.read_bytes(), key.name) if key else trusted_keys(LocalFiles(home))
    document: dict[str, Any] = {
        "ok": True,
        "target": target,
        "kind": "image" if found.image else "model",
        "digest": found.digest,
        "key_id": "",
        "files": 0,
        "file": "",
        "reason": "",
    }
    try:
        checked, digest = _checked(found, keys)
    except (BackendError, NotFoundError) as error:
        return {**document, "ok": False, "file": error.where, "reason": error.what}
    more = {"digest": digest, "key_id": checked.key_id, "files": len(checked.files)}
    return {**document, **more}


def _checked(found: _Target, keys: Keys) -> tuple[Checked, str]:
    """Return what a good signature says, and the digest of what it is about.

    Raises:
        RefusedError: It is not what was signed.
        BackendError: The image is damaged.
    """
    if not found.image:
        bundle = read_bundle(found.signature)
        checked = check_model(
            found.folder, bundle, keys, digest=found.digest, ignore=found.signature
        )
        return checked, checked.digest
    image = verify_layout(found.folder)
    if found.digest and image.digest != found.digest:
        raise BackendError(
            f"expected image {found.digest[:12]}…, found {image.digest[:12]}…",
            where=str(found.folder),
        )
    return check_image(_bundle_of(found, image), image.digest, keys), image.digest


def _bundle_of(found: _Target, image: CheckedImage) -> bytes:
    """Return the signature that is known beside an image, else the one that it carries."""
    carried = [one for one in image.referrers if one.artifact_type == SIGNATURE_TYPE]
    if found.signature is None and carried:
        return read_bundle(found.folder / blob_path(carried[0].content))
    return read_bundle(found.signature)


def _target(target: str, home: Path, signature: Path | None) -> _Target:
    """Return where the thing lies.

    Raises:
        NotFoundError: It is nowhere.
    """
    packaged = _all(home)
    if target.startswith("mlg://"):
        return _by_uri(target, home, signature, packaged)
    folder = Path(target)
    if not folder.is_dir():
        raise NotFoundError(
            f"no folder {target!r}",
            hint="give a folder, or mlg://model_version/… or mlg://image/….",
        )
    is_image = (folder / LAYOUT_FILE).is_file()
    inside = folder / "model.sig"
    known = [p for p in packaged if folder.name in {p.artifact, p.image_artifact}]
    if signature is None and known:
        signature = _located(home, known[0].image_signature if is_image else known[0].signature)
    if signature is None and inside.is_file():
        signature = inside
    return _Target(image=is_image, folder=folder, signature=signature)


def _by_uri(
    target: str, home: Path, signature: Path | None, packaged: list[Packaged]
) -> _Target:
    """Return where the home keeps what a URI names.

    Raises:
        ManifestError: That is no URI.
        NotFoundError: It was not packaged here.
    """
    try:
        uri = parse_uri(target)
    except ValueError as error:
        raise ManifestError(str(error), where="TARGET") from error
    version = uri.version or ""
    for one in packaged if version else ():
        if uri.kind == "model_version" and one.artifact[:12] == version:
            folder = _located(home, one.artifact)
            found = signature or _located(home, one.signature)
            if folder is not None:
                return _Target(image=False, folder=folder, signature=found, digest=one.artifact)
        if uri.kind == "image" and (one.image_digest or "")[:12] == version:
            folder = _located(home, one.image_artifact)
            found = signature or _located(home, one.image_signature)
            if folder is not None:
                digest = one.image_digest or ""
                return _Target(image=True, folder=folder, signature=found, digest=digest)
    raise NotFoundError(
        f"no model version or image {target!r} was packaged here",
        where=str(home),
        hint="mlg search --kind model_version lists them.",
    )


def _all(home: Path) -> list[Packaged]:
    files = LocalFiles(home)
    found = [read_packaged(files, Path(path).stem) for path in files.list("packaged")]
    return [one for one in found if one is not None]


def _located(home: Path, digest: str | None) -> Path | None:
    """Return where the home keeps an artifact, whether or not it is there."""
    if not digest:
        return None
    return LocalArtifacts(home / "artifacts").locate(Digest(digest))
