"""Answers are sealed hour by hour, each exactly once, whatever is interrupted."""

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.privacy import START, Fuse, Home, Killed, fused, hours

from mlg.app.sealed import hourly
from mlg.core.errors import NotFoundError
from mlg.graph import merkle


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path / "home")
    yield found
    found.close()


def test_an_hour_is_sealed_when_it_is_over_and_not_before(home: Home) -> None:
    stream = home.stream()
    early = home.answer(stream, 1, START + timedelta(minutes=59))
    home.answer(stream, 1, START + timedelta(minutes=60))
    assert home.seals.seal_closed("home", START + timedelta(minutes=60)) == 0
    assert home.seals.seal_closed("home", START + timedelta(minutes=61)) == 1
    assert [found for found, _ in home.rows()] == [early]
    stream.close()


def test_large_hours_have_segments_of_their_own_and_small_ones_share() -> None:
    rows = [
        {"at": f"2026-01-01T{hour:02}:00:{n % 60:02}Z"} for hour in (1, 0) for n in range(600)
    ]
    assert [len(group) for group in hourly(rows)] == [600, 600]
    assert hourly(rows)[0][0]["at"].startswith("2026-01-01T00")
    assert [len(group) for group in hourly(rows[::2])] == [600]


def test_what_comes_late_for_a_sealed_hour_is_sealed_too_and_nothing_twice(home: Home) -> None:
    one, other = home.stream("replica-home-1"), home.stream("replica-home-2")
    ids = [home.answer(one, n, START + timedelta(minutes=n)) for n in range(5)]
    home.seals.seal_closed("home", START + hours(2))
    ids.append(home.answer(other, 9, START + timedelta(minutes=30)))
    home.seals.seal_closed("home", START + hours(2))
    home.seals.seal_closed("home", START + hours(2))
    assert [found for found, _ in home.rows()] == ids
    assert len(home.events("mlg.prediction_segment.sealed")) == 2
    one.close()
    other.close()


def test_a_question_seals_its_own_file_up_to_its_answer_and_no_more(home: Home) -> None:
    one, other = home.stream("replica-home-1"), home.stream("replica-home-2")
    ids = [home.answer(one, n, START + timedelta(seconds=n)) for n in range(10)]
    others = [home.answer(other, n, START + timedelta(seconds=n)) for n in range(10)]
    segment, row = home.seals.find(("home",), ids[3])
    assert (segment.rows, row.index) == (4, 3)
    assert [found for found, _ in home.rows()] == ids[:4]
    assert home.seals.seal_closed("home", START + hours(3)) == 16
    assert sorted(found for found, _ in home.rows()) == sorted(ids + others)
    one.close()
    other.close()


def test_an_answer_can_be_read_before_it_is_sealed(home: Home) -> None:
    stream = home.stream()
    asked = home.answer(stream, 1, START)
    segment, row = home.seals.read(("home",), asked)
    assert segment is None
    assert (row["prediction_id"], row["items"]) == (asked, [7, 8])
    assert home.seals.segments("home") == ()
    with pytest.raises(NotFoundError):
        home.seals.read(("home",), "nobody")
    with pytest.raises(NotFoundError):
        home.seals.find(("home",), "nobody")
    stream.close()


@pytest.mark.parametrize("after", [False, True])
def test_interrupted_anywhere_each_answer_is_sealed_and_told_once(
    tmp_path: Path, after: bool
) -> None:
    whole = False
    for place in itertools.count():
        assert place < 40
        path = tmp_path / f"home-{place}"
        home = Home(path)
        stream = home.stream()
        ids = [home.answer(stream, n, START + hours(n // 700)) for n in range(0, 2_100, 350)]
        home.close()
        dying = fused(path, Fuse(place, after=after))
        try:
            dying.seals.seal_closed("home", START + hours(2))
            whole = True
        except Killed:
            pass
        dying.close()
        # more is over by now than was then
        again = Home(path)
        again.seals.recover()
        again.seals.seal_closed("home", START + hours(9))
        assert [found for found, _ in again.rows()] == ids
        told = [event.key for event in again.events("mlg.prediction_segment.sealed")]
        segments = again.seals.segments("home")
        assert told == [f"seal:home:{segment.root}" for segment in segments]
        kept = [p.name for p in (path / "artifacts").glob("*/*") if len(p.name) == 64]
        assert sorted(kept) == sorted(segment.digest for segment in segments)
        again.close()
        stream.close()
        if whole:
            return


def test_every_sealed_answer_has_a_proof_under_the_root_of_its_event(home: Home) -> None:
    stream = home.stream()
    ids = [home.answer(stream, n, START) for n in range(7)]
    home.seals.seal_closed("home", START + hours(2))
    (event,) = home.events("mlg.prediction_segment.sealed")
    root = bytes.fromhex(str(dict(event.nodes[0].attrs)["merkle_root"]))
    for asked in ids:
        _, row = home.seals.find(("home",), asked)
        tree = merkle.levels(row.leaves)
        path = merkle.proof(tree, row.index)
        assert merkle.verify(row.leaf, row.index, len(row.leaves), path, root)
    stream.close()
