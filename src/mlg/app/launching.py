"""How each process of the data plane is started."""

import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from mlg.core.errors import NotFoundError
from mlg.core.ports import ArtifactStore
from mlg.core.processes import ProcessSpec
from mlg.core.uris import Digest
from mlg.manifest.specs import ManifestSpec
from mlg.workflows.state import Wanted

_ONE_THREAD = tuple(
    (name, "1")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
)
"""A replica is one core's worth: more threads fight over the same cores."""


def replica_spec(
    home: Path,
    manifest: ManifestSpec,
    artifacts: ArtifactStore,
    wanted: Wanted,
    *,
    version: str,
    n: int,
) -> ProcessSpec:
    """Return how replica `n` of a version of the service is started.

    Raises:
        NotFoundError: The version is not wanted, or its artifact is not stored.
    """
    found = [item for item in wanted.versions if item.version == version]
    if not found:
        raise NotFoundError(f"version {version} is not wanted", where=wanted.service)
    service = manifest.services[wanted.service]
    artifact = artifacts.open(found[0].artifact)
    memory = service.resources.memory_bytes if service.resources else None
    id_ = f"replica-{wanted.service}-{n}"
    argv = (
        sys.executable, "-m", "mlg.app.replica", "--home", str(home), "--service",
        wanted.service, "--model", service.model or "", "--version", version,
        "--artifact", str(artifact), "--id", id_, "--clock", service.clock,
    )  # fmt: skip
    return _spec(id_, "replica", wanted.service, version, argv, memory)


def fallback_spec(
    home: Path,
    manifest: ManifestSpec,
    artifacts: ArtifactStore,
    wanted: Wanted,
    listed: Callable[[str], Digest | None],
) -> ProcessSpec:
    """Return how the popularity server of the service is started.

    Args:
        home: The instance's folder.
        manifest: The manifest in force.
        artifacts: Where the list's artifact lies.
        wanted: The service and its versions.
        listed: Gives the artifact whose popularity list to serve, or None before the first.
    """
    service = manifest.services[wanted.service]
    id_ = f"fallback-{wanted.service}"
    argv = (
        sys.executable, "-m", "mlg.app.fallback", "--home", str(home), "--service",
        wanted.service, "--model", service.model or "", "--id", id_, "--clock", service.clock,
    )  # fmt: skip
    digest = listed(wanted.service)
    if digest is not None:
        argv = (*argv, "--artifact", str(artifacts.open(digest)))
    return _spec(id_, "fallback", wanted.service, "", argv, None)


def _spec(
    id_: str,
    kind: str,
    service: str,
    version: str,
    argv: tuple[str, ...],
    memory_bytes: int | None,
) -> ProcessSpec:
    return ProcessSpec(
        id=id_,
        kind="replica" if kind == "replica" else "fallback",
        argv=argv,
        env=_ONE_THREAD,
        service=service,
        version=version,
        digest=sha256("\0".join(argv).encode()).hexdigest(),
        memory_bytes=memory_bytes,
    )
