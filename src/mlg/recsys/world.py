"""What a two-stage model knows, frozen at one time: everything stage 1 is made of."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import numpy as np

from mlg.recsys import ease
from mlg.recsys.columns import DAY_US, Floats, Floats32, Micros
from mlg.recsys.events import Histories, Log
from mlg.recsys.item_stats import Stats
from mlg.recsys.levels import Feature

TRAILS = (1.0, 4.0, 8.0)
"""Spans of trailing popularity, in `popularity_days`."""
ENTRY = 4.0
"""Span over which viewers' first items are counted, in `popularity_days`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Parameters of stage 1 and of the features; chosen on validation folds only."""

    ridge: float = 300.0
    reach: float = 20.0
    """Distance in events at which co-occurrence weighs 1/e."""
    floor: float = 0.2
    """Weight of far apart co-occurrence, 0..1."""
    recent: float = 5.0
    """Events after which an earlier one weighs 1/e in the short profile."""
    steady: float = 30.0
    """The same for the long profile."""
    ahead: float = 5.0
    """Events after which a later one weighs 1/e as what came next."""
    onward_ridge: float = 1000.0
    last: int = 100
    """Events of history that are read; older ones only bar items from being shown again."""
    candidates: int = 100
    popularity_days: float = 7.0
    repeat: bool = False
    """True where an item may be recommended to a viewer who met it already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Stage 1, frozen: similarities, counts, statistics and item features; I items."""

    settings: Settings
    frozen_us: int
    similarity: Floats32
    """Shape ``(I, I)``: EASE over the time-kernel Gram matrix."""
    follow: Floats32
    """Shape ``(I, I)``: what came next after a recent item (`ease.onward`)."""
    recent_count: Floats32
    """Events in the last `popularity_days` before the freeze, shape ``(I,)``."""
    trails: Floats32
    """Log (1 + events) in the last 1, 4 and 8 times `popularity_days`, shape ``(3, I)``."""
    entry: Floats32
    """Log of how often an item was a viewer's first, lately, shape ``(I,)``."""
    place: Floats32
    """Mean log (1 + place) in its viewers' histories, shrunk to the mean, shape ``(I,)``."""
    worth: Floats32
    """Mean value, shrunk to the mean of all, shape ``(I,)``; 0 where there are no values."""
    count: Floats32
    """Events before the freeze, shape ``(I,)``."""
    first_us: Micros
    """Time of the first event, shape ``(I,)``; the freeze where there was none."""
    traits: Floats32
    """Numeric item features scaled to 0..1, shape ``(I, A)``; missing is 0."""
    kinds: Floats32
    """Codes of text item features, shape ``(I, C)``; missing is NaN."""
    lift: Floats32
    """Log lift of each item in each viewer level, shape ``(L, I)``."""
    lift_start: Micros
    """Row of `lift` at which each viewer feature begins, shape ``(V + 1,)``."""
    lift_edges: Floats32
    """Bin edges of numeric viewer features, shape ``(V, 4)``; NaN for text."""
    stats: Stats
    item_features: tuple[Feature, ...]
    viewer_features: tuple[Feature, ...]

    @property
    def items(self) -> int:
        """How many items."""
        return int(self.count.size)

    def viewer_rows(self, viewer: Floats) -> list[int]:
        """Return the rows of `lift` that a viewer's features select; unknown ones none."""
        rows: list[int] = []
        for place, feature in enumerate(self.viewer_features):
            value = float(viewer[place])
            if math.isnan(value) or (value < 0 and feature.levels is not None):
                continue
            if feature.levels is None:
                level = int(np.searchsorted(self.lift_edges[place], value, side="right"))
            else:
                level = int(value)
            rows.append(int(self.lift_start[place]) + level)
        return rows


def _lift(
    log: Log, matrix: Floats, features: tuple[Feature, ...], items: int
) -> tuple[Floats32, Micros, Floats32]:
    """Return smoothed log lifts, where each feature starts, and bin edges of numbers."""
    total = np.bincount(log.item, minlength=items) + 0.5
    share = total / total.sum()
    prior = 5.0 * items
    parts: list[Floats32] = []
    start = [0]
    edges = np.full((len(features), 4), np.nan, dtype=np.float32)
    for place, feature in enumerate(features):
        values = matrix[:, place]
        if feature.levels is None:
            known = values[~np.isnan(values)]
            if known.size:
                edges[place] = np.quantile(known, [0.2, 0.4, 0.6, 0.8])
            level = np.searchsorted(edges[place], values, side="right").astype(np.float64)
            level[np.isnan(values)] = -1
            size = 5
        else:
            level = np.where(np.isnan(values), -1, values)
            size = len(feature.levels)
        of_event = level[log.viewer].astype(np.int64)
        known_event = of_event >= 0
        table = np.zeros((size, items))
        np.add.at(table, (of_event[known_event], log.item[known_event]), 1.0)
        smooth = (table + prior * share) / (table.sum(axis=1, keepdims=True) + prior)
        parts.append(np.log(smooth / share).astype(np.float32))
        start.append(start[-1] + size)
    lift = np.concatenate(parts) if parts else np.zeros((0, items), dtype=np.float32)
    return lift, np.asarray(start, dtype=np.int64), edges


def _order(
    log: Log,
    histories: Histories,
    viewers: int,
    count: Floats32,
    frozen_us: int,
    settings: Settings,
) -> tuple[Floats32, Floats32]:
    """Return (log of how often each item came first lately, mean log place), shape ``(I,)``."""
    items = count.size
    since = frozen_us - int(ENTRY * settings.popularity_days * DAY_US)
    firsts, places = np.zeros(items), np.zeros(items)
    for viewer in range(viewers):
        past = histories.before(viewer)
        if not past.items.size:
            continue
        if past.at[0] >= since:
            np.add.at(firsts, past.items[past.at == past.at[0]], 1.0)
        np.add.at(places, past.items, np.log1p(ease.places(past.at)))
    usual = float(places.sum()) / max(len(log), 1)
    entry = np.log(firsts + 0.02 * count + 0.01)
    return entry.astype(np.float32), ((places + 5.0 * usual) / (count + 5.0)).astype(np.float32)


def _worth(log: Log, items: int) -> Floats32:
    """Return each item's mean value shrunk to the mean of all, shape ``(I,)``."""
    known = ~np.isnan(log.value)
    usual = float(log.value[known].sum()) / max(int(known.sum()), 1)
    total = np.bincount(log.item[known], weights=log.value[known], minlength=items)
    rated = np.bincount(log.item[known], minlength=items)
    return ((total + 5.0 * usual) / (rated + 5.0)).astype(np.float32)


def _scaled(matrix: Floats, features: tuple[Feature, ...]) -> tuple[Floats32, Floats32]:
    """Return (numbers scaled to 0..1, codes of text) of the items."""
    numeric = [place for place, feature in enumerate(features) if feature.levels is None]
    text = [place for place, feature in enumerate(features) if feature.levels is not None]
    traits = matrix[:, numeric]
    if traits.size:
        filled = np.where(np.isnan(traits), np.inf, traits)
        low = filled.min(axis=0)
        high = np.where(np.isnan(traits), -np.inf, traits).max(axis=0)
        width = np.where(high > low, high - low, 1.0)
        low = np.where(np.isfinite(low), low, 0.0)
        width = np.where(np.isfinite(width), width, 1.0)
        traits = np.nan_to_num((traits - low) / width, nan=0.0)
    return traits.astype(np.float32), matrix[:, text].astype(np.float32)


def build_world(
    log: Log,
    *,
    settings: Settings,
    frozen_us: int,
    item_matrix: Floats,
    item_features: tuple[Feature, ...],
    viewer_matrix: Floats,
    viewer_features: tuple[Feature, ...],
    stats: Stats,
) -> World:
    """Return stage 1 fitted on a log, all of whose events lie before the freeze.

    Args:
        log: Events with viewers.
        settings: Parameters.
        frozen_us: The freeze, microseconds.
        item_matrix: Item features as `levels.feature_matrix` reads them, ``(I, F)``.
        item_features: How they were read.
        viewer_matrix: The same for viewers, ``(viewers, V)``.
        viewer_features: How they were read.
        stats: Item statistics, already frozen.
    """
    items, viewers = item_matrix.shape[0], viewer_matrix.shape[0]
    histories = Histories(log, viewers)
    weights = ease.gram(histories, viewers, items, reach=settings.reach, floor=settings.floor)
    first = np.full(items, frozen_us, dtype=np.int64)
    np.minimum.at(first, log.item, log.at)
    recent = ease.trailing_counts(
        log.item, log.at, frozen_us, int(settings.popularity_days * DAY_US), items
    )
    trails = [
        ease.trailing_counts(
            log.item, log.at, frozen_us, int(times * settings.popularity_days * DAY_US), items
        )
        for times in TRAILS
    ]
    count = np.bincount(log.item, minlength=items).astype(np.float32)
    entry, place = _order(log, histories, viewers, count, frozen_us, settings)
    lift, lift_start, lift_edges = _lift(log, viewer_matrix, viewer_features, items)
    traits, kinds = _scaled(item_matrix, item_features)
    return World(
        settings=settings,
        frozen_us=frozen_us,
        similarity=ease.ease(weights, settings.ridge),
        follow=ease.onward(
            histories,
            viewers,
            items,
            past=settings.recent,
            ahead=settings.ahead,
            ridge=settings.onward_ridge,
        ),
        recent_count=recent.astype(np.float32),
        trails=np.log1p(np.stack(trails)).astype(np.float32),
        entry=entry,
        place=place,
        worth=_worth(log, items),
        count=count,
        first_us=first,
        traits=traits,
        kinds=kinds,
        lift=lift,
        lift_start=lift_start,
        lift_edges=lift_edges,
        stats=stats,
        item_features=item_features,
        viewer_features=viewer_features,
    )


_ARRAYS = (
    "similarity", "follow", "recent_count", "trails", "entry", "place", "worth", "count",
    "first_us", "traits", "kinds", "lift", "lift_start", "lift_edges",
)  # fmt: skip


def world_arrays(world: World) -> dict[str, np.ndarray[Any, Any]]:
    """Return every array of the world by file name."""
    arrays = {name: cast("np.ndarray[Any, Any]", getattr(world, name)) for name in _ARRAYS}
    return {**arrays, "stats_keys": world.stats.keys, "stats_values": world.stats.values}


def world_document(world: World) -> dict[str, Any]:
    """Return everything of the world that is no array, JSON-ready."""
    return {
        "settings": asdict(world.settings),
        "frozen_us": world.frozen_us,
        "stats": {
            "names": list(world.stats.names),
            "origin": world.stats.origin,
            "span": world.stats.span,
        },
        "item_features": [asdict(feature) for feature in world.item_features],
        "viewer_features": [asdict(feature) for feature in world.viewer_features],
    }


def world_from(document: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> World:
    """Return the world that `world_document` and `world_arrays` wrote."""
    stats = document["stats"]
    return World(
        settings=settings_from(document["settings"]),
        frozen_us=int(document["frozen_us"]),
        stats=Stats(
            names=tuple(stats["names"]),
            keys=arrays["stats_keys"],
            values=arrays["stats_values"],
            origin=int(stats["origin"]),
            span=int(stats["span"]),
        ),
        item_features=features_from(document["item_features"]),
        viewer_features=features_from(document["viewer_features"]),
        **{name: arrays[name] for name in _ARRAYS},
    )


def features_from(raw: list[dict[str, Any]]) -> tuple[Feature, ...]:
    """Return features from their JSON form."""
    return tuple(
        Feature(
            name=entry["name"],
            levels=None if entry["levels"] is None else tuple(entry["levels"]),
        )
        for entry in raw
    )


def settings_from(raw: dict[str, Any]) -> Settings:
    """Return settings from a mapping; keys that are no setting are passed over."""
    known = {field.name for field in fields(Settings)}
    return Settings(**{key: value for key, value in raw.items() if key in known})
