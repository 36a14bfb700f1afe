"""The confidence a viewer sees: the model's own, shrunk while its input drifts."""

from typing import Final

SHRINK: Final = 0.5
"""Share of the confidence that is taken away at drift severity 1.

A fixed, not yet fitted, value: at full severity an answer is trusted half as much.
"""


def shown_confidence(raw: float, drift_severity: float) -> float:
    r"""Return the confidence to show: :math:`c = r\,(1 - \lambda s)`.

    Rises with `raw`, falls with `drift_severity`, is never above `raw`, and equals it
    without drift. Monitors, restarts and recalibration read the raw value only:
    otherwise drift would lower confidence, which alarms, which restarts.

    Args:
        raw: The model's calibrated confidence, 0..1.
        drift_severity: The policy's drift severity, 0..1.

    Examples:
        >>> shown_confidence(0.4, 0.0), shown_confidence(0.4, 1.0)
        (0.4, 0.2)
    """
    return raw * (1.0 - SHRINK * drift_severity)
