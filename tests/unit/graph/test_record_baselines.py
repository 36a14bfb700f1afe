"""A kept baseline is a version on the graph, joined to what it is of."""

from datetime import UTC, datetime

import pytest

from mlg.core.clock import ManualClock
from mlg.core.uris import Digest, parse_uri
from mlg.graph.record import Recorder, model_uri
from mlg.graph.record_baselines import baseline_kept, baseline_uri

AT = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = Digest("a" * 64), Digest("b" * 64)


class Counter:
    def new_id(self) -> str:
        return "id-1"


RECORDER = Recorder(project="p", actor="system:monitors", clock=ManualClock(AT), ids=Counter())


def kept(stream: str = "requests", **more):
    facts = {"monitor": "home-features", "service": "home", "digest": NEW, "reason": "learned"}
    return baseline_kept(RECORDER, key="k", stream=stream, **{**facts, **more})


def arrows(event) -> set[tuple[str, str, str]]:
    return {
        (parse_uri(e.src).name, e.role, parse_uri(e.dst).version or "") for e in event.edges
    }


def test_a_baseline_is_named_after_monitor_stream_and_content() -> None:
    uri = baseline_uri(RECORDER, "home-features", "quality:v1", NEW)
    assert parse_uri(uri).name == "home-features/quality:v1"
    assert parse_uri(uri).version == "b" * 12


def test_the_first_version_of_the_requests_is_one_of_the_service_only() -> None:
    event = kept(facts={"windows_learned": 20})
    assert event.type == "mlg.baseline.kept"
    assert arrows(event) == {("home", "version_of", "b" * 12)}
    (own,) = [one for one in event.nodes if one.uri == event.subject]
    assert own.digest == NEW
    assert dict(own.attrs) == {
        "monitor": "home-features", "service": "home", "stream": "requests",
        "reason": "learned", "windows_learned": 20,
    }  # fmt: skip


def test_the_next_one_takes_its_place_and_is_derived_from_the_model_that_answered() -> None:
    version = model_uri(RECORDER, "ranker", "v1")
    event = kept("v1", previous=OLD, model_version=version, reason="incident")
    assert arrows(event) == {
        ("home", "version_of", "b" * 12),
        ("ranker", "derived_from", "b" * 12),
        ("home-features/v1", "supersedes", "b" * 12),
    }
    old = baseline_uri(RECORDER, "home-features", "v1", OLD)
    assert [one.uri for one in event.nodes if one.ended] == [old]


def test_the_same_content_supersedes_nothing() -> None:
    event = kept(previous=NEW)
    assert arrows(event) == {("home", "version_of", "b" * 12)}
    assert not [one for one in event.nodes if one.ended]


def test_a_reason_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown reason"):
        kept(reason="because")
