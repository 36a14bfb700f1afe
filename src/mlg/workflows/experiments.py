"""What an experiment keeps between two looks, and where others read it."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from mlg.core.errors import BackendError
from mlg.core.ports import Files
from mlg.release import experiment
from mlg.release.experiment_types import (
    CLOSED,
    ExperimentFacts,
    ExperimentPlan,
    ExperimentState,
)
from mlg.workflows.state import WantedVersion

_LATE_SEQ: Final = 1_000_000
"""Commands of an experiment that is given back from its document have keys of their own."""


class ExperimentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment that a person started; the same id starts once."""

    id: str
    model: str
    plan: ExperimentPlan
    min_effect: dict[str, float]
    """Smallest difference that matters, by metric, in the value's own unit."""
    versions: dict[str, WantedVersion]
    """Artifact and deployment of each version that it needs, by version."""
    by: str
    reason: str = ""


class ExperimentLook(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the next look needs; a value that goes through JSON."""

    state: ExperimentState
    request: ExperimentRequest
    mark: dict[str, Any] | None = None
    """Where in the log counting began; None until the split is in force."""
    began_at: datetime | None = None
    """Wall time at which it was started."""
    verdicts: dict[str, dict[str, Any]] = {}
    """What was seen of each cell at the last look."""


class ExperimentWatch(Protocol):
    """Where an experiment's facts come from."""

    def now(self, service: str) -> datetime:
        """Return the service's event time."""
        ...

    def look(self, look: ExperimentLook) -> tuple[ExperimentLook, ExperimentFacts]:
        """Return what is so now."""
        ...


def write_experiment(files: Files, look: ExperimentLook) -> None:
    """Tell where the service's newest experiment stands; its end is kept by its name too."""
    state = look.state
    document = {
        "experiment": state.id,
        "name": state.plan.name,
        "service": state.plan.service,
        "phase": state.phase,
        "since": state.since,
        "reason": state.reason,
        "control": state.plan.control,
        "holdout": state.plan.holdout if state.plan.holdout_bp else "",
        "holdout_bp": state.plan.holdout_bp,
        "by": look.request.by,
        "cells": [
            {
                "cell": cell.name,
                "version": cell.version,
                "share_bp": cell.share_bp if state.phase == "running" else 0,
                "stopped": cell.name in state.stopped,
                **look.verdicts.get(cell.name, {}),
            }
            for cell in state.plan.cells
        ],
    }
    content = msgspec.json.encode(document)
    if state.phase in CLOSED:
        files.write(_ended_path(state.plan.service, state.plan.name), content)
    files.write(_path(state.plan.service), content)


def write_begun(files: Files, request: ExperimentRequest, now: datetime) -> ExperimentLook:
    """Tell that an experiment was started; return the first look."""
    state = experiment.begin(request.id, request.plan, now, started=True)
    look = ExperimentLook(state=state, request=request)
    write_experiment(files, look)
    return look


def look_of(request: ExperimentRequest, document: dict[str, Any]) -> ExperimentLook:
    """Return what the document tells of an experiment, as far as giving it back needs it."""
    since = msgspec.convert(document["since"], datetime)
    state = replace(
        experiment.begin(request.id, request.plan, since, started=True),
        phase=document["phase"],
        reason=document["reason"],
        stopped=tuple(cell["cell"] for cell in document["cells"] if cell["stopped"]),
        seq=_LATE_SEQ,
    )
    return ExperimentLook(state=state, request=request)


def read_experiment(files: Files, service: str) -> dict[str, Any] | None:
    """Return the document of the service's newest experiment, or None before the first.

    Raises:
        BackendError: The file is damaged.
    """
    return _read(files, _path(service))


def read_ended(files: Files, service: str, name: str) -> dict[str, Any] | None:
    """Return how an experiment ended last, or None where it never did.

    Raises:
        BackendError: The file is damaged.
    """
    return _read(files, _ended_path(service, name))


def open_experiment(files: Files, service: str) -> str:
    """Return the name of the experiment of a service that has not ended, or nothing."""
    document = read_experiment(files, service)
    return "" if document is None or document["phase"] in CLOSED else str(document["name"])


def _read(files: Files, path: str) -> dict[str, Any] | None:
    content = files.read(path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise BackendError(
            f"cannot be read: {error}", where=path, hint="remove the file."
        ) from error


def _path(service: str) -> str:
    return f"services/{service}/experiment.json"


def _ended_path(service: str, name: str) -> str:
    return f"services/{service}/experiments/{name}.json"


PATIENCE_S: Final = 180.0
"""How long its cells may take to be warm before it gives up: rollouts wait for it."""
