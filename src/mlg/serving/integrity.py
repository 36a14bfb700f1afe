"""Whether a model's folder, or an image's digest, is what a trusted key signed.

The format is OpenSSF model signing 1.0: a Sigstore bundle with a DSSE envelope around an
in-toto statement that lists the sha256 of each file. Only what a replica needs is here:
checking, and the bytes that are signed. Making keys and signing is the control plane's.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec
import rfc8785
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mlg.core.errors import BackendError, RefusedError

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
MODEL_PREDICATE: Final = "https://model_signing/signature/v1.0"
IMAGE_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"
"""What cosign 3 writes about an image: the subject's digest is the manifest's."""

LARGEST_BUNDLE: Final = 16 << 20
"""Bytes; about 100,000 files."""
_WANTED: Final = "expected public keys on P-256, P-384 or P-521 as PEM"
_KEY_HINT: Final = "openssl ec -in KEY -pubout writes the public part of a key."
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)
_HASH_OF: Final[dict[str, hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}

Keys = Mapping[str, ec.EllipticCurvePublicKey]
"""Trusted public keys by their id."""


class _Signature(msgspec.Struct):
    sig: str


class _Envelope(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _Hint(msgspec.Struct):
    hint: str | None = None


class _Material(msgspec.Struct, rename="camel"):
    public_key: _Hint | None = None


class _Bundle(msgspec.Struct, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Subject(msgspec.Struct):
    digest: dict[str, str]
    name: str = ""


class _Resource(msgspec.Struct):
    name: str
    algorithm: str
    digest: str


class _Serialization(msgspec.Struct):
    method: str
    hash_type: str


class _Predicate(msgspec.Struct):
    serialization: _Serialization
    resources: list[_Resource]


class _Statement(msgspec.Struct, rename={"type": "_type", "predicate_type": "predicateType"}):
    type: str
    subject: list[_Subject]
    predicate_type: str
    predicate: msgspec.Raw = msgspec.Raw(b"{}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a good signature says."""

    key_id: str
    """Whose it is."""
    files: Mapping[str, str]
    """sha256 of each file by its path; empty for an image."""

    @property
    def digest(self) -> str:
        """Digest of the folder under which an artifact store keeps it."""
        lines = "".join(f"{self.files[path]}  {path}\n" for path in sorted(self.files))
        return hashlib.sha256(lines.encode()).hexdigest()


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """Return a public key's id: the sha256 of its PEM text, as `model_signing` has it."""
    return hashlib.sha256(pem_of(key)).hexdigest()


def pem_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key as PEM text."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def read_keys(text: bytes, where: str) -> dict[str, ec.EllipticCurvePublicKey]:
    """Return the public keys of a file of PEM blocks, by id.

    Raises:
        BackendError: A block is no public key on P-256, P-384 or P-521, or there is none.
    """
    found: dict[str, ec.EllipticCurvePublicKey] = {}
    for block in _PEM.finditer(text):
        try:
            key = serialization.load_pem_public_key(block[0])
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BackendError(
                f"{_WANTED}, got {block[1].decode().lower()}", where=where, hint=_KEY_HINT
            ) from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASH_OF:
            raise BackendError(f"{_WANTED}, got another kind", where=where, hint=_KEY_HINT)
        found[key_id(key)] = key
    if not found:
        raise BackendError(f"{_WANTED}, got none", where=where, hint=_KEY_HINT)
    return found


def model_statement(name: str, files: Mapping[str, str]) -> bytes:
    """Return the statement about a model's folder, as the bytes to sign.

    Args:
        name: What to call the model; a word for people.
        files: sha256 hex of each file by its POSIX path in the folder.

    Source:
        OpenSSF model signing, predicate `https://model_signing/signature/v1.0`: resources
        in path order; the subject's digest is the sha256 over their raw digests.
    """
    paths = sorted(files, key=PurePosixPath)
    whole = hashlib.sha256(b"".join(bytes.fromhex(files[path]) for path in paths))
    predicate: dict[str, Any] = {
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": [],
        },
        "resources": [
            {"name": path, "algorithm": "sha256", "digest": files[path]} for path in paths
        ],
    }
    return _statement(name, whole.hexdigest(), MODEL_PREDICATE, predicate)


def image_statement(name: str, digest: str) -> bytes:
    """Return the statement about an image, as the bytes to sign.

    Args:
        name: Name of the image.
        digest: sha256 hex of its manifest.
    """
    return _statement(name, digest, IMAGE_PREDICATE, {})


def pae(payload: bytes) -> bytes:
    """Return what of a payload is signed.

    Source:
        DSSE protocol 1.0, pre-authentication encoding.

    Examples:
        >>> pae(b"{}")
        b'DSSEv1 28 application/vnd.in-toto+json 2 {}'
    """
    return b"DSSEv1 %d %s %d %s" % (
        len(PAYLOAD_TYPE),
        PAYLOAD_TYPE.encode(),
        len(payload),
        payload,
    )


def bundle_of(payload: bytes, signature: bytes, key: str) -> bytes:
    """Return the Sigstore bundle of a signed statement.

    Args:
        payload: The statement.
        signature: DER signature over `pae(payload)`.
        key: Id of the key that made it.
    """
    return rfc8785.dumps(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
    )


def check_image(bundle: bytes, digest: str, keys: Keys) -> Checked:
    """Return whose signature an image's manifest digest has.

    Raises:
        RefusedError: The signature is damaged, of an unknown key, or another image's.
    """
    statement, signer = _opened(bundle, keys, IMAGE_PREDICATE)
    signed = statement.subject[0].digest.get("sha256", "")
    if signed != digest:
        raise RefusedError(
            f"the signature is of another image: of {signed[:12]}…, not of {digest[:12]}…"
        )
    return Checked(key_id=signer, files={})


def check_model(
    folder: Path, bundle: bytes, keys: Keys, *, digest: str = "", ignore: Path | None = None
) -> Checked:
    """Return what was signed of a model's folder, after hashing every file of it.

    Args:
        folder: The folder.
        bundle: The signature's file.
        keys: Whom to believe.
        digest: The artifact that the folder must be; empty: any that was signed.
        ignore: A file of the folder that is no part of it: the signature itself.

    Raises:
        RefusedError: The signature is damaged, of an unknown key or another artifact's; a
            file is altered, missing or added. Says which file.
    """
    statement, signer = _opened(bundle, keys, MODEL_PREDICATE)
    signed = Checked(key_id=signer, files=_listed(statement))
    if digest and signed.digest != digest:
        raise RefusedError(
            f"the signature is of another artifact: of {signed.digest[:12]}…, "
            f"not of {digest[:12]}…"
        )
    there = _files_of(folder, ignore)
    for path in sorted(signed.files.keys() - there.keys()):
        raise RefusedError("the file is missing, but signed", where=path)
    for path in sorted(there.keys() - signed.files.keys()):
        raise RefusedError("the file was added: it is not in the signature", where=path)
    for path in sorted(there):
        found = _sha256(there[path], path)
        if found != signed.files[path]:
            raise RefusedError(
                f"the file was altered: its sha256 is {found[:12]}…, "
                f"signed was {signed.files[path][:12]}…",
                where=path,
            )
    return signed


def hashed(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a folder, by path.

    Raises:
        RefusedError: It cannot be read, or holds a link or a special file.
    """
    return {path: _sha256(file, path) for path, file in _files_of(folder, None).items()}


def read_bundle(path: Path | None) -> bytes:
    """Return the content of a signature's file.

    Raises:
        RefusedError: There is none, or it cannot be read, or is too large to be one.
    """
    if path is None or not path.is_file():
        raise RefusedError("the signature is missing")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BUNDLE + 1)
    except OSError as error:
        raise RefusedError(f"the signature cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_BUNDLE:
        raise RefusedError(f"the signature is larger than {LARGEST_BUNDLE} bytes")
    return content


def _statement(name: str, digest: str, predicate_type: str, predicate: Any) -> bytes:
    return rfc8785.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": digest}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def _opened(content: bytes, keys: Keys, predicate_type: str) -> tuple[_Statement, str]:
    """Return the statement of a bundle, once its signature is a trusted key's.

    Raises:
        RefusedError: It is not.
    """
    try:
        bundle = msgspec.json.decode(content, type=_Bundle)
        envelope = bundle.dsse_envelope
        payload = base64.b64decode(envelope.payload, validate=True)
        signature = base64.b64decode(envelope.signatures[0].sig, validate=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, IndexError) as error:
        raise RefusedError(f"the signature is damaged: {error}") from error
    kinds = (bundle.media_type, envelope.payload_type)
    if kinds != (BUNDLE_TYPE, PAYLOAD_TYPE):
        raise RefusedError(f"expected a bundle of {PAYLOAD_TYPE}, got {' of '.join(kinds)}")
    hint = bundle.verification_material.public_key
    named = (hint.hint if hint else None) or ""
    if named not in keys:
        raise RefusedError(
            f"the signature is by an unknown key: {named[:12] or 'unnamed'}",
            hint="trust its public key (signing: trusted), or restore the own key.",
        )
    key = keys[named]
    try:
        key.verify(signature, pae(payload), ec.ECDSA(_HASH_OF[key.curve.name]))
    except InvalidSignature as error:
        raise RefusedError(
            f"the signature is wrong: key {named[:12]} did not sign this statement"
        ) from error
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RefusedError(f"the signed statement is not one: {error}") from error
    if (statement.type, statement.predicate_type) != (STATEMENT_TYPE, predicate_type):
        raise RefusedError(
            f"the signature is of another kind: {statement.predicate_type}, "
            f"expected {predicate_type}"
        )
    if len(statement.subject) != 1:
        raise RefusedError(f"expected one subject, got {len(statement.subject)}")
    return statement, named


def _listed(statement: _Statement) -> dict[str, str]:
    """Return the files of a statement about a model.

    Raises:
        RefusedError: It is not consistent, or hashed in a way that is not checked here.
    """
    try:
        predicate = msgspec.json.decode(statement.predicate, type=_Predicate)
    except msgspec.MsgspecError as error:
        raise RefusedError(f"the signed statement is not one: {error}") from error
    how = predicate.serialization
    resources = predicate.resources
    odd = [r for r in resources if r.algorithm != "sha256" or not _HEX.fullmatch(r.digest)]
    if (how.method, how.hash_type) != ("files", "sha256") or odd:
        raise RefusedError(
            f"expected the sha256 of whole files, got {how.hash_type} of {how.method}",
            hint="sign it again with the default hashing.",
        )
    files = {resource.name: resource.digest for resource in resources}
    whole = hashlib.sha256(b"".join(bytes.fromhex(r.digest) for r in resources)).hexdigest()
    if len(files) != len(resources) or statement.subject[0].digest.get("sha256") != whole:
        raise RefusedError("the signed statement contradicts itself")
    return files


def _files_of(folder: Path, ignore: Path | None) -> dict[str, Path]:
    """Return the plain files of a folder, by path.

    Raises:
        RefusedError: It is not there, cannot be read, or holds something else.
    """
    if not folder.is_dir() or folder.is_symlink():
        raise RefusedError("the artifact is missing")
    found: dict[str, Path] = {}
    try:
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise RefusedError("it is a link or a special file", where=name)
            if path.is_file() and (ignore is None or not ignore.samefile(path)):
                found[name] = path
    except OSError as error:
        raise RefusedError(f"the folder cannot be read: {error.strerror}") from error
    return found


def _sha256(file: Path, name: str) -> str:
    try:
        with file.open("rb") as reader:
            return hashlib.file_digest(reader, "sha256").hexdigest()
    except OSError as error:
        raise RefusedError(f"the file cannot be read: {error.strerror}", where=name) from error
