import sys
from pathlib import Path

import pytest

from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.xds_ads import AdsXds
from mlg.adapters.xds_files import FileXds
from mlg.app.gateways import PORT_FILE, gateway_xds
from mlg.core.errors import BackendError

ADS = "needs the extra `ads`: grpcio and envoy-data-plane"


def test_files_need_no_port(tmp_path: Path) -> None:
    files = MemoryFiles()
    assert isinstance(gateway_xds("files", files, tmp_path), FileXds)
    assert files.read(PORT_FILE) is None


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)  # what an import finds that is not there
    files = MemoryFiles()
    with pytest.raises(BackendError, match="needs a package") as refused:
        gateway_xds("ads", files, tmp_path)
    assert refused.value.where == "gateway.xds: ads"
    assert "mlg[ads]" in refused.value.hint
    assert files.read(PORT_FILE) is None


def test_the_server_is_found_again_where_it_was(tmp_path: Path) -> None:
    pytest.importorskip("envoy_data_plane", reason=ADS)
    files = MemoryFiles()
    first = gateway_xds("ads", files, tmp_path)
    assert isinstance(first, AdsXds)
    try:
        assert files.read(PORT_FILE) == str(first.sources.port).encode()
        with pytest.raises(BackendError, match="taken") as refused:
            gateway_xds("ads", files, tmp_path)
        assert PORT_FILE in refused.value.hint
    finally:
        first.close()
    again = gateway_xds("ads", files, tmp_path)
    try:
        assert again.sources == first.sources
    finally:
        again.close()


def test_a_damaged_port_is_told(tmp_path: Path) -> None:
    files = MemoryFiles()
    files.write(PORT_FILE, b"\xff")
    with pytest.raises(BackendError, match="expected a port"):
        gateway_xds("ads", files, tmp_path)
