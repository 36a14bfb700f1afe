"""A recommender at an address: asked as it was before mlg stood in front of it."""

import http.client
import select
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from mlg.core.errors import BackendError
from mlg.core.predict import Key, Query, Ranked
from mlg.serving.observed import Levels
from mlg.serving.popularity import StoredList
from mlg.serving.protocols import address_of, body_of, read_answer

if TYPE_CHECKING:
    from mlg.serving.ranker import Recommender

_LARGEST_BODY: Final = 4 << 20
_IN_A_ROW: Final = 3
"""Failures, one after the other, from which on it counts as down; one alone is an accident."""


class HttpRecommender:
    """Asks by HTTP, on one kept connection a thread; follows no redirect, uses no proxy.

    Args:
        url: As `adopt:` has it; a name and password in it are sent as Basic authentication.
        listed: The list that answers when it abstains.
        levels: Returns the observed levels of confidence, or None while there are none.
        timeout_s: How long it may take; below what the gateway waits for one try.
    """

    def __init__(
        self,
        url: str,
        listed: StoredList,
        levels: Callable[[], Levels | None] = lambda: None,
        *,
        timeout_s: float = 0.45,
    ) -> None:
        self._address = address_of(url)
        self._parts = urlsplit(self._address.url)
        self._levels, self._timeout_s = levels, timeout_s
        self._kept = threading.local()
        self._opened: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._failures, self._failure, self._unreached = 0, "", False
        self.asks = 0
        """Requests that ended, well or not."""
        self.popularity = listed
        self.logged_features: Sequence[str] = ("highest score",)
        self.longest_history = 0  # its answers are not held to the list's length: see `strict`
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if self._parts.username is not None:
            words = f"{unquote(self._parts.username)}:{unquote(self._parts.password or '')}"
            self._headers["authorization"] = f"Basic {b64encode(words.encode()).decode()}"

    def close(self) -> None:
        """Close every kept connection; only while nobody asks."""
        for connection in self._opened:
            connection.close()

    def is_known_item(self, item: Key) -> bool:  # noqa: ARG002 (its catalogue is its own)
        """Return True: nothing is known of the catalogue."""
        return True

    def recommend(self, query: Query) -> Ranked:
        """Return what the address answers, with the observed confidence where there is one.

        Raises:
            BackendError: It does not answer in time, not with 200, or not by its protocol.
        """
        protocol = self._address.protocol
        try:
            ranked = read_answer(self._ask(body_of(query, protocol)), protocol, query.k)
        except BackendError as error:
            self._ended(error.what, unreached=_is_unreached(error.__cause__))
            raise
        self._ended("")
        levels = self._levels()
        if levels is None:
            return ranked
        confidence = levels.confidence(ranked.features[0])
        return replace(ranked, raw_confidence=confidence, judged=True)

    def problem(self) -> str:
        """Return why it counts as down, in one clause; empty: it does not.

        It does after three failures without a good answer between them, or at once when a
        `look` cannot connect. A good answer ends that; so does a connection, if none could
        be made before.
        """
        with self._lock:
            return self._failure if self._failures >= _IN_A_ROW else ""

    def look(self) -> None:
        """Connect once and ask nothing: for when nobody else asks."""
        tls = self._parts.scheme == "https"
        address = (self._parts.hostname or "", self._parts.port or (443 if tls else 80))
        try:
            with socket.create_connection(address, timeout=self._timeout_s):
                pass
        except (OSError, UnicodeError) as error:  # the latter: a name that cannot be one
            what = f"the adopted recommender cannot be reached ({type(error).__name__})"
            with self._lock:
                self._failures, self._failure, self._unreached = _IN_A_ROW, what, True
            return
        with self._lock:
            if self._unreached:  # whether it answers well, the next request will tell
                self._failures, self._unreached = 0, False

    def _ended(self, failure: str, *, unreached: bool = False) -> None:
        with self._lock:
            self.asks += 1
            self._failures = self._failures + 1 if failure else 0
            self._failure, self._unreached = failure, unreached

    def _ask(self, body: bytes) -> bytes:
        """Return the body of a good answer.

        Raises:
            BackendError: It did not answer, not in time, or not with 200.
        """
        try:
            status, content = self._exchange(body)
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(f"did not answer ({type(error).__name__})") from error
        if status != 200:
            raise self._failed(f"answered {status}")
        return content

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        connection = self._connection()
        query = f"?{self._parts.query}" if self._parts.query else ""
        try:
            connection.request(
                "POST", self._parts.path + query, body=body, headers=self._headers
            )
            reply = connection.getresponse()
            return reply.status, reply.read(_LARGEST_BODY)
        except BaseException:
            connection.close()
            raise

    def _connection(self) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._kept, "connection", None)
        if kept is not None:
            # readable though nothing was asked: the other side closed it meanwhile
            if kept.sock is not None and select.select([kept.sock], [], [], 0)[0]:
                kept.close()
            return kept  # a closed one opens itself again
        host, port = self._parts.hostname or "", self._parts.port
        made = (
            http.client.HTTPSConnection(
                host, port, timeout=self._timeout_s, context=ssl.create_default_context()
            )
            if self._parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        )
        self._kept.connection = made
        self._opened.append(made)
        return made

    def _failed(self, what: str) -> BackendError:
        where = f"{self._parts.scheme}://{self._parts.hostname}{self._parts.path}"
        return BackendError(
            f"the adopted recommender {what}", where=where, hint="does it run, and there?"
        )


def _is_unreached(error: BaseException | None) -> bool:
    """Return whether there was no connection; a late answer is another thing."""
    return isinstance(error, (ConnectionError, socket.gaierror))


if TYPE_CHECKING:
    _: Recommender = HttpRecommender("http://127.0.0.1:1", StoredList())
