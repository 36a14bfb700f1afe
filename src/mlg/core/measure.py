"""A measured value with its limits and verdict; one word for drift and canary analysis."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from mlg.core.uris import Digest, Uri

BLOCK_S: Final = 2
"""Wall time in which slow answers count as one look at one moment: whatever holds a process
up for a moment makes many answers slow at once."""

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One value of one metric of one subject over one span of time."""

    subject: Uri
    metric: str
    value: float
    unit: str
    n: int
    """Number of independent units behind the value."""
    start: datetime
    end: datetime
    limits: tuple[float | None, float | None] = (None, None)
    """Lower and upper limit, in the unit; None is no limit."""
    verdict: Verdict = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A measurement outside its limits, with what a person needs to act."""

    uri: Uri
    measurement: Measurement
    slice: str = ""
    sample: Digest | None = None
    suspects: tuple[Uri, ...] = ()
    remediation: str = ""
    opened_at: datetime
    closed_at: datetime | None = None
