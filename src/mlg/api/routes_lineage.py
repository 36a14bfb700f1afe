"""What other systems tell of their runs, jobs and datasets, as OpenLineage events."""

import asyncio
from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.params import SkipValidation

from mlg.api.documented import LineageOperation
from mlg.api.operations import ApiServices
from mlg.api.schemas import LineageAnswer, LineageResult
from mlg.api.security import TooLargeError
from mlg.core.errors import ConflictError, LifecycleError, ManifestError
from mlg.core.events import Event
from mlg.core.principal import Principal
from mlg.graph.openlineage import to_event
from mlg.graph.openlineage_check import check
from mlg.graph.record import Recorder

OPERATOR: Final = {"role": "operator"}

MAX_EVENTS: Final = 1_000
"""Most events of one request."""


@post("/api/v1/lineage", opt=OPERATOR, status_code=200, operation_class=LineageOperation)
async def lineage(
    services: SkipValidation[ApiServices],
    principal: SkipValidation[Principal],
    request: Request[Any, Any, Any],
) -> Response[LineageAnswer]:
    """Take an OpenLineage 2-0-2 event, or an array of at most 1,000.

    A single event that is refused answers 422. Of an array every good event is stored and
    each refused one is told in `results`, in the order sent; the status is 200 then too. The
    same event again changes nothing.
    """
    body = await request.body()
    answer = await asyncio.to_thread(_take, services, principal, body)
    return Response(answer, status_code=200)


def _take(services: ApiServices, principal: Principal, body: bytes) -> LineageAnswer:
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ManifestError(
            f"expected JSON: {str(wrong) or 'nested too deep'}"[:300],
            where="body",
            hint="send one OpenLineage event, or an array of them.",
        ) from wrong
    recorder = Recorder(
        project="openlineage",
        actor=principal.subject,
        clock=services.clock,
        ids=services.ids,
    )
    if not isinstance(content, list):
        event = to_event(recorder, check(content))
        _store(services, [event])
        return _answer([_accepted(0, event)])
    if len(content) > MAX_EVENTS:
        raise TooLargeError(
            f"an array may have {MAX_EVENTS} events, got {len(content)}",
            where="body",
            hint="send it in parts.",
        )
    results: list[LineageResult] = []
    events: dict[str, Event] = {}
    for index, one in enumerate(content):
        try:
            event = to_event(recorder, check(one))
        except LifecycleError as refused:
            results.append(LineageResult(index=index, status="refused", **refused.as_dict()))
        else:
            events[event.key] = event
            results.append(_accepted(index, event))
    _store(services, list(events.values()))
    return _answer(results)


def _store(services: ApiServices, events: list[Event]) -> None:
    """Append the events; one whose key is there is known, whatever it says besides.

    The key is the digest of what was sent. An event that is there with other content was
    told by someone else, was ahead of the clock then, or was read by an older version.
    """
    if not events:
        return
    try:
        services.store.append(events)
    except ConflictError:
        if len(events) > 1:
            for event in events:
                _store(services, [event])


def _accepted(index: int, event: Event) -> LineageResult:
    return LineageResult(
        index=index, status="accepted", key=event.key, subject=str(event.subject)
    )


def _answer(results: list[LineageResult]) -> LineageAnswer:
    refused = sum(result.status == "refused" for result in results)
    return LineageAnswer(accepted=len(results) - refused, refused=refused, results=results)
