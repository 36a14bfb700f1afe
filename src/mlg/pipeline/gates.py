"""What an evaluation must show before a model may go on."""

from collections.abc import Mapping
from typing import Final

from mlg.core.errors import ManifestError
from mlg.core.nodes import Attr
from mlg.core.traffic import FULL_BP
from mlg.manifest.specs_pipelines import GateSpec
from mlg.recsys.results import Evaluation, GateVerdict, judge

_LENGTHS: Final = (10, 50)
_LATER: Final = frozenset({"production", "anchor"})
"""References that exist only once something serves; a gate waits for them."""


def list_lengths(gates: Mapping[str, GateSpec]) -> tuple[int, ...]:
    """Return the lengths to measure at: 10, 50, and those that gates name.

    Examples:
        >>> list_lengths({"ndcg@20": GateSpec(min=0.1), "ece": GateSpec(max=0.1)})
        (10, 20, 50)
    """
    named = {int(metric.partition("@")[2]) for metric in gates if "@" in metric}
    return tuple(sorted({*_LENGTHS, *named}))


def gate_facts(
    evaluation: Evaluation, gates: Mapping[str, GateSpec], model: str
) -> tuple[bool, tuple[tuple[str, Attr], ...]]:
    """Return whether every gate is kept, and each verdict as `gate.<metric>.<against>`.

    A gate against `production` or `anchor` says so and holds nobody up while there is none.

    Raises:
        ManifestError: A gate names a metric or reference that was not measured.
    """
    passed = True
    facts: list[tuple[str, Attr]] = []
    for metric, gate in gates.items():
        compared = (
            *(("better_than", one, 0) for one in gate.better_than or ()),
            *(("not_worse_than", one, gate.margin_bp) for one in gate.not_worse_than or ()),
        )
        for rule, reference, margin_bp in compared:
            name = f"gate.{metric}.{rule}.{reference}"
            if reference in _LATER and reference not in evaluation.scored:
                facts.append((name, f"no {reference} yet"))
                continue
            verdict = judge(
                evaluation, model, reference, metric, rule=rule, margin=margin_bp / FULL_BP
            )
            passed = passed and verdict.passed
            facts.append((name, _words(verdict)))
        if gate.min is not None or gate.max is not None:
            kept, words = _bounds(evaluation, metric, gate, model)
            passed = passed and kept
            facts.append((f"gate.{metric}.bounds", words))
    return passed, tuple(facts)


def _words(verdict: GateVerdict) -> str:
    found = verdict.difference
    return (
        f"{'PASS' if verdict.passed else 'FAIL'}: {verdict.value:.4f} against "
        f"{verdict.reference_value:.4f}, difference {found.value:+.4f} "
        f"[{found.low:+.4f}, {found.high:+.4f}], must be above {verdict.bound:+.4f}"
    )


def _bounds(
    evaluation: Evaluation, metric: str, gate: GateSpec, model: str
) -> tuple[bool, str]:
    figures = evaluation.results[model]["all"]
    if metric not in figures:
        raise ManifestError(
            f"metric {metric!r} was not measured",
            where="gates",
            hint=f"measured: {', '.join(sorted(figures))}.",
        )
    value = figures[metric].value
    low = gate.min if gate.min is not None else float("-inf")
    high = gate.max if gate.max is not None else float("inf")
    kept = low <= value <= high  # false for NaN: what could not be measured does not pass
    return kept, f"{'PASS' if kept else 'FAIL'}: {value:.4f}, must be {low:g} to {high:g}"
