"""The whole room on made traffic: quiet when clean, and right about what changed."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from mlg.core.predict import ServingPolicy
from mlg.manifest.specs_watch import CalendarEntry, MonitorSpec, WindowSpec
from mlg.monitors.alert import alert_of, sentence
from mlg.monitors.expected import expected_at
from mlg.monitors.monitor import Monitor, plan_of, policy_now, settled

Feed = Any


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clean_traffic_with_wobble_raises_no_alert(make_feed: Any, seed: int) -> None:
    assert make_feed.opened(make_feed(seed).windows(40)) == []


@pytest.fixture(scope="module")
def ready(make_feed: Any) -> Feed:
    """Return a feed whose monitor is past phase I, that of its labels included."""
    feed = make_feed(7)
    assert feed.opened(feed.windows(24)) == []
    return feed


@pytest.fixture(scope="module")
def shifted(ready: Feed) -> tuple[Feed, list]:
    feed = ready.fork(8)
    return feed, feed.windows(9, students=0.5)


def test_a_grown_subgroup_is_found_within_a_few_windows_and_named(shifted: tuple) -> None:
    place, incident = shifted[0].opened(shifted[1])[0]
    assert place <= 6
    assert incident.slice.words in {"age < 25", "job = student", "job = student and age < 25"}
    assert incident.slice.live_share > 2 * incident.slice.usual_share
    assert "Taken for:" in sentence(incident)


def test_a_shift_without_loss_is_recorded_and_not_retrained(shifted: tuple) -> None:
    _, incident = shifted[0].opened(shifted[1])[0]
    assert incident.cause.action == "record"


def test_one_shift_is_one_incident_with_a_sample_of_the_slice(shifted: tuple) -> None:
    feed, answers = shifted
    commands = [command for answer in answers for command in answer.commands]
    assert [command.kind for command in commands].count("open") == 1
    assert len({command.key for command in commands}) == len(commands)
    assert 0 < len(commands[0].sample) <= 1_000
    alert = alert_of(commands[0].incident, project="movies")
    assert alert.measurement.verdict == "FAIL"
    assert alert.slice == commands[0].incident.slice.words
    assert feed.monitor.alerts.incident is not None


def test_an_incident_lowers_confidence_and_widens_diversity(
    shifted: tuple, make_feed: Any
) -> None:
    change = policy_now(shifted[0].monitor)
    policy = change.apply(ServingPolicy(service="home", version="1"), "2")
    assert policy.version == "2"
    assert 0.5 < policy.drift_severity <= 1.0
    assert 0 < policy.diversity <= 0.5
    assert policy_now(make_feed(1).monitor).drift_severity == 0.0


def test_a_settled_incident_closes_and_its_streams_are_learned_anew(shifted: tuple) -> None:
    monitor, commands = settled(shifted[0].monitor, "2026-04-01T00:00:00Z")
    assert [command.kind for command in commands] == ["close"]
    assert monitor.alerts.incident is None
    assert not monitor.charts.streams["requests"].baseline.ready


def test_the_monitor_goes_through_json(shifted: tuple) -> None:
    text = msgspec.json.encode(shifted[0].monitor)
    assert msgspec.json.decode(text, type=Monitor) == shifted[0].monitor


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda row: [float("nan"), *row[1:]], "viewer:age is missing"),
        (lambda row: [row[0], row[1], 40.0, row[3]], "history_length has one value only"),
        (lambda row: [row[0], row[1], row[2] * 100, row[3]], "history_length changed its unit"),
        (lambda row: [row[0], -1.0, *row[2:]], "viewer:job has texts never seen before"),
        (lambda row: [float("inf"), *row[1:]], "viewer:age is missing"),
    ],
)
def test_a_broken_feature_is_quarantined_and_never_retrained(
    ready: Feed, broken: Any, reason: str
) -> None:
    feed = ready.fork(11)
    place, incident = feed.opened(feed.windows(5, broken=broken))[0]
    assert place <= 4
    assert incident.cause.action == "quarantine"
    assert reason in incident.cause.reasons


def test_a_measured_loss_calls_for_training(ready: Feed) -> None:
    feed = ready.fork(13)
    feed.windows(14, hit=0.1)
    incident = feed.monitor.alerts.incident
    assert incident is not None
    assert incident.cause.action == "retrain"
    assert any("hit rate" in reason for reason in incident.cause.reasons)


def test_a_fall_of_confidence_alone_proves_no_loss_when_it_is_not_calibrated(
    ready: Feed,
) -> None:
    feed = ready.fork(17)
    feed.windows(16, raw=0.15)  # hits stay: the estimate is wrong, not the answers
    incident = feed.monitor.alerts.incident
    assert incident is not None
    assert incident.cause.action == "record"


def test_baselines_learn_nothing_while_an_incident_is_open(shifted: tuple) -> None:
    feed, _ = shifted
    before = feed.monitor.charts.streams["requests"].baseline.values
    assert feed.monitor.alerts.incident is not None
    later = feed.fork(1)
    later.windows(2, students=0.5)
    assert later.monitor.charts.streams["requests"].baseline.values == before


def test_a_plan_says_what_the_manifest_says() -> None:
    plan = plan_of(MonitorSpec(watch="home", window=WindowSpec(seconds=2.0)))
    assert (plan.window.seconds, plan.window.events) == (2.0, None)
    assert plan_of(MonitorSpec(watch="home")).window.events == 1_000
    assert plan.false_alarm_every_s == 2_592_000


def test_the_calendar_is_read_by_service_and_day() -> None:
    entries = [
        CalendarEntry(promotion="launch", start="2026-07-01", end="2026-07-02T12:00Z"),
        CalendarEntry(season="summer", start="2026-06-01", services=("other",)),
    ]
    noon = datetime(2026, 7, 2, 12, tzinfo=UTC)
    assert expected_at(entries, "home", noon) == ()
    assert expected_at(entries, "home", noon.replace(hour=11)) == ("promotion launch",)
    assert expected_at(entries, "other", noon) == ("season summer",)


def test_a_version_that_abstains_more_is_news_of_itself_and_no_drift_of_the_requests(
    ready: Feed,
) -> None:
    other = ready.fork(21)
    other.version, other.abstains = "v2", 0.3
    assert other.opened(other.windows(12)) == []
    same = ready.fork(21)
    same.abstains = 0.3
    (_, incident), *_ = same.opened(same.windows(12))
    assert [s.metric for s in incident.signals.values()] == ["served_by=fallback.share"]
    assert {s.stream for s in incident.signals.values()} == {"v1"}
