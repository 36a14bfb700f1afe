"""Control charts over several variables at once: Hotelling's T squared and MEWMA.

Series are arrays of shape `(..., T, p)`: time, then variables. What a limit on T squared means
is in `arl_vector`.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from mlg.stats.charts import Floats, ewma, ewma_sigma, ewma_step


def hotelling_t2(
    x: ArrayLike, *, mean: ArrayLike, covariance: ArrayLike, size: float = 1.0
) -> Floats:
    r"""Return Hotelling's T squared of each point.

    :math:`T^2_t = n (\bar x_t - \mu)' \Sigma^{-1} (\bar x_t - \mu)`.

    Args:
        x: Points, or means of `size` observations each, shape (..., T, p).
        mean: In-control mean, shape (p,).
        covariance: Of one observation, shape (p, p), positive definite.
        size: Observations behind each point, > 0.

    Returns:
        Dimensionless, >= 0, shape (..., T). NaN where a variable is NaN; empty gives empty.

    Raises:
        ValueError: The covariance is not positive definite or of another shape, or `size` is
            not positive.

    Source:
        H. Hotelling (1947), in Techniques of Statistical Analysis, 111-184.

    Examples:
        >>> hotelling_t2([[3.0, 4.0]], mean=[0.0, 0.0], covariance=np.eye(2)).tolist()
        [25.0]
    """
    if not size > 0:
        raise ValueError(f"expected size > 0, got {size}")
    white = whitened(x, mean=mean, covariance=covariance)
    return size * np.square(white).sum(axis=-1)


def mewma_t2(
    x: ArrayLike, *, mean: ArrayLike, covariance: ArrayLike, lam: float, exact: bool = False
) -> Floats:
    r"""Return the T squared statistic of an MEWMA at each point.

    With :math:`Z_t = \lambda (x_t - \mu) + (1-\lambda) Z_{t-1}`, :math:`Z_0 = 0`, returns
    :math:`Z_t' \Sigma_{Z}^{-1} Z_t` with the asymptotic covariance
    :math:`\frac{\lambda}{2-\lambda} \Sigma`, for which `mlg drift design` finds limits, or
    with the exact one after t points.

    Args:
        x: Points, shape (..., T, p).
        mean: In-control mean, shape (p,).
        covariance: Of one point, shape (p, p), positive definite.
        lam: Weight of the newest point, 0 < lam <= 1; 1 is a T squared chart.
        exact: Whether the covariance is that after t points.

    Returns:
        Dimensionless, >= 0, shape (..., T). NaN in a variable gives NaN from there on.

    Raises:
        ValueError: `lam` is outside (0, 1], or the covariance is not positive definite or of
            another shape.

    Source:
        C. A. Lowry, W. H. Woodall, C. W. Champ and S. E. Rigdon (1992), Technometrics
        34:46-53.

    Examples:
        >>> x, unit = [[1.0, 0.0], [1.0, 0.0]], np.eye(2)
        >>> mewma_t2(x, mean=[0.0, 0.0], covariance=unit, lam=0.5).tolist()
        [0.75, 1.6875]
    """
    white = whitened(x, mean=mean, covariance=covariance)
    z = np.moveaxis(ewma(np.moveaxis(white, -1, -2), lam=lam), -1, -2)
    sigma = ewma_sigma(z.shape[-2], lam=lam, exact=exact)
    return np.square(z).sum(axis=-1) / np.square(sigma)


def mewma_step(state: ArrayLike, white: ArrayLike, *, lam: float) -> tuple[Floats, Floats]:
    """Return an MEWMA and its T squared after one more point.

    Args:
        state: The MEWMA before, of whitened points, shape (..., p); zeros at the start.
        white: The newest point, from `whitened`, same shape. A NaN leaves that variable as
            it was.
        lam: Weight of the newest point, 0 < lam <= 1.

    Returns:
        The MEWMA, shape (..., p), and T squared by the asymptotic covariance, shape (...).

    Raises:
        ValueError: `lam` is outside (0, 1].

    Source:
        As `mewma_t2`.

    Examples:
        >>> state, t2 = mewma_step([0.0, 0.0], [1.0, 0.0], lam=0.5)
        >>> state.tolist(), float(t2)
        ([0.5, 0.0], 0.75)
    """
    z = ewma_step(state, white, lam=lam)
    return z, np.square(z).sum(axis=-1) * (2 - lam) / lam


def whitened(x: ArrayLike, *, mean: ArrayLike, covariance: ArrayLike) -> Floats:
    """Return points as uncorrelated variables of unit variance, whose squares add to T squared.

    Args:
        x: Points, shape (..., p).
        mean: Shape (p,).
        covariance: Shape (p, p), positive definite.

    Returns:
        Shape (..., p); the Cholesky factor's triangular order, so the first stays itself.

    Raises:
        ValueError: The covariance is not positive definite, or the shapes do not fit.

    Source:
        T. W. Anderson, An Introduction to Multivariate Statistical Analysis, section 2.4.

    Examples:
        >>> whitened([2.0, 2.0], mean=[0.0, 0.0], covariance=[[4.0, 0.0], [0.0, 1.0]]).tolist()
        [1.0, 2.0]
    """
    x, mean = np.asarray(x, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    covariance = np.asarray(covariance, dtype=np.float64)
    p = x.shape[-1]
    if mean.shape != (p,) or covariance.shape != (p, p):
        raise ValueError(
            f"expected {p} means and a covariance of {p} x {p}, got {mean.shape} and "
            f"{covariance.shape}"
        )
    try:
        factor = cholesky(covariance, lower=True)
    except (LinAlgError, ValueError) as error:
        raise ValueError(f"expected a positive definite covariance: {error}") from error
    flat = (x - mean).reshape(-1, p).T
    return solve_triangular(factor, flat, lower=True, check_finite=False).T.reshape(x.shape)
