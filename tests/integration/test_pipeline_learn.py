"""Train, evaluate and package on tables of one's own, with other columns and text keys."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.engine_duckdb import DuckDBEngine
from mlg.adapters.network_memory import MemoryNetwork
from mlg.adapters.sources import Sources
from mlg.core.clock import ManualClock
from mlg.core.steps import StepCall, StepResult
from mlg.core.uris import Digest
from mlg.manifest.specs_data import DatasetSpec
from mlg.manifest.specs_pipelines import PipelineSpec
from mlg.pipeline.plan import PipelinePlan, cache_key, next_call
from mlg.pipeline.run import run_step

DATASETS = {
    "listens": {
        "source": {"uri": "data/listens.csv"},
        "columns": {
            "listener": {"type": "string", "nullable": False},
            "song": {"type": "string", "nullable": False},
            "heard": {"type": "timestamp", "nullable": False},
            "seconds": {"type": "float64", "range": [0, None]},
        },
    },
    "songs": {
        "source": {"uri": "data/songs.csv"},
        "columns": {"song": {"type": "string"}, "tempo": {"type": "int64"}},
        "checks": [{"unique": ["song"]}],
    },
}


def pipeline(gates: dict[str, Any], model: str) -> PipelineSpec:
    steps = {
        "past": {"kind": "python", "python": "radio.past:build",
                 "in": ["listens"], "out": "rows"},
        "train": {
            "kind": "train",
            "model": model,
            "in": ["rows", "songs"],
            "roles": {
                "interactions": {
                    "table": "rows", "viewer": "listener", "item": "song", "at": "heard",
                    "value": "seconds",
                },
                "items": {"table": "songs", "key": "song", "features": ["tempo"]},
            },
            "seed": 3,
        },
        "evaluate": {"kind": "evaluate", "in": ["train", "rows"], "gates": gates},
        "package": {"kind": "package", "image": "radio", "in": ["train", "evaluate"]},
    }  # fmt: skip
    return msgspec.convert({"steps": steps}, PipelineSpec)


@dataclass
class Radio:
    """A project with 40 listeners and 30 songs, most of whom hear the same few."""

    root: Path

    def __post_init__(self) -> None:
        rng = random.Random(7)  # noqa: S311
        lines = ["listener,song,heard,seconds"]
        songs = [f"song-{i:02}" for i in range(30)]
        weights = [1 / (i + 1) for i in range(30)]
        for listener in range(40):
            for day in range(12):
                song = rng.choices(songs, weights)[0]
                lines.append(f"l{listener},{song},2026-01-{day + 1:02} 10:00:00,{30 + day}")
        self.write("data/listens.csv", "\n".join(lines) + "\n")
        self.write("data/songs.csv", "song,tempo\n" + "".join(f"{s},{100}\n" for s in songs))
        self.write("radio/__init__.py", "")
        self.write("radio/past.py", "from radio.shared import same\n\nbuild = same\n")
        self.write(
            "radio/shared.py", "def same(inputs, config):\n    return inputs['listens']\n"
        )
        self.artifacts = LocalArtifacts(self.root / "store")
        self.engine = DuckDBEngine(
            self.artifacts,
            Sources(self.root / "cache", MemoryNetwork()),
            clock=ManualClock(),
            work=self.root / "work",
        )

    def write(self, name: str, text: str) -> None:
        path = self.root / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def plan(
        self, gates: dict[str, Any], production: Digest | None = None, model: str = "popularity"
    ) -> PipelinePlan:
        return PipelinePlan(
            project="radio",
            name="ranker",
            spec=pipeline(gates, model),
            datasets=msgspec.convert(DATASETS, dict[str, DatasetSpec]),
            folder=self.root / "project",
            folder_digest=self.artifacts.put(self.root / "project"),
            production=production,
        )

    def run(self, plan: PipelinePlan) -> tuple[dict[str, StepCall], dict[str, StepResult]]:
        calls: dict[str, StepCall] = {}
        results: dict[str, StepResult] = {}
        while call := next_call(plan, results):
            calls[call.name] = call
            results[call.name] = run_step(
                call,
                engine=self.engine,
                artifacts=self.artifacts,
                work=self.root / "work",
                progress=lambda _line: None,
            )
        return calls, results


@pytest.fixture
def radio(tmp_path: Path) -> Radio:
    return Radio(tmp_path)


def test_a_pipeline_ends_in_an_artifact_with_the_model_and_the_projects_code(
    radio: Radio,
) -> None:
    _, results = radio.run(radio.plan({"recall@10": {"min": 0.05}}))
    done = results["package"]
    assert done.artifact is not None
    folder = radio.artifacts.open(done.artifact)
    document = msgspec.json.decode((folder / "model.json").read_bytes())
    assert (document["kind"], document["item_type"]) == ("popularity", "str")
    code = {path.relative_to(folder).as_posix() for path in (folder / "code").rglob("*.py")}
    assert code == {"code/radio/__init__.py", "code/radio/past.py", "code/radio/shared.py"}


def test_an_evaluation_tells_figures_with_intervals_beside_baselines(radio: Radio) -> None:
    _, results = radio.run(radio.plan({"ndcg@5": {"min": 0.0}}))
    metrics, facts = dict(results["evaluate"].metrics), dict(results["evaluate"].facts)
    assert {"ndcg@5", "ndcg@10", "recall@50", "popularity_7d.ndcg@10"} <= set(metrics)
    assert metrics["ndcg@10.low"] <= metrics["ndcg@10"] <= metrics["ndcg@10.high"]
    assert str(facts["gate.ndcg@5.bounds"]).startswith("PASS")
    assert radio.artifacts.has(Digest(str(facts["report"])))


def test_a_failed_gate_stops_the_pipeline_with_its_verdict_and_interval(radio: Radio) -> None:
    _, results = radio.run(radio.plan({"ndcg@10": {"better_than": ["popularity_all"]}}))
    assert not results["evaluate"].passed
    verdict = str(dict(results["evaluate"].facts)["gate.ndcg@10.better_than.popularity_all"])
    assert verdict.startswith("FAIL")
    assert "difference" in verdict
    assert "package" not in results


def test_a_model_is_not_worse_than_itself_and_never_better(radio: Radio) -> None:
    first = radio.run(radio.plan({}))[1]["package"].artifact
    same = {"not_worse_than": ["production", "anchor"], "margin": 200}
    _, results = radio.run(radio.plan({"ndcg@10": same}, production=first))
    facts = dict(results["evaluate"].facts)
    verdict = str(facts["gate.ndcg@10.not_worse_than.production"])
    assert verdict.startswith("PASS")
    assert "difference +0.0000 [+0.0000, +0.0000]" in verdict
    assert facts["gate.ndcg@10.not_worse_than.anchor"] == "no anchor yet"
    _, results = radio.run(
        radio.plan({"ndcg@10": {"better_than": ["production"]}}, production=first)
    )
    assert not results["evaluate"].passed


def test_without_production_its_gate_says_so_and_holds_nobody_up(radio: Radio) -> None:
    gates = {"ndcg@10": {"not_worse_than": ["production"], "margin": 200}}
    _, results = radio.run(radio.plan(gates))
    facts = dict(results["evaluate"].facts)
    assert facts["gate.ndcg@10.not_worse_than.production"] == "no production yet"
    assert results["package"].artifact


def test_running_everything_again_makes_the_same_artifact_and_keys(radio: Radio) -> None:
    (calls, one), (again, two) = radio.run(radio.plan({})), radio.run(radio.plan({}))
    assert one["package"].artifact == two["package"].artifact
    assert {n: cache_key(c) for n, c in calls.items()} == {
        n: cache_key(c) for n, c in again.items()
    }


def test_a_line_in_a_helper_that_changes_no_row_reruns_the_step_but_not_the_training(
    radio: Radio,
) -> None:
    before, _ = radio.run(radio.plan({}))
    radio.write(
        "radio/shared.py", "# text\ndef same(inputs, config):\n    return inputs['listens']\n"
    )
    after, _ = radio.run(radio.plan({}))
    changed = {n for n in before if cache_key(before[n]) != cache_key(after[n])}
    assert changed == {"past", "package"}  # the package carries the code itself
