"""A person starts the rollout of a version that was made before."""

import re
import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec

from mlg.app.manifests import Manifests
from mlg.app.rollout_told import ActsTold
from mlg.core.errors import BackendError, ConflictError, NotFoundError
from mlg.core.ports import ArtifactStore, Files, GraphReader, Ids
from mlg.core.reading import NodeQuery
from mlg.core.traffic import FULL_BP
from mlg.core.uris import parse_uri
from mlg.graph.record import Recorder
from mlg.workflows.experiments import open_experiment
from mlg.workflows.packaged import Packaged, read_packaged
from mlg.workflows.release_ports import StartRequest
from mlg.workflows.rollouts import in_flight, read_rollout, read_swaps
from mlg.workflows.state import read_wanted

START: Final = "start-"
"""How the ids of rollouts begin that a person started."""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_KNOWN: Final = 10
_KEPT: Final = 100


class RolloutStarts:
    """Starts rollouts by version; the same key starts once.

    Args:
        files: The instance's small files.
        ids: Names of rollouts.
        artifacts: Whether a version's artifact is still there.
        manifests: The services in force.
        reader: The versions of a model.
        recorder: Gives a recorder in the name of an actor.
        start: Starts one durably; the same request starts once.
        told: Records who asked.
    """

    def __init__(
        self,
        *,
        files: Files,
        ids: Ids,
        artifacts: ArtifactStore,
        manifests: Manifests,
        reader: GraphReader,
        recorder: Callable[[str], Recorder],
        start: Callable[[StartRequest], None],
        told: ActsTold,
    ) -> None:
        self._files, self._ids, self._artifacts = files, ids, artifacts
        self._manifests, self._reader, self._recorder = manifests, reader, recorder
        self._start, self._told = start, told
        self._lock = threading.Lock()

    def start(
        self,
        service: str,
        version: str,
        by: str,
        reason: str = "",
        *,
        again: str = "",
        key: str = "",
    ) -> dict[str, Any]:
        """Start the rollout of a packaged version; it goes on by itself.

        Args:
            service: The service.
            version: The version: its 12 characters, or its artifact's whole digest.
            by: Who says so.
            reason: Why, in words.
            again: Why a version that was taken back is tried again although nothing about
                it changed.
            key: Names the start; told again under the same key it is one.

        Returns:
            The service, the rollout's id, the version, and what it waits for, if anything:
            the id of the rollout in flight, the name of the experiment that runs.

        Raises:
            NotFoundError: No such service, or no such version of its model; the hint has the
                known ones.
            ConflictError: It serves already, is on its way, was taken back and `again` is
                empty, or its artifact is gone.
        """
        name = START + _UNSAFE.sub("-", key or self._ids.new_id())
        with self._lock:
            for before in self._read(service):
                if before.id == name:
                    self._start(before)
                    return {
                        "service": service,
                        "rollout": name,
                        "version": before.artifact[:12],
                    }
            made = self._packaged(service, self._model_of(service), version[:12])
            short = made.artifact[:12]
            self._check(service, short, again)
            request = StartRequest(
                id=name,
                service=service,
                model=self._model_of(service),
                artifact=made.artifact,
                by=by,
                reason=reason,
                again=again,
            )
            self._files.write(
                _path(service), msgspec.json.encode((*self._read(service), request)[-_KEPT:])
            )
            self._told(by, service, name, "start", reason, key=name, version=short, again=again)
            waits = in_flight(self._files, service)
            behind = open_experiment(self._files, service)
            self._start(request)
        return {
            "service": service,
            "rollout": name,
            "version": short,
            "waits_for": waits,
            "waits_for_experiment": behind,
        }

    def made(self, service: str, version: str) -> Packaged:
        """Return what a version of the service's model was packaged as.

        Raises:
            NotFoundError: No such service, or no such version; the hint has the known ones.
            ConflictError: Its artifact is gone.
        """
        return self._packaged(service, self._model_of(service), version[:12])

    def _model_of(self, service: str) -> str:
        spec = self._manifests.spec()
        services = spec.services if spec else {}
        if service not in services or not services[service].model:
            known = ", ".join(sorted(n for n, s in services.items() if s.model))
            raise NotFoundError(
                f"no service {service!r} that serves a model",
                where="manifest",
                hint=f"there are: {known or 'none: nothing is applied'}",
            )
        return services[service].model or service

    def _packaged(self, service: str, model: str, version: str) -> Packaged:
        known = self._versions(model)
        made = read_packaged(self._files, version) if version in known else None
        if made is None:
            shown = ", ".join(known[:_MOST_KNOWN])
            more = f" and {len(known) - _MOST_KNOWN} more" if len(known) > _MOST_KNOWN else ""
            raise NotFoundError(
                f"no packaged version {version!r} of {model!r}",
                where=service,
                hint=f"there are, newest first: {shown}{more}"
                if known
                else f"mlg run {model} makes the first one.",
            )
        if not self._artifacts.has(made.artifact):
            raise ConflictError(
                f"the artifact of {version} is gone",
                where=service,
                hint=f"an erasure or retention removed it; mlg run {model} makes another.",
            )
        return made

    def _versions(self, model: str) -> list[str]:
        """Return the packaged versions of a model, newest first."""
        prefix = self._recorder("system:control").uri("model_version", model, "x")
        wanted = parse_uri(prefix)
        found = self._reader.nodes(NodeQuery(kinds=("model_version",), limit=10_000)).nodes
        mine = [
            (one.valid_from, parts.version[:12])
            for one in found
            if (parts := parse_uri(one.uri)).name == wanted.name
            and parts.namespace == wanted.namespace
            and parts.version
        ]
        newest = dict.fromkeys(version for _, version in sorted(mine, reverse=True))
        packaged = {
            path.rpartition("/")[2].removesuffix(".json")
            for path in self._files.list("packaged")
        }
        return [version for version in newest if version in packaged]

    def _check(self, service: str, version: str, again: str) -> None:
        stable = read_wanted(self._files, service).stable
        if stable is not None and (stable.version, stable.bp) == (version, FULL_BP):
            raise ConflictError(f"{version} serves {service} already", where=service)
        flying = in_flight(self._files, service)
        document = read_rollout(self._files, service) or {}
        if flying and document.get("candidate") == version:
            raise ConflictError(
                f"{version} is on its way already, in rollout {flying}",
                where=service,
                hint=f"mlg rollout status {service}",
            )
        if version in read_swaps(self._files, service).rejected and not again:
            raise ConflictError(
                f"{version} was taken back before, and nothing about it changed",
                where=service,
                hint="say why it may be tried again: --again REASON",
            )

    def _read(self, service: str) -> tuple[StartRequest, ...]:
        content = self._files.read(_path(service))
        if content is None:
            return ()
        try:
            return msgspec.json.decode(content, type=tuple[StartRequest, ...])
        except msgspec.MsgspecError as error:
            raise BackendError(
                f"cannot be read: {error}", where=_path(service), hint="remove the file."
            ) from error


def _path(service: str) -> str:
    return f"services/{service}/starts.json"
