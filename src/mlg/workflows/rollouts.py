"""What a rollout keeps between two looks, and where others read it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from mlg.core.clock import parse_time
from mlg.core.errors import BackendError
from mlg.core.measure import Verdict
from mlg.core.ports import Files
from mlg.core.traffic import version_of
from mlg.core.uris import Digest
from mlg.release.rollout import status
from mlg.release.rollout_types import ENDED, RolloutFacts, RolloutState, interleaved_label
from mlg.release.staging import StagingReport
from mlg.workflows.state import WantedVersion

BACK: Final = "back-"
"""How the ids of rollouts begin that go back to the version before."""

_MOST_SERVED: Final = 20


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the next look needs; a value that goes through JSON."""

    state: RolloutState
    mark: dict[str, Any] | None = None
    """Where counting began in the current step; None until its split is in force."""
    stages: tuple[dict[str, Any], ...] = ()
    """What was seen in the steps before."""
    drafts: dict[str, Any] | None = None
    """Where counting of interleaved lists began; None until their split is in force."""
    staging: Verdict | None = None
    """Verdict of the battery, once there is one."""
    staging_reason: str = ""
    staging_cut: bool = False
    """The window closed before the battery was done."""
    began_at: datetime | None = None
    """Wall time at which the phase began: for things that must happen soon."""


class RolloutWatch(Protocol):
    """Where a rollout's facts come from."""

    def plan(self, service: str) -> Any:
        """Return the plan that the manifest in force gives the service's rollouts."""
        ...

    def now(self, service: str) -> datetime:
        """Return the service's event time."""
        ...

    def look(self, look: Look) -> tuple[Look, RolloutFacts]:
        """Return what is so now, with a mark where a step's counting begins."""
        ...

    def close_step(self, look: Look) -> Look:
        """Keep what was seen in the step that is over, before its split changes."""
        ...

    def stage(self, state: RolloutState, artifact: str) -> StagingReport:
        """Run the battery of tests on a version that takes no traffic.

        In a process that is warm already, or in containers that this starts and ends.
        """
        ...


def rollout_path(service: str) -> str:
    """Return where the newest rollout of a service is told."""
    return f"services/{service}/rollout.json"


def told(state: RolloutState) -> dict[str, Any]:
    """Return the document of `mlg rollout status`."""
    return {"rollout": state.id, **msgspec.to_builtins(status(state))}


def read_rollout(files: Files, service: str) -> dict[str, Any] | None:
    """Return the newest rollout's document, or None before the first."""
    content = files.read(rollout_path(service))
    return None if content is None else msgspec.json.decode(content)


def write_rollout(files: Files, state: RolloutState) -> None:
    """Tell where the rollout stands."""
    files.write(rollout_path(state.service), msgspec.json.encode(told(state)))


def in_flight(files: Files, service: str) -> str:
    """Return the id of the rollout that has not ended, or nothing."""
    document = read_rollout(files, service)
    return "" if document is None or document["state"] in ENDED else str(document["rollout"])


class Swaps(msgspec.Struct, frozen=True, kw_only=True):
    """Every change of the version at 100 %, what served before, and what was taken back."""

    at: dict[str, str] = {}
    """Event time by the key of the command, so that a repeated one counts once."""
    rejected: tuple[str, ...] = ()
    served: tuple[WantedVersion, ...] = ()
    """Versions that were at 100 % before the one that is now, oldest first: the way back."""

    def former(
        self, serving: str, there: Callable[[Digest], bool] = lambda _: True
    ) -> WantedVersion | None:
        """Return the last healthy version before this one, or None.

        It served before, was not taken back, and can be started.

        Args:
            serving: The version at 100 %.
            there: Whether an artifact is still in the store: an erasure may have removed it.

        Examples:
            >>> Swaps().former("v1") is None
            True
        """
        gone = {serving, *self.rejected}
        left = (one for one in reversed(self.served) if one.version not in gone)
        return next((one for one in left if there(one.artifact)), None)

    def after_promotion(self, version: str, replaced: WantedVersion | None) -> "Swaps":
        """Return the swaps after one version won against another; twice is once."""
        gone = {version, replaced.version if replaced else ""}
        kept = tuple(one for one in self.served if one.version not in gone)
        served = (*kept, replaced) if replaced else kept
        return msgspec.structs.replace(self, served=served[-_MOST_SERVED:])

    def after_way_back(self, to: str, left: str, *, rejects: bool = True) -> "Swaps":
        """Return the swaps after a version was taken back; twice is once."""
        names = [one.version for one in self.served]
        served = self.served[: names.index(to)] if to in names else self.served
        rejected = tuple(sorted({*self.rejected, *([left] if rejects else [])}))
        return msgspec.structs.replace(self, served=served, rejected=rejected)

    def times(self) -> tuple[datetime, ...]:
        """Return the event times, ascending."""
        return tuple(sorted(parse_time(text) for text in self.at.values()))


def read_swaps(files: Files, service: str) -> Swaps:
    """Return the service's swaps.

    Raises:
        BackendError: The file is damaged.
    """
    content = files.read(_swaps_path(service))
    if content is None:
        return Swaps()
    try:
        return msgspec.json.decode(content, type=Swaps)
    except msgspec.MsgspecError as error:
        raise BackendError(
            f"cannot be read: {error}",
            where=_swaps_path(service),
            hint="remove the file; the limit on swaps begins anew.",
        ) from error


def write_swaps(files: Files, service: str, swaps: Swaps) -> None:
    """Replace what is kept of the service's swaps."""
    files.write(_swaps_path(service), msgspec.json.encode(swaps))


def forgive(files: Files, service: str, version: str) -> None:
    """Let a version be tried again that was taken back."""
    swaps = read_swaps(files, service)
    kept = tuple(one for one in swaps.rejected if one != version)
    write_swaps(files, service, msgspec.structs.replace(swaps, rejected=kept))


def _swaps_path(service: str) -> str:
    return f"services/{service}/swaps.json"


def still_shown(state: RolloutState, shares: Mapping[str, int]) -> bool:
    """Return whether viewers get items of the candidate, or will: it was not taken back."""
    to = {version_of(label) for label, bp in shares.items() if bp}
    return state.candidate in to or state.phase not in {"rolling_back", "rolled_back"}


def beside(state: RolloutState, label: str, known: Mapping[str, WantedVersion]) -> str:
    """Return the artifact of the version that a label's lists are interleaved with."""
    stable = known.get(state.stable or "")
    drafts = label == interleaved_label(state.candidate)
    return str(stable.artifact) if drafts and stable is not None else ""
