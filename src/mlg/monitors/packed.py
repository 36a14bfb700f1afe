"""Arrays as bytes, so that what holds them is a value that goes through msgspec."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def array(text: bytes) -> Floats:
    """Return little-endian doubles as a flat array that cannot be written to.

    Examples:
        >>> array(packed(np.array([[1.0, 2.0]]))).tolist()
        [1.0, 2.0]
    """
    return np.frombuffer(text, dtype="<f8")


def packed(values: Floats) -> bytes:
    """Return an array of any shape as little-endian doubles, row by row."""
    return np.ascontiguousarray(values, dtype="<f8").tobytes()
