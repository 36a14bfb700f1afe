"""What viewers took of interleaved lists: a vote a viewer, and what went wrong meanwhile.

A fold over the log from the phase's first record, so it can be made again at any time. What
a row says of its list is in its field `interleaved`; rows without it are of no interest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from mlg.core.traffic import version_of

ENGAGED: Final = frozenset(("play", "complete"))


@dataclass(frozen=True, slots=True)
class _Shown:
    who: str
    teams: dict[str, str]
    """Team by item, as the log has it: a capital where both would have taken it."""


@dataclass(slots=True, kw_only=True)
class Drafts:
    """The interleaved lists of one group; feed it every record once or more, in any order.

    Args:
        label: The group, as the rows' `arm` names it.

    Examples:
        >>> drafts = Drafts(label="v2~interleaved")
        >>> row = {"prediction_id": "p", "arm": "v2~interleaved", "items": [7, 8],
        ...        "viewer": "ann", "interleaved": {"teams": "cS", "beside": "v1"}}
        >>> drafts.add([row, row], [{"prediction_id": "p", "item_id": 7, "event": "play"}])
        >>> (drafts.answers, drafts.votes("c"), drafts.votes("s"))
        (1, 1, 0)
    """

    label: str
    answers: int = 0
    """Requests that the group answered, with a list of both or of the stable version alone."""
    alone: dict[str, int] = field(default_factory=dict[str, int])
    """Answers with the stable version's list alone, by why."""
    latency_ms: list[float] = field(default_factory=list[float])
    """Of lists of both: the ranking of both included."""
    newest_at: str = ""
    """Largest event time of an answer, RFC 3339; empty before the first one."""
    _first: dict[str, str] = field(default_factory=dict[str, str])
    """Team of the first item that each viewer took, coins included."""
    _distinct: dict[str, str] = field(default_factory=dict[str, str])
    """The same, among items that only one team would have taken."""
    _shown: dict[str, _Shown | None] = field(default_factory=dict[str, _Shown | None])
    _early: dict[str, list[Mapping[str, Any]]] = field(
        default_factory=dict[str, list[Mapping[str, Any]]]
    )

    def votes(self, team: str, *, coins: bool = False) -> int:
        """Return how many viewers voted for a team, `c` or `s`.

        Args:
            team: Whose votes.
            coins: Whether items count that both would have taken, and a coin gave to one.
        """
        cast = self._first if coins else self._distinct
        return sum(vote == team for vote in cast.values())

    @property
    def drafted(self) -> int:
        """Answers with a list of both."""
        return len(self.latency_ms)

    def add(
        self, predictions: Sequence[Mapping[str, Any]], feedback: Sequence[Mapping[str, Any]]
    ) -> None:
        """Count the records; one that came before is not counted again.

        Args:
            predictions: Decoded rows of the prediction log.
            feedback: Decoded rows of the feedback log; may come before their answers.
        """
        for row in predictions:
            self._answer(row)
        for row in feedback:
            name = str(row.get("prediction_id"))
            if name not in self._shown:
                self._early.setdefault(name, []).append(row)
            else:
                self._react(self._shown[name], row)

    def _answer(self, row: Mapping[str, Any]) -> None:
        name, told = str(row.get("prediction_id") or ""), row.get("interleaved")
        if not name or name in self._shown or row.get("arm") != self.label:
            return
        if not isinstance(told, Mapping):
            # the gateway rescued it: the group itself did not answer
            self._shown[name] = None
            return
        self.answers += 1
        self.newest_at = max(self.newest_at, str(row.get("at") or ""))
        items, teams = row.get("items") or (), str(told.get("teams") or "")
        if not teams or len(teams) != len(items):
            why = str(told.get("alone") or "unknown")
            self.alone[why] = self.alone.get(why, 0) + 1
            self._shown[name] = None
        else:
            took = row.get("latency_ms")
            finite = isinstance(took, int | float) and isfinite(took)
            self.latency_ms.append(float(took) if finite and took is not None else 0.0)
            who = str(row.get("viewer") or row.get("session") or name)
            given = dict(zip(map(str, items), teams, strict=True))
            self._shown[name] = _Shown(who, given)
        for early in self._early.pop(name, ()):
            self._react(self._shown[name], early)

    def _react(self, shown: _Shown | None, row: Mapping[str, Any]) -> None:
        if shown is None or row.get("event") not in ENGAGED:
            return
        team = shown.teams.get(str(row.get("item_id")))
        if team is None:
            return
        self._first.setdefault(shown.who, team.lower())
        if team.islower():
            self._distinct.setdefault(shown.who, team)

    @property
    def candidate(self) -> str:
        """The version whose lists are interleaved with the stable one's."""
        return version_of(self.label)
