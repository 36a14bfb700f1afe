"""What other systems tell: commits whose tests have passed."""

import asyncio
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import SkipValidation

from mlg.api.documented import HookOperation
from mlg.api.gate import caller_of
from mlg.api.operations import ApiServices
from mlg.api.schemas import ErrorAnswer, HookAnswer
from mlg.core.principal import Principal

VIEWER = {"role": "viewer"}


_REFUSED = "A hook that is not genuine, too old or malformed; or a caller that is refused."
ANSWERS = {
    status: ResponseSpec(kind, generate_examples=False, description=text)
    for status, kind, text in (
        (200, HookAnswer, "Genuine, but there is nothing to do or it was taken before."),
        (403, HookAnswer | ErrorAnswer, _REFUSED),
        (422, HookAnswer | ErrorAnswer, _REFUSED),
    )
}


@post(
    "/api/v1/hooks/commit",
    opt=VIEWER,
    status_code=202,
    responses=ANSWERS,
    operation_class=HookOperation,
)
async def commit(
    services: SkipValidation[ApiServices],
    principal: SkipValidation[Principal],
    request: Request[Any, Any, Any],
) -> Response[HookAnswer]:
    """Take a signed commit hook of GitHub, GitLab or a script.

    The signature, not the caller, says whether it is followed. 202: a run was started or the
    commit noted; 200: genuine, but nothing to do or taken before; 403: not genuine or too old.
    """
    body = await request.body()
    headers = caller_of(request.scope).headers
    status, answer = await asyncio.to_thread(services.hooks.commit, headers, body, principal)
    return Response(msgspec.convert(answer, HookAnswer), status_code=status)
