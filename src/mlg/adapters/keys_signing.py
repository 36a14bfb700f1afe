"""The key that signs models and images, and the keys that are believed, in the home."""

from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mlg.core.errors import BackendError
from mlg.core.ports import Files
from mlg.serving.integrity import Keys, bundle_of, key_id, pae, pem_of, read_keys

SIGNING_KEY: Final = "keys/signing.key"
SIGNING_PUBLIC_KEY: Final = "keys/signing.pub"
TRUSTED_KEYS: Final = "keys/trusted.pem"


def new_signing_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def signing_key(files: Files) -> ec.EllipticCurvePrivateKey | None:
    """Return the home's key; None before the first was made.

    Raises:
        BackendError: It is damaged, or it is gone although its public part is here.
    """
    content = files.read(SIGNING_KEY)
    if content is None:
        if files.read(SIGNING_PUBLIC_KEY) is not None:
            raise BackendError(
                "the key is gone, but models were signed with it",
                where=SIGNING_KEY,
                hint="restore it from a backup; to begin anew, trust keys/signing.pub under "
                "another name (signing: trusted) and remove it here.",
            )
        return None
    try:
        key = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise BackendError(
            "expected a private key on P-256 as PEM",
            where=SIGNING_KEY,
            hint="restore it from a backup of the home.",
        )
    return key


def keep_signing_key(files: Files, key: ec.EllipticCurvePrivateKey) -> None:
    """Keep the home's key, readable by its owner alone, and its public part.

    Raises:
        BackendError: It could not be written.
    """
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    files.write(SIGNING_KEY, private, mode=0o600)
    files.write(SIGNING_PUBLIC_KEY, pem_of(key.public_key()), mode=0o644)


def write_trusted(
    files: Files, own: ec.EllipticCurvePublicKey, foreign: Sequence[tuple[str, bytes]] = ()
) -> None:
    """Keep which keys are believed: the home's own, and those that the settings name.

    Args:
        files: The home's files.
        own: The home's own public key.
        foreign: Name and content of each file of public keys.

    Raises:
        BackendError: A file has no public key of the kinds that can be checked.
    """
    keys = {pem_of(own)}
    for where, text in foreign:
        keys |= {pem_of(key) for key in read_keys(text, where).values()}
    content = b"".join(sorted(keys))
    if files.read(TRUSTED_KEYS) != content:
        files.write(TRUSTED_KEYS, content, mode=0o644)


def trusted_keys(files: Files) -> Keys:
    """Return the keys that are believed, by id.

    Raises:
        BackendError: The file is missing or damaged.
    """
    content = files.read(TRUSTED_KEYS)
    if content is None:
        raise BackendError(
            "no key is trusted here", where=TRUSTED_KEYS, hint="`mlg up` makes the file."
        )
    return read_keys(content, TRUSTED_KEYS)


def sign_statement(key: ec.EllipticCurvePrivateKey, payload: bytes) -> bytes:
    """Return the bundle of a statement; the same key and statement give the same bytes.

    Source:
        RFC 6979, deterministic ECDSA.
    """
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    return bundle_of(payload, key.sign(pae(payload), algorithm), key_id(key.public_key()))
