"""Questions to the graph: events, nodes, trace, impact, production, search."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final

from litestar import get
from litestar.params import FromQuery, QueryParameter, SkipValidation

from mlg.api.operations import ApiServices
from mlg.core.clock import parse_time
from mlg.core.errors import ManifestError, NotFoundError
from mlg.core.events import StoredEvent
from mlg.core.nodes import EdgeClass
from mlg.core.ports import GraphStore
from mlg.core.reading import Direction, NodeQuery, WalkOptions
from mlg.core.uris import Uri, parse_uri
from mlg.graph.answers import (
    EventsAnswer,
    FoundAnswer,
    NodesAnswer,
    ProductionAnswer,
    WalkAnswer,
    event_answer,
    found_answer,
    head_answer,
    page_answer,
    production_answer,
    walk_answer,
)
from mlg.graph.columns import named, of_column
from mlg.graph.diff import DiffAnswer
from mlg.graph.diff import diff as compare
from mlg.graph.quality import QualityAnswer
from mlg.graph.quality import quality as judge
from mlg.graph.unused import UnusedAnswer, since_seconds
from mlg.graph.unused import unused as find_unused
from mlg.graph.why import WhyAnswer
from mlg.graph.why import why as explain

Limit = Annotated[int, QueryParameter(ge=1, le=10_000)]
Services = SkipValidation[ApiServices]

VIEWER: Final = {"role": "viewer"}

_CLASSES: Final[tuple[EdgeClass, ...]] = ("lineage", "causal", "version", "ownership")


@get("/api/v1/events", opt=VIEWER, sync_to_thread=True)
def events(
    services: Services,
    after: Annotated[int, QueryParameter(ge=0)] = 0,
    limit: Limit = 1_000,
    newest: Annotated[int | None, QueryParameter(ge=1, le=10_000)] = None,
) -> EventsAnswer:
    """List events in order: those with seq > `after`, or the `newest` so many."""
    head = services.store.head()
    if newest is not None:
        after, limit = max(0, head.seq - newest), newest
    stored = services.store.events(after, limit)
    return EventsAnswer(
        events=[event_answer(event) for event in stored], head=head_answer(head)
    )


@get("/api/v1/nodes", opt=VIEWER, sync_to_thread=True)
def nodes(
    services: Services,
    kind: FromQuery[list[str] | None] = None,
    uri: FromQuery[str | None] = None,
    attr: FromQuery[str | None] = None,
    as_of: FromQuery[str | None] = None,
    limit: Limit = 100,
    cursor: FromQuery[str | None] = None,
) -> NodesAnswer:
    """List nodes in URI order; `attr` is `name=value`."""
    query = NodeQuery(
        kinds=tuple(kind or ()),
        uri=None if uri is None else Uri(uri),
        attr=_attr(attr),
        as_of=_time("as_of", as_of),
        limit=limit,
        cursor=cursor,
    )
    return page_answer(services.reader.nodes(query))


@get("/api/v1/trace", opt=VIEWER, sync_to_thread=True)
def trace(
    services: Services,
    uri: FromQuery[str],
    depth: Annotated[int | None, QueryParameter(ge=0)] = None,
    limit: Limit = 10_000,
    as_of: FromQuery[str | None] = None,
    classes: FromQuery[list[str] | None] = None,
    stop_at: FromQuery[list[str] | None] = None,
) -> WalkAnswer:
    """Walk from a thing to its causes and sources; also from a prediction's URI or id.

    A column may be given as `dataset.column`.
    """
    uri = _called(services, uri)
    if _prediction_id(uri) is not None:
        return services.operations.trace_prediction(uri)
    return _walk(services, uri, "up", _options(depth, limit, as_of, classes, stop_at))


@get("/api/v1/why", opt=VIEWER, sync_to_thread=True)
def why(services: Services, uri: FromQuery[str]) -> WhyAnswer:
    """Tell in a paragraph why a thing is as it is; each clause names its event.

    Raises:
        NotFoundError: No event is about the thing.
    """
    told = explain(_log(services.store), Uri(uri))
    if not told.clauses:
        raise NotFoundError(
            "no event is about this", where=uri, hint="mlg search TEXT finds URIs."
        )
    return told


def _log(store: GraphStore) -> Iterator[StoredEvent]:
    """Yield the whole log in order."""
    after = 0
    while page := store.events(after, 1_000):
        yield from page
        after = page[-1].seq


@get("/api/v1/impact", opt=VIEWER, sync_to_thread=True)
def impact(
    services: Services,
    uri: FromQuery[str],
    depth: Annotated[int | None, QueryParameter(ge=0)] = None,
    limit: Limit = 10_000,
    as_of: FromQuery[str | None] = None,
    classes: FromQuery[list[str] | None] = None,
    stop_at: FromQuery[list[str] | None] = None,
) -> WalkAnswer:
    """Walk from a thing to what came of it; nothing comes of a prediction.

    A column may be given as `dataset.column`; from it the walk follows columns, features,
    models and deployments, and `breaks` sums up what it reached.
    """
    uri = _called(services, uri)
    if _prediction_id(uri) is not None:
        itself = services.operations.trace_prediction(uri).nodes[0]
        return WalkAnswer(
            root=itself.uri,
            direction="down",
            total=1,
            truncated=False,
            nodes=[itself],
            edges=[],
        )
    return _walk(services, uri, "down", _options(depth, limit, as_of, classes, stop_at))


@get("/api/v1/diff", opt=VIEWER, sync_to_thread=True)
def diff(services: Services, a: FromQuery[str], b: FromQuery[str]) -> DiffAnswer:
    """Tell what differs between two versions of one kind: data, code, parameters, metrics."""
    return compare(services.reader, Uri(a), Uri(b))


@get("/api/v1/unused", opt=VIEWER, sync_to_thread=True)
def unused(
    services: Services,
    kind: FromQuery[list[str] | None] = None,
    since: FromQuery[str] = "30d",
    limit: Annotated[int, QueryParameter(ge=1, le=10_000)] = 100,
) -> UnusedAnswer:
    """Tell what could be deprecated: nothing live comes of it, nothing used it `since`.

    Raises:
        ManifestError: A kind is unknown, or `since` is no duration.
    """
    return find_unused(
        services.reader,
        now=services.clock.now(),
        kinds=kind or (),
        since_s=since_seconds(since),
        limit=limit,
    )


@get("/api/v1/quality", opt=VIEWER, sync_to_thread=True)
def quality(
    services: Services,
    uri: FromQuery[str | None] = None,
    kind: FromQuery[list[str] | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=10_000)] = 100,
) -> QualityAnswer:
    """Tell how well things are described: owner, description, freshness, tags; a score."""
    return judge(
        services.reader,
        now=services.clock.now(),
        uri=None if uri is None else Uri(_called(services, uri)),
        kinds=kind or (),
        limit=limit,
    )


@get("/api/v1/production", opt=VIEWER, sync_to_thread=True)
def production(
    services: Services, service: FromQuery[str], at: FromQuery[str | None] = None
) -> ProductionAnswer:
    """Tell which versions took traffic of a service at a time; now when none is given."""
    when = _time("at", at) or services.clock.now()
    return production_answer(services.reader.production(service, when))


@get("/api/v1/search", opt=VIEWER, sync_to_thread=True)
def search(
    services: Services,
    q: FromQuery[str],
    kind: FromQuery[list[str] | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1_000)] = 50,
) -> FoundAnswer:
    """Find nodes whose name, URI or attributes match every word, best first."""
    found = services.reader.search(q[:1_000], tuple(kind or ()), limit) if q.strip() else ()
    return found_answer(found)


def _walk(
    services: ApiServices, uri: str, direction: Direction, options: WalkOptions
) -> WalkAnswer:
    if direction == "down":
        options = of_column(Uri(uri), options)
    return walk_answer(services.reader.walk(Uri(uri), direction, options))


def _called(services: ApiServices, text: str) -> str:
    """Return the URI of a name with a dot; URIs and ids of predictions stay as they are."""
    if text.startswith("mlg://") or "." not in text:
        return text
    return named(services.reader, text[:1_000]) or text


def _prediction_id(uri: str) -> str | None:
    """Return the id in a prediction's URI, a bare id as it is, and None for other things.

    Raises:
        ManifestError: The text begins like a URI and is none.
    """
    if not uri.startswith("mlg://"):
        return uri
    try:
        parts = parse_uri(uri)
    except ValueError as wrong:
        raise ManifestError(
            str(wrong), where="uri", hint="`mlg search` finds the URIs of things."
        ) from wrong
    if parts.kind != "prediction":
        return None
    if parts.version is None:
        raise ManifestError(
            f"expected the prediction's id after @, got {uri!r}",
            where="uri",
            hint="mlg://prediction/mlg/<project>/<service>@<prediction id>",
        )
    return parts.version


def _options(
    depth: int | None,
    limit: int,
    as_of: str | None,
    classes: list[str] | None,
    stop_at: list[str] | None,
) -> WalkOptions:
    unknown = sorted(set(classes or ()) - set(_CLASSES))
    if unknown:
        raise ManifestError(
            f"expected an edge class, got {unknown[0]!r}",
            where="classes",
            hint=f"one of {', '.join(_CLASSES)}.",
        )
    wanted = classes or ("lineage", "causal")
    return WalkOptions(
        classes=tuple(name for name in _CLASSES if name in wanted),
        stop_at=tuple(stop_at or ()),
        depth=depth,
        as_of=_time("as_of", as_of),
        limit=limit,
    )


def _attr(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, _, value = text.partition("=")
    if not name or not value:
        raise ManifestError(
            f"expected name=value, got {text!r}", where="attr", hint="for example attr=seed=7."
        )
    return name, value


def _time(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError as wrong:
        raise ManifestError(
            str(wrong),
            where=name,
            hint="RFC 3339 with a zone, for example 2026-01-02T03:04:05Z.",
        ) from wrong
