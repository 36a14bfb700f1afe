"""Arguments and pages of the GraphQL schema; cursors are opaque."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import strawberry
from strawberry.relay import PageInfo
from strawberry.types import Info

from mlg.api.graphql_ask import Ask
from mlg.core.errors import ManifestError

MAX_FIRST: Final = 1_000
"""Most entries of one page."""

AskInfo = Info[Ask, None]
First = Annotated[int, strawberry.argument(description=f"1 to {MAX_FIRST:,}.")]
After = Annotated[
    str | None, strawberry.argument(description="The `endCursor` of the former page.")
]
AsOf = Annotated[
    str | None, strawberry.argument(description="How things were at this time (RFC 3339).")
]
KnownAt = Annotated[
    str | None,
    strawberry.argument(description="What was recorded by this time, or up to this seq."),
]
Kinds = Annotated[
    list[str] | None, strawberry.argument(description="Only nodes of these kinds.")
]
Classes = Annotated[
    list[str] | None,
    strawberry.argument(description="Classes of edges; default lineage and causal."),
]
Roles = Annotated[
    list[str] | None,
    strawberry.argument(description="Roles of edges; default all of the classes."),
]
StopAt = Annotated[
    list[str] | None, strawberry.argument(description="Roles that are not followed.")
]


def page_size(first: int) -> int:
    """Return the size of a page.

    Raises:
        ManifestError: It is out of range.
    """
    if not 1 <= first <= MAX_FIRST:
        raise ManifestError(
            f"expected 1 to {MAX_FIRST}, got {first}", where="first", hint="follow the cursors."
        )
    return first


def cursor_of(*place: str | int) -> str:
    """Return an opaque cursor of a place.

    Examples:
        >>> place_of(cursor_of("mlg://model/mlg/x/y", "used"))
        ['mlg://model/mlg/x/y', 'used']
    """
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def place_of(cursor: str) -> list[str | int]:
    """Return the place that a cursor names.

    Raises:
        ManifestError: No page ended with this cursor.
    """
    try:
        raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=list[str | int])
    except (msgspec.MsgspecError, binascii.Error, ValueError) as wrong:
        raise ManifestError(
            f"expected a cursor of a former page, got {cursor[:60]!r}",
            where="after",
            hint="give pageInfo.endCursor as it came.",
        ) from wrong


def page_info(cursors: Sequence[str], *, more: bool, begun: bool) -> PageInfo:
    """Return what a page tells of itself.

    Args:
        cursors: Of its entries.
        more: Whether entries follow.
        begun: Whether entries come before.
    """
    return PageInfo(
        has_next_page=more,
        has_previous_page=begun,
        start_cursor=cursors[0] if cursors else None,
        end_cursor=cursors[-1] if cursors else None,
    )
