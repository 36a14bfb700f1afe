"""Why, by HTTP: what is asked, and what is refused."""

from typing import Any

import pytest


def ask(client: Any, **query: str) -> Any:
    return client.get("/api/v1/why", params=query)


@pytest.mark.parametrize("text", ["p-1", "mlg://prediction/mlg/movies/home@p-1"])
def test_a_prediction_is_asked_for_by_id_and_by_uri(client: Any, text: str) -> None:
    told = ask(client, uri=text)
    assert told.status_code == 200
    assert told.json()["clauses"][0]["seq"] == 3
    assert told.json()["paragraph"] == "The model [3]."


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"uri": "p-1", "not": "promoted"}, 422),
        ({"uri": "p-1", "not": "eaten"}, 422),
        ({"uri": "p-1", "not": "x" * 100}, 400),
        ({"uri": "mlg://broken"}, 422),
        ({"uri": "mlg://prediction/mlg/movies/home"}, 422),
        ({"uri": "no-such-prediction"}, 404),
        ({"uri": "mlg://rollout/mlg/movies/home@none"}, 404),
        ({"uri": "x" * 50_000}, 400),
        ({}, 400),
    ],
)
def test_what_cannot_be_answered_is_refused(client: Any, query: Any, status: int) -> None:
    answer = ask(client, **query)
    assert answer.status_code == status, answer.text
    assert answer.json()["what"]
