"""The words of what a rollout's transition rests on and did."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Told = Mapping[str, Any]
"""Attributes of one node."""


def _gate_verdict(facts: Told) -> str:
    words = [
        f"{facts['gate']} said {facts['verdict']} at {float(facts['share_bp']) / 100:g} %: "
        f"evidence {float(facts['e_value']):.3g} where {float(facts['bound']):.3g} fails, of "
        f"{facts['n']} observations"
    ]
    if "events" in facts:
        words.append(f", {float(facts['events']):g} of them against it")
    if "control_n" in facts:
        words.append(f", control {float(facts['control_events']):g} of {facts['control_n']}")
    return "".join(words) + _because(facts)


def _swap(facts: Told) -> str:
    before = f"from {facts['from']} " if facts.get("from") else ""
    told = " (a way back is never held up)" if facts["reversal"] else ""
    return (
        f"all traffic went {before}to {facts['to']}, swap {facts['number_in_hour']} of its "
        f"hour, of at most {facts['swaps_per_hour']}{told}{_because(facts)}"
    )


def _rollback(facts: Told) -> str:
    return f"the traffic went back from {facts['from']} to {facts['to']}{_because(facts)}"


def _because(facts: Told) -> str:
    return f", because {facts['reason']}" if facts.get("reason") else ""


OF_STEP: Final[dict[str, Callable[[Told], str]]] = {
    "gate_verdict": _gate_verdict,
    "swap": _swap,
    "rollback": _rollback,
}
"""Words by the kind of what was asked about."""
