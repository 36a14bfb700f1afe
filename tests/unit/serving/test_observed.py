"""Confidence from observed answers, against counts made by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.core.clock import rfc3339
from mlg.serving.observed import LEAST_ANSWERS, SETTLES_S, Observations, levels_of

T0 = datetime(2026, 1, 1, tzinfo=UTC)
PAIRS = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=400)


def answered(observed: Observations, name: str, at: datetime, **changes: object) -> None:
    observed.answer(
        {
            "prediction_id": name,
            "model_version": "adopted",
            "served_by": "model",
            "items": ["a", "b"],
            "scores": [0.5, 0.25],
            "at": rfc3339(at),
            **changes,
        }
    )


def played(observed: Observations, name: str, item: str = "b", event: str = "play") -> None:
    observed.feedback({"prediction_id": name, "item_id": item, "event": event})


@given(PAIRS)
def test_the_levels_together_are_the_overall_share(pairs: list[tuple[int, bool]]) -> None:
    answers = [(float(score), hit) for score, hit in pairs]
    found = levels_of(answers)
    hits = sum(hit for _, hit in answers)
    if len(answers) < 200 or hits < 20:
        assert found is None
        return
    assert found is not None
    mean = np.mean([found.confidence(score) for score, _ in answers])
    assert mean == pytest.approx(hits / len(answers))
    assert all(0.0 <= share <= 1.0 for share in found.shares)


def test_a_level_has_the_share_of_hits_of_its_scores() -> None:
    # 5 scores, 100 answers each; the n-th has n * 20 hits
    answers = [(float(n), i < 20 * n) for n in range(1, 6) for i in range(100)]
    found = levels_of(answers)
    assert found is not None
    assert [found.confidence(n) for n in range(1, 6)] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert found.confidence(-9.0) == 0.2
    assert found.confidence(9.0) == 1.0


def test_one_score_for_everything_is_one_level() -> None:
    found = levels_of([(0.5, n % 4 == 0) for n in range(200)])
    assert found is not None
    assert (found.edges, found.shares) == ((), (0.25,))


def test_only_settled_answers_of_the_recommender_count() -> None:
    observed = Observations("adopted")
    answered(observed, "hit", T0)
    played(observed, "hit")
    answered(observed, "seen", T0)
    played(observed, "seen", event="impression")
    answered(observed, "elsewhere", T0)
    played(observed, "elsewhere", item="z")
    answered(observed, "listed", T0, served_by="fallback")
    answered(observed, "another", T0, model_version="v2")
    assert observed.settled() == ()  # their time for feedback has only begun
    answered(observed, "now", T0 + timedelta(seconds=SETTLES_S))
    assert observed.settled() == ((0.5, True), (0.5, False), (0.5, False))


def test_until_there_is_feedback_there_is_no_confidence() -> None:
    assert levels_of([(0.5, False)] * LEAST_ANSWERS * 10) is None
    assert levels_of([]) is None
