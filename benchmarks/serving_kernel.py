"""The one model of `mlg bench serving`: 50,000 items by 64, the best k by dot product.

Every subject imports this file, so all of them rank with the same lines.
"""  # noqa: INP001 - a script, no package

import numpy as np

ITEMS, FACTORS, VIEWERS, K = 50_000, 64, 100_000, 50


class Kernel:
    """Both matrices, made from a fixed seed; 38 MB."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.items = rng.standard_normal((ITEMS, FACTORS), dtype=np.float32)
        self.viewers = rng.standard_normal((VIEWERS, FACTORS), dtype=np.float32)

    def rank(self, viewer, k=K):
        """Return the codes of the k best items, best first, and their scores."""
        scores = self.items @ self.viewers[viewer % VIEWERS]
        best = np.argpartition(scores, -k)[-k:]
        best = best[np.argsort(-scores[best])]
        return best, scores[best]
