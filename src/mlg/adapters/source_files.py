"""Tables in files: `file:data/x.csv`, `csv:x.txt`, `parquet:/d/x.parquet`, a bare path."""

from pathlib import Path
from typing import Final

from mlg.adapters.source_datasets import SourceFile
from mlg.core.errors import BackendError, ManifestError

_FORMATS: Final = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_READER_OPTIONS: Final = frozenset(
    ("delim", "sep", "header", "quote", "escape", "nullstr", "dateformat", "timestampformat",
     "decimal_separator", "encoding", "skip", "comment")
)  # fmt: skip


def table_file(uri: str, folder: Path, options: dict[str, object]) -> SourceFile:
    """Return the file that a URI names: relative to the manifest's folder, or absolute.

    Raises:
        ManifestError: The scheme, the ending or an option is not known.
        BackendError: There is no such file.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon:
        scheme, rest = "file", uri
    rest = rest.removeprefix("//") if rest.startswith("//") else rest
    path = folder / rest
    kind = scheme if scheme in {"csv", "parquet"} else _FORMATS.get(path.suffix.lower())
    if scheme not in {"file", "csv", "parquet"} or kind is None:
        raise ManifestError(
            f"no reader for source {uri!r}",
            where=uri,
            hint="use file:, csv: or parquet: with a path, or a data set such as "
            "movielens-100k://ratings.",
        )
    if not path.is_file():
        raise BackendError(
            "expected a file, found none"
            if not path.is_dir()
            else "expected a file, got a folder",
            where=uri,
            hint="paths are relative to the manifest's folder; check the spelling.",
        )
    strange = sorted(set(options) - _READER_OPTIONS)
    if strange:
        raise ManifestError(
            f"unknown reader option {strange[0]!r}",
            where=uri,
            hint=f"known are {', '.join(sorted(_READER_OPTIONS))}.",
        )
    texts = tuple((name, _sql(value)) for name, value in sorted(options.items()))
    return SourceFile(path=path, format=kind, options=texts, guessed=kind == "csv")


def _sql(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"
