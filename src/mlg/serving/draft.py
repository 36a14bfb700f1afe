"""One list of two rankers' lists, by team draft: who placed which item is known.

Interleaving compares two rankers on the same viewer in the same second, so that what
viewers differ in, and the hour of the day, do not blur the comparison as in an A/B test.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mlg.core.predict import Key

CANDIDATE: Final = "c"
STABLE: Final = "s"
"""The team that an item was drafted by; as a capital when the other team would have taken
the same item at that moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """An interleaved list."""

    items: tuple[Key, ...]
    teams: str
    """One letter an item: `c` or `C` the candidate's, `s` or `S` the stable version's."""


def team_draft(
    candidate: Sequence[Key], stable: Sequence[Key], k: int, draw: Callable[[], float]
) -> Drafted:
    """Return the list that two teams draft in turns, as captains choose players.

    In each round a coin says who chooses first; each team then takes its best item that is
    not taken yet. A team whose list has run out takes none. Where both teams would take the
    same item, the coin alone decides whose it is; such a place is marked by a capital, as it
    tells nothing of who ranks better. Two equal lists give just that list.

    Args:
        candidate: One ranker's items, best first, none twice.
        stable: The other's.
        k: Most items of the list, >= 0.
        draw: Uniform numbers in [0, 1), one a round.

    Returns:
        min(k, number of different items) items, none twice; empty lists give an empty one.

    Source:
        F. Radlinski, M. Kurup and T. Joachims (2008), How does clickthrough data reflect
        retrieval quality?, CIKM, algorithm 2 (team-draft interleaving).

    Examples:
        >>> team_draft("abc", "bac", 3, lambda: 0.0)
        Drafted(items=('a', 'b', 'c'), teams='cSC')
        >>> team_draft("abc", "abc", 2, lambda: 0.9)
        Drafted(items=('a', 'b'), teams='SC')
    """
    lists = {CANDIDATE: candidate, STABLE: stable}
    places = {CANDIDATE: 0, STABLE: 0}
    taken: dict[Key, str] = {}

    def best(team: str) -> Key | None:
        """Return the team's best item that is not taken."""
        ranked = lists[team]
        while places[team] < len(ranked) and ranked[places[team]] in taken:
            places[team] += 1
        return ranked[places[team]] if places[team] < len(ranked) else None

    while len(taken) < k:
        first, second = (CANDIDATE, STABLE) if draw() < 0.5 else (STABLE, CANDIDATE)
        before = len(taken)
        for team, other in ((first, second), (second, first)):
            item = best(team)
            if item is not None and len(taken) < k:
                taken[item] = team.upper() if item == best(other) else team
        if len(taken) == before:
            break
    return Drafted(items=tuple(taken), teams="".join(taken.values()))
