"""What a version was packaged as: its image, its signatures, the report of its evaluation."""

from typing import Protocol

import msgspec

from mlg.core.errors import BackendError
from mlg.core.ports import Files
from mlg.core.uris import Digest


class Packaged(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to a model version and lies beside its artifact in the store."""

    artifact: Digest
    """The model's artifact."""
    image: str = ""
    """Name of the image; empty when none was built."""
    image_digest: Digest | None = None
    """sha256 of the image's manifest."""
    image_artifact: Digest | None = None
    """The image's layout in the artifact store."""
    report: Digest | None = None
    """The evaluation's report in the artifact store."""
    signature: Digest | None = None
    """The signature of the model, in the artifact store."""
    image_signature: Digest | None = None
    """The signature of the image's digest, in the artifact store."""
    signature_key: str = ""
    """Id of the key that made both."""


class Signer(Protocol):
    """Signs models and images with the instance's key."""

    def sign(self, packaged: Packaged) -> Packaged:
        """Return the same with its signatures stored and named; signing twice is once.

        Raises:
            BackendError: The key or the artifact is damaged; nothing is signed.
        """
        ...


def read_packaged(files: Files, version: str) -> Packaged | None:
    """Return what a version was packaged as; None of one that was made before this was kept.

    Raises:
        BackendError: The file is damaged.
    """
    path = _path(version)
    content = files.read(path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=Packaged)
    except msgspec.MsgspecError as error:
        raise BackendError(
            f"cannot be read: {error}", where=path, hint="run the pipeline again."
        ) from error


def write_packaged(files: Files, packaged: Packaged) -> None:
    """Keep what a version was packaged as; the newest run's word counts."""
    files.write(_path(packaged.artifact[:12]), msgspec.json.encode(packaged))


def _path(version: str) -> str:
    return f"packaged/{version}.json"
