"""GraphQL over the graph, for reads: one document a request, measured before it is run."""

import asyncio
import logging
from typing import Annotated, Any, Final

import msgspec
from graphql import GraphQLError
from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, SkipValidation

from mlg.api.graphql_ask import Ask
from mlg.api.graphql_limits import MAX_QUERY, check, measured
from mlg.api.graphql_schema import measured_schema, run
from mlg.api.operations import ApiServices
from mlg.api.schemas import ErrorAnswer
from mlg.api.security import Failure
from mlg.core.errors import LifecycleError
from mlg.graph.known import KnownGraphs

VIEWER: Final = {"role": "viewer"}

_LOG: Final = logging.getLogger("mlg.api")


class GraphqlRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One document with its variables, as GraphQL over HTTP sends it."""

    query: Annotated[str, msgspec.Meta(max_length=MAX_QUERY)]
    variables: dict[str, Any] | None = None
    operation_name: str | None = None


class GraphqlAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a document gave; without `errors` all went well."""

    data: dict[str, Any] | None = None
    errors: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


class GraphqlRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """A document that was not run."""

    errors: list[dict[str, Any]]


_REFUSED: Final = ResponseSpec(
    ErrorAnswer | GraphqlRefusal,
    generate_examples=False,
    description="The body is no GraphQL request, or its document is not run.",
)


@post("/graphql", opt=VIEWER, sync_to_thread=True, status_code=200, responses={400: _REFUSED})
def graphql(
    services: SkipValidation[ApiServices],
    known: SkipValidation[KnownGraphs],
    data: JSONBody[GraphqlRequest],
) -> Response[GraphqlAnswer]:
    """Answer a GraphQL document; only reads. The schema is `docs/graphql.graphql`.

    A document that is wrong or asks for too much is not run and answers 400. What goes wrong
    while it runs is told in `errors`, beside what could be answered.
    """
    variables = data.variables or {}
    try:
        check(measured(data.query, measured_schema(), variables, data.operation_name))
    except LifecycleError as refused:
        return _refused([_told(refused)])
    ask = Ask(services, known)
    result = asyncio.run(run(ask, data.query, variables, data.operation_name))
    errors = [_error(services, error) for error in result.errors or ()]
    if result.data is None and errors and not any(error.get("path") for error in errors):
        return _refused(errors)
    return Response(
        GraphqlAnswer(data=result.data, errors=errors or msgspec.UNSET), status_code=200
    )


def _refused(errors: list[dict[str, Any]]) -> Response[Any]:
    return Response(GraphqlRefusal(errors=errors), status_code=400)


def _error(services: ApiServices, error: GraphQLError) -> dict[str, Any]:
    """Return an error as it is told; what nobody expected is told to the log only."""
    cause = error.original_error
    place: dict[str, Any] = {"path": error.path} if error.path else {}
    if isinstance(cause, LifecycleError):
        return {**_told(cause), **place}
    if cause is None or isinstance(cause, GraphQLError):
        code = {"extensions": {"error": "graphql", "where": "query", "hint": ""}}
        return {"message": error.message[:300], **code, **place}
    _LOG.error("POST /graphql failed at %s", error.path, exc_info=cause)
    services.on_failure(
        Failure(method="POST", path="/graphql", error=f"{type(cause).__name__}: {cause}")
    )
    return {
        "message": "something went wrong inside",
        "extensions": {"error": "internal", "where": "", "hint": "see the log."},
        **place,
    }


def _told(refused: LifecycleError) -> dict[str, Any]:
    told = refused.as_dict()
    return {"message": told.pop("what"), "extensions": told}
