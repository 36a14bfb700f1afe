"""Every core value can be encoded as JSON and read back, copied, and hashed."""

import dataclasses
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.core import (
    artifacts,
    events,
    measure,
    nodes,
    ports,
    predict,
    principal,
    processes,
    reading,
    steps,
    traffic,
    uris,
)
from mlg.core.clock import ManualClock, parse_time, rfc3339

MODULES = (
    artifacts, events, measure, nodes, ports, predict, principal, processes, reading, steps,
    traffic, uris,
)  # fmt: skip
TYPES = sorted(
    {
        kind
        for module in MODULES
        for kind in vars(module).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
    },
    key=lambda kind: kind.__name__,
)

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
SHARES = (traffic.Share(version="b", bp=9_950), traffic.Share(version="a", bp=50))
VALUES = (
    traffic.TrafficSplit(service="home", shares=SHARES),
    nodes.Node(uri=uris.make_uri("run", "p", "r", "1"), kind="run", name="r", valid_from=AT),
    nodes.Edge(
        src=uris.Uri("mlg://a"), dst=uris.Uri("mlg://b"), role="used",
        event=uris.EventId("e"), valid_from=AT,
    ),
    predict.Query(user_id=1, k=3, at=AT, history=(predict.Interaction(item_id="x", at=AT),)),
    predict.ServingPolicy(service="home", version="1"),
    steps.StepResult(metrics=(("ndcg@10", 0.1),), facts=(("rows", 3),)),
    ports.Cursor(consumer="c", positions=(("f", 3),)),
)  # fmt: skip


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_a_core_type_is_frozen_slotted_and_keyword_only(kind: type) -> None:
    assert kind.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(kind))
    assert hasattr(kind, "__slots__")


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_goes_through_json_and_is_hashable(value: object) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value
    assert hash(value) == hash(dataclasses.replace(value))  # type: ignore[type-var]


@given(st.lists(st.integers(-5, 10_005), min_size=1, max_size=4))
def test_a_split_exists_only_if_it_adds_up(parts: list[int]) -> None:
    shares = tuple(traffic.Share(version=str(n), bp=bp) for n, bp in enumerate(parts))
    valid = sum(parts) == traffic.FULL_BP and all(0 <= bp <= 10_000 for bp in parts)
    if valid:
        split = traffic.TrafficSplit(service="s", shares=shares[::-1])
        assert split == traffic.TrafficSplit(service="s", shares=shares)
    else:
        with pytest.raises(ValueError, match="sum"):
            traffic.TrafficSplit(service="s", shares=shares)


TEXT = st.text(st.characters(codec="utf-8"), min_size=1)


@given(TEXT, TEXT, TEXT, TEXT, st.none() | TEXT)
def test_a_uri_gives_back_its_parts(
    kind: str, provider: str, namespace: str, name: str, version: str | None
) -> None:
    uri = uris.make_uri(kind, namespace, name, version, provider=provider)
    assert uris.parse_uri(uri) == uris.UriParts(
        kind=kind, provider=provider, namespace=namespace, name=name, version=version
    )
    assert uri.isascii()


@pytest.mark.parametrize(
    "text", ["", "mlg://", "mlg://a/b/c", "http://a/b/c/d", "mlg://a/b/c/@1"]
)
def test_what_is_no_uri_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected mlg|empty"):
        uris.parse_uri(text)


def test_every_role_has_a_class_and_pairs_of_known_kinds() -> None:
    assert set(nodes.ALLOWED) == set(nodes.ROLE_CLASS)
    for pairs in nodes.ALLOWED.values():
        assert {kind for pair in pairs for kind in pair} <= nodes.KINDS


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(AT)
    assert clock.now() == clock.now() == AT
    clock.wait(1.5)
    assert (clock.now() - AT).total_seconds() == 1.5
    assert clock.monotonic_s() == 1.5


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives_as_text(at: datetime) -> None:
    if at.year >= 1000:
        assert parse_time(rfc3339(at)) == at


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        parse_time("2026-01-01T00:00:00")
    with pytest.raises(ValueError, match="zone"):
        rfc3339(datetime(2026, 1, 1))  # noqa: DTZ001
