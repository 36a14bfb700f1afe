"""The table that a query makes, read from its SQL: its columns and where each comes from.

Only the query is read, no data. What is not understood is refused, never guessed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from sqlglot import exp

from mlg.core.columns import LineageSubtype
from mlg.pipeline.relations import (
    FOREIGN,
    NONE,
    Relation,
    Scope,
    Sources,
    UnreadableQueryError,
    changed,
    deciding,
    key,
)

_ROUNDS: Final = 32
_VALUE_OF_A_ROW: Final = (exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue)
_AGGREGATES: Final = frozenset(
    (
        "histogram", "product", "kurtosis", "kurtosis_pop", "entropy", "mad", "list", "favg",
        "fsum", "kahan_sum", "geomean", "geometric_mean", "bitstring_agg", "arbitrary",
        "approx_quantile", "reservoir_quantile", "skewness", "sem", "map_from_entries_agg",
    )
)  # fmt: skip


def read_query(node: exp.Expr, around: Scope) -> Relation:
    """Return the table that a query makes, seen from a place.

    Args:
        node: A SELECT, a set operation, VALUES, or one of these in parentheses.
        around: What its names mean beside its own.

    Raises:
        UnreadableQueryError: It uses something that is not understood.
    """
    if isinstance(node, exp.Subquery):
        _refuse(node, "pivots")
        inner = _with(node, around)
        if isinstance(node.this, exp.Table):
            return _select(exp.select("*").from_(node.this.copy()), inner)
        return read_query(node.this, inner)
    if isinstance(node, exp.Values):
        return _values(node, around)
    if isinstance(node, exp.Select):
        return _select(node, _with(node, around))
    if isinstance(node, exp.SetOperation):
        return _set_operation(node, _with(node, around))
    raise UnreadableQueryError(f"{type(node).__name__.upper()} in the place of a query")


def _with(node: exp.Expr, around: Scope) -> Scope:
    """Return the place with the node's common table expressions."""
    given = node.args.get("with_")
    if given is None:
        return around
    tables = dict(around.tables)
    inner = replace(around, tables=tables)
    for cte in given.expressions:
        names = _names(cte)
        own = key(cte.alias)
        query = cte.this
        recursive = given.args.get("recursive") and isinstance(query, exp.Union)
        if recursive and any(key(t.name) == own for t in query.find_all(exp.Table)):
            tables[own] = read_query(query.this, inner).renamed(names)
            for _ in range(_ROUNDS):
                more = read_query(query.expression, inner)
                grown = _union(tables[own], more)
                if grown == tables[own]:
                    break
                tables[own] = grown
        else:
            tables[own] = read_query(query, inner).renamed(names)
    return inner


def _union(left: Relation, right: Relation) -> Relation:
    if len(left.known) != len(right.known):
        raise UnreadableQueryError("the sides of a set operation have other columns")
    pairs = zip(left.columns, right.columns, strict=True)
    return Relation(
        columns=tuple((name, told | other) for (name, told), (_, other) in pairs),
        rows=left.rows | right.rows,
    )


def _set_operation(node: exp.SetOperation, around: Scope) -> Relation:
    left, right = read_query(node.this, around), read_query(node.expression, around)
    own, others = _all(left), _all(right)
    if node.args.get("by_name"):
        names = dict.fromkeys(key(name) for name, _ in (*left.known, *right.known))
        shown = {key(name): name for name, _ in (*right.known, *left.known)}
        found = Relation(
            columns=tuple(
                (shown[n], (left.find(n) or NONE) | (right.find(n) or NONE)) for n in names
            ),
            rows=left.rows | right.rows,
        )
    else:
        found = _union(left, right)
    if isinstance(node, exp.Union):
        again = deciding(own | others, "GROUP_BY") if node.args.get("distinct") else NONE
    else:
        found = replace(found, columns=left.columns)
        again = deciding(own, "GROUP_BY") | deciding(others, "FILTER")
    sorted_by = _ordered(node, Scope(tables=around.tables, aliases=_keyed(found.columns)), [])
    return replace(found, rows=found.rows | again | sorted_by)


def _all(relation: Relation) -> Sources:
    return NONE.union(*(told for _, told in relation.known))


def _keyed(columns: Iterable[tuple[str, Sources]]) -> dict[str, Sources]:
    return {key(name): told for name, told in columns if name}


def _values(node: exp.Values, around: Scope) -> Relation:
    rows = [list(one.expressions) for one in node.expressions]
    width = len(rows[0]) if rows else 0
    if any(len(row) != width for row in rows):
        raise UnreadableQueryError("rows of VALUES that are not equally long")
    columns = tuple(
        (
            f"col{at}",
            NONE.union(*(_value(row[at], around) for row in rows)),
        )
        for at in range(width)
    )
    return Relation(columns=columns).renamed(_names(node))


def _select(node: exp.Select, around: Scope) -> Relation:
    _refuse(node, "match", "connect", "pivots", "kind", "into")
    scope = Scope(tables=around.tables, outer=around)
    rows: Sources = NONE
    if node.args.get("from_") is not None:
        rows |= _place(node.args["from_"].this, scope)
    for join in (*_list(node, "joins"), *_list(node, "laterals")):
        rows |= _join(join, scope)
    scope.windows = {key(one.name): one for one in _list(node, "windows")}
    columns: list[tuple[str, Sources]] = []
    plain: list[Sources] = []
    for item in node.expressions:
        for name, told in _projected(item, scope):
            columns.append((name, told))
            scope.aliases.setdefault(key(name), told)
            if not _aggregates(item):
                plain.append(told)
    rows |= _used(node.args.get("where"), scope, "FILTER")
    rows |= _grouped(node, scope, columns, plain)
    rows |= _used(node.args.get("having"), scope, "FILTER")
    rows |= _used(node.args.get("qualify"), scope, "FILTER")
    distinct = node.args.get("distinct")
    if distinct is not None:
        on = distinct.args.get("on")
        whole = NONE.union(*(told for _, told in columns))
        rows |= _used(on, scope, "GROUP_BY") if on is not None else deciding(whole, "GROUP_BY")
    rows |= _ordered(node, scope, columns)
    return Relation(columns=tuple(columns), rows=rows)


def _aggregates(item: exp.Expr) -> bool:
    """Return whether an expression aggregates the group, not only a window."""
    if isinstance(item, exp.Window | exp.Query):
        return False
    if isinstance(item, exp.AggFunc) or _named_aggregate(item):
        return True
    return any(_aggregates(child) for child in _children(item))


def _grouped(
    node: exp.Select,
    scope: Scope,
    columns: Sequence[tuple[str, Sources]],
    plain: Sequence[Sources],
) -> Sources:
    group = node.args.get("group")
    if group is None:
        return NONE
    found = deciding(NONE.union(*plain), "GROUP_BY") if group.args.get("all") else NONE
    for one in _children(group):
        place = _ordinal(one, len(columns))
        told = columns[place][1] if place is not None else _value(one, scope)
        found |= deciding(told, "GROUP_BY")
    return found


def _ordered(node: exp.Expr, scope: Scope, columns: Sequence[tuple[str, Sources]]) -> Sources:
    order = node.args.get("order")
    found: Sources = NONE
    for one in order.expressions if order is not None else ():
        by = one.this
        place = _ordinal(by, len(columns))
        if isinstance(by, exp.Var):  # ORDER BY ALL
            told = NONE.union(*(told for _, told in columns))
        elif place is not None:
            told = columns[place][1]
        elif isinstance(by, exp.Column) and not by.table and key(by.name) in scope.aliases:
            told = scope.aliases[key(by.name)]
        else:
            told = _value(by, scope)
        found |= deciding(told, "SORT")
    return found


def _ordinal(node: exp.Expr, columns: int) -> int | None:
    if isinstance(node, exp.Literal) and not node.is_string and node.name.isdecimal():
        place = int(node.name) - 1
        return place if 0 <= place < columns else None
    return None


def _projected(item: exp.Expr, scope: Scope) -> list[tuple[str, Sources]]:
    """Return the columns that one item of SELECT stands for; "" is a name the engine gives."""
    star = item if isinstance(item, exp.Star) else item.this
    if isinstance(star, exp.Star) and isinstance(item, exp.Star | exp.Column):
        only = item.args.get("table") if isinstance(item, exp.Column) else None
        return _star(star, scope.star(only.name if only is not None else None), scope)
    if isinstance(item, exp.Alias):
        return [(item.alias, _value(item.this, scope))]
    if isinstance(item, exp.Column):
        return [(item.name, _value(item, scope))]
    return [("", _value(item, scope))]


def _star(
    star: exp.Star, found: list[tuple[str, Sources]], scope: Scope
) -> list[tuple[str, Sources]]:
    _refuse(star, "ilike")
    dropped = {key(one.name) for one in _list(star, "except_")}
    other = {key(one.alias): _value(one.this, scope) for one in _list(star, "replace")}
    names = {key(one.this.name): one.alias for one in _list(star, "rename")}
    return [
        (names.get(key(name), name), other.get(key(name), told))
        for name, told in found
        if key(name) not in dropped
    ]


# --- FROM


def _place(node: Any, scope: Scope) -> Sources:
    """Add what FROM or JOIN names to the place; return what decides about its rows."""
    if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table) and not node.alias:
        return _place(node.this, scope)  # a join in parentheses
    alias, relation = _table(node, scope)
    scope.places.append((alias, relation))
    rows = relation.rows
    for join in _list(node, "joins"):
        rows |= _join(join, scope)
    return rows


def _table(node: Any, scope: Scope) -> tuple[str, Relation]:
    _refuse(node, "pivots")
    alias, names = node.alias, _names(node)
    if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
        relation = scope.tables.get(key(node.name), FOREIGN)
        return alias or node.name, relation.renamed(names)
    if isinstance(node, exp.Table | exp.Lateral) and isinstance(node.this, exp.Func):
        return alias or node.this.key, _made_of(node.this, scope).renamed(names)
    if isinstance(node, exp.Lateral):
        return alias, read_query(node.this, scope).renamed(names)
    if isinstance(node, exp.Unnest):
        return alias or "unnest", _made_of(node, scope).renamed(names)
    if isinstance(node, exp.Subquery | exp.Values):
        return alias, read_query(node, scope).renamed(
            names if isinstance(node, exp.Subquery) else ()
        )
    raise UnreadableQueryError(f"{type(node).__name__.upper()} in FROM")


def _made_of(node: exp.Expr, scope: Scope) -> Relation:
    """Return the table that a function makes of its arguments."""
    if not isinstance(node, exp.GenerateSeries | exp.Unnest | exp.Explode):
        return FOREIGN
    told = [_value(child, scope) for child in _children(node) if not _is_alias(child)]
    made = changed(NONE.union(*told), "TRANSFORMATION")
    return Relation(rows=deciding(made, "JOIN"), others=made)


def _is_alias(node: exp.Expr) -> bool:
    return isinstance(node, exp.TableAlias)


def _join(node: Any, scope: Scope) -> Sources:
    if not isinstance(node, exp.Join):
        return _place(node, scope)
    seen = len(scope.places)
    rows = _place(node.this, scope)
    kind = str(node.args.get("kind") or "").upper()
    side = str(node.args.get("side") or "").upper()
    right = range(seen, len(scope.places))
    using = [one.name for one in _list(node, "using")]
    if str(node.args.get("method") or "").upper() == "NATURAL":
        own = {key(name) for _, r in scope.places[:seen] for name, _ in r.known}
        using = [
            name for at in right for name, _ in scope.places[at][1].known if key(name) in own
        ]
    rows |= _used(node.args.get("on"), scope, "JOIN")
    for name in using:
        rows |= _merge(name, scope, seen, side)
    if kind in {"SEMI", "ANTI"}:
        del scope.places[seen:]
    return rows


def _merge(name: str, scope: Scope, seen: int, side: str) -> Sources:
    """Make one column of the two that USING names; return what it says of the rows."""
    before = replace(scope, places=scope.places[:seen], outer=None, aliases={})
    left = before.column((name,))
    after = Scope(tables=scope.tables, places=scope.places[seen:])
    right = after.column((name,))
    one = {"RIGHT": right, "FULL": changed(left | right, "TRANSFORMATION")}.get(side, left)
    scope.merged[key(name)] = one
    scope.doubled.update((at, key(name)) for at in range(seen, len(scope.places)))
    return deciding(left | right, "JOIN")


# --- expressions


def _used(node: Any, scope: Scope, by: LineageSubtype) -> Sources:
    """Return the sources of a condition, as what decides."""
    return NONE if node is None else deciding(_value(node, scope), by)


def _value(node: exp.Expr, scope: Scope) -> Sources:
    """Return the sources of an expression."""
    for kinds, read in _READERS:
        if isinstance(node, kinds):
            return read(node, scope)
    told = NONE.union(*(_value(child, scope) for child in _children(node)))
    aggregates = isinstance(node, exp.AggFunc) or _named_aggregate(node)
    return changed(told, "AGGREGATION" if aggregates else "TRANSFORMATION")


def _inner(node: exp.Expr, scope: Scope) -> Sources:
    return _value(node.this, scope)


def _subquery(node: exp.Expr, scope: Scope) -> Sources:
    relation = read_query(node, scope)
    return changed(_all(relation), "TRANSFORMATION") | relation.rows


def _exists(node: exp.Expr, scope: Scope) -> Sources:
    return deciding(read_query(node.this, scope).rows, "CONDITIONAL")


def _filter(node: exp.Expr, scope: Scope) -> Sources:
    return _value(node.this, scope) | _used(node.args.get("expression"), scope, "FILTER")


def _order(node: exp.Expr, scope: Scope) -> Sources:
    by = [deciding(_value(one.this, scope), "SORT") for one in node.expressions]
    return (_value(node.this, scope) if node.this is not None else NONE).union(*by)


def _within_group(node: exp.Expr, scope: Scope) -> Sources:
    """Return the sources of `f(…) WITHIN GROUP (ORDER BY x)`, which takes the values of x."""
    ordered = node.args["expression"].expressions
    told = [_value(node.this, scope), *(_value(one.this, scope) for one in ordered)]
    return changed(NONE.union(*told), "AGGREGATION")


def _bound(node: exp.Expr, scope: Scope) -> Sources:
    """Return the sources of a lambda or comprehension, whose own names are no columns."""
    own = [*node.expressions, node.args.get("expression"), node.args.get("position")]
    names = frozenset(key(one.name) for one in own if isinstance(one, exp.Identifier))
    inner = replace(scope, parameters=scope.parameters | names)
    told = NONE.union(*(_value(child, inner) for child in _children(node)))
    return changed(told, "TRANSFORMATION")


def _unreadable(node: exp.Expr, scope: Scope) -> Sources:
    """Refuse what stands for columns that only the engine knows.

    Raises:
        UnreadableQueryError: Always.
    """
    del scope
    raise UnreadableQueryError(f"{node.key.upper()} in an expression is not understood")


def _named_aggregate(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name.lower() in _AGGREGATES


def _column(node: exp.Column, scope: Scope) -> Sources:
    if isinstance(node.this, exp.Star):
        told = scope.star(node.table or None)
        return NONE.union(*(one for _, one in told))
    names = (node.args.get(part) for part in ("catalog", "db", "table", "this"))
    parts = [one.name for one in names if one is not None]
    return scope.column(parts)


def _conditional(node: exp.Expr, scope: Scope) -> Sources:
    """Return the sources of CASE or IF: results by value, conditions as what decides."""
    if isinstance(node, exp.If):
        branches: list[Any] = [node.args.get("true"), node.args.get("false")]
        conditions: list[Any] = [node.this]
    else:
        ifs = _list(node, "ifs")
        branches = [*(one.args.get("true") for one in ifs), node.args.get("default")]
        conditions = [node.this, *(one.this for one in ifs)]
    found: Sources = NONE
    for branch in branches:
        if branch is not None:
            found |= changed(_value(branch, scope), "TRANSFORMATION")
    for condition in conditions:
        found |= _used(condition, scope, "CONDITIONAL")
    return found


def _window(node: exp.Window, scope: Scope) -> Sources:
    function = node.this
    nulls = isinstance(function, exp.IgnoreNulls | exp.RespectNulls)
    inner = function.this if nulls else function
    if isinstance(inner, _VALUE_OF_A_ROW):
        found = NONE.union(*(_value(child, scope) for child in _children(inner)))
        found = changed(found, "TRANSFORMATION")
    else:
        found = _value(function, scope)
    name = node.args.get("alias")
    parts: list[exp.Expr] = [node]
    if name is not None:
        if key(name.name) not in scope.windows:
            raise UnreadableQueryError(f"no window {name.name!r}")
        parts.append(scope.windows[key(name.name)])
    for part in parts:
        for one in _list(part, "partition_by"):
            found |= deciding(_value(one, scope), "WINDOW")
        order = part.args.get("order")
        for one in order.expressions if order is not None else ():
            found |= deciding(_value(one.this, scope), "WINDOW")
    return found


_READERS: Final[
    tuple[tuple[tuple[type[exp.Expr], ...], Callable[[Any, Scope], Sources]], ...]
] = (
    ((exp.Column,), _column),
    ((exp.Alias, exp.Paren, exp.Where, exp.Having, exp.Qualify), _inner),
    ((exp.Subquery, exp.Select, exp.SetOperation, exp.Values), _subquery),
    ((exp.Exists,), _exists),
    ((exp.Case, exp.If), _conditional),
    ((exp.Window,), _window),
    ((exp.Filter,), _filter),
    ((exp.Order,), _order),
    ((exp.WithinGroup,), _within_group),
    ((exp.Lambda, exp.Comprehension), _bound),
    ((exp.Columns, exp.PositionalColumn), _unreadable),
)


# --- the tree


def _children(node: exp.Expr) -> Iterator[exp.Expr]:
    for value in node.args.values():
        several = cast("list[Any]", value) if isinstance(value, list) else [value]
        for one in several:
            if isinstance(one, exp.Expr) and not isinstance(one, exp.DataType):
                yield one


def _list(node: exp.Expr, name: str) -> list[Any]:
    return cast("list[Any]", node.args.get(name) or [])


def _names(node: exp.Expr) -> list[str]:
    """Return the names that an alias gives the columns."""
    alias = node.args.get("alias")
    return [one.name for one in _list(alias, "columns")] if alias is not None else []


def _refuse(node: exp.Expr, *parts: str) -> None:
    """Refuse a node that has a part whose meaning for columns is not known.

    Raises:
        UnreadableQueryError: It has one.
    """
    for part in parts:
        if node.args.get(part):
            raise UnreadableQueryError(f"{part.upper()} of a query is not understood")
