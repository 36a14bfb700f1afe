"""Whether a version's replica stays within its memory while it is tested."""

from mlg.core.nodes import Attr
from mlg.release.staging import TestResult, failed_to_run

_MIB = 1024 * 1024


def judge_memory(peak_bytes: int | None, budget_bytes: int | None) -> TestResult:
    """Return whether the most that a replica held is within its budget.

    Args:
        peak_bytes: Largest proportional set size that was seen of its processes; None: it
            could not be measured, which is an ERROR.
        budget_bytes: What it may hold; None says so, and stops nothing.

    Examples:
        >>> judge_memory(2**30, 2**30).verdict, judge_memory(2**30 + 1, 2**30).verdict
        ('PASS', 'FAIL')
    """
    if peak_bytes is None:
        return failed_to_run("memory", "what its replica holds could not be measured")
    facts: tuple[tuple[str, Attr], ...] = (
        ("peak_bytes", peak_bytes),
        ("budget_bytes", budget_bytes),
    )
    held = f"{peak_bytes / _MIB:.0f} MiB at the most"
    if budget_bytes is None:
        return TestResult(
            name="memory",
            verdict="INCONCLUSIVE",
            reason=f"{held}; no budget is declared",
            facts=facts,
            blocks=False,
        )
    may = f"{budget_bytes / _MIB:.0f} MiB may be"
    if peak_bytes > budget_bytes:
        return TestResult(name="memory", verdict="FAIL", reason=f"{held}, {may}", facts=facts)
    return TestResult(name="memory", verdict="PASS", reason=f"{held}, {may}", facts=facts)
