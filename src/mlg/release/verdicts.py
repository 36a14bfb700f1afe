"""What one gate says of a candidate: the verdict, its evidence, and a sentence."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mlg.core.measure import Verdict

LARGEST_E: Final = 1e300
"""E-values above are cut here: JSON knows no infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate's verdict, as `rollout status` shows it."""

    name: str
    verdict: Verdict
    e_value: float = 1.0
    """Evidence against the candidate; 1 is none."""
    bound: float = 0.0
    """The evidence at which the verdict is FAIL: 1 / the gate's part of alpha."""
    n: int = 0
    """Observations of the candidate behind the verdict."""
    reason: str = ""
    engagement: bool = False
    """It reads what viewers do, not what the software does."""
    events: float = -1.0
    """Of `n` those that count against the candidate, or what they add up to; below 0: not
    counted."""
    control_events: float = 0.0
    control_n: int = 0
    """Observations that it was compared with; 0: with none."""
    margin: float = 0.0
    """What a PASS still accepts; 0: not known."""
    supported: bool = True
    """False: so few viewers come that the gate cannot come to a verdict in its time."""


def named(results: Iterable[GateResult]) -> str:
    """Return gates with their verdicts and reasons, in words.

    Examples:
        >>> named((GateResult(name="ctr", verdict="INCONCLUSIVE", reason="12 of 900 viewers"),))
        'ctr INCONCLUSIVE (12 of 900 viewers)'
    """
    return "; ".join(
        f"{r.name} {r.verdict}" + (f" ({r.reason})" if r.reason else "") for r in results
    )


def percent(bp: int) -> str:
    """Return basis points as a percentage.

    Examples:
        >>> percent(50), percent(2_500)
        ('0.5 %', '25 %')
    """
    return f"{bp / 100:g} %"
