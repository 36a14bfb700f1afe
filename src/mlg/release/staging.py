"""The battery that a version must pass before it sees a viewer: judging what was observed.

Nothing here asks a replica anything: the workflow asks, and hands in answers as values. A
test that could not be done, or that hung, is an ERROR, and an ERROR does not pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, isclose, isfinite
from typing import Final

from mlg.core.measure import Verdict
from mlg.core.nodes import Attr
from mlg.core.predict import Key

GOLDEN_REL: Final = 1e-9
"""How far, relatively, a score may lie from the recorded one."""
_LEAST_FOR_P99: Final = 100
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of the version under test, as it came."""

    status: int
    """HTTP status; 0 when there was no answer."""
    items: tuple[Key, ...] = ()
    scores: tuple[float, ...] = ()
    confidence: float | None = None
    served_by: str = ""
    version: str = ""
    prediction_id: str = ""
    k: int = 10
    """How many items were asked for."""
    fault: str = ""
    """What the replica says was wrong with an answer that it withheld: `nan`, `length`, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBudget:
    """What a version must bear at the traffic that is expected."""

    p99_ms: float
    errors: float
    """Largest share of failed requests."""
    rate_hz: float
    """Requests a second that were to be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What one test of the battery found."""

    __test__ = False  # not one of pytest's

    name: str
    verdict: Verdict
    reason: str
    facts: tuple[tuple[str, Attr], ...] = ()
    blocks: bool = True
    """Whether anything but PASS stops the version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingReport:
    """What the whole battery says."""

    verdict: Verdict
    reason: str
    results: tuple[TestResult, ...]
    cut: bool = False
    """The window closed before every test had its result."""
    document: str = ""
    """Digest of the report as a page; empty: none was kept."""
    about: tuple[tuple[str, Attr], ...] = ()
    """When it ran, and what it waited for."""

    @property
    def figures(self) -> dict[str, Attr]:
        """Every figure for the graph: `figure.load.p99_ms`, the page's digest, when it ran."""
        found: dict[str, Attr] = {
            f"figure.{one.name}.{key}": value
            for one in self.results
            for key, value in one.facts
        }
        found |= {f"staging.{key}": value for key, value in self.about}
        return {**found, "report": self.document} if self.document else found


def report(
    asked: Sequence[str], results: Sequence[TestResult], *, cut: bool = False
) -> StagingReport:
    """Return the battery's verdict: FAIL before ERROR before INCONCLUSIVE before PASS.

    Args:
        asked: Tests that the manifest names; one without a result is an ERROR.
        results: What was found, one a test.
        cut: Whether the window closed on it. What was not run is INCONCLUSIVE then, so such
            a battery never passes, and one that failed already has failed.

    Examples:
        >>> report(["contract"], []).reason
        'contract ERROR: it was not run'
    """
    found = {result.name: result for result in results}
    not_run = cut_off if cut else failed_to_run
    words = "the window closed" if cut else "it was not run"
    whole = tuple(found.get(name) or not_run(name, words) for name in asked)
    odd = [r for r in whole if r.verdict != "PASS"]
    stopping = [r for r in odd if r.blocks]
    words = "; ".join(f"{r.name} {r.verdict}: {r.reason}" for r in odd)
    passed = ", ".join(r.name for r in whole if r.verdict == "PASS")
    ranked: tuple[Verdict, ...] = ("FAIL", "ERROR", "INCONCLUSIVE")
    verdict: Verdict = "PASS"
    for word in reversed(ranked):
        verdict = word if any(r.verdict == word for r in stopping) else verdict
    if verdict == "PASS":
        words = f"{passed or 'no test'} PASS" + (f"; {words}" if words else "")
    return StagingReport(verdict=verdict, reason=words, results=whole, cut=cut)


def failed_to_run(name: str, reason: str) -> TestResult:
    """Return the result of a test that hung or could not be done."""
    return TestResult(name=name, verdict="ERROR", reason=reason)


def cut_off(name: str, reason: str) -> TestResult:
    """Return the result of a test for which no time was left; it does not pass."""
    return TestResult(name=name, verdict="INCONCLUSIVE", reason=reason)


def judge_contract(
    answers: Sequence[Answer], *, version: str, known: Callable[[Key], bool], at_least: int = 1
) -> TestResult:
    """Return whether every answer keeps the serving contract.

    Status 200, as many items as scores, at least `at_least` and at most k of them, none
    twice, all in the catalogue, finite scores, a confidence in 0..1, an id, and the version
    under test; an abstention (`served_by: fallback`) is an answer too.

    Args:
        answers: What came; none is an ERROR.
        version: The version under test.
        known: Whether an item is in the catalogue.
        at_least: Items that the catalogue can surely fill.
    """
    if not answers:
        return failed_to_run("contract", "there was no answer to judge")
    broken = [fault for a in answers if (fault := fault_of(a, version, known, at_least))]
    facts = (("answers", len(answers)), ("broken", len(broken)))
    if not broken:
        reason = f"{len(answers)} answers keep the contract"
        return TestResult(name="contract", verdict="PASS", reason=reason, facts=facts)
    kinds = sorted(set(broken), key=lambda fault: (-broken.count(fault), fault))
    words = ", ".join(f"{kind} ({broken.count(kind)})" for kind in kinds[:_SHOWN])
    reason = f"{len(broken)} of {len(answers)} answers break it: {words}"
    return TestResult(name="contract", verdict="FAIL", reason=reason, facts=facts)


def judge_golden(
    recorded: Sequence[Answer], answers: Sequence[Answer], *, rel: float = GOLDEN_REL
) -> TestResult:
    """Return whether recorded requests get their recorded answers again.

    The same items in the same order; scores within `rel` of the recorded ones.

    Args:
        recorded: What the version answered when it was packaged.
        answers: What it answers now, in the same order; another number is an ERROR.
        rel: Relative tolerance; below 1 in size it is taken as absolute.
    """
    if not recorded or len(recorded) != len(answers):
        reason = f"{len(answers)} answers to {len(recorded)} recorded requests"
        return failed_to_run("golden", reason)
    different: list[int] = []
    worst = 0.0
    for n, (then, now) in enumerate(zip(recorded, answers, strict=True)):
        same = now.status == 200 and then.items == now.items
        pairs = list(zip(then.scores, now.scores, strict=False))
        close = len(then.scores) == len(now.scores) and all(
            isclose(a, b, rel_tol=rel, abs_tol=rel) for a, b in pairs
        )
        gaps = (abs(a - b) / max(1.0, abs(a)) for a, b in pairs)
        worst = max([worst, *(gap for gap in gaps if isfinite(gap))])
        if not same or not close:
            different.append(n)
    facts = (("answers", len(answers)), ("different", len(different)), ("worst", worst))
    if not different:
        reason = f"{len(answers)} recorded answers came again"
        return TestResult(name="golden", verdict="PASS", reason=reason, facts=facts)
    shown = ", ".join(f"#{n}" for n in different[:_SHOWN])
    reason = f"{len(different)} of {len(answers)} recorded answers differ: {shown}"
    return TestResult(name="golden", verdict="FAIL", reason=reason, facts=facts)


def judge_recorded(recorded: Sequence[Answer], answers: Sequence[Answer]) -> TestResult:
    """Return whether the model answers as it did when it was packaged.

    What the popularity list answered (an abstention) says nothing about the model and is
    left out; when nothing is left, that is INCONCLUSIVE and stops nothing.

    Args:
        recorded: The model's own answers, without abstention.
        answers: What the version answers now, in the same order.
    """
    pairs = [
        (then, now)
        for then, now in zip(recorded, answers, strict=True)
        if now.status != 200 or now.served_by == "model"
    ]
    left = len(answers) - len(pairs)
    if answers and not pairs:
        reason = f"the popularity list gave all {left} answers"
        return TestResult(name="golden", verdict="INCONCLUSIVE", reason=reason, blocks=False)
    judged = judge_golden([then for then, _ in pairs], [now for _, now in pairs])
    words = f"; {left} more came from the popularity list" if left else ""
    return replace(
        judged, reason=judged.reason + words, facts=(*judged.facts, ("from_list", left))
    )


def judge_load(
    latencies_ms: Sequence[float], *, failed: int, seconds: float, budget: LoadBudget
) -> TestResult:
    """Return whether latency and errors stay in their budgets at the expected traffic.

    Args:
        latencies_ms: Of every request that was answered, from when it was due.
        failed: Requests that were not answered well.
        seconds: How long it took.
        budget: What must hold. Less than 90 % of its rate, or fewer than 100 requests, is
            an ERROR: the version was not tested.
    """
    total = len(latencies_ms) + failed
    rate_hz = total / seconds if seconds > 0 else 0.0
    if total < _LEAST_FOR_P99 or rate_hz < 0.9 * budget.rate_hz:
        reason = f"{total} requests at {rate_hz:.0f}/s do not test {budget.rate_hz:g}/s"
        return failed_to_run("load", reason)
    share = failed / total
    p99_ms = _quantile(latencies_ms, 0.99)
    facts = (
        ("requests", total),
        ("rate_hz", rate_hz),
        ("failed", failed),
        ("p50_ms", _quantile(latencies_ms, 0.5)),
        ("p99_ms", p99_ms),
        ("p99_budget_ms", budget.p99_ms),
    )
    over: list[str] = []
    if share > budget.errors:
        over.append(f"{share:.2%} failed, {budget.errors:.2%} may")
    if p99_ms is None or p99_ms > budget.p99_ms:
        words = "no answer" if p99_ms is None else f"p99 {p99_ms:.1f} ms"
        over.append(f"{words}, {budget.p99_ms:g} ms may be")
    if over:
        return TestResult(name="load", verdict="FAIL", reason="; ".join(over), facts=facts)
    reason = f"{total} requests at {rate_hz:.0f}/s: p99 {p99_ms:.1f} ms, {failed} failed"
    return TestResult(name="load", verdict="PASS", reason=reason, facts=facts)


def fault_of(
    answer: Answer, version: str, known: Callable[[Key], bool], at_least: int = 1
) -> str:
    """Return how an answer breaks the serving contract, or nothing; see `judge_contract`."""
    confidence = answer.confidence
    found = {
        " ".join(filter(None, (f"status {answer.status}", answer.fault))): answer.status != 200,
        "length": len(answer.items) != len(answer.scores)
        or not at_least <= len(answer.items) <= answer.k,
        "duplicate": len(set(answer.items)) != len(answer.items),
        "score not finite": not all(map(isfinite, answer.scores)),
        "unknown item": not all(map(known, answer.items)),
        "confidence": confidence is None or not 0.0 <= confidence <= 1.0,
        "no prediction id": not answer.prediction_id,
        "another version": answer.version != version,
        "served by": answer.served_by not in {"model", "fallback"},
    }
    return next((name for name, wrong in found.items() if wrong), "")


def _quantile(values: Sequence[float], q: float) -> float | None:
    """Return the nearest-rank quantile; None of nothing."""
    return sorted(values)[ceil(q * len(values)) - 1] if values else None
