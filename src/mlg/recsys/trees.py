"""LightGBM, made deterministic and quiet, behind two small functions."""

import logging
from typing import Any

import lightgbm as lgb
import numpy as np

from mlg.recsys.columns import Codes, Floats, Floats32

THREADS = 2


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


lgb.register_logger(_Log())


class Ranker:
    """A trained LambdaMART model."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._booster: Any = lgb.Booster(model_str=text)
        self.rounds = int(self._booster.current_iteration())

    def score(self, rows: Floats) -> Floats:
        """Return a score for each row, shape ``(n,)``; single-threaded, for one request."""
        if not rows.shape[0]:
            return np.zeros(0)
        return np.asarray(
            self._booster.predict(rows, raw_score=True, num_threads=1), dtype=np.float64
        )

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
    held: tuple[Floats32, Codes, Codes],
    *,
    names: tuple[str, ...],
    seed: int,
    params: dict[str, Any],
) -> Ranker:
    """Return a LambdaMART ranker, stopped early on held-out queries.

    Args:
        rows: Features of the candidates of all queries, shape ``(n, f)``.
        labels: 1 for the item that came next, else 0, shape ``(n,)``.
        groups: Candidates in each query, shape ``(q,)``, adding up to n.
        held: The same three for the held-out queries.
        names: Names of the features.
        seed: Seed of sampling.
        params: Overrides of LightGBM's parameters; `rounds` bounds the trees.

    Source:
        C. J. C. Burges (2010), From RankNet to LambdaRank to LambdaMART, MSR-TR-2010-82;
        G. Ke et al. (2017), LightGBM, NIPS 30.
    """
    options: dict[str, Any] = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [10],
        "lambdarank_truncation_level": 20,
        "learning_rate": 0.06,
        "num_leaves": 15,
        "min_data_in_leaf": 200,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 10.0,
        "max_bin": 127,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": THREADS,
        "seed": seed,
        "verbosity": -1,
        **params,
    }
    rounds = int(options.pop("rounds", 150))
    patience = int(options.pop("patience", 25))
    safe = [name.replace(":", "_").replace(" ", "_") for name in names]
    data = lgb.Dataset(rows, labels, group=groups, feature_name=safe, free_raw_data=True)
    held_data = lgb.Dataset(held[0], held[1], group=held[2], reference=data)
    booster = lgb.train(
        options,
        data,
        rounds,
        valid_sets=[held_data],
        callbacks=[lgb.early_stopping(patience, verbose=False)],
    )
    best = booster.best_iteration or booster.current_iteration()
    return Ranker(booster.model_to_string(num_iteration=best))
