"""Which statistics are the components of one vector, charted together by an MEWMA."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlg.monitors.packed import array, packed

TOGETHER: Final = ".components"
"""After a vector's name: the statistic that its components are charted as."""

_COMPONENT: Final = re.compile(r"^(?P<name>.+)=component \d+\.location$")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One vector's components among the statistics of a stream."""

    chart: int
    """Place of the statistic of all of them."""
    parts: tuple[int, ...]
    """Places of the components."""
    inverse: bytes
    """Of the correlation between windows, little-endian float64, (parts, parts)."""

    def length(self, z: Floats) -> float:
        r"""Return :math:`\sqrt{z' R^{-1} z}` of values of the components, ``(parts,)``."""
        inverse = array(self.inverse).reshape(len(z), len(z))
        return float(np.sqrt(max(z @ inverse @ z, 0.0)))


def vectors_of(metrics: Sequence[str], rest: Floats) -> tuple[Vector, ...]:
    """Return the vectors among metrics.

    Args:
        metrics: Names of statistics.
        rest: What varies of each from window to window, shape ``(n, m)``. Their correlation is
            drawn towards none, as few windows say little of it.
    """
    places = {metric: place for place, metric in enumerate(metrics)}
    parts: dict[str, list[int]] = {}
    for metric, place in places.items():
        if match := _COMPONENT.match(metric):
            parts.setdefault(match["name"], []).append(place)
    found: list[Vector] = []
    for name, own in parts.items():
        chart = places.get(f"{name}{TOGETHER}")
        if chart is None:
            continue
        known = rest[:, own][~np.isnan(rest[:, own]).any(axis=1)]
        size, n = len(own), len(known)
        sds = known.std(axis=0) if n else np.zeros(size)
        z = (known - known.mean(axis=0))[:, :] / np.where(sds > 0, sds, 1.0) if n else known
        draw = size / (n + size)
        correlation = (1 - draw) * (z.T @ z) / max(n, 1) + draw * np.eye(size)
        np.fill_diagonal(correlation, 1.0)
        inverse = packed(np.linalg.inv(correlation).astype(np.float64))
        found.append(Vector(chart=chart, parts=tuple(own), inverse=inverse))
    return tuple(found)
