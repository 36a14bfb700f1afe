from pathlib import Path

import pytest

from mlg.adapters.secrets_local import LocalSecrets
from mlg.adapters.secrets_memory import MemorySecrets
from mlg.core.errors import NotFoundError
from mlg.core.ports import Secrets


@pytest.fixture(params=["local", "memory"])
def secrets(request: pytest.FixtureRequest, tmp_path: Path) -> Secrets:
    if request.param == "memory":
        return MemorySecrets({"secret://env/TOKEN": "t0ken", "secret://file/key": "k3y"})
    (tmp_path / "key").write_text("k3y\n", encoding="utf-8")
    return LocalSecrets({"TOKEN": "t0ken"}, tmp_path)


def test_resolves_variables_and_files(secrets: Secrets) -> None:
    assert secrets.resolve("secret://env/TOKEN") == "t0ken"
    assert secrets.resolve("secret://file/key") == "k3y"


@pytest.mark.parametrize("ref", ["secret://env/NONE", "secret://file/none", "secret://vault/x"])
def test_an_unknown_secret_is_named_and_not_found(secrets: Secrets, ref: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        secrets.resolve(ref)
    assert caught.value.where == ref
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize(
    ("ref", "where"), [("hunter2-written-out", "(no reference)"), ("", "(empty)")]
)
def test_what_is_no_reference_is_not_repeated(secrets: Secrets, ref: str, where: str) -> None:
    """It may be the secret itself, written where its reference belongs."""
    with pytest.raises(NotFoundError) as caught:
        secrets.resolve(ref)
    assert caught.value.where == where
    assert not ref or ref not in f"{caught.value} {caught.value.hint}"


def test_a_secret_is_read_at_each_use(tmp_path: Path) -> None:
    secrets = LocalSecrets({}, tmp_path)
    for text in ("one", "two"):
        (tmp_path / "key").write_text(text, encoding="utf-8")
        assert secrets.resolve("secret://file/key") == text
