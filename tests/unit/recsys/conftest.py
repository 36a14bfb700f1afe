"""Small made-up worlds, so that no test needs real data."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mlg.recsys import kinds
from mlg.recsys.artifact import Fitted
from mlg.recsys.roles import Roles, roles_from

START = datetime(2026, 1, 1, tzinfo=UTC)
VIEWERS, ITEMS, EVENTS = 60, 40, 30


def film_tables(*, text_ids: bool = False, seed: int = 3) -> dict[str, pa.Table]:
    """Viewers who walk along their own half of the catalogue, with some noise."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for viewer in range(VIEWERS):
        half = viewer % 2
        at = START + timedelta(days=float(rng.uniform(0, 60)))
        place = int(rng.integers(0, 20))
        met: set[int] = set()
        for _ in range(EVENTS // 2):
            item = half * 20 + place % 20
            if rng.random() < 0.15:
                item = int(rng.integers(0, ITEMS))
            place += 1
            if item in met:
                continue
            met.add(item)
            rows.append(
                {
                    "viewer": viewer,
                    "film": f"f{item:03d}" if text_ids else item + 1000,
                    "seen_at": at,
                    "stars": int(rng.integers(1, 6)),
                }
            )
            at += timedelta(minutes=float(rng.integers(0, 3)) * 40.0)
    films = [f"f{item:03d}" if text_ids else item + 1000 for item in range(ITEMS)]
    events = pa.Table.from_pylist(rows)
    stats = [
        {"film": film, "known_at": START + timedelta(days=day), "plays": day * 1.5, "note": "x"}
        for film in films
        for day in range(0, 70, 7)
    ]
    return {
        "plays": events,
        "people": pa.table(
            {
                "viewer": list(range(VIEWERS)),
                "age": [20 + v % 40 for v in range(VIEWERS)],
                "job": [("smith", "baker", "miller")[v % 3] for v in range(VIEWERS)],
            }
        ),
        "films": pa.table(
            {
                "film": films,
                "title": [f"Film {film}" for film in films],
                "first_half": [int(i < 20) for i in range(ITEMS)],
                "studio": ["north" if i % 2 else "south" for i in range(ITEMS)],
            }
        ),
        "daily": pa.Table.from_pylist(stats),
    }


def film_roles() -> Roles:
    return roles_from(
        {
            "interactions": {
                "table": "plays",
                "viewer": "viewer",
                "item": "film",
                "at": "seen_at",
                "value": "stars",
            },
            "viewers": {"table": "people", "key": "viewer", "features": ["age", "job"]},
            "items": {
                "table": "films",
                "key": "film",
                "title": "title",
                "features": ["first_half", "studio"],
            },
            "item_stats": {"table": "daily", "key": "film", "available_at": "known_at"},
        }
    )


SMALL: Mapping[str, Any] = {
    "candidates": 12,
    "trees": {"rounds": 20, "min_data_in_leaf": 5},
}


def fit_films(
    tables: dict[str, pa.Table], params: Mapping[str, Any] = SMALL, kind: str = "two_stage"
) -> Fitted:
    return kinds.fit(kind, tables, film_roles(), params, 7, "films", lambda _: None)


@pytest.fixture(scope="session")
def films() -> dict[str, pa.Table]:
    return film_tables()


@pytest.fixture(scope="session")
def fitted(films: dict[str, pa.Table]) -> Fitted:
    return fit_films(films)


def banner_tables(*, n: int = 4000, seed: int = 5) -> dict[str, pa.Table]:
    """Impressions whose click rate is high only where colour and taste agree."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 6, n)
    taste = rng.integers(0, 2, n)
    p = np.where(item % 2 == taste, 0.35, 0.05)
    return {
        "impressions": pa.table(
            {
                "shown_at": [START + timedelta(seconds=i) for i in range(n)],
                "banner": [f"b{i}" for i in item],
                "taste": [("blue", "red")[t] for t in taste],
                "hour": rng.integers(0, 24, n).astype(float),
                "spot": rng.integers(1, 4, n),
                "p": np.full(n, 1 / 6),
                "click": (rng.random(n) < p).astype(int),
            }
        ),
        "banners": pa.table(
            {
                "banner": [f"b{i}" for i in range(6)],
                "colour": [("blue", "red")[i % 2] for i in range(6)],
                "price": [float(i) for i in range(6)],
            }
        ),
    }


def banner_roles() -> Roles:
    return roles_from(
        {
            "interactions": {
                "table": "impressions",
                "item": "banner",
                "at": "shown_at",
                "value": "click",
                "position": "spot",
                "propensity": "p",
                "context": ["taste", "hour"],
            },
            "items": {"table": "banners", "key": "banner", "features": ["colour", "price"]},
        }
    )
