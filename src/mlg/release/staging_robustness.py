"""What becomes of a version's answers when a field of the request is missing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mlg.core.nodes import Attr
from mlg.core.predict import Key
from mlg.release.staging import Answer, TestResult, fault_of
from mlg.release.staging_compare import overlap

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """One request asked whole, and without one of its fields."""

    field: str
    """`viewer.gender`, `history`, `user_id`."""
    whole: Answer
    without: Answer


def judge_robustness(
    dropped: Sequence[Dropped],
    *,
    version: str,
    known: Callable[[Key], bool],
    min_overlap: float = 0.0,
) -> TestResult:
    """Return whether a version answers well when fields of the requests are missing.

    Every answer must keep the contract; the items that it shares with the answer to the
    whole request, averaged over the requests of a field, must not be below `min_overlap`.

    Args:
        dropped: What was asked. Nothing (requests without optional fields) is
            INCONCLUSIVE, and stops nothing.
        version: The version under test.
        known: Whether an item is in the catalogue.
        min_overlap: Least mean share of the items, for each field.
    """
    fields = sorted({one.field for one in dropped})
    if not fields:
        reason = "the recorded requests have no field that may be missing"
        return TestResult(
            name="robustness", verdict="INCONCLUSIVE", reason=reason, blocks=False
        )
    facts: list[tuple[str, Attr]] = [("answers", len(dropped)), ("fields", len(fields))]
    broken: list[str] = []
    means: dict[str, float] = {}
    for field in fields:
        mine = [one for one in dropped if one.field == field]
        faults = [f for one in mine if (f := fault_of(one.without, version, known))]
        shared = [overlap(o.whole, o.without) for o in mine if o.without.status == 200]
        means[field] = sum(shared) / len(mine)
        facts.append((f"overlap.{field}", means[field]))
        if faults:
            worst = max(sorted(set(faults)), key=faults.count)
            broken.append(f"without {field} {len(faults)} of {len(mine)} break it: {worst}")
        elif means[field] < min_overlap:
            words = f"overlap {means[field]:.2f}, {min_overlap:.2f} must be"
            broken.append(f"without {field} {words}")
    if broken:
        more = [f"{len(broken) - _SHOWN} more"] if len(broken) > _SHOWN else []
        reason = "; ".join([*broken[:_SHOWN], *more])
        return TestResult(name="robustness", verdict="FAIL", reason=reason, facts=tuple(facts))
    least = min(means, key=lambda field: (means[field], field))
    words = f"the most changes without {least} (overlap {means[least]:.2f})"
    reason = f"{len(dropped)} answers without one of {len(fields)} fields keep it; {words}"
    return TestResult(name="robustness", verdict="PASS", reason=reason, facts=tuple(facts))
