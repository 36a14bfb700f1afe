"""Artifacts: what is damaged is refused, with the place and what to do."""

import json
from pathlib import Path

import pytest
from tests.unit.recsys.conftest import START, film_roles

from mlg.core.errors import BackendError, ManifestError
from mlg.core.predict import Query
from mlg.recsys import kinds
from mlg.recsys.artifact import Fitted


@pytest.fixture
def folder(fitted: Fitted, tmp_path: Path) -> Path:
    fitted.save(tmp_path)
    return tmp_path


def test_a_saved_model_answers_as_the_fitted_one(fitted: Fitted, folder: Path) -> None:
    query = Query(user_id=1, k=7, at=START)
    loaded = kinds.load(folder)
    assert loaded.kind == "two_stage"
    # repr compares every digit, and takes NaN for NaN
    fresh = kinds.recommender(fitted).recommend(query)
    assert repr(loaded.recommend(query)) == repr(fresh)


def test_the_folder_holds_what_the_design_says(folder: Path) -> None:
    names = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    assert {
        "model.json", "ranker.txt", "confidence.json", "users.arrow", "items.arrow",
        "popularity.json", "golden.jsonl", "baseline.json", "arrays/similarity.npy",
    } <= names  # fmt: skip
    document = json.loads((folder / "model.json").read_text())
    assert document["format"] == 1
    assert set(document["files"]) == names - {"model.json"}
    baseline = json.loads((folder / "baseline.json").read_text())
    assert list(baseline["features"]) == sorted(document["features"])


@pytest.mark.parametrize(
    "name", ["arrays/similarity.npy", "ranker.txt", "users.arrow", "confidence.json"]
)
def test_a_changed_byte_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BackendError, match="damaged") as caught:
        kinds.load(folder)
    assert caught.value.where == name
    assert caught.value.hint


def test_a_missing_file_is_found(folder: Path) -> None:
    (folder / "items.arrow").unlink()
    with pytest.raises(BackendError, match="missing"):
        kinds.load(folder)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format":1}', b'{"format":9,"files":{}}']
)
def test_a_broken_description_is_found(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_bytes(content)
    with pytest.raises(BackendError) as caught:
        kinds.load(folder)
    assert caught.value.where == "model.json"


def test_no_description_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no such file"):
        kinds.load(tmp_path)


@pytest.mark.parametrize("kind", ["oracle", None])
def test_an_unknown_kind_is_refused(folder: Path, kind: str | None) -> None:
    document = json.loads((folder / "model.json").read_text())
    document["kind"] = kind
    (folder / "model.json").write_text(json.dumps(document))
    with pytest.raises(BackendError, match="two_stage"):
        kinds.load(folder)


def test_a_path_out_of_the_folder_is_refused(folder: Path) -> None:
    document = json.loads((folder / "model.json").read_text())
    document["files"]["../outside.txt"] = "0" * 64
    (folder / "model.json").write_text(json.dumps(document))
    with pytest.raises(BackendError, match="outside"):
        kinds.load(folder)


def test_an_incomplete_artifact_is_refused(fitted: Fitted, tmp_path: Path) -> None:
    texts = {name: text for name, text in fitted.texts.items() if name != "confidence.json"}
    Fitted(model=fitted.model, arrays=fitted.arrays, texts=texts, tables=fitted.tables).save(
        tmp_path
    )
    with pytest.raises(BackendError, match="not complete"):
        kinds.load(tmp_path)


def test_a_folder_that_cannot_be_written_is_a_clear_error(
    fitted: Fitted, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(BackendError, match="could not be written"):
        fitted.save(tmp_path / "taken")


def test_an_unknown_model_is_named_with_those_known() -> None:
    with pytest.raises(ManifestError, match="'sasrec'") as caught:
        kinds.fit("sasrec", {}, film_roles(), {}, 0, "films", lambda _: None)
    assert "two_stage" in caught.value.hint
