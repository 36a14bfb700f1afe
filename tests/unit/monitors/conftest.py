"""Made traffic for tests of the monitors: viewers with attributes, two requests each."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from mlg.core.clock import rfc3339
from mlg.monitors.fold import WindowPlan
from mlg.monitors.monitor import Monitor, Observed, Plan, new_monitor, observe
from mlg.monitors.windows import layout_of

JOBS = ("artist", "doctor", "engineer", "lawyer", "student", "writer")
NAMES = ("viewer:age", "viewer:job", "history_length", "score_margin")
LAYOUT = layout_of("v1", NAMES, {"viewer:job": JOBS})
START = datetime(2026, 3, 1, tzinfo=UTC)
PLAN = Plan(
    window=WindowPlan(service="home", events=100, label_wait_s=60.0, label_lag=20),
    baseline=20,
)


Made = tuple[list[list[float]], list[float], list[bool]]


def rows(
    rng: np.random.Generator, n: int, *, students: float, hit: float = 0.3, raw: float = 0.3
) -> Made:
    """Return features, raw confidence and hits of n requests."""
    young = rng.random(n) < students
    features = np.column_stack(
        [
            np.where(young, rng.integers(18, 25, n), rng.integers(25, 60, n)),
            np.where(young, 4, np.array([0, 1, 2, 3, 5])[rng.integers(0, 5, n)]),
            rng.gamma(2.0, 20.0, n),
            rng.normal(size=n),
        ]
    )
    confidence = np.clip(rng.normal(raw, 0.1, n), 0, 1)
    return features.tolist(), confidence.tolist(), (rng.random(n) < hit).tolist()


class Feed:
    """Hands made traffic to a monitor, window by window."""

    def __init__(self, seed: int, plan: Plan = PLAN) -> None:
        self.rng = np.random.default_rng(seed)
        self.plan, self.monitor, self.at, self.count = plan, new_monitor(plan), START, 0
        self.version, self.abstains = "v1", 0.0

    def fork(self, seed: int) -> "Feed":
        """Return a feed that goes on from here with numbers of its own."""
        other = Feed(seed, self.plan)
        other.monitor, other.at, other.count = self.monitor, self.at, self.count
        return other

    def windows(
        self, n: int, *, students: float = 0.15, broken: Any = None, **how: Any
    ) -> list:
        """Return the answers of `observe` over n windows; the share of students wobbles."""
        size = self.plan.window.events or 1
        return [
            self.one(
                rows(
                    self.rng, size,
                    students=float(np.clip(students + self.rng.normal(0, 0.02), 0, 1)), **how,
                ),
                broken,
            )
            for _ in range(n)
        ]  # fmt: skip

    def one(self, made: Made, broken: Any = None) -> Observed:
        predictions: list[dict[str, Any]] = []
        feedback: list[dict[str, Any]] = []
        for features, raw, hit in zip(*made, strict=True):
            self.count += 1
            self.at += timedelta(seconds=20)
            values = broken(list(features)) if broken else features
            by = "fallback" if self.rng.random() < self.abstains else "model"
            predictions.append(
                {
                    "prediction_id": f"p{self.count}", "service": "home",
                    "model_version": self.version, "served_by": by, "reason": "ranked",
                    "raw_confidence": raw, "viewer": f"v{self.count // 2}", "items": [7, 8],
                    "at": rfc3339(self.at), "features": values,
                }
            )  # fmt: skip
            feedback.append(
                {
                    "prediction_id": f"p{self.count}",
                    "item_id": 7,
                    "event": "play" if hit else "impression",
                }
            )
        seen = observe(
            self.monitor,
            predictions,
            feedback,
            plan=self.plan,
            layouts={"v1": LAYOUT, "v2": replace(LAYOUT, version="v2")},
        )
        self.monitor: Monitor = seen.monitor
        return seen

    @staticmethod
    def opened(answers: list[Observed]) -> list[tuple[int, Any]]:
        """Return (window, incident) of each incident that opened."""
        return [
            (place, command.incident)
            for place, answer in enumerate(answers)
            for command in answer.commands
            if command.kind == "open"
        ]


@pytest.fixture(scope="session")
def make_feed() -> type[Feed]:
    """Return the maker of feeds."""
    return Feed
