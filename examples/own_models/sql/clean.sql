SELECT viewer, item, stars, to_timestamp(second) AS played_at
FROM plays
