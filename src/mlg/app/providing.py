"""Providers, put together from the settings."""

from collections.abc import Callable
from pathlib import Path

from mlg.adapters.enrichment_sqlite import SqliteEnrichment
from mlg.adapters.providers import ProviderContext, opener, plugins
from mlg.app.enrichment import Enricher, Enrichers
from mlg.app.settings import Settings
from mlg.core.clock import Clock
from mlg.core.ports import GraphReader, GraphStore, Network, Secrets
from mlg.graph.record import Recorder
from mlg.workflows.enrich import States

FILE = "enrichment.sqlite3"


def enrichers_of(
    *,
    home: Path,
    clock: Clock,
    store: GraphStore,
    reader: GraphReader,
    network: Network,
    secrets: Secrets,
    settings: Settings,
    recorder: Callable[[str], Recorder],
) -> Enrichers:
    """Return the providers of the settings, nothing started yet.

    Raises:
        ManifestError: A plug-in is not installed, or an address has the wrong form.
        BackendError: The queue's file cannot be opened.
    """
    queue = SqliteEnrichment(home / FILE)
    states = States(store=store, reader=reader, queue=queue, recorder=recorder)
    made: list[Enricher] = []
    for name, given in sorted(settings.providers.items()):
        plugin = given.plugin or name
        context = ProviderContext(
            url=given.url,
            namespace=given.namespace,
            token=given.token,
            username=given.username,
            password=given.password,
            requests_per_s=given.requests_per_s,
            folder=home.parent,
            network=network,
            secrets=secrets,
            clock=clock,
        )
        made.append(
            Enricher(
                name=name,
                plugin=plugin,
                provider=opener(plugin)(context),
                states=states,
                clock=clock,
                sweep_every_s=given.sweep_every_s,
            )
        )
    return Enrichers(made, states, clock, plugins(), queue.close)
