"""What stands before a recommender that mlg did not train: `python -m mlg.app.adopted`.

A replica whose model is an address: gateway, log, checks, confidence and the popularity
list treat it as any other, and nothing changes in the recommender itself.
"""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from mlg.adapters.recommender_http import HttpRecommender
from mlg.adapters.stream_segments import SegmentStream
from mlg.app.data_plane import exit_code_of, parser, pin_threads, run_service
from mlg.core.errors import LifecycleError
from mlg.core.ports import Cursor
from mlg.serving.log import decode_feedback, decode_prediction
from mlg.serving.observed import Levels, Observations, levels_of
from mlg.serving.popularity import StoredList, own_list
from mlg.serving.service import Identity
from mlg.telemetry.logs import setup_logs

THREADS: Final = 32
"""Requests that wait for the recommender at once."""
LOOK_S: Final = 2.0
"""A recommender that nobody asked for so long is looked at."""
_EVERY_S: Final = 1.0
_BATCH: Final = 5_000
_LOG: Final = logging.getLogger("mlg.app")


class Follower:
    """Reads the service's log, all replicas' parts of it, into levels of confidence.

    Args:
        stream: The service's segments.
        version: Whose answers count.
    """

    def __init__(self, stream: SegmentStream, version: str) -> None:
        self._stream, self._observed = stream, Observations(version)
        self._cursor = Cursor(consumer="confidence")
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="confidence", daemon=True)
        self.levels: Levels | None = None
        """As of the last look."""

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def look(self) -> int:
        """Read what is new once; return the number of records."""
        batch = self._stream.read(self._cursor, _BATCH)
        self._cursor = batch.cursor
        for record in batch.records:
            if record.kind == "prediction":
                self._observed.answer(decode_prediction(record.payload))
            elif record.kind == "feedback":
                self._observed.feedback(decode_feedback(record.payload))
        if batch.records:
            self.levels = levels_of(self._observed.settled())
        return len(batch.records)

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                count = self.look()
            except LifecycleError as error:
                _LOG.warning("the log could not be followed", extra=error.as_dict())
                count = 0
            if count < _BATCH:
                self._end.wait(_EVERY_S)


class Lookout:
    """Connects to the recommender now and then while no viewer asks, so that it is missed.

    Args:
        recommender: Who is looked at.
        every_s: Time between two looks.
    """

    def __init__(self, recommender: HttpRecommender, every_s: float = LOOK_S) -> None:
        self._recommender, self._every_s = recommender, every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._end.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        asks = -1
        while not self._end.is_set():
            if asks == self._recommender.asks:
                self._recommender.look()
            asks = self._recommender.asks
            self._end.wait(self._every_s)


def main(argv: Sequence[str]) -> int:
    """Stand before one recommender; return the exit code."""
    pin_threads("mlg.app.adopted", argv)
    options = parser("adopted")
    options.add_argument("--model", required=True)
    options.add_argument("--version", required=True)
    options.add_argument("--arm", default="", help="label of the group")
    options.add_argument("--url", required=True, help="address of the recommender")
    options.add_argument("--list", type=Path, help="file with a popularity list")
    chosen = options.parse_args(argv)
    setup_logs(sys.stderr, process=chosen.id)
    follower = Follower(
        SegmentStream(chosen.home / "segments" / chosen.service), chosen.version
    )
    try:
        listed = own_list(chosen.list) if chosen.list else StoredList()
        identity = Identity(
            service=chosen.service,
            model=chosen.model,
            version=chosen.version,
            arm=chosen.arm,
            clock=chosen.clock,
            nonce=os.environ.get("MLG_NONCE", ""),
        )
        recommender = HttpRecommender(chosen.url, listed, lambda: follower.levels)
        follower.start()
        lookout = Lookout(recommender)
        lookout.start()
        try:
            with closing(recommender):
                run_service(
                    chosen,
                    identity,
                    recommender,
                    rescue=False,
                    threads=THREADS,
                    problem=recommender.problem,
                )
        finally:
            lookout.stop()
    except LifecycleError as error:
        return exit_code_of(error)
    finally:
        follower.stop()
    return exit_code_of(None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
