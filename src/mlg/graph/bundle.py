"""The audit bundle of one prediction: what made it, and the proof of each piece."""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlg.core.errors import ConflictError, NotFoundError
from mlg.core.nodes import Edge
from mlg.core.ports import GraphReader
from mlg.core.reading import WalkOptions
from mlg.core.uris import Uri, parse_uri
from mlg.graph import bundle_verify, merkle
from mlg.graph.audit import (
    Anchor,
    ChainLog,
    RawEvent,
    chain_links,
    covering_anchor,
    decode_anchor,
    encode_anchor,
    signature_holds,
)
from mlg.graph.encode import canonical, decode, pairs_object
from mlg.graph.lineage import Answered, trace_prediction
from mlg.graph.project import NodeUpsert, default_name, project_event, resolve

Files = tuple[tuple[str, bytes], ...]
"""Name and content of each file, sorted by name."""

_MOST_NODES: Final = 100_000
_README: Final = """\
Audit bundle of one prediction
==============================
prediction.json  the answer as it was logged (viewers only as keyed hashes)
merkle.json      its salt, leaf, and proof under the sealed segment's Merkle root
trace.json       what it came of: model version, runs, data versions, sources
digests.json     digests of the data versions and the model
events.jsonl     the events that say so, each with its hash and its proof under the signed root
anchor.json      the signed head of the log (Ed25519) that covers these events
public_key.txt   the key that signed it, hex
manifest.json    sha256 of every other file
verify.py        checks all of this but the signature: python verify.py

The signature is checked by: mlg audit verify BUNDLE --key public_key.txt
Compare public_key.txt with the one that you know from elsewhere.
"""


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


def bundle_files(
    *,
    answered: Answered,
    sealed: SealedRow,
    reader: GraphReader,
    log: ChainLog,
    anchors: Sequence[Anchor],
) -> Files:
    """Return the files of the bundle; later events change nothing in them.

    Raises:
        NotFoundError: The prediction is not sealed yet, was erased, or its lineage is gone.
        ConflictError: No anchor covers the event that sealed it: make one first.
    """
    if answered.segment is None or not sealed.row:
        raise NotFoundError(
            "was erased" if answered.segment else "is not sealed yet",
            where=answered.uri,
            hint="a prediction can be exported between its sealing and its erasure",
        )
    walk = trace_prediction(answered, reader, WalkOptions(limit=_MOST_NODES))
    anchor, hashes, raws = _evidence(
        log, anchors, answered.segment, {found.node.uri for found in walk.nodes},
        {str(edge.event) for edge in walk.edges},
    )  # fmt: skip
    by_id = {(raw.id or b"").decode(): raw for raw in raws}
    edges = [e for e in walk.edges if e.dst == answered.uri or str(e.event) in by_id]
    depths = _depths(answered.uri, edges)
    edges = [edge for edge in edges if edge.dst in depths and edge.src in depths]
    told = {str(edge.event) for edge in edges}
    events = [
        raw
        for id_, raw in by_id.items()
        if id_ in told or (raw.subject or b"").decode() in depths
    ]
    events.sort(key=lambda raw: raw.seq)
    nodes = _nodes(answered.uri, depths, events)
    tree = merkle.levels(hashes)
    path = merkle.proof(merkle.levels(sealed.leaves), sealed.index)
    found = {
        "README.txt": _README.encode(),
        "anchor.json": encode_anchor(anchor),
        "digests.json": canonical(_digests(nodes)),
        "events.jsonl": b"".join(_line(raw, tree) for raw in events),
        "merkle.json": canonical(
            {
                "segment": answered.segment,
                "root": merkle.root(sealed.leaves).hex(),
                "salt": sealed.salt.hex(),
                "leaf": sealed.leaf.hex(),
                "index": sealed.index,
                "size": len(sealed.leaves),
                "proof": [sibling.hex() for sibling in path],
            }
        ),
        "prediction.json": sealed.row,
        "public_key.txt": (anchor.public_key + "\n").encode(),
        "trace.json": canonical(
            {"root": answered.uri, "nodes": nodes, "edges": [_edge(edge) for edge in edges]}
        ),
        "verify.py": Path(bundle_verify.__file__).read_bytes(),
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
    found["manifest.json"] = canonical({"format": 1, "files": digests})
    return tuple(sorted(found.items()))


def zip_bytes(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the files as a .zip that depends on nothing but them."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content)
    return target.getvalue()


def verify_bundle(
    files: Mapping[str, bytes], public_key: bytes | None = None
) -> dict[str, Any]:
    """Return `{"ok", "problems", "signed_by"}`: all that verify.py checks, and the signature.

    Args:
        files: Content by name.
        public_key: Whose signature is expected; None takes the bundle's own word for it.
    """
    problems = bundle_verify.check(dict(files))
    signed_by = ""
    if not problems:
        try:
            anchor = decode_anchor(files["anchor.json"])
            signed_by = anchor.public_key
            key = public_key if public_key is not None else bytes.fromhex(signed_by)
            if not signature_holds(anchor, key):
                problems.append("anchor.json: not signed by the expected key")
        except ValueError as error:
            problems.append(f"anchor.json: {error}")
    return {"ok": not problems, "problems": problems, "signed_by": signed_by}


def _evidence(
    log: ChainLog,
    anchors: Sequence[Anchor],
    segment: Uri,
    uris: set[Uri],
    event_ids: set[str],
) -> tuple[Anchor, list[bytes], list[RawEvent]]:
    """Return the oldest anchor over the seal, the log's hashes up to it, the events that count.

    Raises:
        NotFoundError: No event sealed the segment.
        ConflictError: No anchor covers it.
    """
    upto = max((anchor.seq for anchor in anchors), default=0)
    hashes, wanted, sealed_at = list[bytes](), list[int](), 0
    for link in chain_links(log):
        if link.subject == segment and not sealed_at:
            sealed_at = link.seq
        if link.seq > upto:
            if sealed_at:
                break
            continue
        hashes.append(link.digest)
        if link.id in event_ids or link.subject in uris:
            wanted.append(link.seq)
    if not sealed_at:
        raise NotFoundError(
            "no event sealed this segment", where=segment, hint="run mlg audit verify"
        )
    anchor = covering_anchor(anchors, sealed_at)
    if anchor is None:
        raise ConflictError(
            f"no signed head covers event {sealed_at}, which sealed the prediction",
            where=segment,
            hint="make an anchor first; mlg writes one at each checkpoint and at mlg down",
        )
    raws = [raw for seq in wanted if seq <= anchor.seq for raw in log.chain(seq - 1, 1)]
    return anchor, hashes[: anchor.seq], raws


def _depths(root: Uri, edges: Sequence[Edge]) -> dict[Uri, int]:
    """Return the hops from the prediction to what it came of; the segment is a leaf."""
    above: dict[Uri, list[Uri]] = {}
    for edge in edges:
        above.setdefault(edge.dst, []).append(edge.src)
    found, frontier = {root: 0}, [root]
    while frontier:
        ahead: list[Uri] = []
        for near in frontier:
            for far in above.get(near, ()):
                if far not in found:
                    found[far] = found[near] + 1
                    ahead.append(far)
        frontier = ahead
    return found


def _nodes(
    root: Uri, depths: Mapping[Uri, int], events: Sequence[RawEvent]
) -> list[dict[str, Any]]:
    """Return the nodes of the trace as the bundle's own events make them."""
    facts: dict[Uri, list[NodeUpsert]] = {}
    for raw in events:
        for fact in project_event(decode(raw.data))[0]:
            facts.setdefault(fact.uri, []).append(fact)
    found: list[dict[str, Any]] = []
    for uri, depth in sorted(depths.items(), key=lambda item: (item[1], item[0])):
        state = None if uri == root else resolve(facts.get(uri, ()))
        found.append(
            {
                "uri": uri,
                "kind": parse_uri(uri).kind,
                "depth": depth,
                "name": state.name if state else default_name(uri),
                "digest": state.digest if state else None,
                "attrs": pairs_object(state.attrs) if state else {},
            }
        )
    return found


def _digests(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    wanted = ("dataset_version", "feature_snapshot", "model_version", "image", "commit")
    return {
        kind: {node["uri"]: node["digest"] for node in nodes if node["kind"] == kind}
        for kind in wanted
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


def _line(raw: RawEvent, tree: Sequence[Sequence[bytes]]) -> bytes:
    proof = merkle.proof(tree, raw.seq - 1)
    return (
        canonical(
            {
                "seq": raw.seq,
                "prev_hash": raw.prev_hash,
                "hash": raw.hash,
                "data": raw.data.decode(),
                "proof": [sibling.hex() for sibling in proof],
            }
        )
        + b"\n"
    )
