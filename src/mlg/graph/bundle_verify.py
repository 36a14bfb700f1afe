"""Checks an audit bundle with nothing but Python's standard library.

This file is copied into every bundle as `verify.py`. Run it there:

    python verify.py                    # the folder or .zip that it lies in
    python verify.py BUNDLE             # another folder or .zip
    python verify.py BUNDLE --key FILE  # signed by this key: hex or PEM, known from elsewhere

It checks every byte of the archive, the digest of every file, a prediction's place under
its segment's Merkle root, the hash and the links of every event, that every event is in
the log whose head was signed, and that events tell what the trace says. With `openssl`
(3.0 or later) on the PATH it also checks the signatures of the head and the manifest.
What it did not check, it says. It exits 1 when anything is wrong, naming it.
"""

import base64
import hashlib
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FORMAT = 2
MANIFEST, SIGNED = "manifest.json", "manifest.sig.json"
_PEM = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: an Ed25519 public key follows
_LOCAL, _CENTRAL, _END = "<IHHHHHIIIHH", "<IHHHHHHIIIHHHHHII", "<IHHHHIIH"
_NEEDED = ("anchor.json", "events.jsonl", "public_key.pem", "subject.json", "trace.json")


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _plain(value: Any) -> bytes:
    """Return JSON of texts, integers, lists and objects as RFC 8785 has it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# --- the archive


def zip_bytes(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return files as a .zip, stored, with no time, in order of name: one way to write it.

    Raises:
        ValueError: More than 65,535 files or 4 GiB.
    """
    listed = sorted(files)
    local, central = bytearray(), bytearray()
    for name, content in listed:
        path, crc, size = name.encode(), zlib.crc32(content), len(content)
        if len(local) + size > 0xFFFF0000:
            raise ValueError("a bundle of more than 4 GiB")
        of_file = (20, 0x800, 0, 0, 33, crc, size, size, len(path), 0)
        place = (0, 0, 0, 0o100644 << 16, len(local))
        central += struct.pack(_CENTRAL, 0x02014B50, 0x314, *of_file, *place) + path
        local += struct.pack(_LOCAL, 0x04034B50, *of_file) + path + content
    if len(listed) > 0xFFFF:
        raise ValueError("a bundle of more than 65,535 files")
    count = (len(listed), len(listed), len(central), len(local))
    return bytes(local + central + struct.pack(_END, 0x06054B50, 0, 0, *count, 0))


def unzipped(archive: bytes) -> tuple[dict[str, bytes], list[str]]:
    """Return the files of an archive that `zip_bytes` wrote, and what is wrong with it."""
    found: dict[str, bytes] = {}
    at, head = 0, struct.calcsize(_LOCAL)
    try:
        while archive[at : at + 4] == b"PK\x03\x04":
            size, name = struct.unpack_from("<IH", archive, at + 22)
            start = at + head + name
            found[archive[at + head : start].decode()] = archive[start : start + size]
            at = start + size
    except (struct.error, ValueError) as error:
        return found, [f"the archive is altered at byte {at}: {error}"]
    written = zip_bytes(found.items())
    if written == archive:
        return found, []
    place, past = 0, min(len(written), len(archive)) + 1
    while place + 1 < past:  # both are the same up to `place`, and not up to `past`
        middle = (place + past) // 2
        same = written[:middle] == archive[:middle]
        place, past = (middle, past) if same else (place, middle)
    return found, [f"the archive is altered at byte {place} (or written by another program)"]


def read(path: Path) -> tuple[dict[str, bytes], list[str]]:
    """Return the files of a bundle, folder or .zip, and what is wrong with the archive."""
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file())
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in found}, []
    return unzipped(path.read_bytes())


# --- what is in it


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
        found = _manifest(files) or _digests(files)
        if not found:
            lines = [json.loads(line) for line in files["events.jsonl"].splitlines() if line]
            events: list[dict[str, Any]] = [json.loads(line["data"]) for line in lines]
            found = _prediction(files, events) + _events(files, lines)
            found += _trace(files, events) + _attached(files, events) + _key(files)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        return [f"the bundle is not complete: {type(error).__name__}: {error}"]
    return found


def _manifest(files: dict[str, bytes]) -> list[str]:
    if MANIFEST not in files:
        return [f"{MANIFEST}: missing"]
    try:
        manifest: dict[str, Any] = json.loads(files[MANIFEST])
        sound = _plain(manifest) == files[MANIFEST] and manifest["format"] == FORMAT
        sound = sound and set(manifest) == {"files", "format"}
        listed: dict[str, str] = manifest["files"]
        sound = sound and all(name in listed for name in _NEEDED)
    except (ValueError, KeyError, TypeError):
        sound = False
    return [] if sound else [f"{MANIFEST}: altered"]


def _digests(files: dict[str, bytes]) -> list[str]:
    listed: dict[str, str] = json.loads(files[MANIFEST])["files"]
    found: list[str] = []
    for name in sorted(listed.keys() | files.keys() | {SIGNED}):
        if name not in files:
            found.append(f"{name}: missing")
        elif name == SIGNED:
            found += _signed(files)
        elif name != MANIFEST and name not in listed:
            found.append(f"{name}: not in {MANIFEST}")
        elif name != MANIFEST and _sha256(files[name]).hex() != listed[name]:
            found.append(f"{name}: altered")
    return found


def _signed(files: dict[str, bytes]) -> list[str]:
    try:
        told: dict[str, str] = json.loads(files[SIGNED])
        signature = bytes.fromhex(told["signature"])
        sound = told == {
            "signature": signature.hex(),  # one way to write it: no letter may be another
            "signature_sha256": _sha256(signature).hex(),
            "signed": MANIFEST,
            "signed_sha256": _sha256(files[MANIFEST]).hex(),
        }
        sound = sound and _plain(told) == files[SIGNED]
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    return [] if sound else [f"{SIGNED}: altered, or of another {MANIFEST}"]


def _prediction(files: dict[str, bytes], events: list[dict[str, Any]]) -> list[str]:
    if "merkle.json" not in files:
        return []
    proof: dict[str, Any] = json.loads(files["merkle.json"])
    leaf = _sha256(bytes.fromhex(proof["salt"]) + files["prediction.json"])
    if leaf.hex() != proof["leaf"]:
        return ["prediction.json: not what was sealed"]
    if not included(leaf, proof["index"], proof["size"], proof["proof"], proof["root"]):
        return ["merkle.json: the prediction is not under the segment's root"]
    for event in events:
        for node in event["nodes"]:
            if node["uri"] == proof["segment"] and "merkle_root" in node["attrs"]:
                sealed = node["attrs"]["merkle_root"] == proof["root"]
                return [] if sealed else ["merkle.json: another root was sealed"]
    return ["events.jsonl: the event that sealed the segment is missing"]


def _events(files: dict[str, bytes], lines: list[dict[str, Any]]) -> list[str]:
    anchor: dict[str, Any] = json.loads(files["anchor.json"])
    found: list[str] = []
    before: dict[str, Any] | None = None
    for line in lines:
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


def _trace(files: dict[str, bytes], events: list[dict[str, Any]]) -> list[str]:
    trace: dict[str, Any] = json.loads(files["trace.json"])
    told = {(one["id"], e["src"], e["role"], e["dst"]) for one in events for e in one["edges"]}
    named = {n["uri"] for one in events for n in one["nodes"]}
    named |= {one["subject"] for one in events}
    named |= {end for _, src, _, dst in told for end in (src, dst)} | {trace["root"]}
    known = {node["uri"] for node in trace["nodes"]}
    found = [f"trace.json: no event names {uri}" for uri in sorted(known - named)]
    for edge in trace["edges"]:
        if edge["src"] not in known or edge["dst"] not in known:
            found.append(f"trace.json: an edge of {edge['src']} leads out of the trace")
        if edge["dst"] == trace["root"] and edge["event"] is None:
            continue
        if (edge["event"], edge["src"], edge["role"], edge["dst"]) not in told:
            found.append(f"trace.json: no event says {edge['src']} -{edge['role']}-> ...")
    return found


def _attached(files: dict[str, bytes], events: list[dict[str, Any]]) -> list[str]:
    """Check that an event names the digest of each evaluation and model signature."""
    told = {v for one in events for node in one["nodes"] for v in node["attrs"].values()}
    return [
        f"{name}: no event names its digest"
        for name, content in sorted(files.items())
        if name.startswith(("evaluations/", "model_signature/"))
        and _sha256(content).hex() not in told
    ]


def _key(files: dict[str, bytes]) -> list[str]:
    own = pem(bytes.fromhex(json.loads(files["anchor.json"])["public_key"]))
    return [] if own == files["public_key.pem"] else ["public_key.pem: not the head's key"]


# --- signatures


def pem(public_key: bytes) -> bytes:
    """Return 32 public bytes of Ed25519 as PEM (RFC 8410)."""
    body = base64.b64encode(_PEM + public_key)
    return b"-----BEGIN PUBLIC KEY-----\n" + body + b"\n-----END PUBLIC KEY-----\n"


def signed_parts(files: dict[str, bytes]) -> list[tuple[str, bytes, bytes]]:
    """Return name, signed bytes and signature of the head and of the manifest."""
    anchor: dict[str, Any] = json.loads(files["anchor.json"])
    own = bytes.fromhex(anchor.pop("signature"))
    over: dict[str, str] = json.loads(files[SIGNED])
    return [
        ("anchor.json", _plain(anchor), own),
        (MANIFEST, files[MANIFEST], bytes.fromhex(over["signature"])),
    ]


def openssl_says(files: dict[str, bytes]) -> tuple[list[str], str]:
    """Return what signatures are wrong, and why they were not checked if they were not."""
    program = shutil.which("openssl")
    if program is None:
        return [], "openssl is not on the PATH"
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, content, signature in signed_parts(files):
            given = {"key": files["public_key.pem"], "in": content, "sig": signature}
            for file, its in given.items():
                (Path(folder) / file).write_bytes(its)
            command = [program, "pkeyutl", "-verify", "-pubin", "-inkey", "key", "-rawin"]
            command += ["-in", "in", "-sigfile", "sig"]
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False
            )
            said = done.stdout + done.stderr
            if "Signature Verification Failure" in said:
                found.append(f"{name}: its signature is not of the key in public_key.pem")
            elif done.returncode != 0 or "Signature Verified Successfully" not in said:
                why = said.strip().splitlines() or ["it said nothing"]
                return [], f"this openssl cannot check Ed25519: {why[0]}"
    return found, ""


def _same_key(files: dict[str, bytes], given: bytes) -> bool:
    """Return whether a key file, hex or PEM, is the bundle's key."""
    text = given.strip()
    if text.startswith(b"-----"):
        return text.split() == files["public_key.pem"].split()
    try:
        return pem(bytes.fromhex(text.decode())) == files["public_key.pem"]
    except ValueError:
        return False


def _say(mark: str, text: str) -> None:
    sys.stdout.write(f"{mark:<10} {text}\n")


def main(arguments: list[str]) -> int:
    """Check one bundle, say what was found and what was not checked; 0 when all is well."""
    rest = list(arguments)
    key: Path | None = None
    if "--key" in rest:
        at = rest.index("--key")
        key = Path(rest[at + 1])
        del rest[at : at + 2]
    path = Path(rest[0]) if rest else Path(__file__).resolve().parent
    files, damage = read(path)
    problems = check(files) or damage
    unchecked: list[str] = []
    if not problems:
        problems, why = openssl_says(files)
        if why:
            unchecked.append(f"the Ed25519 signatures of anchor.json and {MANIFEST}: {why}")
        if key is not None and not _same_key(files, key.read_bytes()):
            problems.append(f"public_key.pem: not the key in {key.name}")
        if key is None:
            unchecked.append("whose key it is: compare public_key.pem with one you know")
        if any(name.startswith("model_signature/") for name in files):
            unchecked.append("the models' own signatures: they need the model's files")
        unchecked.append("that files made from the events say the same as these")
    for problem in problems:
        _say("WRONG", problem)
    if not problems:
        _say("OK", "every byte, digest, hash, link and Merkle proof holds")
    for what in unchecked:
        _say("UNCHECKED", what)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
