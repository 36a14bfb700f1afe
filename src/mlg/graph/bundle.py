"""Audit bundles: all that is known of a subject as files, and the proof of each piece."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.core.clock import rfc3339
from mlg.core.errors import NotFoundError
from mlg.core.nodes import Edge, Node
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Uri, make_uri, parse_uri
from mlg.graph import bundle_records, bundle_scope, bundle_verify, merkle
from mlg.graph.audit import decode_anchor, encode_anchor, sign, signature_holds, signed_by
from mlg.graph.bundle_account import (
    Account,
    Evidence,
    Told,
    account,
    artifact_bytes,
    attrs_of,
)
from mlg.graph.bundle_bom import ml_bom
from mlg.graph.bundle_openlineage import openlineage_lines
from mlg.graph.bundle_prov import prov_json
from mlg.graph.bundle_quality import Report, Shown, exposure, quality, reports_of
from mlg.graph.bundle_report import FILES, Page, report_html
from mlg.graph.bundle_scope import Subject
from mlg.graph.bundle_slsa import statements
from mlg.graph.encode import canonical, canonical_texts, pairs_object
from mlg.graph.lineage import Answered, trace_prediction

Files = tuple[tuple[str, bytes], ...]
"""Name and content of each file, sorted by name."""

_SEALED: Final = "mlg.prediction_segment.sealed"
_DIGESTS: Final = ("dataset_version", "feature_snapshot", "model_version", "image", "commit")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRow:
    """One prediction of a sealed segment, with what proves that it is in there."""

    prediction_id: str
    row: bytes
    """Canonical JSON of the prediction, without the salt; empty when it was erased."""
    salt: bytes
    leaf: bytes
    """sha256(salt + row); it stays when row and salt are erased."""
    index: int
    leaves: tuple[bytes, ...]
    """Every leaf of the segment, in order: the proof is made from them."""


def prediction_files(evidence: Evidence, answered: Answered, sealed: SealedRow) -> Files:
    """Return the bundle of one prediction, as of the first signed head over its seal.

    Later events change nothing in it.

    Raises:
        NotFoundError: The prediction is not sealed yet, was erased, or its lineage is gone.
        ConflictError: No signed head covers the event that sealed it: make one first.
        ManifestError: It came of too many things.
    """
    if answered.segment is None or not sealed.row:
        raise NotFoundError(
            "was erased" if answered.segment else "is not sealed yet",
            where=answered.uri,
            hint="a prediction can be exported between its sealing and its erasure",
        )
    walk = trace_prediction(
        answered, evidence.reader, WalkOptions(limit=bundle_scope.MOST_NODES)
    )
    service = make_uri("service", answered.project, answered.service)
    scope = bundle_scope.of_prediction(walk, answered.at, service, evidence.reader)
    found = account(
        evidence,
        Subject(kind="prediction", uri=answered.uri),
        scope,
        project=answered.project,
        seen=walk.nodes[0].node,
        seen_edges=[edge for edge in walk.edges if edge.dst == answered.uri],
        covers=_sealed_by(evidence, answered.segment),
    )
    tree = merkle.levels(sealed.leaves)
    path = merkle.proof(tree, sealed.index)
    own = {
        "merkle.json": canonical(
            {
                "segment": answered.segment,
                "root": tree[-1][0].hex(),
                "salt": sealed.salt.hex(),
                "leaf": sealed.leaf.hex(),
                "index": sealed.index,
                "size": len(sealed.leaves),
                "proof": [sibling.hex() for sibling in path],
            }
        ),
        "prediction.json": sealed.row,
    }
    answer = msgspec.json.decode(sealed.row, type=dict[str, Any])
    return _files(evidence, found, own, answer=answer)


def model_files(evidence: Evidence, uri: Uri) -> Files:
    """Return the bundle of a model version: what it came of, how it was judged and served.

    Raises:
        NotFoundError: It is not in the graph.
        ConflictError: No signed head covers the newest event that tells of it.
        ManifestError: It came of too many things.
    """
    scope = bundle_scope.of_model(uri, evidence.reader)
    subject = Subject(kind="model_version", uri=uri)
    return _files(
        evidence, account(evidence, subject, scope, project=parse_uri(uri).namespace), {}
    )


def service_files(
    evidence: Evidence,
    uri: Uri,
    since: datetime,
    until: datetime,
    shown: Sequence[Shown] | None = None,
) -> Files:
    """Return the bundle of a service over a period.

    Args:
        evidence: The graph and its log.
        uri: The service.
        since: From when, inclusive.
        until: Up to when, exclusive.
        shown: What the sealed segments of the period say was shown; None: not known.

    Raises:
        NotFoundError: It is not in the graph, or was not there then.
        ConflictError: No signed head covers the newest event that tells of it.
        ManifestError: The period has too much in it.
    """
    scope = bundle_scope.of_service(uri, since, until, evidence.reader)
    subject = Subject(kind="service", uri=uri, since=since, until=until)
    found = account(evidence, subject, scope, project=parse_uri(uri).namespace)
    segments = [
        {
            "uri": node.uri,
            "sha256": node.digest,
            **{name: attrs_of(node).get(name) for name in _OF_SEGMENT},
        }
        for node in found.kind("prediction_segment")
    ]
    own = {"segments.json": canonical(segments)}
    spread = None if shown is None else exposure(shown)
    if spread is not None:
        own["exposure.json"] = canonical(spread)
    return _files(evidence, found, own, exposed=spread, segments=segments)


_OF_SEGMENT: Final = ("merkle_root", "rows", "first_at", "last_at", "location")


def zip_bytes(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the files as a .zip that depends on nothing but them.

    Raises:
        ValueError: More than 65,535 files or 4 GiB.
    """
    return bundle_verify.zip_bytes(files)


def verify_bundle(
    files: Mapping[str, bytes], public_key: bytes | None = None
) -> dict[str, Any]:
    """Return `{"ok", "problems", "signed_by"}`: all that verify.py checks, with signatures.

    Args:
        files: Content by name.
        public_key: Whose signature is expected; None takes the bundle's own word for it.
    """
    given = dict(files)
    problems = bundle_verify.check(given)
    signer = ""
    if not problems:
        try:
            anchor = decode_anchor(given["anchor.json"])
            signer = anchor.public_key
            key = public_key if public_key is not None else bytes.fromhex(signer)
            if not signature_holds(anchor, key):
                problems.append("anchor.json: not signed by the expected key")
            (_, content, signature) = bundle_verify.signed_parts(given)[1]
            if not signed_by(content, signature, key):
                problems.append("manifest.json: not signed by the expected key")
        except ValueError as error:
            problems.append(f"anchor.json: {error}")
    return {"ok": not problems, "problems": problems, "signed_by": signer}


def _sealed_by(evidence: Evidence, segment: Uri) -> int:
    for seq in evidence.log.seqs_of((), (segment,)):
        for raw in evidence.log.chain(seq - 1, 1):
            if raw.type == _SEALED.encode():
                return seq
    raise NotFoundError(
        "no event sealed this segment", where=segment, hint="run mlg audit verify"
    )


def _files(
    evidence: Evidence,
    found: Account,
    own: Mapping[str, bytes],
    *,
    answer: Mapping[str, Any] | None = None,
    exposed: Mapping[str, Any] | None = None,
    segments: Sequence[Mapping[str, Any]] = (),
) -> Files:
    """Return every file of a bundle, its manifest signed."""
    reports = reports_of(found, evidence)
    records = _records(evidence, found, reports)
    files = {
        **own,
        **{name: canonical(value) for name, value in records.items()},
        **_graph(found),
        **_standards(found, reports),
        **{report.name: report.content for report in reports if report.content is not None},
        **_signatures(evidence, found),
        "events.jsonl": b"".join(_line(evidence, found, told) for told in found.events),
        "anchor.json": encode_anchor(found.anchor),
        "public_key.pem": bundle_verify.pem(bytes.fromhex(found.anchor.public_key)),
        "verify.py": Path(bundle_verify.__file__).read_bytes(),
    }
    files["report.html"] = report_html(
        Page(
            account=found,
            timeline=records["timeline.json"],
            approvals=records["approvals.json"],
            gates=records["gates.json"],
            quality=records["quality.json"],
            personal=records["personal_fields.json"],
            erasures=records["erasures.json"],
            exposure=exposed,
            segments=segments,
            answer=answer or {},
            files=[*files, "README.txt", bundle_verify.MANIFEST, bundle_verify.SIGNED],
        )
    )
    files["README.txt"] = _readme(found, files)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = canonical({"format": bundle_verify.FORMAT, "files": digests})
    signature = sign(manifest, evidence.private_key)
    files[bundle_verify.MANIFEST] = manifest
    files[bundle_verify.SIGNED] = canonical(
        {
            "signed": bundle_verify.MANIFEST,
            "signed_sha256": hashlib.sha256(manifest).hexdigest(),
            "signature": signature.hex(),
            "signature_sha256": hashlib.sha256(signature).hexdigest(),
        }
    )
    return tuple(sorted(files.items()))


def _records(evidence: Evidence, found: Account, reports: Sequence[Report]) -> dict[str, Any]:
    datasets = [
        node
        for one in found.kind("dataset")
        for node in evidence.reader.nodes(NodeQuery(uri=one.uri)).nodes
    ]
    return {
        "timeline.json": bundle_records.timeline(found),
        "approvals.json": bundle_records.approvals(found),
        "gates.json": bundle_records.gates(found),
        "quality.json": quality(reports),
        "personal_fields.json": bundle_records.personal_fields(found, datasets),
        "erasures.json": bundle_records.erasures(found),
    }


def _graph(found: Account) -> dict[str, bytes]:
    subject, depths = found.subject, found.depths()
    nodes = [_node(node, depths.get(node.uri)) for node in found.nodes]
    nodes.sort(key=lambda one: (one["depth"] is None, one["depth"] or 0, one["uri"]))
    period = (subject.since, subject.until)
    return {
        "subject.json": canonical(
            {
                "kind": subject.kind,
                "uri": subject.uri,
                "project": found.project,
                "from": rfc3339(period[0]) if period[0] else None,
                "to": rfc3339(period[1]) if period[1] else None,
                "as_of": {"seq": found.anchor.seq, "hash": found.anchor.hash},
            }
        ),
        "trace.json": canonical(
            {
                "root": subject.uri,
                "nodes": nodes,
                "edges": [_edge(edge) for edge in found.edges],
            }
        ),
        "digests.json": canonical(
            {kind: {node.uri: node.digest for node in found.kind(kind)} for kind in _DIGESTS}
        ),
    }


def _standards(found: Account, reports: Sequence[Report]) -> dict[str, bytes]:
    """Return what others' tools read; an empty list of runs or models makes no file."""
    made = {
        "prov.json": prov_json(found),
        "bom.cdx.json": ml_bom(found, {report.model: report.document for report in reports}),
        "openlineage.jsonl": openlineage_lines(found),
        "provenance.intoto.jsonl": statements(found),
    }
    return {name: content for name, content in made.items() if content}


def _signatures(evidence: Evidence, found: Account) -> dict[str, bytes]:
    """Return the detached signature of each model version that has one."""
    made: dict[str, bytes] = {}
    for node in found.kind("model_version"):
        digest = attrs_of(node).get("signature_digest")
        content = artifact_bytes(evidence, digest)
        if content is not None:
            version = parse_uri(node.uri).version or str(digest)[:12]
            name = "".join(c if c.isalnum() or c in "-_." else "-" for c in version)
            made[f"model_signature/{name}.sig"] = content
    return made


def _node(node: Node, depth: int | None) -> dict[str, Any]:
    return {
        "uri": node.uri,
        "kind": node.kind,
        "depth": depth,
        "name": node.name,
        "digest": node.digest,
        "attrs": pairs_object(node.attrs),
    }


def _edge(edge: Edge) -> dict[str, Any]:
    return {
        "src": edge.src,
        "role": edge.role,
        "dst": edge.dst,
        "class": edge.edge_class,
        "provenance": edge.provenance,
        "event": edge.event or None,
    }


def _line(evidence: Evidence, found: Account, told: Told) -> bytes:
    proof = evidence.tree.proof(told.raw.seq, found.anchor.seq)
    line: dict[str, int | str | list[str]] = {
        "seq": told.raw.seq,
        "prev_hash": told.raw.prev_hash,
        "hash": told.raw.hash,
        "data": told.raw.data.decode(),
        "proof": [sibling.hex() for sibling in proof],
    }
    return canonical_texts(line) + b"\n"


def _readme(found: Account, names: Iterable[str]) -> bytes:
    subject = found.subject
    head = f"Audit bundle of the {subject.kind.replace('_', ' ')}\n{subject.uri}"
    listed = [*sorted(names), bundle_verify.MANIFEST, bundle_verify.SIGNED]
    lines = [f"{name:<26} {FILES[name]}" for name in listed if name in FILES]
    said = """\
Open report.html in a browser. Check everything with: python verify.py
Compare public_key.pem with the key that you know from elsewhere, or name that key:
python verify.py --key FILE. With mlg installed: mlg audit verify BUNDLE --key FILE"""
    return "\n".join([head, "=" * 40, *lines, "", said, ""]).encode()
