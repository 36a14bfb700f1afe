"""Our own facets of an OpenLineage run: the model that it made, the experiment that shows it.

OpenLineage has no facet of machine learning. A run of any tool may carry these two:
`mlg_model_version` {`model`, `version`, `warm_started_from`?} and `mlg_experiment`
{`experiment`, `cell`}. A facet of another shape says nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from mlg.core.nodes import Attr
from mlg.core.uris import Uri

MODEL_FACET: Final = "mlg_model_version"
EXPERIMENT_FACET: Final = "mlg_experiment"


class Saying(Protocol):
    """Where nodes and edges of one event are gathered."""

    def node(self, uri: Uri, name: str, attrs: Mapping[str, Attr] | None = None) -> Uri:
        """Say a node; return its URI."""
        ...

    def edge(self, src: Uri, role: str, dst: Uri) -> None:
        """Say an edge."""
        ...


def say_model_and_experiment(
    said: Saying,
    facets: Mapping[str, Any],
    run: Uri,
    uri_of: Callable[[str, str, str | None, str], Uri],
) -> None:
    """Say what the two facets of a run tell.

    Args:
        said: Where it is gathered.
        facets: Facets of the run.
        run: The run's URI.
        uri_of: Names a thing of the job's namespace: kind, name, version, JSON path.
    """
    made: Uri | None = None
    model, version = _texts(facets.get(MODEL_FACET), "model", "version")
    where = f"$.run.facets.{MODEL_FACET}"
    if model and version:
        parent = said.node(uri_of("model", model, None, where), model)
        made = said.node(uri_of("model_version", model, version, where), f"{model}@{version}")
        said.edge(parent, "version_of", made)
        said.edge(run, "produced", made)
        (before,) = _texts(facets.get(MODEL_FACET), "warm_started_from")
        if before and before != version:
            old = said.node(uri_of("model_version", model, before, where), f"{model}@{before}")
            said.edge(old, "warm_started_from", made)
    name, cell = _texts(facets.get(EXPERIMENT_FACET), "experiment", "cell")
    where = f"$.run.facets.{EXPERIMENT_FACET}"
    if name and cell:
        experiment = said.node(uri_of("experiment", name, None, where), name)
        shown = said.node(
            uri_of("experiment_cell", f"{name}/{cell}", None, where), cell, {"experiment": name}
        )
        said.edge(experiment, "version_of", shown)
        said.edge(run, "produced", shown)
        if made is not None:
            said.edge(made, "deployed_as", shown)


def _texts(facet: Any, *names: str) -> tuple[str | None, ...]:
    found: Mapping[str, Any] = facet if isinstance(facet, dict) else {}
    values = (found.get(name) for name in names)
    return tuple(value if isinstance(value, str) else None for value in values)
