"""Pushing to a real registry: what goes, what is there, and what an interruption leaves."""

import json
from pathlib import Path

import pytest
from tests.registry import USER, WORD, Registry, running, with_password, with_tokens
from tests.unit.release.test_image_referrers import LAYER, MADE, attached, layout

from mlg.adapters.image_layout import verify_layout
from mlg.adapters.mlflow_rest import Credentials
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.registry_push import Progress, Pushed, RegistryPush, target_of
from mlg.adapters.secrets_memory import MemorySecrets
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ManifestError
from mlg.release.image_referrers import BOM_TYPE, SIGNATURE_TYPE, referrers_tag

OCI = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
SECRETS = {"secret://env/WORD": WORD, "secret://env/WRONG": "another"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return layout(tmp_path / "layout", attached())


def push(
    registry: Registry,
    folder: Path,
    *,
    name: str = "recs/home:1",
    credentials: Credentials | None = None,
    progress: Progress = lambda _what, _digest, _size: None,
    piece_bytes: int = 32 << 20,
) -> Pushed:
    return RegistryPush(
        target_of(f"{registry.host}/{name}", "x"),
        HttpNetwork(),
        credentials or Credentials(),
        MemorySecrets(SECRETS),
        ManualClock(),
        plain_http=True,
        progress=progress,
        piece_bytes=piece_bytes,
    ).push(folder, verify_layout(folder))


def test_what_is_pushed_is_there_with_what_is_attached(tmp_path: Path, folder: Path) -> None:
    with running(tmp_path) as registry:
        done = push(registry, folder)
        assert (done.sent, done.there, done.referrers) == (5, 0, 2)
        again = push(registry, folder, name="recs/home:2")
        assert (again.sent, again.there, again.sent_bytes) == (0, 5, 0)
        tag = referrers_tag(MADE.digest)
        assert registry.tags("recs/home") == ["1", "2", tag]
        assert registry.ask("/v2/recs/home/manifests/1", OCI) == (200, MADE.manifest)
        status, body = registry.ask(f"/v2/recs/home/manifests/{tag}", OCI)
        listed = json.loads(body)["manifests"]
        assert {one["artifactType"] for one in listed} == {BOM_TYPE, SIGNATURE_TYPE}
        for one in listed:
            status, body = registry.ask(f"/v2/recs/home/manifests/{one['digest']}", OCI)
            assert status == 200
            assert json.loads(body)["subject"]["digest"] == f"sha256:{MADE.digest}"
        status, body = registry.ask(f"/v2/recs/home/blobs/sha256:{LAYER.digest}")
        assert (status, len(body)) == (200, LAYER.size)


def test_a_large_blob_goes_in_pieces(tmp_path: Path, folder: Path) -> None:
    with running(tmp_path) as registry:
        push(registry, folder, piece_bytes=1_000)
        status, body = registry.ask(f"/v2/recs/home/blobs/sha256:{LAYER.digest}")
        assert (status, len(body)) == (200, LAYER.size)


def test_an_interrupted_push_leaves_no_tag_and_goes_on_later(
    tmp_path: Path, folder: Path
) -> None:
    with running(tmp_path) as registry:

        def interrupt(what: str, _digest: str, _size: int) -> None:
            if what == "sent":
                registry.end()

        with pytest.raises(BackendError, match="does not answer") as caught:
            push(registry, folder, progress=interrupt)
        assert "nothing was tagged" in caught.value.hint
        registry.begin()
        assert registry.tags("recs/home") == []
        done = push(registry, folder)
        assert (done.there, done.sent) == (1, 4)
        assert "1" in registry.tags("recs/home")


def test_a_registry_that_may_not_be_written_is_said(tmp_path: Path, folder: Path) -> None:
    storage = {
        "filesystem": {"rootdirectory": str(tmp_path / "registry")},
        "maintenance": {"readonly": {"enabled": True}},
    }
    with (
        running(tmp_path, {"storage": storage}) as registry,
        pytest.raises(BackendError, match="answered 405") as caught,
    ):
        push(registry, folder)
    assert "Nothing was tagged" in caught.value.hint


def test_a_password_is_sent_and_a_wrong_one_refused(tmp_path: Path, folder: Path) -> None:
    with running(tmp_path, with_password(tmp_path)) as registry:
        right = Credentials(username=USER, password="secret://env/WORD")
        assert push(registry, folder, credentials=right).sent == 5
        for other in (
            Credentials(),
            Credentials(username=USER, password="secret://env/WRONG"),
        ):
            with pytest.raises(
                BackendError, match=r"refused the credentials \(401\)"
            ) as caught:
                push(registry, folder, credentials=other)
            told = f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
            assert WORD not in told
            assert "another" not in told


def test_a_token_is_fetched_where_the_registry_wants_one(tmp_path: Path, folder: Path) -> None:
    with (
        with_tokens(tmp_path) as (settings, asked),
        running(tmp_path, settings) as registry,
    ):
        right = Credentials(username=USER, password="secret://env/WORD")
        assert push(registry, folder, credentials=right).sent == 5
        assert len(set(asked)) == 1
        with pytest.raises(BackendError, match="refused the credentials"):
            push(registry, folder, credentials=Credentials())


def test_no_registry_and_no_reference_are_said(tmp_path: Path, folder: Path) -> None:
    nobody = Registry(tmp_path)
    with pytest.raises(BackendError, match="does not answer by http"):
        push(nobody, folder)
    for wrong in ("home", "a/b", "https://x.y/z", "x.y/UPPER", "x.y/a:", "x.y"):
        with pytest.raises(ManifestError, match="expected HOST"):
            target_of(wrong, "1")
    assert target_of("localhost/a/b", "1").tag == "1"
