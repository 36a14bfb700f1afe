"""Fitting a model of one's own: its class is fitted, saved, read back and asked."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from mlg.core.errors import ContractError
from mlg.core.predict import Interaction, Query, Ranked
from mlg.core.training import Training
from mlg.recsys.artifact import Fitted, dumps, loads_lines
from mlg.recsys.columns import Tables, column, from_us, table_of, times_us
from mlg.recsys.confidence import Confidence, fit_confidence
from mlg.recsys.events import Histories, Log
from mlg.recsys.golden import golden_lines, query_of
from mlg.recsys.own import CODE, FILES, Answers, Asked, fault_in
from mlg.recsys.own_code import own_class
from mlg.recsys.popularity import list_document, popularity_list
from mlg.recsys.prepare import Prepared, before, describe, items_table, moment, prepare
from mlg.recsys.recommender import PopularityList
from mlg.recsys.roles import Roles

ASKED_MAX: Final = 1_000
"""Held-out events that a stand-in confidence is fitted on, at most."""
_HELD: Final = 0.2
"""Share of the events before the cut that they are drawn from: the newest ones."""
_LEAST: Final = 20
_PICKLE_NAMES: Final = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".dill")


def fit_own(
    target: str,
    code: Mapping[str, bytes],
    tables: Tables,
    roles: Roles,
    params: Mapping[str, Any],
    *,
    seed: int,
    name: str,
    progress: Callable[[str], None],
) -> Fitted:
    """Return the fitted class as an artifact, with its code, list and recorded requests.

    A class that gives no confidence is fitted once more to the older four fifths of the
    events; a confidence model is fitted to what it answers to the newest fifth.

    Args:
        target: `module:Class`.
        code: Source of the module and of what it imports, by POSIX path.
        tables: Tables by name.
        roles: Their parts.
        params: For the class; mlg reads `train_until` (0.8), `k` (10), `popularity_days` (7)
            and `repeat` (false).
        seed: For the class, and for what mlg draws.
        name: The model's name.
        progress: Told a line at each phase.

    Raises:
        ManifestError: There is no such class, or it lacks a method.
        ContractError: A table or column is missing, there are too few events, it saved a
            pickle, or its answers are not sane.
    """
    cls = own_class(target, code)
    ready = prepare(tables, roles, params, name)
    total, k = len(ready.log), int(params.get("k", 10))
    held = int(total * 0.9375)
    popular = popularity_list(
        ready.log.span(0, held),
        ready.log.span(held, total),
        ready.items,
        cut_us=ready.cut,
        days=float(params.get("popularity_days", 7.0)),
        k=k,
    )

    def fitted(cut: int) -> Any:
        return cls.fit(_training(ready, tables, roles, params, cut, k, seed))

    model = fitted(ready.cut)
    progress(f"{target} fitted to {total} events of {len(ready.items.ids)} items")
    files, model = _saved(target, cls, model)
    asked = Asked(model, ready.items, popular, k, None)
    golden = golden_lines(ready, roles, k=k, seed=seed)
    own_confidence = _check(target, asked, ready, golden)
    texts = {
        "popularity.json": dumps(list_document(popular)),
        "golden.jsonl": golden,
        "baseline.json": describe((), np.zeros((0, 0)), {}),
    }
    if not own_confidence:
        confidence = _confidence(target, fitted, ready, roles, popular, k, seed)
        progress(f"{target} gives no confidence: one was fitted to its answers")
        texts["confidence.json"] = dumps(confidence.as_dict())
    blobs = {f"{CODE}{path}": content for path, content in code.items()}
    blobs |= {f"{FILES}/{path}": content for path, content in files.items()}
    return Fitted(
        model={
            "kind": "own",
            "class": target,
            "name": name,
            "item_type": "int" if ready.items.whole else "str",
            "features": list(asked.logged_features),
            "cut": moment(ready.cut),
            "k": k,
            "repeat": bool(params.get("repeat", False)),
            "item_ids": list(ready.items.ids),
        },
        arrays={},
        texts=texts,
        tables={"items": items_table(tables, roles, ready.items)},
        blobs=blobs,
        metrics={"popularity_hit_rate": popular.hit_rate},
        facts={
            "confidence": "own" if own_confidence else "fitted",
            "cut": moment(ready.cut),
            "events": total,
            "items": len(ready.items.ids),
        },
    )


def _training(
    ready: Prepared,
    tables: Tables,
    roles: Roles,
    params: Mapping[str, Any],
    cut: int,
    k: int,
    seed: int,
) -> Training:
    """Return the tables without what happened at or after the cut."""
    timed = [(roles.interactions.table, roles.interactions.at)]
    if roles.item_stats:
        timed.append((roles.item_stats.table, roles.item_stats.available_at))
    past = dict(tables)
    for table, at in timed:
        times = times_us(column(table_of(past, table), at, table), f"{table}.{at}")
        past[table] = before(past[table], times, cut)
    given = {part: value for part, value in asdict(roles).items() if value is not None}
    return Training(
        tables=past,
        roles=cast("Mapping[str, Mapping[str, Any]]", given),
        cut=from_us(cut),
        items=ready.items.ids,
        k=k,
        seed=seed,
        params=params,
    )


def _saved(target: str, cls: Any, model: Any) -> tuple[dict[str, bytes], Answers]:
    """Return the files that the model saves, and what its class reads back from them.

    Raises:
        ContractError: One of them is a pickle or a link.
    """
    with tempfile.TemporaryDirectory(prefix="mlg-own-") as scratch:
        folder = Path(scratch)
        model.save(folder)
        files: dict[str, bytes] = {}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink():
                raise ContractError("expected files, found a link", where=f"{target}: {name}")
            if path.is_file():
                files[name] = path.read_bytes()
                if is_pickle(name, files[name]):
                    raise ContractError(
                        "expected no pickled objects: reading one runs what it says",
                        where=f"{target}: {name}",
                        hint="save JSON, .npy, Arrow, ONNX or the library's own text.",
                    )
        return files, cls.load(folder)


def is_pickle(name: str, content: bytes) -> bool:
    r"""Return whether a file is, or holds, pickled Python objects.

    Examples:
        >>> is_pickle("model.bin", b"\x80\x04\x95"), is_pickle("items.json", b"[1]")
        (True, False)
    """
    head = content[:4096]
    return (
        name.lower().endswith(_PICKLE_NAMES)
        or (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))
        or (head[:6] == b"\x93NUMPY" and b"'|O'" in head)
        or (head[:4] == b"PK\x03\x04" and b"data.pkl" in head)
    )


def _check(target: str, asked: Asked, ready: Prepared, golden: str) -> bool:
    """Ask the recorded requests; return whether the model gives a confidence of its own.

    Raises:
        ContractError: An answer is not sane, or only some of them have a confidence.
    """
    told: set[bool] = set()
    for number, request in enumerate(loads_lines(golden), start=1):
        query = query_of(request)
        answer = asked.recommend(query)
        fault = fault_in(answer, query, ready.items, len(asked.logged_features))
        if fault:
            raise ContractError(
                f"expected a sane answer, got {fault}",
                where=f"{target}, recorded request {number}",
                hint="see docs/own-model.md for what an answer must be.",
            )
        told.add(answer.raw_confidence == answer.raw_confidence)
    if len(told) > 1:
        raise ContractError(
            "expected a confidence in every answer or in none",
            where=target,
            hint="leave `raw_confidence` out, and mlg fits one.",
        )
    return told == {True}


def _confidence(
    target: str,
    fitted: Callable[[int], Answers],
    ready: Prepared,
    roles: Roles,
    popular: PopularityList,
    k: int,
    seed: int,
) -> Confidence:
    """Return a confidence model of what the class answers to events that it did not see.

    Raises:
        ContractError: There are too few events, or no viewers.
    """
    total = len(ready.log)
    start = int(total * (1.0 - _HELD))
    cut = int(ready.log.at[start])
    start = ready.log.first_at_or_after(cut)
    if not roles.interactions.viewer or start < _LEAST:
        raise ContractError(
            "expected a confidence, as there are no viewers or too few events to fit one",
            where=target,
            hint="give `raw_confidence` in every answer.",
        )
    asked = Asked(fitted(cut), ready.items, popular, k, None)
    rng = np.random.default_rng(seed)
    places = start + np.sort(
        rng.choice(total - start, size=min(ASKED_MAX, total - start), replace=False)
    )
    histories = Histories(ready.log, len(ready.viewers.ids))
    seen: list[Any] = []
    hit: list[float] = []
    for place in places.tolist():
        query = _query(ready, ready.log, histories, place, k)
        answer: Ranked = asked.recommend(query)
        seen.append(asked.seen(query, answer.items, answer.scores))
        hit.append(float(ready.items.ids[int(ready.log.item[place])] in answer.items))
    return fit_confidence(np.stack(seen), np.asarray(hit))


def _query(ready: Prepared, log: Log, histories: Histories, place: int, k: int) -> Query:
    viewer, at_us = int(log.viewer[place]), int(log.at[place])
    past = histories.before(viewer, at_us)
    return Query(
        user_id=ready.viewers.ids[viewer],
        k=k,
        at=from_us(at_us),
        history=tuple(
            Interaction(
                item_id=ready.items.ids[item],
                at=from_us(at),
                value=None if np.isnan(value) else value,
            )
            for item, at, value in zip(
                past.items.tolist(), past.at.tolist(), past.value.tolist(), strict=True
            )
        ),
    )
