"""Images of model versions: what lies in their layers, and whether one may start here.

Four layers over a base that is named, not copied: mlg's modules that a replica reaches,
`serving.lock`, the project's code, the model. Replicas run from the model's folder with the
current interpreter, so an image whose lock is not what is installed here is refused.
"""

import platform
import re
import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import mlg
from mlg.adapters.image_layout import read_from_layout, store_image, verify_layout
from mlg.core.errors import BackendError
from mlg.core.ports import ArtifactStore
from mlg.core.steps import StepCall
from mlg.core.uris import Digest
from mlg.pipeline.code import modules
from mlg.pipeline.config import PackageConfig, config_of, sha256
from mlg.release.image import (
    BaseImage,
    LayerFile,
    LayerSpec,
    OciImage,
    build_image,
    digest_of,
)
from mlg.workflows.packaged import Packaged

SERVING: Final[tuple[str, ...]] = (
    "cryptography",
    "httptools",
    "lightgbm",
    "msgspec",
    "numpy",
    "prometheus-client",
    "pyarrow",
    "rfc8785",
    "scipy",
    "uvicorn",
    "uvloop",
)
"""What a replica needs installed; what these need comes along. A test imports no other."""
ARTIFACT: Final = "mlg.artifact"
"""Label: digest of the model's artifact."""
LOCK: Final = "opt/mlg/serving.lock"

_PLACES: Final = 2
"""Number of what lies where in an image; another one packages anew what is cached."""
_ENTRIES: Final = ("mlg.app.replica:main", "mlg.app.fallback:main")
_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_SHOWN: Final = 3


@lru_cache(maxsize=1)
def serving_lock() -> str:
    """Return the installed packages of `SERVING` and theirs, pip's way, one a line."""
    found: dict[str, str] = {}
    waiting: list[str] = list(SERVING)
    while waiting:
        name = waiting.pop()
        if _plain(name) in found:
            continue
        try:
            here = distribution(name)
        except PackageNotFoundError:
            continue  # asked for on another system or Python only
        found[_plain(name)] = here.version
        for need in here.requires or ():
            asked, _, marker = need.partition(";")
            match = _NAME.match(asked)
            if match is not None and "extra" not in marker:
                waiting.append(match[0])
    python = f"# python {sys.version_info.major}.{sys.version_info.minor}"
    lines = [python, *(f"{name}=={found[name]}" for name in sorted(found))]
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=1)
def runtime() -> tuple[LayerFile, ...]:
    """Return mlg's modules that a replica or a fallback server reaches."""
    root = Path(mlg.__file__).parent.parent
    files = {path for entry in _ENTRIES for path in modules(entry, root).values()}
    return tuple(_file(root, path, "opt/mlg/lib") for path in sorted(files))


def host_digest() -> Digest:
    """Return the digest of what an image takes from this machine."""
    parts = [(file.path, digest_of(file.content)) for file in runtime()]
    return sha256([_PLACES, parts, serving_lock(), architecture()])


def image_of(call: StepCall, artifact: Digest, folder: Path, lock: str) -> OciImage:
    """Return the image of a packaged model; equal inputs give equal bytes.

    Args:
        call: The `package` step.
        artifact: Digest of the model's artifact.
        folder: Where the artifact lies.
        lock: Text of `serving.lock`.
    """
    name = config_of(call, PackageConfig).step.image
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    code = [path for path in paths if path.is_relative_to(folder / "code")]
    model = [path for path in paths if path not in set(code)]
    layers = [
        LayerSpec(name="runtime", files=runtime()),
        LayerSpec(name="deps", files=(LayerFile(path=LOCK, content=lock.encode()),)),
        LayerSpec(name="code", files=_files(folder, code, "opt/mlg/model")),
        LayerSpec(name="model", files=_files(folder, model, "opt/mlg/model")),
    ]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return build_image(
        layers,
        {
            ARTIFACT: artifact,
            "mlg.project": call.project,
            "mlg.model": call.pipeline,
            "mlg.version": artifact[:12],
        },
        name=f"{name}:{artifact[:12]}",
        entrypoint=("python", "-m", "mlg.app.replica", "--artifact", "/opt/mlg/model"),
        env={"PYTHONPATH": "/opt/mlg/lib:/opt/mlg/model/code"},
        working_dir="/opt/mlg",
        architecture=architecture(),
        base=BaseImage(name=f"python:{version}-slim"),
    )


def pack(
    call: StepCall, artifact: Digest, artifacts: ArtifactStore, work: Path
) -> tuple[Digest, Digest]:
    """Build and store the image of a packaged model; return its digest and its artifact's.

    Raises:
        BackendError: It could not be written or stored.
    """
    image = image_of(call, artifact, artifacts.open(artifact), serving_lock())
    return image.digest, store_image(image, artifacts, work)


def check_image(artifacts: ArtifactStore, packaged: Packaged) -> tuple[str, ...]:
    """Check every byte of a version's image, and that its packages are those here.

    Returns:
        The digests of its layers, lowest first; empty where no image was built.

    Raises:
        NotFoundError: The store does not have the image.
        BackendError: The image is damaged, is another version's, or was made for other
            packages than those that are installed.
    """
    if packaged.image_artifact is None:
        return ()
    where = f"image {packaged.image}"
    folder = artifacts.open(packaged.image_artifact)
    found = verify_layout(folder)
    if (found.digest, found.labels.get(ARTIFACT)) != (packaged.image_digest, packaged.artifact):
        raise BackendError(
            f"expected {str(packaged.image_digest)[:12]}… of {packaged.artifact[:12]}, found "
            f"{found.digest[:12]}… of {found.labels.get(ARTIFACT, 'nothing')[:12]}",
            where=where,
            hint="run the pipeline again.",
        )
    odd = lock_differences(
        read_from_layout(folder, found.layers, LOCK).decode(), serving_lock()
    )
    if odd:
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        raise BackendError(
            f"serving.lock is not what is installed: {', '.join(odd[:_SHOWN])}{more}",
            where=where,
            hint="install the packages of serving.lock, or run the pipeline again.",
        )
    return found.layers


def lock_differences(locked: str, here: str) -> tuple[str, ...]:
    r"""Return what differs between two locks, in words.

    Examples:
        >>> lock_differences("a==1\nb==2\n", "a==1\nb==3\n")
        ('b==2 is asked for, b==3 is here',)
    """
    then, now = _entries(locked), _entries(here)
    return tuple(
        f"{then.get(name, f'no {name}')} is asked for, {now.get(name, 'none')} is here"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    )


def _entries(lock: str) -> dict[str, str]:
    lines = [line.removeprefix("# ") for line in lock.splitlines() if line]
    return {re.split(r"==| ", line)[0]: line for line in lines}


def _files(folder: Path, paths: Iterable[Path], at: str) -> tuple[LayerFile, ...]:
    return tuple(_file(folder, path, at) for path in paths)


def _file(folder: Path, path: Path, at: str) -> LayerFile:
    name = f"{at}/{path.relative_to(folder).as_posix()}"
    return LayerFile(path=name, content=path.read_bytes())


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def architecture() -> str:
    """Return this machine's architecture, as Go calls it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)
