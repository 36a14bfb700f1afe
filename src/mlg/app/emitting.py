"""Telling others of our runs, put together: whether anyone asked for it, and by what."""

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlg.adapters.lineage_openlineage import OpenLineageTarget, is_configured
from mlg.app.emitter import Emitter
from mlg.core.clock import Clock
from mlg.core.ports import Files, GraphReader, GraphStore
from mlg.graph.record import Recorder


def own_version() -> str:
    """Return the version of this package; `0` when it runs from a folder alone."""
    try:
        return version("mlg")
    except PackageNotFoundError:
        return "0"


def emitter_of(
    *,
    env: Mapping[str, str],
    control_port: int,
    files: Files,
    clock: Clock,
    store: GraphStore,
    reader: GraphReader,
    recorder: Callable[[], Recorder],
) -> Emitter | None:
    """Return the follower of the log that tells others, or None when nobody asked for it.

    Args:
        env: The environment, as the OpenLineage client reads it.
        control_port: Port of our own API, which is never told.
        files: The instance's small files.
        clock: For the times of its own events.
        store: The event log.
        reader: The graph.
        recorder: Makes its own events.
    """
    if not is_configured(env, Path.cwd(), Path.home(), control_port):
        return None
    return Emitter(
        files=files,
        clock=clock,
        store=store,
        reader=reader,
        recorder=recorder,
        target=OpenLineageTarget,
        version=own_version(),
    )
