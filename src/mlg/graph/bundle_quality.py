"""How well each group was served, and what was shown: quality and exposure of an account."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from mlg.core.uris import Uri
from mlg.graph.bundle_account import Account, Evidence, artifact_bytes, attrs_of

_NOTE: Final = "says nothing about items that were never shown (selection bias)"
_TOP: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What sealed segments say was shown by one version in one way."""

    model_version: str
    """Version text of the log; empty where no model answered."""
    served_by: str
    answers: int
    items: Mapping[str, int]
    """Impressions by item, over all answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One evaluation's report: its file name in the bundle, its bytes, what it says."""

    model: Uri
    evaluation: Uri
    digest: str
    name: str
    content: bytes | None
    """None when the artifact is gone."""

    @property
    def document(self) -> dict[str, Any]:
        """What the report says; empty when it is gone or no JSON object."""
        try:
            found = msgspec.json.decode(self.content or b"{}")
        except msgspec.MsgspecError:
            return {}
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def reports_of(account: Account, evidence: Evidence) -> tuple[Report, ...]:
    """Return the reports of the account's evaluations, of its models first."""
    found: list[Report] = []
    for node in account.kind("evaluation"):
        digest = attrs_of(node).get("report")
        judged = account.sources(node.uri, "evaluated_on", "model_version")
        if not isinstance(digest, str) or not judged:
            continue
        found.append(
            Report(
                model=judged[0],
                evaluation=node.uri,
                digest=digest,
                name=f"evaluations/{digest[:12]}.json",
                content=artifact_bytes(evidence, digest),
            )
        )
    return tuple(found)


def quality(reports: Sequence[Report]) -> dict[str, Any]:
    """Return the figures of each model, overall and by group of viewers."""
    return {
        "models": [
            {
                "model_version": report.model,
                "evaluation": report.evaluation,
                "report": report.name if report.content is not None else None,
                "report_sha256": report.digest,
                "figures": report.document.get("models", {}).get("candidate", {}),
                "groups": report.document.get("groups") or {},
            }
            for report in reports
        ],
        "note": _NOTE,
    }


def exposure(shown: Sequence[Shown]) -> dict[str, Any]:
    """Return how impressions were spread over items, by version and way of serving.

    The Gini coefficient is over the items that were shown at least once: 0 when each was
    shown as often as the others, near 1 when one item had all.

    Source:
        C. Gini (1912); as a measure of exposure: F. Diaz et al. (2020), CIKM '20.
    """
    return {
        "served": [
            {
                "model_version": one.model_version or None,
                "served_by": one.served_by,
                "answers": one.answers,
                "impressions": sum(one.items.values()),
                "items": len(one.items),
                "gini": gini(list(one.items.values())),
                "top": [
                    {"item": item, "impressions": count}
                    for item, count in sorted(one.items.items(), key=lambda i: (-i[1], i[0]))[
                        :_TOP
                    ]
                ],
            }
            for one in sorted(shown, key=lambda one: (one.model_version, one.served_by))
        ],
        "note": "erased answers count in no figure; an answer's items are all impressions",
    }


def gini(counts: Sequence[int]) -> float | None:
    """Return the Gini coefficient of counts; None of nothing.

    Examples:
        >>> gini([5, 5, 5, 5])
        0.0
        >>> gini([0, 0, 0, 8])
        0.75
    """
    total = sum(counts)
    if not total:
        return None
    ranked = sum(place * count for place, count in enumerate(sorted(counts), start=1))
    return 2 * ranked / (len(counts) * total) - (len(counts) + 1) / len(counts)
