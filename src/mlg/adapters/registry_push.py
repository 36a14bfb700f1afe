"""Pushing an image layout to a registry by the OCI distribution API.

Blobs go before the manifests that name them, and the tag is written last: an interrupted
push leaves blobs that nobody names, and no tag.

Source:
    OCI Distribution Specification 1.1: pushing blobs and manifests, referrers tag schema.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlencode, urljoin, urlsplit

from mlg.adapters.mlflow_rest import Credentials
from mlg.core.clock import Clock
from mlg.core.errors import BackendError, ManifestError
from mlg.core.ports import Network, Reply, Secrets
from mlg.release.image import INDEX_TYPE, MANIFEST_TYPE, blob_path
from mlg.release.image_check import CheckedImage
from mlg.release.image_referrers import referrers_tag

TRIES: Final = 4
WAIT_S: Final = 0.5
"""Before the second try; twice as long before each next one."""
LONGEST_WAIT_S: Final = 30.0
TIMEOUT_S: Final = 120.0
PIECE_BYTES: Final = 32 << 20
"""A larger blob is sent in pieces of this size, so that it is never in memory whole."""

_BUSY: Final = frozenset((0, 408, 429, 500, 502, 503, 504))
_REFERENCE: Final = re.compile(
    r"^(?P<host>[A-Za-z0-9.-]+(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?)"
    r"/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?$"
)
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')

Progress = Callable[[str, str, int], None]
"""Is told what was done with a blob: `sent`, `there` or `tagged`, its digest, its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where an image goes."""

    host: str
    """With its port, if it is not the usual one."""
    name: str
    tag: str

    def __str__(self) -> str:
        """Return the reference."""
        return f"{self.host}/{self.name}:{self.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push did."""

    reference: str
    digest: str
    sent: int
    """Blobs that were sent."""
    there: int
    """Blobs that the registry had already."""
    sent_bytes: int
    referrers: int
    api: bool
    """Whether the registry lists referrers itself; else they are under a tag."""


def target_of(reference: str, tag: str) -> Target:
    """Return a reference's parts.

    Args:
        reference: `HOST[:PORT]/NAME[:TAG]`.
        tag: Where it has none.

    Raises:
        ManifestError: It is no such reference.

    Examples:
        >>> target_of("registry.example.com/recs/home:1", "x").name
        'recs/home'
    """
    match = _REFERENCE.match(reference)
    host = match["host"] if match else ""
    if match is None or not ("." in host or ":" in host or host == "localhost"):
        raise ManifestError(
            f"expected HOST[:PORT]/NAME[:TAG], got {reference!r}",
            where="TO",
            hint="e.g. registry.example.com/recs/home:1",
        )
    return Target(host=host, name=match["name"], tag=match["tag"] or tag)


class RegistryPush:
    """Pushes layouts to one repository of a registry; what is busy is asked again.

    Args:
        target: Where to.
        network: Takes the requests.
        credentials: How to sign in; resolved at use, never logged.
        secrets: Resolves them.
        clock: For the pauses.
        plain_http: Speak http; without it, https.
        progress: Is told of each blob.
        piece_bytes: A larger blob is sent in pieces of this size.
    """

    def __init__(
        self,
        target: Target,
        network: Network,
        credentials: Credentials,
        secrets: Secrets,
        clock: Clock,
        *,
        plain_http: bool = False,
        progress: Progress = lambda _what, _digest, _bytes: None,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        scheme = "http" if plain_http else "https"
        self._plain = plain_http
        self._origin = f"{scheme}://{target.host}"
        self._base = f"{self._origin}/v2/{target.name}"
        self._target, self._network, self._clock = target, network, clock
        self._credentials, self._secrets = credentials, secrets
        self._progress, self._piece_bytes = progress, piece_bytes
        self._token: tuple[tuple[str, str], ...] | None = None

    def push(self, layout: Path, image: CheckedImage) -> Pushed:
        """Send what the registry does not have of an image, then its tag.

        Args:
            layout: Its folder, verified.
            image: What verifying it returned.

        Raises:
            BackendError: The registry does not answer, refuses, or took other bytes; there
                is no tag of this push then.
        """
        blobs = dict.fromkeys([image.config, *image.layers])
        for referrer in image.referrers:
            blobs |= dict.fromkeys(referrer.blobs[:-1])
        sent = sent_bytes = 0
        for digest in blobs:
            size = (layout / blob_path(digest)).stat().st_size
            if self._has(digest):
                self._progress("there", digest, size)
                continue
            self._blob(layout / blob_path(digest), digest, size)
            self._progress("sent", digest, size)
            sent, sent_bytes = sent + 1, sent_bytes + size
        # by digest first: referrers name it, and nobody sees it yet
        self._manifest(layout, image.digest, f"sha256:{image.digest}", MANIFEST_TYPE)
        api = bool(image.referrers)
        for referrer in image.referrers:
            reply = self._manifest(
                layout, referrer.digest, f"sha256:{referrer.digest}", MANIFEST_TYPE
            )
            api = api and "oci-subject" in dict(reply.headers)
        if image.referrers_index and not api:
            tag = referrers_tag(image.digest)
            self._manifest(layout, image.referrers_index, tag, INDEX_TYPE)
        self._manifest(layout, image.digest, self._target.tag, MANIFEST_TYPE)
        self._progress("tagged", image.digest, image.manifest_size)
        return Pushed(
            reference=str(self._target),
            digest=image.digest,
            sent=sent,
            there=len(blobs) - sent,
            sent_bytes=sent_bytes,
            referrers=len(image.referrers),
            api=api,
        )

    def _has(self, digest: str) -> bool:
        reply = self._tried("HEAD", f"{self._base}/blobs/sha256:{digest}")
        if reply.status in (200, 404):
            return reply.status == 200
        raise self._refused(reply)

    def _blob(self, path: Path, digest: str, size: int) -> None:
        """Send a blob; one that breaks off is begun anew.

        Raises:
            BackendError: The registry refuses it, or broke off each time.
        """
        reply = Reply(status=0)
        for number in range(1, TRIES + 1):
            reply = self._upload(path, digest, size)
            if reply.status == 201:
                return
            if reply.status not in _BUSY | {404, 416} or number == TRIES:
                break
            self._pause(reply, number)
        raise self._refused(reply)

    def _upload(self, path: Path, digest: str, size: int) -> Reply:
        """Try once to send a blob; return the answer that decides."""
        reply = self._tried("POST", f"{self._base}/blobs/uploads/")
        if reply.status != 202:
            return reply
        octets = ("content-type", "application/octet-stream")
        with path.open("rb") as reader:
            if size <= self._piece_bytes:
                at = _with_digest(self._location(reply), digest)
                return self._once("PUT", at, reader.read(), (octets,))
            for begin, piece in _pieces(reader.read, self._piece_bytes):
                where = ("content-range", f"{begin}-{begin + len(piece) - 1}")
                location = self._location(reply)
                reply = self._once("PATCH", location, piece, (octets, where))
                if reply.status != 202:
                    return reply
        return self._once("PUT", _with_digest(self._location(reply), digest), b"", (octets,))

    def _manifest(self, layout: Path, digest: str, at: str, media_type: str) -> Reply:
        """Put a manifest under its digest or a tag.

        Raises:
            BackendError: The registry does not take it, or took it for another one.
        """
        reply = self._tried(
            "PUT",
            f"{self._base}/manifests/{at}",
            (layout / blob_path(digest)).read_bytes(),
            (("content-type", media_type),),
        )
        if reply.status != 201:
            raise self._refused(reply)
        told = dict(reply.headers).get("docker-content-digest", f"sha256:{digest}")
        if told != f"sha256:{digest}":
            raise BackendError(
                f"the registry keeps {told[:19]}… for sha256:{digest[:12]}…",
                where=str(self._target),
                hint="is there a proxy that changes what it passes on?",
            )
        return reply

    def _location(self, reply: Reply) -> str:
        """Return where an upload goes on.

        Raises:
            BackendError: The registry does not say, or names another, unprotected place.
        """
        told = dict(reply.headers).get("location", "")
        found = urljoin(self._origin, told)
        if not told or (urlsplit(found).scheme != "https" and not self._plain):
            raise BackendError(
                "the registry does not say where an upload goes on",
                where=self._target.host,
                hint="is this the address of an OCI registry?",
            )
        return found

    def _tried(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Reply:
        for number in range(1, TRIES + 1):
            reply = self._once(method, url, body, headers)
            if reply.status not in _BUSY or number == TRIES:
                return reply
            self._pause(reply, number)
        return Reply(status=0)

    def _once(
        self, method: str, url: str, body: bytes, headers: tuple[tuple[str, str], ...]
    ) -> Reply:
        """Ask once, and again with a token where the registry wants one."""
        # what is uploaded elsewhere is protected by its address; no secret goes there
        ours = urlsplit(url).netloc == self._target.host
        sign_in = (self._token or self._credentials.header(self._secrets)) if ours else ()
        reply = self._asked(method, url, body, (*headers, *sign_in))
        challenge = dict(reply.headers).get("www-authenticate", "")
        if reply.status == 401 and ours and challenge.lower().startswith("bearer "):
            self._token = self._fetched(challenge)
            if self._token is not None:
                return self._asked(method, url, body, (*headers, *self._token))
        return reply

    def _asked(
        self, method: str, url: str, body: bytes, headers: tuple[tuple[str, str], ...]
    ) -> Reply:
        empty = method in ("POST", "PUT", "PATCH") and not body
        length = (("content-length", "0"),) if empty else ()
        return self._network.request(
            method, url, body=body, headers=(*headers, *length), timeout_s=TIMEOUT_S
        )

    def _fetched(self, challenge: str) -> tuple[tuple[str, str], ...] | None:
        """Return the header of a token that a challenge asks for; None if there is none.

        Source:
            Distribution's token authentication specification.
        """
        told = dict(_CHALLENGE.findall(challenge))
        realm = told.pop("realm", "")
        if urlsplit(realm).scheme not in ({"http", "https"} if self._plain else {"https"}):
            return None
        wanted = urlencode({k: v for k, v in told.items() if k in ("service", "scope")})
        reply = self._network.request(
            "GET",
            f"{realm}?{wanted}",
            headers=self._credentials.header(self._secrets),
            timeout_s=TIMEOUT_S,
        )
        try:
            answer: Any = json.loads(reply.body) if reply.status == 200 else {}
        except ValueError:
            return None
        fields = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
        token = fields.get("token") or fields.get("access_token")
        return (("authorization", f"Bearer {token}"),) if isinstance(token, str) else None

    def _pause(self, reply: Reply, number: int) -> None:
        told = dict(reply.headers).get("retry-after", "")
        pause_s = float(told) if told.isdecimal() else WAIT_S * 2 ** (number - 1)
        self._clock.wait(min(pause_s, LONGEST_WAIT_S))

    def _refused(self, reply: Reply) -> BackendError:
        where = str(self._target)
        if reply.status == 0:
            scheme = "http" if self._plain else "https"
            other = "" if self._plain else "; a registry without TLS needs --plain-http"
            return BackendError(
                f"the registry does not answer by {scheme}",
                where=where,
                hint=f"is it up, and the address right{other}? Push again: nothing was tagged.",
            )
        if reply.status in (401, 403):
            return BackendError(
                f"the registry refused the credentials ({reply.status})",
                where=where,
                hint="--username NAME --password secret://env/NAME, with the right to push.",
            )
        return BackendError(
            f"the registry answered {reply.status} ({_code(reply) or 'no OCI error'})",
            where=where,
            hint="is this an OCI registry, and may it be written to? Nothing was tagged.",
        )


def _pieces(read: Callable[[int], bytes], size: int) -> Iterator[tuple[int, bytes]]:
    begin = 0
    while piece := read(size):
        yield begin, piece
        begin += len(piece)


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest=sha256%3A{digest}"


def _code(reply: Reply) -> str:
    try:
        found = json.loads(reply.body)
        code = found["errors"][0]["code"]
    except (ValueError, LookupError, TypeError):
        return ""
    return code[:80] if isinstance(code, str) else ""
