"""How each gate's evidence grew in the newest rollout: a few points, for those who ask.

Kept beside the rollout's document and not in the durable steps, where each look would keep
all of it again.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from mlg.core.clock import rfc3339
from mlg.core.ports import Files
from mlg.release.rollout_types import ENDED, RolloutState
from mlg.release.verdicts import GateResult

MOST_POINTS: Final = 100
"""Points of one gate; of more, every second of the older half goes."""


_UNJUDGED: Final = frozenset(("pending", "staging", "warming", "rolling_back", *ENDED))


class EvidencePoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate said at one look."""

    at: str
    """Event time, RFC 3339."""
    share_bp: int
    n: int
    e_value: float
    bound: float
    verdict: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The looks of one rollout, thinned."""

    rollout: str
    gates: dict[str, tuple[EvidencePoint, ...]] = {}


def grown(points: tuple[EvidencePoint, ...], point: EvidencePoint) -> tuple[EvidencePoint, ...]:
    """Return the points with a new one, if it tells more than the last did.

    It does when the verdict or the share is another one, or the observations grew by a
    tenth: so the points lie evenly over the logarithm of the observations.

    Examples:
        >>> one = EvidencePoint(at="", share_bp=50, n=100, e_value=1, bound=9, verdict="PASS")
        >>> more = msgspec.structs.replace(one, n=109)
        >>> len(grown((one,), more)), len(grown((one,), msgspec.structs.replace(one, n=110)))
        (1, 2)
    """
    if points:
        last = points[-1]
        same = (last.verdict, last.share_bp) == (point.verdict, point.share_bp)
        if same and last.n <= point.n and point.n * 10 < max(last.n * 11, 10 * (last.n + 1)):
            return points
    points = (*points, point)
    if len(points) <= MOST_POINTS:
        return points
    half = MOST_POINTS // 2
    return (*points[:half:2], *points[half:])


def read_evidence(files: Files, service: str, rollout: str) -> Evidence:
    """Return what was kept of a rollout; of a damaged file, or of another rollout, nothing."""
    content = files.read(_path(service))
    try:
        found = msgspec.json.decode(content, type=Evidence) if content else None
    except msgspec.MsgspecError:
        found = None  # it only tells what was; a rollout must not end for it
    return found if found and found.rollout == rollout else Evidence(rollout=rollout)


def keep_evidence(
    files: Files, state: RolloutState, gates: Sequence[GateResult], at: datetime
) -> None:
    """Keep what the gates said at one look, where it tells more than the last point."""
    if not gates or state.phase in _UNJUDGED:
        return
    before = read_evidence(files, state.service, state.id)
    kept = dict(before.gates)
    for gate in gates:
        point = EvidencePoint(
            at=rfc3339(at),
            share_bp=state.share_bp,
            n=gate.n,
            e_value=gate.e_value,
            bound=gate.bound,
            verdict=gate.verdict,
        )
        kept[gate.name] = grown(kept.get(gate.name, ()), point)
    if kept != before.gates:
        files.write(
            _path(state.service), msgspec.json.encode(Evidence(rollout=state.id, gates=kept))
        )


def _path(service: str) -> str:
    return f"services/{service}/evidence.json"
