import dataclasses
import datetime as dt
from pathlib import Path

import msgspec
import pytest

from mlg.core.artifacts import Snapshot
from mlg.core.errors import ManifestError
from mlg.core.steps import StepCall, StepResult
from mlg.core.uris import Digest
from mlg.manifest.specs_data import DatasetSpec
from mlg.manifest.specs_pipelines import PipelineSpec
from mlg.pipeline.config import SourceConfig, canonical, config_of, sha256
from mlg.pipeline.plan import PipelinePlan, cache_key, call_of, next_call, steps

DATASETS = {
    "ratings": {
        "source": {"uri": "file:ratings.csv"},
        "columns": {"user": {"type": "int64"}},
        "checks": [{"references": {"columns": ["user"], "dataset": "users", "keys": ["user"]}}],
    },
    "users": {"source": {"uri": "file:users.csv"}, "columns": {"user": {"type": "int64"}}},
}
PIPELINE = {
    "steps": {
        "clean": {"kind": "sql", "sql": "clean.sql", "in": ["ratings"]},
        "features": {"kind": "python", "python": "feat:build", "in": ["clean"], "out": "rows"},
        "train": {
            "kind": "train",
            "model": "popularity",
            "in": ["rows", "users"],
            "roles": {
                "interactions": {"table": "rows", "item": "i", "at": "t", "value": "v"},
                "items": {"table": "users", "key": "user"},
            },
            "seed": 7,
        },
        "evaluate": {"kind": "evaluate", "in": ["train", "rows"], "gates": {}},
        "package": {"kind": "package", "image": "shop", "in": ["train", "evaluate"]},
    }
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "ratings.csv": "user\n1\n",
        "users.csv": "user\n1\n",
        "clean.sql": "select * from ratings",
        "feat.py": "import helper\n",
        "helper.py": "x = 1\n",
        "other.py": "y = 1\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def plan_of(folder: Path, production: str | None = None, **datasets: dict) -> PipelinePlan:
    return PipelinePlan(
        project="shop",
        name="ranker",
        spec=msgspec.convert(PIPELINE, PipelineSpec),
        datasets=msgspec.convert(DATASETS | datasets, dict[str, DatasetSpec]),
        folder=folder,
        folder_digest=Digest("f" * 64),
        production=Digest(production) if production else None,
    )


def result_of(call: StepCall) -> StepResult:
    """Return what a faithful runner makes: content that depends on the cache key alone."""
    made = sha256([call.out, cache_key(call)])
    if call.kind in {"train", "package"}:
        return StepResult(artifact=made)
    if call.kind == "evaluate":
        return StepResult()
    snapshot = Snapshot(
        dataset=call.out, digest=made, content_digest=made, schema=(), rows=1,
        as_of=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), location=made,
    )  # fmt: skip
    return StepResult(snapshot=snapshot)


def run(plan: PipelinePlan) -> dict[str, StepCall]:
    results: dict[str, StepResult] = {}
    calls: dict[str, StepCall] = {}
    while call := next_call(plan, results):
        calls[call.name] = call
        results[call.name] = result_of(call)
    return calls


def keys(plan: PipelinePlan) -> dict[str, str]:
    return {name: cache_key(call) for name, call in run(plan).items()}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_steps_run_after_what_they_read_and_sources_after_what_they_refer_to(
    folder: Path,
) -> None:
    assert [step.name for step in steps(plan_of(folder))] == [
        "source_users", "source_ratings", "clean", "features", "train", "evaluate", "package",
    ]  # fmt: skip


def test_inputs_are_what_the_steps_before_made(folder: Path) -> None:
    calls = run(plan_of(folder))
    assert [item.name for item in calls["source_ratings"].inputs] == ["users"]
    assert [item.name for item in calls["evaluate"].inputs] == ["train", "rows", "users"]
    assert calls["evaluate"].inputs[0].artifact == calls["package"].inputs[0].artifact
    assert calls["train"].seed == calls["evaluate"].seed == 7


def test_a_source_knows_which_steps_break_with_it(folder: Path) -> None:
    config = config_of(run(plan_of(folder))["source_ratings"], SourceConfig)
    assert config.consumers == ("clean", "features", "train", "evaluate", "package")


def test_the_same_content_gives_the_same_keys_in_another_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("copy")
    for path in folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    assert keys(plan_of(folder)) == keys(plan_of(other))


@pytest.mark.parametrize(
    ("file", "text", "reruns"),
    [
        ("other.py", "y = 2\n", set()),
        ("helper.py", "x = 2\n", {"features", "train", "evaluate", "package"}),
        ("clean.sql", "select 1", {"clean", "features", "train", "evaluate", "package"}),
        (
            "users.csv",
            "user\n2\n",
            {
                "source_users", "source_ratings", "clean", "features",
                "train", "evaluate", "package",
            },
        ),
    ],
)  # fmt: skip
def test_a_change_reruns_exactly_the_steps_that_depend_on_it(
    folder: Path, file: str, text: str, reruns: set[str]
) -> None:
    before = keys(plan_of(folder))
    (folder / file).write_text(text, encoding="utf-8")
    assert changed(before, keys(plan_of(folder))) == reruns


def test_a_new_consumer_does_not_rerun_a_source(folder: Path) -> None:
    before = run(plan_of(folder))["source_users"]
    config = config_of(before, SourceConfig)
    fewer = msgspec.structs.replace(config, consumers=())
    assert cache_key(dataclasses.replace(before, config=canonical(fewer))) == cache_key(before)


def test_another_production_model_reruns_the_evaluation_only(folder: Path) -> None:
    before = keys(plan_of(folder))
    after = plan_of(folder, production="a" * 64)
    assert changed(before, keys(after)) == {"evaluate"}
    assert run(after)["evaluate"].inputs[-1].name == "production"


def test_nothing_follows_a_gate_that_said_no(folder: Path) -> None:
    plan = plan_of(folder)
    results: dict[str, StepResult] = {}
    while call := next_call(plan, results):
        results[call.name] = result_of(call)
        if call.kind == "evaluate":
            results[call.name] = StepResult(passed=False)
    assert "package" not in results


def test_references_in_a_circle_are_refused(folder: Path) -> None:
    users = DATASETS["users"] | {
        "checks": [
            {"references": {"columns": ["user"], "dataset": "ratings", "keys": ["user"]}}
        ]
    }
    with pytest.raises(ManifestError, match="ratings -> users -> ratings"):
        steps(plan_of(folder, users=users))


def test_a_step_whose_inputs_are_not_there_is_the_programmers_error(folder: Path) -> None:
    with pytest.raises(ValueError, match="has not run"):
        call_of(plan_of(folder), "clean", {})


def test_a_runs_own_parameters_replace_the_manifests_in_training_and_judging(
    folder: Path,
) -> None:
    usual = plan_of(folder)
    own = dataclasses.replace(
        usual, params={"train_until": {"after": "2026-01-01T00:00:00Z", "share": 0.5}}
    )
    results: dict[str, StepResult] = {}
    differ: list[str] = []
    while (call := next_call(usual, results)) is not None:
        other = call_of(own, call.name, results)
        if cache_key(other) != cache_key(call):
            differ.append(call.name)
            assert "2026-01-01T00:00:00Z" in other.config
        results[call.name] = result_of(call)
    assert differ == ["train", "evaluate"]
