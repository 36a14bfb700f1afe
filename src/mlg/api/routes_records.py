"""What notebooks and foreign training scripts record by `mlg.Client`."""

import asyncio
from concurrent.futures import Future
from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.params import SkipValidation

from mlg.api.operations import ApiServices
from mlg.api.schemas import LineageAnswer, LineageResult
from mlg.api.security import TooLargeError
from mlg.core.errors import ConflictError, LifecycleError, ManifestError
from mlg.core.events import Event, Revision
from mlg.core.principal import Principal
from mlg.core.reading import NodeQuery
from mlg.core.uris import Uri
from mlg.graph.record import Recorder
from mlg.graph.records import FORMAT, ModelRegistered, read, to_event

OPERATOR: Final = {"role": "operator"}
MAX_RECORDS: Final = 1_000
"""Most records of one request."""


class RecordsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Records, in the order in which they were made."""

    records: list[Any]
    """At most 1,000; see docs/record.md."""
    format: int = FORMAT


@post("/api/v1/records", opt=OPERATOR, status_code=200)
async def records(
    services: SkipValidation[ApiServices],
    principal: SkipValidation[Principal],
    request: Request[Any, Any, Any],
) -> Response[LineageAnswer]:
    """Take records of runs, data and models: `{"format": 1, "records": [...]}`.

    A single record that is refused answers 422, or 409 when its key or its model's version is
    there with other content. Of several every good one is stored and each refused one is told
    in `results`, in the order sent; the status is 200 then too. The same record again changes
    nothing.
    """
    body = await request.body()
    answer = await asyncio.to_thread(_take, services, principal, body)
    return Response(answer, status_code=200)


def _take(services: ApiServices, principal: Principal, body: bytes) -> LineageAnswer:
    try:
        asked = msgspec.json.decode(body, type=RecordsRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ManifestError(
            f"expected records as JSON: {str(wrong) or 'nested too deep'}"[:300],
            where="body",
            hint='send {"format": 1, "records": [...]}.',
        ) from wrong
    if asked.format != FORMAT:
        raise ManifestError(
            f"records of format {asked.format}, this control plane reads {FORMAT}",
            where="format",
            hint="let client and control plane be of one version.",
        )
    if len(asked.records) > MAX_RECORDS:
        raise TooLargeError(
            f"a request may have {MAX_RECORDS} records, got {len(asked.records)}",
            where="records",
            hint="send them in parts.",
        )
    recorder = Recorder(
        project=services.project(),
        actor=principal.subject,
        clock=services.clock,
        ids=services.ids,
    )
    prepared = _prepared(services, recorder, asked.records)
    told = [
        (one, services.store.submit([one])) if isinstance(one, Event) else one
        for one in prepared
    ]
    results = [
        one if isinstance(one, LifecycleError) else _result(index, *one)
        for index, one in enumerate(told)
    ]
    refusals = [one for one in results if isinstance(one, LifecycleError)]
    if len(results) == 1 and refusals:
        raise refusals[0]
    answers = [
        LineageResult(index=index, status="refused", **one.as_dict())
        if isinstance(one, LifecycleError)
        else one
        for index, one in enumerate(results)
    ]
    return LineageAnswer(
        accepted=len(answers) - len(refusals), refused=len(refusals), results=answers
    )


def _prepared(
    services: ApiServices, recorder: Recorder, found: list[Any]
) -> list[Event | LifecycleError]:
    """Return each record's event, or why it is refused; nothing is written."""
    prepared: list[Event | LifecycleError] = []
    digests: dict[Uri, str | None] = {}
    for one in found:
        try:
            record = read(one)
            event = to_event(recorder, record)
            if isinstance(record, ModelRegistered):
                _check_version(services, record, event.subject, digests)
        except (ManifestError, ConflictError) as refused:
            prepared.append(refused)
        else:
            prepared.append(event)
    return prepared


def _check_version(
    services: ApiServices,
    record: ModelRegistered,
    uri: Uri,
    digests: dict[Uri, str | None],
) -> None:
    """Refuse other content under a version that is on the graph or in `digests`.

    Raises:
        ConflictError: The version is there with another digest.
    """
    if uri not in digests:
        page = services.reader.nodes(NodeQuery(uri=uri))
        digests[uri] = page.nodes[0].digest if page.nodes else None
    known = digests[uri]
    if known is not None and known != record.digest:
        raise ConflictError(
            f"version {record.version} of {record.model} is there with the digest "
            f"{known[:12]}, this one has {(record.digest or 'none')[:12]}",
            where="$.version",
            hint="let the version be made of the digest: leave `version` out.",
        )
    digests[uri] = record.digest


def _result(index: int, event: Event, told: Future[Revision]) -> LineageResult | LifecycleError:
    """Return what became of one record, once the store has it."""
    try:
        told.result()
    except ConflictError:
        return ConflictError(
            f"the key {event.key.removeprefix('record:')} is there with other content",
            where="$.key",
            hint="a key is chosen once, when the record is made.",
        )
    return LineageResult(
        index=index, status="accepted", key=event.key, subject=str(event.subject)
    )
