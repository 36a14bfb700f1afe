"""How an instance's gateways are told what to do: by files, or by one ADS stream each."""

from pathlib import Path
from typing import Final

from mlg.adapters.xds_ads import AdsXds
from mlg.adapters.xds_files import FileXds
from mlg.app.settings import GatewayXds
from mlg.core.errors import BackendError
from mlg.core.ports import Files
from mlg.mesh.sources import Xds

PORT_FILE: Final = "gateway/ads-port"
"""Where the ADS server listens: gateways that run are to find it again after a restart."""


def gateway_xds(chosen: GatewayXds, files: Files, home: Path) -> Xds:
    """Return what carries resources to the gateways.

    Args:
        chosen: `gateway: {xds: …}` of the settings.
        files: The home's; they keep the port of the ADS server.
        home: Folder of the instance.

    Raises:
        BackendError: The extra `ads` is not installed, or the kept port is taken or damaged.
    """
    if chosen == "files":
        return FileXds(home / "gateway")
    kept = files.read(PORT_FILE)
    try:
        port = int(kept or b"0")
        xds = AdsXds(port)
    except ValueError as error:
        raise BackendError(
            f"expected a port, got {kept!r}",
            where=PORT_FILE,
            hint="remove the file; the gateways are started anew with another port",
        ) from error
    except BackendError as error:
        hint = error.hint or f"end what listens there, or remove {PORT_FILE} for another port"
        raise BackendError(error.what, where="gateway.xds: ads", hint=hint) from error
    if xds.sources.port != port:
        files.write(PORT_FILE, str(xds.sources.port).encode())
    return xds
