"""mlg: the Model Lifecycle Graph.

`mlg.Client` talks to a control plane; `mlg.Model` is what a recommender of one's own needs,
with `mlg.Training`, `mlg.Query` and `mlg.Ranked`; `mlg.drift.check` compares two tables. All
are imported when they are asked for, so that `import mlg` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mlg.client.client import Client
    from mlg.core.ports import Model
    from mlg.core.predict import Query, Ranked
    from mlg.core.training import Training

__all__ = ["Client", "Model", "Query", "Ranked", "Training"]

_WHERE: Final = {
    "Client": "mlg.client.client",
    "Model": "mlg.core.ports",
    "Query": "mlg.core.predict",
    "Ranked": "mlg.core.predict",
    "Training": "mlg.core.training",
}


def __getattr__(name: str) -> Any:
    if name == "drift":
        return import_module("mlg.drift")
    if name not in _WHERE:
        raise AttributeError(f"module 'mlg' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
