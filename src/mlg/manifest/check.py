"""What types cannot say: names that must exist, cycles, orders, bounds."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mlg.core.traffic import FULL_BP
from mlg.manifest.check_experiments import experiment_mistakes
from mlg.manifest.check_monitors import monitor_mistakes
from mlg.manifest.check_staging import staging_mistakes
from mlg.manifest.order import SOURCE_PREFIX, find_cycle, step_inputs, step_kind, step_out
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_data import DatasetSpec, ReferencesCheck
from mlg.manifest.specs_pipelines import (
    EvaluateStep,
    PackageStep,
    PipelineSpec,
    PythonStep,
    SqlStep,
    StepSpec,
    TrainStep,
)
from mlg.manifest.specs_services import GateName, RolloutGate, RolloutSpec, ServiceSpec
from mlg.manifest.tree import close_match

MODELS: Final = ("two_stage", "context_ranker", "popularity")
"""Models that mlg brings; one's own are named `module:Class`."""

_GATE_KEYS: Final[dict[GateName, tuple[str, ...]]] = {
    "errors": ("alpha", "max_increase", "max"),
    "latency_p50": ("alpha", "max_increase"),
    "latency_p95": ("alpha", "max_increase"),
    "latency_p99": ("alpha", "max_increase"),
    "cpu": ("alpha", "max_increase", "max"),
    "cache_hits": ("alpha", "max_drop", "min"),
    "ctr": ("alpha", "max_drop", "min"),
    "watch_through": ("alpha", "max_drop", "min"),
    "abstention": ("alpha", "max_increase", "max"),
    "rescue": ("alpha", "max_increase", "max"),
    "fallback": ("alpha", "max_increase", "max"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One mistake and the path of YAML keys at which it stands."""

    path: tuple[str | int, ...]
    what: str
    hint: str = ""


def check(spec: ManifestSpec) -> list[Found]:
    """Return every mistake of a well-formed manifest; empty when it is sound."""
    found: list[Found] = []
    for name, dataset in spec.datasets.items():
        found += _dataset(("datasets", name), dataset, spec.datasets)
    for name, pipeline in spec.pipelines.items():
        found += _pipeline(("pipelines", name), pipeline, spec.datasets)
    for name, service in spec.services.items():
        found += _service(("services", name), service, spec)
    needs = {name: service.depends_on for name, service in spec.services.items()}
    if cycle := find_cycle(needs):
        path = ("services", cycle[0], "depends_on")
        found.append(_cycle(path, "services", cycle))
    for name, one in spec.experiments.items():
        path = ("experiments", name)
        found += _known((*path, "service"), "a service", one.service, spec.services)
        for at, what, hint in experiment_mistakes(one, spec.services.get(one.service)):
            found.append(_wrong((*path, *at), what, hint))
    for name, monitor in spec.monitors.items():
        path = ("monitors", name, "watch")
        found += _known(path, "a service", monitor.watch, spec.services)
        for at, what, hint in monitor_mistakes(monitor, spec):
            found.append(_wrong(("monitors", name, *at), what, hint))
    found += _calendar(spec)
    found += _automations(spec)
    return found


def _known(
    path: tuple[str | int, ...], noun: str, name: str, known: Iterable[str], hint: str = ""
) -> Iterator[Found]:
    names = list(known)
    if name not in names:
        words = f"known are {', '.join(names)}." if names else "there is none yet."
        near = close_match(name, names) or hint or words
        what = f"{_dotted(path)}: expected the name of {noun}, got {name!r}"
        yield Found(path=path, what=what, hint=near)


def _cycle(path: tuple[str | int, ...], noun: str, cycle: tuple[str, ...]) -> Found:
    what = f"{_dotted(path)}: expected {noun} without a cycle, got {' -> '.join(cycle)}"
    return Found(path=path, what=what, hint="remove one of these dependencies.")


def _dotted(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path)
    return text.removeprefix(".")


def _wrong(path: tuple[str | int, ...], what: str, hint: str = "") -> Found:
    return Found(path=path, what=f"{_dotted(path)}: {what}", hint=hint)


def _dataset(
    path: tuple[str | int, ...], dataset: DatasetSpec, datasets: Mapping[str, DatasetSpec]
) -> Iterator[Found]:
    for name, column in dataset.columns.items():
        low, high = column.range or (None, None)
        if low is not None and high is not None and low > high:
            what = f"expected [smallest, largest], got [{low:g}, {high:g}]"
            yield _wrong((*path, "columns", name, "range"), what)
    for index, one in enumerate(dataset.checks):
        at = (*path, "checks", index)
        used = [("unique", column) for column in one.unique or ()]
        if one.freshness:
            used.append(("freshness", one.freshness.column))
        if one.values:
            used.append(("values", one.values.column))
        if one.references:
            used += [("references", column) for column in one.references.columns]
            yield from _references((*at, "references"), one.references, datasets)
        for key, column in used:
            yield from _known((*at, key), "a column of the dataset", column, dataset.columns)
        rows = one.rows
        if rows and rows.max is not None and rows.min > rows.max:
            what = f"expected min to be at most max, got {rows.min} and {rows.max}"
            yield _wrong((*at, "rows"), what)


def _references(
    path: tuple[str | int, ...], one: ReferencesCheck, datasets: Mapping[str, DatasetSpec]
) -> Iterator[Found]:
    if len(one.columns) != len(one.keys):
        what = f"expected as many keys as columns, got {len(one.keys)} and {len(one.columns)}"
        yield _wrong((*path, "keys"), what)
    if one.dataset not in datasets:
        yield from _known((*path, "dataset"), "a dataset", one.dataset, datasets)
        return
    for key in one.keys:
        noun = f"a column of {one.dataset}"
        yield from _known((*path, "keys"), noun, key, datasets[one.dataset].columns)


def _pipeline(
    path: tuple[str | int, ...], pipeline: PipelineSpec, datasets: Mapping[str, DatasetSpec]
) -> Iterator[Found]:
    makers: dict[str, str] = {}
    for name, step in pipeline.steps.items():
        at = (*path, "steps", name)
        out = step_out(name, step)
        if name.startswith(SOURCE_PREFIX):
            what = f"expected a name that does not begin with {SOURCE_PREFIX}, got {name!r}"
            yield _wrong(at, what, "such names belong to the snapshots of datasets.")
        if out in datasets or out in makers:
            owner = "a dataset" if out in datasets else f"the step {makers[out]!r}"
            what = f"expected a name of its own for what the step makes, got {out!r}"
            yield _wrong((*at, "out"), what, f"{owner} has this name already.")
        else:
            makers[out] = name
    for name, step in pipeline.steps.items():
        at = (*path, "steps", name)
        for index, one in enumerate(step.inputs):
            makes = pipeline.steps.get(one)
            hint = ""
            if makes is not None and one not in makers:
                hint = f"the step {one!r} makes {step_out(one, makes)!r}: name that."
            known = (*datasets, *makers)
            yield from _known((*at, "in", index), "a dataset or an output", one, known, hint)
        yield from _step(at, step, pipeline, makers)
    needs = {
        name: tuple(makers[one] for one in step_inputs(pipeline, step) if one in makers)
        for name, step in pipeline.steps.items()
    }
    if cycle := find_cycle(needs):
        yield _cycle((*path, "steps", cycle[0], "in"), "steps", cycle)


def _step(
    path: tuple[str | int, ...],
    step: StepSpec,
    pipeline: PipelineSpec,
    makers: Mapping[str, str],
) -> Iterator[Found]:
    kinds = {out: step_kind(pipeline.steps[name]) for out, name in makers.items()}
    reads = {kinds.get(one, "source") for one in step_inputs(pipeline, step)}
    if isinstance(step, SqlStep | PythonStep | TrainStep):
        for index, one in enumerate(step.inputs):
            if kinds.get(one) in {"train", "evaluate", "package"}:
                what = f"expected a table, got {one!r}, which is a {kinds[one]} step"
                yield _wrong((*path, "in", index), what)
    if isinstance(step, EvaluateStep):
        if "train" not in reads:
            yield _wrong((*path, "in"), "expected a train step among the inputs, got none")
        if not reads & {"source", "sql", "python"}:
            yield _wrong((*path, "in"), "expected a table among the inputs, got none")
        yield from _gates((*path, "gates"), step)
    elif isinstance(step, PackageStep) and "train" not in reads:
        yield _wrong(path, "expected a train step to package, got none", "add `in: [train]`.")
    elif isinstance(step, TrainStep):
        yield from _train(path, step)


def _train(path: tuple[str | int, ...], step: TrainStep) -> Iterator[Found]:
    if ":" not in step.model and step.model not in MODELS:
        what = f"expected {', '.join(MODELS)} or module:Class, got {step.model!r}"
        yield _wrong((*path, "model"), what, close_match(step.model, MODELS))
    roles = step.roles
    tables = {
        "interactions": roles.interactions,
        "items": roles.items,
        "viewers": roles.viewers,
        "item_stats": roles.item_stats,
    }
    for role, table in tables.items():
        if table is not None:
            at = (*path, "roles", role, "table")
            yield from _known(at, "an input of the step", table.table, step.inputs)
    if roles.viewers and not roles.interactions.viewer:
        what = "expected no viewers where interactions have no `viewer`, got a table"
        hint = "add `viewer:` to interactions, or use its `context:`."
        yield _wrong((*path, "roles", "viewers"), what, hint)


def _gates(path: tuple[str | int, ...], step: EvaluateStep) -> Iterator[Found]:
    for metric, gate in step.gates.items():
        at = (*path, metric)
        limits = (gate.better_than, gate.not_worse_than, gate.min, gate.max)
        if all(limit is None for limit in limits):
            words = "better_than, not_worse_than, min or max"
            yield _wrong(at, f"expected at least one of {words}, got none")
        if gate.margin_bp and not gate.not_worse_than:
            what = "expected a margin only beside not_worse_than, got it alone"
            yield _wrong((*at, "margin"), what)
        if gate.min is not None and gate.max is not None and gate.min > gate.max:
            what = f"expected min to be at most max, got {gate.min:g} and {gate.max:g}"
            yield _wrong(at, what)


def _service(
    path: tuple[str | int, ...], service: ServiceSpec, spec: ManifestSpec
) -> Iterator[Found]:
    answers = service.model or service.adopt
    if not answers and service.command is None:
        yield _wrong(path, "expected a model, an address to adopt or a command, got none")
    if service.command is not None:
        yield from _command(path, service)
    if service.fallback_list is not None and not service.adopt:
        what = "expected a list only beside adopt, got one"
        yield _wrong((*path, "fallback_list"), what, "a model brings its own list.")
    if service.model is not None:
        at = (*path, "model")
        yield from _known(at, "a pipeline", service.model, spec.pipelines)
        pipeline = spec.pipelines.get(service.model)
        steps = pipeline.steps.values() if pipeline else ()
        if pipeline and not any(isinstance(one, TrainStep) for one in steps):
            yield _wrong(at, f"expected a pipeline that trains, got {service.model!r}")
    for index, name in enumerate(service.depends_on):
        yield from _known((*path, "depends_on", index), "a service", name, spec.services)
    if service.rollout:
        yield from _rollout((*path, "rollout"), service.rollout)
    for at, what, hint in staging_mistakes(service):
        yield _wrong((*path, "rollout", "staging", *at), what, hint)


def _command(path: tuple[str | int, ...], service: ServiceSpec) -> Iterator[Found]:
    """Find what does not go with a server whose answers mlg does not read."""
    kept = {
        "model": service.model,
        "adopt": service.adopt,
        "confidence": service.confidence,
        "rollout": service.rollout,
        "rollback": service.rollback,
    }
    for key, value in kept.items():
        if value is not None:
            what = f"expected no {key} beside a command, got one"
            yield _wrong((*path, key), what, "mlg does not read what a command answers.")


def _rollout(path: tuple[str | int, ...], rollout: RolloutSpec) -> Iterator[Found]:
    steps = rollout.canary.steps_bp if rollout.canary else ()
    at = (*path, "canary", "steps")
    for index, (before, share) in enumerate(zip((0, *steps), steps, strict=False)):
        if share <= before:
            what = f"expected a share above {before / 100:g}%, got {share / 100:g}%"
            hint = "the usual first step is 0.5%." if index == 0 else "steps only rise."
            yield _wrong((*at, index), what, hint)
    if steps and steps[-1] != FULL_BP:
        what = f"expected 100% as the last step, got {steps[-1] / 100:g}%"
        yield _wrong((*at, len(steps) - 1), what, "add 100% at the end.")
    for name, gate in rollout.gates.items():
        yield from _rollout_gate((*path, "gates", name), name, gate)


def _rollout_gate(
    path: tuple[str | int, ...], name: GateName, gate: RolloutGate
) -> Iterator[Found]:
    given = {
        "alpha": gate.alpha,
        "max_increase": gate.max_increase_bp,
        "max_drop": gate.max_drop_bp,
        "max": gate.max_bp,
        "min": gate.min_bp,
    }
    allowed = _GATE_KEYS[name]
    for key, value in given.items():
        if value is not None and key not in allowed:
            yield _wrong((*path, key), f"expected {', '.join(allowed)} for {name}, got {key}")
    if all(value is None for value in given.values()):
        yield _wrong(path, f"expected at least one of {', '.join(allowed)}, got none")


def _calendar(spec: ManifestSpec) -> Iterator[Found]:
    for index, entry in enumerate(spec.calendar):
        at = ("calendar", index)
        if entry.ical is None and (entry.start is None or entry.end is None):
            yield _wrong(at, "expected both from and to, got only a part of them")
        if entry.ical is not None and (entry.start or entry.end):
            yield _wrong(at, "expected no from and to beside ical, got them")
        if entry.start and entry.end and entry.start[:16] > entry.end[:16]:
            what = f"expected a day from {entry.start} on, got {entry.end}"
            yield _wrong((*at, "to"), what)
        for place, name in enumerate(entry.services):
            yield from _known((*at, "services", place), "a service", name, spec.services)


def _automations(spec: ManifestSpec) -> Iterator[Found]:
    """Find names that no service or pipeline has; texts and CEL are the rules' room's."""
    for name, rule in spec.automations.items():
        at = ("automations", name, "on")
        if rule.on.service is not None:
            yield from _known((*at, "service"), "a service", rule.on.service, spec.services)
        if rule.on.pipeline is not None:
            noun = "a pipeline"
            yield from _known((*at, "pipeline"), noun, rule.on.pipeline, spec.pipelines)
        if rule.on.confidence_drop not in {None, "any"}:
            drop = rule.on.confidence_drop or ""
            hint = "or `any`."
            yield from _known((*at, "confidence_drop"), "a service", drop, spec.services, hint)
        for index, one in enumerate(rule.do):
            to = ("automations", name, "do", index)
            for key in ("rollback", "restart", "layout"):
                act = getattr(one, key)
                if act is not None:
                    where = (*to, key, "service")
                    yield from _known(where, "a service", act.service, spec.services)
            if one.retrain is not None:
                where = (*to, "retrain", "pipeline")
                yield from _known(where, "a pipeline", one.retrain.pipeline, spec.pipelines)
