"""A plain Python class: items that were met together, counted, in JSON."""

import json
from pathlib import Path
from typing import Self

import numpy as np

import mlg
from own_models.counts import events, popularity, seen, together


class Together:
    """Adds up how often each item was met together with those of the history.

    Args:
        items: The catalogue.
        near: For each item its neighbours as (place, cosine).
        popular: Popularity of each item, 0..1; breaks ties, and answers new viewers.
        hits: Measured share of hits by whether there is a history.
    """

    def __init__(
        self,
        items: list[int],
        near: list[list[tuple[int, float]]],
        popular: list[float],
        hits: tuple[float, float],
    ) -> None:
        self.items, self.near, self.popular, self.hits = items, near, popular, hits
        self._place = {item: n for n, item in enumerate(items)}

    @classmethod
    def fit(cls, training: mlg.Training) -> Self:
        """Count, then ask for the newest events of each viewer to measure the confidence."""
        kept = int(training.params.get("neighbours", 20))
        near: list[list[tuple[int, float]]] = []
        for row in together(training):
            best = np.argsort(-row, kind="stable")[:kept]
            near.append([(int(n), round(float(row[n]), 6)) for n in best if row[n] > 0])
        popular = [round(float(share), 6) for share in popularity(training)]
        model = cls(list(training.items), near, popular, (0.0, 0.0))
        return cls(model.items, near, popular, model.measured(training))

    def measured(self, training: mlg.Training) -> tuple[float, float]:
        """Return the share of hits among the newest fifth, with and without a history.

        The counts knew these events, so the share is a little too good.
        """
        viewer, item, order = events(training)
        before: dict[int, list[int]] = {}
        hits: dict[bool, list[bool]] = {True: [], False: []}
        for number, event in enumerate(order):
            history = before.setdefault(int(viewer[event]), [])
            if number >= 0.8 * len(order):
                first = [n for n, _ in self.ranked(history)][: training.k]
                hits[bool(history)].append(int(item[event]) in first)
            history.append(int(item[event]))
        every = hits[True] + hits[False]
        rate = [sum(part or every) / len(part or every) for part in (hits[True], hits[False])]
        return rate[0], rate[1]

    def ranked(self, history: list[int]) -> list[tuple[int, float]]:
        """Return every item that was not met, best first, with its score."""
        scores = [0.001 * share for share in self.popular]
        for met in history[-20:]:
            for other, cosine in self.near[met]:
                scores[other] += cosine
        met = set(history)
        left = [n for n in range(len(scores)) if n not in met]
        left.sort(key=lambda n: (-scores[n], n))
        return [(n, scores[n]) for n in left]

    def recommend(self, query: mlg.Query) -> mlg.Ranked:
        """Return the best items for the request's history."""
        history = seen(query, self._place)
        best = self.ranked(history)[: query.k]
        return mlg.Ranked(
            items=tuple(self.items[n] for n, _ in best),
            scores=tuple(score for _, score in best),
            raw_confidence=self.hits[0] if history else self.hits[1],
        )

    def save(self, folder: Path) -> None:
        """Write one JSON file."""
        whole = [self.items, self.near, self.popular, self.hits]
        (folder / "together.json").write_text(json.dumps(whole), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read it."""
        whole = json.loads((folder / "together.json").read_text(encoding="utf-8"))
        items, near, popular, hits = whole
        return cls(items, [[(n, c) for n, c in row] for row in near], popular, tuple(hits))
