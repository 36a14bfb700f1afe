"""`mlg image build`, `inspect` and `push`, as documents.

Reads the home's files and its graph only; no control plane is needed.
"""

import os
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.image_layout import verify_layout
from mlg.adapters.mlflow_rest import Credentials
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.registry_push import Progress, RegistryPush, target_of
from mlg.adapters.secrets_local import LocalSecrets
from mlg.app.image_facts import newest_version
from mlg.app.startable import HOST, copy_layout, startable_image
from mlg.core.errors import ManifestError, NotFoundError
from mlg.core.uris import parse_uri
from mlg.release.image import BASE_DIGEST, BASE_NAME, LAYOUT_FILE
from mlg.workflows.packaged import read_packaged

_VERSION: Final = 12
_SECRET: Final = "secret://"  # noqa: S105 - the scheme of a reference


def build_document(
    target: str, home: Path, *, base: str = HOST, output: Path | None = None
) -> dict[str, Any]:
    """Return `{"path", "name", "digest", "artifact", "built", "signed", "starts", …}`.

    Args:
        target: URI of a model version, a version, or a pipeline for its newest one.
        home: The instance.
        base: What it lies on, as `startable_image` takes it.
        output: A folder for a copy of the layout; it must not be there, or be the same.

    Raises:
        LifecycleError: As `startable_image`, or the folder has something else.
    """
    image = startable_image(home, version_of_target(target, home), base=base)
    path = image.path if output is None else copy_layout(image, output)
    found = verify_layout(path)
    return {
        "path": str(path),
        "name": image.name,
        "digest": image.digest,
        "artifact": image.artifact,
        "base": base,
        "built": image.built,
        "signed": image.signed,
        "starts": image.starts,
        "size_bytes": found.size_bytes,
        "layers": [msgspec.to_builtins(layer) for layer in found.details],
        "labels": found.labels,
    }


def inspect_document(target: str, home: Path) -> dict[str, Any]:
    """Return what a layout says of its image, after hashing all of it.

    Args:
        target: Folder of a layout, or what `build_document` takes: the image built last.
        home: The instance.

    Raises:
        NotFoundError: There is none.
        BackendError: It is damaged.
    """
    path = layout_of(target, home)
    found = verify_layout(path)
    return {
        "path": str(path),
        "name": found.name,
        "digest": found.digest,
        "config": found.config,
        "architecture": found.architecture,
        "size_bytes": found.size_bytes,
        "base": found.annotations.get(BASE_NAME, ""),
        "base_digest": found.annotations.get(BASE_DIGEST, "").removeprefix("sha256:"),
        "layers": [msgspec.to_builtins(layer) for layer in found.details],
        "labels": found.labels,
        "env": list(found.env),
        "referrers": [
            {
                "digest": one.digest,
                "artifact_type": one.artifact_type,
                "size": one.size,
                "annotations": one.annotations,
            }
            for one in found.referrers
        ],
    }


def push_document(
    source: str,
    to: str,
    home: Path,
    *,
    plain_http: bool = False,
    username: str = "",
    password: str = "",
    base: str = HOST,
    progress: Progress = lambda _what, _digest, _bytes: None,
) -> dict[str, Any]:
    """Push an image; return `{"reference", "digest", "sent", "there", "sent_bytes", …}`.

    Args:
        source: Folder of a layout, or what `build_document` takes.
        to: `HOST[:PORT]/NAME[:TAG]`; without a tag, that of the image.
        home: The instance.
        plain_http: Without TLS.
        username: To sign in with.
        password: `secret://…`; with no user name, a token.
        base: Of what is built first.
        progress: Is told of each blob.

    Raises:
        ManifestError: A password is written out, or the reference is none.
        LifecycleError: As `startable_image`, and when the registry refuses.
    """
    if password and not password.startswith(_SECRET):
        raise ManifestError(
            "expected secret://env/NAME or secret://file/PATH, got another text",
            where="--password",
            hint="put the password into a variable or a file, and name that.",
        )
    folder = Path(source)
    if (folder / LAYOUT_FILE).is_file():
        path = folder
    else:
        path = startable_image(home, version_of_target(source, home), base=base).path
    found = verify_layout(path)
    target = target_of(to, found.name.rpartition(":")[2] or found.digest[:_VERSION])
    credentials = (
        Credentials(username=username, password=password)
        if username
        else Credentials(token=password)
    )
    pushed = RegistryPush(
        target,
        HttpNetwork(),
        credentials,
        LocalSecrets(os.environ, Path.cwd()),
        SystemClock(),
        plain_http=plain_http,
        progress=progress,
    ).push(path, found)
    return {
        "reference": pushed.reference,
        "digest": pushed.digest,
        "sent": pushed.sent,
        "there": pushed.there,
        "sent_bytes": pushed.sent_bytes,
        "referrers": pushed.referrers,
        "referrers_api": pushed.api,
    }


def layout_of(target: str, home: Path) -> Path:
    """Return the folder of a layout: a folder itself, else what was built of a version.

    Raises:
        NotFoundError: There is none.
        ManifestError: The target is no URI.
    """
    folder = Path(target)
    if (folder / LAYOUT_FILE).is_file():
        return folder
    version = version_of_target(target, home)
    built = sorted((home / "images").glob(f"{version}-*"), key=lambda p: p.stat().st_mtime)
    if not built:
        raise NotFoundError(
            f"no image of version {version} was built here",
            where=str(home),
            hint=f"mlg image build {version}",
        )
    return built[-1]


def version_of_target(target: str, home: Path) -> str:
    """Return the version that a URI, a version or a pipeline names.

    Raises:
        ManifestError: It is a URI of something else.
        NotFoundError: Nothing was packaged under this name.
    """
    if target.startswith("mlg://"):
        try:
            uri = parse_uri(target)
        except ValueError as error:
            raise ManifestError(str(error), where="TARGET") from error
        if uri.kind != "model_version" or not uri.version:
            raise ManifestError(
                f"expected mlg://model_version/…@VERSION, got {target!r}", where="TARGET"
            )
        return uri.version
    if len(target) == _VERSION and read_packaged(LocalFiles(home), target) is not None:
        return target
    return newest_version(home, target)
