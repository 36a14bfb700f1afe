"""Signatures of models: what is refused, and that the reference library agrees."""

import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.keys_signing import (
    SIGNING_KEY,
    SIGNING_PUBLIC_KEY,
    keep_signing_key,
    new_signing_key,
    sign_statement,
    signing_key,
    trusted_keys,
    write_trusted,
)
from mlg.core.errors import BackendError, RefusedError
from mlg.serving.integrity import (
    check_image,
    check_model,
    hashed,
    image_statement,
    key_id,
    model_statement,
    pem_of,
    read_bundle,
    read_keys,
)

reference = pytest.mark.skipif(
    find_spec("model_signing") is None or find_spec("OpenSSL") is None,
    reason="model-signing and pyopenssl are not installed (extra: dev)",
)


@dataclass
class Signed:
    folder: Path
    bundle: bytes
    files: MemoryFiles
    key: ec.EllipticCurvePrivateKey

    def check(self, bundle: bytes | None = None, digest: str = "") -> str:
        given = self.bundle if bundle is None else bundle
        return check_model(self.folder, given, trusted_keys(self.files), digest=digest).key_id


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    folder = tmp_path / "model"
    (folder / "arrays").mkdir(parents=True)
    (folder / "arrays" / "items.npy").write_bytes(bytes(range(256)) * 8)
    (folder / "arrays.txt").write_text("sorts before arrays/ as text and after it as a path")
    (folder / "model.json").write_text("{}")
    files, key = MemoryFiles(), new_signing_key()
    keep_signing_key(files, key)
    write_trusted(files, key.public_key())
    bundle = sign_statement(key, model_statement("model", hashed(folder)))
    return Signed(folder, bundle, files, key)


def altered_payload(bundle: bytes, old: bytes, new: bytes) -> bytes:
    document = json.loads(bundle)
    envelope = document["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    assert old in payload
    envelope["payload"] = base64.b64encode(payload.replace(old, new)).decode()
    return json.dumps(document).encode()


def test_an_untouched_folder_is_what_was_signed(signed: Signed) -> None:
    assert signed.check() == key_id(signed.key.public_key())


def test_the_same_model_and_key_give_the_same_signature(signed: Signed) -> None:
    again = sign_statement(signed.key, model_statement("model", hashed(signed.folder)))
    assert again == signed.bundle


@pytest.mark.parametrize("place", [0, 1_000, 2_047])
def test_one_altered_byte_is_refused_with_the_name_of_the_file(
    signed: Signed, place: int
) -> None:
    path = signed.folder / "arrays" / "items.npy"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(RefusedError, match=r"arrays/items\.npy: the file was altered") as found:
        signed.check()
    assert found.value.where == "arrays/items.npy"


def test_an_added_file_is_refused(signed: Signed) -> None:
    (signed.folder / "arrays" / "more.npy").write_bytes(b"")
    with pytest.raises(RefusedError, match=r"arrays/more\.npy: the file was added"):
        signed.check()


def test_a_missing_file_is_refused(signed: Signed) -> None:
    (signed.folder / "arrays.txt").unlink()
    with pytest.raises(RefusedError, match=r"arrays\.txt: the file is missing"):
        signed.check()


def test_a_link_in_place_of_a_file_is_refused(signed: Signed, tmp_path: Path) -> None:
    path = signed.folder / "model.json"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match=r"model\.json: it is a link"):
        signed.check()


def test_a_folder_that_is_gone_is_refused(signed: Signed, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="the artifact is missing"):
        check_model(tmp_path / "no", signed.bundle, trusted_keys(signed.files))


def test_a_missing_signature_is_refused(tmp_path: Path) -> None:
    for path in (None, tmp_path / "no"):
        with pytest.raises(RefusedError, match="the signature is missing"):
            read_bundle(path)


def test_a_signature_by_an_unknown_key_is_refused(signed: Signed) -> None:
    stranger = new_signing_key()
    bundle = sign_statement(stranger, model_statement("model", hashed(signed.folder)))
    with pytest.raises(
        RefusedError, match="by an unknown key: " + key_id(stranger.public_key())[:12]
    ):
        signed.check(bundle)


def test_a_strangers_signature_under_a_trusted_keys_name_is_refused(signed: Signed) -> None:
    stranger = new_signing_key()
    bundle = sign_statement(stranger, model_statement("model", hashed(signed.folder)))
    ours = key_id(signed.key.public_key()).encode()
    with pytest.raises(RefusedError, match="did not sign this statement"):
        signed.check(bundle.replace(key_id(stranger.public_key()).encode(), ours))


def test_another_artifacts_signature_is_refused(signed: Signed, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.json").write_text("{}")
    bundle = sign_statement(signed.key, model_statement("other", hashed(other)))
    with pytest.raises(RefusedError, match="the file was added"):
        signed.check(bundle)
    # the other model whole, with its own good signature, in this one's place
    digest = LocalArtifacts(tmp_path / "store").put(signed.folder)
    signed.check(digest=digest)
    with pytest.raises(RefusedError, match="of another artifact"):
        check_model(other, bundle, trusted_keys(signed.files), digest=digest)


def test_an_altered_statement_is_refused(signed: Signed) -> None:
    wrong = altered_payload(signed.bundle, b'"name":"model"', b'"name":"Model"')
    with pytest.raises(RefusedError, match="did not sign this statement"):
        signed.check(wrong)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"mediaType": "x"}', b"null"]
)
def test_a_file_that_is_no_signature_is_refused(signed: Signed, content: bytes) -> None:
    with pytest.raises(RefusedError, match="the signature is damaged"):
        signed.check(content)


def test_an_images_signature_is_none_of_a_model_and_the_other_way_round(signed: Signed) -> None:
    digest = "ab" * 32
    image = sign_statement(signed.key, image_statement("movies", digest))
    keys = trusted_keys(signed.files)
    assert check_image(image, digest, keys).key_id == key_id(signed.key.public_key())
    with pytest.raises(RefusedError, match="of another image"):
        check_image(image, "cd" * 32, keys)
    with pytest.raises(RefusedError, match="of another kind"):
        signed.check(image)
    with pytest.raises(RefusedError, match="of another kind"):
        check_image(signed.bundle, digest, keys)


def test_a_signed_statement_that_contradicts_itself_is_refused(signed: Signed) -> None:
    payload = model_statement("model", hashed(signed.folder))
    name = b'"name":"model.json"'
    for odd in (
        payload.replace(name, b'"name":"arrays.txt"'),
        payload.replace(b'"algorithm":"sha256"', b'"algorithm":"blake2b"'),
        payload.replace(b'"method":"files"', b'"method":"shards"'),
    ):
        with pytest.raises(RefusedError, match=r"contradicts itself|whole files"):
            signed.check(sign_statement(signed.key, odd))


def test_the_key_is_its_owners_alone_and_comes_back(signed: Signed, tmp_path: Path) -> None:
    keep_signing_key(LocalFiles(tmp_path), signed.key)
    assert (tmp_path / SIGNING_KEY).stat().st_mode & 0o777 == 0o600
    found = signing_key(signed.files)
    assert found is not None
    assert found.private_numbers() == signed.key.private_numbers()
    signed.files.remove(SIGNING_KEY)
    with pytest.raises(BackendError, match="the key is gone"):
        signing_key(signed.files)
    assert signing_key(MemoryFiles()) is None


def test_a_foreign_key_is_believed_once_it_is_named_and_no_longer_than_that(
    signed: Signed,
) -> None:
    team = ec.generate_private_key(ec.SECP384R1())
    write_trusted(
        signed.files, signed.key.public_key(), [("team.pem", pem_of(team.public_key()))]
    )
    assert set(trusted_keys(signed.files)) == {
        key_id(team.public_key()),
        key_id(signed.key.public_key()),
    }
    write_trusted(signed.files, signed.key.public_key())
    assert set(trusted_keys(signed.files)) == {key_id(signed.key.public_key())}


@pytest.mark.parametrize("kind", ["private", "ed25519", "nothing"])
def test_only_public_keys_of_the_known_kinds_may_be_trusted(signed: Signed, kind: str) -> None:
    text = {
        "private": signed.files.read(SIGNING_KEY) or b"",
        "ed25519": ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "nothing": b"hello",
    }[kind]
    with pytest.raises(BackendError, match=r"team\.pem: expected public keys"):
        read_keys(text, "team.pem")


@reference
def test_the_reference_library_verifies_ours_and_ours_verifies_the_references(
    signed: Signed, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours.sig", tmp_path / "theirs.sig"
    private, public = tmp_path / "key", tmp_path / "pub"
    ours.write_bytes(signed.bundle)
    private.write_bytes(signed.files.read(SIGNING_KEY) or b"")
    public.write_bytes(signed.files.read(SIGNING_PUBLIC_KEY) or b"")
    program = (
        "import sys\n"
        "from model_signing import signing, verifying\n"
        "folder, ours, theirs, private, public = sys.argv[1:]\n"
        "verifying.Config().use_elliptic_key_verifier(public_key=public)"
        ".verify(folder, ours)\n"
        "signing.Config().use_elliptic_key_signer(private_key=private).sign(folder, theirs)\n"
        "open(folder + '/model.json', 'a').write(' ')\n"
        "try:\n"
        "    verifying.Config().use_elliptic_key_verifier(public_key=public)"
        ".verify(folder, ours)\n"
        "except ValueError as error:\n"
        "    assert 'model.json' in str(error), error\n"
        "    print('refused')\n"
    )
    paths = [str(path) for path in (signed.folder, ours, theirs, private, public)]
    done = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "refused"), done.stderr
    with pytest.raises(RefusedError, match=r"model\.json: the file was altered"):
        signed.check(theirs.read_bytes())
    (signed.folder / "model.json").write_text("{}")
    assert signed.check(theirs.read_bytes()) == key_id(signed.key.public_key())
