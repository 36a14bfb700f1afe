"""Features of the movie ranker, as Ibis tables; each row knows only what came before it."""

from collections.abc import Mapping
from typing import Any

import ibis
import ibis.expr.types as ir

from movies import daily

DAY_US = 86_400_000_000


def item_stats(inputs: Mapping[str, ir.Table], config: Mapping[str, Any]) -> ir.Table:
    """Return, for each film and day, what was known of it when the day began (UTC).

    Columns: `item_id, available_at` (midnight), `plays_7d, plays_30d, plays_all` (ratings
    of the 7 or 30 days before midnight, and of all time before it) and `mean_value` (mean
    rating before midnight, stars; null before the first).
    """
    ratings = inputs["clean_ratings"]
    return daily.running_stats(
        ratings,
        item="item_id",
        at="rated_at",
        value="rating",
        windows=config.get("windows", (7, 30)),
    )


def build(inputs: Mapping[str, ir.Table], config: Mapping[str, Any]) -> ir.Table:
    """Return the training rows: one a rating, with the viewer, the film and its past.

    A film's past is the newest row of `item_stats` that was available strictly before the
    rating. `watch_through` is made from the rating, because the data has no watch time:
    1 star is 0, 5 stars are 1, and it is linear between. It is a second label.
    """
    del config
    ratings, stats = inputs["clean_ratings"], inputs["item_stats"]
    users, movies = inputs["users"], inputs["movies"]
    rows = daily.as_of(ratings, stats, item="item_id", at="rated_at")
    rows = rows.left_join(
        users.select("user_id", "age", "gender", "occupation"), "user_id"
    ).drop("user_id_right")
    films = movies.select(
        item_id=movies.movie_id,
        release_year=movies.release_date.right(4).try_cast("int64"),
    )
    rows = rows.left_join(films, "item_id").drop("item_id_right")
    return rows.mutate(watch_through=(ibis._.rating - 1) / 4.0)
