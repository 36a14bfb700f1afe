"""What an alert is called: one kind for each part of an incident that a rule may name."""

from dataclasses import replace
from typing import Final

from mlg.monitors.alert import Incident
from mlg.monitors.evaluate import QUALITY, Signal
from mlg.monitors.group_quality import measured
from mlg.monitors.windows import REQUESTS

INPUT_DRIFT: Final = "input_drift"
_OF_FEATURE: Final[dict[str, tuple[str, str]]] = {
    "raw_confidence": ("confidence_drop", "confidence_rise"),
    "hit_rate": ("quality_drop", "quality_rise"),
    "watch_through": ("quality_drop", "quality_rise"),
    "hit_rate_gap": ("quality_gap_drop", "quality_gap_rise"),
    "calibration": ("miscalibration", "miscalibration"),
    "served_by": ("answer_shift", "answer_shift"),
}
"""Kind of a fall, and of a rise."""

KINDS: Final = tuple(
    sorted(
        {INPUT_DRIFT, "feature_drift", *(one for both in _OF_FEATURE.values() for one in both)}
    )
)
"""Every kind that a monitor may open."""


def kind_of(signal: Signal) -> str:
    """Return the kind of one signal.

    `confidence_drop`, `quality_drop` and their rises, `miscalibration`, of all answers or of a
    group; `quality_gap_rise` when groups move apart; `answer_shift` (who answers),
    `input_drift` for what came in the request, `feature_drift` for what the model made of it.
    """
    of_group = signal.stream.startswith(QUALITY)
    found = _OF_FEATURE.get(measured(signal.metric) if of_group else signal.feature)
    if found is not None:
        return found[0] if signal.effect < 0 else found[1]
    return INPUT_DRIFT if signal.stream == REQUESTS else "feature_drift"


def by_kind(incident: Incident) -> dict[str, Incident]:
    """Return the incident once for each kind, with that kind's signals; input drift first.

    Rules on a fall of confidence ask whether the input drifts, so that must be known before.
    """
    parts: dict[str, dict[str, Signal]] = {}
    for name, signal in incident.signals.items():
        parts.setdefault(kind_of(signal), {})[name] = signal
    order = sorted(parts, key=lambda kind: (kind != INPUT_DRIFT, kind))
    return {kind: replace(incident, signals=parts[kind]) for kind in order}


def drop(signal: Signal) -> float:
    """Return the fall of the value as a share of the usual, negative for a rise; 0 at zero."""
    return (signal.usual - signal.now) / abs(signal.usual) if signal.usual else 0.0
