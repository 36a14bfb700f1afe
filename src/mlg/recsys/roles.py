"""Which table and column plays which part, as the manifest's `roles:` says it."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast

from mlg.core.errors import ManifestError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionRole:
    """The table of events: who met which item, when, and what came of it."""

    table: str
    item: str
    at: str
    """A timestamp column, or whole Unix seconds."""
    viewer: str | None = None
    value: str | None = None
    """The label: a rating, or 0 / 1 for a click."""
    context: tuple[str, ...] = ()
    """Columns known before the answer, for models without viewers."""
    position: str | None = None
    propensity: str | None = None
    """Probability, 0..1, with which the logging policy showed the item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerRole:
    """The table of viewers and the columns that are features."""

    table: str
    key: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRole:
    """The table of items and the columns that are features."""

    table: str
    key: str
    title: str | None = None
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemStatsRole:
    """Statistics of items over time; every numeric column besides these two is a feature."""

    table: str
    key: str
    available_at: str
    """A row may be used at times strictly after this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """All parts of one model's tables."""

    interactions: InteractionRole
    viewers: ViewerRole | None = None
    items: ItemRole | None = None
    item_stats: ItemStatsRole | None = None


def _part(kind: type[_T], raw: object, where: str) -> _T:
    if not isinstance(raw, Mapping):
        raise ManifestError(f"expected a mapping, got {type(raw).__name__}", where=where)
    given = {str(key): value for key, value in cast("Mapping[object, object]", raw).items()}
    known = {field.name: field for field in fields(cast("Any", kind))}
    for key, value in given.items():
        if key not in known:
            raise ManifestError(
                f"unknown key {key!r}", where=where, hint=f"known: {', '.join(sorted(known))}."
            )
        if key in {"features", "context"}:
            listed = cast("list[object]", value) if isinstance(value, list | tuple) else []
            if not isinstance(value, list | tuple) or not all(
                isinstance(name, str) for name in listed
            ):
                raise ManifestError(
                    f"{key} must be a list of column names, got {value!r}", where=where
                )
            given[key] = tuple(cast("list[str]", listed))
        elif value is not None and not isinstance(value, str):
            raise ManifestError(f"{key} must be a name, got {value!r}", where=where)
    try:
        return kind(**given)
    except TypeError as error:
        raise ManifestError(
            f"a key is missing: {error}", where=where, hint="name the table and its columns."
        ) from error


def present(roles: Roles, tables: Container[str]) -> Roles:
    """Return the roles without those of viewers, items and statistics that have no table."""
    return Roles(
        interactions=roles.interactions,
        viewers=roles.viewers if roles.viewers and roles.viewers.table in tables else None,
        items=roles.items if roles.items and roles.items.table in tables else None,
        item_stats=(
            roles.item_stats if roles.item_stats and roles.item_stats.table in tables else None
        ),
    )


def roles_from(mapping: Mapping[str, object]) -> Roles:
    """Return the roles that a manifest's mapping declares.

    Args:
        mapping: `interactions` and, where there are such tables, `viewers`, `items`,
            `item_stats`, each a mapping of part to table or column name. Keys whose
            value is None are left out.

    Raises:
        ManifestError: A key is unknown or missing, or a value is no name.

    Examples:
        >>> roles_from({"interactions": {"table": "t", "item": "i", "at": "a"}}).viewers is None
        True
    """
    kinds = {
        "viewers": ViewerRole,
        "items": ItemRole,
        "item_stats": ItemStatsRole,
        "interactions": InteractionRole,
    }
    unknown = sorted(set(mapping) - set(kinds))
    if unknown:
        raise ManifestError(
            f"unknown role {unknown[0]!r}",
            where="roles",
            hint=f"known: {', '.join(sorted(kinds))}.",
        )
    if mapping.get("interactions") is None:
        raise ManifestError(
            "the role `interactions` is missing",
            where="roles",
            hint="name the table of events: interactions: {table, viewer, item, at, value}.",
        )
    parts = {
        name: _part(cast("type[Any]", kind), mapping[name], f"roles.{name}")
        for name, kind in kinds.items()
        if mapping.get(name) is not None
    }
    return Roles(**parts)
