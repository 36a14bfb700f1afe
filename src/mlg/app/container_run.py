"""How a container of an image is started: its words, its mounts, its limits."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.keys_signing import TRUSTED_KEYS
from mlg.app.startable import PORT, StartableImage
from mlg.core.errors import NotFoundError
from mlg.workflows.packaged import read_packaged

HOME: Final = "/var/lib/mlg"
SIGNATURE: Final = "/etc/mlg/model.sig"
_VIEWER_KEY: Final = "keys/viewer.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRun:
    """A container of a replica, for podman, docker or a compose file."""

    args: tuple[str, ...]
    """Follow the image's entrypoint."""
    mounts: tuple[tuple[str, str], ...]
    """Files of this machine, read-only, and where they lie in the container."""
    tmpfs: tuple[str, ...]
    """Folders in memory: the home, for the log, and /tmp."""
    user: str
    """Who may read the mounts here."""


def container_run(
    home: Path,
    image: StartableImage,
    *,
    service: str,
    model: str,
    clock: str = "system",
    listen: str = f"0.0.0.0:{PORT}",
) -> ContainerRun:
    """Return how a replica of a version is started in a container.

    Args:
        home: The instance, for its keys and the version's signature.
        image: What is started.
        service: The service that it answers for.
        model: The model's name.
        clock: `system` or `request`.
        listen: Where it listens, in the container.

    Raises:
        NotFoundError: The home has no keys yet, or the version no signature.
    """
    version = image.artifact[:12]
    packaged = read_packaged(LocalFiles(home), version)
    if packaged is None or packaged.signature is None:
        raise NotFoundError(
            f"version {version} is not signed here", where=str(home), hint="mlg up signs it."
        )
    stored = LocalArtifacts(home / "artifacts").locate(packaged.signature)
    mounts = [(str(home / name), f"{HOME}/{name}") for name in (_VIEWER_KEY, TRUSTED_KEYS)]
    mounts.append((str(stored), SIGNATURE))
    missing = [source for source, _ in mounts if not Path(source).is_file()]
    if missing:
        raise NotFoundError(
            f"the home has no {Path(missing[0]).name}",
            where=missing[0],
            hint="mlg up makes it.",
        )
    args = (
        *("--home", HOME),
        *("--id", f"replica-{service}-1"),
        *("--listen", listen),
        *("--service", service),
        *("--clock", clock),
        *("--model", model),
        *("--version", version),
        *("--digest", image.artifact),
        *("--signature", SIGNATURE),
    )
    return ContainerRun(
        args=args,
        mounts=tuple(mounts),
        tmpfs=(HOME, "/tmp"),  # noqa: S108 - the container's own
        user=f"{os.getuid()}:{os.getgid()}",
    )


def podman_words(
    run: ContainerRun,
    image: str,
    *,
    port: int,
    memory: str = "",
    cpus: str = "",
    more: Sequence[str] = (),
) -> list[str]:
    """Return the words of `podman run` (docker understands the same).

    Args:
        run: What is started.
        image: Name or id of the loaded image.
        port: Port of this machine's loopback that leads to it.
        memory: Bound, such as `512m`; empty: none.
        cpus: Bound, such as `0.5`; empty: none.
        more: More options.
    """
    words = ["podman", "run", "--rm", "--read-only", "--cap-drop=all", *more]
    words += ["--security-opt=no-new-privileges", "--user", run.user]
    words += ["-p", f"127.0.0.1:{port}:{PORT}"]
    words += ["--memory", memory] if memory else []
    words += ["--cpus", cpus] if cpus else []
    for folder in run.tmpfs:
        words += ["--tmpfs", folder]
    for source, target in run.mounts:
        words += ["-v", f"{source}:{target}:ro"]
    return [*words, image, *run.args]


def shell(words: Sequence[str]) -> str:
    """Return words as one line for a shell."""
    return shlex.join(words)
