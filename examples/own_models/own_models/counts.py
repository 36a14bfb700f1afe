"""What the three models share: which items are met by the same viewers."""

import numpy as np

import mlg
from mlg.core.predict import Query


def events(training: mlg.Training) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return viewer, place of the item in the catalogue and order of time, one an event."""
    role = training.roles["interactions"]
    table = training.tables[role["table"]]
    place = {item: n for n, item in enumerate(training.items)}
    viewer = table.column(role["viewer"]).to_numpy()
    item = np.array([place[one] for one in table.column(role["item"]).to_pylist()])
    at = table.column(role["at"]).to_pylist()
    order = sorted(range(len(at)), key=lambda n: (at[n], viewer[n], item[n]))
    return viewer, item, order


def together(training: mlg.Training) -> np.ndarray:
    """Return the cosine of each two items' sets of viewers, zero on the diagonal."""
    viewer, item, _ = events(training)
    _, row = np.unique(viewer, return_inverse=True)
    met = np.zeros((row.max() + 1, len(training.items)))
    met[row, item] = 1.0
    both = met.T @ met
    size = np.sqrt(np.maximum(np.diag(both), 1.0))
    cosine = both / np.outer(size, size)
    np.fill_diagonal(cosine, 0.0)
    return cosine


def popularity(training: mlg.Training) -> np.ndarray:
    """Return how often each item was met, as a share of the most met one."""
    _, item, _ = events(training)
    counts = np.bincount(item, minlength=len(training.items)).astype(np.float64)
    return counts / max(counts.max(), 1.0)


def seen(query: Query, place: dict[int, int]) -> list[int]:
    """Return the places of the items in the request's history, oldest first.

    A viewer without `context.history` is new to these models: they keep no viewers.
    """
    met = [event.item_id for event in query.history or () if event.event != "impression"]
    return [place[item] for item in met if item in place]
