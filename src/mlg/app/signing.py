"""Signing what a run made, and the keys of an instance.

The key is made at the first start. What a home of before signatures holds is signed at that
moment, once: from then on what has no signature is refused, so that taking a signature away
is no way round the check.
"""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from mlg.adapters.keys_signing import (
    keep_signing_key,
    new_signing_key,
    sign_statement,
    signing_key,
    trusted_keys,
    write_trusted,
)
from mlg.core.errors import BackendError, LifecycleError, ManifestError
from mlg.core.ports import ArtifactStore, Files
from mlg.core.uris import Digest
from mlg.serving import integrity
from mlg.workflows.packaged import Packaged, read_packaged, write_packaged
from mlg.workflows.rollouts import read_swaps
from mlg.workflows.state import read_wanted

logger = logging.getLogger("mlg.signing")


class Signing:
    """Signs with the home's key, and checks images against the keys that are believed.

    Args:
        files: The home's files; hold the keys.
        artifacts: Where models, images and signatures are.
    """

    def __init__(self, files: Files, artifacts: ArtifactStore) -> None:
        self._files, self._artifacts = files, artifacts

    def sign(self, packaged: Packaged) -> Packaged:
        """Return the same with its signatures stored and named.

        Raises:
            BackendError: The key is missing or damaged, or the artifact is.
        """
        key = signing_key(self._files)
        if key is None:
            raise BackendError("there is no key to sign with", hint="start again: mlg up.")
        return sign_with(key, packaged, self._artifacts)

    def check_image(self, packaged: Packaged) -> None:
        """Check that a trusted key signed the version's image, if it has one.

        Raises:
            RefusedError: None did, or it signed another one.
            BackendError: The trusted keys cannot be read.
        """
        if packaged.image_digest is None:
            return
        stored = packaged.image_signature
        bundle = integrity.read_bundle(self._artifacts.locate(stored) if stored else None)
        integrity.check_image(bundle, packaged.image_digest, trusted_keys(self._files))


def sign_with(
    key: ec.EllipticCurvePrivateKey, packaged: Packaged, artifacts: ArtifactStore
) -> Packaged:
    """Return what was packaged with its signatures stored and named; twice is once.

    Raises:
        BackendError: The artifact is damaged, or the signature could not be stored.
        NotFoundError: The artifact is not in the store.
    """
    folder = artifacts.open(packaged.artifact)
    checked = integrity.Checked(
        key_id=integrity.key_id(key.public_key()), files=integrity.hashed(folder)
    )
    if checked.digest != packaged.artifact:
        raise BackendError(
            f"the artifact changed while it was signed: it is {checked.digest[:12]}… now",
            where=f"artifact {packaged.artifact[:12]}",
            hint="restore it from a backup, or run the pipeline again.",
        )
    statement = integrity.model_statement(packaged.artifact, checked.files)
    image = packaged.image_digest
    return replace(
        packaged,
        signature=_stored(artifacts, sign_statement(key, statement)),
        image_signature=_stored(
            artifacts, sign_statement(key, integrity.image_statement(packaged.image, image))
        )
        if image
        else None,
        signature_key=checked.key_id,
    )


def prepare_signing(
    files: Files,
    artifacts: ArtifactStore,
    services: Iterable[str],
    foreign: Sequence[Path],
    signed: Callable[[Packaged], None],
) -> None:
    """Make the home's key at its first start, sign what is older, and keep whom to believe.

    The key is kept last: a start that is cut short is done again, with another key.

    Args:
        files: The home's files.
        artifacts: Where models and signatures are.
        services: Whose versions are signed at the first start.
        foreign: Files of public keys that are believed too.
        signed: Is told of each older version that was signed.

    Raises:
        ManifestError: A file of public keys cannot be read, or holds none.
        BackendError: The key is damaged or gone, or a file could not be written.
    """
    believed = [(path.name, _read(path)) for path in foreign]
    key = signing_key(files)
    made = key is None
    if key is None:
        key = new_signing_key()
        for packaged in sign_older(key, files, artifacts, services):
            signed(packaged)
    write_trusted(files, key.public_key(), believed)
    if made:
        keep_signing_key(files, key)


def sign_older(
    key: ec.EllipticCurvePrivateKey,
    files: Files,
    artifacts: ArtifactStore,
    services: Iterable[str],
) -> Iterator[Packaged]:
    """Sign every version that the home names; yield each. A damaged one stays unsigned."""
    found: dict[Digest, Packaged] = {}
    for path in files.list("packaged"):
        if packaged := read_packaged(files, Path(path).stem):
            found[packaged.artifact] = packaged
    for service in services:
        for one in (*read_swaps(files, service).served, *read_wanted(files, service).versions):
            if one.artifact:  # what mlg did not make has none
                found.setdefault(one.artifact, Packaged(artifact=one.artifact))
    for packaged in found.values():
        try:
            done = sign_with(key, packaged, artifacts)
        except LifecycleError as error:
            logger.warning("not signed: %s", error)
            continue
        write_packaged(files, done)
        yield done


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        integrity.read_keys(content, path.name)
    except OSError as error:
        raise ManifestError(
            f"the public key cannot be read: {error.strerror}", where=str(path)
        ) from error
    except BackendError as error:
        raise ManifestError(error.what, where=str(path), hint=error.hint) from error
    return content


def _stored(artifacts: ArtifactStore, bundle: bytes) -> Digest:
    with tempfile.TemporaryDirectory(prefix="mlg-signature-") as folder:
        path = Path(folder) / "model.sig"
        path.write_bytes(bundle)
        return artifacts.put(path)


if TYPE_CHECKING:
    from mlg.adapters.artifacts_local import LocalArtifacts
    from mlg.adapters.files_memory import MemoryFiles
    from mlg.workflows.packaged import Signer

    _: Signer = Signing(MemoryFiles(), LocalArtifacts(Path()))
