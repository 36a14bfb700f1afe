"""How each process of the data plane is started: its words, its limits, its digest."""

import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from mlg.adapters.keys_signing import TRUSTED_KEYS
from mlg.adapters.router_envoy import gateway_spec
from mlg.app.data_plane import THREAD_ENV
from mlg.app.standing import ADOPTED
from mlg.core.errors import NotFoundError
from mlg.core.ports import ArtifactStore, Files
from mlg.core.processes import ProcessKind, ProcessSpec
from mlg.core.traffic import version_of
from mlg.core.uris import Digest
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_services import ResourcesSpec, ServiceSpec
from mlg.release.fleet import Group
from mlg.release.wanted import process_id
from mlg.workflows.packaged import read_packaged
from mlg.workflows.state import Wanted, WantedVersion, read_applied, read_wanted

_PYTHON: Final = "python"
GATEWAY_RESTART: Final = "gateway/restart"
"""Keeps the mark of the last asked-for restart of the gateways."""


class Specs:
    """How each process of the data plane is started.

    Args:
        home: The instance's folder.
        files: Its small files: wanted versions, keys, what is packaged.
        artifacts: Where models and the manifest's folder lie.
        gateway_port: The viewers' port.
        manifest: The manifest in force, or None before the first apply.
    """

    def __init__(
        self,
        home: Path,
        files: Files,
        artifacts: ArtifactStore,
        gateway_port: int,
        manifest: Callable[[], ManifestSpec | None],
    ) -> None:
        self._home, self._files, self._artifacts = home, files, artifacts
        self.home, self.files, self.artifacts = home, files, artifacts
        self._gateway_port, self._manifest = gateway_port, manifest

    def __call__(self, kind: ProcessKind, service: str, version: str, n: int) -> ProcessSpec:
        """Return the specification of process number `n` of the group.

        Raises:
            NotFoundError: The service is not in the manifest, or the version not wanted.
        """
        id_ = process_id(Group(kind, service, version), n)
        if kind == "gateway":
            # what gateway 1 is started with; the others differ in the names of their files only
            told = self._files.read(f"gateway/{process_id(Group(kind), 1)}.json") or b""
            mark = self._files.read(GATEWAY_RESTART) or b""
            told = f"{self._gateway_port}\0".encode() + told + mark
            digest = sha256(told).hexdigest()
            return gateway_spec(self._home / "gateway", id_, self._gateway_port, digest=digest)
        spec = self._manifest()
        if spec is None or service not in spec.services:
            raise NotFoundError(f"no service {service!r} in the manifest")
        declared = spec.services[service]
        if declared.command is not None:
            return self._command(id_, service, version, declared)
        wanted = read_wanted(self._files, service)
        argv = [
            sys.executable, "-m", f"mlg.app.{kind}", "--home", str(self._home),
            "--service", service, "--clock", declared.clock,
        ]  # fmt: skip
        limits, brought_by = ResourcesSpec(), ""
        if kind == "replica":
            argv += ["--model", declared.model or service, "--version", version_of(version)]
            if version_of(version) != version:
                argv += ["--arm", version]
            found = _wanted_version(wanted, version)
            if version_of(version) == ADOPTED:
                argv[2] = "mlg.app.adopted"
                argv += ["--url", declared.adopt or "", *self._list(declared)]
            else:
                argv += [*self._model(found.artifact), *faster_options(declared)]
                argv += self._beside(found)
            brought_by = found.deployment
            limits = declared.resources or limits
        elif (artifact := _list_of(wanted)) is not None:
            argv += self._model(artifact)
        else:
            argv += self._list(declared)
        # other trusted keys are another check, so what runs is replaced; and what one
        # rollout's replicas refused, the next one's look at again
        keys = (self._files.read(TRUSTED_KEYS) or b"").decode(errors="replace")
        told = [*argv, str(limits), self._restart(service), keys, brought_by]
        return ProcessSpec(
            id=id_,
            kind=kind,
            argv=(*argv, "--id", id_),
            env=THREAD_ENV,
            service=service,
            version=version,
            digest=_digest(told),
            memory_bytes=limits.memory_bytes,
            cpu=limits.cpu,
            open_files=limits.open_files,
        )

    def _command(
        self, id_: str, service: str, version: str, declared: ServiceSpec
    ) -> ProcessSpec:
        """Return how a program of the operator's own is started, in the applied folder."""
        words = declared.command or ()
        argv = (sys.executable, *words[1:]) if words[:1] == (_PYTHON,) else words
        env = (
            ("PYTHONDONTWRITEBYTECODE", "1"),  # the folder is an artifact and stays as it is
            *(
                (
                    url_variable(name),
                    f"http://127.0.0.1:{self._gateway_port}/v1/services/{name}",
                )
                for name in declared.depends_on
            ),
        )
        folder, limits = self._folder(), declared.resources or ResourcesSpec()
        told = [*argv, str(env), declared.health, folder, str(limits), self._restart(service)]
        return ProcessSpec(
            id=id_,
            kind="replica",
            argv=argv,
            env=env,
            service=service,
            version=version,
            digest=_digest(told),
            listen=False,
            memory_bytes=limits.memory_bytes,
            cpu=limits.cpu,
            open_files=limits.open_files,
            health_path=declared.health,
            folder=folder,
        )

    def _folder(self) -> str:
        """Return where the folder of the manifest in force lies, read-only.

        Raises:
            NotFoundError: None is applied.
        """
        applied = read_applied(self._files)
        if applied is None:
            raise NotFoundError("no manifest is in force", hint="mlg apply.")
        return str(self._artifacts.locate(applied.folder))

    def _list(self, declared: ServiceSpec) -> list[str]:
        """Return where the declared popularity list is; nothing where none is declared."""
        if declared.fallback_list is None:
            return []
        return ["--list", str(Path(self._folder()) / declared.fallback_list)]

    def _model(self, artifact: Digest) -> list[str]:
        """Return where a model and its signature are; the process checks both as it loads."""
        packaged = read_packaged(self._files, artifact[:12])
        found = ["--artifact", str(self._artifacts.locate(artifact)), "--digest", artifact]
        if packaged is not None and packaged.signature is not None:
            found += ["--signature", str(self._artifacts.locate(packaged.signature))]
        return found

    def _beside(self, found: WantedVersion) -> list[str]:
        """Return the other version of a group that interleaves; nothing for any other."""
        if not found.beside:
            return []
        other = self._model(Digest(found.beside))
        named = [word.replace("--", "--beside-", 1) for word in other[::2]]
        words = [word for pair in zip(named, other[1::2], strict=True) for word in pair]
        return ["--beside-version", found.beside[:12], *words]

    def _restart(self, service: str) -> str:
        """Return the mark of the last asked-for restart; another mark replaces replicas."""
        return (self._files.read(f"services/{service}/restart") or b"").decode()


def has_list(service: ServiceSpec, wanted: Wanted) -> bool:
    """Return whether a service has a popularity server: always, where mlg trains its model."""
    if service.command is not None:
        return False
    if service.adopt is None or service.fallback_list is not None:
        return True
    return _list_of(wanted) is not None


def url_variable(service: str) -> str:
    """Return the environment variable that has the address of a service.

    Examples:
        >>> url_variable("item-search")
        'MLG_SERVICE_ITEM_SEARCH_URL'
    """
    return f"MLG_SERVICE_{service.upper().replace('-', '_')}_URL"


def faster_options(service: ServiceSpec) -> list[str]:
    """Return the options of a replica that keeps answers, or ranks requests together."""
    found: list[str] = []
    if service.cache:
        found += ["--cache-entries", str(service.cache.entries)]
        found += ["--cache-ttl-s", f"{service.cache.ttl_s:g}"]
    if service.batch:
        found += ["--batch-max", str(service.batch.most)]
        found += ["--batch-deadline-ms", f"{service.batch.deadline_ms:g}"]
    return found


def _list_of(wanted: Wanted) -> Digest | None:
    """Return the artifact whose popularity list answers: of the version with most traffic."""
    stored = [v for v in wanted.versions if v.artifact and not v.layer]
    return max(stored, key=lambda v: v.bp).artifact if stored else None


def _digest(told: list[str]) -> str:
    return sha256("\0".join(told).encode()).hexdigest()


def _wanted_version(wanted: Wanted, version: str) -> WantedVersion:
    for item in wanted.versions:
        if item.version == version:
            return item
    raise NotFoundError(f"version {version} is not wanted", where=wanted.service)
