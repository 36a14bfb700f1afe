"""The graph's PostgreSQL tables."""

from typing import Final

from mlg.graph.encode import GENESIS

LOCK: Final = 0x6D6C67  # "mlg"
"""The advisory lock that makes a writer the only one."""

_TEXT: Final = 'TEXT COLLATE "C"'

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        f"CREATE TABLE event (seq BIGINT PRIMARY KEY, key {_TEXT} UNIQUE, id {_TEXT} UNIQUE,"
        f" at TEXT, recorded_at TEXT, type TEXT, actor TEXT, subject {_TEXT}, cause TEXT,"
        " prev_hash BYTEA NOT NULL, hash BYTEA NOT NULL, data BYTEA NOT NULL)",
        "CREATE INDEX event_subject ON event USING hash (subject)",
        "CREATE FUNCTION event_refused() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'the event log is append-only'; END $$",
        "CREATE TRIGGER event_no_change BEFORE UPDATE OR DELETE ON event"
        " FOR EACH ROW EXECUTE FUNCTION event_refused()",
        "CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event"
        " FOR EACH STATEMENT EXECUTE FUNCTION event_refused()",
        "CREATE FUNCTION event_follows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.seq IS DISTINCT FROM (SELECT coalesce(max(seq), 0) + 1 FROM event)"
        " THEN RAISE EXCEPTION 'the event log is append-only'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER event_in_order BEFORE INSERT ON event"
        " FOR EACH ROW EXECUTE FUNCTION event_follows()",
        "CREATE TABLE log_head (one INTEGER PRIMARY KEY CHECK (one = 1),"
        " seq BIGINT NOT NULL, hash BYTEA NOT NULL)",
        f"INSERT INTO log_head VALUES (1, 0, '\\x{GENESIS}')",  # noqa: S608 - a constant
        "CREATE TABLE retold (id TEXT PRIMARY KEY, stored TEXT NOT NULL)",
        "CREATE TABLE role (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " name TEXT UNIQUE NOT NULL)",
        f"CREATE TABLE node (id BIGINT PRIMARY KEY, uri {_TEXT} NOT NULL,"
        f" kind TEXT NOT NULL, name TEXT NOT NULL, digest TEXT, attrs TEXT NOT NULL,"
        " valid_from BIGINT NOT NULL, valid_to BIGINT, last_at BIGINT,"
        f" last_key {_TEXT}, last_place BIGINT, last_seq BIGINT, only_fact BIGINT NOT NULL)",
        "CREATE UNIQUE INDEX node_uri ON node (uri)",
        "CREATE FUNCTION json_extract(given TEXT, path TEXT) RETURNS TEXT IMMUTABLE"
        " LANGUAGE sql AS $$ SELECT jsonb_path_query_first(CAST(given AS JSONB),"
        " CAST(path AS JSONPATH)) #>> '{}' $$",
        "CREATE INDEX node_service ON node (json_extract(attrs, '$.service'))"
        " WHERE kind = 'deployment'",
        "CREATE TABLE node_fact (node_id BIGINT NOT NULL, at BIGINT NOT NULL,"
        f" key {_TEXT} NOT NULL, place BIGINT NOT NULL, seq BIGINT NOT NULL,"
        " name TEXT NOT NULL, digest TEXT, attrs TEXT NOT NULL, ended BIGINT NOT NULL,"
        " PRIMARY KEY (node_id, at, key, place))",
        "CREATE TABLE edge (id BIGINT PRIMARY KEY, src_id BIGINT NOT NULL,"
        " dst_id BIGINT NOT NULL, role BIGINT NOT NULL, at BIGINT NOT NULL,"
        " seq BIGINT NOT NULL, place BIGINT NOT NULL, provenance BIGINT NOT NULL,"
        " ended BIGINT NOT NULL, valid_from BIGINT, valid_to BIGINT)",
        "CREATE INDEX edge_out ON edge (src_id, role, dst_id, valid_from, valid_to)",
        "CREATE INDEX edge_in ON edge (dst_id, role, src_id, valid_from, valid_to)",
        "CREATE TABLE search (node_id BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
        "CREATE INDEX search_words ON search USING gin (words)",
    ),
    (
        # in the order of columns that the writer gives
        "CREATE TABLE edge_2 (dst_id BIGINT NOT NULL, role BIGINT NOT NULL,"
        " src_id BIGINT NOT NULL, seq BIGINT NOT NULL, place BIGINT NOT NULL,"
        " provenance BIGINT NOT NULL, ended BIGINT NOT NULL, at BIGINT NOT NULL,"
        " valid_from BIGINT, valid_to BIGINT)",
        "INSERT INTO edge_2 SELECT dst_id, role, src_id, seq, place, provenance, ended, at,"
        " valid_from, valid_to FROM edge",
        "DROP TABLE edge",
        "ALTER TABLE edge_2 RENAME TO edge",
        "ALTER TABLE edge ADD PRIMARY KEY (dst_id, role, src_id, seq, place)",
        "CREATE INDEX edge_out ON edge (src_id, role, dst_id, valid_from, valid_to)",
    ),
)
"""One tuple of statements a version; the table `schema_version` counts those applied."""
