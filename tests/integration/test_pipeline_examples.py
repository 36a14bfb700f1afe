"""Both examples from their manifests to a packaged model, each step in its own process."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.steps_process import ProcessSteps
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError
from mlg.core.steps import StepResult
from mlg.manifest.load import load_manifest
from mlg.pipeline.code import stage
from mlg.pipeline.plan import PipelinePlan, next_call

pytestmark = [pytest.mark.example, pytest.mark.slow, pytest.mark.timeout(900)]

FULL = os.environ.get("MLG_FULL") == "1"
EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, root: Path) -> tuple[LocalArtifacts, dict[str, StepResult]]:
    spec = load_manifest(EXAMPLES / name / "mlg.yaml").spec
    stage(EXAMPLES / name, root / "project")
    artifacts = LocalArtifacts(root / "store")
    folder = artifacts.put(root / "project")
    ((pipeline, steps),) = spec.pipelines.items()
    plan = PipelinePlan(
        project=spec.project,
        name=pipeline,
        spec=steps,
        datasets=spec.datasets,
        folder=artifacts.open(folder),
        folder_digest=folder,
    )
    runner = ProcessSteps(store=root / "store", work=root / "work", clock=ManualClock())
    results: dict[str, StepResult] = {}
    while call := next_call(plan, results):
        try:
            results[call.name] = runner.run(call)
        except BackendError as error:
            if "no source answered" in str(error):
                pytest.skip(f"no cached data and no network: {error}")
            raise
    assert LocalArtifacts(root / "store").open(folder).is_dir()  # runs leave no caches in it
    return artifacts, results


def model_of(artifacts: LocalArtifacts, results: Mapping[str, StepResult]) -> dict[str, object]:
    assert all(result.passed for result in results.values()), results
    artifact = results["package"].artifact
    assert artifact is not None
    return msgspec.json.decode((artifacts.open(artifact) / "model.json").read_bytes())


@pytest.mark.skipif(not FULL, reason="make e2e runs it; the README's tour trains movies here")
def test_movies_end_in_a_two_stage_ranker_that_beats_recent_popularity(tmp_path: Path) -> None:
    artifacts, results = run_example("movies", tmp_path)
    assert model_of(artifacts, results)["kind"] == "two_stage"
    facts = dict(results["evaluate"].facts)
    assert str(facts["gate.ndcg@10.better_than.popularity_7d"]).startswith("PASS")
    assert [dict(results[step].facts)["leak_test"] for step in ("item_stats", "features")] == [
        "passed",
        "passed",
    ]
    rows = results["features"].snapshot
    assert rows is not None
    table = pq.read_table(artifacts.open(rows.digest), columns=["rating", "watch_through"])
    assert table.num_rows == 100_000
    ratings, through = table["rating"].to_pylist(), table["watch_through"].to_pylist()
    assert all(t == (r - 1) / 4 for r, t in zip(ratings, through, strict=True))


def test_fashion_ends_in_a_ranker_of_contexts_without_viewers(tmp_path: Path) -> None:
    artifacts, results = run_example("fashion", tmp_path)
    model = model_of(artifacts, results)
    assert model["kind"] == "context_ranker"
    assert dict(results["source_items"].facts)["rows"] == 80
    assert dict(results["clean"].facts)["rows"] == 10_000
