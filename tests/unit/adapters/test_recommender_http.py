"""When an adopted recommender counts as down, against a real server."""

import socket
from datetime import UTC, datetime

import pytest
from tests.conftest import until
from tests.foreign import foreign

from mlg.adapters.recommender_http import HttpRecommender
from mlg.app.adopted import Lookout
from mlg.core.errors import BackendError
from mlg.core.predict import Query
from mlg.serving.instruments import Instruments
from mlg.serving.popularity import StoredList
from mlg.telemetry.reading import read_replica

QUERY = Query(user_id=7, k=3, at=datetime(2026, 1, 1, tzinfo=UTC))


def fail(asked: HttpRecommender, times: int) -> None:
    for _ in range(times):
        with pytest.raises(BackendError):
            asked.recommend(QUERY)


def test_three_failures_in_a_row_are_down_and_one_good_answer_is_not() -> None:
    with foreign() as old:
        asked = HttpRecommender(old.url, StoredList(), timeout_s=5.0)
        instruments = Instruments("home", "adopted", problem=asked.problem)
        old.status = 500
        fail(asked, 2)
        old.status = 200
        asked.recommend(QUERY)
        old.status = 500
        fail(asked, 2)
        assert asked.problem() == ""
        fail(asked, 1)
        assert asked.problem() == "the adopted recommender answered 500"
        assert read_replica(instruments.text().decode()).problem == asked.problem()
        asked.look()  # it listens, and that is no answer
        assert asked.problem()
        old.status = 200
        asked.recommend(QUERY)
        assert asked.problem() == ""
        assert asked.asks == 7
        assert read_replica(instruments.text().decode()).problem == ""
        asked.close()


def test_one_that_is_gone_is_missed_though_nobody_asks_and_noticed_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        asked = HttpRecommender(f"http://127.0.0.1:{port}", StoredList())
        lookout = Lookout(asked, every_s=0.01)
        lookout.start()
        try:
            asked.look()
            assert asked.problem() == ""
            listening.close()
            until(asked.problem)
            assert asked.problem() == (
                "the adopted recommender cannot be reached (ConnectionRefusedError)"
            )
            with socket.create_server(("127.0.0.1", port)):
                until(lambda: not asked.problem())
        finally:
            lookout.stop()
    assert asked.asks == 0


def test_refused_requests_are_forgotten_when_it_listens_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    asked = HttpRecommender(f"http://127.0.0.1:{port}", StoredList())
    fail(asked, 3)
    assert "did not answer (ConnectionRefusedError)" in asked.problem()
    with socket.create_server(("127.0.0.1", port)):
        asked.look()
        assert asked.problem() == ""


def test_own_models_have_no_such_series() -> None:
    assert b"mlg_adopted_down" not in Instruments("home", "v1").text()
