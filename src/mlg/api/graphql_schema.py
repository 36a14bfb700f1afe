"""The GraphQL schema: questions to the graph, and nothing that writes."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NoReturn

import strawberry
from graphql import GraphQLError, GraphQLSchema, build_schema
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext, ExecutionResult

from mlg.api.graphql_ask import Ask, View
from mlg.api.graphql_pages import (
    After,
    AskInfo,
    AsOf,
    Classes,
    First,
    Kinds,
    KnownAt,
    Roles,
    StopAt,
    cursor_of,
    page_info,
    page_size,
    place_of,
)
from mlg.api.graphql_types import (
    Diff,
    EventConnection,
    EventEdge,
    Found,
    GraphNode,
    InProduction,
    NodeConnection,
    NodeEdge,
    Production,
    Walk,
    core_node,
    diff_of,
    event_of,
    graph_node,
    walk_of,
)
from mlg.api.routes_graph import found, service_of, walked
from mlg.core.errors import ManifestError
from mlg.core.reading import Direction, NodeQuery
from mlg.graph.answers import event_answer, production_answer
from mlg.graph.diff import diff as compare
from mlg.graph.questions import (
    WalkWords,
    attr_of,
    events_page,
    known_kinds,
    time_of,
    uri_of,
)


@strawberry.type(description="Questions to the graph.")
class Query:
    """Every question; each is the REST route of the same name.

    A question that cannot be answered is null, with its error; the others are answered.
    """

    @strawberry.field(description="One node; null when there is none of this URI.")
    async def node(
        self, info: AskInfo, uri: strawberry.ID, as_of: AsOf = None, known_at: KnownAt = None
    ) -> GraphNode | None:
        """Return one node."""
        view = View(as_of=as_of, known_at=known_at)
        query = NodeQuery(uri=uri_of("uri", uri), as_of=time_of("as_of", as_of), limit=1)
        await info.context.pause()
        nodes = info.context.reader(view).nodes(query).nodes
        return core_node(nodes[0], view) if nodes else None

    @strawberry.field(description="Nodes in the order of their URIs; `attr` is name=value.")
    async def nodes(
        self,
        info: AskInfo,
        first: First = 20,
        after: After = None,
        kinds: Kinds = None,
        attr: str | None = None,
        as_of: AsOf = None,
        known_at: KnownAt = None,
    ) -> NodeConnection | None:
        """Return a page of nodes."""
        view = View(as_of=as_of, known_at=known_at)
        query = NodeQuery(
            kinds=known_kinds(kinds or (), "kinds"),
            attr=attr_of(attr),
            as_of=time_of("as_of", as_of),
            limit=page_size(first),
            cursor=None if after is None else _uri_place(after),
        )
        await info.context.pause()
        page = info.context.reader(view).nodes(query)
        edges = [
            NodeEdge(cursor=cursor_of(node.uri), node=core_node(node, view))
            for node in page.nodes
        ]
        return NodeConnection(
            edges=edges,
            page_info=page_info(
                [edge.cursor for edge in edges],
                more=page.truncated,
                begun=after is not None,
            ),
            total_count=page.total,
        )

    @strawberry.field(description="Everything that a thing, or a prediction, came from.")
    async def trace(
        self,
        info: AskInfo,
        uri: strawberry.ID,
        *,
        depth: int | None = None,
        limit: int = 100,
        kinds: Kinds = None,
        classes: Classes = None,
        roles: Roles = None,
        stop_at: StopAt = None,
        as_of: AsOf = None,
        known_at: KnownAt = None,
    ) -> Walk | None:
        """Return the causes and sources of a thing."""
        words = _words(depth, limit, kinds, classes, roles, stop_at, as_of)
        return await _walk(info, uri, "up", words, known_at)

    @strawberry.field(description="Everything that came of a thing.")
    async def impact(
        self,
        info: AskInfo,
        uri: strawberry.ID,
        *,
        depth: int | None = None,
        limit: int = 100,
        kinds: Kinds = None,
        classes: Classes = None,
        roles: Roles = None,
        stop_at: StopAt = None,
        as_of: AsOf = None,
        known_at: KnownAt = None,
    ) -> Walk | None:
        """Return what came of a thing."""
        words = _words(depth, limit, kinds, classes, roles, stop_at, as_of)
        return await _walk(info, uri, "down", words, known_at)

    @strawberry.field(description="Which versions took traffic at a time; default now.")
    async def production(
        self,
        info: AskInfo,
        service: str,
        at: str | None = None,
        known_at: KnownAt = None,
    ) -> Production | None:
        """Return what served."""
        ask, named = info.context, service_of(service)
        when = time_of("at", at) or ask.services.clock.now()
        await ask.pause()
        told = production_answer(ask.reader(View(known_at=known_at)).production(named, when))
        versions = [
            InProduction(
                model_version=one.model_version,
                deployment=one.deployment,
                image_digest=one.image_digest,
                share_bp=one.share_bp,
                since=one.since,
                health=one.health,
            )
            for one in told.versions
        ]
        return Production(service=told.service, at=told.at, versions=versions)

    @strawberry.field(description="What differs between two versions of one kind.")
    async def diff(
        self,
        info: AskInfo,
        a: strawberry.ID,
        b: strawberry.ID,
        as_of: AsOf = None,
        known_at: KnownAt = None,
    ) -> Diff | None:
        """Return what differs."""
        ends = uri_of("a", a), uri_of("b", b)
        when = time_of("as_of", as_of)
        await info.context.pause()
        return diff_of(compare(info.context.reader(View(known_at=known_at)), *ends, when))

    @strawberry.field(description="Nodes that match every word, best first.")
    async def search(
        self, info: AskInfo, text: str, kinds: Kinds = None, first: First = 20
    ) -> Found | None:
        """Return what matches."""
        size = page_size(first)
        await info.context.pause()
        told = found(info.context.services.reader, text, kinds or (), size)
        return Found(nodes=[graph_node(n) for n in told.nodes], truncated=told.truncated)

    @strawberry.field(
        description="Events in order. With `subject` at most 20,000 are looked at; "
        "`endCursor` tells how far, also where none was found."
    )
    async def events(
        self,
        info: AskInfo,
        first: First = 20,
        after: After = None,
        subject: strawberry.ID | None = None,
    ) -> EventConnection | None:
        """Return a page of events."""
        store, size = info.context.services.store, page_size(first)
        about = None if subject is None else uri_of("subject", subject)
        begin = 0 if after is None else _seq_place(after)
        await info.context.pause()
        head = store.head().seq
        page = events_page(store.events, head, begin, size, about)
        edges = [
            EventEdge(cursor=cursor_of(stored.seq), node=event_of(event_answer(stored)))
            for stored in page.events
        ]
        told = page_info([edge.cursor for edge in edges], more=page.truncated, begun=begin > 0)
        told.end_cursor = cursor_of(page.cursor)
        return EventConnection(
            edges=edges, page_info=told, total_count=head if about is None else None
        )


class _Schema(strawberry.Schema):
    """A schema that leaves the log of errors to the route."""

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Log nothing: what a caller got wrong is told to the caller."""
        del errors, execution_context


@cache
def schema() -> strawberry.Schema:
    """Return the schema, made at the first call."""
    return _Schema(query=Query, config=StrawberryConfig(disable_field_suggestions=True))


@cache
def measured_schema() -> GraphQLSchema:
    """Return the same schema as the limits read it."""
    return build_schema(schema().as_str())


def sdl() -> str:
    """Return the schema's text as it is kept in `docs/graphql.graphql`."""
    return schema().as_str() + "\n"


async def run(
    ask: Ask, query: str, variables: Mapping[str, Any], operation: str | None
) -> ExecutionResult:
    """Return the result of a document that the limits let through."""
    return await schema().execute(
        query,
        variable_values=dict(variables),
        context_value=ask,
        operation_name=operation,
    )


def _words(
    depth: int | None,
    limit: int,
    kinds: list[str] | None,
    classes: list[str] | None,
    roles: list[str] | None,
    stop_at: list[str] | None,
    as_of: str | None,
) -> WalkWords:
    return WalkWords(
        depth=depth,
        limit=limit,
        as_of=as_of,
        kinds=kinds or (),
        classes=classes or (),
        roles=roles or (),
        stop_at=stop_at or (),
    )


async def _walk(
    info: AskInfo, uri: str, direction: Direction, words: WalkWords, known_at: str | None
) -> Walk:
    ask = info.context
    await ask.pause()
    told = walked(ask.services, ask.known, uri, direction, words, known_at)
    return walk_of(told, View(as_of=words.as_of, known_at=known_at))


def _uri_place(after: str) -> str:
    place = place_of(after)
    if len(place) != 1 or not isinstance(place[0], str):
        _refuse_cursor(after)
    return place[0]


def _seq_place(after: str) -> int:
    place = place_of(after)
    if len(place) != 1 or not isinstance(place[0], int) or not 0 <= place[0] <= 2**53:
        _refuse_cursor(after)
    return place[0]


def _refuse_cursor(after: str) -> NoReturn:
    raise ManifestError(
        f"expected a cursor of a former page of this field, got {after[:60]!r}",
        where="after",
        hint="give pageInfo.endCursor as it came.",
    )
