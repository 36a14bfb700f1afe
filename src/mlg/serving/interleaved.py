"""One process that ranks each request with two versions and shows one list of both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mlg.core.predict import Prediction, Query, Ranked
from mlg.serving.confidence import shown_confidence
from mlg.serving.draft import team_draft
from mlg.serving.log import Circumstances
from mlg.serving.ranker import Recommender
from mlg.serving.service import Asked, FaultError, Identity, Service

Alone = Literal["candidate_failed", "candidate_abstained", "stable_abstained"]
"""Why the stable version's answer was shown as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedTwice(Ranked):
    """The candidate's answer with the stable version's beside it."""

    stable: Ranked
    failed: bool = False
    """The candidate gave no sane answer; then the items are the stable version's."""


class InterleavedService(Service):
    """A service whose lists are drafted by the candidate and by what serves now.

    What the stable version would answer alone is answered whenever one of the two abstains
    or the candidate fails. Where the stable version fails the request does, as it would
    elsewhere, and the gateway asks another replica.

    Args:
        identity: Of the candidate; its `arm` is the group's label.
        recommender: The candidate.
        beside: The version that serves now.
        beside_version: Its name.
        ports: As `Service` has them.
    """

    def __init__(
        self,
        identity: Identity,
        recommender: Recommender,
        *,
        beside: Recommender,
        beside_version: str,
        **ports: Any,
    ) -> None:
        super().__init__(identity, recommender, **ports)
        self._candidate = Service(identity, recommender, **ports)
        self._stable = Service(replace(identity, version=beside_version), beside, **ports)
        self._beside = beside_version
        self._drawn: Callable[[], float] = ports["draw"]
        self._in_force = ports["policy"]

    def rank(self, query: Query) -> Ranked:
        """Return both versions' answers; only the stable version's failure is one.

        Raises:
            FaultError: The stable version failed, or its answer is not sane.
        """
        stable = self._stable.rank(query)
        return self._both(stable, self._or_fault(self._candidate.rank, query))

    def rank_many(self, queries: Sequence[Query]) -> list[Ranked | Exception]:
        """Return both versions' answers to each query, or the stable version's FaultError."""
        stable = self._stable.rank_many(queries)
        candidate = self._candidate.rank_many(queries)
        return [
            one if isinstance(one, Exception) else self._both(one, other)
            for one, other in zip(stable, candidate, strict=True)
        ]

    @staticmethod
    def _both(stable: Ranked, candidate: Ranked | Exception) -> RankedTwice:
        failed = isinstance(candidate, Exception)
        own = stable if isinstance(candidate, Exception) else candidate
        return RankedTwice(
            items=own.items,
            scores=own.scores,
            raw_confidence=own.raw_confidence,
            features=() if failed else own.features,
            judged=own.judged,
            stable=stable,
            failed=failed,
        )

    def decided(
        self, query: Query, asked: Asked, ranked: Ranked
    ) -> tuple[Prediction, Circumstances]:
        """Return the list of both, or the stable version's own answer, and why.

        Raises:
            FaultError: The answer is not one of `rank`'s.
        """
        if not isinstance(ranked, RankedTwice):
            raise FaultError("error")
        given, around = self._stable.decided(query, asked, ranked.stable)
        around = replace(around, arm=asked.arm or self.identity.arm, features=())
        policy = self._in_force()
        unsure = ranked.judged and ranked.raw_confidence < policy.abstain_below
        alone: Alone | None = None
        if ranked.failed:
            alone = "candidate_failed"
        elif given.served_by != "model":
            alone = "stable_abstained"
        elif unsure:
            alone = "candidate_abstained"
        if alone is not None:
            told = {"beside": self._beside, "teams": "", "alone": alone}
            return given, replace(around, interleaved=told)
        drafted = team_draft(ranked.items, ranked.stable.items, query.k, self._drawn)
        shown = replace(
            given,
            version=self.identity.version,
            items=drafted.items,
            # the two versions' scores have no common scale: the place is what they agree on
            scores=tuple(1.0 / place for place in range(1, len(drafted.items) + 1)),
            raw_confidence=ranked.raw_confidence,
            confidence=shown_confidence(ranked.raw_confidence, policy.drift_severity),
            latency_ms=1e3 * (self.clock.monotonic_s() - asked.started_s),
        )
        told = {"beside": self._beside, "teams": drafted.teams}
        return shown, replace(around, features=ranked.features, interleaved=told)
