"""Pure measures of rankings, probabilities and logged policies."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ndcg_at(ranks: NDArray[np.int64], k: int) -> Floats:
    r"""NDCG@k of each event with one relevant item, shape ``(n,)``, 0..1.

    With one relevant item the ideal gain is 1, so it is :math:`1/\log_2(1 + r)` where the
    rank :math:`r \le k`, else 0.

    Args:
        ranks: Place of the relevant item, 1 is best, shape ``(n,)``; 0 means not ranked.
        k: How many places count.

    Source:
        K. Jarvelin, J. Kekalainen (2002), ACM TOIS 20(4):422-446.

    Examples:
        >>> ndcg_at(np.array([1, 3, 11, 0]), 10).tolist()
        [1.0, 0.5, 0.0, 0.0]
    """
    within = (ranks >= 1) & (ranks <= k)
    return np.where(within, 1.0 / np.log2(1.0 + np.maximum(ranks, 1)), 0.0)


def recall_at(ranks: NDArray[np.int64], k: int) -> Floats:
    """Recall@k (hit rate) of each event with one relevant item: 1 or 0, shape ``(n,)``.

    Ranks as in `ndcg_at`.

    Source:
        P. Cremonesi, Y. Koren, R. Turrin (2010), RecSys '10, pp. 39-46.

    Examples:
        >>> recall_at(np.array([1, 11, 0]), 10).tolist()
        [1.0, 0.0, 0.0]
    """
    return ((ranks >= 1) & (ranks <= k)).astype(np.float64)


def coverage(shown: NDArray[np.int32], items: int) -> float:
    """Share of the catalogue that appears in at least one list, 0..1.

    Args:
        shown: Item codes of the lists, shape ``(n, k)``; -1 is an empty place.
        items: Size of the catalogue; 0 gives 0.

    Source:
        M. Ge, C. Delgado-Battenfeld, D. Jannach (2010), RecSys '10, pp. 257-260.

    Examples:
        >>> coverage(np.array([[0, 1], [1, -1]], dtype=np.int32), 4)
        0.5
    """
    distinct = np.unique(shown[shown >= 0]).size
    return distinct / items if items else 0.0


def brier(p: Floats, y: Floats, weight: Floats | None = None) -> float:
    """Mean squared difference of probabilities and 0 / 1 outcomes; NaN when empty.

    Args:
        p: Probabilities, shape ``(n,)``.
        y: Outcomes 0 or 1, shape ``(n,)``.
        weight: Non-negative weights, shape ``(n,)``; None counts each once.

    Source:
        G. W. Brier (1950), Monthly Weather Review 78(1):1-3.

    Examples:
        >>> brier(np.array([1.0, 0.5]), np.array([1.0, 0.0]))
        0.125
    """
    return float(np.average((p - y) ** 2, weights=weight)) if p.size else float("nan")


def calibration_error(
    p: Floats, y: Floats, weight: Floats | None = None, *, bins: int = 10
) -> float:
    """Expected calibration error over bins of equal width, 0..1; NaN when empty.

    Each bin gives |mean probability - observed share|, weighted by its mass.

    Args:
        p: Probabilities, shape ``(n,)``.
        y: Outcomes 0 or 1, shape ``(n,)``.
        weight: Non-negative weights, shape ``(n,)``; None counts each once.
        bins: How many bins divide 0..1.

    Source:
        M. P. Naeini, G. Cooper, M. Hauskrecht (2015), AAAI-15, pp. 2901-2907.

    Examples:
        >>> round(calibration_error(np.array([0.9, 0.9]), np.array([1.0, 0.0])), 3)
        0.4
    """
    if not p.size:
        return float("nan")
    w = np.ones_like(p) if weight is None else weight
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, weights=w * (p - y), minlength=bins)
    return float(np.abs(gap).sum() / w.sum())


def aurc(confidence: Floats, hit: Floats, weight: Floats | None = None) -> float:
    """Area under the risk-coverage curve, 0..1, less is better; NaN when empty.

    Answers are kept in falling order of confidence; the mean of the error rate over all
    coverages. Equal confidences are one step: each of them is charged the tied group's rate.

    Args:
        confidence: Confidence of each answer, shape ``(n,)``.
        hit: 1 where the answer was right, else 0, shape ``(n,)``.
        weight: Non-negative weights, shape ``(n,)``; None counts each once.

    Source:
        Y. Geifman, G. Uziel, R. El-Yaniv (2019), ICLR 2019, arXiv:1805.08206.

    Examples:
        >>> aurc(np.array([0.9, 0.1]), np.array([1.0, 0.0]))
        0.25
    """
    if not confidence.size:
        return float("nan")
    w = np.ones_like(confidence) if weight is None else weight
    _, group = np.unique(-confidence, return_inverse=True)
    mass = np.bincount(group, weights=w)
    wrong = np.cumsum(np.bincount(group, weights=w * (1.0 - hit)))
    kept = np.cumsum(mass)
    risk = np.divide(wrong, kept, out=np.zeros_like(wrong), where=kept > 0)
    return float((risk * mass).sum() / mass.sum())


def auc(score: Floats, y: Floats) -> float:
    """Area under the ROC curve: P(a positive scores above a negative), ties one half.

    Args:
        score: Scores, shape ``(n,)``.
        y: Outcomes 0 or 1, shape ``(n,)``.

    Returns:
        0..1, or NaN when one class or a score is missing.

    Source:
        H. B. Mann, D. R. Whitney (1947), Annals of Mathematical Statistics 18(1):50-60.

    Examples:
        >>> auc(np.array([0.1, 0.4, 0.4]), np.array([0.0, 0.0, 1.0]))
        0.75
    """
    positives = float(y.sum())
    negatives = y.size - positives
    if not positives or not negatives or np.isnan(score).any():
        return float("nan")
    _, group, size = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(size) - (size - 1) / 2)[group]  # of equal scores: their mean
    return float(
        (ranks[y > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def log_loss(p: Floats, y: Floats) -> float:
    """Mean negative log-likelihood in nats; probabilities are kept 1e-9 off 0 and 1.

    Args:
        p: Probabilities, shape ``(n,)``.
        y: Outcomes 0 or 1, shape ``(n,)``; empty gives NaN.

    Source:
        I. J. Good (1952), Journal of the Royal Statistical Society B 14(1):107-114.

    Examples:
        >>> round(log_loss(np.array([0.5, 0.5]), np.array([0.0, 1.0])), 6)
        0.693147
    """
    if not p.size:
        return float("nan")
    q = np.clip(p, 1e-9, 1 - 1e-9)
    return float(-np.mean(y * np.log(q) + (1 - y) * np.log1p(-q)))


def ips(match: Floats, reward: Floats, propensity: Floats) -> float:
    """Inverse propensity estimate of a policy's mean reward; NaN when empty.

    Args:
        match: Probability that the new policy shows what was logged, shape ``(n,)``.
        reward: Logged rewards, shape ``(n,)``.
        propensity: Probability that the logging policy showed it, 0 < p <= 1, shape ``(n,)``.

    Source:
        D. G. Horvitz, D. J. Thompson (1952), JASA 47(260):663-685.

    Examples:
        >>> ips(np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.array([0.5, 0.5]))
        1.0
    """
    return float(np.mean(match * reward / propensity)) if match.size else float("nan")


def snips(match: Floats, reward: Floats, propensity: Floats) -> float:
    """Self-normalised IPS: the weights sum to one; NaN when nothing matched.

    Arguments as in `ips`.

    Source:
        A. Swaminathan, T. Joachims (2015), NIPS 28.

    Examples:
        >>> snips(np.array([1.0, 1.0]), np.array([1.0, 0.0]), np.array([0.5, 0.25]))
        0.3333333333333333
    """
    weight = match / propensity
    total = float(weight.sum())
    return float((weight * reward).sum()) / total if total else float("nan")


def effective_sample_size(weight: Floats) -> float:
    """Kish's effective number of equally weighted observations; 0 when all weights are 0.

    Source:
        L. Kish (1965), Survey Sampling, Wiley, section 11.7.

    Examples:
        >>> effective_sample_size(np.array([1.0, 1.0, 0.0]))
        2.0
    """
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0
