"""Releases that are started from outside a run: the way back, and a version made before."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
from dbos import DBOS, SetWorkflowID

from mlg.workflows.release import Release
from mlg.workflows.release_ports import BackRequest, StartRequest


def start_back(release: Release, request: BackRequest) -> None:
    """Start the way back in the background; the same request starts once."""
    _start(request.id, lambda: DBOS.start_workflow(release.back, msgspec.to_builtins(request)))


def start_version(release: Release, request: StartRequest) -> None:
    """Start the rollout of a version in the background; the same request starts once."""
    asked = {"by": request.by, "reason": request.reason, "again": request.again}
    told = {name: text for name, text in asked.items() if text}
    _start(
        request.id,
        lambda: DBOS.start_workflow(
            release.run, request.service, request.model, request.artifact, "", told
        ),
    )


def _start(id_: str, begin: Callable[[], object]) -> None:
    def start() -> None:
        with SetWorkflowID(id_):
            begin()

    # a thread of its own has no step around it: within one no workflow may start
    with ThreadPoolExecutor(1) as pool:
        pool.submit(start).result()
