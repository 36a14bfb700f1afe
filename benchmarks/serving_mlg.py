"""mlg's own replica around the kernel of `mlg bench serving`: `serving_mlg.py PORT FOLDER [VERSION [warm]]`.

The whole serving path: request parsing, ranking, calibrated confidence, sanity, policy,
Prometheus, batching, and the durable prediction log. The result cache is off. With `warm` it
ranks recorded requests and asks itself before it is ready, as a replica of the product does.
"""  # noqa: INP001 - a script, no package

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from serving_kernel import BATCH, ITEMS, WAIT_S, Kernel

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.entropy_pooled import ENTROPY
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.stream_segments import SegmentStream
from mlg.core.predict import Query, Ranked
from mlg.recsys.confidence import NAMES, fit_confidence, observe
from mlg.recsys.popularity import list_from
from mlg.serving.asgi import ServingApp
from mlg.serving.batch import BatchSize
from mlg.serving.instruments import Instruments
from mlg.serving.log import LOG_SCHEMA, LogBatch
from mlg.serving.policy import PolicyFile
from mlg.serving.server import serve
from mlg.serving.service import Identity, Service
from mlg.serving.warmup import rehearse, warm_up

SERVICE = "bench"


class Dot:
    """The kernel as a recommender with confidence of its own."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        rng = np.random.default_rng(2)
        seen = rng.standard_normal((5_000, len(NAMES)))
        self.confidence = fit_confidence(seen, (rng.random(5_000) < 0.3).astype(np.float64))
        self.popularity = list_from(
            {"items": list(range(200)), "scores": [1.0 / (n + 1) for n in range(200)], "hit_rate": 0.1}
        )
        self._popular = np.zeros(ITEMS)
        self._popular[:200] = 1.0
        self.logged_features: tuple[str, ...] = ("margin", "popularity_share")
        self.longest_history = 0

    def recommend(self, query: Query) -> Ranked:
        """Rank for one viewer, and say how sure it is."""
        return self._ranked(*self.kernel.rank(int(query.user_id or 0), query.k), query.k)

    def _ranked(self, codes: np.ndarray, scores: np.ndarray, k: int) -> Ranked:
        share = float(self._popular[codes].mean())
        seen = observe(scores.astype(np.float64), k, 0, share)
        return Ranked(
            items=tuple(codes.tolist()),
            scores=tuple(scores.tolist()),
            raw_confidence=self.confidence.of(seen),
            features=(float(seen[1]), share),
        )

    def recommend_many(self, queries: Sequence[Query]) -> list[Ranked]:
        """Rank for several viewers by one product of matrices."""
        found = self.kernel.rank_many([int(query.user_id or 0) for query in queries])
        return [self._ranked(*one, query.k) for one, query in zip(found, queries, strict=True)]

    def is_known_item(self, item: object) -> bool:
        """Whether the catalogue has it."""
        return isinstance(item, int) and 0 <= item < ITEMS


def main(port: int, folder: Path, version: str = "1", warm: str = "") -> None:
    """Serve until told to end."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    clock = SystemClock()
    model = Dot()
    identity = Identity(service=SERVICE, model=SERVICE, version=version)
    policy = PolicyFile(folder / "policy.json", SERVICE)
    policy.poll()
    instruments = Instruments(SERVICE, version)
    header = {
        "schema": LOG_SCHEMA, "service": SERVICE, "model": SERVICE, "model_version": version,
        "features": list(model.logged_features), "exploration_seed": "1",
    }  # fmt: skip
    stream = SegmentStream(folder / "segments", "replica-1", header=header)
    service = Service(
        identity, model, rescue=False, policy=lambda: policy.current, clock=clock,
        ids=Uuid7Ids(clock), draw=np.random.default_rng(1).random,
        salt=lambda: ENTROPY.randbytes(16).hex(), viewer_key=b"k" * 32, instruments=instruments,
    )  # fmt: skip
    golden = [b'{"user_id":%d,"k":50}' % n for n in range(64)] if warm else []
    path = f"/v1/services/{SERVICE}/recommend"
    try:
        serve(
            ServingApp(
                service,
                LogBatch(stream, lambda records, problem: None),
                BatchSize(most=BATCH, deadline_ms=1e3 * WAIT_S),
            ),
            listener, clock=clock, policy=policy,
            warm_up=lambda: warm_up(service, golden, clock=clock, mode="system"),
            rehearse=lambda: rehearse(golden, ("127.0.0.1", port), path, clock=clock),
        )  # fmt: skip
    finally:
        stream.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
