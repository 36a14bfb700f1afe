"""A base image from an OCI layout in a folder: chosen, checked, and its layers taken."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlg.adapters.image_layout import verify_layout
from mlg.adapters.layer_pool import LayerPool
from mlg.core.errors import BackendError, ManifestError, NotFoundError
from mlg.core.uris import Digest
from mlg.release.image import LAYOUT_FILE, BaseImage, LayerBlob, blob_path

SCHEME: Final = "oci:"
_WHERE: Final = "--base"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBase:
    """A base whose layers are at hand."""

    image: BaseImage
    layers: tuple[LayerBlob, ...]
    env: tuple[tuple[str, str], ...]


def take_base(told: str, pool: LayerPool, architecture: str) -> LocalBase:
    """Return the base that `oci:PATH[:REF]` names, its layers put into the pool.

    Raises:
        NotFoundError: There is no such layout.
        ManifestError: It does not say which image is meant, or that one is for another
            architecture or another Python.
        BackendError: It is damaged.
    """
    path, ref = _split(told)
    if not (path / LAYOUT_FILE).is_file():
        raise NotFoundError(
            f"no image layout in {str(path)!r}",
            where=_WHERE,
            hint="save the base there first, e.g. skopeo copy docker://NAME oci:PATH:REF.",
        )
    try:
        found = verify_layout(path, ref=ref, architecture=architecture)
    except BackendError as error:
        if "to choose" in error.what:
            hint = "name one: --base oci:PATH:REF."
            raise ManifestError(error.what, where=_WHERE, hint=hint) from error
        raise
    if found.architecture != architecture:
        raise ManifestError(
            f"the base is for {found.architecture}, this machine is {architecture}",
            where=_WHERE,
            hint="choose a base for this machine; packages are taken from it.",
        )
    env = tuple((name, value) for name, _, value in (one.partition("=") for one in found.env))
    _check_python(dict(env).get("PYTHON_VERSION", ""))
    for layer in found.layers:
        pool.take(path / blob_path(layer), layer)
    return LocalBase(
        image=BaseImage(name=found.name or ref or "local", digest=Digest(found.digest)),
        layers=tuple(
            LayerBlob(
                name="base",
                digest=Digest(one.digest),
                size=one.size,
                media_type=one.media_type,
                diff_id=Digest(one.diff_id),
            )
            for one in found.details
        ),
        env=env,
    )


def _split(told: str) -> tuple[Path, str]:
    """Return folder and reference name; a folder's own name may have a colon."""
    rest = told.removeprefix(SCHEME)
    if (Path(rest) / LAYOUT_FILE).is_file():
        return Path(rest), ""
    path, _, ref = rest.partition(":")
    return Path(path), ref


def _check_python(there: str) -> None:
    """Check the Python that a base says it has; one that says none is not asked.

    Raises:
        ManifestError: Packages that are installed here would not load in it.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if there and ".".join(there.split(".")[:2]) != here:
        raise ManifestError(
            f"the base has Python {there}, the packages are for {here}",
            where=_WHERE,
            hint=f"choose a base with Python {here}, or --base host.",
        )
