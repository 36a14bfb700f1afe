"""What people tell a rollout: kept in a file that its next look reads."""

import threading
from typing import Any, Final

import msgspec

from mlg.core.errors import BackendError, ConflictError, ManifestError, NotFoundError
from mlg.core.ports import Files, Ids
from mlg.release.rollout_types import OperatorAct
from mlg.workflows.rollouts import in_flight, read_rollout

ACTS: Final = ("pause", "resume", "promote", "approve", "rollback")
_KEPT: Final = 100


class RolloutActs:
    """Takes acts by name; the same request twice is two acts, the second changes nothing.

    Args:
        files: The instance's small files.
        ids: Names of acts.
    """

    def __init__(self, files: Files, ids: Ids) -> None:
        self._files, self._ids = files, ids
        self._lock = threading.Lock()

    def status(self, service: str) -> dict[str, Any]:
        """Return the newest rollout of a service.

        Raises:
            NotFoundError: There was none yet.
        """
        document = read_rollout(self._files, service)
        if document is None:
            raise NotFoundError(
                f"no rollout of {service!r} yet", hint="mlg run PIPELINE makes a version."
            )
        return document

    def act(self, service: str, act: str, by: str, reason: str = "") -> dict[str, Any]:
        """Tell the service's rollout what to do; it answers at its next look.

        Raises:
            ManifestError: There is no such act.
            ConflictError: No rollout is in flight.
        """
        if act not in ACTS:
            raise ManifestError(
                f"expected an act, got {act!r}", where="act", hint=f"one of {', '.join(ACTS)}."
            )
        rollout = in_flight(self._files, service)
        if not rollout:
            raise ConflictError(
                f"no rollout of {service!r} is in flight",
                where=service,
                hint="mlg rollout status tells how the last one ended.",
            )
        told = {"id": self._ids.new_id(), "act": act, "by": by, "reason": reason}
        with self._lock:
            acts = [*_read(self._files, service), {**told, "rollout": rollout}][-_KEPT:]
            self._files.write(_path(service), msgspec.json.encode(acts))
        return {"service": service, "rollout": rollout, "act": act}


def acts_of(files: Files, service: str, rollout: str) -> tuple[OperatorAct, ...]:
    """Return what people told one rollout, oldest first.

    Raises:
        BackendError: The file is damaged.
    """
    mine = [act for act in _read(files, service) if act["rollout"] == rollout]
    return tuple(
        msgspec.convert({k: v for k, v in act.items() if k != "rollout"}, OperatorAct)
        for act in mine
    )


def _read(files: Files, service: str) -> list[dict[str, str]]:
    content = files.read(_path(service))
    if content is None:
        return []
    try:
        return msgspec.json.decode(content, type=list[dict[str, str]])
    except msgspec.MsgspecError as error:
        raise BackendError(
            f"cannot be read: {error}", where=_path(service), hint="remove the file."
        ) from error


def _path(service: str) -> str:
    return f"services/{service}/acts.json"
