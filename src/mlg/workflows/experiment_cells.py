"""What an experiment's split makes of what is wanted: cells and holdout are layers."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain

import msgspec

from mlg.core.traffic import FULL_BP, HOLDOUT, Share, TrafficSplit, version_of
from mlg.release.experiment_types import ExperimentPlan, cell_of
from mlg.workflows.state import WantedVersion


def cells_started(
    wanted: Sequence[WantedVersion],
    labels: Iterable[str],
    versions: Mapping[str, WantedVersion],
) -> tuple[WantedVersion, ...]:
    """Return what is wanted with replicas of these labels, without traffic."""
    known = {one.version for one in wanted}
    new = (_of(label, versions) for label in dict.fromkeys(labels) if label not in known)
    return (*wanted, *new)


def cells_set(
    wanted: Sequence[WantedVersion],
    plan: ExperimentPlan,
    shares: Iterable[Share],
    versions: Mapping[str, WantedVersion],
) -> tuple[WantedVersion, ...]:
    """Return what is wanted with an experiment's split in force.

    A layer that it does not name ends: of a cell that was stopped, of a holdout that the plan
    has no more. The gateway keeps their replicas until the new split is in force. Each cell
    keeps its places of the hash while others end, so nobody moves from cell to cell.

    Args:
        wanted: What was wanted.
        plan: The experiment's.
        shares: As `experiment_shares` has them.
        versions: Artifact and deployment of each version.
    """
    layered = {share.version: share.bp for share in shares if share.version != plan.control}
    salts = {label: _salt(label) for label in layered}
    begins = _begins(plan)
    own = [one for one in wanted if not one.layer and one.version not in layered]
    there = {one.version: one for one in wanted}
    moved = (
        msgspec.structs.replace(
            there.get(label) or _of(label, versions),
            bp=bp,
            layer=salts[label],
            begin=begins.get(label),
        )
        for label, bp in layered.items()
    )
    return tuple(chain(own, moved))


def cells_retired(
    wanted: Iterable[WantedVersion], labels: Iterable[str]
) -> tuple[WantedVersion, ...]:
    """Return what is wanted without these labels."""
    gone = set(labels)
    return tuple(one for one in wanted if one.version not in gone)


def shares_shown(split: TrafficSplit | None) -> tuple[Share, ...]:
    """Return a split as an experiment speaks of it: parts of 10,000, the control has the rest.

    Empty while a rollout divides what is in no layer.

    Examples:
        >>> from mlg.core.traffic import Layer
        >>> cell = Layer(salt="rows", shares=(Share(version="v2~rows.A", bp=500),))
        >>> whole = (Share(version="v1", bp=10_000),)
        >>> split = TrafficSplit(service="home", shares=whole, layers=(cell,))
        >>> [(share.version, share.bp) for share in shares_shown(split)]
        [('v1', 9500), ('v2~rows.A', 500)]
    """
    if split is None:
        return ()
    whole = [share for share in split.shares if share.bp == FULL_BP]
    if not whole:
        return ()
    layered = [share for layer in split.layers for share in layer.shares]
    left = FULL_BP - sum(share.bp for share in layered)
    return tuple(sorted([Share(version=whole[0].version, bp=left), *layered]))


def _begins(plan: ExperimentPlan) -> dict[str, int]:
    """Return the place of the hash at which each cell's part begins, those of ended ones too.

    In the order of the labels, in which cells without places lie one after the other.
    """
    sizes = sorted((cell.label(plan.name), cell.share_bp) for cell in plan.cells)
    ends = accumulate((bp for _, bp in sizes), initial=0)
    return {label: begin for (label, _), begin in zip(sizes, ends, strict=False)}


def _salt(label: str) -> str:
    found = cell_of(label)
    return found[0] if found else HOLDOUT


def _of(label: str, versions: Mapping[str, WantedVersion]) -> WantedVersion:
    return msgspec.structs.replace(versions[version_of(label)], version=label, bp=0, layer="")
