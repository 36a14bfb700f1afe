"""Resources to the gateways by files that they watch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlg.adapters.files_local import LocalFiles
from mlg.mesh.snapshot import discovery_file
from mlg.mesh.sources import FileSources, Resource, Xds, endpoints_file

_XDS: Final = "xds"


class FileXds:
    """Writes one file a kind, and one a cluster's endpoints, each replaced by rename.

    A gateway that starts while no control plane runs reads the same files.

    Args:
        folder: The gateways' folder; the files are in its `xds`.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.resolve()
        self._files = LocalFiles(folder)
        self.sources = FileSources(folder=str(folder / _XDS))

    def clusters(self, resources: Sequence[Resource]) -> str:
        return self._write("cds.json", resources)

    def endpoints(self, assignments: Sequence[tuple[str, Resource]]) -> None:
        for name, resource in assignments:
            self._write(endpoints_file(name), [resource])

    def routes(self, resource: Resource) -> str:
        return self._write("rds.json", [resource])

    def keep_only(self, clusters: Sequence[str]) -> None:
        files = {f"{_XDS}/{endpoints_file(name)}" for name in clusters}
        for path in self._files.list(_XDS):
            if path.startswith(f"{_XDS}/eds-") and path not in files:
                self._files.remove(path)

    def close(self) -> None:
        pass

    def _write(self, file: str, resources: Sequence[Resource]) -> str:
        """Write one file unless it says the same already; return its version."""
        version, content = discovery_file(resources)
        if self._files.read(f"{_XDS}/{file}") != content:
            self._files.write(f"{_XDS}/{file}", content)
        return version


if TYPE_CHECKING:
    _: Xds = FileXds(Path())
