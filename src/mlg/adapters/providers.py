"""Which providers there are: the built-in ones, and those that packages bring."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from mlg.core.clock import Clock
from mlg.core.errors import ManifestError
from mlg.core.ports import Network, Provider, Secrets

GROUP: Final = "mlg.providers"
"""Entry points of this group name a function of a `ProviderContext` that returns a provider."""
BUILT_IN: Final = ("mlflow",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderContext:
    """What a provider is opened with: its settings and its way to the world."""

    url: str
    """Address of the source of truth."""
    namespace: str = ""
    """Second part of the URIs; empty: the provider takes it from the address."""
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    """Token and password may be `secret://…`; `secrets` resolves them at use."""
    requests_per_s: float = 10.0
    folder: Path = Path()
    """Where relative paths begin."""
    network: Network
    secrets: Secrets
    clock: Clock


Opener = Callable[[ProviderContext], Provider]


def opener(plugin: str) -> Opener:
    """Return the function that opens a plug-in's provider.

    Raises:
        ManifestError: No such plug-in, or it cannot be imported.
    """
    if plugin == "mlflow":
        from mlg.adapters.provider_mlflow import open_provider

        return open_provider
    found = entry_points(group=GROUP, name=plugin)
    for point in found:
        try:
            return point.load()
        except (ImportError, AttributeError) as wrong:
            raise ManifestError(
                f"the provider plug-in {plugin!r} cannot be loaded: {wrong}",
                where=point.value,
                hint="reinstall the package that brings it.",
            ) from wrong
    raise ManifestError(
        f"no provider plug-in {plugin!r}; known are {', '.join(plugins())}",
        where="plugin",
        hint=f"install a package with an entry point in the group {GROUP}.",
    )


def plugins() -> tuple[str, ...]:
    """Return the names of the plug-ins that are installed, sorted."""
    brought = {point.name for point in entry_points(group=GROUP)}
    return tuple(sorted({*BUILT_IN, *brought}))
