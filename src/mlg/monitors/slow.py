"""In which moments more units of an arm were slow than of its control: latency's evidence.

A moment is a block of wall time, for whatever holds a process up makes many answers slow at
once. In each block the units are counted whose first slow answer came then, of as many units
of either arm, so that without a difference either arm wins a block by chance alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mlg.core.clock import parse_time
from mlg.core.measure import BLOCK_S
from mlg.monitors.units import Firsts, within


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """From where on an answer counts as slow for one gate."""

    gate: str
    candidate_ms: float
    control_ms: float


class Slower:
    """Counts first slow answers of an arm and its control, block by block.

    Args:
        limits: What is slow, one a gate.
        firsts: By gate the units that were slow already; kept by the caller over several of
            these, so that a unit counts once.
        part: Part of the arm's units that is as many as there are of the control, 0..1.
        control_part: The same of the control; one of the two is 1.

    Examples:
        >>> limit = Limit(gate="p99", candidate_ms=12.0, control_ms=10.0)
        >>> slower = Slower((limit,), {})
        >>> slower.see(1, 15.0, "2026-01-01T00:00:00Z", control=False)
        ['p99']
        >>> slower.see(2, 9.0, "2026-01-01T00:00:00Z", control=True), slower.counts("p99")
        ([], (1, 0))
    """

    def __init__(
        self,
        limits: Iterable[Limit],
        firsts: dict[str, Firsts],
        *,
        part: float = 1.0,
        control_part: float = 1.0,
    ) -> None:
        self._limits, self._firsts = tuple(limits), firsts
        self._parts = part, control_part
        self.blocks: dict[str, dict[int, list[int]]] = {}
        """By gate and block of wall time: units whose first slow answer came then, of the
        arm and of the control."""

    def see(self, unit: int, ms: float, at: str, *, control: bool) -> list[str]:
        """Count a unit's first slow answer; return the gates for which this one is slow.

        Args:
            unit: Its number.
            ms: How long the answer took.
            at: When it was received, RFC 3339; empty: it cannot be counted.
            control: Whether it is of the control.
        """
        found: list[str] = []
        for limit in self._limits:
            if ms < (limit.control_ms if control else limit.candidate_ms):
                continue
            found.append(limit.gate)
            firsts = self._firsts.setdefault(limit.gate, Firsts())
            if not within(unit, self._parts[control]) or not at:
                continue
            if firsts.first(unit):
                block = int(parse_time(at).timestamp()) // BLOCK_S
                blocks = self.blocks.setdefault(limit.gate, {})
                blocks.setdefault(block, [0, 0])[control] += 1
        return found

    def counts(self, gate: str) -> tuple[int, int]:
        """Return in how many blocks more units of the arm were slow, or of the control.

        A block directly after one that counted does not: what holds a process up may reach
        over its end.
        """
        worse, better, last = 0, 0, None
        for block, (arm, control) in sorted(self.blocks.get(gate, {}).items()):
            if arm == control or (last is not None and block == last + 1):
                continue
            worse, better = worse + (arm > control), better + (arm < control)
            last = block
        return worse, better
