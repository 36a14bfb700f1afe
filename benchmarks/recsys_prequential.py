"""The example's ranker beside plain peers on the last fifth of MovieLens-100k, in one run.

How to run, from a checkout whose environment `make test` made (about four minutes, 2 cores):

    .venv/bin/python benchmarks/recsys_prequential.py [--json FILE] [--no-implicit]

Needs only the checkout: the data come from the cache, or are fetched as the demo fetches
them. `implicit` (ALS, cosine item-knn) is no dependency: the first run installs it into a
virtual environment of its own below the user's cache; where that fails, its rows are left
out and the reason is printed.

Protocol: everyone is fitted once on the events before the cut of `examples/movies/mlg.yaml`
(80 %), the peers on who met what (any rating is one). Each later event is predicted from the
viewer's strictly earlier events, held-out ones included, among all items that he has not
met. `popularity_*` count on as time passes, and what the peers answer to a viewer without a
history is `popularity_7d`; `mlg` knows nothing after the cut but the viewer's own history.
The peers' settings are their defaults, fixed beforehand; ours were chosen before the cut.
Test events are met once per subject. A hit is what the viewer met next: this says nothing
about items that were never shown.
"""  # noqa: INP001 - a script, no package

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import ibis
import numpy as np
from ruamel.yaml import YAML

from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.source_datasets import cache_root
from mlg.adapters.sources import Sources
from mlg.core.clock import parse_time
from mlg.recsys import baselines, kinds
from mlg.recsys.columns import table_of, to_us
from mlg.recsys.evaluate import compare, figures, prequential
from mlg.recsys.events import log_of, vocabularies
from mlg.recsys.results import Evaluation, Scored
from mlg.recsys.roles import Roles, roles_from

PROJECT = Path(__file__).resolve().parent.parent / "examples" / "movies"
FIGURES = ("ndcg@10", "recall@10", "recall@50")
FACTORS, PENALTY = 64, 0.01
"""Of the ALS; `implicit`'s own defaults are 100 and 0.01."""
NEIGHBOURS = 20
"""`implicit`'s default."""

PEER = f"""
import sys, warnings
import numpy as np, scipy.sparse as sp
from threadpoolctl import threadpool_limits
warnings.simplefilter("ignore")
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
threadpool_limits(1, "blas")
given = np.load(sys.argv[1])
shape = tuple(given["shape"])
met = sp.csr_matrix((np.ones(given["viewer"].size, np.float32),
                     (given["viewer"], given["item"])), shape=shape)
met.data[:] = 1.0
als = AlternatingLeastSquares(factors={FACTORS}, regularization={PENALTY}, iterations=15,
                              random_state=7, num_threads=1)
als.fit(met, show_progress=False)
knn = CosineRecommender(K={NEIGHBOURS}, num_threads=1)
knn.fit(met, show_progress=False)
np.savez(sys.argv[2], factors=als.item_factors, knn=knn.similarity.toarray())
"""


def tables_and_step() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tables of the example's pipeline, and its train step."""
    sys.path.insert(0, str(PROJECT))
    features = importlib.import_module("movies.features")

    manifest = YAML(typ="safe").load(PROJECT / "mlg.yaml")
    steps = manifest["pipelines"]["ranker"]["steps"]
    sources = Sources(cache_root(), HttpNetwork())
    con = ibis.duckdb.connect()
    found: dict[str, Any] = {}
    for name, spec in manifest["datasets"].items():
        file = sources.file(spec["source"]["uri"], PROJECT, {})
        found[name] = con.read_csv(str(file.path), table_name=name)
    found["clean_ratings"] = con.create_table(
        "clean_ratings", con.sql((PROJECT / steps["clean"]["sql"]).read_text())
    )
    found["item_stats"] = con.create_table("item_stats", features.item_stats(found, {}))
    found["train_set"] = features.build(found, {})
    train = steps["train"]
    return {name: found[name].to_pyarrow() for name in train["in"]}, train


def implicit_fitted(stream: baselines.Stream, say: Callable[[str], None]) -> dict[str, Any]:
    """Return what `implicit` learned before the cut; empty, with a line, where it cannot."""
    home = cache_root().parent / "bench" / "implicit"
    python = home / "bin" / "python"
    try:
        if not python.exists():
            venv.create(home, with_pip=True)
        check = [str(python), "-c", "import implicit, threadpoolctl"]
        if subprocess.run(check, capture_output=True, check=False).returncode:
            install = [str(python), "-m", "pip", "install", "-q"]
            subprocess.run(
                [*install, "implicit>=0.7.2,<0.8", "threadpoolctl"], check=True, timeout=600
            )
        with tempfile.TemporaryDirectory() as scratch:
            given, made = Path(scratch) / "given.npz", Path(scratch) / "made.npz"
            train = stream.log.span(0, stream.start)
            shape = (len(stream.viewers.ids), len(stream.items.ids))
            np.savez(given, viewer=train.viewer, item=train.item, shape=shape)
            command = [str(python), "-c", PEER, str(given), str(made)]
            subprocess.run(
                command,
                check=True,
                timeout=600,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
            with np.load(made) as content:
                return {name: content[name] for name in content.files}
    except (OSError, subprocess.SubprocessError) as error:
        say(f"implicit: left out ({error})")
        return {}


def als(stream: baselines.Stream, factors: Any) -> Scored:
    """Return ALS whose viewer's factors are solved anew from his history at each event.

    As `implicit` does it where every confidence is 1: the solution is linear in the history.
    """
    factors = factors.astype(np.float64)
    gram = factors.T @ factors + PENALTY * np.eye(factors.shape[1])
    return baselines.linear(
        stream, (factors @ np.linalg.solve(gram, factors.T)).astype(np.float32)
    )


def rows_of(
    evaluation: Evaluation, extra: dict[str, dict[str, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return a row for each figure, segment and subject, with the ratio to mlg's own."""
    results = {**evaluation.results, **extra}
    rows: list[dict[str, Any]] = []
    for segment in ("all", "warm", "cold"):
        for figure in FIGURES:
            own = results["mlg"][segment][figure].value
            for subject, segments in results.items():
                found = segments[segment][figure]
                rows.append(
                    {
                        "work": f"{figure} {segment}",
                        "subject": subject,
                        "value": round(found.value, 4),
                        "low": round(found.low, 4),
                        "high": round(found.high, 4),
                        "unit": "1",
                        "runs": 1,
                        "ratio_to_mlg": round(found.value / own, 4) if own else None,
                    }
                )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as one Markdown table, a subject a line."""
    works = [f"{figure} {segment}" for segment in ("all", "warm", "cold") for figure in FIGURES]
    kept = [work for work in works if not work.startswith("recall@10")]
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    value = {(row["subject"], row["work"]): row["value"] for row in rows}
    order = sorted(subjects, key=lambda subject: -value[subject, works[0]])
    lines = [f"| subject | {' | '.join(kept)} |", "| --- |" + " --- |" * len(kept)]
    lines += [
        f"| {subject} | " + " | ".join(f"{value[subject, work]:.4f}" for work in kept) + " |"
        for subject in order
    ]
    return "\n".join(lines)


def machine() -> str:
    """Return what this ran on, in words."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(*, implicit: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Fit and score every subject once and return the rows."""
    tables, step = tables_and_step()
    roles: Roles = roles_from(step["roles"])
    begin = perf_counter()
    fitted = kinds.fit(
        step["model"], tables, roles, step.get("params", {}), step["seed"], "ranker", say
    )
    say(f"mlg fitted in {perf_counter() - begin:.1f} s: {fitted.facts}")
    cut = parse_time(str(fitted.facts["cut"]))
    begin = perf_counter()
    evaluation = prequential({"mlg": kinds.recommender(fitted)}, tables, roles, cut)
    say(f"mlg and the baselines scored in {perf_counter() - begin:.1f} s")
    viewers, items = vocabularies(tables, roles)
    log = log_of(table_of(tables, roles.interactions.table), roles, viewers, items)
    stream = baselines.Stream(log, viewers, items, log.first_at_or_after(to_us(cut)))
    peers: dict[str, Scored] = {}
    if implicit and (made := implicit_fitted(stream, say)):
        peers["implicit_als"] = als(stream, made["factors"])
        knn = made["knn"].astype(np.float32)
        np.fill_diagonal(knn, 0.0)
        counts = np.bincount(log.item[: stream.start], minlength=len(items.ids))
        least = 1e-6 * counts / counts.max()  # few neighbours leave most items at 0: no ties
        peers["implicit_itemknn"] = baselines.by_history(
            stream, lambda met: knn[met].sum(axis=0) + least
        )
    for name, scored in [*evaluation.scored.items(), *peers.items()]:
        if name != "mlg":
            found = compare(evaluation.scored["mlg"], scored, "ndcg@10")
            say(
                f"mlg - {name}: ndcg@10 {found.value:+.4f} "
                f"[{found.low:+.4f}, {found.high:+.4f}], 95 %, paired by viewer"
            )
    calibration = evaluation.results["mlg"]
    for segment in ("all", "warm", "cold"):
        found = {name: calibration[segment][name] for name in ("ece", "brier", "aurc")}
        words = ", ".join(
            f"{name} {one.value:.4f} [{one.low:.4f}, {one.high:.4f}]"
            for name, one in found.items()
        )
        say(f"mlg's confidence, {segment}: {words}")
    extra = {
        name: {
            segment: figures(scored, stream, mask, (10, 50), 0)
            for segment, mask in stream.segments.items()
        }
        for name, scored in peers.items()
    }
    return rows_of(evaluation, extra)


def main() -> None:
    """Run, print the table, and write the JSON where one was asked for."""
    parser = argparse.ArgumentParser(description="The ranker beside plain peers, in one run.")
    parser.add_argument("--json", type=Path, help="write {machine, rows} here")
    parser.add_argument("--no-implicit", action="store_true", help="without ALS and item-knn")
    given = parser.parse_args()
    rows = run(implicit=not given.no_implicit, say=_say)
    _say(table(rows))
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
