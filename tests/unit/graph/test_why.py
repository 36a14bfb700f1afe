"""The paragraph of `mlg why`: one clause an event, causes first."""

from datetime import timedelta

import pytest

from mlg.core.clock import ManualClock
from mlg.core.events import EdgeFact, Event, StoredEvent
from mlg.core.uris import Uri
from mlg.graph import record_alerts, record_automations, record_rollouts, record_runs
from mlg.graph.record import Recorder, edge, run_uri
from mlg.graph.why import why


class Count:
    """Ids 1, 2, 3, …"""

    def __init__(self) -> None:
        self.n = 0

    def new_id(self) -> str:
        self.n += 1
        return f"{self.n:032d}"


@pytest.fixture
def by() -> Recorder:
    return Recorder(project="p", actor="workflow:x", clock=ManualClock(), ids=Count())


def log(*events: Event) -> list[StoredEvent]:
    return [
        StoredEvent(seq=n, event=event, prev_hash="", hash="")
        for n, event in enumerate(events, 1)
    ]


def a_promotion(by: Recorder) -> list[StoredEvent]:
    hook = record_automations.hook_accepted(
        by, key="hook:1", repository="org/movies", commit="ab" * 20,
        facts={"author": "Ada"}, runs={"ranker": "r1"},
    )  # fmt: skip
    run = record_runs.run_finished(
        by, key="run", pipeline="ranker", run_id="r1", seconds=1.0, facts={"verdict": "done"}
    )
    begun = record_rollouts.rollout_begun(
        by, key="begun", service="home", rollout_id="x", candidate="v2", stable="v1",
        triggered_by=run_uri(by, "ranker", "r1"),
    )  # fmt: skip
    moved = record_rollouts.rollout_moved(
        by, key="moved", service="home", rollout_id="x", number=3, before="canary",
        after="swapped", share_bp=10_000, reason="every gate held", by="mlg",
        gates={"errors": "PASS: 0 of 9", "ctr": "INCONCLUSIVE: 3 of 9"},
    )  # fmt: skip
    other = record_rollouts.rollout_begun(
        by, key="other", service="shop", rollout_id="y", candidate="w2", stable=None
    )
    return log(hook, run, begun, moved, other)


def test_a_promotion_is_told_from_the_commit_to_the_gates(by: Recorder) -> None:
    told = why(a_promotion(by), by.uri("rollout", "home", "x"))
    assert [(clause.seq, clause.event) for clause in told.clauses] == [
        (1, "hook:1"), (2, "run"), (3, "begun"), (4, "moved"),
    ]  # fmt: skip
    assert told.clauses[0].text == "Commit abababababab of org/movies by Ada came in"
    assert told.clauses[3].text == (
        "The rollout came to swapped at 100 %, because every gate held; "
        "gates: errors PASS; ctr INCONCLUSIVE: 3 of 9"
    )
    assert told.paragraph.endswith("ctr INCONCLUSIVE: 3 of 9 [4].")


def test_nothing_is_said_of_what_nobody_recorded(by: Recorder) -> None:
    told = why(a_promotion(by), by.uri("rollout", "home", "unknown"))
    assert (told.clauses, told.paragraph, told.truncated) == ([], "", False)


def test_a_circle_of_causes_ends(by: Recorder) -> None:
    first = by.event(
        "mlg.a.b", key="1", subject=by.uri("policy", "a"),
        edges=[edge_of(by, "a", "b"), edge_of(by, "b", "a")],
    )  # fmt: skip
    assert len(why(log(first), by.uri("policy", "b")).clauses) == 1


def test_only_the_newest_are_told_of_a_long_life(by: Recorder) -> None:
    subject = Uri(by.uri("policy", "a"))
    start = by.clock.now()
    events = [
        by.event("mlg.policy.changed", key=str(n), subject=subject, at=start + timedelta(n))
        for n in range(100)
    ]
    told = why(log(*events), subject)
    assert told.truncated
    assert told.clauses[-1].event == "99"


def edge_of(by: Recorder, src: str, dst: str) -> EdgeFact:

    return edge(by.uri("policy", src), "caused", by.uri("policy", dst))


def test_an_incident_is_told_by_its_causes_and_its_healing_not_by_each_growth(
    by: Recorder,
) -> None:
    uri = record_alerts.incident_uri(by, "m:1@b")

    def grown(n: int, cause: str, word: str = "grown") -> Event:
        facts = {
            "service": "home",
            "cause": cause,
            "reasons": "hits fell",
            "remediation": "Do.",
        }
        return record_alerts.incident_changed(
            by, key=f"k{n}", word=word, incident=uri, facts=facts
        )

    healed = record_alerts.incident_handled(
        by, key="h", word="healed", incident=uri, service="home", reason="v2 serves"
    )
    events = [grown(1, "shift", "opened"), *(grown(n, "shift") for n in (2, 3))]
    events += [*(grown(n, "loss") for n in (4, 5, 6)), healed, grown(8, "loss", "closed")]
    told = why(log(*events), uri)
    assert [clause.seq for clause in told.clauses] == [1, 4, 6, 7, 8]
    assert told.clauses[1].text == (
        "The incident of home grown, taken for loss (hits fell): Do."
    )
    assert told.clauses[3].text == "Healing: healed, because v2 serves"


def test_a_cause_that_flickers_leaves_the_beginning_of_the_story(by: Recorder) -> None:
    uri = record_alerts.incident_uri(by, "m:1@b")
    events = [
        record_alerts.incident_changed(
            by, key=f"k{n}", word="grown" if n else "opened", incident=uri,
            facts={"service": "home", "cause": ("shift", "loss")[n % 2], "remediation": "Do."},
        )
        for n in range(60)
    ]  # fmt: skip
    told = why(log(*events), uri)
    assert [clause.seq for clause in told.clauses] == [1, 60]
    assert not told.truncated
