"""What other systems tell: commits whose tests have passed."""

import asyncio
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.params import SkipValidation

from mlg.api.gate import caller_of
from mlg.api.operations import ApiServices
from mlg.api.schemas import HookAnswer
from mlg.core.principal import Principal

VIEWER = {"role": "viewer"}


@post("/api/v1/hooks/commit", opt=VIEWER, status_code=202)
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
