"""Replicas from the layers of their image, in place of the folder of the artifact.

The Python and the packages are this machine's, which the image's `serving.lock` must name;
the runtime, the code and the model are the image's own.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from mlg.adapters.image_unpacked import UnpackedImages
from mlg.app.images import check_image
from mlg.app.settings import Launch
from mlg.app.specs import Specs
from mlg.app.startable import UNPACKED
from mlg.core.processes import ProcessKind, ProcessSpec
from mlg.core.uris import Digest
from mlg.workflows.packaged import Packaged, read_packaged

_FROM_IMAGES: Final = ("replica", "fallback")


class ImageLaunch:
    """Tells how each process is started; those that have an image, from it.

    A version without an image, and what mlg did not make, starts as `Specs` says.

    Args:
        specs: How processes are started from artifacts; knows the home, which keeps the
            unpacked layers, and where the images are.
        env: Of this process: its `PYTHONPATH` comes after the image's.
    """

    def __init__(self, specs: Specs, env: Mapping[str, str]) -> None:
        self._specs, self._files, self._artifacts = specs, specs.files, specs.artifacts
        self._root = specs.home / UNPACKED
        self._images = UnpackedImages(self._root)
        self._more = env.get("PYTHONPATH", "")

    def __call__(self, kind: ProcessKind, service: str, version: str, n: int) -> ProcessSpec:
        """Return the specification of process number `n` of the group.

        Raises:
            NotFoundError: The service is not in the manifest, or the version not wanted.
            BackendError: The image is damaged, or not for what is installed here.
        """
        spec = self._specs(kind, service, version, n)
        if kind not in _FROM_IMAGES or "--digest" not in spec.argv:
            return spec
        artifact = _told(spec.argv, "--digest")
        packaged = read_packaged(self._files, artifact[:12])
        if packaged is None or packaged.image_artifact is None:
            return spec
        folder = self._folder(packaged, packaged.image_artifact)
        model = str(folder / "opt/mlg/model")
        path = os.pathsep.join(filter(None, (str(folder / "opt/mlg/lib"), self._more)))
        return replace(
            spec,
            argv=_changed(spec.argv, "--artifact", model),
            # the folder is checked file by file and stays as it is
            env=(*spec.env, ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONPATH", path)),
            digest=sha256(f"{spec.digest}\0{packaged.image_digest}".encode()).hexdigest(),
        )

    def _folder(self, packaged: Packaged, stored: Digest) -> Path:
        name = f"{packaged.artifact[:12]}-{str(packaged.image_digest)[:12]}"
        if self._images.is_seen(name):
            return self._root / name
        layers = check_image(self._artifacts, packaged)
        return self._images.folder(name, self._artifacts.open(stored), layers)


def launched(specs: Specs, launch: Launch) -> Specs | ImageLaunch:
    """Return how processes are started, as the setting says."""
    return specs if launch == "artifact" else ImageLaunch(specs, os.environ)


def _told(argv: tuple[str, ...], option: str) -> str:
    return argv[argv.index(option) + 1]


def _changed(argv: tuple[str, ...], option: str, value: str) -> tuple[str, ...]:
    at = argv.index(option) + 1
    return (*argv[:at], value, *argv[at + 1 :])
