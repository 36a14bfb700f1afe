"""Closed-form item similarity, with a kernel so that neighbours in time count more."""

import numpy as np
from numpy.typing import NDArray

from mlg.recsys.columns import Codes, Floats, Floats32, Micros
from mlg.recsys.events import Histories


def places(at: Micros) -> Floats:
    """Return each event's place in its history, shape ``(h,)``; ties share the mean place.

    Examples:
        >>> places(np.array([5, 7, 7, 9])).tolist()
        [0.0, 1.5, 1.5, 3.0]
    """
    left = np.searchsorted(at, at, side="left")
    right = np.searchsorted(at, at, side="right")
    return (left + right - 1) / 2.0


def gram(
    histories: Histories, viewers: int, items: int, *, reach: float, floor: float
) -> NDArray[np.float64]:
    r"""Item-item co-occurrence in which events close to each other count more.

    :math:`G = \sum_v X_v^\top K_v X_v` with
    :math:`K_{ab} = \phi + (1 - \phi) e^{-|p_a - p_b| / \rho}` over the places of a viewer's
    events; K is positive semi-definite, and so is G. With :math:`\phi = 1` it is
    :math:`X^\top X`.

    Args:
        histories: Events by viewer.
        viewers: How many viewers.
        items: How many items, I.
        reach: Distance :math:`\rho` in events at which the weight falls to 1/e; > 0.
        floor: Weight :math:`\phi` of far apart events, 0..1.

    Returns:
        Shape ``(I, I)``, symmetric.

    Source:
        H. Steck (2019), WWW '19, pp. 3251-3257, arXiv:1905.03375 (G = X'X); M. Choi et al.
        (2021), WWW '21, arXiv:2103.16104 (decay by distance in a sequence).
    """
    result = np.zeros((items, items))
    for viewer in range(viewers):
        past = histories.before(viewer)
        if not past.items.size:
            continue
        place = places(past.at)
        kernel = np.exp(-np.abs(place[:, None] - place[None, :]) / reach)
        kernel = floor + (1.0 - floor) * kernel
        unique, inverse = np.unique(past.items, return_inverse=True)
        if unique.size < past.items.size:  # an item met twice: the strongest meeting counts
            merged = np.zeros((unique.size, unique.size))
            np.maximum.at(merged, (inverse[:, None], inverse[None, :]), kernel)
            kernel, codes = merged, unique
        else:
            codes = past.items
        result[np.ix_(codes, codes)] += kernel
    return result


def ease(weights: NDArray[np.float64], ridge: float) -> Floats32:
    r"""Item weights of EASE: :math:`B_{ij} = -P_{ij} / P_{jj}`, zero on the diagonal.

    Args:
        weights: Gram matrix, shape ``(I, I)``, positive semi-definite.
        ridge: :math:`\lambda > 0`, with :math:`P = (G + \lambda I)^{-1}`.

    Returns:
        Shape ``(I, I)``; row i holds what having met i adds to every item's score.

    Source:
        H. Steck (2019), Embarrassingly Shallow Autoencoders, WWW '19, eq. 8.

    Examples:
        >>> ease(np.array([[1.0, 1.0], [1.0, 1.0]]), 1.0).round(3).tolist()
        [[0.0, 0.5], [0.5, 0.0]]
    """
    regular = weights.copy()
    regular[np.diag_indices_from(regular)] += ridge
    inverse = np.linalg.inv(regular)
    result = inverse / -np.diag(inverse)
    np.fill_diagonal(result, 0.0)
    return result.astype(np.float32)


def onward(
    histories: Histories,
    viewers: int,
    items: int,
    *,
    past: float,
    ahead: float,
    ridge: float,
) -> Floats32:
    r"""Ridge regression from what a viewer met lately to what he met next.

    One row of the regression at each moment :math:`b` of a viewer but his first:
    :math:`s_j = e^{-a_j/\rho}` over the events before it, :math:`a_j` being how many came
    after event j, and :math:`t_j = e^{-d_j/\tau}` over the events from it on, :math:`d_j`
    places ahead, weighted by how many events the moment holds.
    :math:`B = (S^\top W S + \lambda I)^{-1} S^\top W T`. Equal times never explain each other.

    Args:
        histories: Events by viewer.
        viewers: How many viewers.
        items: How many items, I.
        past: :math:`\rho` in events, > 0; the reach that `recency` is asked with.
        ahead: :math:`\tau` in events, > 0.
        ridge: :math:`\lambda`, > 0.

    Returns:
        Shape ``(I, I)``; row i holds what having just met i says of every next item.

    Source:
        M. Choi et al. (2021), Session-aware Linear Item-Item Models, arXiv:2103.16104
        (SLIT).
    """
    gram_, cross = np.zeros((items, items)), np.zeros((items, items))
    for viewer in range(viewers):
        own = histories.before(viewer)
        moments = np.flatnonzero(np.diff(own.at) > 0) + 1
        if not moments.size:
            continue
        place = places(own.at)
        column = np.arange(own.at.size)[None, :]
        begin = moments[:, None]
        source = np.exp(-np.maximum(begin - 1 - place, 0.0) / past) * (column < begin)
        target = np.exp(-np.maximum(place - place[begin], 0.0) / ahead) * (column >= begin)
        codes, inverse = np.unique(own.items, return_inverse=True)
        if codes.size < own.items.size:  # an item met twice counts twice
            fold = np.zeros((own.items.size, codes.size))
            fold[np.arange(own.items.size), inverse] = 1.0
            source, target = source @ fold, target @ fold
        else:
            codes = own.items
        weighted = source.T * np.diff(np.append(moments, own.at.size))
        block = np.ix_(codes, codes)
        gram_[block] += weighted @ source
        cross[block] += weighted @ target
    gram_[np.diag_indices_from(gram_)] += ridge
    return np.linalg.solve(gram_, cross).astype(np.float32)


def ages(at: Micros) -> Floats:
    """Return how many events came after each one, shape ``(h,)``; ties share the mean.

    Examples:
        >>> ages(np.array([5, 7, 7, 9])).tolist()
        [3.0, 1.5, 1.5, 0.0]
    """
    return (at.size - 1) - places(at)


def recency(age: Floats, reach: float) -> Floats32:
    r"""Weight of each earlier event: :math:`e^{-a/\rho}`, a being how many came after it.

    Equal times share the mean age, so the order inside a tie never matters.

    Args:
        age: From `ages`, shape ``(h,)``.
        reach: :math:`\rho` in events; infinity weighs all alike.

    Returns:
        Shape ``(h,)``, 0..1.

    Source:
        M. Choi et al. (2021), Session-aware Linear Item-Item Models, arXiv:2103.16104.

    Examples:
        >>> recency(ages(np.array([1, 2])), float("inf")).tolist()
        [1.0, 1.0]
    """
    return np.exp(-age / reach).astype(np.float32)


def trailing_counts(item: Codes, at: Micros, end_us: int, span_us: int, items: int) -> Floats:
    """Return how often each item was met in the span before a time, shape ``(I,)``."""
    inside = (at < end_us) & (at >= end_us - span_us)
    return np.bincount(item[inside], minlength=items).astype(np.float64)
