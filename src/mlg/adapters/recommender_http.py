"""A recommender at an address: asked as it was before mlg stood in front of it."""

import http.client
import select
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
        ranked = read_answer(self._ask(body_of(query, protocol)), protocol, query.k)
        levels = self._levels()
        if levels is None:
            return ranked
        confidence = levels.confidence(ranked.features[0])
        return replace(ranked, raw_confidence=confidence, judged=True)

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


if TYPE_CHECKING:
    _: Recommender = HttpRecommender("http://127.0.0.1:1", StoredList())
