"""Checks an audit bundle with nothing but Python's standard library.

This file is copied into every bundle as `verify.py`. Run it there:

    python verify.py            # the folder or .zip that it lies in
    python verify.py BUNDLE     # another folder or .zip

It checks the digest of every file, the prediction's place under its segment's Merkle
root, the hash and the links of every event, and that every event is in the log whose
head was signed. It cannot check the signature itself: `mlg audit verify BUNDLE` does.
"""

import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def included(leaf: bytes, index: int, size: int, path: list[str], root: str) -> bool:
    """Return whether a leaf is at this index under the root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    found, at, last = _sha256(b"\x00" + leaf), index, size - 1
    for text in path:
        sibling = bytes.fromhex(text)
        if last == 0:
            return False
        if at % 2 or at == last:
            found = _sha256(b"\x01" + sibling + found)
            while at % 2 == 0 and at != 0:
                at, last = at // 2, last // 2
        else:
            found = _sha256(b"\x01" + found + sibling)
        at, last = at // 2, last // 2
    return last == 0 and found.hex() == root


def check(files: dict[str, bytes]) -> list[str]:
    """Return what is wrong with a bundle, in words; an empty list when nothing is."""
    try:
        found = _files(files)
        if not found:
            found = _prediction(files) + _events(files) + _trace(files)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        return [f"the bundle is not complete: {type(error).__name__}: {error}"]
    return found


def _files(files: dict[str, bytes]) -> list[str]:
    listed: dict[str, str] = json.loads(files["manifest.json"])["files"]
    found = [f"{name}: not in manifest.json" for name in sorted(files) if name not in listed]
    found = [text for text in found if not text.startswith("manifest.json")]
    for name, digest in sorted(listed.items()):
        if name not in files:
            found.append(f"{name}: missing")
        elif _sha256(files[name]).hex() != digest:
            found.append(f"{name}: altered")
    return found


def _prediction(files: dict[str, bytes]) -> list[str]:
    proof: dict[str, Any] = json.loads(files["merkle.json"])
    leaf = _sha256(bytes.fromhex(proof["salt"]) + files["prediction.json"])
    if leaf.hex() != proof["leaf"]:
        return ["prediction.json: not what was sealed"]
    if not included(leaf, proof["index"], proof["size"], proof["proof"], proof["root"]):
        return ["merkle.json: the prediction is not under the segment's root"]
    for line in _lines(files):
        event: dict[str, Any] = json.loads(line["data"])
        for node in event["nodes"]:
            if node["uri"] == proof["segment"]:
                sealed = node["attrs"].get("merkle_root")
                return (
                    [] if sealed == proof["root"] else ["merkle.json: another root was sealed"]
                )
    return ["events.jsonl: the event that sealed the segment is missing"]


def _lines(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files["events.jsonl"].splitlines() if line]


def _events(files: dict[str, bytes]) -> list[str]:
    anchor: dict[str, Any] = json.loads(files["anchor.json"])
    found: list[str] = []
    before: dict[str, Any] | None = None
    for line in _lines(files):
        seq, own = line["seq"], bytes.fromhex(line["hash"])
        if _sha256(bytes.fromhex(line["prev_hash"]) + line["data"].encode()) != own:
            found.append(f"event {seq}: its content is not what its hash says")
        if before and seq == before["seq"] + 1 and line["prev_hash"] != before["hash"]:
            found.append(f"event {seq}: it does not follow event {seq - 1}")
        if before and seq <= before["seq"]:
            found.append(f"event {seq}: out of order")
        if not included(own, seq - 1, anchor["seq"], line["proof"], anchor["root"]):
            found.append(f"event {seq}: not in the log that was signed")
        if seq == anchor["seq"] and line["hash"] != anchor["hash"]:
            found.append(f"event {seq}: not the head that was signed")
        before = line
    return found


def _trace(files: dict[str, bytes]) -> list[str]:
    trace: dict[str, Any] = json.loads(files["trace.json"])
    told: set[tuple[str, str, str, str]] = set()
    for line in _lines(files):
        event: dict[str, Any] = json.loads(line["data"])
        told |= {(event["id"], e["src"], e["role"], e["dst"]) for e in event["edges"]}
    found: list[str] = []
    known = {node["uri"] for node in trace["nodes"]}
    for edge in trace["edges"]:
        if edge["src"] not in known or edge["dst"] not in known:
            found.append(f"trace.json: an edge of {edge['src']} leads out of the trace")
        if edge["dst"] == trace["root"]:
            continue
        if (edge["event"], edge["src"], edge["role"], edge["dst"]) not in told:
            found.append(f"trace.json: no event says {edge['src']} -{edge['role']}-> ...")
    return found


def read(path: Path) -> dict[str, bytes]:
    """Return the files of a bundle: a folder or a .zip."""
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file())
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in found}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def main(arguments: list[str]) -> int:
    """Check one bundle, say what was found, return 0 when nothing is wrong."""
    path = Path(arguments[0]) if arguments else Path(__file__).resolve().parent
    problems = check(read(path))
    for problem in problems:
        sys.stdout.write(f"WRONG  {problem}\n")
    if not problems:
        sys.stdout.write("OK     every digest, hash, link and Merkle proof holds\n")
    sys.stdout.write(
        "NOTE   the Ed25519 signature of anchor.json was not checked here: "
        "run `mlg audit verify BUNDLE`\n"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
