"""LightGBM, made deterministic and quiet, behind two small functions."""

import importlib
import logging
from functools import cache
from typing import Any

import numpy as np

from mlg.recsys.columns import Codes, Floats, Floats32

THREADS = 1
"""Fixed, so that results are equal everywhere; on two busy cores one thread was also five
times as fast as two, which wait for each other."""
_MANY_ROWS = 10_000
"""So many rows are scored by all cores."""


class _Log:
    """Sends LightGBM's own lines to the log instead of standard output."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("mlg.recsys.trees")

    def info(self, msg: str) -> None:
        """Keep an informative line at debug level."""
        self._logger.debug(msg)

    def warning(self, msg: str) -> None:
        """Keep a warning at debug level; what matters raises."""
        self._logger.debug(msg)


@cache
def _lightgbm() -> Any:
    """Return the package, imported with pandas only where a model has trees: 0.6 s, 60 MB."""
    package = importlib.import_module("lightgbm")
    package.register_logger(_Log())
    return package


class Ranker:
    """A trained LightGBM model, whose score is added to `blend` times stage 1's `base_z`."""

    def __init__(self, text: str, *, blend: float) -> None:
        self.text = text
        self.blend = blend
        self._booster: Any = _lightgbm().Booster(model_str=text)
        self.rounds = int(self._booster.current_iteration())

    def score(
        self, rows: Floats | Floats32, rounds: int | None = None, *, start: int = 0
    ) -> Floats:
        """Return the trees' score of each row, shape ``(n,)``.

        Args:
            rows: Features, shape ``(n, f)``.
            rounds: How many trees to add up; None takes all from `start` on.
            start: The first of them.
        """
        if not rows.shape[0]:
            return np.zeros(0)
        return np.asarray(
            self._booster.predict(
                rows,
                raw_score=True,
                # rows are independent: more threads change no score
                num_threads=THREADS if rows.shape[0] < _MANY_ROWS else 0,
                start_iteration=start,
                num_iteration=self.rounds - start if rounds is None else rounds,
            ),
            dtype=np.float64,
        )

    def kept(self, rounds: int, blend: float) -> "Ranker":
        """Return the ranker of the first so many trees with another blend."""
        return Ranker(self._booster.model_to_string(num_iteration=rounds), blend=blend)

    def importance(self) -> dict[str, float]:
        """Return each feature's share of the total gain."""
        gain = np.asarray(self._booster.feature_importance("gain"), dtype=np.float64)
        total = float(gain.sum()) or 1.0
        return {
            name: round(float(value) / total, 6)
            for name, value in zip(self._booster.feature_name(), gain, strict=True)
        }


def train_ranker(
    rows: Floats32,
    labels: Codes,
    groups: Codes,
    *,
    names: tuple[str, ...],
    seed: int,
    params: dict[str, Any],
) -> Ranker:
    """Return a ranker of gradient boosted trees, not yet stopped early.

    The default objective is P(the candidate came next) (`binary`): on the validation fold
    it ranked as well as `lambdarank`, in half the time; either may be asked for.

    Args:
        rows: Features of the candidates of all queries, shape ``(n, f)``.
        labels: 1 for the item that came next, else 0, shape ``(n,)``.
        groups: Candidates in each query, shape ``(q,)``, adding up to n.
        names: Names of the features.
        seed: Seed of sampling.
        params: Overrides of LightGBM's parameters; `rounds` bounds the trees.

    Source:
        G. Ke et al. (2017), LightGBM, NIPS 30; C. J. C. Burges (2010), From RankNet to
        LambdaRank to LambdaMART, MSR-TR-2010-82.
    """
    options: dict[str, Any] = {
        "objective": "binary",
        "metric": "None",
        "lambdarank_truncation_level": 20,
        "learning_rate": 0.07,
        "num_leaves": 31,
        "min_data_in_leaf": 200,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 10.0,
        "max_bin": 63,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": THREADS,
        "seed": seed,
        "verbosity": -1,
        **params,
    }
    rounds = int(options.pop("rounds", 200))
    safe = [name.replace(":", "_").replace(" ", "_") for name in names]
    lgb = _lightgbm()
    data = lgb.Dataset(rows, labels, group=groups, feature_name=safe, params=options)
    booster = lgb.train(options, data, rounds)
    return Ranker(booster.model_to_string(), blend=0.0)
