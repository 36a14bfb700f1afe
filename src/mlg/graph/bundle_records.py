"""What an account says in plain records: timeline, approvals, gates, personal fields."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from mlg.core.clock import rfc3339
from mlg.core.events import Event
from mlg.core.nodes import Node
from mlg.core.uris import Uri, parse_uri
from mlg.graph.bundle_account import Account, Told, attrs_of, kind_in
from mlg.graph.why_words import clause_of

_SORTS: Final[Mapping[str, str]] = {
    "alert": "drift", "drift_signal": "drift", "incident": "drift",
    "health_check": "health", "approval": "approval",
    "rollout": "release", "rollout_step": "release", "deployment": "release",
    "policy": "release", "service": "release", "automation_run": "automation",
    "prediction_segment": "seal", "evaluation": "evaluation",
}  # fmt: skip
_HEALTH: Final = ("mlg.deployment.health_changed", "mlg.process.", "mlg.staging.")
ERASED: Final = ("mlg.erasure.performed", "mlg.retention.applied")
"""Types of the events that tell of an erasure."""


def timeline(account: Account) -> list[dict[str, Any]]:
    """Return what happened while it served, oldest first, each with its event.

    Evaluations, releases, approvals, health checks, drift, alerts, incidents, automations,
    seals and erasures; steps of runs are in the OpenLineage events.
    """
    found = [
        {
            "at": rfc3339(told.event.at),
            "seq": told.raw.seq,
            "sort": sort,
            "type": told.event.type,
            "subject": told.event.subject,
            "actor": told.event.actor,
            "text": clause_of(told.stored).text,
        }
        for told in account.events
        if (sort := _sort(told.event))
    ]
    return sorted(found, key=lambda one: (one["at"], one["seq"]))


def approvals(account: Account) -> list[dict[str, Any]]:
    """Return who approved or turned down what: answers to proposals, and acts on rollouts."""
    found: list[dict[str, Any]] = []
    for told in account.events:
        event = told.event
        answers = [n for n in event.nodes if kind_in(n.uri) == "approval"]
        data = dict(event.data)
        by = str(data.get("by") or "")
        for fact in answers:
            said = dict(fact.attrs)
            found.append(_act(told, fact.uri, said.get("by"), event.type, said.get("reason")))
        if not answers and event.type.startswith("mlg.rollout.") and by not in {"", "mlg"}:
            found.append(_act(told, event.subject, by, event.type, data.get("reason")))
    return found


def gates(account: Account) -> list[dict[str, Any]]:
    """Return the verdict of every gate and test: of evaluations, of staging, of each step."""
    found: list[dict[str, Any]] = []
    for node in account.kind("evaluation", "health_check", "rollout_step"):
        for name, text in node.attrs:
            head, _, gate = name.partition(".")
            # what a step's gates said is its own attribute; its check repeats it
            if gate and head == ("test" if node.kind == "health_check" else "gate"):
                words = str(text)
                found.append(
                    {
                        "of": node.uri,
                        "stage": _STAGES[node.kind],
                        "gate": gate,
                        "verdict": words.partition(":")[0].partition(" ")[0],
                        "text": words,
                    }
                )
    return found


_STAGES: Final = {"evaluation": "training", "health_check": "staging", "rollout_step": "canary"}


def personal_fields(account: Account, declared: Iterable[Node]) -> dict[str, Any]:
    """Return columns that hold personal data by purpose, as the manifest declared them.

    Args:
        account: What is told; where its own events declare fields, those count.
        declared: The datasets as they stand on the graph now, for those it says nothing of.
    """
    now = {node.uri: node for node in declared}
    purposes: dict[str, list[dict[str, Any]]] = {}
    datasets = {node.uri: node for node in account.kind("dataset")}
    for uri in sorted(datasets.keys() | now.keys()):
        own = _fields(datasets.get(uri))
        listed = own if own is not None else _fields(now.get(uri))
        for column, purpose in listed or ():
            purposes.setdefault(purpose, []).append(
                {
                    "dataset": uri,
                    "column": column,
                    "declared_in": "events.jsonl" if own is not None else "the graph",
                }
            )
    return {
        "purposes": purposes,
        "note": "as declared by `personal:` in the manifest; no column was searched",
    }


def erasures(account: Account) -> list[dict[str, Any]]:
    """Return the erasures and retentions that the account's events tell of."""
    return [
        {
            "at": rfc3339(told.event.at),
            "seq": told.raw.seq,
            "type": told.event.type,
            "subject": told.event.subject,
            "facts": dict(told.event.data),
        }
        for told in account.events
        if told.event.type in ERASED
    ]


def _sort(event: Event) -> str:
    if event.type in ERASED:
        return "erasure"
    if event.type.startswith(_HEALTH):
        return "health"
    return _SORTS.get(parse_uri(event.subject).kind, "")


def _act(told: Told, of: Uri, by: object, type_: str, reason: object) -> dict[str, Any]:
    return {
        "at": rfc3339(told.event.at),
        "seq": told.raw.seq,
        "of": of,
        "act": type_.rpartition(".")[2],
        "by": by or told.event.actor,
        "reason": reason or "",
    }


def _fields(node: Node | None) -> list[tuple[str, str]] | None:
    """Return the declared columns with their purposes; None when nothing is declared."""
    text = attrs_of(node).get("personal_fields") if node is not None else None
    if not isinstance(text, str):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    listed = cast("list[Any]", found) if isinstance(found, list) else []
    return [
        (str(one["column"]), str(one["purpose"]))
        for one in listed
        if isinstance(one, dict) and "column" in one and "purpose" in one
    ]
