"""Tests of an interleaving experiment: which of two rankers do viewers take items of?

One viewer has one vote, for the team whose item was taken first; so a viewer who asks a
hundred times counts as much as one who asks once, and a vote once given never changes. If
both rankers are equally good, each vote is a fair coin, whatever the votes before. The
evidence is a product of bets on the next vote, a test martingale: by Ville's inequality it
exceeds 1/alpha with a chance of at most alpha, however often somebody looks.
"""

from typing import Final

from mlg.stats.sequential import log_e_below

LOSING: Final = (0.2, 0.4, 0.6, 0.7, 0.8, 0.86, 0.92, 0.96)
"""Shares of the votes under the null that the test of losing is mixed over, as parts of 1/2."""
FAULTY: Final = (1.5, 2.0, 4.0, 8.0, 16.0, 64.0)
"""Rates that the test of failing too often is mixed over, as multiples of the bound."""
_SURELY: Final = 0.999


def log_e_loses(wins: int, losses: int) -> float:
    """Return the log evidence that a ranker wins fewer than half of the votes.

    Args:
        wins: Votes for it, >= 0.
        losses: Votes for the other one, >= 0. Viewers without a vote are left out.

    Returns:
        Natural logarithm of the e-value against P(win) >= 1/2; 0 without votes.

    Raises:
        ValueError: A count is negative.

    Source:
        Sequential sign test as a mixture of likelihood ratios: A. Wald (1945), Annals of
        Mathematical Statistics 16(2); A. Ramdas et al. (2023), Game-theoretic statistics and
        safe anytime-valid inference, Statistical Science 38(4).

    Examples:
        >>> log_e_loses(0, 0), round(log_e_loses(2, 40), 1), log_e_loses(40, 2) < 0
        (0.0, 18.2, True)
    """
    return _below(wins, losses, 0.5, LOSING)


def log_e_not_losing(wins: int, losses: int, margin: float) -> float:
    """Return the log evidence that a ranker wins more than 1/2 - margin of the votes.

    Args:
        wins: Votes for it, >= 0.
        losses: Votes for the other one, >= 0.
        margin: How far below one half is still accepted, in (0, 1/2).

    Returns:
        Natural logarithm of the e-value against P(win) <= 1/2 - margin; 0 without votes.

    Raises:
        ValueError: A count is negative, or the margin out of its range.

    Source:
        As `log_e_loses`; non-inferiority by moving the null.

    Examples:
        >>> log_e_not_losing(50, 50, 0.2) > log_e_not_losing(50, 50, 0.1) > 0
        True
    """
    if not 0 < margin < 0.5:
        raise ValueError(f"expected a margin in (0, 1/2), got {margin}")
    # the share of losses is under 1/2 + margin; the alternatives lie around and below 1/2
    bound = 0.5 + margin
    parts = tuple((0.5 + margin * shift) / bound for shift in (0.5, 0.25, 0.0, -0.5, -1.0))
    return _below(losses, wins, bound, parts)


def log_e_fails(faults: int, answers: int, bound: float) -> float:
    """Return the log evidence that a ranker fails more often than it may.

    Args:
        faults: Answers that it failed to give, 0..answers.
        answers: How often it was asked.
        bound: Largest rate that is accepted, in (0, 1).

    Returns:
        Natural logarithm of the e-value against a rate <= bound; 0 when it was never asked.

    Raises:
        ValueError: The counts contradict each other, or the bound is out of its range.

    Source:
        As `log_e_loses`.

    Examples:
        >>> log_e_fails(4, 4, 0.005) > log_e_fails(1, 100, 0.005)
        True
    """
    if not 0 <= faults <= answers or not 0 < bound < 1:
        raise ValueError(f"expected faults in 0..answers, got {faults}, {answers}, {bound}")
    # "fails more often than bound" is "succeeds less often than 1 - bound"
    rates = sorted({min(_SURELY, max(bound, bound * times)) for times in FAULTY} - {bound})
    if not rates:
        return 0.0
    parts = tuple((1.0 - rate) / (1.0 - bound) for rate in rates)
    return log_e_below(answers - faults, answers, 1.0 - bound, parts=parts)


def _below(hits: int, misses: int, bound: float, parts: tuple[float, ...]) -> float:
    if min(hits, misses) < 0:
        raise ValueError(f"expected counts >= 0, got {hits} and {misses}")
    return log_e_below(hits, hits + misses, bound, parts=parts)
