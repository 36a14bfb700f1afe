"""Events of alerts say what a person and a rule need, and join the graph."""

from datetime import UTC, datetime

import pytest

from mlg.core.clock import ManualClock
from mlg.core.measure import Alert, Measurement
from mlg.core.uris import Digest, Uri
from mlg.graph.record import Recorder, run_uri
from mlg.graph.record_alerts import (
    alert_changed,
    alert_uri,
    incident_changed,
    incident_handled,
    incident_uri,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Counter:
    def new_id(self) -> str:
        return "id-1"


RECORDER = Recorder(project="p", actor="system:monitors", clock=ManualClock(AT), ids=Counter())
INCIDENT = incident_uri(RECORDER, "home-features:1@ab12")


def changed(word: str, subject: Uri, sample: Digest | None = None):
    return alert_changed(
        RECORDER,
        key=f"k:{word}",
        word=word,
        alert=Alert(
            uri=alert_uri(RECORDER, "home-features:1@ab12", "confidence_drop"),
            measurement=Measurement(
                subject=subject, metric="raw_confidence.mean", value=-9.0, unit="cusum_sd",
                n=1000, start=AT, end=AT, limits=(-6.0, 6.0), verdict="FAIL",
            ),
            slice="age < 25",
            sample=sample,
            remediation="Retrain.",
            opened_at=AT,
        ),
        kind="confidence_drop",
        monitor="home-features",
        service="home",
        incident=INCIDENT,
        feature="raw_confidence",
        severity=0.8,
        cause_named="loss",
    )  # fmt: skip


def test_an_alert_has_its_facts_and_its_arrows() -> None:
    version = RECORDER.uri("model_version", "ranker", "v1")
    event = changed("opened", version, Digest("d" * 64))
    facts = dict(next(node for node in event.nodes if node.uri == event.subject).attrs)
    assert event.type == "mlg.alert.opened"
    assert event.subject == "mlg://alert/mlg/p/home-features%3A1%2Fconfidence_drop@ab12"
    assert {k: facts[k] for k in ("kind", "service", "monitor", "feature")} == {
        "kind": "confidence_drop",
        "service": "home",
        "monitor": "home-features",
        "feature": "raw_confidence",
    }
    assert (facts["statistic"], facts["limit"], facts["severity"]) == (-9.0, 6.0, 0.8)
    assert (facts["slice"], facts["remediation"]) == ("age < 25", "Retrain.")
    assert facts["sample"] == "d" * 64
    arrows = {(edge.src, edge.role, edge.dst) for edge in event.edges}
    assert arrows == {
        (RECORDER.uri("service", "home"), "detected_on", event.subject),
        (version, "detected_on", event.subject),
        (event.subject, "caused", INCIDENT),
    }


def test_a_closed_alert_has_ended_and_keeps_its_sample() -> None:
    event = changed("closed", RECORDER.uri("service", "home"))
    node = next(node for node in event.nodes if node.uri == event.subject)
    assert node.ended
    assert "sample" not in dict(node.attrs)
    assert len(event.edges) == 2


def test_a_healed_incident_names_the_run_that_healed_it() -> None:
    run = run_uri(RECORDER, "ranker", "r1")
    event = incident_handled(
        RECORDER, key="k", word="healed", incident=INCIDENT, service="home",
        reason="v2 has all of the traffic", healed_by=(run,),
    )  # fmt: skip
    assert [(e.src, e.role, e.dst) for e in event.edges] == [(INCIDENT, "healed_by", run)]
    assert event.type == "mlg.incident.healed"


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown word"):
        changed("exploded", RECORDER.uri("service", "home"))
    with pytest.raises(ValueError, match="unknown word"):
        incident_changed(RECORDER, key="k", word="exploded", incident=INCIDENT, facts={})
    with pytest.raises(ValueError, match="unknown word"):
        incident_handled(
            RECORDER, key="k", word="exploded", incident=INCIDENT, service="", reason=""
        )
