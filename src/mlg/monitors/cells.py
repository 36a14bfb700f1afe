"""Who came to each arm of an experiment since its split last changed, and who was slow.

Beside the tally of the whole run (`monitors.arms.Stage`): shares that a ratio is checked
against, and arms of a size that slow moments are counted by, hold for one split only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlg.core.traffic import version_of
from mlg.monitors.arms import finite, received
from mlg.monitors.slow import Limit, Slower
from mlg.monitors.units import Firsts, Units, unit_of


class SplitTally:
    """Viewers and units by arm over one split; feed it every record once or more.

    Args:
        control: Label of the control's arm.
        control_bp: Its share.
        cells: Share of each cell that is open, by label.
        limits: What is slow, one a gate; the same for every cell.
        firsts: Per cell and gate the units that were slow in an earlier split already.

    Examples:
        >>> tally = SplitTally("v1", 9_000, {"v2~rows.A": 1_000}, (), {})
        >>> row = {"prediction_id": "p", "arm": "v2~rows.A", "viewer": "u", "session": "s"}
        >>> tally.add([row, row])
        >>> len(tally.viewers["v2~rows.A"]), tally.units["v2~rows.A"].total
        (1, 1)
    """

    def __init__(
        self,
        control: str,
        control_bp: int,
        cells: Mapping[str, int],
        limits: Iterable[Limit],
        firsts: dict[str, dict[str, Firsts]],
    ) -> None:
        self._control = control
        shared = tuple(limits)
        self.slower = {
            label: Slower(
                shared,
                firsts.setdefault(label, {}),
                part=min(1.0, control_bp / bp),
                control_part=min(1.0, bp / control_bp),
            )
            for label, bp in cells.items()
        }
        """Slow moments of each cell beside the control."""
        self.viewers: dict[str, set[str]] = {}
        self.units: dict[str, Units] = {}
        """Sticky units, marked at first sight with the gates for which they were slow."""

    def add(self, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Count decoded rows of the prediction log."""
        for row in predictions:
            self._answer(row)

    def _answer(self, row: Mapping[str, Any]) -> None:
        prediction = str(row.get("prediction_id") or "")
        arm = str(row.get("arm") or row.get("model_version") or "")
        if not prediction or (arm != self._control and arm not in self.slower):
            return
        session = str(row.get("session") or prediction)
        self.viewers.setdefault(arm, set()).add(str(row.get("viewer") or session))
        unit, marks = unit_of(session), list[str]()
        latency = finite(row.get("latency_ms"))
        own = str(row.get("model_version") or "") == version_of(arm)
        listed = row.get("served_by") == "fallback" and row.get("reason") != "abstain"
        if own and not listed and latency is not None:
            at, control = received(row), arm == self._control
            for label in self.slower if control else (arm,):
                marks = self.slower[label].see(unit, latency, at, control=control)
        self.units.setdefault(arm, Units()).see(unit, tuple(marks))
