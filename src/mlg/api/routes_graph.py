"""Questions to the graph: events, nodes, trace, impact, diff, why, production, search."""

from collections.abc import Sequence
from typing import Annotated, Final

from litestar import get
from litestar.di import Provide
from litestar.params import Dependency, QueryParameter, SkipValidation

from mlg.api.operations import ApiServices
from mlg.core.errors import ManifestError
from mlg.core.ports import GraphReader
from mlg.core.reading import Direction, NodeQuery
from mlg.core.uris import Uri, parse_uri
from mlg.graph.answers import (
    EventsAnswer,
    FoundAnswer,
    NodesAnswer,
    ProductionAnswer,
    WalkAnswer,
    events_answer,
    found_answer,
    page_answer,
    production_answer,
    walk_answer,
)
from mlg.graph.columns import named, of_column
from mlg.graph.diff import DiffAnswer
from mlg.graph.diff import diff as compare
from mlg.graph.known import KnownGraphs
from mlg.graph.quality import QualityAnswer
from mlg.graph.quality import quality as judge
from mlg.graph.questions import (
    MAX_DEPTH,
    MAX_LIMIT,
    MAX_TEXT,
    WalkWords,
    attr_of,
    events_page,
    known_kinds,
    text_of,
    time_of,
    uri_of,
)
from mlg.graph.unused import UnusedAnswer, since_seconds
from mlg.graph.unused import unused as find_unused
from mlg.graph.why import WhyAnswer
from mlg.graph.why_not import why_of

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
Depth = Annotated[int | None, QueryParameter(ge=0, le=MAX_DEPTH)]
Seq = Annotated[int, QueryParameter(ge=0, le=2**53)]
Text = Annotated[str, QueryParameter(max_length=MAX_TEXT)]
MaybeText = Annotated[str | None, QueryParameter(max_length=MAX_TEXT)]
Words = Annotated[list[str] | None, QueryParameter(max_items=100)]
Services = SkipValidation[ApiServices]
Known = SkipValidation[KnownGraphs]

VIEWER: Final = {"role": "viewer"}
_MOST_URI: Final = 4_096
"""Characters of a URI that is asked about."""


def walk_words(
    depth: Depth = None,
    limit: Limit = MAX_LIMIT,
    as_of: MaybeText = None,
    kinds: Words = None,
    classes: Words = None,
    roles: Words = None,
    stop_at: Words = None,
) -> WalkWords:
    """Return how far a walk goes, from the parameters that `trace` and `impact` share."""
    return WalkWords(
        depth=depth,
        limit=limit,
        as_of=as_of,
        kinds=kinds or (),
        classes=classes or (),
        roles=roles or (),
        stop_at=stop_at or (),
    )


WALK: Final = {"words": Provide(walk_words, sync_to_thread=False)}


@get("/api/v1/events", opt=VIEWER, sync_to_thread=True)
def events(
    services: Services,
    after: Seq = 0,
    limit: Limit = 1_000,
    newest: Annotated[int | None, QueryParameter(ge=1, le=MAX_LIMIT)] = None,
    subject: MaybeText = None,
) -> EventsAnswer:
    """List events in order: those with seq > `after`, or the `newest` so many.

    With `subject`, those about one thing; at most 20,000 events are looked at, and `cursor`
    is the `after` to go on with.
    """
    head = services.store.head()
    if newest is not None:
        after, limit = max(0, head.seq - newest), newest
    about = None if subject is None else uri_of("subject", subject)
    page = events_page(services.store.events, head.seq, after, limit, about)
    return events_answer(page, head)


@get("/api/v1/nodes", opt=VIEWER, sync_to_thread=True)
def nodes(
    services: Services,
    known: Known,
    kind: Words = None,
    uri: MaybeText = None,
    attr: MaybeText = None,
    as_of: MaybeText = None,
    known_at: MaybeText = None,
    limit: Limit = 100,
    cursor: MaybeText = None,
) -> NodesAnswer:
    """List nodes in URI order; `attr` is `name=value`."""
    query = NodeQuery(
        kinds=known_kinds(kind or ()),
        uri=None if uri is None else uri_of("uri", uri),
        attr=attr_of(attr),
        as_of=time_of("as_of", as_of),
        limit=limit,
        cursor=None if cursor is None else text_of("cursor", cursor),
    )
    return page_answer(reader_at(services, known, known_at).nodes(query))


@get("/api/v1/trace", opt=VIEWER, sync_to_thread=True, dependencies=WALK)
def trace(
    services: Services,
    known: Known,
    words: Annotated[WalkWords, Dependency(skip_validation=True)],
    uri: Text,
    known_at: MaybeText = None,
) -> WalkAnswer:
    """Walk from a thing to its causes and sources; also from a prediction's URI or id.

    A column may be given as `dataset.column`. `kinds` are those that are told; the walk goes
    through all. `as_of` asks how things were, `known_at` (a seq or a time) what was recorded
    by then.
    """
    return walked(services, known, uri, "up", words, known_at)


@get("/api/v1/why", opt=VIEWER, sync_to_thread=True)
def why(
    services: Services,
    uri: Text,
    asked: Annotated[str | None, QueryParameter(name="not", max_length=20)] = None,
) -> WhyAnswer:
    """Tell in a paragraph why a thing is as it is; each clause names its event.

    `uri` is a thing's URI, the URI or id of a prediction, or the name of a service; `not` is
    `promoted`, `restarted`, `healed` or `alerted` and asks why that did not happen.

    """
    text_of("uri", uri)
    told = why_of(services.reader, services.history, uri, asked)
    if told is None:
        return services.operations.why_prediction(_prediction_id(uri) or uri)
    return told


@get("/api/v1/impact", opt=VIEWER, sync_to_thread=True, dependencies=WALK)
def impact(
    services: Services,
    known: Known,
    words: Annotated[WalkWords, Dependency(skip_validation=True)],
    uri: Text,
    known_at: MaybeText = None,
) -> WalkAnswer:
    """Walk from a thing to what came of it; nothing comes of a prediction.

    A column may be given as `dataset.column`; from it the walk follows columns, features,
    models and deployments, and `breaks` sums up what it reached.
    """
    return walked(services, known, uri, "down", words, known_at)


@get("/api/v1/diff", opt=VIEWER, sync_to_thread=True)
def diff(
    services: Services,
    known: Known,
    a: Text,
    b: Text,
    as_of: MaybeText = None,
    known_at: MaybeText = None,
) -> DiffAnswer:
    """Tell what differs between two versions of one kind: data, code, parameters, metrics."""
    return compare(
        reader_at(services, known, known_at),
        uri_of("a", a),
        uri_of("b", b),
        time_of("as_of", as_of),
    )


@get("/api/v1/unused", opt=VIEWER, sync_to_thread=True)
def unused(
    services: Services,
    kind: Words = None,
    since: Text = "30d",
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
    uri: MaybeText = None,
    kind: Words = None,
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
    services: Services,
    known: Known,
    service: Text,
    at: MaybeText = None,
    known_at: MaybeText = None,
) -> ProductionAnswer:
    """Tell which versions took traffic of a service at a time; now when none is given."""
    when = time_of("at", at) or services.clock.now()
    named = service_of(service)
    return production_answer(reader_at(services, known, known_at).production(named, when))


@get("/api/v1/search", opt=VIEWER, sync_to_thread=True)
def search(
    services: Services,
    q: Annotated[str, QueryParameter(max_length=MAX_TEXT)],
    kind: Words = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1_000)] = 50,
) -> FoundAnswer:
    """Find nodes whose name, URI or attributes match every word, best first."""
    return found(services.reader, q, kind or (), limit)


def found(reader: GraphReader, q: str, kinds: Sequence[str], limit: int) -> FoundAnswer:
    """Return what a search finds, and whether there is more.

    Raises:
        ManifestError: A kind is unknown, or the text cannot be searched for.
    """
    wanted = known_kinds(kinds)
    text = text_of("q", q)[:1_000]
    nodes = reader.search(text, wanted, limit + 1) if text.strip() else ()
    return found_answer(nodes[:limit], truncated=len(nodes) > limit)


def reader_at(services: ApiServices, known: KnownGraphs, known_at: str | None) -> GraphReader:
    """Return the graph, or the graph as it was known at a seq or a time.

    Raises:
        ManifestError: `known_at` is neither, or the log up to then is too long.
    """
    if known_at is None:
        return services.reader
    return known.at(known_at, services.store.head().seq)


def service_of(service: str) -> str:
    """Return a service's name or URI.

    Raises:
        ManifestError: It begins like a URI and is none.
    """
    if service.startswith("mlg://"):
        return uri_of("service", service)
    return text_of("service", service)


def walked(
    services: ApiServices,
    known: KnownGraphs,
    uri: str,
    direction: Direction,
    words: WalkWords,
    known_at: str | None = None,
) -> WalkAnswer:
    """Return the walk from a thing, or from a prediction.

    Raises:
        ManifestError: A word of the question is wrong.
        NotFoundError: There is no such thing.
    """
    options = words.options()
    uri = _called(services, text_of("uri", uri))
    if _prediction_id(uri) is None:
        reader = reader_at(services, known, known_at)
        if direction == "down":
            options = of_column(Uri(uri), options)
        return words.of_kinds(walk_answer(reader.walk(Uri(uri), direction, options)))
    if known_at is not None:
        raise ManifestError(
            "a prediction is traced as the graph knows it now",
            where="known_at",
            hint="trace its model version instead.",
        )
    told = services.operations.trace_prediction(uri, options)
    if direction == "up":
        return words.of_kinds(told)
    itself = told.nodes[0]
    return WalkAnswer(
        root=itself.uri, direction="down", total=1, truncated=False, nodes=[itself], edges=[]
    )


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
