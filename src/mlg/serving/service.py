"""One service version in one process: a query in, a logged answer out."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mlg.core.clock import Clock
from mlg.core.errors import LifecycleError
from mlg.core.ports import Ids
from mlg.core.predict import Key, Prediction, Query, Ranked, ServingPolicy
from mlg.serving.cache import ResultCache
from mlg.serving.confidence import shown_confidence
from mlg.serving.instruments import Instruments
from mlg.serving.log import Circumstances, hashed
from mlg.serving.ranker import (
    Decision,
    PopularityList,
    Recommender,
    decide,
    popular,
    seen_items,
)
from mlg.serving.requests import DEFAULT_K, ClockMode
from mlg.serving.sanity import fault_of

_LOG: Final = logging.getLogger("mlg.serving")


class FaultError(LifecycleError):
    """The model's answer may not leave the process; the gateway asks another one.

    Args:
        fault: One word for the header `mlg-fault`.
    """

    code = "fault"
    http_status = 500

    def __init__(self, fault: str) -> None:
        super().__init__(f"the answer was withheld: {fault}", hint="see the replica's log.")
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What this process serves, and under which names."""

    service: str
    model: str
    version: str
    arm: str = ""
    """Label of the group of replicas, for requests that no gateway gave to a version."""
    clock: ClockMode = "system"
    default_k: int = DEFAULT_K
    nonce: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the log keeps of a request beside its query."""

    session: str | None
    arm: str
    """Version or label that the gateway gave the request to, whoever answers it now."""
    received_at: datetime
    started_s: float
    """Clock's monotonic seconds when the whole body was there."""
    shadow: bool = False
    """Whether it is a copy of a request that another version answers."""


class PopularityOnly:
    """The recommender of the fallback server: the list, without any model.

    Args:
        listed: The list; an empty one gives empty answers.
    """

    def __init__(self, listed: PopularityList) -> None:
        self.popularity = listed
        self.logged_features: tuple[str, ...] = ()
        self.longest_history = 0
        self._known = frozenset(listed.items)

    def recommend(self, query: Query) -> Ranked:
        """Return the first items of the list that the viewer has not seen."""
        return popular(self.popularity, query.k, seen_items(query))

    def is_known_item(self, item: Key) -> bool:
        """Return whether the list has the item."""
        return item in self._known


class Service:
    """Ranks, decides between model and list, checks, and says what to log.

    Args:
        identity: What is served.
        recommender: The loaded model, or `PopularityOnly`.
        rescue: True in the fallback server, whose every answer is a rescue.
        policy: Returns the policy in force.
        clock: Event time, and monotonic seconds for latency.
        ids: Where prediction ids come from.
        draw: Uniform numbers in [0, 1) for exploration.
        salt: Fresh random salt as hex, 16 bytes, one a row.
        viewer_key: Key of the HMAC under which viewers and sessions are logged.
        instruments: Metrics of this process.
        cache: Keeps the model's answers; None: each request is ranked.
        strict: Whether the list is part of the model's catalogue, so that an answer must be
            as long as the list can make it; if not, one item is enough.
    """

    def __init__(
        self,
        identity: Identity,
        recommender: Recommender,
        *,
        rescue: bool,
        policy: Callable[[], ServingPolicy],
        clock: Clock,
        ids: Ids,
        draw: Callable[[], float],
        salt: Callable[[], str],
        viewer_key: bytes,
        instruments: Instruments,
        cache: ResultCache | None = None,
        strict: bool = True,
    ) -> None:
        self._strict = strict
        self.identity, self.clock, self.instruments = identity, clock, instruments
        self._recommender, self._rescue = recommender, rescue
        self._policy, self._ids, self._draw, self._salt = policy, ids, draw, salt
        # a model says that it never gives what was met already; others may
        self._repeats = bool(getattr(recommender, "repeats", True))
        self._viewer_key, self._cache = viewer_key, cache
        self._listed = recommender.popularity
        self._listed_items = frozenset(self._listed.items)
        self.whole = all(isinstance(item, int) for item in self._listed.items)
        """Whether items are whole numbers, as far as the list shows."""

    def answer(self, query: Query, asked: Asked) -> tuple[Prediction, Circumstances]:
        """Return the answer, and what the log keeps beside it.

        Raises:
            FaultError: The model failed, or its answer is not sane.
        """
        return self.decided(query, asked, self.rank(query))

    def kept(self, query: Query) -> Ranked | None:
        """Return the model's answer if the cache has it; counts hits and misses."""
        if self._cache is None:
            return None
        found = self._cache.get(query, self._policy().version)
        self.instruments.looked_up(hit=found is not None)
        return found

    def keep(self, query: Query, ranked: Ranked) -> None:
        """Let the cache have the model's answer, if there is one."""
        if self._cache is not None:
            self._cache.put(query, self._policy().version, ranked)

    def decided(
        self, query: Query, asked: Asked, ranked: Ranked
    ) -> tuple[Prediction, Circumstances]:
        """Return who answers and with what, given the model's own answer."""
        policy = self._policy()
        if self._rescue:
            decision = Decision(served_by="fallback", reason="rescue", propensity=1.0)
        elif not ranked.judged:
            decision = Decision(served_by="model", reason="ranked", propensity=1.0)
        else:
            decision = decide(ranked.raw_confidence, policy, self._draw)
        shown = ranked
        confidence = self._listed.hit_rate
        if decision.served_by == "model":
            confidence = shown_confidence(ranked.raw_confidence, policy.drift_severity)
        elif not self._rescue:
            shown = popular(self._listed, query.k, seen_items(query))
        identity = self.identity
        prediction = Prediction(
            prediction_id=self._ids.new_id(),
            service=identity.service,
            version=identity.version,
            policy=policy.version,
            items=shown.items,
            scores=shown.scores,
            raw_confidence=ranked.raw_confidence,
            confidence=confidence,
            served_by=decision.served_by,
            reason=decision.reason,
            at=query.at,
            latency_ms=1e3 * (self.clock.monotonic_s() - asked.started_s),
        )
        around = Circumstances(
            viewer=hashed(self._viewer_key, query.user_id),
            session=hashed(self._viewer_key, asked.session),
            salt=self._salt(),
            received_at=asked.received_at,
            features=ranked.features,
            arm=asked.arm or identity.arm or identity.version,
            propensity=decision.propensity,
            given=bool(query.viewer),
        )
        return prediction, around

    def rank(self, query: Query) -> Ranked:
        """Return the model's own answer if it is sane; nothing is logged or counted but faults.

        Raises:
            FaultError: The model failed, or its answer is not sane.
        """
        try:
            ranked = self._recommender.recommend(query)
        except Exception as error:
            _LOG.exception("the model failed on a request")
            raise self._fault("error") from error
        self._check(query, ranked)
        return ranked

    def rank_many(self, queries: Sequence[Query]) -> list[Ranked | Exception]:
        """Return the model's answer to each query in order, or the FaultError of that one.

        A model that fails on all of them together is asked for each alone.
        """
        many = getattr(self._recommender, "recommend_many", None)
        answers: list[Ranked] | None = None
        if many is not None and len(queries) > 1:
            try:
                answers = list(many(queries))
            except Exception:  # noqa: BLE001 - each is asked alone, and then it is raised
                _LOG.exception("the model failed on a batch")
        if answers is None or len(answers) != len(queries):
            return [self._or_fault(self.rank, query) for query in queries]
        pairs = zip(queries, answers, strict=True)
        return [self._or_fault(self._checked, query, answer) for query, answer in pairs]

    @staticmethod
    def _or_fault(rank: Callable[..., Ranked], *given: object) -> Ranked | Exception:
        try:
            return rank(*given)
        except FaultError as error:
            return error

    def _checked(self, query: Query, ranked: Ranked) -> Ranked:
        self._check(query, ranked)
        return ranked

    def _check(self, query: Query, ranked: Ranked) -> None:
        try:
            fault = fault_of(
                ranked,
                k=query.k,
                at_least=self._fillable(query),
                known=self._recommender.is_known_item,
                met=() if self._repeats else _met(query),
                features=len(self._recommender.logged_features),
            )
        except Exception as error:  # what is no answer at all, as of a class of the user's
            _LOG.exception("the model's answer cannot be read")
            raise self._fault("error") from error
        if fault is not None:
            _LOG.error("answer withheld", extra={"fault": fault})
            raise self._fault(fault)

    def _fillable(self, query: Query) -> int:
        """Return how many items an answer surely can have: the list is in the catalogue."""
        if not self._strict:
            return min(1, len(self._listed_items))
        if query.history is None and query.user_id is not None:
            # the artifact bars what it knows of this viewer: at most its longest history
            count = len(self._listed_items)
            surely = min(query.k, count - self._recommender.longest_history)
            return max(min(1, count), surely)
        # the model may know an item by more than one id, such as 1 and "1": it says what it met
        asked = {event.item_id for event in query.history or ()}
        met = sum(map(self._recommender.is_known_item, asked))
        return max(0, min(query.k, len(self._listed_items) - met))

    def _fault(self, fault: str) -> FaultError:
        self.instruments.fault(fault)
        return FaultError(fault)


def _met(query: Query) -> frozenset[Key]:
    """Return the items that the request's history says were had before it."""
    return frozenset(
        event.item_id
        for event in query.history or ()
        if event.event != "impression" and (event.at is None or event.at < query.at)
    )
