"""The paragraph of `mlg why`: one clause an event, for every kind, and for what was not."""

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.story import START, Story, opening, setbacks, train, whole_story
from tests.taxonomy import ingested
from tests.unit.graph.test_taxonomy import FOREIGN

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.clock import ManualClock
from mlg.core.errors import ManifestError, NotFoundError
from mlg.core.events import EdgeFact, Event
from mlg.core.nodes import KINDS
from mlg.core.reading import NodeQuery
from mlg.core.uris import Uri, make_uri
from mlg.graph import (
    record_alerts,
    record_automations,
    record_judged,
    record_rollouts,
    record_runs,
)
from mlg.graph.lineage import Answered
from mlg.graph.record import Recorder, edge, node, run_uri
from mlg.graph.why import MOST_CLAUSES, WhyAnswer, why
from mlg.graph.why_not import QUESTIONS, why_not, why_of
from mlg.graph.why_prediction import why_prediction

Log = Callable[..., SqliteGraphReader]


@pytest.fixture
def by() -> Recorder:
    return Story().by


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Return a function that appends events to a new graph and gives its reader."""
    opened: list[SqliteGraph | SqliteGraphReader] = []
    names = itertools.count()

    def append(*events: Event) -> SqliteGraphReader:
        path = tmp_path / f"{next(names)}.sqlite3"
        store, reader = SqliteGraph(path, ManualClock(START)), SqliteGraphReader(path)
        opened.extend((reader, store))
        store.append(events)
        return reader

    yield append
    for one in opened:
        one.close()


def ask(reader: SqliteGraphReader, uri: Uri) -> WhyAnswer:
    return why(reader, reader, uri)


def seqs(answer: WhyAnswer) -> list[int]:
    return [clause.seq for clause in answer.clauses]


# the story of one promotion


def a_promotion(by: Recorder) -> list[Event]:
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
    return [hook, run, begun, moved, other]


def test_a_promotion_is_told_from_the_commit_to_the_gates(by: Recorder, log: Log) -> None:
    told = ask(log(*a_promotion(by)), by.uri("rollout", "home", "x"))
    assert [(clause.seq, clause.event) for clause in told.clauses] == [
        (1, "hook:1"), (2, "run"), (3, "begun"), (4, "moved"),
    ]  # fmt: skip
    assert told.clauses[0].text == "Commit abababababab of org/movies by Ada came in"
    assert told.clauses[3].text == (
        "The rollout came to swapped at 100 %, because every gate held; "
        "gates: errors PASS; ctr INCONCLUSIVE: 3 of 9"
    )
    assert told.paragraph.endswith("ctr INCONCLUSIVE: 3 of 9 [4].")


def test_nothing_is_said_of_what_nobody_recorded(by: Recorder, log: Log) -> None:
    told = ask(log(*a_promotion(by)), by.uri("rollout", "home", "unknown"))
    assert (told.clauses, told.paragraph, told.truncated) == ([], "", False)


def test_a_circle_of_causes_ends(by: Recorder, log: Log) -> None:
    first = by.event(
        "mlg.a.b", key="1", subject=by.uri("policy", "a"),
        edges=[caused(by, "a", "b"), caused(by, "b", "a")],
    )  # fmt: skip
    assert len(ask(log(first), by.uri("policy", "b")).clauses) == 1


def caused(by: Recorder, src: str, dst: str) -> EdgeFact:
    return edge(by.uri("policy", src), "caused", by.uri("policy", dst))


def test_only_the_newest_are_told_of_a_long_life(by: Recorder, log: Log) -> None:
    subject = Uri(by.uri("policy", "a"))
    start = by.clock.now()
    events = [
        by.event("mlg.policy.changed", key=str(n), subject=subject, at=start + timedelta(n))
        for n in range(100)
    ]
    told = ask(log(*events), subject)
    assert told.truncated
    assert len(told.clauses) == MOST_CLAUSES
    assert told.clauses[-1].event == "99"


def test_an_incident_is_told_by_its_causes_and_its_healing_not_by_each_growth(
    by: Recorder, log: Log
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
    told = ask(log(*events), uri)
    assert seqs(told) == [1, 4, 6, 7, 8]
    assert told.clauses[1].text == (
        "The incident of home grown, taken for loss (hits fell): Do."
    )
    assert told.clauses[3].text == "Healing: healed, because v2 serves"


def test_a_cause_that_flickers_leaves_the_beginning_of_the_story(
    by: Recorder, log: Log
) -> None:
    uri = record_alerts.incident_uri(by, "m:1@b")
    events = [
        record_alerts.incident_changed(
            by, key=f"k{n}", word="grown" if n else "opened", incident=uri,
            facts={"service": "home", "cause": ("shift", "loss")[n % 2], "remediation": "Do."},
        )
        for n in range(60)
    ]  # fmt: skip
    told = ask(log(*events), uri)
    assert seqs(told) == [1, 60]
    assert not told.truncated


def test_an_event_without_the_facts_of_its_type_is_told_plainly(by: Recorder, log: Log) -> None:
    uri = by.uri("rollout", "home", "x")
    told = ask(log(by.event("mlg.rollout.begun", key="old", subject=uri)), uri)
    assert told.paragraph == "Rollout begun (rollout home) [1]."


# every kind of the whole story

WHOLE = whole_story()
FOREIGN_EVENT = ingested(WHOLE.by, [FOREIGN])[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteGraphReader]:
    path = tmp_path_factory.mktemp("why") / "graph.sqlite3"
    with SqliteGraph(path, ManualClock(START)) as store, SqliteGraphReader(path) as reader:
        store.append([*WHOLE.events, FOREIGN_EVENT])
        yield reader


def foreign(kind: str, namespace: str, name: str) -> Uri:
    return make_uri(kind, namespace, name, provider="openlineage")


EXPECTED: dict[str, tuple[Uri, dict[str, str]]] = {
    "source": (
        WHOLE.by.uri("source", "movielens-100k://ratings"),
        {"ra:source": "was stored with 10 rows from movielens-100k://ratings"},
    ),
    "dataset": (
        WHOLE.by.uri("dataset", "ratings"),
        {"rx:failure": "Run failed for dataset ratings: expected int64, got text"},
    ),
    "dataset_version": (
        WHOLE.data("a"),
        {"ra:source": "by step ranker/source_ratings@ra", "ra:begin": "for org/movies@abab"},
    ),
    "column": (foreign("column", "s3://lake", "users/age"), {FOREIGN_EVENT.key: "names users"}),
    "feature": (
        WHOLE.by.uri("feature", "train_set/age"),
        {"rd:features": "train_set/age went into train_set@DDDD"},
    ),
    "feature_snapshot": (
        WHOLE.features("d"),
        {"rd:features": "by step ranker/features@rd"},
    ),
    "commit": (
        WHOLE.commit,
        {"apply": "was applied by ada", "rx:end": "failed at step source_ratings"},
    ),
    "pipeline": (WHOLE.by.uri("pipeline", "ranker"), {"rd:end": "was finished (done)"}),
    "run": (
        WHOLE.run("b"),
        {"rb:end": "(rejected) at step evaluate", "rb:evaluate": "did not pass"},
    ),
    "step": (
        WHOLE.by.uri("step", "ranker/features", "ra"),
        {"ra:features:done": "read ratings@aaaaaaaaaaaa and made train_set@AAAA"},
    ),
    "model": (WHOLE.by.uri("model", "ranker"), {"rc:register": "was trained by step"}),
    "model_version": (
        WHOLE.version("c"),
        {
            "rc:register": "on train_set@CCCCCCCCCCCC, ratings@cccccccccccc: ndcg@10 0.07",
            "dc:staged": "Staging said PASS",
            "dc:4": "rolling back at 0 %, because errors FAIL",
        },
    ),
    "evaluation": (
        WHOLE.by.uri("evaluation", "ranker", "b" * 12),
        {"rb:evaluate": "ndcg@10 FAIL: 0.07 < 0.09"},
    ),
    "image": (WHOLE.image("d"), {"rd:package": "packaged as movies-ranker@dddd"}),
    "service": (WHOLE.service, {"restart": "replaced, asked for by local:ada"}),
    "endpoint": (WHOLE.by.uri("endpoint", "hooks"), {"hook:0": "because it is an hour old"}),
    "deployment": (
        WHOLE.deployment("a"),
        {
            "da:shares": "Its share of home became 100 %",
            "dc:4": "Rollout home@dc came to rolling back",
            "dd:shares": "became 0 %",
        },
    ),
    "policy": (
        WHOLE.by.uri("policy", "home", "2"),
        {"policy:2": "drift severity 0.8", "incident:opened": "taken for measured loss"},
    ),
    "layout": (
        WHOLE.by.uri("layout", "home", "default"),
        {"policy:1": "layout default, because manifest applied"},
    ),
    "rollout": (
        WHOLE.rollout("c"),
        {
            "dc:held": "held in canary at 5 %, because 49 of 200",
            "dc:call": "A person was called",
        },
    ),
    "rollout_step": (WHOLE.rollout_step("d", 4), {"dd:4": "300 sticky units; errors PASS"}),
    "health_check": (
        WHOLE.by.uri("health_check", "replica-home-1"),
        {"process": "crashes in a loop with exit code -9: no memory"},
    ),
    "gate_verdict": (
        record_judged.gate_uri(WHOLE.by, "home", "dc", 4, "errors"),
        {
            "dc:4": "rrors said FAIL at 5 %: evidence 412 where 200 fails, of 60 observations, "
            "9 of them against it, control 1 of 600, because 9 of 60"
        },
    ),
    "swap": (
        record_judged.swap_uri(WHOLE.by, "home", "de", 4),
        {
            "de:4": f"traffic went from {'e' * 12} to {'a' * 12}, swap 2 of its hour, of at "
            "most 9 (a way back is never held up), because errors FAIL"
        },
    ),
    "rollback": (
        record_judged.rollback_uri(WHOLE.by, "home", "de", 4),
        {"de:4": f"traffic went back from {'e' * 12} to {'a' * 12}, because errors FAIL"},
    ),
    "drift_signal": (
        record_alerts.drift_signal_uri(
            WHOLE.by, WHOLE.alert(), "aaaaaaaaaaaa/raw_confidence.mean"
        ),
        {"alert:opened": "was at -9, its limit being -6 (usually 0.6, now 0.4)"},
    ),
    "alert": (
        WHOLE.alert(),
        {"alert:opened": "where age < 25 on 1000 answers", "heal:healed": "has all of the"},
    ),
    "incident": (
        WHOLE.incident(),
        {"incident:opened": "(hits fell): Retrain.", "heal:retraining_begun": "training 1"},
    ),
    "automation": (
        WHOLE.by.uri("automation", "guard"),
        {"automation:guard:one:decided": "proposed, because a person must approve"},
    ),
    "automation_run": (
        WHOLE.by.uri("automation_run", "guard", "one"),
        {"automation:guard:one:0:acted": "Its action restart was acted"},
    ),
    "approval": (
        WHOLE.by.uri("approval", "guard", "one"),
        {"automation:guard:one:answered": "approved by ada, because go on"},
    ),
    "prediction_segment": (WHOLE.segment(), {"seal": "3 predictions of home"}),
    "experiment": (foreign("experiment", "lab", "home page"), {FOREIGN_EVENT.key: "home page"}),
    "experiment_cell": (
        foreign("experiment_cell", "lab", "home page/b"),
        {FOREIGN_EVENT.key: "told of run train COMPLETE"},
    ),
    "actor": (
        WHOLE.by.uri("actor", "local:ada"),
        {"freeze": "frozen by ada, because a holiday"},
    ),
    "team": (foreign("team", "owners", "team:data"), {FOREIGN_EVENT.key: "names team:data"}),
    "baseline": (
        WHOLE.baseline("2"),
        {
            "baseline:2": "monitor home-features holds for usual of aaaaaaaaaaaa was kept "
            "as 222222222222, from 40 windows, as an incident opened"
        },
    ),
    "audit_export": (
        WHOLE.by.uri("audit_export", "7" * 12),
        {"export": "taken by ada: 10 files"},
    ),
}  # fmt: skip
"""Of each kind one thing, and words of the clauses of certain events, by their key."""


def test_there_is_an_expectation_for_every_kind() -> None:
    assert set(EXPECTED) == KINDS


@pytest.mark.parametrize("kind", sorted(EXPECTED))
def test_a_thing_of_each_kind_is_told_by_the_events_that_say_it(whole, kind: str) -> None:
    uri, wanted = EXPECTED[kind]
    told = ask(whole, uri)
    found = {clause.event: clause for clause in told.clauses}
    for key, words in wanted.items():
        assert words in found[key].text, told.paragraph
    assert sorted(seqs(told)) == seqs(told)
    # in a whole life more happens to a service than one answer tells
    assert not told.truncated or kind == "service"


def test_every_clause_of_every_thing_is_an_event_of_the_log(whole) -> None:
    events = [*WHOLE.events, FOREIGN_EVENT]
    places = {event.key: (seq, event) for seq, event in enumerate(events, 1)}
    nodes = whole.nodes(NodeQuery(limit=10_000)).nodes
    assert len(nodes) > 100
    for thing in nodes:
        told = ask(whole, thing.uri)
        assert told.clauses, thing.uri
        assert len(told.clauses) <= MOST_CLAUSES
        assert told.paragraph.count("].") == len(told.clauses)
        for clause in told.clauses:
            seq, event = places[clause.event]
            assert (clause.seq, clause.subject) == (seq, event.subject)
            assert f"[{seq}]." in told.paragraph


class Counting:
    """A history that counts what it was asked."""

    def __init__(self, reader: SqliteGraphReader) -> None:
        self.reader, self.asked, self.given = reader, 0, 0

    def told(self, uris, ids=(), limit: int = 40):
        found = self.reader.told(uris, ids, limit)
        self.asked, self.given = self.asked + 1, self.given + len(found)
        return found


def test_ten_times_the_log_gives_no_more_to_read(log: Log) -> None:
    small, big = Story(), Story()
    read: list[int] = []
    for story, more in ((small, 20), (big, 200)):
        opening(story)
        for n in range(more):
            story.tell(
                record_alerts.monitor_learned, key=f"other:{n}", monitor="m",
                service=f"other-{n}", stream="request", windows=1,
            )  # fmt: skip
        train(story, "d")
        reader = log(*story.events)
        history = Counting(reader)
        why(reader, history, story.version("d"))
        read.append(history.given)
    assert read[0] == read[1]


# what did not happen


def not_(reader: SqliteGraphReader, uri: Uri, question) -> WhyAnswer:
    return why_not(reader, reader, uri, question)


def texts(answer: WhyAnswer) -> dict[str, str]:
    return {clause.event: clause.text for clause in answer.clauses}


def test_a_version_that_was_taken_back_was_not_promoted_for_its_gate(whole) -> None:
    told = not_(whole, WHOLE.version("c"), "promoted")
    assert told.holds
    assert told.question == "not promoted"
    assert "errors FAIL: 9 of 60" in texts(told)["dc:4"]
    assert "dc:held" not in texts(told)  # it moved on since


def test_a_rejected_version_was_not_promoted_for_its_evaluation(whole) -> None:
    for uri in (WHOLE.version("b"), WHOLE.run("b")):
        told = texts(not_(whole, uri, "promoted"))
        assert "did not pass its evaluation: ndcg@10 FAIL" in told["rb:evaluate"]
        assert "(rejected)" in told["rb:end"]
        assert "frozen by ada" in told["freeze"]


def test_what_did_happen_is_said_so(whole) -> None:
    promoted = not_(whole, WHOLE.service, "promoted")
    assert not promoted.holds
    assert "dd:4" in texts(promoted)
    assert not not_(whole, WHOLE.service, "healed").holds
    restarted = not_(whole, WHOLE.service, "restarted")
    assert not restarted.holds
    assert "automation:guard:one:0:acted" in texts(restarted)


def test_a_rollout_that_is_held_says_for_want_of_what(log: Log) -> None:
    story = Story()
    opening(story)
    setbacks(story)
    held = story.seq("dc:held")
    told = not_(log(*story.events[:held]), story.service, "promoted")
    assert told.holds
    assert "49 of 200 sticky units" in texts(told)["dc:held"]
    assert told.clauses[-1].seq == held


def test_swaps_per_hour_a_failed_staging_and_quarantine_are_in_the_way(log: Log) -> None:
    story = Story()
    opening(story)
    story.tell(
        record_rollouts.rollout_begun, key="s:begin", service="home", rollout_id="ds",
        candidate="s" * 12, stable="a" * 12,
    )  # fmt: skip
    story.tell(
        record_rollouts.rollout_held, key="s:held", service="home", rollout_id="ds",
        phase="promoting", share_bp=2_500, reason="9 swaps in the last hour are the most",
    )  # fmt: skip
    swaps = not_(
        log(*story.events), record_rollouts.rollout_uri(story.by, "home", "ds"), "promoted"
    )
    assert "9 swaps in the last hour are the most" in texts(swaps)["s:held"]
    story.tell(
        record_rollouts.staging_ended, key="s:staged", service="home", rollout_id="ds",
        number=1, model_version=story.version("s"), verdict="FAIL", reason="golden differs",
        results={"golden": "FAIL: 3 of 9"},
    )  # fmt: skip
    story.tell(
        record_rollouts.rollout_moved, key="s:failed", service="home", rollout_id="ds",
        number=2, before="staging", after="failed", share_bp=0, by="mlg",
        reason="staging FAIL: golden differs",
    )  # fmt: skip
    quarantined(story)
    uri = record_rollouts.rollout_uri(story.by, "home", "ds")
    told = texts(not_(log(*story.events), uri, "promoted"))
    assert "Staging said FAIL, because golden differs" in told["s:staged"]
    assert "because staging FAIL" in told["s:failed"]
    assert "s:held" not in told
    assert "broken input is not learned from" in told["q:quarantined"]


def quarantined(story: Story) -> None:
    """Tell an incident that is open and in quarantine."""
    alert = record_alerts.alert_uri(story.by, "m:9@b", "input_drift")
    incident = record_alerts.incident_uri(story.by, "m:9@b")
    story.tell(
        story_event, key="q:alert", type_="mlg.alert.opened", subject=alert,
        nodes=[
            node(story.service, {}),
            node(alert, {"kind": "input_drift", "service": "home", "monitor": "m", "n": 9,
                         "metric": "age.location", "statistic": 9.0, "limit": 3.0}),
        ],
        edges=[edge(story.service, "detected_on", alert), edge(alert, "caused", incident)],
    )  # fmt: skip
    story.tell(
        record_alerts.incident_changed, key="q:incident", word="opened", incident=incident,
        facts={"service": "home", "cause": "broken source", "remediation": "Repair it."},
    )  # fmt: skip
    story.tell(
        record_alerts.incident_handled, key="q:quarantined", word="quarantined",
        incident=incident, service="home", reason="broken input is not learned from",
    )  # fmt: skip


def story_event(by: Recorder, *, type_: str, **facts) -> Event:
    return by.event(type_, **facts)


def test_a_service_was_not_restarted_for_drift_a_condition_and_a_cooldown(log: Log) -> None:
    story = Story()
    opening(story)
    quarantined(story)
    alert = record_alerts.alert_uri(story.by, "m:9@b", "input_drift")
    reasons = {
        "condition_false": "the condition does not hold: !graph.input_drift_open(s)",
        "cooldown": "it fired at 2026-01-01T00:00:00+00:00, less than 600 s ago",
        "frozen": "2 of 2 actions are held back",
    }
    for n, (outcome, reason) in enumerate(reasons.items()):
        story.tell(
            record_automations.automation_decided, key=f"automation:guard:{n}", rule="guard",
            outcome=outcome, reason=reason, subject=alert, event_type="mlg.alert.opened",
        )  # fmt: skip
    told = not_(log(*story.events), story.service, "restarted")
    assert told.holds
    assert "alert of input drift opened" in texts(told)["q:alert"]
    assert [
        texts(told)[f"automation:guard:{n}:decided"].partition(": ")[2] for n in range(3)
    ] == [f"{outcome}, because {reason}" for outcome, reason in reasons.items()]
    assert "crashes in a loop" in texts(told)["process"]


def test_nothing_was_retrained_for_a_cause_that_is_only_recorded(log: Log) -> None:
    story = Story()
    opening(story)
    quarantined(story)
    told = not_(log(*story.events), story.service, "healed")
    assert told.holds
    assert "taken for broken source: Repair it." in texts(told)["q:incident"]
    assert "quarantined, because broken input" in texts(told)["q:quarantined"]


def test_no_alert_says_who_watches_and_what_was_learned(log: Log) -> None:
    story = Story()
    opening(story)
    told = not_(log(*story.events), story.service, "alerted")
    assert told.holds
    assert "monitors home-features of home" in texts(told)["apply"]
    assert "learned what is usual in stream request, 40 windows" in texts(told)["learned"]
    quarantined(story)
    assert not not_(log(*story.events), story.service, "alerted").holds


def test_every_clause_of_what_did_not_happen_is_an_event_of_the_log(whole) -> None:
    keys = {event.key: seq for seq, event in enumerate(WHOLE.events, 1)}
    things = (
        WHOLE.service, WHOLE.alert(), WHOLE.incident(), WHOLE.rollout_step("c", 4),
        *(of(letter) for of in (WHOLE.version, WHOLE.run, WHOLE.deployment) for letter in "ad"),
    )  # fmt: skip
    for uri, question in itertools.product(things, QUESTIONS):
        told = not_(whole, uri, question)
        assert told.clauses, (uri, question)
        assert [keys[clause.event] for clause in told.clauses] == seqs(told)


def test_a_question_that_makes_no_sense_is_refused(whole) -> None:
    for text, word in (
        (WHOLE.service, "eaten"),
        ("some-prediction-id", "promoted"),
        ("mlg://service/broken", "promoted"),
        (WHOLE.by.uri("actor", "local:ada"), "promoted"),
    ):
        with pytest.raises(ManifestError):
            why_of(whole, whole, text, word)
    with pytest.raises(NotFoundError):
        why_of(whole, whole, WHOLE.by.uri("rollout", "home", "none"), "promoted")
    with pytest.raises(NotFoundError):
        why_of(whole, whole, WHOLE.by.uri("rollout", "home", "none"))


def test_a_name_is_a_service_and_anything_else_a_prediction(whole) -> None:
    assert why_of(whole, whole, "home") == ask(whole, WHOLE.service)
    assert why_of(whole, whole, "01a20c61-793a-76fe-9942-18bc6ae8fe15") is None
    assert why_of(whole, whole, "mlg://prediction/mlg/movies/home@p1") is None


# predictions


def answered(at_key: str, version: str, **attrs) -> Answered:
    event = WHOLE.events[WHOLE.seq(at_key) - 1]
    facts = {"served_by": "model", "reason": "ranked", "raw_confidence": 0.6,
             "confidence": 0.5, "policy": "2", "event_time": "2026-01-01T00:00:00Z",
             **attrs}  # fmt: skip
    return Answered(
        project="movies", service="home", prediction_id="p1", at=event.at,
        model_version=WHOLE.version(version), segment=WHOLE.segment(),
        attrs=tuple(sorted(facts.items())),
    )  # fmt: skip


def test_an_answer_is_told_by_its_seal_policy_share_rollout_and_training(whole) -> None:
    told = why_prediction(whole, whole, answered("dd:3", "d", arm="control"))
    by_key = texts(told)
    assert "The model ranker@dddddddddddd answered home" in by_key["seal"]
    assert "in arm control, because it was sure enough, with confidence 0.5" in by_key["seal"]
    assert "0.6 was not below the threshold 0.35 of policy 2" in by_key["policy:2"]
    assert by_key["dd:canary"] == "ranker@dddddddddddd had 5 % of the traffic of home then"
    assert "5 % after: warm" in by_key["dd:3"]
    assert "was trained by step ranker/train@rd" in by_key["rd:register"]
    assert "taken for measured loss" in by_key["incident:opened"]
    assert "dd:4" not in by_key  # that came later
    assert all(WHOLE.seq(clause.event) == clause.seq for clause in told.clauses)


def test_an_abstention_and_an_exploration_say_so(whole) -> None:
    abstained = why_prediction(
        whole, whole,
        answered("dd:shares", "d", served_by="fallback", reason="abstain", raw_confidence=0.2),
    )  # fmt: skip
    assert "The fallback's list" in texts(abstained)["seal"]
    assert "because the model abstained" in texts(abstained)["seal"]
    assert "0.2 was below the threshold 0.35" in texts(abstained)["policy:2"]
    assert "had all of the traffic" in texts(abstained)["dd:shares"]
    explored = why_prediction(
        whole, whole, answered("dd:shares", "d", reason="explore", raw_confidence=0.2)
    )
    assert "the exploration share let the model answer" in texts(explored)["seal"]
