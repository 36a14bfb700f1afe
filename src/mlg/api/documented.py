"""What the OpenAPI document says of every route beside its answer: how it refuses, and bodies.

Refusals are written by the gate, the framework and the handlers of errors; all have the one
shape of `ErrorAnswer`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

from mlg.api.schemas import ErrorAnswer

_READS: Final[Mapping[int, str]] = {
    400: "The request has a parameter of the wrong form.",
    403: "Refused: the caller, the host or the origin.",
    404: "A named thing is not there.",
    422: "The request is well formed, and what it says is wrong.",
    503: "A store, an engine or a process failed.",
}
_WRITES: Final[Mapping[int, str]] = {
    **_READS,
    400: "The body is no JSON of the form asked for.",
    409: "State moved under the caller, or the same key came with other content.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
}


def documented(handlers: Sequence[HTTPRouteHandler]) -> tuple[HTTPRouteHandler, ...]:
    """Return the handlers, each with the refusals that it may answer.

    A handler that documents a status itself keeps its own words.
    """
    for handler in handlers:
        told = _READS if handler.http_methods == {"GET"} else _WRITES
        refusals = {
            status: ResponseSpec(ErrorAnswer, generate_examples=False, description=text)
            for status, text in told.items()
        }
        handler.responses = {**refusals, **(handler.responses or {})}
    return tuple(handlers)


_OBJECT: Final = Schema(type=OpenAPIType.OBJECT)


@dataclass
class LineageOperation(Operation):
    """Documents the body that `POST /api/v1/lineage` reads itself."""

    def __post_init__(self) -> None:
        self.request_body = _body(
            Schema(
                description="An OpenLineage 2-0-2 event, or an array of at most 1,000.",
                one_of=[
                    _OBJECT,
                    Schema(type=OpenAPIType.ARRAY, items=Schema()),
                ],
            )
        )


@dataclass
class HookOperation(Operation):
    """Documents the body that `POST /api/v1/hooks/commit` reads itself."""

    def __post_init__(self) -> None:
        self.request_body = _body(_OBJECT)


def _body(schema: Schema) -> RequestBody:
    content = {"application/json": OpenAPIMediaType(schema=schema)}
    return RequestBody(content=cast("dict[str, Any]", content), required=True)
