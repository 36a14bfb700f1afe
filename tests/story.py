"""A whole life told by the product's recorders: from a manifest to a healed service.

Version a serves at once; b fails its evaluation; c is taken back from its canary; drift opens
an incident, a run heals it with d, which serves. Each event is kept with its recorder.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mlg.core.artifacts import Column, ModelVersion, Snapshot
from mlg.core.clock import ManualClock
from mlg.core.columns import ColumnLineage, ColumnSource
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.events import Event
from mlg.core.measure import Alert, Measurement
from mlg.core.predict import ServingPolicy
from mlg.core.uris import Digest, Uri
from mlg.graph import (
    record_acts,
    record_alert_acts,
    record_alerts,
    record_automations,
    record_baselines,
    record_columns,
    record_experiments,
    record_gamedays,
    record_models,
    record_replicas,
    record_rollouts,
    record_runs,
    record_services,
)
from mlg.graph.record import (
    Recorder,
    deployment_uri,
    image_uri,
    model_uri,
    run_uri,
    snapshot_uri,
    step_uri,
)
from mlg.graph.record_columns import ModelRead
from mlg.graph.record_judged import GateFigures, RollbackFigures, SwapFigures

START = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE_TEXT = "movielens-100k://ratings"
FOLDER = Digest("f00" + "0" * 61)


class Counter:
    """Ids in order."""

    def __init__(self) -> None:
        self._next = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._next):09d}"


@dataclass
class Story:
    """Events in order, each with the recorder that made it."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    events: list[Event] = field(default_factory=list)
    makers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.by = Recorder(project="movies", actor="local:ada", clock=self.clock, ids=Counter())
        self.rule = Recorder(
            project="movies", actor="automation:guard", clock=self.clock, ids=self.by.ids
        )

    def tell(
        self, recorder: Callable[..., Event], *, who: Recorder | None = None, **facts: Any
    ) -> Event:
        """Record one event a minute after the last; return it."""
        self.clock.wait(60.0)
        event = recorder(who or self.by, **facts)
        self.events.append(event)
        self.makers.append(f"{recorder.__module__.rpartition('.')[2]}.{recorder.__name__}")
        return event

    def seq(self, key: str) -> int:
        """Return the place in the log of the event of this key."""
        return next(n for n, event in enumerate(self.events, 1) if event.key == key)

    # things

    @property
    def commit(self) -> Uri:
        return self.by.uri("commit", "manifest", FOLDER[:12])

    @property
    def service(self) -> Uri:
        return self.by.uri("service", "home")

    def data(self, letter: str) -> Uri:
        return snapshot_uri(self.by, "ratings", letter * 64)

    def features(self, letter: str) -> Uri:
        return snapshot_uri(self.by, "train_set", letter.upper() * 64, "feature_snapshot")

    def version(self, letter: str) -> Uri:
        return model_uri(self.by, "ranker", letter * 12)

    def image(self, letter: str) -> Uri:
        return image_uri(self.by, "movies-ranker", Digest(letter * 64))

    def run(self, letter: str) -> Uri:
        return run_uri(self.by, "ranker", f"r{letter}")

    def deployment(self, letter: str) -> Uri:
        return deployment_uri(self.by, "home", f"d{letter}")

    def rollout(self, letter: str) -> Uri:
        return record_rollouts.rollout_uri(self.by, "home", f"d{letter}")

    def rollout_step(self, letter: str, number: int) -> Uri:
        return record_rollouts.rollout_step_uri(self.by, "home", f"d{letter}", number)

    def incident(self) -> Uri:
        return record_alerts.incident_uri(self.by, "home-features:1@ab12")

    def alert(self) -> Uri:
        return record_alerts.alert_uri(self.by, "home-features:1@ab12", "confidence_drop")

    def baseline(self, letter: str) -> Uri:
        return record_baselines.baseline_uri(
            self.by, "home-features", "a" * 12, Digest(letter * 64)
        )

    def segment(self) -> Uri:
        return self.by.uri("prediction_segment", "home", "9" * 12)


def table(name: str, letter: str) -> Snapshot:
    return Snapshot(
        dataset=name, digest=Digest(letter * 64), content_digest=Digest(letter * 64), rows=10,
        as_of=START, schema=(Column(name="age", type="int64"),), location=f"artifacts/{letter}",
    )  # fmt: skip


AGE = ColumnSource(table="ratings", column="age", type="DIRECT", subtype="IDENTITY")


class Blank:
    """A graph that knows nothing yet."""

    def walk(self, root: Uri, *_: Any) -> Any:
        raise NotFoundError("no such node", where=root)


def columns(story: Story, key: str, name: str, letter: str, **said: Any) -> None:
    """Tell of the columns of a table, as if it were the first of its name."""

    def columns_recorded(by: Recorder, **facts: Any) -> Event:
        event = record_columns.columns_recorded(by, Blank(), **facts)  # type: ignore[arg-type]
        assert event is not None
        return event

    columns_recorded.__module__ = record_columns.__name__
    version = story.data(letter) if "source" in said else story.features(letter.lower())
    story.tell(columns_recorded, key=key, snapshot=table(name, letter), version=version, **said)


def train(
    story: Story, letter: str, *, passed: bool = True, because: Uri | None = None
) -> None:
    """Tell a run: source -> ratings -> train_set -> model -> evaluation -> image."""
    by, run = story.by, f"r{letter}"
    place = {"pipeline": "ranker", "run_id": run}
    data, features = story.data(letter), story.features(letter)

    def step(name: str) -> Uri:
        return step_uri(by, "ranker", run, name)

    def began(name: str, kind: str, *inputs: Uri) -> None:
        story.tell(record_runs.step_started, key=f"{run}:{name}:start", **place, step=name,
                   step_kind=kind, inputs=inputs, commit=story.commit)  # fmt: skip

    def ended(name: str, kind: str, inputs: list[Uri], outputs: list[Uri]) -> None:
        story.tell(record_runs.step_finished, key=f"{run}:{name}:done", **place, step=name,
                   step_kind=kind, seconds=1.5, inputs=inputs, outputs=outputs)  # fmt: skip

    story.tell(record_runs.run_started, key=f"{run}:begin", **place,
               triggered_by=because or story.commit)  # fmt: skip
    began("source_ratings", "source")
    story.tell(record_runs.dataset_snapshotted, key=f"{run}:source", source=SOURCE_TEXT,
               snapshot=table("ratings", letter), step=step("source_ratings"))  # fmt: skip
    columns(story, f"{run}:source:columns", "ratings", letter, source=SOURCE_TEXT)
    began("features", "python", data)
    story.tell(record_runs.dataset_snapshotted, key=f"{run}:features", kind="feature_snapshot",
               snapshot=table("train_set", letter.upper()), step=step("features"))  # fmt: skip
    columns(
        story, f"{run}:features:columns", "train_set", letter.upper(),
        lineage=ColumnLineage(state="exact", columns=(("age", (AGE,)),)),
    )  # fmt: skip
    ended("features", "python", [data], [features])
    began("train", "train", features, data)
    ended("train", "train", [features, data], [])
    story.tell(
        record_models.model_registered, key=f"{run}:register",
        model=ModelVersion(
            name="ranker", version=letter * 12, artifact=Digest(letter * 64), trained_on=(),
            code=Digest("c" * 64), params=(("k", 10),), metrics=(("ndcg@10", 0.07),), seed=7,
        ),
        trained_on=[features, data], step=step("train"),
        supersedes=story.version("a") if letter != "a" else None,
    )  # fmt: skip
    story.tell(
        record_columns.model_columns_recorded, key=f"{run}:register:columns", model="ranker",
        version=letter * 12,
        reads=[
            ModelRead(table="train_set", column="age", feature=True),
            ModelRead(table="ratings", column="age", feature=False),
        ],
    )  # fmt: skip
    began("evaluate", "evaluate", features, data)
    story.tell(
        record_models.evaluation_recorded, key=f"{run}:evaluate", model="ranker",
        version=letter * 12, evaluated_on=[features, data], metrics={"ndcg@10": 0.07},
        passed=passed, step=step("evaluate"),
        facts={} if passed else {"gate.ndcg@10": "FAIL: 0.07 < 0.09"},
    )  # fmt: skip
    if passed:
        began("package", "package")
        story.tell(
            record_models.model_packaged, key=f"{run}:package", model="ranker",
            version=letter * 12, artifact=Digest(letter * 64), image="movies-ranker",
            image_digest=Digest(letter * 64), step=step("package"),
        )  # fmt: skip
    story.tell(
        record_runs.run_finished, key=f"{run}:end", **place, seconds=9.0,
        facts={"verdict": "done"} if passed else {"verdict": "rejected", "step": "evaluate"},
    )  # fmt: skip


def begin_rollout(story: Story, letter: str, stable: str | None) -> None:
    """Tell that a version asks to take over, is staged and warm."""
    id_, run = f"d{letter}", story.run(letter)
    story.tell(record_services.deployment_started, key=f"{id_}:deployment", service="home",
               deployment_id=id_, model_version=story.version(letter), share_bp=0,
               image_digest=letter * 64, image=story.image(letter), health="starting",
               triggered_by=run)  # fmt: skip
    story.tell(record_rollouts.rollout_begun, key=f"{id_}:begin", service="home",
               rollout_id=id_, candidate=letter * 12, stable=stable, triggered_by=run
               )  # fmt: skip
    move(story, letter, 1, "pending", "staging", 0, "the battery of tests runs")
    story.tell(record_rollouts.staging_ended, key=f"{id_}:staged", service="home",
               rollout_id=id_, number=1, model_version=story.version(letter), verdict="PASS",
               reason="all tests passed", results={"golden": "PASS: 9 of 9"})  # fmt: skip
    move(story, letter, 2, "staging", "warming", 0, "all tests passed")


def move(
    story: Story, letter: str, number: int, before: str, after: str, share_bp: int, reason: str,
    gates: dict[str, str] | None = None, back: str | None = None, **more: Any,
) -> None:  # fmt: skip
    """Tell one transition of a rollout."""
    story.tell(record_rollouts.rollout_moved, key=f"d{letter}:{number}", service="home",
               rollout_id=f"d{letter}", number=number, before=before, after=after,
               share_bp=share_bp, reason=reason, by="mlg", gates=gates,
               rolled_back_to=back, **more)  # fmt: skip


FAILED = GateFigures(name="errors", verdict="FAIL", reason="9 of 60 errors, control 1 of 600",
                     e_value=412.0, bound=200.0, n=60, events=9, control_events=1,
                     control_n=600, margin=0.005)  # fmt: skip


def shares(story: Story, key: str, **parts: int) -> None:
    """Tell a split of the traffic by letter."""
    story.tell(record_services.shares_changed, key=key, service="home",
               shares={story.deployment(letter): bp for letter, bp in parts.items()}
               )  # fmt: skip


def baseline(story: Story, letter: str, reason: str, previous: str | None) -> None:
    """Tell that a version of what is usual of the answers of a was kept."""
    story.tell(record_baselines.baseline_kept, key=f"baseline:{letter}",
               monitor="home-features", service="home", stream="a" * 12,
               digest=Digest(letter * 64), reason=reason, model_version=story.version("a"),
               previous=Digest(previous * 64) if previous else None,
               facts={"windows_learned": 40, "season": "level"})  # fmt: skip


def alert_event(story: Story, word: str) -> None:
    """Tell what the alert of the story came to."""
    now = story.clock.now()
    signal = {"feature": "raw_confidence", "metric": "raw_confidence.mean", "chart": "cusum",
              "statistic": -9.0, "limit": -6.0, "usual": 0.6, "now": 0.4}  # fmt: skip
    story.tell(
        record_alerts.alert_changed, key=f"alert:{word}", word=word,
        alert=Alert(
            uri=story.alert(),
            measurement=Measurement(
                subject=story.version("a"), metric="raw_confidence.mean", value=-9.0,
                unit="cusum_sd", n=1_000, start=now, end=now, limits=(-6.0, 6.0),
                verdict="FAIL",
            ),
            slice="age < 25", remediation="Retrain.", opened_at=now,
        ),
        kind="confidence_drop", monitor="home-features", service="home",
        incident=story.incident(), feature="raw_confidence", severity=0.8,
        cause_named="measured loss", model="ranker",
        signals={"aaaaaaaaaaaa/raw_confidence.mean": signal},
        baselines=() if word == "closed" else (story.baseline("2"),),
    )  # fmt: skip


def incident_event(story: Story, word: str) -> None:
    """Tell what the incident of the story came to."""
    story.tell(
        record_alerts.incident_changed, key=f"incident:{word}", word=word,
        incident=story.incident(),
        facts={"service": "home", "monitor": "home-features", "cause": "measured loss",
               "action": "retrain", "reasons": "hits fell", "remediation": "Retrain."},
    )  # fmt: skip


def handled(story: Story, word: str, reason: str, **more: Any) -> None:
    """Tell what healing did."""
    story.tell(record_alerts.incident_handled, key=f"heal:{word}", word=word,
               incident=story.incident(), service="home", reason=reason, **more)  # fmt: skip


def opening(story: Story) -> None:
    """Tell the manifest, the first version, its service and its process."""
    by = story.by
    story.tell(
        record_acts.manifest_applied, key="apply", folder=FOLDER,
        datasets={"ratings": SOURCE_TEXT}, pipelines=["ranker"], services={"home": "ranker"},
        facts={"monitors": "home-features of home"},
    )  # fmt: skip
    policy = ServingPolicy(service="home", version="1", abstain_below=0.35)
    story.tell(record_services.policy_changed, key="policy:1", policy=policy,
               reason="manifest applied")  # fmt: skip
    story.tell(record_automations.hook_refused, key="hook:0", outcome="stale",
               reason="it is an hour old")  # fmt: skip
    story.tell(record_automations.hook_accepted, key="hook:1", repository="org/movies",
               commit="ab" * 20, facts={"author": "Ada"}, runs={"ranker": "ra"})  # fmt: skip
    train(story, "a", because=by.uri("commit", "org/movies", "ab" * 20))
    begin_rollout(story, "a", None)
    shares(story, "da:shares", a=10_000)
    move(story, "a", 3, "warming", "swapped", 10_000, "the first version serves")
    move(story, "a", 4, "swapped", "done", 10_000, "the first version serves")
    story.tell(record_services.process_changed, key="process", process_id="replica-home-1",
               state="crash_looped", service="home", deployment=story.deployment("a"),
               exit_code=-9, restarts=5, detail="no memory")  # fmt: skip
    story.tell(record_services.health_changed, key="health", deployment=story.deployment("a"),
               health="healthy")  # fmt: skip
    story.tell(record_services.service_restarted, key="restart", service="home")
    story.tell(record_services.gateways_restarted, key="gateways", gateways=["gateway-1"])
    story.tell(record_replicas.log_records_lost, key="lost", service="home",
               process_id="replica-home-1", records=3, total=3)  # fmt: skip
    for word in ("restarted", "held"):
        story.tell(record_replicas.replica_judged, key=f"siblings:{word}",
                   restarted=word == "restarted", service="home", version="a",
                   process_id="replica-home-1", deployment=story.deployment("a"),
                   reason="its confidence is 0.100 where its siblings have 0.300",
                   facts={"log_e": 20.0, "limit": 16.6})  # fmt: skip
    story.tell(record_alerts.monitor_learned, key="learned", monitor="home-features",
               service="home", stream="request", windows=40)  # fmt: skip
    baseline(story, "1", "learned", None)


def setbacks(story: Story) -> None:
    """Tell a rejected version, a run that failed, and a canary that was taken back."""
    by = story.by
    train(story, "b", passed=False)
    error = BackendError("expected int64, got text", where="ratings.rating", hint="fix it")
    place = {"pipeline": "ranker", "run_id": "rx"}
    story.tell(record_runs.run_started, key="rx:begin", **place, triggered_by=story.commit)
    story.tell(record_runs.step_cached, key="rx:cached", **place, step="features",
               step_kind="python", inputs=[story.data("a")],
               outputs=[story.features("a")])  # fmt: skip
    story.tell(record_runs.step_failed, key="rx:failed", **place, step="source_ratings",
               step_kind="source", error=error)  # fmt: skip
    story.tell(record_acts.failure_recorded, key="rx:failure",
               subject=by.uri("dataset", "ratings"), error=error, command="run")  # fmt: skip
    story.tell(record_runs.run_failed, key="rx:end", **place, step="source_ratings",
               error=error)  # fmt: skip
    train(story, "c")
    begin_rollout(story, "c", "a" * 12)
    shares(story, "dc:shares", a=9_500, c=500)
    move(story, "c", 3, "warming", "canary", 500, "5 % after: warm")
    story.tell(record_rollouts.rollout_held, key="dc:held", service="home", rollout_id="dc",
               phase="canary", share_bp=500, reason="49 of 200 sticky units",
               gates={"errors": "INCONCLUSIVE: 0 of 49"})  # fmt: skip
    shares(story, "dc:back", a=10_000, c=0)
    move(story, "c", 4, "canary", "rolling_back", 0, "errors FAIL", {"errors": "FAIL: 9 of 60"},
         back="da", figures=[FAILED], judged_bp=500,
         rollback=RollbackFigures(left="c" * 12, to="a" * 12, deployment="da"))  # fmt: skip
    story.tell(record_rollouts.rollout_told, key="dc:call", service="home", rollout_id="dc",
               reason="home: c taken back: errors FAIL", needs_person=True)  # fmt: skip
    move(story, "c", 5, "rolling_back", "rolled_back", 0, "errors FAIL", back="da")
    story.tell(record_services.deployment_ended, key="dc:ended",
               deployment=story.deployment("c"), reason="errors FAIL")  # fmt: skip


def healing(story: Story) -> None:
    """Tell drift, what rules and people did, and the version that healed it."""
    baseline(story, "2", "incident", "1")
    alert_event(story, "opened")
    incident_event(story, "opened")
    story.tell(record_alert_acts.hold_changed, key="silence", kind="silence", id_="s-1",
               lifted=False, facts={"service": "home", "reason": "new feed"})  # fmt: skip
    alert_event(story, "held")
    story.tell(record_alert_acts.hold_changed, key="lift", kind="silence", id_="s-1",
               lifted=True, facts={"service": "home", "reason": "new feed"})  # fmt: skip
    alert_event(story, "released")
    for word in ("acknowledged", "handed_over"):
        story.tell(record_alert_acts.alert_acted, key=f"alert:{word}", word=word,
                   alert=story.alert(), note="their feed", to="team:data")  # fmt: skip
    key = "automation:guard:one"
    story.tell(
        record_automations.automation_decided, who=story.rule, key=key, rule="guard",
        outcome="proposed", reason="a person must approve", subject=story.alert(),
        event_type="mlg.alert.opened", actions=["restart (held back: waits for approval)"],
    )  # fmt: skip
    answer = record_automations.automation_run_uri(story.by, "guard", key)
    story.tell(record_automations.proposal_answered, key=key, rule="guard", act=True,
               reason="go on")  # fmt: skip
    story.tell(record_automations.automation_acted, who=story.rule, key=f"{key}:0",
               rule="guard", run=answer, word="acted", action="restart",
               facts={"service": "home"})  # fmt: skip
    story.tell(record_automations.automation_finished, who=story.rule, key=key, rule="guard",
               run=answer, done=1, failed=0)  # fmt: skip
    drifted = ServingPolicy(service="home", version="2", abstain_below=0.35, drift_severity=0.8)
    story.tell(record_services.policy_changed, key="policy:2", policy=drifted, previous="1",
               reason="measured loss", caused_by=story.incident())  # fmt: skip
    handled(story, "retraining_begun", "training 1 for this incident", triggered=story.run("d"))
    train(story, "d", because=story.incident())
    begin_rollout(story, "d", "a" * 12)
    shares(story, "dd:canary", a=9_500, d=500)
    move(story, "d", 3, "warming", "canary", 500, "5 % after: warm")
    story.tell(record_rollouts.rollout_asked, key="asked:start", service="home",
               rollout_id="dd", act="start", reason="the outage is over")  # fmt: skip
    story.tell(record_rollouts.rollout_approved, key="dd:approved", service="home",
               rollout_id="dd", before="promote", reason="fine", share_bp=500,
               gates={"errors": "PASS: 0 of 300"})  # fmt: skip
    shares(story, "dd:shares", a=0, d=10_000)
    move(story, "d", 4, "promoting", "swapped", 10_000, "300 sticky units; errors PASS",
         {"errors": "PASS: 0 of 300"},
         swap=SwapFigures(before="a" * 12, after="d" * 12, number=1, limit=9, reversal=False)
         )  # fmt: skip
    handled(story, "healed", "dddddddddddd has all of the traffic",
            healed_by=(story.run("d"), story.deployment("d")))  # fmt: skip
    alert_event(story, "closed")
    incident_event(story, "closed")
    story.tell(record_services.segment_sealed, key="seal", service="home", root="9" * 64,
               digest=Digest("8" * 64), rows=3, location="segments/home/9.parquet",
               first_at=START, last_at=story.clock.now(),
               deployments=[story.deployment("a"), story.deployment("d")],
               policies=[story.by.uri("policy", "home", "2")])  # fmt: skip
    story.tell(record_acts.audit_exported, key="export", bundle=Digest("7" * 64),
               subject=Uri("mlg://prediction/mlg/movies/home@p1"),
               of=story.segment(), files=10)  # fmt: skip
    for name, thing in (("model", story.version("d")), ("service", story.service)):
        story.tell(record_acts.audit_exported, key=f"export {name}", bundle=Digest("6" * 64),
                   subject=thing, of=thing, files=12)  # fmt: skip
    story.tell(record_automations.freeze_changed, key="freeze", on=True, reason="a holiday")
    rows: dict[str, Any] = {"service": "home", "experiment": "rows-1"}
    story.tell(record_experiments.experiment_begun, key="rows-1:begun", **rows, name="rows",
               cells={"A": story.version("a"), "control": story.version("d")},
               facts={"share_bp.A": 500}, reason="does the old one hold up?")  # fmt: skip
    story.tell(record_experiments.experiment_moved, key="rows-1:1", **rows, before="running",
               after="decided", reason="each cell has its verdict", by="mlg", ended=True,
               verdicts={"A": {"viewers": 900, "metric.ctr": "FAIL: worse"}})  # fmt: skip
    story.tell(record_experiments.experiment_told, key="rows-1:2", **rows, what="called",
               reason="a cell harms")  # fmt: skip
    day: dict[str, Any] = {"service": "home", "gameday": "g1"}
    story.tell(record_gamedays.gameday_begun, key="g1:begun", **day, fault="kill",
               environment="staging", target="gameday-replica-home-1")  # fmt: skip
    story.tell(record_gamedays.gameday_checked, key="g1:checked", **day, verdict="FAIL",
               reason="load FAIL: 900 ms")  # fmt: skip
    story.tell(record_gamedays.gameday_ended, key="g1:ended", **day, verdict="PASS",
               score={"detected_s": 0.4, "recovered_s": 2.0})  # fmt: skip


def reversal(story: Story) -> None:
    """Tell a version that fails after its swap, and what served before swapped in again."""
    train(story, "e")
    begin_rollout(story, "e", "a" * 12)
    shares(story, "de:shares", a=0, e=10_000)
    move(story, "e", 3, "promoting", "swapped", 10_000, "300 sticky units; errors PASS",
         swap=SwapFigures(before="a" * 12, after="e" * 12, number=1, limit=9, reversal=False)
         )  # fmt: skip
    shares(story, "de:back", a=10_000, e=0)
    move(story, "e", 4, "swapped", "rolling_back", 0, "errors FAIL",
         {"errors": "FAIL: 9 of 60"}, back="da", figures=[FAILED],
         rollback=RollbackFigures(left="e" * 12, to="a" * 12, deployment="da"),
         swap=SwapFigures(before="e" * 12, after="a" * 12, number=2, limit=9, reversal=True)
         )  # fmt: skip


def whole_story() -> Story:
    """Return everything, told once."""
    story = Story()
    opening(story)
    setbacks(story)
    reversal(story)
    healing(story)
    return story


def later(minutes: float) -> datetime:
    """Return the time so many minutes after the start."""
    return START + timedelta(minutes=minutes)
