"""What types cannot say of an experiment: its service, its cells' names, their shares."""

from collections.abc import Iterator

from mlg.core.traffic import FULL_BP
from mlg.manifest.specs_experiments import ExperimentSpec
from mlg.manifest.specs_services import ServiceSpec

RESERVED = ("control", "holdout")
"""Groups that every experiment has already."""

Mistake = tuple[tuple[str | int, ...], str, str]
"""Path under the experiment, what is wrong, what helps."""


def experiment_mistakes(spec: ExperimentSpec, service: ServiceSpec | None) -> Iterator[Mistake]:
    """Find what is wrong with one experiment; `service` is None where there is no such one."""
    if service is not None and service.model is None:
        what = f"expected a service with a model, got {spec.service!r}"
        yield ("service",), what, "only versions that mlg serves can be compared."
    for name in spec.cells:
        if name in RESERVED:
            what = f"expected a name of its own for the cell, got {name!r}"
            yield ("cells", name), what, "whoever is in no cell is the control."
    taken = sum(cell.share_bp for cell in spec.cells.values())
    if taken >= FULL_BP:
        what = f"expected cells of less than 100% together, got {taken / 100:g}%"
        yield ("cells",), what, "the control needs viewers too; lower a share."
    if spec.holdout_bp + taken >= FULL_BP > taken:
        what = f"expected less than {(FULL_BP - taken) / 100:g}% beside the cells, got"
        yield ("holdout",), f"{what} {spec.holdout_bp / 100:g}%", "lower it, or a cell's share."
