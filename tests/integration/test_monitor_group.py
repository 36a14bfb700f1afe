"""Monitors of several hosts over one JetStream: each record counts once, whoever dies."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from tests.conftest import until
from tests.integration.test_monitoring import JOBS, MANIFEST, NAMES, WINDOW, World

from mlg.adapters.files_local import LocalFiles
from mlg.adapters.files_nats import NatsFiles
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.nats_connection import NatsConnection
from mlg.adapters.secrets_memory import MemorySecrets
from mlg.adapters.stream_nats import NatsStream
from mlg.adapters.stream_segments import SegmentStream
from mlg.app.events import events_of
from mlg.app.monitor_group import Together
from mlg.app.monitoring import Monitoring
from mlg.app.monitoring_state import Stored, path_of
from mlg.app.settings import EventSettings
from mlg.core.clock import ManualClock
from mlg.core.ports import Record
from mlg.manifest.load import parse_manifest
from mlg.monitors.monitor import Monitor, new_monitor, observe, plan_of
from mlg.monitors.turns import owner_of
from mlg.monitors.windows import layout_of
from mlg.serving.log import decode_prediction

ROOT = Path(__file__).parents[2]
MONITORS = tuple(f"m{n}" for n in range(4))
LINES = "\n".join(f"  {name}: {{watch: home, window: 100 events}}" for name in MONITORS)
SEVERAL = MANIFEST.partition("monitors:")[0] + f"monitors:\n{LINES}\n"


class Group:
    """A stream, and what the hosts keep of their monitors."""

    def __init__(self, url: str, tmp_path: Path) -> None:
        self.url, self.namespace, self.folder = url, f"n{uuid4().hex}", tmp_path
        self.connection = NatsConnection(url)
        self.stream = NatsStream(self.connection, "home", "test", namespace=self.namespace)
        for name in ("world", "one", "two"):
            (tmp_path / name).mkdir()
        self.world = World(tmp_path / "world")
        self.written: list[Record] = []
        (tmp_path / "mlg.yaml").write_text(SEVERAL)

    def answers(self, windows: int) -> None:
        rows = [self.world.one(0.15) for _ in range(windows * WINDOW)]
        self.stream.append(rows)
        self.written += rows

    def memory(self, monitor: str) -> Stored | None:
        content = NatsFiles(self.connection, namespace=self.namespace).read(path_of(monitor))
        return None if content is None else msgspec.json.decode(content, type=Stored)

    def counted(self, monitor: str) -> int:
        stored = self.memory(monitor)
        return 0 if stored is None else stored.monitor.fold.read

    def expected(self) -> Monitor:
        """Return what one monitor comes to that reads everything in one go."""
        spec = parse_manifest(SEVERAL, "mlg.yaml").spec.monitors["m0"]
        version = self.world.version
        layout = layout_of(version, NAMES, {"viewer:job": JOBS})
        rows = [decode_prediction(record.payload) for record in self.written]
        plan = plan_of(spec)
        return observe(
            new_monitor(plan), rows, [], plan=plan, layouts={version: layout}
        ).monitor

    def check(self, monitor: str, expected: Monitor) -> None:
        stored = self.memory(monitor)
        assert stored is not None
        fold = stored.monitor.fold
        assert (fold.read, fold.duplicates, fold.malformed) == (len(self.written), 0, 0)
        assert stored.windows == len(self.written) // WINDOW
        for name, stream in expected.fold.streams.items():
            assert fold.streams[name].closed == stream.closed
            found, wanted = stored.monitor.newest[name], expected.newest[name]
            assert (found.number, found.start, found.end) == (
                wanted.number, wanted.start, wanted.end,
            )  # fmt: skip
            for one, other in zip(found.features, wanted.features, strict=True):
                assert (one.n, one.missing, one.counts) == (
                    other.n,
                    other.missing,
                    other.counts,
                )
                assert (one.mean, one.m2) == pytest.approx((other.mean, other.m2))


@pytest.fixture
def group(nats_url: str, tmp_path: Path) -> Iterator[Group]:
    made = Group(nats_url, tmp_path)
    yield made
    made.connection.close()
    made.world.stream.close()
    made.world.store.close()


@contextlib.contextmanager
def host(group: Group, name: str) -> Iterator[subprocess.Popen[bytes]]:
    home = group.folder / name
    with subprocess.Popen(
        [sys.executable, "-m", "tests.monitor_host", home, group.url, group.namespace, name,
         group.folder / "mlg.yaml"],
        stdin=subprocess.PIPE, cwd=ROOT,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def beats(group: Group) -> tuple[str, ...]:
    files = NatsFiles(group.connection, namespace=f"{group.namespace}_hosts")
    return files.list("hosts")


def test_a_host_killed_in_the_middle_leaves_every_record_counted_once(group: Group) -> None:
    names = ("one", "two")
    assert {owner_of(name, names) for name in MONITORS} == set(names)
    with host(group, "one") as one, host(group, "two"):
        until(lambda: len(beats(group)) == 2, 30)
        group.answers(5)
        mine = [name for name in MONITORS if owner_of(name, names) == "one"]
        until(lambda: all(group.counted(name) for name in mine), 30)
        group.answers(5)
        until(lambda: any(group.counted(name) > 5 * WINDOW for name in MONITORS), 30)
        one.kill()
        group.answers(5)
        until(lambda: all(group.counted(n) >= len(group.written) for n in MONITORS), 30)
    expected = group.expected()
    for name in MONITORS:
        group.check(name, expected)


def test_two_hosts_that_both_hold_themselves_for_the_owner_count_once(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    group.world.manifest = parse_manifest(SEVERAL, "mlg.yaml").spec
    clocks = [ManualClock(), ManualClock()]
    connections = [NatsConnection(group.url) for _ in clocks]
    both: list[Monitoring] = [
        group.world.monitoring(
            Together(connection, "same", clock, namespace=group.namespace), clock
        )
        for connection, clock in zip(connections, clocks, strict=True)
    ]
    with caplog.at_level("INFO", "mlg.monitoring"):
        for _ in range(12):
            group.answers(1)
            for one, clock in zip(both, clocks, strict=True):
                clock.wait(3.0)
                one.round()
    assert "m0 is run by another host" in caplog.text
    one.round()  # from what the other one wrote
    one.save()
    expected = group.expected()
    for name in MONITORS:
        group.check(name, expected)
    for connection in connections:
        connection.close()


def test_a_host_that_leaves_hands_over_at_once(group: Group) -> None:
    group.world.manifest = parse_manifest(SEVERAL, "mlg.yaml").spec
    clocks = [ManualClock(), ManualClock()]
    connections = [NatsConnection(group.url) for _ in clocks]
    groups = [
        Together(connection, name, clock, namespace=group.namespace)
        for connection, name, clock in zip(connections, ("one", "two"), clocks, strict=True)
    ]
    one, two = (
        group.world.monitoring(member, clock)
        for member, clock in zip(groups, clocks, strict=True)
    )
    group.answers(3)
    one.round()
    assert sorted(one.standings()) == sorted(MONITORS)
    two.round()
    clocks[0].wait(2.0)
    one.round()
    assert set(one.standings()) | set(two.standings()) == set(MONITORS)
    assert not set(one.standings()) & set(two.standings())
    one.stop()
    clocks[1].wait(2.0)
    group.answers(3)
    two.round()
    two.save()
    assert sorted(two.standings()) == sorted(MONITORS)
    expected = group.expected()
    for name in MONITORS:
        group.check(name, expected)
    for connection in connections:
        connection.close()


def test_logs_of_two_homes_are_one_stream_of_the_monitors(group: Group) -> None:
    settings = EventSettings(url=group.url, namespace=group.namespace)
    homes = [group.world.home, group.folder / "two"]
    other = SegmentStream(homes[1] / "segments" / "home", writer_id="replica-home-1")
    clock = ManualClock()
    parts = [
        events_of(
            settings, home=home, files=LocalFiles(home), clock=clock, ids=Uuid7Ids(clock),
            secrets=MemorySecrets({}), services=lambda: ("home",),
        )
        for home in homes
    ]  # fmt: skip
    first, second = (part for part in parts if part is not None)
    group.world.manifest = parse_manifest(SEVERAL, "mlg.yaml").spec
    monitoring = group.world.monitoring(first.group, clock)
    for turn in range(6):
        rows = [group.world.one(0.15) for _ in range(WINDOW)]
        (group.world.stream, other)[turn % 2].append(rows)
        group.written += rows
        for part in (first, second):
            while part.shipper.round():
                pass
        monitoring.round()
    monitoring.save()
    assert monitoring.cursors("home") == [first.shipper.shipped("home")]
    expected = group.expected()
    for name in MONITORS:
        group.check(name, expected)
    other.close()
    for part in (first, second):
        part.close()
