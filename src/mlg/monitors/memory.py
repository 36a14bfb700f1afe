"""Answers remembered until their labels came: as columns, with feedback counted into them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from mlg.monitors.answers import Answers, Ints
from mlg.monitors.fold_state import Answered, Remembered, Waiting
from mlg.monitors.group_memory import GroupMemory, Marks
from mlg.monitors.windows import Layout, Quality

_ENGAGED: Final = frozenset(("play", "complete"))

Reaction = tuple[str, str, float | None]
"""Item, event, watch-through."""


class Memory:
    """A copy of what is remembered that can be added to.

    Args:
        kept: As it was stored.
        former: As it was stored before there were columns.
        groups: Text features by whose levels quality is told apart.
    """

    def __init__(
        self, kept: Remembered, former: Mapping[str, Answered], groups: Sequence[str] = ()
    ) -> None:
        self.ids = list(kept.ids)
        self._items = list(kept.items)
        self._texts = {text: code for code, text in enumerate(kept.versions)}
        self._version = np.frombuffer(kept.version, "<i4").astype(np.int64)
        self.number = np.frombuffer(kept.number, "<i8").astype(np.int64)
        self._raw = np.frombuffer(kept.raw, "<f8").astype(np.float64)
        self._by_model = np.frombuffer(kept.by_model, np.bool_).copy()
        self._labelled = np.frombuffer(kept.labelled, np.bool_).copy()
        self._hit = np.frombuffer(kept.hit, np.bool_).copy()
        self._watch = np.frombuffer(kept.watch, "<f8").astype(np.float64)
        if former:
            self._take_former(former)
        self._groups = GroupMemory(kept, groups, len(self.ids))
        self._known = set(self.ids)
        self._places: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def places(self) -> dict[str, int]:
        """Place of each answer, by id."""
        if self._places is None:
            self._places = {identifier: place for place, identifier in enumerate(self.ids)}
        return self._places

    def new(self, answers: Answers) -> Ints | None:
        """Know the answers' ids from now on; return the rows that are new, None for all."""
        ids, known = answers.ids, self._known
        if known.isdisjoint(ids):
            fresh = set(ids)
            if len(fresh) == len(ids):
                known |= fresh
                return None
        rows: list[int] = []
        for row, identifier in enumerate(ids):
            if identifier not in known:
                known.add(identifier)
                rows.append(row)
        return np.array(rows, dtype=np.int64)

    def remember(self, answers: Answers, layouts: Mapping[str, Layout]) -> dict[str, int]:
        """Keep what labels need of answers whose ids are new, in the same order.

        Returns:
            Why answers are in no group of a feature that is asked for, and how many are.
        """
        size = len(answers)
        by = np.array([text == "model" for text in answers.served_by.texts] + [False])
        own = np.array(
            [self._texts.setdefault(v, len(self._texts)) for v in answers.version.texts] + [-1],
            dtype=np.int64,
        )
        inside = (answers.raw >= 0) & (answers.raw <= 1)
        self._places = None
        self.ids += answers.ids
        self._items += answers.items
        self._version = np.concatenate((self._version, own[answers.version.codes]))
        self.number = np.concatenate((self.number, np.full(size, -1)))
        self._raw = np.concatenate((self._raw, np.where(inside, answers.raw, np.nan)))
        self._by_model = np.concatenate((self._by_model, by[answers.served_by.codes]))
        self._labelled = np.concatenate((self._labelled, np.zeros(size, np.bool_)))
        self._hit = np.concatenate((self._hit, np.zeros(size, np.bool_)))
        self._watch = np.concatenate((self._watch, np.full(size, np.nan)))
        return self._groups.add(answers, layouts)

    def count(self, identifier: str, reaction: Reaction) -> None:
        """Count one feedback on a remembered answer; the same again changes nothing."""
        item, event, watched = reaction
        place = self.places[identifier]
        self._labelled[place] = True
        if (watched is None and event not in _ENGAGED) or not self._shown(place, item):
            return
        if watched is not None:
            self._watch[place] = np.fmax(self._watch[place], watched)
        if event in _ENGAGED:
            self._hit[place] = True

    def _shown(self, place: int, item: str) -> bool:
        items: list[Any] = msgspec.msgpack.decode(self._items[place], type=list[Any])
        return any(str(one) == item for one in items)

    def quality(self, waiting: Waiting, service: str) -> Quality:
        """Return what became of the answers of a window."""
        code = self._texts.get(waiting.version, -2)
        own = self._by_model & (self.number == waiting.number) & (self._version == code)
        known = own & self._labelled & np.isfinite(self._raw)
        watched = known & np.isfinite(self._watch)
        marks = Marks(
            own=own, known=known, hit=self._hit, watched=watched, raw=self._raw,
            watch=self._watch,
        )  # fmt: skip
        return Quality(
            service=service,
            version=waiting.version,
            number=waiting.number,
            start=waiting.start,
            end=waiting.end,
            n=int(own.sum()),
            labelled=int(known.sum()),
            hits=int((known & self._hit).sum()),
            expected=float(self._raw[known].sum()),
            watch_n=int(watched.sum()),
            watch_sum=float(self._watch[watched].sum()),
            groups=self._groups.quality(waiting.version, marks),
        )

    def forgets(self, waiting: Waiting, over: int) -> bool:
        """Return whether any of a window's answers are among the oldest `over` ones."""
        if over <= 0:
            return False
        code = self._texts.get(waiting.version, -2)
        own = (self.number[:over] == waiting.number) & (self._version[:over] == code)
        return bool(own.any())

    def kept(self, most: int) -> Remembered:
        """Return the newest ones, to be stored."""
        low = max(0, len(self.ids) - most)
        codes, version = np.unique(self._version[low:], return_inverse=True)
        texts = {code: text for text, code in self._texts.items()}
        return Remembered(
            ids=tuple(self.ids[low:]),
            items=tuple(self._items[low:]),
            versions=tuple(texts.get(code, "") for code in codes.tolist()),
            version=version.astype("<i4").tobytes(),
            number=self.number[low:].astype("<i8").tobytes(),
            raw=self._raw[low:].astype("<f8").tobytes(),
            by_model=self._by_model[low:].tobytes(),
            labelled=self._labelled[low:].tobytes(),
            hit=self._hit[low:].tobytes(),
            watch=self._watch[low:].astype("<f8").tobytes(),
            groups=self._groups.kept(low),
            levels=self._groups.levels,
        )

    def _take_former(self, former: Mapping[str, Answered]) -> None:
        def column(values: Iterable[float | None]) -> "np.ndarray[Any, Any]":
            return np.array([np.nan if v is None else v for v in values], dtype=np.float64)

        rows: Sequence[Answered] = tuple(former.values())
        self.ids = [*former, *self.ids]
        self._items = [*(_packed(one.items) for one in rows), *self._items]
        codes = [self._texts.setdefault(one.version, len(self._texts)) for one in rows]
        self._version = np.concatenate((np.array(codes, np.int64), self._version))
        numbers = np.array([one.number for one in rows], np.int64)
        self.number = np.concatenate((numbers, self.number))
        self._raw = np.concatenate((column(one.raw for one in rows), self._raw))
        self._watch = np.concatenate((column(one.watch for one in rows), self._watch))
        for name, of in (
            ("_by_model", [one.by_model for one in rows]),
            ("_labelled", [one.labelled for one in rows]),
            ("_hit", [one.hit for one in rows]),
        ):
            setattr(self, name, np.concatenate((np.array(of, np.bool_), getattr(self, name))))


def _packed(items: str) -> bytes:
    """Return items between line feeds as a msgpack array of texts."""
    return msgspec.msgpack.encode([item for item in items.split("\n") if item])
