"""Which loader a source's URI belongs to."""

from pathlib import Path

from mlg.adapters.source_datasets import SourceFile
from mlg.adapters.source_files import table_file
from mlg.adapters.source_movielens import MovieLens100k
from mlg.adapters.source_open_bandit import OpenBandit
from mlg.core.errors import ManifestError
from mlg.core.ports import Network


class Sources:
    """Finds the local file of any source: public data by name, else a file."""

    def __init__(self, cache: Path, network: Network) -> None:
        self._named = {
            "movielens-100k": MovieLens100k(cache, network).file,
            "open-bandit": OpenBandit(cache).file,
        }

    def file(self, uri: str, folder: Path, options: dict[str, object]) -> SourceFile:
        """Return the file, fetched when it must be.

        Args:
            uri: As the manifest says.
            folder: The manifest's folder, for relative paths.
            options: The source's reader settings.

        Raises:
            ManifestError: No loader knows the URI, or an option is not known.
            BackendError: The file is not there and cannot be fetched.
        """
        named = self._named.get(uri.partition("://")[0]) if "://" in uri else None
        if named is None:
            return table_file(uri, folder, options)
        if options:
            raise ManifestError(
                f"expected no options, got {', '.join(options)}",
                where=uri,
                hint="a public data set is read in one way; remove `options:`.",
            )
        return named(uri)
