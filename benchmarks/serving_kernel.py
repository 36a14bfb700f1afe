"""The one model of `mlg bench serving`: 50,000 items by 64, the best k by dot product.

Every subject imports this file, so all of them rank with the same lines, one viewer at a time or
up to `BATCH` together.
"""  # noqa: INP001 - a script, no package

import asyncio

import numpy as np

ITEMS, FACTORS, VIEWERS, K = 50_000, 64, 100_000, 50
BATCH, WAIT_S = 16, 0.002
"""Requests of a batch at most, and how long its first one waits for others."""
_BLOCK = 100


class Kernel:
    """Both matrices, made from a fixed seed; 38 MB."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.items = rng.standard_normal((ITEMS, FACTORS), dtype=np.float32)
        self.viewers = rng.standard_normal((VIEWERS, FACTORS), dtype=np.float32)

    def rank(self, viewer, k=K):
        """Return the codes of the k best items, best first, and their scores."""
        return best(self.items @ self.viewers[viewer % VIEWERS], k)

    def rank_many(self, viewers, k=K):
        """Return the same for each of several viewers, by one product of matrices."""
        if len(viewers) == 1:
            return [self.rank(viewers[0], k)]
        asked = self.viewers[np.asarray(viewers) % VIEWERS]
        return [best(row, k) for row in asked @ self.items.T]


def best(scores, k):
    """Return the k highest of `ITEMS` scores, codes and values, highest first.

    At least k items reach the k-th highest maximum of the blocks, so the k highest are among them.
    Which items make a block does not matter; numpy is fastest where they lie `ITEMS / _BLOCK` apart.
    """
    maxima = scores.reshape(_BLOCK, -1).max(axis=0)
    found = np.flatnonzero(scores >= np.partition(maxima, -k)[-k])
    near = scores[found]
    order = np.argsort(-near)[:k]
    return found[order], near[order]


class Batches:
    """Requests that wait together are ranked together: the policy, for a server without its own."""

    def __init__(self, kernel):
        self.kernel, self.waiting, self.timer = kernel, [], None

    async def rank(self, viewer):
        """Return one viewer's codes and scores."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.waiting.append((viewer, answer))
        if len(self.waiting) >= BATCH:
            self._flush()
        elif self.timer is None:
            self.timer = loop.call_later(WAIT_S, self._flush)
        return await answer

    def _flush(self):
        waiting, self.waiting = self.waiting, []
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        for (_, answer), found in zip(waiting, self.kernel.rank_many([v for v, _ in waiting])):  # noqa: B905
            answer.set_result(found)
