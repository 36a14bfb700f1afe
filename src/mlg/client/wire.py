"""Calls to the control plane's API: connections, errors, the live stream."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from mlg.core.errors import (
    BackendError,
    ConflictError,
    ContractError,
    DeniedError,
    LifecycleError,
    ManifestError,
    NotFoundError,
)

DEFAULT_URL: Final = "http://127.0.0.1:7070"

_ERRORS: Final = {
    kind.code: kind
    for kind in (
        ManifestError,
        NotFoundError,
        ConflictError,
        DeniedError,
        BackendError,
        ContractError,
    )
}
_BY_STATUS: Final = {
    400: ManifestError,
    403: DeniedError,
    404: NotFoundError,
    409: ConflictError,
    415: ManifestError,
    422: ManifestError,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMessage:
    """One message of the live stream."""

    event: str
    """`graph`, `live` or `problem`."""
    seq: int | None
    """The graph event's seq, to go on from."""
    data: Any


class Wire:
    """One connection a call, so threads may share it.

    Args:
        url: Where the control plane listens; only `http`. None: nowhere.
        timeout_s: Seconds to wait for a connection or an answer.

    Raises:
        ManifestError: It is no such address.
    """

    def __init__(self, url: str | None, timeout_s: float) -> None:
        if url is None:
            self.url, self.timeout_s, self._host, self._port = "", timeout_s, "", 0
            return
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ManifestError(
                f"expected an address like {DEFAULT_URL}, got {url!r}",
                where="url",
                hint="the control plane listens on loopback without TLS.",
            )
        self.url, self.timeout_s = url.rstrip("/"), timeout_s
        self._host, self._port = parts.hostname, parts.port or 80

    def stream(self, after: int | None = None) -> Iterator[StreamMessage]:
        """Yield new graph events and live counters as they come, until the server stops.

        Raises:
            BackendError: The connection broke.
            LifecycleError: The control plane refused, in its own words.
        """
        query = "" if after is None else f"?after={after}"
        connection = HTTPConnection(self._host, self._port, timeout=self.timeout_s)
        try:
            connection.request(
                "GET", f"/stream{query}", headers={"Accept": "text/event-stream"}
            )
            response = connection.getresponse()
            if response.status != 200:
                refused = error_of(response.status, response.read())
                raise refused
            yield from _messages(response)
        except (OSError, HTTPException) as broken:
            raise self._unreachable(broken) from broken
        finally:
            connection.close()

    def _get(self, path: str, timeout_s: float | None = None, **query: Any) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        text = urlencode(given, doseq=True)
        target = f"/api/v1/{path}" + (f"?{text}" if text else "")
        return json.loads(self._call("GET", target, None, timeout_s or self.timeout_s)[1])

    def _post(self, path: str, body: Mapping[str, Any], timeout_s: float) -> Any:
        content = json.dumps(body).encode()
        return json.loads(self._call("POST", f"/api/v1/{path}", content, timeout_s)[1])

    def _call(
        self,
        method: str,
        target: str,
        body: bytes | None,
        timeout_s: float,
        more: Mapping[str, str] | None = None,
    ) -> tuple[HTTPResponse, bytes]:
        if not self._host:
            raise BackendError(
                "no control plane is named", where="url", hint=f"mlg.Client({DEFAULT_URL!r})"
            )
        connection = HTTPConnection(self._host, self._port, timeout=timeout_s)
        headers = {"Accept": "application/json", **(more or {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as broken:
            raise self._unreachable(broken) from broken
        finally:
            connection.close()
        if response.status >= 300:
            raise error_of(response.status, content)
        return response, content

    def _unreachable(self, broken: Exception) -> BackendError:
        return BackendError(
            f"no answer from the control plane ({broken or type(broken).__name__})",
            where=self.url,
            hint="is it running? `mlg up` starts it.",
        )


def error_of(status: int, body: bytes) -> LifecycleError:
    """Return the error that an answer carries, as the class that the server raised.

    Args:
        status: HTTP status of the answer.
        body: Its body; an error object, or anything when the answer is not from `mlg`.

    Examples:
        >>> error_of(404, b'{"error": "not_found", "what": "no such run", "where": "r1"}')
        NotFoundError('r1: no such run')
    """
    try:
        content: object = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict) or "what" not in content:
        return BackendError(
            f"got status {status} with a body that is no error of mlg",
            hint="does another program listen at this address?",
        )
    kind = _ERRORS.get(str(content.get("error"))) or _BY_STATUS.get(status, BackendError)
    return kind(
        str(content["what"]),
        where=str(content.get("where", "")),
        hint=str(content.get("hint", "")),
    )


def _messages(response: HTTPResponse) -> Iterator[StreamMessage]:
    fields: dict[str, str] = {}
    for raw in response:
        line = raw.decode().rstrip("\r\n")
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value
            continue
        if "data" in fields:
            seq = fields.get("id", "")
            yield StreamMessage(
                event=fields.get("event", "message"),
                seq=int(seq) if seq.isdecimal() else None,
                data=json.loads(fields["data"]),
            )
        fields = {}
