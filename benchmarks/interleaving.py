"""How many viewers interleaving and an A/B test need for one verdict, on replayed feedback.

How to run, from a checkout whose environment `make test` made (some minutes, 2 cores):

    mlg bench interleaving [--runs 100 --aa-runs 1000] [--json]

Needs only the checkout: MovieLens-100k comes from the cache, or is fetched as the demo
fetches it. The example's two-stage ranker and a popularity list are fitted before the cut of
`examples/movies/mlg.yaml`; the requests are those that the held-out viewers would have made,
at most 8 a viewer. A hit is the first shown item that the viewer really met at or after that
moment, as in `mlg demo`. Simulated viewers are drawn from the held-out ones, with replacement.

Pairs of known order: the list against the ranker; and the ranker against itself with a known
part of its items replaced by random ones (10 % and 30 %), so that it loses about that part of
its hits. A/A: two versions with 10 % replaced, by independent draws: equally good, and not
the same.

Subjects, all at the same alpha, looked at after every 10 viewers, from 1,000 on every 1 %:
`interleaving`: team draft, a viewer's vote is the first item that he takes among those that
only one of the rankers would have placed; `interleaving_coins`: the same with the items that
both would have placed, given to one by a coin (the original team draft); `ab`: half of the
viewers each, `log_e_drop` on the mean share of a viewer's answers with a hit, as a canary's
`ctr` gate has it, but at margin 0, so that all ask the same question: is it worse?

What replayed feedback cannot say: nobody was ever shown these lists. An item that the viewer
would have taken had he seen it, but never met, counts as no hit; what was popular was met
more often, which favours the popularity list. Lengths of tests compare the methods on equal
feedback; they promise nothing of another service's viewers.
"""  # noqa: INP001 - a script, no package

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
from recsys_prequential import tables_and_step

from mlg.app.heldout import replay_plan
from mlg.client.replay_plan import Replay, wilson
from mlg.core.clock import parse_time
from mlg.manifest.specs_pipelines import InteractionsRole
from mlg.recsys import kinds
from mlg.recsys.roles import roles_from
from mlg.serving.draft import team_draft
from mlg.serving.requests import parse_recommend
from mlg.stats.interleaving import log_e_loses
from mlg.stats.sequential import log_e_drop

ALPHA = 0.01
K, REQUESTS = 10, 8
COPIES = 40
"""Independent drafts, and independent random items, of each held-out viewer."""
LOOKS = (*range(10, 1_000, 10), *(int(1_000 * 1.01**n) // 10 * 10 for n in range(310)))
"""Numbers of viewers after which the evidence is read."""
LEAST_ENGAGED = 100
"""Viewers an arm below which the A/B test is not read, as in `release.analysis`."""
MOST_VIEWERS = 20_000
AA_VIEWERS = 2_000
NOBODY, CANDIDATE, STABLE = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request: both rankers' lists, and what would be a hit."""

    ranker: tuple[Any, ...]
    popular: tuple[Any, ...]
    wanted: frozenset[Any]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What each held-out viewer does, `COPIES` times; arrays of shape (viewers, copies)."""

    votes: np.ndarray
    """Whose item was taken first among those that one team alone would have placed."""
    coins: np.ndarray
    """The same with the items of both."""
    rate: tuple[np.ndarray, np.ndarray]
    """Share of the answers with a hit, of the candidate's lists and of the stable one's."""
    answers: np.ndarray
    """Requests of each viewer, shape (viewers,)."""


Lists = Callable[[Asked, np.random.Generator], Sequence[Any]]


def requests(say: Callable[[str], None]) -> tuple[list[list[Asked]], tuple[Any, ...]]:
    """Return each held-out viewer's requests, and the catalogue."""
    tables, step = tables_and_step()
    roles = roles_from(step["roles"])
    begin = perf_counter()
    params = step.get("params", {})
    fitted = kinds.fit(
        "two_stage", tables, roles, params, step["seed"], "ranker", lambda _: None
    )
    listed = kinds.fit(
        "popularity", tables, roles, params, step["seed"], "list", lambda _: None
    )
    ranker, popular = kinds.recommender(fitted), kinds.recommender(listed)
    say(f"fitted in {perf_counter() - begin:.0f} s")
    role = msgspec.convert(step["roles"]["interactions"], InteractionsRole)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pq.write_table(tables[roles.interactions.table], folder / "table.parquet")
        (folder / "model.json").write_text(json.dumps({"cut": fitted.facts["cut"]}))
        plan = replay_plan(folder / "table.parquet", folder, role, Replay(k=K))
    begin = perf_counter()
    found: dict[Any, list[Asked]] = {}
    for planned in plan:
        mine = found.setdefault(planned.viewer, [])
        if len(mine) >= REQUESTS:
            continue
        body = json.dumps(planned.body).encode()
        query = parse_recommend(body, now=parse_time(planned.at), clock="request")
        mine.append(
            Asked(
                ranker=ranker.recommend(query).items,
                popular=popular.recommend(query).items,
                wanted=frozenset(planned.wanted),
            )
        )
    count = sum(map(len, found.values()))
    say(f"{count} requests of {len(found)} viewers ranked in {perf_counter() - begin:.0f} s")
    return list(found.values()), ranker.item_ids


def degraded(part: float, catalogue: Sequence[Any]) -> Lists:
    """Return the ranker with a part of its items replaced by random ones."""

    def lists(asked: Asked, rng: np.random.Generator) -> Sequence[Any]:
        items = list(asked.ranker)
        for place in np.flatnonzero(rng.random(len(items)) < part).tolist():
            other = catalogue[int(rng.integers(len(catalogue)))]
            if other not in items:
                items[place] = other
        return items

    return lists


def pool(
    viewers: list[list[Asked]], candidate: Lists, stable: Lists, rng: np.random.Generator
) -> Pool:
    """Return what the viewers do with drafted lists, and with each version's own."""
    shape = (len(viewers), COPIES)
    votes, coins = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
    rate = (np.zeros(shape), np.zeros(shape))
    for v, asks in enumerate(viewers):
        for c in range(COPIES):
            for asked in asks:
                mine, theirs = candidate(asked, rng), stable(asked, rng)
                for arm, items in enumerate((mine, theirs)):
                    rate[arm][v, c] += any(item in asked.wanted for item in items) / len(asks)
                both = team_draft(mine, theirs, K, rng.random)
                taken = (
                    team
                    for item, team in zip(both.items, both.teams, strict=True)
                    if item in asked.wanted
                )
                first = next(taken, None)  # a replay's viewer takes one item of a list
                if first is None:
                    continue
                team = CANDIDATE if first.lower() == "c" else STABLE
                coins[v, c] = coins[v, c] or team
                if first.islower():
                    votes[v, c] = votes[v, c] or team
    answers = np.array([len(asks) for asks in viewers])
    return Pool(votes=votes, coins=coins, rate=rate, answers=answers)


def drawn(found: Pool, most: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return held-out viewers, and a copy of each, for one simulated test."""
    return rng.integers(len(found.answers), size=most), rng.integers(COPIES, size=most)


def looks(most: int) -> list[int]:
    """Return when to look, up to so many viewers."""
    return sorted({n for n in LOOKS if n <= most} | {most})


def by_votes(cast: np.ndarray, alpha: float) -> int | None:
    """Return after how many viewers the votes say that the candidate loses, or None."""
    wins, losses = np.cumsum(cast == CANDIDATE), np.cumsum(cast == STABLE)
    for n in looks(len(cast)):
        if log_e_loses(int(wins[n - 1]), int(losses[n - 1])) >= log(1 / alpha):
            return n
    return None


def by_arms(rate: tuple[np.ndarray, np.ndarray], arm: np.ndarray, alpha: float) -> int | None:
    """Return after how many viewers of both arms the candidate's is shown to fall behind."""
    mine = arm == CANDIDATE
    n, m = np.cumsum(mine), np.cumsum(~mine)
    got = np.cumsum(np.where(mine, rate[0], 0.0))
    control = np.cumsum(np.where(mine, 0.0, rate[1]))
    for look in looks(len(arm)):
        i = look - 1
        if min(n[i], m[i]) < LEAST_ENGAGED:
            continue
        e = log_e_drop(float(got[i]), int(n[i]), float(control[i]), int(m[i]))
        if e >= log(1 / alpha):
            return look
    return None


def lengths(
    found: Pool, runs: int, most: int, alpha: float, seed: int
) -> dict[str, list[tuple[int, int] | None]]:
    """Return viewers and impressions until the verdict of each run, by subject."""
    ended: dict[str, list[tuple[int, int] | None]] = {}
    for run in range(runs):
        rng = np.random.default_rng((seed, run))
        who, copy = drawn(found, most, rng)
        arm = np.where(rng.random(most) < 0.5, CANDIDATE, STABLE)
        rates = (found.rate[0][who, copy], found.rate[1][who, copy])
        results = {
            "interleaving": by_votes(found.votes[who, copy], alpha),
            "interleaving_coins": by_votes(found.coins[who, copy], alpha),
            "ab": by_arms(rates, arm, alpha),
        }
        shown = np.cumsum(found.answers[who])
        for name, n in results.items():
            ended.setdefault(name, []).append(None if n is None else (n, int(shown[n - 1])))
    return ended


def row(
    work: str, subject: str, ended: list[tuple[int, int] | None], most: int
) -> dict[str, Any]:
    """Return one line: how often there was a verdict, and after how many viewers."""
    done = [one for one in ended if one is not None]
    low, high = wilson(len(done), len(ended))
    half = len(done) * 2 > len(ended)
    length = sorted(most + 1 if one is None else one[0] for one in ended)
    return {
        "work": work,
        "subject": subject,
        "runs": len(ended),
        "most_viewers": most,
        "verdicts": len(done) / len(ended),
        "low": low,
        "high": high,
        "median_viewers": int(np.median(length)) if half else None,
        "p90_viewers": length[int(0.9 * len(length))]
        if length[int(0.9 * len(length))] <= most
        else None,
        "median_impressions": int(np.median([one[1] for one in done])) if half else None,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| candidate | method | found (95 %) | viewers, median | p90 | impressions, median |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in rows:
        found = f"{one['verdicts']:.1%} ({one['low']:.1%}-{one['high']:.1%})"
        shown = [
            "-" if one[name] is None else f"{one[name]:,}"
            for name in ("median_viewers", "p90_viewers", "median_impressions")
        ]
        lines.append(f"| {one['work']} | {one['subject']} | {found} | {' | '.join(shown)} |")
    return "\n".join(lines)


def machine() -> str:
    """Return what this ran on, in words."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def run(given: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every pair and return the document."""
    viewers, catalogue = requests(say)
    ranker: Lists = lambda asked, _: asked.ranker  # noqa: E731
    most = (given.runs, MOST_VIEWERS)
    pairs: dict[str, tuple[Lists, Lists, int, int]] = {
        "popularity list": (lambda a, _: a.popular, ranker, *most),
        "30 % of the items random": (degraded(0.3, catalogue), ranker, *most),
        "10 % of the items random": (degraded(0.1, catalogue), ranker, *most),
        "A/A: 10 % random each": (
            degraded(0.1, catalogue), degraded(0.1, catalogue), given.aa_runs, AA_VIEWERS,
        ),
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    for number, (work, (candidate, stable, runs, end)) in enumerate(pairs.items()):
        begin = perf_counter()
        found = pool(viewers, candidate, stable, np.random.default_rng((given.seed, number)))
        wins, losses = (int((found.votes == team).sum()) for team in (CANDIDATE, STABLE))
        rates = [float(arm.mean()) for arm in found.rate]
        facts[work] = {
            "hit_rate": rates[0],
            "stable_hit_rate": rates[1],
            "share_of_votes": wins / max(1, wins + losses),
            "viewers_with_a_vote": (wins + losses) / found.votes.size,
        }
        for subject, ended in lengths(found, runs, end, given.alpha, given.seed).items():
            rows.append(row(work, subject, ended, end))
        say(
            f"{work}: hit rate {rates[0]:.3f} against {rates[1]:.3f}, "
            f"{facts[work]['share_of_votes']:.1%} of the votes, "
            f"{facts[work]['viewers_with_a_vote']:.0%} of the viewers vote; "
            f"{perf_counter() - begin:.0f} s"
        )
    return {"machine": machine(), "alpha": given.alpha, "facts": facts, "rows": rows}


def main() -> None:
    """Run, and print the table or one JSON document."""
    parser = argparse.ArgumentParser(
        description="Interleaving beside A/B on replayed feedback."
    )
    parser.add_argument("--runs", type=int, default=100, help="simulated tests of each pair")
    parser.add_argument("--aa-runs", type=int, default=1_000, help="the same of the A/A pair")
    parser.add_argument("--alpha", type=float, default=ALPHA)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    begin = perf_counter()

    def say(line: str) -> None:
        out = sys.stderr if given.json else sys.stdout
        out.write(line + "\n")
        out.flush()

    document = run(given, say)
    if given.json:
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        say(f"alpha {given.alpha:g}; {machine()}; {perf_counter() - begin:.0f} s\n")
        say(table(document["rows"]))


if __name__ == "__main__":
    main()
