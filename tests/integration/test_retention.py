"""Answers past their time are erased, and log files go when nobody needs them."""

import itertools
import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.privacy import START, Fuse, Home, Killed, fused, hours

from mlg.graph import merkle
from mlg.graph.project import NodeUpsert, resolve


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path / "home")
    found.apply()
    yield found
    found.close()


def filled(home: Home) -> list[str]:
    """Two answers of ten days ago and one of now, all sealed; the ten days are over."""
    stream = home.stream()
    ids = [home.answer(stream, n, START + timedelta(minutes=n)) for n in range(2)]
    home.seals.seal_closed("home", START + hours(2))
    ids.append(home.answer(stream, 2, START + timedelta(days=10)))
    home.seals.seal_closed("home", START + timedelta(days=10, hours=2))
    stream.close()
    home.clock.wait(timedelta(days=10, hours=1).total_seconds())
    return ids


def written(home: Home, at: datetime) -> None:
    for path in home.seals.folder("home").glob("*.seg"):
        os.utime(path, (at.timestamp(), at.timestamp()))


def test_what_is_past_its_time_goes_and_its_leaves_stay(home: Home) -> None:
    ids = filled(home)
    old, new = home.seals.segments("home")
    done = home.privacy.retention.apply()
    assert [(s["service"], s["rows"], s["segments"]) for s in done["services"]] == [
        ("home", 2, 1)
    ]
    assert [(found, row is None) for found, row in home.rows()] == [
        (ids[0], True), (ids[1], True), (ids[2], False),
    ]  # fmt: skip
    segment, row = home.seals.find(("home",), ids[1])
    assert (segment.root, segment.erased, row.salt) == (old.root, 2, b"")
    path = merkle.proof(merkle.levels(row.leaves), row.index)
    assert merkle.verify(row.leaf, 1, 2, path, bytes.fromhex(old.root))
    assert home.seals.segments("home")[1] == new
    (event,) = home.events("mlg.retention.applied")
    assert dict(event.data)["rows"] == 2
    sealed = home.events("mlg.prediction_segment.sealed")[0]
    facts = [
        NodeUpsert(
            uri=fact.uri, kind="prediction_segment", order=(found.at, found.key, 0),
            digest=fact.digest, attrs=fact.attrs,
        )
        for found in (sealed, event)
        for fact in found.nodes
    ]  # fmt: skip
    state = resolve(facts)
    assert state is not None
    assert (state.digest, dict(state.attrs)["erased_rows"]) == (segment.digest, 2)
    assert home.privacy.retention.apply() == {"services": []}


def test_looking_erases_nothing(home: Home) -> None:
    filled(home)
    would = home.privacy.retention.apply(dry_run=True)
    assert would["services"][0]["rows"] == 2
    assert all(row for _, row in home.rows())
    assert home.privacy.retention.apply()["services"][0]["rows"] == 2


@pytest.mark.parametrize("missing", ["nothing", "age", "seal", "live", "monitor", "rollout"])
def test_a_log_file_goes_when_it_is_old_sealed_and_read_by_all(
    home: Home, missing: str
) -> None:
    filled(home)
    if missing == "seal":
        stream = home.stream()
        home.answer(stream, 9, START + timedelta(days=11))
        stream.close()
        for path in sorted(home.seals.folder("home").glob("*.seg"), key=os.path.getmtime)[:-1]:
            path.unlink()
    if missing != "live":
        home.tail.round()
    if missing != "monitor":
        home.monitoring.round()
    if missing == "rollout":
        home.files.write(
            "services/home/rollout.json",
            b'{"rollout": "r", "state": "canary", "candidate": "v2"}',
        )
    written(home, home.clock.now() - timedelta(hours=23 if missing == "age" else 25))
    left = {path.name for path in home.seals.folder("home").glob("*.seg")}
    done = home.privacy.retention.apply()["services"][0]
    now = {path.name for path in home.seals.folder("home").glob("*.seg")}
    assert now == (set() if missing == "nothing" else left)
    assert done["log_files"] == len(left) - len(now)


@pytest.mark.parametrize("after", [False, True] if os.environ.get("MLG_FULL") else [True])
def test_interrupted_anywhere_it_is_finished_and_told_once(tmp_path: Path, after: bool) -> None:
    lived = Home(tmp_path / "lived")
    lived.apply()
    filled(lived)
    now, whole = lived.clock.now(), False
    lived.close()
    for place in itertools.count():
        assert place < 30
        path = tmp_path / f"home-{place}"
        shutil.copytree(lived.home, path)
        dying = fused(path, Fuse(place, after=after))
        dying.clock.wait((now - START).total_seconds())
        try:
            dying.privacy.retention.apply()
            whole = True
        except Killed:
            pass
        dying.close()
        again = Home(path)
        again.clock.wait((now - START).total_seconds())
        again.seals.recover()
        again.privacy.retention.apply()
        (event,) = again.events("mlg.retention.applied")
        assert dict(event.data)["rows"] == 2
        assert [row is None for _, row in again.rows()] == [True, True, False]
        kept = [p.name for p in (path / "artifacts").glob("*/*") if len(p.name) == 64]
        segments = {segment.digest for segment in again.seals.segments("home")}
        assert segments <= set(kept)
        assert len(kept) == len(segments) + 1  # and the manifest's folder
        again.close()
        if whole:
            return
