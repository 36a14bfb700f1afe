"""The page of a bundle that a person reads: one HTML file, no script, nothing fetched."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

from mlg.core.clock import rfc3339
from mlg.core.nodes import Node
from mlg.core.uris import parse_uri
from mlg.graph.bundle_account import Account, attrs_of

_MOST_ROWS: Final = 500
"""Of one table of the page; the files have all of them."""
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1f24}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:"
    "1px solid #d0d7de}table{border-collapse:collapse;width:100%}th,td{text-align:left;"
    "vertical-align:top;padding:.25rem .6rem;border-bottom:1px solid #eaeef2;"
    "overflow-wrap:anywhere}th{background:#f6f8fa}code{font-size:.9em}"
    "@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}"
    "th{background:#161b22}td,th,h2{border-color:#30363d}}"
)
FILES: Final[Mapping[str, str]] = {
    "report.html": "this account as a page for people",
    "README.txt": "this list as text",
    "prediction.json": "the answer as it was logged; the viewer only as a keyed hash",
    "merkle.json": "its salt, leaf and proof under the root of the sealed segment (RFC 6962)",
    "subject.json": "what this bundle is of, and as of which signed head",
    "trace.json": "things and arrows around the subject, as the events here make them",
    "digests.json": "digests of data versions, models, images and code",
    "events.jsonl": "the events that say so, each with its hash and its proof under the head",
    "prov.json": "the same as W3C PROV-JSON",
    "openlineage.jsonl": "starts and ends of runs and steps as OpenLineage 2-0-2 events",
    "bom.cdx.json": "CycloneDX 1.6 ML-BOM with a model card for each model",
    "provenance.intoto.jsonl": "in-toto Statement v1 with SLSA provenance v1 of each training",
    "timeline.json": "evaluations, releases, health checks, drift, alerts, in order of time",
    "approvals.json": "who approved or turned down what",
    "gates.json": "the verdict of each gate and test",
    "quality.json": "figures of each model, overall and by group of viewers",
    "exposure.json": "how impressions were spread over items in the period",
    "segments.json": "sealed segments of predictions in the period, with their roots",
    "personal_fields.json": "columns with personal data by purpose, as declared",
    "erasures.json": "erasures and retentions performed",
    "anchor.json": "the signed head of the log (Ed25519) that covers the events",
    "public_key.pem": "the key that signed the head and the manifest",
    "manifest.json": "sha256 of every other file",
    "manifest.sig.json": "signature over manifest.json by the same key",
    "verify.py": "checks all of it with Python's standard library alone",
}
"""What each file is; folders are `evaluations/` and `model_signature/`."""


_SEGMENT: Final = ("uri", "rows", "first_at", "last_at", "merkle_root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page is made from: documents that are files of the bundle too."""

    account: Account
    timeline: Sequence[Mapping[str, Any]]
    approvals: Sequence[Mapping[str, Any]]
    gates: Sequence[Mapping[str, Any]]
    quality: Mapping[str, Any]
    personal: Mapping[str, Any]
    erasures: Sequence[Mapping[str, Any]]
    exposure: Mapping[str, Any] | None = None
    segments: Sequence[Mapping[str, Any]] = ()
    answer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    files: Sequence[str] = ()


def report_html(page: Page) -> bytes:
    """Return the page; every text from the log is escaped, and no script can run in it."""
    account = page.account
    subject = account.subject
    parts = parse_uri(subject.uri)
    name = f"{parts.name}@{parts.version}" if parts.version else parts.name
    title = f"Audit bundle: {subject.kind.replace('_', ' ')} {name}"
    sections = [
        _summary(page),
        *([_answer(page)] if page.answer else []),
        _served(account),
        _lineage(account),
        _quality(page.quality),
        *([_exposure(page.exposure)] if page.exposure is not None else []),
        _listed("Gates and tests", ("stage", "of", "gate", "verdict", "text"), page.gates),
        _listed("Approvals", ("at", "act", "of", "by", "reason", "seq"), page.approvals),
        _listed("Timeline", ("at", "sort", "text", "actor", "seq"), page.timeline),
        *([_listed("Sealed predictions", _SEGMENT, page.segments)] if page.segments else []),
        _personal(page.personal),
        _listed("Erasures performed", ("at", "type", "subject", "facts", "seq"), page.erasures),
        _files(page.files),
    ]
    body = "\n".join(sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    ).encode()


def _summary(page: Page) -> str:
    account, anchor = page.account, page.account.anchor
    subject = account.subject
    rows: list[tuple[str, object]] = [("Subject", subject.uri), ("Project", account.project)]
    if subject.since is not None and subject.until is not None:
        rows.append(("Period", f"{rfc3339(subject.since)} to {rfc3339(subject.until)}"))
    rows += [
        ("As of", f"event {anchor.seq} of the log, signed {anchor.at}"),
        ("Signed by", f"Ed25519 key {anchor.public_key}"),
        ("Events carried", len(account.events)),
        ("Things told of", len(account.nodes)),
    ]
    words = (
        "This page is made from the events in <code>events.jsonl</code>. Run "
        "<code>python verify.py</code> beside it to check that nothing here was altered, and "
        "compare the key with the one that you know from elsewhere. It supports "
        "record-keeping in the style of model cards, SLSA provenance and activity logs; it "
        "is no statement that any law or standard is met."
    )
    return f"<p>{words}</p>\n{_table(('', ''), rows)}"


def _answer(page: Page) -> str:
    shown = (
        "at", "served_by", "reason", "model_version", "confidence", "raw_confidence", "policy",
        "items", "scores", "arm", "propensity", "latency_ms",
    )  # fmt: skip
    rows = [(name, page.answer[name]) for name in shown if name in page.answer]
    return _section("The answer", _table(("field", "value"), rows))


def _served(account: Account) -> str:
    rows = [
        (
            node.name,
            attrs_of(node).get("model_version"),
            rfc3339(node.valid_from),
            rfc3339(node.valid_to) if node.valid_to else "",
            attrs_of(node).get("share_bp"),
            attrs_of(node).get("health"),
        )
        for node in sorted(account.kind("deployment"), key=lambda node: node.valid_from)
    ]
    columns = ("deployment", "model version", "from", "to", "share, bp", "health")
    return _section("What served", _table(columns, rows))


def _lineage(account: Account) -> str:
    depths = account.depths()
    found = [node for node in account.nodes if node.uri in depths]
    found.sort(key=lambda node: (depths[node.uri], node.uri))
    rows = [(depths[n.uri], n.kind, n.name, n.digest or "", _from(n)) for n in found]
    return _section("What it came of", _table(("hops", "kind", "name", "digest", "from"), rows))


def _from(node: Node) -> str:
    return rfc3339(node.valid_from)


def _quality(found: Mapping[str, Any]) -> str:
    rows: list[tuple[object, ...]] = []
    for model in found["models"]:
        name = _short(model["model_version"])
        for segment, figures in sorted(model["figures"].items()):
            for metric, one in sorted(figures.items()):
                spread = f"{_figure(one.get('low'))} to {_figure(one.get('high'))}"
                value = _figure(one.get("value"))
                rows.append((name, metric, segment, value, spread, one.get("n")))
        for feature, levels in sorted(model["groups"].items()):
            for one in levels:
                where, spread = f"{feature} = {one['level']}", f"sd {_figure(one.get('sd'))}"
                rows.append((name, "hit@10", where, _figure(one["mean"]), spread, one["n"]))
    columns = ("model", "figure", "part or group", "value", "95 % interval or sd", "n")
    note = f"<p>Held-out quality; it {escape(str(found['note']))}.</p>"
    return _section("Quality, overall and by group", note + _table(columns, rows))


def _exposure(found: Mapping[str, Any]) -> str:
    rows = [
        (
            one["model_version"] or "none",
            one["served_by"],
            one["answers"],
            one["impressions"],
            one["items"],
            _figure(one["gini"]),
            ", ".join(f"{top['item']} ({top['impressions']})" for top in one["top"][:5]),
        )
        for one in found["served"]
    ]
    columns = ("model", "served by", "answers", "impressions", "items", "Gini", "most shown")
    return _section("Exposure", _table(columns, rows))


def _personal(found: Mapping[str, Any]) -> str:
    rows = [
        (purpose, _short(one["dataset"]), one["column"], one["declared_in"])
        for purpose, columns in sorted(found["purposes"].items())
        for one in columns
    ]
    note = f"<p>{escape(str(found['note']).capitalize())}.</p>"
    table = _table(("purpose", "dataset", "column", "declared in"), rows)
    return _section("Personal fields by purpose", note + table)


def _files(names: Sequence[str]) -> str:
    rows = [(name, FILES.get(name, _attached(name))) for name in sorted(names)]
    return _section("Files of this bundle", _table(("file", "what it is"), rows))


def _attached(name: str) -> str:
    folder = name.partition("/")[0]
    return {
        "evaluations": "the whole report of an evaluation; its digest is in events.jsonl",
        "model_signature": "the model's detached signature; its digest is in events.jsonl",
    }.get(folder, "")


def _listed(title: str, columns: Sequence[str], found: Sequence[Mapping[str, Any]]) -> str:
    rows = [tuple(one.get(name) for name in columns) for one in found]
    return _section(title, _table(columns, rows))


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    listed = list(rows)
    if not listed:
        return "<p>Nothing of this sort is recorded.</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    lines = [
        "<tr>" + "".join(f"<td>{escape(_text(cell))}</td>" for cell in row) + "</tr>"
        for row in listed[:_MOST_ROWS]
    ]
    more = len(listed) - _MOST_ROWS
    rest = f"<p>And {more} more; see the files.</p>" if more > 0 else ""
    return f"<table>\n<tr>{head}</tr>\n" + "\n".join(lines) + f"\n</table>{rest}"


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return _figure(cell)
    if isinstance(cell, Mapping):
        return ", ".join(f"{name} = {_text(value)}" for name, value in sorted(cell.items()))
    if isinstance(cell, list | tuple):
        return ", ".join(_text(value) for value in cell)
    return str(cell)


def _figure(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(uri: str) -> str:
    parts = parse_uri(uri)
    return f"{parts.name}@{parts.version}" if parts.version else parts.name
