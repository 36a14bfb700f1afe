"""Components of a change of distribution: where, how wide, how skewed, how heavy."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]

_GAUSS = 0.3989422804014327


def normal_scores(counts: NDArray[np.int64] | Floats) -> Floats:
    """Return the mean standard normal score of each bin, given how many values it holds.

    Args:
        counts: Shape ``(bins,)``, >= 0, the lowest bin first.

    Returns:
        Shape ``(bins,)``, rising; zeros where all counts are 0. An empty bin has the score of
        its border.

    Examples:
        >>> normal_scores(np.array([5, 5])).round(3).tolist()
        [-0.798, 0.798]
    """
    total = float(counts.sum())
    if not total:
        return np.zeros(len(counts))
    upper = np.concatenate(([0.0], np.cumsum(counts))) / total
    z = ndtri(np.clip(upper, 1e-12, 1 - 1e-12))
    density = _GAUSS * np.exp(-(z**2) / 2)
    density[(upper <= 0) | (upper >= 1)] = 0.0
    share = np.diff(upper)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(share > 0, (density[:-1] - density[1:]) / share, z[:-1])


def components_of(counts: NDArray[np.int64] | Floats, most: int = 4) -> Floats:
    r"""Return scores by bin whose means say how a distribution moved, orthonormal in it.

    The powers 1 to `most` of the bins' normal scores, made orthonormal under the given
    distribution: the mean of each column is 0 and of its square 1 while nothing changed. The
    first answers to a shift (in standard deviations), the second to the spread, the third to
    skewness, the fourth to the tails.

    Args:
        counts: The usual counts, shape ``(bins,)``.
        most: Components wanted.

    Returns:
        Shape ``(bins, c)`` with c at most `most` and less than the bins that hold something.

    Source:
        J. Neyman (1937), "Smooth test" for goodness of fit, Skand. Aktuarietidskr. 20:150-199;
        J. C. W. Rayner and D. J. Best (1989), Smooth Tests of Goodness of Fit.

    Examples:
        >>> scores = components_of(np.full(10, 5))
        >>> (scores.T @ scores / 10).round(6).tolist() == np.eye(4).tolist()
        True
    """
    weight = counts / max(float(counts.sum()), 1.0)
    full = int((weight > 0).sum())
    degree = min(most, full - 1)
    if degree < 1:
        return np.zeros((len(counts), 0))
    z = normal_scores(counts)
    powers = np.column_stack([z**k for k in range(degree + 1)])
    root = np.sqrt(weight)[:, None]
    _, r = np.linalg.qr(powers * root)
    scores = np.linalg.solve(r.T, powers.T).T * np.sign(np.diag(r))
    return scores[:, 1:].astype(np.float64)
