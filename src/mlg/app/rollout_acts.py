"""What people tell a rollout: kept in a file that its next look reads.

A rollback while none is in flight begins one: back to the version that served before.
"""

import re
import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec

from mlg.app.rollout_told import ActsTold
from mlg.core.errors import (
    BackendError,
    ConflictError,
    DeniedError,
    ManifestError,
    NotFoundError,
)
from mlg.core.ports import Files, Ids
from mlg.core.uris import Digest
from mlg.release.rollout_approval import may_approve
from mlg.release.rollout_types import OperatorAct
from mlg.workflows.evidence import read_evidence
from mlg.workflows.experiments import open_experiment
from mlg.workflows.release_ports import BackRequest
from mlg.workflows.rollouts import BACK, in_flight, read_rollout, read_swaps
from mlg.workflows.state import read_wanted
from mlg.workflows.waiting import waiting

ACTS: Final = ("pause", "resume", "promote", "approve", "rollback")
_KEPT: Final = 100
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
"""Not in the id of a rollout: it is part of URIs and names files."""
_OF_ACT: Final = frozenset(("id", "act", "by", "reason"))


def _split(roles: str) -> tuple[str, ...]:
    return tuple(role for role in roles.split(",") if role)


class RolloutActs:
    """Takes acts by name; the same request twice is two acts, the second changes nothing.

    Args:
        files: The instance's small files.
        ids: Names of acts.
        start_back: Starts a way back durably; the same request starts once.
        model_of: Names the model that a service serves.
        there: Whether an artifact is in the store.
        told: Records who said what.
    """

    def __init__(
        self,
        files: Files,
        ids: Ids,
        start_back: Callable[[BackRequest], None],
        model_of: Callable[[str], str],
        told: ActsTold,
        there: Callable[[Digest], bool] = lambda _: True,
    ) -> None:
        self._there = there
        self._files, self._ids, self._told = files, ids, told
        self._start_back, self._model_of = start_back, model_of
        self._lock = threading.Lock()

    def status(self, service: str, *, evidence: bool = False) -> dict[str, Any]:
        """Return the newest rollout of a service, with how its gates' evidence grew if asked.

        Raises:
            NotFoundError: There was none yet.
        """
        document = read_rollout(self._files, service)
        if document is None:
            raise NotFoundError(
                f"no rollout of {service!r} yet", hint="mlg run PIPELINE makes a version."
            )
        if name := open_experiment(self._files, service):
            document["experiment"] = name  # new rollouts wait for it
        document["waiting"] = waiting(self._files, service)
        if evidence:
            grew = read_evidence(self._files, service, document["rollout"])
            document["evidence"] = msgspec.to_builtins(grew.gates)
        return document

    def act(
        self,
        service: str,
        act: str,
        by: str,
        reason: str = "",
        *,
        key: str = "",
        roles: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Tell the service's rollout what to do; it answers at its next look.

        A rollback while no rollout is in flight begins one, back to the version that
        served before.

        Args:
            service: The service.
            act: One of `ACTS`.
            by: Who says so.
            reason: Why, in words.
            key: Names the act; told again under the same key it is one act.
            roles: What he holds; an approval may ask for one.

        Returns:
            The service, the id of the rollout, the act, and of a way back `to`.

        Raises:
            ManifestError: There is no such act.
            ConflictError: No rollout is in flight, and for a rollback: nothing to go back to.
            DeniedError: It would give an approval, and he is not among those who may.
        """
        if act not in ACTS:
            raise ManifestError(
                f"expected an act, got {act!r}", where="act", hint=f"one of {', '.join(ACTS)}."
            )
        told = {"id": key or self._ids.new_id(), "act": act, "by": by, "reason": reason}
        told["roles"] = ",".join(roles)
        with self._lock:
            before = [one for one in _read(self._files, service) if one["id"] == told["id"]]
            if before:
                if request := before[0].get("back"):
                    self._start_back(msgspec.json.decode(request, type=BackRequest))
                return {"service": service, "rollout": before[0]["rollout"], "act": act}
            rollout = in_flight(self._files, service)
            if rollout:
                self._check(service, rollout, told)
                self._keep(service, {**told, "rollout": rollout})
                self._told(by, service, rollout, act, reason, key=told["id"])
                return {"service": service, "rollout": rollout, "act": act}
            if act != "rollback":
                raise ConflictError(
                    f"no rollout of {service!r} is in flight",
                    where=service,
                    hint="mlg rollout status tells how the last one ended.",
                )
            back = self._way_back(service, told)
            kept = {"rollout": back.id, "back": msgspec.json.encode(back).decode()}
            self._keep(service, {**told, **kept})
            self._told(by, service, back.id, act, reason, key=told["id"])
            self._start_back(back)
        to = back.former.version
        return {"service": service, "rollout": back.id, "act": act, "to": to}

    def _check(self, service: str, rollout: str, told: dict[str, str]) -> None:
        """Refuse an approval by one who may not give it; that is on the graph.

        Raises:
            DeniedError: He is not among those who may.
        """
        document = read_rollout(self._files, service) or {}
        listed = tuple(document.get("only", {}).get(told["act"], ()))
        by = told["by"]
        if not listed or may_approve(listed, by, _split(told["roles"])):
            return
        why = f"{by} is not among those who may"
        self._told(
            by, service, rollout, told["act"], told["reason"], key=told["id"], refused=why
        )
        raise DeniedError(
            f"{by} may not {told['act']} the rollout of {service}: it needs an approval",
            where=service,
            hint=f"may approve: {', '.join(listed)}",
        )

    def _way_back(self, service: str, told: dict[str, str]) -> BackRequest:
        """Return the way back from what serves.

        Raises:
            ConflictError: No version served before, or nothing serves.
        """
        stable = read_wanted(self._files, service).stable
        serving = stable.version if stable else ""
        swaps = read_swaps(self._files, service)
        former = swaps.former(serving, self._there) if serving else None
        if former is None:
            raise ConflictError(
                f"no rollout of {service!r} is in flight, and no version served before "
                f"{serving or 'the first'} that was not taken back",
                where=service,
                hint="repair what is wrong, then mlg run PIPELINE makes a new version.",
            )
        said = f"rollback by {told['by']}"
        return BackRequest(
            id=BACK + _UNSAFE.sub("-", told["id"]),
            service=service,
            model=self._model_of(service),
            left=serving,
            former=former,
            reason=f"{said}: {told['reason']}" if told["reason"] else said,
            by=told["by"],
        )

    def _keep(self, service: str, act: dict[str, str]) -> None:
        acts = [*_read(self._files, service), act][-_KEPT:]
        self._files.write(_path(service), msgspec.json.encode(acts))


def acts_of(files: Files, service: str, rollout: str) -> tuple[OperatorAct, ...]:
    """Return what people told one rollout, oldest first.

    Raises:
        BackendError: The file is damaged.
    """
    acts = _read(files, service)
    # what began a way back is not said to it again
    mine = [act for act in acts if act["rollout"] == rollout and "back" not in act]
    return tuple(
        msgspec.convert(
            {
                **{k: v for k, v in act.items() if k in _OF_ACT},
                "roles": _split(act.get("roles", "")),
            },
            OperatorAct,
        )
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
