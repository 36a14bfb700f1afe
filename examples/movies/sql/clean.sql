-- One row a rating: names as the model uses them, time as UTC, the first word of a viewer
-- on a film kept when he rated it twice.
SELECT
    user_id,
    movie_id AS item_id,
    rating,
    make_timestamp(timestamp * 1000000) AS rated_at
FROM ratings
QUALIFY row_number() OVER (PARTITION BY user_id, movie_id ORDER BY timestamp, rating) = 1
