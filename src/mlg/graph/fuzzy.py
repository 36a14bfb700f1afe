"""Misspelt words of a search, corrected by the words that the graph knows; pure.

Only a word that nothing in the graph begins with counts as misspelt, so what is spelt right
is never changed. Which words to compare with is handed in: an adapter reads those that begin
as `beginnings` says, which keeps the work small in a vocabulary of millions.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, islice, pairwise, product
from typing import Final

LONGEST: Final = 64
"""Longer words are not corrected; digests are as long as that."""
MOST_QUERIES: Final = 5
"""Corrected searches that are tried, the likeliest first."""

Term = tuple[str, int]
"""A word of the vocabulary and in how many nodes it stands."""


def allowed(word: str) -> int:
    """Return how many slips a word of this length may have: 0, 1 or 2.

    Examples:
        >>> [allowed(word) for word in ("ab", "home", "ranker")]
        [0, 1, 2]
    """
    if len(word) > LONGEST:
        return 0
    return (len(word) > 2) + (len(word) > 5)


def beginnings(word: str) -> tuple[str, ...]:
    """Return how the right word may begin: the slip is behind two letters, or one of them.

    The first two letters may be right, swapped, or have one too many; a wrong or missing
    letter among them is not found.

    Examples:
        >>> beginnings("rnaker")
        ('rn', 'nr', 'ra', 'na')
        >>> beginnings("ab")
        ()
    """
    if not allowed(word):
        return ()
    first, second, third = word[:3]
    pairs = (first + second, second + first, first + third, second + third)
    return tuple(dict.fromkeys(pairs))


def distance(a: str, b: str, most: int = 2) -> int | None:
    """Return the Damerau-Levenshtein distance of two words, or None when it is above `most`.

    The fewest insertions, deletions, changes of one letter and swaps of two neighbours; letters
    between two swapped ones may change too.

    Args:
        a: One word.
        b: The other.
        most: Largest distance of interest, at least 0.

    Source:
        R. Lowrance, R. A. Wagner (1975), J. ACM 22(2):177-183.

    Examples:
        >>> distance("rnaker", "ranker"), distance("ca", "abc"), distance("home", "house", 1)
        (1, 2, None)
    """
    if abs(len(a) - len(b)) > most:
        return None
    far = len(a) + len(b)
    table = [[far] * (len(b) + 2) for _ in range(len(a) + 2)]
    for i in range(len(a) + 1):
        table[i + 1][1] = i
    for j in range(len(b) + 1):
        table[1][j + 1] = j
    seen: dict[str, int] = {}
    for i, x in enumerate(a, 1):
        matched = 0
        for j, y in enumerate(b, 1):
            row, column = seen.get(y, 0), matched
            if x == y:
                matched = j
            table[i + 1][j + 1] = min(
                table[i][j] + (x != y),
                table[i + 1][j] + 1,
                table[i][j + 1] + 1,
                table[row][column] + (i - row - 1) + 1 + (j - column - 1),
            )
        seen[x] = i
    found = table[-1][-1]
    return found if found <= most else None


def corrections(word: str, terms: Iterable[Term], most: int = 3) -> tuple[str, ...]:
    """Return what a word may have been meant as, the likeliest first; empty when it is right.

    Fewer slips come first, then words of more nodes. A word that a term begins with is right.

    Args:
        word: As it was typed, folded as the terms are.
        terms: Words to compare with.
        most: How many to return.

    Examples:
        >>> corrections("rnaker", [("ranker", 9), ("banker", 50), ("ranked", 2)])
        ('ranker', 'banker', 'ranked')
        >>> corrections("rank", [("ranker", 9), ("bank", 50)])
        ()
    """
    slips = allowed(word)
    found: list[tuple[int, int, str]] = []
    for term, count in terms:
        if term.startswith(word):
            return ()
        apart = distance(word, term, slips)
        if apart is not None:
            found.append((apart, -count, term))
    return tuple(term for _, _, term in sorted(found)[:most])


def corrected(
    phrases: Sequence[Sequence[str]],
    known: Callable[[str], bool],
    terms: Callable[[str], Iterable[Term]],
) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Return searches to try when the one that was typed finds nothing; the likeliest first.

    Args:
        phrases: The words typed, each cut into the pieces that are indexed.
        known: Whether any term begins with a piece.
        terms: Words to compare a piece with.

    Returns:
        Searches in the shape of `phrases`; empty when nothing is misspelt, or some piece is
        like nothing known.

    Examples:
        >>> corrected([["rnaker"]], lambda _: False, lambda _: [("ranker", 1)])
        ((('ranker',),),)
    """
    typed = tuple(piece for phrase in phrases for piece in phrase)
    choices = [
        (piece,) if known(piece) else corrections(piece, terms(piece)) for piece in typed
    ]
    ends = [0, *accumulate(len(phrase) for phrase in phrases)]
    return tuple(
        tuple(choice[begin:end] for begin, end in pairwise(ends))
        for choice in islice(product(*choices), MOST_QUERIES)
        if choice != typed
    )
