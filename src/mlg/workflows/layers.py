"""What a rollout's split leaves of the layers beside it: the holdout stays, cells end."""

from collections.abc import Iterable, Mapping

import msgspec

from mlg.core.traffic import HOLDOUT, arm_of, version_of
from mlg.release.rollout_types import RolloutState
from mlg.workflows.state import WantedVersion


def split_anew(
    wanted: Iterable[WantedVersion], state: RolloutState, shares: Mapping[str, int]
) -> tuple[WantedVersion, ...]:
    """Return what is wanted after a rollout set the split.

    The holdout keeps its viewers. Its version goes only where a way back leaves that very
    version: then it is held on what the way back brings.

    Args:
        wanted: What was wanted, each label of `shares` included.
        state: The rollout.
        shares: Share by label; a label without one has none.
    """
    known = tuple(wanted)
    return tuple(_moved(item, known, state, shares) for item in known)


def _moved(
    item: WantedVersion,
    known: Iterable[WantedVersion],
    state: RolloutState,
    shares: Mapping[str, int],
) -> WantedVersion:
    if item.layer != HOLDOUT:
        bp = shares.get(item.version, 0)
        return msgspec.structs.replace(item, bp=bp, layer="")
    to = next((one for one in known if one.version == state.candidate), None)
    if not state.back or version_of(item.version) != state.stable or to is None:
        return item
    if not shares.get(state.candidate):
        return item
    label = arm_of(state.candidate, HOLDOUT)
    return msgspec.structs.replace(
        item, version=label, artifact=to.artifact, deployment=to.deployment
    )
