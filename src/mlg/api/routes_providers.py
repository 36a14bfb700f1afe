"""What other systems keep: thin events, states that a provider told, and where each stands."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromQuery, QueryParameter, SkipValidation

from mlg.api.operations import ApiServices
from mlg.api.schemas import (
    ProvidersAnswer,
    StateResult,
    StatesAnswer,
    ThinEventResult,
    ThinEventsAnswer,
)
from mlg.api.security import TooLargeError
from mlg.core.errors import ManifestError
from mlg.core.providers import Thing, Told

OPERATOR: Final = {"role": "operator"}
VIEWER: Final = {"role": "viewer"}

MAX_EVENTS: Final = 1_000
"""Most thin events, or states, of one request."""
MAX_ID: Final = 500
"""Longest id of a thing, in characters."""


class ThinEventError(ManifestError):
    """A thin event that is not taken; `where` is a JSON path."""

    code = "thin_event"


class _States(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    provider: str
    states: Annotated[list[Told], msgspec.Meta(max_length=MAX_EVENTS)]


@post("/api/v1/events", opt=OPERATOR, status_code=202)
async def thin_events(
    services: SkipValidation[ApiServices], request: Request[Any, Any, Any]
) -> Response[ThinEventsAnswer]:
    """Take a thin event `{provider, type, id}`, or an array of at most 1,000.

    It says that something about a thing changed; the provider is asked for the whole state
    soon after. In a CloudEvents envelope, `data` is the thin event. 202: what was taken
    survives a crash. A single event that is refused answers 422; of an array, each refused
    one is told in `results`.
    """
    body = await request.body()
    answer = await asyncio.to_thread(_take, services, body)
    return Response(answer, status_code=202)


@post("/api/v1/states", opt=OPERATOR, status_code=200)
async def states(
    services: SkipValidation[ApiServices], request: Request[Any, Any, Any]
) -> Response[StatesAnswer]:
    """Take states that a provider told elsewhere: `{provider, states}`, at most 1,000.

    What the graph knows already makes no event. A state may name its provider's own nodes
    only; each one that is refused is told in `results`.
    """
    body = await request.body()
    answer = await asyncio.to_thread(_record, services, body)
    return Response(answer, status_code=200)


@get("/api/v1/providers", opt=VIEWER, sync_to_thread=True)
def providers(
    services: SkipValidation[ApiServices],
    provider: FromQuery[str] = "",
    things: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=0, le=10_000)] = 100,
) -> ProvidersAnswer:
    """Tell where providers stand, and `things` that are waiting, enriched or failing."""
    found = services.providers.standings(provider, things, limit)
    return msgspec.convert(found, ProvidersAnswer)


def _take(services: ApiServices, body: bytes) -> ThinEventsAnswer:
    content = _json(body)
    known = services.providers.types()
    single = not isinstance(content, list)
    listed = cast("list[Any]", [content] if single else content)
    if len(listed) > MAX_EVENTS:
        raise TooLargeError(
            f"an array may have {MAX_EVENTS} events, got {len(listed)}",
            where="body",
            hint="send it in parts.",
        )
    asked: defaultdict[str, dict[Thing, None]] = defaultdict(dict)
    results: list[ThinEventResult] = []
    for index, one in enumerate(listed):
        try:
            provider, thing = _thin(one, known, "$" if single else f"$[{index}]")
        except ThinEventError as refused:
            if single:
                raise
            results.append(ThinEventResult(index=index, status="refused", **refused.as_dict()))
        else:
            asked[provider][thing] = None
            results.append(ThinEventResult(index=index, status="accepted"))
    for provider, things in sorted(asked.items()):
        services.providers.ask(provider, tuple(things))
    refused_count = sum(result.status == "refused" for result in results)
    return ThinEventsAnswer(
        accepted=len(results) - refused_count, refused=refused_count, results=results
    )


def _thin(value: Any, known: Mapping[str, tuple[str, ...]], where: str) -> tuple[str, Thing]:
    """Return what a thin event names.

    Raises:
        ThinEventError: It is none, or names what nobody knows.
    """
    event = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if "specversion" in event and isinstance(event.get("data"), dict):
        event, where = cast("dict[str, Any]", event["data"]), f"{where}.data"
    words = [event.get(name) for name in ("provider", "type", "id")]
    if not all(isinstance(word, str) and word for word in words):
        raise ThinEventError(
            "expected {provider, type, id}, each a text that is not empty",
            where=where,
            hint='for example {"provider": "mlflow", "type": "run", "id": "0afb…"}.',
        )
    provider, type_, id_ = cast("list[str]", words)
    if provider == "openlineage":
        raise ThinEventError(
            "OpenLineage events carry all that they tell, and have no source to ask",
            where=f"{where}.provider",
            hint="send the whole event to POST /api/v1/lineage.",
        )
    if provider not in known:
        raise ThinEventError(
            f"no provider {provider[:80]!r}; known are {', '.join(known) or 'none'}",
            where=f"{where}.provider",
            hint="name its source under `providers:` in mlg.env.yaml before `mlg up`.",
        )
    if type_ not in known[provider]:
        raise ThinEventError(
            f"{provider} has no type {type_[:80]!r}; known are {', '.join(known[provider])}",
            where=f"{where}.type",
        )
    if len(id_) > MAX_ID or "\0" in id_:
        raise ThinEventError(
            f"an id may have {MAX_ID} characters and no NUL", where=f"{where}.id"
        )
    return provider, Thing(type=type_, id=id_)


def _record(services: ApiServices, body: bytes) -> StatesAnswer:
    content = _json(body)
    try:
        given = msgspec.convert(content, _States)
    except msgspec.ValidationError as wrong:
        raise ManifestError(
            str(wrong)[:300], where="body", hint="see docs/providers.md for the form."
        ) from wrong
    for place, told in enumerate(given.states):
        times = (told.observed_at, told.since, told.changed_at)
        if any(at is not None and at.tzinfo is None for at in times):
            raise ManifestError("expected times with a zone", where=f"$.states[{place}]")
    outcomes = services.providers.record(given.provider, given.states)
    results = [
        StateResult(
            type=one.thing.type,
            id=one.thing.id,
            subject=one.subject,
            status=one.status,
            **(one.error.as_dict() if one.error is not None else {}),
        )
        for one in outcomes
    ]
    counts = {
        status: sum(one.status == status for one in results)
        for status in ("recorded", "unchanged", "refused")
    }
    return StatesAnswer(**counts, results=results)


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ManifestError(
            f"expected JSON: {str(wrong) or 'nested too deep'}"[:300], where="body"
        ) from wrong
