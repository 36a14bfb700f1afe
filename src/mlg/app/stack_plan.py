"""Which containers test a version: its replica, its popularity server, what it depends on."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mlg.adapters.keys_signing import TRUSTED_KEYS
from mlg.app.data_plane import THREAD_ENV
from mlg.app.specs import faster_options, url_variable
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.ports import ArtifactStore, Files
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_services import ServiceSpec
from mlg.render.compose import PORT, Bind, Stack, StackService
from mlg.workflows.packaged import Packaged, read_packaged
from mlg.workflows.state import read_applied, read_wanted

HOME: Final = "/var/lib/mlg"
MODEL: Final = "/opt/mlg/model"
SIGNATURE: Final = "/etc/mlg/signature.json"
PROJECT: Final = "/srv/project"
FALLBACK: Final = ".fallback"
"""After a service's name; no service of a manifest has a dot."""
_FIRST_INSIDE: Final = PORT + 1
_LIBRARIES: Final = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/ld.so.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackImage:
    """A version's image, as a container is made of it."""

    reference: str
    """Name in the engine; of a layout that is still to be loaded it is what that gives."""
    layout: Path | None = None
    """OCI layout to load before; None: the engine has it, or pulls it."""
    python: str = "python"
    binds: tuple[Bind, ...] = ()
    """What it takes from this machine, read-only."""
    digest: str = ""
    """sha256 of its manifest; empty: not known here."""
    servers: "StackImage | None" = None
    """What servers of one's own start from; None: the image itself."""


ImageOf = Callable[[Packaged], StackImage]
"""Gives the image of a version. Raises LifecycleError when it has none that can start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """A stack, and what its folder must hold."""

    stack: Stack
    files: tuple[tuple[str, bytes], ...]
    """Under the Compose file's folder; without `keys/viewer.key`, which is 32 random bytes."""
    images: tuple[StackImage, ...]
    notes: tuple[str, ...]
    """What is not in it, one sentence each."""
    digest: str = ""
    """sha256 of the manifest of the image of the version under test, where it is known."""
    servers: tuple[tuple[str, str], ...] = ()
    """Servers of one's own, each with the address at which its health is asked from within
    the container of the version under test."""


class StackPlanner:
    """Plans the stack of one version of a service.

    Args:
        spec: The manifest.
        files: The instance's small files: keys, policies, what serves.
        artifacts: Where images, signatures and the manifest's folder lie.
        image_of: Gives the image of a version.
    """

    def __init__(
        self, spec: ManifestSpec, files: Files, artifacts: ArtifactStore, image_of: ImageOf
    ) -> None:
        self._spec, self._files, self._artifacts = spec, files, artifacts
        self._image_of = image_of

    def plan(
        self, service: str, version: str, labels: Sequence[tuple[str, str]] = ()
    ) -> StackPlan:
        """Return what runs to test a version of a service.

        Raises:
            NotFoundError: The service, or the version, is not known here, or packages of
                the image are not installed.
            BackendError: A service that it depends on serves nothing yet, or an image
                cannot be started.
        """
        made = _Made(files={"keys/trusted.pem": self._files.read(TRUSTED_KEYS) or b""})
        needed = _closure(self._spec, service)
        for name in needed:
            declared = self._spec.services[name]
            if declared.command is not None:
                image = self._image(service, version)
                self._command(name, declared, image.servers or image, made)
            elif declared.model is None:
                made.notes.append(f"service {name} is adopted: it runs elsewhere already.")
            else:
                stable = read_wanted(self._files, name).stable
                if stable is None or not stable.artifact:
                    raise BackendError(
                        f"{service} depends on {name}, which serves no version yet",
                        where=f"service {name}",
                        hint=f"release a version of {name} first.",
                    )
                self._versioned(name, stable.version, made)
        image = self._versioned(service, version, made, needs=tuple(needed), inside=made.owner)
        made.notes.append("the gateway is not in it: who tests asks the replica.")
        there = {one.name for one in made.services}
        services = tuple(
            replace(one, needs=tuple(n for n in one.needs if n in there))
            for one in made.services
        )
        return StackPlan(
            stack=Stack(services=services, labels=tuple(labels)),
            files=tuple(sorted(made.files.items())),
            images=tuple(made.images),
            notes=tuple(made.notes),
            digest=image.digest,
            servers=tuple(
                (name, f"http://127.0.0.1:{port}{self._spec.services[name].health}")
                for name, port in made.ports.items()
            ),
        )

    def _packaged(self, name: str, version: str) -> Packaged:
        """Return what a version was packaged as.

        Raises:
            NotFoundError: The service, or the version, is not known here.
        """
        packaged = read_packaged(self._files, version)
        if name not in self._spec.services or packaged is None:
            raise NotFoundError(
                f"no packaged version {version!r} of {name!r}",
                hint="mlg run PIPELINE makes one; mlg status lists services.",
            )
        return packaged

    def _image(self, name: str, version: str) -> StackImage:
        return self._image_of(self._packaged(name, version))

    def _versioned(
        self,
        name: str,
        version: str,
        made: "_Made",
        needs: tuple[str, ...] = (),
        inside: str = "",
    ) -> StackImage:
        """Add a version's replica and its popularity server; return their image."""
        declared = self._spec.services[name]
        packaged = self._packaged(name, version)
        image = self._image_of(packaged)
        made.images.append(image)
        made.files[f"services/{name}/policy.json"] = (
            self._files.read(f"services/{name}/policy.json") or b""
        )
        signed = self._signature(packaged)
        if signed:
            made.files[f"signatures/{name}.json"] = signed
        common = (
            *("--home", HOME, "--listen", f"0.0.0.0:{PORT}", "--service", name),
            *("--clock", declared.clock, "--artifact", MODEL, "--digest", packaged.artifact),
            *(("--signature", SIGNATURE) if signed else ()),
        )
        resources = declared.resources
        replica = StackService(
            name=name,
            image=image.reference,
            entrypoint=(image.python, "-m", "mlg.app.replica"),
            command=(
                *common,
                *("--id", f"staging-{name}", "--model", declared.model or name),
                *("--version", version, *faster_options(declared)),
            ),
            env=(("PYTHONDONTWRITEBYTECODE", "1"), *THREAD_ENV),
            binds=(*_binds(name, signed=bool(signed)), *image.binds),
            home=HOME,
            inside=inside,
            needs=needs,
            memory_bytes=resources.memory_bytes if resources else None,
            cpu=resources.cpu if resources else None,
            open_files=resources.open_files if resources else None,
        )
        made.services.append(replica)
        made.services.append(
            replace(
                replica,
                name=name + FALLBACK,
                entrypoint=(image.python, "-m", "mlg.app.fallback"),
                command=(*common, "--id", f"staging-{name}-fallback"),
                inside="",
                needs=(),
            )
        )
        return image

    def _command(
        self,
        name: str,
        declared: ServiceSpec,
        image: StackImage,
        made: "_Made",
    ) -> None:
        """Add a server of the operator's own: it listens on 127.0.0.1, with the replica."""
        port = _FIRST_INSIDE + made.inside
        made.inside += 1
        made.ports[name] = port
        words = tuple(word.replace("{port}", str(port)) for word in declared.command or ())
        argv = (image.python, *words[1:]) if words[:1] == ("python",) else words
        resources = declared.resources
        made.services.append(
            StackService(
                name=name,
                image=image.reference,
                entrypoint=argv[:1],
                command=argv[1:],
                env=(
                    ("MLG_PORT", str(port)),
                    ("PYTHONDONTWRITEBYTECODE", "1"),
                    *self._addresses(declared, made),
                ),
                binds=(Bind(source=self._folder(), target=PROJECT), *image.binds),
                working_dir=PROJECT,
                published=False,
                inside=made.owner,
                memory_bytes=resources.memory_bytes if resources else None,
                cpu=resources.cpu if resources else None,
                open_files=resources.open_files if resources else None,
            )
        )
        made.owner = made.owner or name

    def _addresses(self, declared: ServiceSpec, made: "_Made") -> list[tuple[str, str]]:
        """Return where the servers that this one asks answer, in the stack."""
        found: list[tuple[str, str]] = []
        for name in declared.depends_on:
            inside = made.ports.get(name)
            url = f"http://127.0.0.1:{inside}" if inside else f"http://{name}:{PORT}"
            path = "" if inside else f"/v1/services/{name}"
            found.append((url_variable(name), url + path))
        return found

    def _signature(self, packaged: Packaged) -> bytes:
        if packaged.signature is None:
            return b""
        return self._artifacts.open(packaged.signature).read_bytes()

    def _folder(self) -> str:
        """Return where the applied manifest's folder lies.

        Raises:
            NotFoundError: None is applied.
        """
        applied = read_applied(self._files)
        if applied is None:
            raise NotFoundError("no manifest is in force", hint="mlg apply.")
        return str(self._artifacts.locate(applied.folder))


class _Made:
    """What was planned so far."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.services: list[StackService] = []
        self.images: list[StackImage] = []
        self.notes: list[str] = []
        self.ports: dict[str, int] = {}
        self.inside = 0
        self.owner = ""
        """Whose network the servers on 127.0.0.1 share."""


def on_this_machine(image: StackImage) -> StackImage:
    """Return an image with this machine's Python and programs laid over it, read-only.

    For servers of one's own, which may need what the version does not, as they have it when
    the launcher starts them.
    """
    folders = [*_LIBRARIES, sys.base_prefix, sys.prefix]
    real = {path: os.path.realpath(path) for path in folders if Path(path).exists()}
    inside = [p for p in real if not any(p != q and _under(p, q) for q in real)]
    binds = tuple(Bind(source=real[path], target=path) for path in inside)
    return replace(image, python=sys.executable, binds=binds, servers=None)


def given_image(reference: str) -> ImageOf:
    """Return what gives each version the image that an operator named."""
    return lambda _: StackImage(reference=reference)


def _binds(name: str, *, signed: bool) -> tuple[Bind, ...]:
    found = [
        Bind(source="./keys", target=f"{HOME}/keys"),
        Bind(source=f"./services/{name}", target=f"{HOME}/services/{name}"),
    ]
    if signed:
        found.append(Bind(source=f"./signatures/{name}.json", target=SIGNATURE))
    return tuple(found)


def _under(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def _closure(spec: ManifestSpec, service: str) -> Mapping[str, None]:
    """Return what a service depends on, and what those do, each after what it needs."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        declared = spec.services.get(name)
        for need in declared.depends_on if declared else ():
            if need not in found:
                visit(need)
                found[need] = None

    visit(service)
    return found
