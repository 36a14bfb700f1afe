"""A version's containers: started for its tests, and taken down whatever happens.

What is about to be started is written down before; the next control plane takes down what
one that died left. Containers are found by their label, so nothing else is ever touched.
"""

import contextlib
import logging
import secrets
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.compose_engine import ComposeEngine, find_engine
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.keys_local import viewer_key
from mlg.app.data_plane import KEY_BYTES
from mlg.app.live_requests import LogRequests
from mlg.app.stack_plan import ImageOf, StackPlan, StackPlanner
from mlg.app.staging import Staging
from mlg.app.staging_battery import Target
from mlg.app.staging_images import built_image
from mlg.app.staging_memory import runs
from mlg.app.staging_servers import OwnServers
from mlg.app.supervise import Supervisor
from mlg.core.clock import Clock
from mlg.core.errors import BackendError, LifecycleError, NotFoundError
from mlg.core.ports import ArtifactStore, Files, Network
from mlg.manifest.specs import ManifestSpec
from mlg.release.staging import TestResult
from mlg.render.compose import PORT, Stack, StackService, compose
from mlg.render.text import yaml_text
from mlg.workflows.packaged import read_packaged

COMPOSE_FILE: Final = "docker-compose.yaml"
LABEL: Final = "mlg.staging"
_MARK: Final = "stack.json"
_FOLDER: Final = "stacks"
_LOOK_S: Final = 0.1

logger = logging.getLogger("mlg.staging")


class ComposeStacks:
    """Implements `Stacks` on the engine that answers.

    Args:
        home: The instance's folder.
        files: Its small files.
        artifacts: Where images and signatures lie.
        manifest: The manifest in force.
        network: Reaches the containers, on loopback.
        clock: For deadlines.
        image_of: Gives a version's image; None: the one that `mlg image build` makes of it.
    """

    def __init__(
        self,
        home: Path,
        files: Files,
        artifacts: ArtifactStore,
        manifest: Callable[[], ManifestSpec | None],
        network: Network,
        clock: Clock,
        image_of: ImageOf | None = None,
    ) -> None:
        self._home, self._files, self._artifacts = home, files, artifacts
        self._manifest, self._network, self._clock = manifest, network, clock
        self._image_of = image_of or built_image(home)

    def start(
        self, service: str, version: str, deadline_s: float, stage: ExitStack
    ) -> tuple[Target, int, TestResult]:
        """Return whom to ask, its process, and the result of the test `compose`.

        Leaving `stage` takes everything down, whatever happened.

        Raises:
            NotFoundError: No manifest is in force, or the version is not known here.
            BackendError: No engine answers, the image cannot be built, or the version or a
                server that it needs does not answer in time; `stage` holds what must still
                be taken down.
        """
        began_s = self._clock.monotonic_s()
        until_s = began_s + deadline_s
        spec = self._manifest()
        if spec is None:
            raise NotFoundError("no manifest is in force", hint="mlg apply.")
        if deadline_s <= 0.0:
            raise BackendError(
                "no time is left to start containers", where=f"service {service}"
            )
        project = project_of(self._home, service)
        engine = stage.enter_context(find_engine())
        planner = StackPlanner(spec, self._files, self._artifacts, self._image_of)
        plan = planner.plan(service, version, ((LABEL, project),))
        mark, folder = f"services/{service}/{_MARK}", self._home / _FOLDER / project
        _take_down(engine, project, ())  # what an earlier one left, if it left something
        layouts = [one.reference for one in plan.images if one.layout is not None]
        told = {"project": project, "images": layouts}
        self._files.write(mark, msgspec.json.encode(told))
        loaded: list[str] = []
        stage.callback(self._end, engine, project, loaded, mark)
        stack = _loaded(engine, plan, loaded)
        write_stack(folder, plan, stack, secret=True)
        try:
            engine.up(folder, project, until_s - self._clock.monotonic_s())
        except BackendError:
            _none_ended(engine, project, engine.containers(_label(project)))
            raise
        ports = self._ready(engine, project, stack, until_s)
        ids = {_service_of(one): str(one["Id"]) for one in engine.containers(_label(project))}
        python = next(one.entrypoint[0] for one in stack.services if one.name == service)
        health = OwnServers(engine, project, ids, (ids[service], python), self._clock)
        health.wait(plan.servers, until_s)
        pid = engine.pid(ids[service])
        seconds = self._clock.monotonic_s() - began_s
        reason = f"{len(ids)} containers answer on {engine.name} after {seconds:.1f} s"
        if plan.servers:
            reason += f"; {len(plan.servers)} servers of one's own are healthy"
        if image := plan.digest:
            reason += f"; the version's image is sha256:{image[:12]}…"
        facts = (
            *(("containers", len(ids)), ("seconds", seconds), ("engine", engine.name)),
            ("image", image or None),
        )
        result = TestResult(name="compose", verdict="PASS", reason=reason, facts=facts)
        alive = partial(runs, pid) if pid else lambda: True
        return Target(port=ports[service], version=version, alive=alive), pid, result

    def _ready(
        self, engine: ComposeEngine, project: str, stack: Stack, until_s: float
    ) -> dict[str, int]:
        """Return the port of each service that has one, once all of them answer.

        Raises:
            BackendError: One ended, or does not answer in time.
        """
        wanted = {one.name for one in stack.services}
        while True:
            found = {_service_of(c): c for c in engine.containers(_label(project))}
            _none_ended(engine, project, found.values())
            ports = {
                one.name: _port_of(found[one.inside or one.name])
                for one in stack.services
                if one.published and (one.inside or one.name) in found
            }
            asked = [one for one in stack.services if one.published]
            silent = [one.name for one in asked if not self._answers(ports.get(one.name, 0))]
            silent += sorted(wanted - found.keys())
            if not silent:
                return ports
            if self._clock.monotonic_s() > until_s:
                raise BackendError(
                    f"{', '.join(silent)} did not become ready in time",
                    where=f"stack {project}",
                )
            self._clock.wait(_LOOK_S)

    def _answers(self, port: int) -> bool:
        if not port:
            return False
        url = f"http://127.0.0.1:{port}/v2/health/ready"
        return self._network.request("GET", url, timeout_s=1.0).status == 200

    def _end(self, engine: ComposeEngine, project: str, loaded: list[str], mark: str) -> None:
        """Take the stack down; what cannot be is left to the next start."""
        try:
            _take_down(engine, project, loaded)
        except LifecycleError as error:
            logger.warning("a stack of staging could not be taken down: %s", error)
            return
        shutil.rmtree(self._home / _FOLDER / project, ignore_errors=True)
        self._files.remove(mark)


def staging_of(
    home: Path,
    files: Files,
    artifacts: ArtifactStore,
    manifest: Callable[[], ManifestSpec | None],
    network: Network,
    clock: Clock,
    supervisor: Callable[[], Supervisor],
    expected_hz: Callable[[str], float | None],
) -> Staging:
    """Return the staging of an instance: of processes, and of containers where asked for."""
    return Staging(
        artifacts,
        supervisor,
        network,
        lambda version: read_packaged(files, version),
        stacks=ComposeStacks(home, files, artifacts, manifest, network, clock),
        expected_hz=expected_hz,
        live=LogRequests(home, lambda: viewer_key(files)),
        clock=clock,
    )


def sweep_stacks(home: Path) -> None:
    """Take down what a control plane that died left running; asks no engine without a mark."""
    for path in sorted((home / "services").glob(f"*/{_MARK}")):
        with contextlib.suppress(LifecycleError, msgspec.MsgspecError, KeyError):
            told = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            project = str(told["project"])
            with find_engine() as engine:
                _take_down(engine, project, tuple(map(str, told.get("images", ()))))
            shutil.rmtree(home / _FOLDER / project, ignore_errors=True)
            path.unlink(missing_ok=True)
            logger.info("took down a stack of staging", extra={"project": project})


def project_of(home: Path, service: str) -> str:
    """Return the name of the stack of a service; no other home has the same.

    Examples:
        >>> project_of(Path("/a"), "Home")[-5:]
        '-home'
    """
    own = sha256(str(home.resolve()).encode()).hexdigest()[:10]
    word = "".join(c if c.isalnum() else "-" for c in service.lower())
    return f"mlg-staging-{own}-{word}"


def write_stack(folder: Path, plan: StackPlan, stack: Stack, *, secret: bool = False) -> None:
    """Write the Compose file and what it names; `secret` makes a viewer key of its own.

    Raises:
        BackendError: It could not be written.
    """
    files = LocalFiles(folder)
    for name, content in plan.files:
        files.write(name, content)
    if secret:
        # no viewer's id is told apart by it: what staging asks is logged nowhere
        files.write("keys/viewer.key", secrets.token_bytes(KEY_BYTES))
    files.write(COMPOSE_FILE, yaml_text([compose(stack)]).encode())


def planned(home: Path, spec: ManifestSpec, image_of: ImageOf | None = None) -> StackPlanner:
    """Return what plans stacks of a home that no control plane needs to run for."""
    artifacts = LocalArtifacts(home / "artifacts")
    return StackPlanner(spec, LocalFiles(home), artifacts, image_of or built_image(home))


def _loaded(engine: ComposeEngine, plan: StackPlan, loaded: list[str]) -> Stack:
    """Load the layouts; return the stack with the names that the engine gave them."""
    names: dict[str, str] = {}
    for image in plan.images:
        if image.layout is not None and image.reference not in names:
            names[image.reference] = engine.load(image.layout)
            loaded.append(names[image.reference])
    services = [_named(one, names) for one in plan.stack.services]
    return Stack(services=tuple(services), labels=plan.stack.labels)


def _named(one: StackService, names: dict[str, str]) -> StackService:
    return replace(one, image=names.get(one.image, one.image))


def _take_down(engine: ComposeEngine, project: str, images: Sequence[str]) -> None:
    """Remove the containers and networks of a project, and the images loaded for it.

    Raises:
        BackendError: The engine does not answer, or something stays.
    """
    engine.remove(_label(project), project)
    for image in images:
        engine.drop(image)


def _none_ended(
    engine: ComposeEngine, project: str, containers: Iterable[dict[str, Any]]
) -> None:
    """Return where each of the containers still runs, or is yet to.

    Raises:
        BackendError: One ended, and its last words.
    """
    gone = [c for c in containers if c["State"] in {"exited", "dead", "stopped"}]
    if gone:
        words = engine.last_words(gone[0]["Id"]) or "it said nothing"
        what = f"the container of {_service_of(gone[0])} ended: {words}"
        raise BackendError(what, where=f"stack {project}")


def _label(project: str) -> str:
    return f"{LABEL}={project}"


def _service_of(container: dict[str, Any]) -> str:
    return str(container["Labels"].get("com.docker.compose.service", ""))


def _port_of(container: dict[str, Any]) -> int:
    ports: list[dict[str, Any]] = container.get("Ports") or []
    mine = [p for p in ports if p.get("PrivatePort") == PORT and p.get("PublicPort")]
    return int(mine[0]["PublicPort"]) if mine else 0
