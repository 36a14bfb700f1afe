"""Which providers there are: the built-in ones, and those that packages bring."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Final

from mlg.adapters.provider_context import ProviderContext
from mlg.adapters.provider_mlflow import open_provider as open_mlflow
from mlg.core.errors import ManifestError
from mlg.core.ports import Provider

GROUP: Final = "mlg.providers"
"""Entry points of this group name a function of a `ProviderContext` that returns a provider."""

Opener = Callable[[ProviderContext], Provider]

BUILT_IN: Final[dict[str, Opener]] = {"mlflow": open_mlflow}


def opener(plugin: str) -> Opener:
    """Return the function that opens a plug-in's provider.

    Raises:
        ManifestError: No such plug-in, or it cannot be imported.
    """
    if plugin in BUILT_IN:
        return BUILT_IN[plugin]
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
