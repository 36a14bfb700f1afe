"""Faults on purpose: what a game day, or a test of the canary, does to one version.

`<home>/services/<service>/faults.json` names a version (or label, or one process; `*` is
every one) and what is wrong with it. A replica reads it again five times a second; without it
nothing is wrong.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Final

import msgspec

from mlg.core.predict import Query, Ranked
from mlg.serving.ranker import PopularityList, Recommender

_POLL_S: Final = 0.2
_HANG_S: Final = 60.0


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wrong with one version."""

    errors: float = 0.0
    """Share of requests that the model fails on, 0..1."""
    nan: float = 0.0
    """Share of answers whose scores are not numbers, 0..1."""
    short: float = 0.0
    """Share of answers that have one item, whatever was asked for, 0..1."""
    slower: float = 1.0
    """How many times as long as usual an answer takes."""
    delay_ms: float = 0.0
    """What an answer takes longer than usual."""
    keeps_bytes: int = 0
    """Memory that each answer takes and never gives back, as a leak does."""
    abstain: bool = False
    """Whether the model is never confident."""
    unsure: float = 1.0
    """What raw confidence is multiplied with, 0..1."""
    skew: float = 0.0
    """What is added to each feature of the viewer that the log keeps, as wrong code would."""
    hangs_after: int | None = None
    """Answers, once it is warm, after which each one takes 60 s, as the whole process does;
    None: never."""
    fails_to_start: bool = False
    """Whether a process of it ends as it starts; those that run already go on."""


class FaultyRecommender:
    """A recommender that does what the file says is wrong with it.

    Args:
        inner: The real one.
        path: The file; it need not exist.
        names: Id, label and version of this process; the first one named counts.
        draw: Uniform numbers in [0, 1).
        now_s: Monotonic seconds.
    """

    def __init__(
        self,
        inner: Recommender,
        path: Path,
        names: Collection[str],
        draw: Callable[[], float],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner, self._path, self._names = inner, path, tuple(names)
        self._draw, self._now_s = draw, now_s
        self._fault, self._read_s, self._asked = Fault(), float("-inf"), 0
        self._warming = False
        self._kept: list[bytearray] = []
        self.popularity: PopularityList = inner.popularity
        self.logged_features: tuple[str, ...] = tuple(inner.logged_features)
        self.repeats = bool(getattr(inner, "repeats", True))
        self.longest_history: int = inner.longest_history

    def warming(self, on: bool) -> None:
        """Say that what is asked from now on is for warming up, or that viewers ask."""
        self._warming, self._asked = on, 0

    def is_known_item(self, item: int | str) -> bool:
        """Return whether the item is in the catalogue."""
        return self._inner.is_known_item(item)

    def recommend(self, query: Query) -> Ranked:
        """Return the real answer, spoilt as the file says.

        Raises:
            RuntimeError: This request was chosen to fail.
            MemoryError: There is no memory left for what is to be kept.
        """
        fault = self._current()
        began_s = self._now_s()
        self._asked += not self._warming
        if fault.hangs_after is not None and self._asked > fault.hangs_after:
            time.sleep(_HANG_S)
        if fault.errors and self._draw() < fault.errors:
            raise RuntimeError("a fault on purpose")
        if fault.keeps_bytes:
            self._kept.append(bytearray(fault.keeps_bytes))
        ranked = self._inner.recommend(query)
        if fault.slower > 1.0:
            time.sleep((self._now_s() - began_s) * (fault.slower - 1.0) + 0.002)
        if fault.delay_ms > 0.0:
            time.sleep(fault.delay_ms / 1e3)
        return self._spoilt(ranked, fault)

    def _spoilt(self, ranked: Ranked, fault: Fault) -> Ranked:
        """Return an answer with what the fault does to it."""
        if fault.nan and self._draw() < fault.nan:
            ranked = replace(ranked, scores=(nan,) * len(ranked.scores))
        if fault.short and self._draw() < fault.short:
            ranked = replace(ranked, items=ranked.items[:1], scores=ranked.scores[:1])
        if fault.skew and ranked.features:
            named = zip(self.logged_features, ranked.features, strict=True)
            skewed = (v + fault.skew * name.startswith("viewer:") for name, v in named)
            ranked = replace(ranked, features=tuple(skewed))
        if fault.abstain:
            ranked = replace(ranked, raw_confidence=0.0)
        elif fault.unsure != 1.0:
            ranked = replace(ranked, raw_confidence=ranked.raw_confidence * fault.unsure)
        return ranked

    def recommend_many(self, queries: Sequence[Query]) -> list[Ranked]:
        """Return an answer a query; one by one while something is wrong.

        Raises:
            RuntimeError: One of them was chosen to fail.
        """
        many = getattr(self._inner, "recommend_many", None)
        if many is None or self._current() != Fault():
            return [self.recommend(query) for query in queries]
        return many(queries)

    def _current(self) -> Fault:
        now_s = self._now_s()
        if now_s - self._read_s >= _POLL_S:
            self._read_s = now_s
            self._fault = read_fault(self._path, self._names)
        return self._fault


def read_fault(path: Path, names: Collection[str]) -> Fault:
    """Return what is wrong with a process of these names; nothing without a good file."""
    try:
        faults = msgspec.json.decode(path.read_bytes(), type=dict[str, Fault])
    except (OSError, msgspec.MsgspecError):
        return Fault()
    return next((faults[name] for name in (*names, "*") if name in faults), Fault())
