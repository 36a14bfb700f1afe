"""When one of several alike begins to differ: an e-detector over counts in bins.

Each look compares the answers of one member with those of its siblings in the same short
span. A common change (another public, another hour, a promotion) moves both sides and is no
evidence. The evidence is exact for any distribution of the answers, and that may change from
look to look, as long as within one look both sides draw from the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

TILTS: Final = (4.0, 12.0, 40.0, 120.0)
"""How strongly the alternatives lean to low values: exp(-t x) over x in 0..1."""


def two_sample_log_e(
    own: Sequence[float],
    others: Sequence[float],
    own_shape: NDArray[np.float64],
    others_shape: NDArray[np.float64],
) -> float:
    """Return the log evidence of one block that two samples differ as the shapes say.

    Each answer in bin b counts `log(shape[b] / mean[b])`, where the mean weighs both shapes
    by the sizes of their samples. If all answers of the block are independent draws of one
    distribution P, then with A and B the expectations of the two ratios under P,
    n A + N B = n + N, so A**n * B**N <= 1 by the means' inequality: an e-value, exactly.

    Args:
        own: Counts by bin of one sample.
        others: Counts by bin of the other one.
        own_shape: Probabilities by bin under the alternative, all > 0; fixed before the block.
        others_shape: The same of the other sample.

    Returns:
        Natural logarithm of the e-value; 0 when one sample is empty.

    Source:
        R. Turner, A. Ly and P. Grünwald (2024), Generic E-variables for exact sequential
        k-sample tests that allow for optional stopping, JSPI 230, theorem 1.

    Examples:
        >>> shape, low = np.array([0.5, 0.5]), np.array([0.9, 0.1])
        >>> round(two_sample_log_e([1, 0], [0, 1], low, shape), 4)  # log(.9/.7) + log(.5/.3)
        0.7621
        >>> two_sample_log_e([0, 0], [4, 4], low, shape)
        0.0
    """
    return float(_log_e(own, others, own_shape, others_shape))


def _log_e(
    own: Sequence[float],
    others: Sequence[float],
    own_shapes: NDArray[np.float64],
    others_shape: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the same for one alternative, or for each row of many."""
    a, b = np.asarray(own, dtype=np.float64), np.asarray(others, dtype=np.float64)
    n, m = float(a.sum()), float(b.sum())
    if not n or not m:
        return np.zeros(own_shapes.shape[:-1])
    mean = (n * own_shapes + m * others_shape) / (n + m)
    return np.log(own_shapes / mean) @ a + np.log(others_shape / mean) @ b


def shape_of(counts: Sequence[float]) -> NDArray[np.float64]:
    """Return counts as probabilities, each bin with half a count more, so that none is 0."""
    raised = np.asarray(counts, dtype=np.float64) + 0.5
    return raised / raised.sum()


def leaning(
    shape: NDArray[np.float64], tilt: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a shape whose weight leans to the low bins; one row for each of many tilts.

    Examples:
        >>> leaning(np.array([0.5, 0.5]), 2.0).round(3).tolist()  # bins at 0.25 and 0.75
        [0.731, 0.269]
    """
    places = (np.arange(len(shape)) + 0.5) / len(shape)
    weights = np.log(shape) - tilt * places
    leaned = np.maximum(np.exp(weights - weights.max(axis=-1, keepdims=True)), 1e-9)
    return leaned / leaned.sum(axis=-1, keepdims=True)


@dataclass(frozen=True, slots=True)
class Detector:
    """Shiryaev-Roberts sums of one member, one for each alternative; begins at nothing."""

    sums: tuple[float, ...] = (-inf,) * len(TILTS)
    """Natural logarithms."""

    @property
    def statistic(self) -> float:
        """Natural logarithm of the mean of the sums; -inf before the first look."""
        most = max(self.sums)
        if most == -inf:
            return most
        return most + log(sum(exp(one - most) for one in self.sums) / len(self.sums))


def looked(
    detector: Detector,
    own: Sequence[float],
    others: Sequence[float],
    usual: Sequence[float],
) -> Detector:
    """Return the detector after one more look: M' = (1 + M) * e of each alternative.

    While nothing differs, the mean of M grows by at most 1 a look. So by optional stopping
    the first look with M >= c comes after at least c looks on average, whatever happens to
    all members alike (and with c * R for each of R members, after c looks of any of them).
    A look in which one side did not answer is none.

    Args:
        detector: Before.
        own: Answers by bin since the last look.
        others: Those of the siblings.
        usual: Answers by bin of the siblings before this look; what alternatives lean from.

    Source:
        J. Shin, A. Ramdas and A. Rinaldo (2024), E-detectors: a nonparametric framework for
        sequential change detection, NEJSDS 2(2); S. W. Roberts (1966), Technometrics 8(3).
    """
    if not sum(own) or not sum(others):
        return detector
    shape = shape_of(usual)
    leaned = leaning(shape, np.asarray(TILTS)[:, None])
    sums = np.logaddexp(0.0, np.asarray(detector.sums)) + _log_e(own, others, leaned, shape)
    return Detector(tuple(sums.tolist()))


def limit_for(looks: float, members: int) -> float:
    """Return the limit of `statistic`: one false alarm in at least so many looks on average.

    Args:
        looks: Looks between two false alarms of the whole group, >= 1.
        members: Members that are watched, >= 1.

    Examples:
        >>> round(limit_for(7_776_000, 2), 2)  # 90 days of seconds, two replicas
        16.56
    """
    return log(looks * max(1, members))
