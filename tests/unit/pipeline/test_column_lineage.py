"""Where columns come from: by hand from what SQL means, and by changing data in DuckDB."""

import json
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp
from sqlglot.lineage import lineage as sqlglot_lineage

from mlg.core.columns import MOST_COLUMNS, ColumnLineage, ColumnSource
from mlg.pipeline.columns import MOST_SQL, column_lineage

TABLES = {
    "t": {"a": "INT", "b": "INT", "k": "INT", "s": "STRUCT(f INT, g INT)", "xs": "INT[]"},
    "u": {"k": "INT", "d": "INT", "e": "INT"},
    "Größe": {"k": "INT", "Länge": "INT"},
}
INPUTS = {name: list(columns) for name, columns in TABLES.items()}


@dataclass(frozen=True)
class Case:
    """A statement, and `table.column WORD` for each source, by hand."""

    sql: str
    columns: dict[str, str]
    """A column's sources, parted by commas; words are the subtypes, the first letter enough."""
    rows: str = ""
    others: bool = field(default=True)
    """Whether sqlglot's own lineage, which knows no subtypes and no rows, finds the same."""


WORDS = {
    "I": ("DIRECT", "IDENTITY"),
    "T": ("DIRECT", "TRANSFORMATION"),
    "A": ("DIRECT", "AGGREGATION"),
    "J": ("INDIRECT", "JOIN"),
    "F": ("INDIRECT", "FILTER"),
    "G": ("INDIRECT", "GROUP_BY"),
    "S": ("INDIRECT", "SORT"),
    "W": ("INDIRECT", "WINDOW"),
    "C": ("INDIRECT", "CONDITIONAL"),
}

CASES = {
    "a column as it is": Case("SELECT a FROM t", {"a": "t.a I"}),
    "an alias": Case("SELECT a AS x, a y FROM t", {"x": "t.a I", "y": "t.a I"}),
    "an expression": Case(
        "SELECT a + b * 2 AS x, abs(a) AS y, 1 AS z, a::VARCHAR AS w FROM t",
        {"x": "t.a T, t.b T", "y": "t.a T", "z": "", "w": "t.a T"},
    ),
    "a filter": Case("SELECT a FROM t WHERE b > 1 AND k < 9", {"a": "t.a I"}, "t.b F, t.k F"),
    "a star": Case("SELECT * FROM u", {"k": "u.k I", "d": "u.d I", "e": "u.e I"}),
    "a star without some, with another": Case(
        "SELECT * EXCLUDE (d) REPLACE (e + k AS e) FROM u",
        {"k": "u.k I", "e": "u.e T, u.k T"},
        others=False,
    ),
    "the star of one table": Case(
        "SELECT u.*, t.a FROM t JOIN u ON t.k = u.k",
        {"k": "u.k I", "d": "u.d I", "e": "u.e I", "a": "t.a I"},
        "t.k J, u.k J",
    ),
    "a join by USING shows the left key once": Case(
        "SELECT * FROM u LEFT JOIN (SELECT k, a FROM t) v USING (k)",
        {"k": "u.k I", "d": "u.d I", "e": "u.e I", "a": "t.a I"},
        "u.k J, t.k J",
        others=False,
    ),
    "a full join by USING takes the key of either": Case(
        "SELECT k, d FROM t FULL JOIN u USING (k)",
        {"k": "t.k T, u.k T", "d": "u.d I"},
        "t.k J, u.k J",
    ),
    "a natural join": Case(
        "SELECT d, a FROM t NATURAL JOIN u", {"d": "u.d I", "a": "t.a I"}, "t.k J, u.k J"
    ),
    "a semi join only filters": Case(
        "SELECT a FROM t SEMI JOIN u ON t.k = u.k", {"a": "t.a I"}, "t.k J, u.k J"
    ),
    "a group": Case(
        "SELECT k, sum(a) AS n, count(*) AS c, max(a + b) AS m FROM t "
        "GROUP BY k HAVING sum(b) > 2",
        {"k": "t.k I", "n": "t.a A", "c": "", "m": "t.a A, t.b A"},
        "t.k G, t.b F",
    ),
    "a group by place, and by all": Case(
        "SELECT n FROM (SELECT k AS n, sum(a) AS s FROM t GROUP BY 1) "
        "UNION ALL SELECT d AS n FROM (SELECT d, count(*) AS c FROM u GROUP BY ALL)",
        {"n": "t.k I, u.d I"},
        "t.k G, u.d G",
    ),
    "an aggregate of some rows in an order": Case(
        "SELECT list(a ORDER BY b) FILTER (WHERE k > 3) AS x FROM t",
        {"x": "t.a A, t.b S, t.k F"},
    ),
    "a window": Case(
        "SELECT row_number() OVER (PARTITION BY k ORDER BY a) AS n, lag(b) OVER w AS l, "
        "sum(b) OVER w AS m FROM t WINDOW w AS (PARTITION BY a ORDER BY k)",
        {
            "n": "t.k W, t.a W",
            "l": "t.b T, t.a W, t.k W",
            "m": "t.b A, t.a W, t.k W",
        },
        others=False,
    ),
    "a filter on a window": Case(
        "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY k ORDER BY b) = 1",
        {"a": "t.a I"},
        "t.k F, t.b F",
    ),
    "CASE and IF": Case(
        "SELECT CASE WHEN a > 0 THEN b ELSE k END AS x, if(k > 4, a, 0) AS y FROM t",
        {"x": "t.a C, t.b T, t.k T", "y": "t.k C, t.a T"},
    ),
    "tables of WITH": Case(
        "WITH x AS (SELECT k, sum(a) AS n FROM t WHERE b > 0 GROUP BY k), "
        "y AS (SELECT k, n + 1 AS n FROM x) SELECT n, d FROM y JOIN u USING (k)",
        {"n": "t.a A", "d": "u.d I"},
        "t.b F, t.k G, t.k J, u.k J",
    ),
    "WITH that shadows an input, and names its columns": Case(
        "WITH t(z) AS (SELECT d FROM u) SELECT z FROM t", {"z": "u.d I"}
    ),
    "WITH RECURSIVE": Case(
        "WITH RECURSIVE r(n, m) AS (SELECT a, b FROM t WHERE k = 1 UNION ALL "
        "SELECT n + 1, m FROM r WHERE n < 3) SELECT n, m FROM r",
        {"n": "t.a I, t.a T", "m": "t.b I"},
        "t.k F, t.a F",
        others=False,
    ),
    "a subquery in FROM": Case(
        "SELECT q.x FROM (SELECT a AS x, b FROM t WHERE k > 2) AS q WHERE q.b > 1",
        {"x": "t.a I"},
        "t.k F, t.b F",
    ),
    "a subquery as a value": Case(
        "SELECT a, (SELECT max(d) FROM u WHERE u.k = t.k) AS m FROM t",
        {"a": "t.a I", "m": "u.d A, u.k F, t.k F"},
        others=False,
    ),
    "EXISTS and IN": Case(
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.k) "
        "AND b IN (SELECT d FROM u WHERE e > 0)",
        {"a": "t.a I"},
        "u.k F, t.k F, t.b F, u.d F, u.e F",
    ),
    "a union of all": Case(
        "SELECT a AS x FROM t UNION ALL SELECT d + e FROM u", {"x": "t.a I, u.d T, u.e T"}
    ),
    "a union by name": Case(
        "SELECT a, b FROM t UNION ALL BY NAME SELECT d AS b, k AS c FROM u",
        {"a": "t.a I", "b": "t.b I, u.d I", "c": "u.k I"},
        others=False,
    ),
    "a union without doubles looks at every column": Case(
        "SELECT a FROM t UNION SELECT d FROM u", {"a": "t.a I, u.d I"}, "t.a G, u.d G"
    ),
    "EXCEPT": Case(
        "SELECT a FROM t EXCEPT SELECT d FROM u", {"a": "t.a I"}, "t.a G, u.d F", others=False
    ),
    "DISTINCT": Case("SELECT DISTINCT a FROM t", {"a": "t.a I"}, "t.a G"),
    "DISTINCT ON keeps the first": Case(
        "SELECT DISTINCT ON (k) b FROM t ORDER BY k, a", {"b": "t.b I"}, "t.k G, t.k S, t.a S"
    ),
    "the first rows of an order": Case(
        "SELECT a FROM t ORDER BY b DESC, a LIMIT 3", {"a": "t.a I"}, "t.b S, t.a S"
    ),
    "an alias used by its neighbours and in WHERE": Case(
        "SELECT a + 1 AS x, x * b AS y FROM t WHERE x > 2",
        {"x": "t.a T", "y": "t.a T, t.b T"},
        "t.a F",
    ),
    "a lateral subquery": Case(
        "SELECT v.x FROM t, LATERAL (SELECT t.a + d AS x FROM u WHERE u.k = t.k) AS v",
        {"x": "t.a T, u.d T"},
        "u.k F, t.k F",
        others=False,
    ),
    "fields of a struct": Case(
        "SELECT s.f AS x, t.s.g AS y, s['f'] AS z FROM t",
        {"x": "t.s T", "y": "t.s T", "z": "t.s T"},
        others=False,
    ),
    "lists and lambdas": Case(
        "SELECT list_transform(xs, a -> a + k) AS x, [z + 1 for z in xs] AS y FROM t",
        {"x": "t.xs T, t.k T", "y": "t.xs T"},
        others=False,
    ),
    "rows of a list": Case(
        "SELECT a, v.x FROM t, unnest(t.xs) AS v(x)", {"a": "t.a I", "x": "t.xs T"}, "t.xs J",
        others=False,
    ),
    "quoted and non-ASCII names": Case(
        'SELECT "Länge" AS "im Mittel", g.K FROM "Größe" AS g WHERE "Länge" > 0',
        {"im Mittel": "Größe.Länge I", "k": "Größe.k I"},
        "Größe.Länge F",
        others=False,
    ),
    "FROM first, and no SELECT": Case("FROM u", {"k": "u.k I", "d": "u.d I", "e": "u.e I"}),
    "a table made before": Case(
        "CREATE TEMP TABLE x AS SELECT a AS z FROM t WHERE b > 0; SELECT z FROM x;",
        {"z": "t.a I"},
        "t.b F",
        others=False,
    ),
    "values and a series": Case(
        "SELECT a + x AS z, i FROM t, (VALUES (1), (2)) AS v(x), range(2) AS r(i)",
        {"z": "t.a T", "i": ""},
        others=False,
    ),
    "a table joined with itself": Case(
        "SELECT l.a, r.b FROM t AS l JOIN t AS r ON l.k = r.a",
        {"a": "t.a I", "b": "t.b I"},
        "t.k J, t.a J",
    ),
}  # fmt: skip


def by_hand(text: str) -> set[ColumnSource]:
    found: set[ColumnSource] = set()
    for one in filter(None, text.split(", ")):
        place, word = one.split(" ")
        table, column = place.split(".")
        type_, subtype = WORDS[word]
        found.add(ColumnSource(table=table, column=column, type=type_, subtype=subtype))  # pyright: ignore[reportArgumentType]
    return found


def of_columns(sources: Any) -> set[ColumnSource]:
    """Return the sources without the sets of rows of the inputs."""
    return {source for source in sources if source.column}


DATA = {
    "t": [(n % 5, n * 3 % 7, n % 4, {"f": n, "g": n % 3}, [n % 3, n]) for n in range(12)],
    "u": [(n % 4, n * 5 % 6, n % 3 - 1) for n in range(10)],
    "Größe": [(n % 3, n - 2) for n in range(6)],
}


def filled(change: tuple[str, int] | None = None) -> Any:
    """Return a DuckDB with the inputs; the values of one column shifted."""
    con = duckdb.connect()
    for name, columns in TABLES.items():
        kinds = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
        con.execute(f'CREATE TABLE "{name}" ({kinds})')
        for row in DATA[name]:
            values = list(row)
            if change is not None and change[0] == name:
                values[change[1]] = shifted(values[change[1]])
            marks = ", ".join("?" for _ in values)
            con.execute(f'INSERT INTO "{name}" VALUES ({marks})', values)
    return con


def shifted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: one * 2 + 1 for name, one in value.items()}
    return [*value, 77] if isinstance(value, list) else (value * 7 + 3) % 11


def made_by(con: Any, sql: str) -> tuple[list[str], list[list[Any]]]:
    done = None
    for statement in con.extract_statements(sql):
        done = con.execute(statement)
    rows = done.fetchall()
    names = [one[0] for one in done.description]
    return names, [sorted((row[at] for row in rows), key=repr) for at in range(len(names))]


@pytest.fixture(scope="module")
def changed_inputs() -> dict[tuple[str, str] | None, Any]:
    changed: dict[tuple[str, str] | None, Any] = {
        (name, column): filled((name, at))
        for name, columns in TABLES.items()
        for at, column in enumerate(columns)
    }
    return {**changed, None: filled()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_sources_are_those_that_sql_means(case: Case, changed_inputs: Any) -> None:
    names, _ = made_by(changed_inputs[None].cursor(), case.sql)
    told = column_lineage(case.sql, INPUTS, names)
    assert (told.state, told.reason) == ("exact", "")
    found = {name: of_columns(sources) for name, sources in told.columns}
    assert found == {name: by_hand(text) for name, text in case.columns.items()}
    assert of_columns(told.rows) == by_hand(case.rows)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_no_source_can_change_and_nobody_notices(
    case: Case, changed_inputs: Any
) -> None:
    names, before = made_by(changed_inputs[None].cursor(), case.sql)
    told = column_lineage(case.sql, INPUTS, names)
    rows = {(one.table, one.column) for one in told.rows}
    for change in filter(None, changed_inputs):
        _, after = made_by(changed_inputs[change].cursor(), case.sql)
        for at, (name, sources) in enumerate(told.columns):
            if change not in rows | {(one.table, one.column) for one in sources}:
                assert before[at] == after[at], (name, change)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.others],
    ids=[name for name, case in CASES.items() if case.others],
)
def test_sqlglots_own_lineage_finds_the_same_columns(case: Case) -> None:
    schema: Any = {name: dict.fromkeys(columns, "INT") for name, columns in TABLES.items()}
    names = list(case.columns)
    told = dict(column_lineage(case.sql, INPUTS, names).columns)
    for name in names:
        root = sqlglot_lineage(name, case.sql, schema=schema, dialect="duckdb")
        theirs = {
            (node.expression.name, node.name.rpartition(".")[2].strip('"'))
            for node in root.walk()
            if isinstance(node.expression, exp.Table)
        }
        assert {(one.table, one.column) for one in told[name] if one.column} == theirs, name


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELEC a FROM t", "Invalid expression / Unexpected token"),
        ("SELECT nope FROM t", "no column 'nope'"),
        ("SELECT x.a FROM t", "no column 'x.a'"),
        ("PIVOT t ON a USING sum(b)", "PIVOT in the place of a query"),
        ("SELECT COLUMNS('a') FROM t", "COLUMNS in an expression is not understood"),
        ("SELECT * FROM unnest([1])", "`*` over a table whose columns are not known"),
        ("CREATE MACRO f(x) AS x + 1; SELECT f(a) AS a FROM t", "a statement CREATE before"),
        ("SELECT a, b FROM t", "the query was read as 2 columns; it made 1"),
        ("SELECT b FROM t", "a column was read as 'b'; it is 'a'"),
        ("SELECT a FROM (VALUES (1, 2), (3)) AS v(a, b)", "VALUES that are not equally long"),
        ("", "there is no query"),
        ("SELECT " + "a" * MOST_SQL, "the query has 1,000,007 characters"),
        ("SELECT " + "(" * 3_000 + "a" + ")" * 3_000 + " AS a FROM t", ""),
    ],
)
def test_what_cannot_be_read_is_said_and_only_the_table_is_told(sql: str, reason: str) -> None:
    told = column_lineage(sql, {"t": ["a", "b"]}, ["a"])
    assert told.state == "unknown"
    assert reason in told.reason
    assert told.columns == ()
    assert told.opaque == ("a",)
    assert {(one.table, one.column) for one in told.rows} == {("t", ""), ("t", "a"), ("t", "b")}


def test_a_column_of_a_table_that_is_no_input_is_opaque_and_the_others_are_exact() -> None:
    sql = "SELECT t.a, m.z FROM t JOIN memtable AS m ON m.k = t.k"
    told = column_lineage(sql, {"t": ["a", "k"]}, ["a", "z"])
    assert (told.state, told.opaque) == ("opaque", ("z",))
    assert dict(told.columns)["a"] == (source("t", "a"),)
    assert dict(told.columns)["z"] == ()
    # whoever made the other table may have looked at anything
    assert {one.column for one in told.rows if one.subtype == "TRANSFORMATION"} >= {"a", "k"}


def source(table: str, column: str) -> ColumnSource:
    return ColumnSource(table=table, column=column, type="DIRECT", subtype="IDENTITY")


def test_rows_come_of_the_rows_of_every_input() -> None:
    told = column_lineage("SELECT t.a FROM t, u", INPUTS, ["a"])
    assert set(told.rows) == {source("t", ""), source("u", "")}


def test_a_table_of_too_many_columns_is_told_as_a_whole() -> None:
    wide = [f"c{n}" for n in range(MOST_COLUMNS + 1)]
    told = column_lineage("SELECT c1 FROM t", {"t": wide}, ["c1"])
    assert told.state == "unknown"
    assert "more than 1,000 columns" in told.reason
    assert [one.column for one in told.rows] == [""]


def test_a_step_of_too_many_sources_is_told_as_a_whole() -> None:
    columns = [f"c{n}" for n in range(101)]
    total = " + ".join(columns)
    made = [f"d{n}" for n in range(100)]
    sql = f"SELECT {', '.join(f'{total} AS {name}' for name in made)} FROM t"
    told = column_lineage(sql, {"t": columns}, made)
    assert (told.state, told.columns) == ("unknown", ())
    assert told.reason == "the columns have 10,101 sources, at most 10,000 are kept"


NAMES = st.text(min_size=1, max_size=12).filter(lambda text: "\0" not in text)
EXPRESSIONS = (
    "a", "a + b", "sum(a) OVER (PARTITION BY k)", "CASE WHEN a > b THEN k END", "s.f",
    "(SELECT max(d) FROM u WHERE u.k = t.k)",
)  # fmt: skip


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@given(name=NAMES, other=NAMES, expression=st.sampled_from(EXPRESSIONS))
def test_renaming_a_column_never_changes_its_sources(
    name: str, other: str, expression: str
) -> None:
    def sources(alias: str) -> tuple[ColumnSource, ...]:
        inner = f"SELECT {expression} AS {quoted(alias)} FROM t WHERE b > 0"
        told: ColumnLineage = column_lineage(
            f"WITH q AS ({inner}) SELECT q.{quoted(alias)} FROM q", INPUTS, [alias]
        )
        assert told.state == "exact", json.dumps(told.reason)
        return told.columns[0][1]

    assert sources(name) == sources(other) != ()
