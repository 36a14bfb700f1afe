"""What an instance intends: the applied manifest, and the wanted versions of each service.

Kept as small files, so that a control plane that died comes back with the same
intention; the graph holds the record of how it came to be.
"""

import msgspec

from mlg.core.errors import BackendError
from mlg.core.ports import Files
from mlg.core.uris import Digest


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest in force."""

    source: str
    """Canonical JSON text of the manifest."""
    digest: str
    folder: Digest
    """The manifest's folder in the artifact store."""
    path: str
    """File name of the manifest, for messages."""


class WantedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a service that should be running."""

    version: str
    artifact: Digest
    bp: int
    deployment: str
    """Id of the deployment that brought it."""
    beside: str = ""
    """Digest of the artifact that its replicas rank each request with as well; empty: none."""
    layer: str = ""
    """Salt of the layer of viewers that `bp` is of; empty: of the split itself."""
    begin: int | None = None
    """Place of its layer's hash at which its part begins; None: where the one before ends."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What should be running for one service; no versions before the first release."""

    service: str
    versions: tuple[WantedVersion, ...] = ()
    salt: str = ""
    """Goes into the hash of the split: the rollout that dealt the viewers last."""

    @property
    def stable(self) -> WantedVersion | None:
        """The version with the most traffic, or None; one of a layer's viewers is none."""
        own = (item for item in self.versions if not item.layer)
        return max(own, key=lambda item: item.bp, default=None)


APPLIED = "applied.json"


def read_applied(files: Files) -> Applied | None:
    """Return the manifest in force, or None before the first apply.

    Raises:
        BackendError: The file is damaged.
    """
    content = files.read(APPLIED)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=Applied)
    except msgspec.MsgspecError as error:
        raise BackendError(
            f"cannot be read: {error}", where=APPLIED, hint="apply the manifest again."
        ) from error


def read_wanted(files: Files, service: str) -> Wanted:
    """Return what should be running for the service; empty before its first release.

    Raises:
        BackendError: The file is damaged.
    """
    path = _wanted_path(service)
    content = files.read(path)
    if content is None:
        return Wanted(service=service)
    try:
        return msgspec.json.decode(content, type=Wanted)
    except msgspec.MsgspecError as error:
        raise BackendError(
            f"cannot be read: {error}", where=path, hint="release a version again."
        ) from error


def write_wanted(files: Files, wanted: Wanted) -> None:
    """Replace what should be running for the service."""
    files.write(_wanted_path(wanted.service), msgspec.json.encode(wanted))


def _wanted_path(service: str) -> str:
    return f"services/{service}/wanted.json"
