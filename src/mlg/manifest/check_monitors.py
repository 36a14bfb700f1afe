"""What types cannot say of a monitor: that its groups are texts which the model logs."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_data import DatasetSpec
from mlg.manifest.specs_pipelines import TrainStep
from mlg.manifest.specs_watch import MonitorSpec

MOST_GROUPS: Final = 3
"""Features by whose levels quality is charted."""

Mistake = tuple[tuple[str | int, ...], str, str]
"""Path under the monitor, what is wrong, what helps."""


def monitor_mistakes(monitor: MonitorSpec, spec: ManifestSpec) -> Iterator[Mistake]:
    """Find what is wrong with one monitor whose service, if it is known, is in `spec`."""
    if "all" in monitor.features and len(monitor.features) > 1:
        yield ("features",), "expected `all` or a list of features, got both", ""
    groups = monitor.groups
    if len(groups) > MOST_GROUPS:
        what = f"expected at most {MOST_GROUPS} features, got {len(groups)}"
        yield ("groups",), what, "each level has charts, and all share `false_alarms`."
    service = spec.services.get(monitor.watch)
    pipeline = spec.pipelines.get(service.model or "") if service else None
    steps = pipeline.steps.values() if pipeline else ()
    train = next((step for step in steps if isinstance(step, TrainStep)), None)
    for index, name in enumerate(groups):
        if name in groups[:index]:
            yield ("groups", index), f"expected each feature once, got {name!r} again", ""
        elif train is not None:  # else nobody knows what is logged
            for what, hint in _of_model(name, train, spec.datasets):
                yield ("groups", index), what, hint


def _of_model(
    name: str, train: TrainStep, datasets: Mapping[str, DatasetSpec]
) -> Iterator[tuple[str, str]]:
    """Find why a model that is trained by this step logs no such text."""
    viewers, events = train.roles.viewers, train.roles.interactions
    if train.model == "two_stage":
        table, columns = (viewers.table, viewers.features) if viewers else ("", ())
    elif train.model == "context_ranker":
        table, columns = events.table, events.context
    else:
        yield (
            f"expected a feature that {train.model} logs as text, got {name!r}",
            "only two_stage and context_ranker log texts; leave `groups` out.",
        )
        return
    bare = name.removeprefix("viewer:")
    if name == bare or bare not in columns:
        near = get_close_matches(bare, columns, n=1)
        words = ", ".join(f"viewer:{column}" for column in columns)
        known = f"known are {words}." if words else "its roles name none."
        hint = f"did you mean viewer:{near[0]}?" if near else known
        yield f"expected a feature of viewers that {train.model} logs, got {name!r}", hint
        return
    # of a table that a step makes the types are known when it is made
    declared = datasets[table].columns if table in datasets else {}
    column = declared.get(bare)
    if column is not None and column.type != "string":
        hint = "add a column of texts, like age bands, to the model's features."
        yield f"expected a text feature, got {name!r} of type {column.type}", hint
