"""Who may ask for what: hosts, origins, content types, roles, and where we may listen.

Decisions only; `mlg.api.gate` applies them to each request.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from mlg.core.errors import DeniedError, LifecycleError
from mlg.core.principal import Principal

MAX_BODY_BYTES: Final = 1_048_576
"""Largest request body of the control API."""

READS: Final = frozenset(("GET", "HEAD"))
WRITES: Final = frozenset(("POST",))

LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
"""The names under which a control plane on loopback may be called, at any port."""


class MediaTypeError(LifecycleError):
    """A write did not come as JSON."""

    code = "media_type"
    exit_code = 2
    http_status = 415


class MethodError(LifecycleError):
    """A method that no route of this API has."""

    code = "method"
    exit_code = 2
    http_status = 405


class TooLargeError(LifecycleError):
    """A request body over the limit."""

    code = "too_large"
    exit_code = 2
    http_status = 413


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """One refused request, to be recorded."""

    reason: str
    """`host`, `origin` or `role`."""
    method: str
    path: str
    """Without the query, at most 200 characters."""
    caller: str
    """The principal's subject, or the peer's address where there is none."""
    what: str
    suppressed: int = 0
    """Denials before this one that were refused but not recorded, to spare the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One request that ended in an error nobody expected."""

    method: str
    path: str
    error: str
    """Type and text of the exception; for the log, never for the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What is known of a request before anyone is identified."""

    method: str
    path: str
    peer: str
    """Address of the other end of the connection; empty when unknown."""
    headers: Mapping[str, str]
    """Lower-case names; where a header came twice, the values joined by a comma."""


PrincipalFor = Callable[[Caller], Principal]
"""Identifies the caller; raises DeniedError for one it does not know."""


def check_bind(host: str, *, sign_in: bool = False) -> None:
    """Refuse to listen beyond this machine as long as nobody has to sign in.

    Args:
        host: The address or name to listen on.
        sign_in: Whether callers are identified by something they must present.

    Raises:
        DeniedError: The host is not loopback and there is no sign-in.

    Examples:
        >>> check_bind("127.0.0.1")
    """
    if not sign_in and not _is_loopback(host):
        raise DeniedError(
            f"the control plane may listen on loopback only, got {host!r}: "
            "whoever reaches it is admin",
            where=f"--host {host}",
            hint="listen on 127.0.0.1 and reach it by an SSH tunnel.",
        )


def loopback_principal(user: str) -> PrincipalFor:
    """Return the identification of the embedded form: who is on this machine is admin.

    Args:
        user: Name of the account that runs the control plane.

    Returns:
        A function that knows `local:<user>` on loopback and refuses everyone else, also one
        whose request was passed on by a proxy on this machine.
    """
    local = Principal(subject=f"local:{user}", roles=("admin",), via="loopback")

    def principal_for(caller: Caller) -> Principal:
        forwarded = sorted(_FORWARDED & set(caller.headers))
        if forwarded:
            raise DeniedError(
                f"the request was passed on by a proxy (header {forwarded[0]}), so the caller "
                "is unknown",
                where=caller.path,
                hint="call the control plane directly on loopback.",
            )
        if not _is_loopback(caller.peer):
            raise DeniedError(
                f"the caller {caller.peer!r} is not on this machine",
                where=caller.path,
                hint="call the control plane from the machine it runs on.",
            )
        return local

    return principal_for


def check_host(caller: Caller, allowed_hosts: Iterable[str]) -> None:
    """Refuse a request that was not meant for us (DNS rebinding).

    An allowed host without a port stands for every port.

    Raises:
        DeniedError: The `Host` header is missing or names another host.
    """
    host = caller.headers.get("host", "").lower()
    allowed = {name.lower() for name in allowed_hosts}
    if host and (host in allowed or _without_port(host) in allowed):
        return
    raise DeniedError(
        f"expected one of the hosts {', '.join(sorted(allowed))}, got {host[:100]!r}",
        where="Host",
        hint="open the control plane by the address that `mlg up` printed.",
    )


def check_origin(caller: Caller) -> None:
    """Refuse a write that another site's page caused (cross-site request forgery).

    A program that is no browser sends neither `Origin` nor `Sec-Fetch-Site` and passes.

    Raises:
        DeniedError: A browser says that the request comes from elsewhere.
    """
    site = caller.headers.get("sec-fetch-site")
    origin = caller.headers.get("origin")
    host = caller.headers.get("host", "")
    same = origin is None or origin.lower() in {
        f"http://{host.lower()}",
        f"https://{host.lower()}",
    }
    if site in {None, "same-origin", "none"} and same:
        return
    raise DeniedError(
        "a write must come from this control plane's own page, got origin "
        f"{(origin or '')[:100]!r} (Sec-Fetch-Site: {site or 'none given'})",
        where="Origin",
        hint="use the page at / or the command line.",
    )


def check_media_type(caller: Caller) -> None:
    """Refuse a write whose body is not declared as JSON.

    Raises:
        MediaTypeError: The content type is not `application/json`.
    """
    declared = caller.headers.get("content-type", "")
    if declared.partition(";")[0].strip().lower() != "application/json":
        raise MediaTypeError(
            f"expected a body of type application/json, got {declared[:100]!r}",
            where="Content-Type",
            hint="send Content-Type: application/json, and {} where there is nothing to say.",
        )


def check_length(caller: Caller, max_bytes: int = MAX_BODY_BYTES) -> None:
    """Refuse a body that says it is too large; the server counts the others as they come.

    Raises:
        TooLargeError: The declared length is over the limit.
    """
    declared = caller.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > max_bytes:
        raise TooLargeError(
            f"a body may have {max_bytes} bytes, got {declared[:30]!r}",
            where=caller.path,
            hint="name files by path instead of sending them.",
        )


_FORWARDED: Final = frozenset(
    ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and not host.endswith("]") else host
